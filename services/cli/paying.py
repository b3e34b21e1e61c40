"""Payments from a file to accounts at partner banks, once however often it is run.

Each payment is a transfer from the payer's account to the partner bank's nostro account, under an
id derived from the payment's reference. Payments of one account are posted in the file's order.
Never here: reading files (`csv_files.py`), printing.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount
from services.cli.bulk import ITEMS_PER_CALL, Done, No, Undecided
from services.cli.csv_files import ParsedPayments, PaymentRow
from services.cli.ids import request_id
from services.cli.posting import post
from services.cli.session import Session
from services.cli.tally import Tally
from services.cli.views import View

if TYPE_CHECKING:
    from rich.progress import Progress

_BANKS_PER_CALL: Final = 100
"""What RegisterPartnerBanks takes."""


@dataclass(slots=True)
class BankTotal:
    """What went to one partner bank in one currency, in minor units."""

    bank_code: str
    currency_code: str
    file_minor: int
    """The file's own sum: every row whose bank, amount and currency can be read."""
    posted_count: int = 0
    posted_minor: int = 0
    nostro_minor: int = 0
    """The nostro accounts' balance in the books afterwards, all shards and all payments ever."""

    def view(self) -> View:
        """Show it as plain values."""
        amounts = {"file": self.file_minor, "posted": self.posted_minor, "nostro": self.nostro_minor}
        return {
            "bank_code": self.bank_code,
            "currency_code": self.currency_code,
            "posted_count": self.posted_count,
            **{f"{name}_minor": minor for name, minor in amounts.items()},
            **{name: format_amount(minor, self.currency_code) for name, minor in amounts.items()},
            "is_all_posted": self.posted_minor == self.file_minor,
        }


@dataclass(slots=True)
class Payments:
    """What a payment run did."""

    tally: Tally
    totals: list[BankTotal] = field(default_factory=list)
    """By bank code and currency code."""

    def grand_totals(self) -> list[BankTotal]:
        """Add up over all banks, by currency code."""
        by_currency: dict[str, BankTotal] = {}
        for each in self.totals:
            grand = by_currency.setdefault(each.currency_code, BankTotal("", each.currency_code, 0))
            grand.file_minor += each.file_minor
            grand.posted_count += each.posted_count
            grand.posted_minor += each.posted_minor
            grand.nostro_minor += each.nostro_minor
        return [by_currency[code] for code in sorted(by_currency)]


async def pay(bank: Session, parsed: ParsedPayments, progress: "Progress") -> Payments:
    """Register the partner banks, resolve the payers, post the payments and add up.

    Raises `BankError` when the bank cannot be used at all; what concerns a row is in the tally.
    """
    tally = Tally("payments", len(parsed.rows) + len(parsed.refused), refused=list(parsed.refused))
    await bank.wait_reachable()
    nostro_accounts = await _register(bank, sorted({row.bank_code for row in parsed.rows}))
    number_by_reference = await _resolve(bank, parsed.rows, progress)
    posted_count: Counter[tuple[str, str]] = Counter()
    posted_minor: Counter[tuple[str, str]] = Counter()
    task = progress.add_task("payments", total=len(parsed.rows))

    def record(row: PaymentRow, answer: Done[None] | No | Undecided) -> None:
        tally.record(row.line, row.reference, answer)
        if isinstance(answer, Done):
            posted_count[row.bank_code, row.currency_code] += 1
            posted_minor[row.bank_code, row.currency_code] += row.amount_minor
        progress.advance(task)

    items: list[tuple[PaymentRow, bank_pb2.Transfer]] = []
    for row in parsed.rows:
        account_number = number_by_reference.get(row.debit_account_reference)
        if account_number is None:
            message = f"debit_account_ref: the bank has no account {row.debit_account_reference!r}"
            record(row, No("ACCOUNT_REFERENCE_NOT_FOUND", message))
        else:
            items.append((row, _transfer(row, account_number)))
    began = time.monotonic()
    await post(bank, items, lambda row: row.debit_account_reference, record)
    tally.finish(time.monotonic() - began)

    totals = [
        BankTotal(*key, parsed.sum_by_bank[key], posted_count[key], posted_minor[key])
        for key in sorted(parsed.sum_by_bank)
    ]
    await _read_nostros(bank, nostro_accounts, totals)
    return Payments(tally, totals)


def _transfer(row: PaymentRow, account_number: str) -> bank_pb2.Transfer:
    """Write a payment as a transfer to the partner bank's nostro account on the payer's shard."""
    leg = bank_pb2.Leg(
        debit_account=account_number,
        credit_account=f"NOSTRO.{row.bank_code}",
        amount_minor=row.amount_minor,
        currency_code=row.currency_code,
    )
    creditor = bank_pb2.ExternalCreditor(
        bank_code=row.bank_code, account=row.creditor_account, remittance_text=row.category
    )
    transfer_id = request_id("payment", row.reference)
    return bank_pb2.Transfer(transfer_id=transfer_id, legs=[leg], reference=row.reference, creditor=creditor)


async def _register(bank: Session, codes: Sequence[str]) -> list[bank_pb2.RegisterPartnerBanksResponse.NostroAccount]:
    """See to it that every partner bank has its nostro accounts, and return them."""
    accounts: list[bank_pb2.RegisterPartnerBanksResponse.NostroAccount] = []
    for start in range(0, len(codes), _BANKS_PER_CALL):
        request = bank_pb2.RegisterPartnerBanksRequest(bank_codes=codes[start : start + _BANKS_PER_CALL])
        response = await bank.insist(bank.stub.RegisterPartnerBanks, request)
        accounts.extend(response.nostro_accounts)
    return accounts


async def _resolve(bank: Session, rows: Sequence[PaymentRow], progress: "Progress") -> dict[str, str]:
    """Look up the account numbers behind the payers' references; unknown references are left out."""
    references = list(dict.fromkeys(row.debit_account_reference for row in rows))
    task = progress.add_task("looking up accounts", total=len(references))
    number_by_reference: dict[str, str] = {}
    for start in range(0, len(references), ITEMS_PER_CALL):
        wanted = references[start : start + ITEMS_PER_CALL]
        request = bank_pb2.FindAccountsRequest(external_references=wanted)
        response = await bank.insist(bank.stub.FindAccounts, request)
        for reference, account in zip(wanted, response.accounts, strict=True):
            if account.name:
                number_by_reference[reference] = account.account_number
        progress.advance(task, len(wanted))
    return number_by_reference


async def _read_nostros(
    bank: Session,
    accounts: Sequence[bank_pb2.RegisterPartnerBanksResponse.NostroAccount],
    totals: Sequence[BankTotal],
) -> None:
    """Read what the books say of the nostro accounts, for the banks and currencies of `totals`."""
    total_by_key = {(total.bank_code, total.currency_code): total for total in totals}
    for account in accounts:
        total = total_by_key.get((account.bank_code, account.currency_code))
        if total is not None:
            request = bank_pb2.GetBalanceRequest(name=f"accounts/{account.account_number}/balance")
            total.nostro_minor += (await bank.insist(bank.stub.GetBalance, request)).balance_minor
