"""What is wrong with a payment file by itself, before the bank is asked. Pure.

A fault of the group refuses everything, one of a payment information its transfers, one of a transfer
that transfer. Never here: accounts, balances, the bank's own reasons.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from services.cli.amounts import AmountInvalid, exponent_of, parse_amount
from services.cli.bulk import No
from services.cli.iso20022.orders import (
    IDENTIFIER_CHARACTERS_MAX,
    NOT_PROVIDED,
    CreditTransfer,
    PaymentFile,
    PaymentInformation,
)
from services.domain import limits

_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,17})?")
"""A decimal of ISO 20022, without sign or exponent."""

_BANK_CODE: Final = re.compile(rf"[A-Z0-9]{{1,{limits.BANK_CODE_CHARACTERS_MAX}}}")


DAYS_AHEAD_MAX: Final = 366
"""How far ahead payments are accepted: a mistyped year should be refused, not kept."""


@dataclass(slots=True)
class Findings:
    """What is wrong: with the whole, with payment informations by place, with transfers by both places."""

    group: No | None = None
    informations: dict[int, No] = field(default_factory=dict)
    transfers: dict[tuple[int, int], No] = field(default_factory=dict)
    """Transfers of a payment information that is refused itself are not here."""
    days: dict[int, date] = field(default_factory=dict)
    """When payment informations are to be paid whose day has not come."""

    def of(self, information: int, transfer: int) -> No | None:
        """Tell what is wrong with a transfer, itself or with what it stands in."""
        return self.group or self.informations.get(information) or self.transfers.get((information, transfer))


def check(file: PaymentFile, today: date) -> Findings:
    """Look a file over. `today` is the bank's business date."""
    findings = Findings(_group_fault(file))
    seen: set[str] = set()
    for number, information in enumerate(file.informations):
        fault = _information_fault(information, today)
        if information.payment_information_id in seen:
            fault = No("PAYMENT_INFORMATION_ID_REPEATED", "PmtInfId stands in this file before")
        seen.add(information.payment_information_id)
        if fault is not None:
            findings.informations[number] = fault
            continue
        day = _execution_day(information)
        if day is not None and day > today:
            findings.days[number] = day
        identifications = Counter(transfer.identification for transfer in information.transfers)
        first: set[str] = set()
        for place, transfer in enumerate(information.transfers):
            fault = _transfer_fault(transfer)
            if identifications[transfer.identification] > 1 and transfer.identification in first:
                fault = No("TRANSFER_IDENTIFICATION_REPEATED", "InstrId, or EndToEndId, stands in this PmtInf before")
            first.add(transfer.identification)
            if fault is not None:
                findings.transfers[number, place] = fault
    return findings


def amount_minor(transfer: CreditTransfer) -> int:
    """Read a transfer's amount into minor units. Raises `AmountInvalid`."""
    if _NUMBER.fullmatch(transfer.amount) is None:
        raise AmountInvalid(f"{transfer.amount[:40]!r} is not a decimal number")
    whole, point, decimals = transfer.amount.partition(".")
    needed = exponent_of(transfer.currency_code)
    decimals = decimals[:needed] + decimals[needed:].rstrip("0")
    return parse_amount(f"{whole}.{decimals}" if point and decimals else whole, transfer.currency_code)


def head_office(bank_code: str) -> str:
    """Write a BIC of a head office with 8 characters; any other code as it is."""
    code = bank_code.strip().upper()
    return code[:8] if len(code) == 11 and code.endswith("XXX") else code


def is_own_bank(information: PaymentInformation, transfer: CreditTransfer) -> bool:
    """Tell whether the creditor's bank is the debtor's, or not named at all."""
    code = head_office(transfer.creditor_bank)
    return code in {"", NOT_PROVIDED} or code == head_office(information.debtor_bank)


def _group_fault(file: PaymentFile) -> No | None:
    transfers = [transfer for information in file.informations for transfer in information.transfers]
    if not transfers:
        return No("FILE_EMPTY", "the file has no credit transfers")
    for information in file.informations:
        if not 1 <= len(information.payment_information_id) <= IDENTIFIER_CHARACTERS_MAX:
            return No("IDENTIFICATION_INVALID", f"PmtInfId: from 1 to {IDENTIFIER_CHARACTERS_MAX} characters")
    if not _is_count(file.transfer_count, len(transfers)):
        return No("GROUP_COUNT_MISMATCH", f"GrpHdr/NbOfTxs is {file.transfer_count[:15]!r}, there are {len(transfers)}")
    return _sum_fault("GROUP_SUM_MISMATCH", "GrpHdr/CtrlSum", file.control_sum, transfers)


def _information_fault(information: PaymentInformation, today: date) -> No | None:
    if information.odd:
        return No("ELEMENT_NOT_SUPPORTED", f"{information.odd[0]} is not carried out here")
    if information.payment_method not in {"TRF", "TRA"}:
        return No("PAYMENT_METHOD_NOT_SUPPORTED", f"PmtMtd {information.payment_method[:10]!r}: only TRF and TRA are")
    count = len(information.transfers)
    if information.transfer_count and not _is_count(information.transfer_count, count):
        return No("COUNT_MISMATCH", f"NbOfTxs is {information.transfer_count[:15]!r}, there are {count}")
    fault = _sum_fault("SUM_MISMATCH", "CtrlSum", information.control_sum, information.transfers)
    if fault is not None:
        return fault
    if not information.debtor_account:
        return No("DEBTOR_ACCOUNT_MISSING", "DbtrAcct/Id: IBAN or Othr/Id")
    day = _execution_day(information)
    if day is None:
        return No("EXECUTION_DATE_INVALID", f"ReqdExctnDt {information.execution_date[:30]!r} is not a date")
    if day > today + timedelta(DAYS_AHEAD_MAX):
        return No("EXECUTION_DATE_TOO_FAR", f"ReqdExctnDt {day} is more than {DAYS_AHEAD_MAX} days ahead")
    return None


def _execution_day(information: PaymentInformation) -> date | None:
    try:
        return date.fromisoformat(information.execution_date[:10])
    except ValueError:
        return None


def _transfer_fault(transfer: CreditTransfer) -> No | None:
    if transfer.odd:
        return No("ELEMENT_NOT_SUPPORTED", f"{transfer.odd[0]} is not carried out here")
    if not transfer.end_to_end_id:
        return No("IDENTIFICATION_INVALID", "PmtId/EndToEndId is missing")
    if max(len(transfer.end_to_end_id), len(transfer.instruction_id)) > IDENTIFIER_CHARACTERS_MAX:
        return No("IDENTIFICATION_INVALID", f"PmtId: at most {IDENTIFIER_CHARACTERS_MAX} characters")
    try:
        amount_minor(transfer)
    except AmountInvalid as error:
        return No("AMOUNT_INVALID", f"InstdAmt: {error}")
    if not transfer.creditor_account:
        return No("CREDITOR_ACCOUNT_MISSING", "CdtrAcct/Id: IBAN or Othr/Id")
    if len(transfer.creditor_account) > limits.CREDITOR_ACCOUNT_CHARACTERS_MAX:
        return No(
            "CREDITOR_ACCOUNT_INVALID", f"CdtrAcct/Id: at most {limits.CREDITOR_ACCOUNT_CHARACTERS_MAX} characters"
        )
    if len(transfer.remittance_text) > limits.REFERENCE_CHARACTERS_MAX:
        return No("REMITTANCE_TOO_LONG", f"RmtInf: at most {limits.REFERENCE_CHARACTERS_MAX} characters in all")
    code = head_office(transfer.creditor_bank)
    if code and _BANK_CODE.fullmatch(code) is None:
        return No("CREDITOR_BANK_INVALID", f"CdtrAgt {code[:20]!r} is not a bank's code")
    return None


def _is_count(text: str, count: int) -> bool:
    return len(text) <= 15 and text.isascii() and text.isdigit() and int(text) == count


def _sum_fault(reason: str, name: str, text: str, transfers: Iterable[CreditTransfer]) -> No | None:
    """Compare a control sum, where there is one: of all amounts as numbers, whatever the currencies."""
    if not text:
        return None
    amounts = [transfer.amount for transfer in transfers]
    if not all(map(_NUMBER.fullmatch, (text, *amounts))):
        readable = "a number" if _NUMBER.fullmatch(text) is None else "checked: an amount is not a number"
        return No(reason, f"{name} {text[:40]!r} is not {readable}")
    total = sum_exactly(amounts)
    return None if Decimal(text) == total else No(reason, f"{name} is {text[:40]}, the amounts add up to {total}")


def sum_exactly(amounts: Sequence[str]) -> Decimal:
    """Add decimals as integers of their smallest place: no context rounds them."""
    places = max((len(amount.partition(".")[2]) for amount in amounts), default=0)
    total = 0
    for amount in amounts:
        whole, _, decimals = amount.partition(".")
        total += int(whole + decimals.ljust(places, "0"))
    return Decimal(total).scaleb(-places) if len(str(total)) <= 27 else Decimal(f"{total}E-{places}")
