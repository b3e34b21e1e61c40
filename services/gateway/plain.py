"""The commonest transfer, read and answered by itself: one leg between two customers' accounts, at most with a reference. Pure.

`validation.py` reads transfers in columns, which for one alone are mostly overhead: also for the only one of a bulk call. What is read here reads
the same there, and a test holds the two together; what is anything else, or wrong in any way, is left to it.
"""

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from hivecore.gateway.v1 import bank_pb2

from services.domain import currencies, identifiers, limits
from services.gateway import fields
from services.gateway.authentication import Caller
from services.gateway.columns import Transfers

_NUMBER_MAX: Final = len(identifiers.CUSTOMER_SLOTS) * 10**12
"""From here on accounts are the bank's own."""
_FIELDS: Final = 2
"""The id and the leg."""
_ID_CHARACTERS: Final = 36


def read(asked: bank_pb2.Transfer) -> Transfers | None:
    """Read a transfer; None when it is to be read by `validation.read_transfers`."""
    legs, reference, transfer_id = asked.legs, asked.reference, asked.transfer_id
    if len(legs) != 1 or len(asked.ListFields()) != _FIELDS + bool(reference) or len(transfer_id) != _ID_CHARACTERS:
        return None
    leg = legs[0]
    debit_account, credit_account, amount_minor = leg.debit_account, leg.credit_account, leg.amount_minor
    digits = debit_account + credit_account
    if len(debit_account) != 16 or len(digits) != 32 or not digits.isdigit() or not digits.isascii():
        return None
    debit, credit = int(debit_account), int(credit_account)
    currency = currencies.NUMBER_BY_CODE.get(leg.currency_code)
    if (
        debit == credit
        or not _is_customers(debit)
        or not _is_customers(credit)
        or not currency
        or not 1 <= amount_minor <= limits.AMOUNT_MINOR_MAX
    ):
        return None
    if reference and (
        len(reference) > limits.REFERENCE_CHARACTERS_MAX or fields.CONTROL_CHARACTERS.search(reference) is not None
    ):
        return None
    try:
        octets = bytes.fromhex(transfer_id.replace("-", ""))
    except ValueError:
        return None
    if identifiers.uuid_text(octets) != transfer_id:
        return None
    return Transfers(octets, [debit], [credit], [amount_minor], [currency], [reference] if reference else [])


def _is_customers(number: int) -> bool:
    return number < _NUMBER_MAX and number % 97 == 1 and 2 <= number % 100 <= 98 and number // 100 % 10**10 > 0


def posted(asked: bank_pb2.Transfer, outcome: int, booking_time_us: int, caller: Caller) -> bank_pb2.Transfer:
    """Write a transfer that was read here, with its outcome."""
    seconds, microseconds = divmod(booking_time_us, 1_000_000)
    (leg,) = asked.legs
    answer = bank_pb2.Transfer(
        name=f"accounts/{leg.debit_account}/transfers/{asked.transfer_id}",
        transfer_id=asked.transfer_id,
        reference=asked.reference,
        state=outcome,  # type: ignore[arg-type]
        booking_time=Timestamp(seconds=seconds, nanos=microseconds * 1000),
        actor=caller.subject,
        channel=caller.channel,
    )
    answer.legs.add(
        debit_account=leg.debit_account,
        credit_account=leg.credit_account,
        amount_minor=leg.amount_minor,
        currency_code=leg.currency_code,
    )
    return answer
