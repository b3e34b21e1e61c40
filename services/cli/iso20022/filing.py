"""A payment file put to work: registered, its accounts found, its payments posted, each once.

A payment's id is derived from the initiating party, the file's message id, the payment information's and
the payment's own identification; so the same file again finds the outcomes of the first time, and a run
that broke off is finished. Payments of one debtor are posted in the file's order; those of a day to come
are looked over, and paid when the file comes again on that day or later: nothing wakes up by itself.
Never here: reading XML (`orders.py`), what a file's own faults are (`checking.py`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from hivecore.gateway.v1 import bank_pb2

from services.cli.bulk import ITEMS_PER_CALL, No, Undecided
from services.cli.ids import request_id
from services.cli.iso20022 import checking, report
from services.cli.iso20022.checking import Findings
from services.cli.iso20022.orders import CreditTransfer, PaymentFile, PaymentInformation
from services.cli.iso20022.report import Answer, Report
from services.cli.posting import post
from services.cli.session import Session
from services.domain import errors, identifiers, limits

if TYPE_CHECKING:
    from rich.progress import Progress

_BANKS_PER_CALL = 100
"""What RegisterPartnerBanks takes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file a payment stands, counted from 0, and whose money it is."""

    information: int
    transfer: int
    debtor_account: str


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of a file, and the report on it."""

    report: Report
    status_xml: bytes


async def carry_out(
    bank: Session, file: PaymentFile, today: date, progress: "Progress", *, registers_banks: bool = False
) -> Filed:
    """Carry a file out as far as it can be, and report on it.

    `registers_banks` makes the creditors' banks partner banks first. Raises `BankError` when the bank
    cannot be used at all.
    """
    await bank.wait_reachable()
    findings = checking.check(file, today)
    registered = await _register(bank, file, findings)
    ids = [[transfer_id(file, one, transfer) for transfer in one.transfers] for one in file.informations]
    answers: list[list[Answer]] = [
        [findings.of(number, place) or Undecided("NOT_SENT", "not sent yet") for place in range(len(one.transfers))]
        for number, one in enumerate(file.informations)
    ]
    if findings.group is None:
        if registers_banks:
            await _register_banks(bank, file)
        numbers = await _resolve(bank, file, progress)
        items = _transfers(file, findings, numbers, ids, answers)
        task = progress.add_task("payments", total=len(items))

        def record(place: Place, answer: Answer) -> None:
            answers[place.information][place.transfer] = answer
            progress.advance(task)

        await post(bank, items, lambda place: place.debtor_account, record)
    told = Report(file, registered, answers, findings.group, findings.informations)
    return Filed(told, report.write(told, ids))


def transfer_id(file: PaymentFile, information: PaymentInformation, transfer: CreditTransfer) -> str:
    """Derive the id under which a payment is posted, always the same."""
    names = (file.initiating_party, file.message_id, information.payment_information_id, transfer.identification)
    return request_id("pain.001", json.dumps(names))


async def _register(bank: Session, file: PaymentFile, findings: Findings) -> int:
    """Claim the file's message id; what speaks against it is a fault of the group. Returns since when."""
    asked = bank_pb2.PaymentFile(
        initiating_party=file.initiating_party,
        message_id=file.message_id,
        digest=file.digest,
        transfer_count=sum(len(information.transfers) for information in file.informations),
    )
    request = bank_pb2.RegisterPaymentFileRequest(payment_file=asked)
    try:
        registered = await bank.insist(bank.stub.RegisterPaymentFile, request)
    except errors.Conflict as error:
        findings.group = No(error.reason, error.message)
        return 0
    return registered.create_time.ToMicroseconds()


async def _register_banks(bank: Session, file: PaymentFile) -> None:
    codes = sorted({checking.head_office(transfer.creditor_bank) for transfer in _to_partners(file)})
    for start in range(0, len(codes), _BANKS_PER_CALL):
        request = bank_pb2.RegisterPartnerBanksRequest(bank_codes=codes[start : start + _BANKS_PER_CALL])
        await bank.insist(bank.stub.RegisterPartnerBanks, request)


def _to_partners(file: PaymentFile) -> Iterable[CreditTransfer]:
    return (
        transfer
        for information in file.informations
        for transfer in information.transfers
        if not checking.is_own_bank(information, transfer)
    )


async def _resolve(bank: Session, file: PaymentFile, progress: "Progress") -> dict[str, str]:
    """Look up the account numbers behind all names of own accounts; unknown names are left out."""
    names: dict[str, None] = {}
    for information in file.informations:
        names[information.debtor_account] = None
        for transfer in information.transfers:
            if checking.is_own_bank(information, transfer):
                names[transfer.creditor_account] = None
    found = {name: name for name in names if _is_number(name)}
    references = [name for name in names if 1 <= len(name) <= limits.EXTERNAL_REFERENCE_CHARACTERS_MAX]
    references = [name for name in references if name not in found]
    task = progress.add_task("looking up accounts", total=len(references))
    for start in range(0, len(references), ITEMS_PER_CALL):
        wanted = references[start : start + ITEMS_PER_CALL]
        response = await bank.insist(bank.stub.FindAccounts, bank_pb2.FindAccountsRequest(external_references=wanted))
        for name, account in zip(wanted, response.accounts, strict=True):
            if account.name:
                found[name] = account.account_number
        progress.advance(task, len(wanted))
    return found


def _is_number(text: str) -> bool:
    """Tell whether a text is an account number of this bank's, check digits and all."""
    try:
        identifiers.parse_account_number(text, "account")
    except errors.Malformed:
        return False
    return True


def _transfers(
    file: PaymentFile,
    findings: Findings,
    numbers: dict[str, str],
    ids: Sequence[Sequence[str]],
    answers: list[list[Answer]],
) -> list[tuple[Place, bank_pb2.Transfer]]:
    """Write the payments that nothing speaks against; the others get their answer at once."""
    items: list[tuple[Place, bank_pb2.Transfer]] = []
    for number, information in enumerate(file.informations):
        debtor, day = numbers.get(information.debtor_account), findings.days.get(number)
        for place, transfer in enumerate(information.transfers):
            if findings.of(number, place) is not None:
                continue
            if debtor is None:
                name = information.debtor_account[:40]
                answers[number][place] = No("DEBTOR_ACCOUNT_NOT_FOUND", f"DbtrAcct: the bank has no account {name!r}")
                continue
            is_own = checking.is_own_bank(information, transfer)
            creditor = numbers.get(transfer.creditor_account) if is_own else ""
            if creditor is None:
                name = transfer.creditor_account[:40]
                answers[number][place] = No(
                    "CREDITOR_ACCOUNT_NOT_FOUND", f"CdtrAcct: the bank has no account {name!r}, and no other is named"
                )
                continue
            if day is not None:
                answers[number][place] = Undecided(report.TO_COME, f"to be paid on {day}: file it again on that day")
                continue
            items.append((Place(number, place, debtor), _transfer(transfer, ids[number][place], debtor, creditor)))
    return items


def _transfer(transfer: CreditTransfer, id_text: str, debtor: str, creditor: str) -> bank_pb2.Transfer:
    """Write a payment as a transfer: to an own account, or to the nostro account of the creditor's bank."""
    code = checking.head_office(transfer.creditor_bank)
    leg = bank_pb2.Leg(
        debit_account=debtor,
        credit_account=creditor or f"NOSTRO.{code}",
        amount_minor=checking.amount_minor(transfer),
        currency_code=transfer.currency_code,
    )
    asked = bank_pb2.Transfer(transfer_id=id_text, legs=[leg], reference=transfer.remittance_text)
    if not creditor:
        asked.reference = transfer.end_to_end_id
        asked.creditor.bank_code = code
        asked.creditor.account = transfer.creditor_account
        asked.creditor.creditor_name = transfer.creditor_name[: limits.DISPLAY_NAME_CHARACTERS_MAX]
        asked.creditor.remittance_text = transfer.remittance_text
    elif not transfer.remittance_text:
        asked.reference = transfer.end_to_end_id
    return asked
