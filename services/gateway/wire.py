"""Between the gateway's values, the ledgers' columns and the public messages.

Never here: reading what callers send (`fields.py`, `validation.py`).
"""

from datetime import date
from functools import lru_cache
from itertools import chain
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from google.type.date_pb2 import Date
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis import status
from services.domain import currencies, errors, identifiers
from services.domain.outcomes import UNKNOWN_ACCOUNT, Outcome, Refusal
from services.gateway.columns import Outcomes, Transfers

FURTHER_VIOLATIONS_MAX: Final = 5_000
"""Told in the answer to one call of thousands, besides each place's first: the answer must fit a message."""

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()

_SENTENCES: Final = {
    Refusal.DEBIT_ACCOUNT_NOT_FOUND: "the debit account is not in the books",
    Refusal.CREDIT_ACCOUNT_NOT_FOUND: "the credit account is not in the books",
    Refusal.DEBIT_CURRENCY_MISMATCH: "the debit account has another currency",
    Refusal.CREDIT_CURRENCY_MISMATCH: "the credit account has another currency",
    Refusal.DEBIT_ACCOUNT_CLOSED: "the debit account is closed",
    Refusal.CREDIT_ACCOUNT_CLOSED: "the credit account is closed",
    Refusal.DEBITS_FROZEN: "debits of the debit account are frozen",
    Refusal.CREDITS_FROZEN: "credits of the credit account are frozen",
    Refusal.INSUFFICIENT_FUNDS: "the debit account has not enough money available",
    Refusal.CREDIT_BALANCE_LIMIT: "the credit account would rise above the highest balance there is",
    Refusal.TRANSFER_ID_TAKEN: "the payee's shard knows the id for another transfer",
}
assert _SENTENCES.keys() == set(Refusal)

# The public states are the outcomes by the same numbers, so they need no translation.
assert {name: number for name, number in bank_pb2.Transfer.State.items() if number} == {
    outcome.name: outcome.value for outcome in Outcome
}


def post_request(shard_id: int, transfers: Transfers, directory_version: int) -> ledger_pb2.PostTransfersRequest:
    """Write transfers, their chart names resolved, as a ledger wants them."""
    return ledger_pb2.PostTransfersRequest(
        shard_id=shard_id,
        transfer_ids=transfers.transfer_ids,
        debit_accounts=transfers.debit_accounts,
        credit_accounts=transfers.credit_accounts,
        amounts_minor=transfers.amounts_minor,
        currencies=transfers.currencies,
        references=transfers.references,
        value_dates=transfers.value_dates,
        creditors=[ledger_pb2.ExternalCreditor(**row._asdict()) for row in transfers.creditors],
        further_legs=[ledger_pb2.FurtherLeg(**row._asdict()) for row in transfers.further_legs],
        directory_version=directory_version,
    )


def outcomes(response: ledger_pb2.PostTransfersResponse) -> Outcomes:
    """Read a ledger's answer."""
    return Outcomes(response.outcomes, response.refusals, response.booking_times_us, response.errors)


def place_error(number: int, transfer_id: bytes) -> errors.BankError:
    """Say why a ledger gave no outcome, other than that it is the wrong shard."""
    match number:
        case ledger_pb2.PLACE_ERROR_TRANSFER_ID_REUSED:
            text = identifiers.uuid_text(transfer_id)
            return errors.Conflict(
                "TRANSFER_ID_REUSED", f"{text} already names another transfer", {"transfer_id": text}
            )
        case ledger_pb2.PLACE_ERROR_PAYEE_SHARD_UNREACHABLE:
            return errors.Unavailable(
                "PAYEE_SHARD_UNREACHABLE", "the payee's shard does not answer; nothing was written"
            )
        case ledger_pb2.PLACE_ERROR_LEGS_ON_SEVERAL_SHARDS:
            return legs_on_several_shards()
    raise AssertionError(f"a ledger gave neither an outcome nor a known error: {number}")


def legs_on_several_shards() -> errors.Refused:
    """Refuse a transfer of several legs that leaves its home shard."""
    return errors.Refused("LEGS_ON_SEVERAL_SHARDS", "a transfer of several legs must stay within one shard")


def refusal_name(refusal: int) -> str:
    """Return the public reason of a refusal; empty for 0."""
    return Refusal(refusal).name if refusal else ""


def refusal_error(transfer_id: bytes, outcome: int, refusal: int) -> errors.BankError:
    """Say that a transfer was refused or returned."""
    reason = Refusal(refusal)
    metadata = {"transfer_id": identifiers.uuid_text(transfer_id), "state": Outcome(outcome).name}
    if reason in UNKNOWN_ACCOUNT:
        return errors.NotFound(reason.name, _SENTENCES[reason], metadata)
    return errors.Refused(reason.name, _SENTENCES[reason], metadata)


def posted_transfer(
    asked: bank_pb2.Transfer, transfers: Transfers, outcome: int, booking_time_us: int
) -> bank_pb2.Transfer:
    """Write one transfer, asked for and routed alone, with its outcome."""
    firsts = zip(
        transfers.debit_accounts,
        transfers.credit_accounts,
        transfers.amounts_minor,
        transfers.currencies,
        strict=True,
    )
    further = (leg[1:] for leg in transfers.further_legs)
    transfer_id = identifiers.uuid_text(transfers.transfer_ids)
    return bank_pb2.Transfer(
        name=f"accounts/{transfers.debit_accounts[0]:016d}/transfers/{transfer_id}",
        transfer_id=transfer_id,
        legs=[_leg(*leg) for leg in chain(firsts, further)],
        reference=asked.reference,
        creditor=asked.creditor if asked.HasField("creditor") else None,
        value_date=asked.value_date if asked.HasField("value_date") else None,
        state=outcome,  # type: ignore[arg-type]
        booking_time=timestamp(booking_time_us),
    )


def transfer_of_record(record: ledger_pb2.TransferRecord) -> bank_pb2.Transfer:
    """Write a transfer as the books have it."""
    transfer_id = identifiers.uuid_text(record.transfer_id)
    creditor = None
    if record.HasField("creditor"):
        it = record.creditor
        creditor = bank_pb2.ExternalCreditor(
            bank_code=it.bank_code,
            account=it.account,
            creditor_name=it.creditor_name,
            remittance_text=it.remittance_text,
        )
    return bank_pb2.Transfer(
        name=f"accounts/{record.legs[0].debit_account:016d}/transfers/{transfer_id}",
        transfer_id=transfer_id,
        legs=[_leg(leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency) for leg in record.legs],
        reference=record.reference,
        creditor=creditor,
        value_date=day(record.value_date),
        state=record.outcome,  # type: ignore[arg-type]
        reason=refusal_name(record.refusal),
        booking_time=timestamp(record.booking_time_us),
        business_date=day(record.business_date),
    )


def _leg(debit_account: int, credit_account: int, amount_minor: int, currency: int) -> bank_pb2.Leg:
    return bank_pb2.Leg(
        debit_account=f"{debit_account:016d}",
        credit_account=f"{credit_account:016d}",
        amount_minor=amount_minor,
        currency_code=currencies.CODE_BY_NUMBER[currency],
    )


def entry(account_number: int, currency: int, row: ledger_pb2.ListEntriesResponse.Entry) -> bank_pb2.Entry:
    """Write one line of an account's history."""
    return bank_pb2.Entry(
        name=f"accounts/{account_number:016d}/entries/{row.version}",
        version=row.version,
        amount_minor=row.amount_minor,
        balance_after_minor=row.balance_after_minor,
        held_after_minor=row.held_after_minor,
        currency_code=currencies.CODE_BY_NUMBER[currency],
        transfer=f"accounts/{row.payer_account:016d}/transfers/{identifiers.uuid_text(row.transfer_id)}",
        counterparty_account=f"{row.counterparty_account:016d}",
        reference=row.reference,
        is_return=row.is_return,
        booking_time=timestamp(row.booking_time_us),
        business_date=day(row.business_date),
        value_date=day(row.value_date),
    )


def balance(
    account_number: int, currency: int, balance_minor: int, held_minor: int, floor_minor: int, version: int
) -> bank_pb2.Balance:
    """Write what an account holds."""
    return bank_pb2.Balance(
        name=f"accounts/{account_number:016d}/balance",
        currency_code=currencies.CODE_BY_NUMBER[currency],
        balance_minor=balance_minor,
        held_minor=held_minor,
        available_minor=balance_minor - held_minor - floor_minor,
        version=version,
    )


def customer(record: account_pb2.Customer) -> bank_pb2.Customer:
    """Write a customer."""
    number = identifiers.customer_text(record.customer_number)
    return bank_pb2.Customer(
        name=f"customers/{number}",
        customer_number=number,
        external_reference=record.external_reference,
        display_name=record.display_name,
        create_time=timestamp(record.create_time_us),
    )


def account(record: account_pb2.Account) -> bank_pb2.Account:
    """Write an account."""
    number = identifiers.account_text(record.account_number)
    return bank_pb2.Account(
        name=f"accounts/{number}",
        account_number=number,
        customer=f"customers/{identifiers.customer_text(record.customer_number)}",
        currency_code=currencies.CODE_BY_NUMBER[record.currency],
        external_reference=record.external_reference,
        state=record.state,  # type: ignore[arg-type]
        create_time=timestamp(record.create_time_us),
    )


_KIND_BY_REASON: Final = {
    "REQUEST_ID_REUSED": errors.Conflict,
    "EXTERNAL_REFERENCE_TAKEN": errors.Conflict,
    "BANK_FULL": errors.Refused,
    "CUSTOMER_NOT_FOUND": errors.NotFound,
}


def opening_error(error: account_pb2.PlaceError) -> errors.BankError:
    """Say why the account service did not open a customer or an account."""
    kind = _KIND_BY_REASON.get(error.reason, errors.Unavailable)
    return kind(error.reason, error.message)


class Statuses:
    """Says the errors of one call's places; places that share an error share the work."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[errors.BankError, status_pb2.Status]] = {}
        self._further_left = FURTHER_VIOLATIONS_MAX

    def of(self, error: errors.BankError) -> status_pb2.Status:
        """Say one error."""
        known = self._known.get(id(error))
        if known is None:
            known = self._known[id(error)] = (error, status.to_status(self._shortened(error)))
        return known[1]

    def _shortened(self, error: errors.BankError) -> errors.BankError:
        if not isinstance(error, errors.Malformed) or not error.further:
            return error
        self._further_left -= len(error.further)
        if self._further_left >= 0:
            return error
        return errors.Malformed(error.reason, error.field, error.description)


def timestamp(microseconds: int) -> Timestamp:
    """Write microseconds since 1970-01-01 UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def day(days: int) -> Date:
    """Write days since 1970-01-01."""
    year, month, day_of_month = _calendar(days)
    return Date(year=year, month=month, day=day_of_month)


@lru_cache(maxsize=4096)
def _calendar(days: int) -> tuple[int, int, int]:
    it = date.fromordinal(days + _EPOCH_ORDINAL)
    return it.year, it.month, it.day
