"""Whole requests of the public wire, read into columns or refused field by field. Pure.

Transfers are read column by column, because that costs a third of reading them one by one. The
columns only tell which transfers look suspicious; `faults.py` then reads such a transfer alone, is the
one authority on what is wrong with it, and gathers everything. A test holds the two together.

Never here: whether an account exists, who may use it, or where it lives.
"""

from collections.abc import Callable, Sequence
from typing import Final

from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2

from services.domain import chart, currencies, errors, identifiers, limits, metadata
from services.gateway import faults, fields
from services.gateway.columns import (
    FEES_WAIVED,
    LIMITS_OVERRIDDEN,
    Creditor,
    FurtherLeg,
    Special,
    Transfers,
    chart_side,
)
from services.gateway.fields import Findings

PARTNER_BANKS_PER_CALL_MAX: Final = 100

_NOSTRO_SIDE_UNKNOWN: Final = chart_side(chart.Code.NOSTRO)
"""Nostro of a bank that is no partner; no partner has number 0."""
_NO_LEG: Final = bank_pb2.Leg()
_NO_ID: Final = bytes(16)
_INTERNAL_FIRST: Final = len(identifiers.CUSTOMER_SLOTS) * 10**12


def check_count(count: int, count_max: int, reason: str, field: str) -> None:
    """Raise `Malformed` with `reason` unless 1 <= count <= count_max."""
    if not 1 <= count <= count_max:
        raise errors.Malformed(reason, field, f"from 1 to {count_max}")


def read_transfers(
    messages: Sequence[bank_pb2.Transfer], partners: faults.Partners, path: Callable[[int], str]
) -> tuple[Transfers, dict[int, errors.BankError]]:
    """Read transfers; also tell, by place, what is wrong with those that are to be refused.

    The columns of a refused place hold junk, except that its wish to be let off limits or fees is noted. `path` names the field of a place.
    """
    suspects: set[int] = set()
    legs_by_place = [message.legs for message in messages]
    firsts = [legs[0] if legs else _NO_LEG for legs in legs_by_place]
    debits = _read_sides([leg.debit_account for leg in firsts], partners, suspects)
    credits_ = _read_sides([leg.credit_account for leg in firsts], partners, suspects)
    suspects.update(_odd_pairs(debits, credits_))
    transfers = Transfers(
        _read_transfer_ids([message.transfer_id for message in messages], suspects),
        debits,
        credits_,
        _read_amounts([leg.amount_minor for leg in firsts], suspects),
        _read_currencies([leg.currency_code for leg in firsts], suspects),
        _read_references([message.reference for message in messages], suspects),
    )
    further_legs = _read_further_legs(legs_by_place, partners, suspects)
    wishful = [
        place
        for place, message in enumerate(messages)
        if message.override_limits or message.waive_fees or message.HasField("fee_minor_max")
    ]
    transfers.specials = {place: _read_wishes(messages[place]) for place in wishful}
    suspects.update(place for place in wishful if not 0 <= messages[place].fee_minor_max <= limits.AMOUNT_MINOR_MAX)
    value_dates = _read_value_dates(messages, suspects)
    creditors = _read_creditors(messages, suspects)
    metadata_by_place = _read_metadata(messages, suspects)
    found = {}
    for place in sorted(suspects):
        fault = faults.fault(messages[place], partners, path(place))
        if fault is not None:
            found[place] = fault
    transfers.further_legs = [leg for leg in further_legs if leg.place not in found]
    transfers.creditors = [creditor for creditor in creditors if creditor.place not in found]
    transfers.metadata = {place: pairs for place, pairs in metadata_by_place.items() if place not in found}
    if any(place not in found for place in value_dates):
        transfers.value_dates = [value_dates.get(place, 0) for place in range(len(messages))]
    return transfers, found


def _read_wishes(message: bank_pb2.Transfer) -> Special:
    """Read what a transfer asks to be let off, and what it agrees to be charged."""
    flags = (LIMITS_OVERRIDDEN if message.override_limits else 0) | (FEES_WAIVED if message.waive_fees else 0)
    return Special(flags=flags, fee_minor_max=message.fee_minor_max if message.HasField("fee_minor_max") else None)


def _read_sides(texts: list[str], partners: faults.Partners, suspects: set[int]) -> list[int]:
    joined = "".join(texts)
    if len(joined) == 16 * len(texts) and max(map(len, texts)) == 16 and joined.isascii() and joined.isdigit():
        sides = [int(text) for text in texts]
    else:
        sides = [faults.read_side(text, partners) for text in texts]
    suspects.update(
        [
            place
            for place, side in enumerate(sides)
            if (
                side > 0
                and (
                    side % 97 != 1
                    or not 2 <= side % 100 <= 98
                    or not side // 100 % 10**10
                    or (side >= _INTERNAL_FIRST and chart.is_transit(side))
                )
            )
            or side in (0, _NOSTRO_SIDE_UNKNOWN)
        ]
    )
    return sides


def _odd_pairs(debits: list[int], credits_: list[int]) -> list[int]:
    """Tell which legs have one account, or chart names, on both sides."""
    odd = [place for place, debit in enumerate(debits) if debit == credits_[place]]
    if min(debits) < 0 and min(credits_) < 0:
        odd += [place for place, debit in enumerate(debits) if debit < 0 and credits_[place] < 0]
    return odd


def _read_further_legs(
    legs_by_place: Sequence[Sequence[bank_pb2.Leg]], partners: faults.Partners, suspects: set[int]
) -> list[FurtherLeg]:
    """Read the legs after the first, of all places together, in columns of their own."""
    places = [place for place, legs in enumerate(legs_by_place) if len(legs) != 1]
    if not places:
        return []
    legs: list[bank_pb2.Leg] = []
    owners: list[int] = []
    for place in places:
        further = legs_by_place[place][1:]
        if 1 <= len(further) < limits.LEGS_PER_TRANSFER_MAX:
            legs += further
            owners += [place] * len(further)
        else:
            suspects.add(place)
    if not legs:
        return []
    odd: set[int] = set()
    debits = _read_sides([leg.debit_account for leg in legs], partners, odd)
    credits_ = _read_sides([leg.credit_account for leg in legs], partners, odd)
    odd.update(_odd_pairs(debits, credits_))
    amounts = _read_amounts([leg.amount_minor for leg in legs], odd)
    numbers = _read_currencies([leg.currency_code for leg in legs], odd)
    suspects.update([owners[row] for row in odd])
    return list(map(FurtherLeg, owners, debits, credits_, amounts, numbers))


def _read_value_dates(messages: Sequence[bank_pb2.Transfer], suspects: set[int]) -> dict[int, int]:
    """Read the days of those that have one, by place."""
    found = {}
    for place, message in enumerate(messages):
        if message.HasField("value_date"):
            it = message.value_date
            days = found[place] = fields.days_of(it.year, it.month, it.day)
            if not days:
                suspects.add(place)
    return found


def _read_creditors(messages: Sequence[bank_pb2.Transfer], suspects: set[int]) -> list[Creditor]:
    """Read who is paid at other banks; suspicious is what does not look like most."""
    found = []
    for place, message in enumerate(messages):
        if message.HasField("creditor"):
            it = message.creditor
            row = Creditor(place, it.bank_code, it.account, it.creditor_name, it.remittance_text)
            found.append(row)
            if not (
                row.account
                and len(row.account) <= limits.CREDITOR_ACCOUNT_CHARACTERS_MAX
                and len(row.creditor_name) <= limits.DISPLAY_NAME_CHARACTERS_MAX
                and len(row.remittance_text) <= limits.REFERENCE_CHARACTERS_MAX
                and (row.account + row.creditor_name + row.remittance_text).isprintable()
                and (match := faults.NOSTRO_NAME.fullmatch(f"NOSTRO.{row.bank_code}"))
                and all(leg.credit_account in ("", match[0]) or leg.credit_account[0] != "N" for leg in message.legs)
            ):
                suspects.add(place)
    return found


def _read_metadata(messages: Sequence[bank_pb2.Transfer], suspects: set[int]) -> dict[int, metadata.Metadata]:
    """Read what callers keep with their transfers, by place."""
    found = {}
    for place, message in enumerate(messages):
        if message.metadata:
            try:
                found[place] = metadata.read(message.metadata)
            except errors.Malformed:
                suspects.add(place)
    return found


def _read_transfer_ids(texts: list[str], suspects: set[int]) -> bytes:
    joined = "".join(texts)
    count = len(texts)
    hyphens = "-" * count
    if max(map(len, texts)) == 36 and all(joined[place::36] == hyphens for place in (8, 13, 18, 23)):
        digits = joined.replace("-", "")
        # So many digits beside so many hyphens leave no id short; `fromhex` alone would skip white space.
        if len(digits) == 32 * count and digits.isascii() and digits.isalnum():
            try:
                return bytes.fromhex(digits)
            except ValueError:
                pass
    ids = []
    for place, text in enumerate(texts):
        try:
            ids.append(identifiers.parse_uuid(text, ""))
        except errors.Malformed:
            suspects.add(place)
            ids.append(_NO_ID)
    return b"".join(ids)


def _read_amounts(amounts: list[int], suspects: set[int]) -> list[int]:
    if min(amounts) < 1 or max(amounts) > limits.AMOUNT_MINOR_MAX:
        suspects.update([place for place, amount in enumerate(amounts) if not 1 <= amount <= limits.AMOUNT_MINOR_MAX])
    return amounts


def _read_currencies(codes: list[str], suspects: set[int]) -> list[int]:
    number_of = currencies.NUMBER_BY_CODE.get
    numbers = [number_of(code, 0) for code in codes]
    if 0 in numbers:
        suspects.update([place for place, number in enumerate(numbers) if not number])
    return numbers


def _read_references(texts: list[str], suspects: set[int]) -> list[str]:
    joined = "".join(texts)
    if not joined:
        return []
    if max(map(len, texts)) > limits.REFERENCE_CHARACTERS_MAX or fields.CONTROL_CHARACTERS.search(joined):
        suspects.update(
            [
                place
                for place, text in enumerate(texts)
                if len(text) > limits.REFERENCE_CHARACTERS_MAX or fields.CONTROL_CHARACTERS.search(text)
            ]
        )
    return texts


def read_customer_opening(
    message: bank_pb2.OpenCustomerRequest, path: str
) -> account_pb2.OpenCustomersRequest.Item | errors.Malformed:
    """Read one customer to open, or tell everything that is wrong with it."""
    findings = Findings(path)
    item = account_pb2.OpenCustomersRequest.Item(
        request_id=findings.take(identifiers.parse_uuid, message.request_id, "request_id", _NO_ID),
        external_reference=findings.text(
            message.customer.external_reference,
            "customer.external_reference",
            limits.EXTERNAL_REFERENCE_CHARACTERS_MAX,
        ),
        display_name=findings.text(
            message.customer.display_name, "customer.display_name", limits.DISPLAY_NAME_CHARACTERS_MAX
        ),
    )
    return findings.error() or item


def read_account_opening(
    message: bank_pb2.OpenAccountRequest, path: str
) -> account_pb2.OpenAccountsRequest.Item | errors.Malformed:
    """Read one account to open, or tell everything that is wrong with it."""
    findings = Findings(path)
    account = message.account
    code, version = findings.take(fields.parse_product_name, account.product, "account.product", ("", 0))
    if version:
        findings.add("PRODUCT_VERSION_GIVEN", "account.product", "an account is opened with the highest version")
    item = account_pb2.OpenAccountsRequest.Item(
        product_code=code,
        request_id=findings.take(identifiers.parse_uuid, message.request_id, "request_id", _NO_ID),
        customer_number=findings.take(fields.parse_customer_name, account.customer, "account.customer", 0),
        currency=findings.take(fields.parse_currency, account.currency_code, "account.currency_code", 0),
        external_reference=findings.text(
            account.external_reference, "account.external_reference", limits.EXTERNAL_REFERENCE_CHARACTERS_MAX
        ),
    )
    return findings.error() or item


def check_payment_file(file: bank_pb2.PaymentFile) -> None:
    """Raise `Malformed`, naming everything that is wrong with a payment file to be registered."""
    findings = Findings()
    findings.text(file.initiating_party, "payment_file.initiating_party", limits.DISPLAY_NAME_CHARACTERS_MAX)
    findings.text(file.message_id, "payment_file.message_id", limits.MESSAGE_ID_CHARACTERS_MAX)
    if not file.message_id:
        findings.add("MESSAGE_ID_MISSING", "payment_file.message_id", "at least 1 character")
    if len(file.digest) != 32:
        findings.add("DIGEST_INVALID", "payment_file.digest", "32 bytes of SHA-256")
    if file.transfer_count < 0:
        findings.add("TRANSFERS_COUNT_INVALID", "payment_file.transfer_count", "from 0 on")
    findings.raise_if_any()


def read_references(texts: Sequence[str], field: str) -> list[str]:
    """Read external references to look for. Raises `Malformed`, naming each bad place."""
    findings = Findings()
    for place, text in enumerate(texts):
        if not text:
            findings.add("EXTERNAL_REFERENCE_MISSING", f"{field}[{place}]", "at least 1 character")
        findings.text(text, f"{field}[{place}]", limits.EXTERNAL_REFERENCE_CHARACTERS_MAX)
    findings.raise_if_any()
    return list(texts)


def read_bank_codes(codes: Sequence[str]) -> list[str]:
    """Read the codes of partner banks. Raises `Malformed`, naming each bad place."""
    check_count(len(codes), PARTNER_BANKS_PER_CALL_MAX, "BANK_CODES_COUNT_INVALID", "bank_codes")
    findings = Findings()
    for place, code in enumerate(codes):
        findings.take(fields.parse_bank_code, code, f"bank_codes[{place}]", "")
    findings.raise_if_any()
    return list(codes)
