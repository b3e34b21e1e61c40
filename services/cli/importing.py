"""Customers and accounts from files into the bank, once however often it is run.

Each row's request id is derived from its reference, so the bank itself recognises what it has
done before, and an import that was interrupted is simply run again. Never here: reading files
(`csv_files.py`), printing.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hivecore.gateway.v1 import bank_pb2

from services.cli import bulk
from services.cli.amounts import parse_amount
from services.cli.bulk import Done, No, Undecided
from services.cli.csv_files import AccountRow, CustomerRow, Parsed
from services.cli.ids import request_id
from services.cli.posting import post
from services.cli.session import BULK_DEADLINE_SECONDS, Session, answer_of
from services.cli.tally import Tally
from services.domain import errors

if TYPE_CHECKING:
    from rich.progress import Progress

LOOKUPS_IN_FLIGHT: Final = 64
"""Customers asked for at once, each with a call of its own, when their file is not given."""


@dataclass(slots=True)
class Import:
    """What an import did, and who is who afterwards."""

    customers: Tally | None = None
    accounts: Tally | None = None
    funding: Tally | None = None

    @property
    def tallies(self) -> list[Tally]:
        """All that was done, in order."""
        return [tally for tally in (self.customers, self.accounts, self.funding) if tally is not None]


async def import_files(
    bank: Session,
    customers: Parsed[CustomerRow] | None,
    accounts: Parsed[AccountRow] | None,
    fund: str | None,
    progress: "Progress",
) -> Import:
    """Open the customers, then the accounts, then pay `fund` in cash into each account.

    `fund` is an amount in the currency of every account. Raises `BankError` when the bank cannot be
    used at all; what concerns a row is in the tallies.
    """
    await bank.wait_reachable()
    done = Import()
    name_by_reference: dict[str, str] = {}
    if customers is not None:
        done.customers = await _open_customers(bank, customers, name_by_reference, progress)
    if accounts is not None:
        opened: list[tuple[AccountRow, str]] = []
        done.accounts = await _open_accounts(bank, accounts, name_by_reference, opened, progress)
        if fund is not None:
            done.funding = await _fund(bank, opened, fund, progress)
    return done


async def _open_customers(
    bank: Session, parsed: Parsed[CustomerRow], name_by_reference: dict[str, str], progress: "Progress"
) -> Tally:
    """Open every customer of the file and learn its name."""
    tally = Tally("customers", len(parsed.rows) + len(parsed.refused), refused=list(parsed.refused))
    task = progress.add_task("customers", total=len(parsed.rows))

    async def send(
        items: Sequence[tuple[CustomerRow, bank_pb2.OpenCustomerRequest]],
    ) -> list[Done[str] | No | Undecided]:
        request = bank_pb2.OpenCustomersRequest(requests=[each for _, each in items])
        response = await bank.call(bank.stub.OpenCustomers, request, deadline_seconds=BULK_DEADLINE_SECONDS)
        return [
            Done(result.customer.name) if result.HasField("customer") else answer_of(result.error)
            for result in response.results
        ]

    def record(item: tuple[CustomerRow, bank_pb2.OpenCustomerRequest], answer: Done[str] | No | Undecided) -> None:
        row, _ = item
        tally.record(row.line, row.reference, answer)
        if isinstance(answer, Done):
            name_by_reference[row.reference] = answer.value
        progress.advance(task)

    items = [
        (
            row,
            bank_pb2.OpenCustomerRequest(
                request_id=request_id("customer", row.reference),
                customer=bank_pb2.Customer(external_reference=row.reference),
            ),
        )
        for row in parsed.rows
    ]
    began = time.monotonic()
    await bulk.settle(
        bulk.deal(items, key=lambda item: item[0].line), send, record, weigh=lambda item: item[1].ByteSize() + 4
    )
    tally.finish(time.monotonic() - began)
    return tally


async def _open_accounts(
    bank: Session,
    parsed: Parsed[AccountRow],
    name_by_reference: dict[str, str],
    opened: list[tuple[AccountRow, str]],
    progress: "Progress",
) -> Tally:
    """Open every account of the file whose customer the bank knows; `opened` takes their numbers."""
    tally = Tally("accounts", len(parsed.rows) + len(parsed.refused), refused=list(parsed.refused))
    task = progress.add_task("accounts", total=len(parsed.rows))
    began = time.monotonic()
    missing = await _find_customers(bank, parsed.rows, name_by_reference, progress)

    async def send(
        items: Sequence[tuple[AccountRow, bank_pb2.OpenAccountRequest]],
    ) -> list[Done[str] | No | Undecided]:
        request = bank_pb2.OpenAccountsRequest(requests=[each for _, each in items])
        response = await bank.call(bank.stub.OpenAccounts, request, deadline_seconds=BULK_DEADLINE_SECONDS)
        return [
            Done(result.account.account_number) if result.HasField("account") else answer_of(result.error)
            for result in response.results
        ]

    def record(item: tuple[AccountRow, bank_pb2.OpenAccountRequest], answer: Done[str] | No | Undecided) -> None:
        row, _ = item
        tally.record(row.line, row.reference, answer)
        if isinstance(answer, Done):
            opened.append((row, answer.value))
        progress.advance(task)

    items = []
    for row in parsed.rows:
        request = bank_pb2.OpenAccountRequest(
            request_id=request_id("account", row.reference),
            account=bank_pb2.Account(
                customer=name_by_reference.get(row.customer_reference, ""),
                currency_code=row.currency_code,
                external_reference=row.reference,
            ),
        )
        if row.customer_reference in missing:
            record((row, request), missing[row.customer_reference])
        else:
            items.append((row, request))
    await bulk.settle(
        bulk.deal(items, key=lambda item: item[0].customer_reference),
        send,
        record,
        weigh=lambda item: item[1].ByteSize() + 4,
    )
    tally.finish(time.monotonic() - began)
    opened.sort(key=lambda pair: pair[0].line)
    return tally


async def _find_customers(
    bank: Session, rows: Sequence[AccountRow], name_by_reference: dict[str, str], progress: "Progress"
) -> dict[str, No | Undecided]:
    """Look up the customers that no file named; tell why for each reference that the bank does not know."""
    wanted = list(dict.fromkeys(row.customer_reference for row in rows))
    unknown = [reference for reference in wanted if reference not in name_by_reference]
    missing: dict[str, No | Undecided] = {}
    if not unknown:
        return missing
    task = progress.add_task("looking up customers", total=len(unknown))
    gate = asyncio.Semaphore(LOOKUPS_IN_FLIGHT)

    async def look_up(reference: str) -> Done[str] | No | Undecided:
        request = bank_pb2.GetCustomerRequest(name="customers/-", external_reference=reference)
        async with gate:
            try:
                return Done((await bank.call(bank.stub.GetCustomer, request)).name)
            except errors.NotFound:
                return No("CUSTOMER_REFERENCE_NOT_FOUND", f"customer_ref: the bank has no customer {reference!r}")
            except errors.Malformed as error:
                return No(error.reason, error.message)
            except bulk.NOT_DECIDED_YET as error:
                return Undecided(error.reason, error.message)

    async def send(references: Sequence[str]) -> Sequence[Done[str] | No | Undecided]:
        return await asyncio.gather(*map(look_up, references))

    def record(reference: str, answer: Done[str] | No | Undecided) -> None:
        if isinstance(answer, Done):
            name_by_reference[reference] = answer.value
        else:
            missing[reference] = answer
        progress.advance(task)

    await bulk.settle([unknown], send, record, weigh=len)
    return missing


async def _fund(bank: Session, opened: Sequence[tuple[AccountRow, str]], amount: str, progress: "Progress") -> Tally:
    """Pay `amount` in cash into each account; an account that was funded before is not funded again."""
    tally = Tally("funding", len(opened))
    items: list[tuple[AccountRow, bank_pb2.Transfer]] = []
    for row, account_number in opened:
        leg = bank_pb2.Leg(
            debit_account="CASH",
            credit_account=account_number,
            amount_minor=parse_amount(amount, row.currency_code),
            currency_code=row.currency_code,
        )
        transfer_id = request_id("funding", row.reference)
        items.append((row, bank_pb2.Transfer(transfer_id=transfer_id, legs=[leg], reference="opening balance")))
    task = progress.add_task("funding", total=len(items))
    began = time.monotonic()

    def record(row: AccountRow, answer: Done[None] | No | Undecided) -> None:
        tally.record(row.line, row.reference, answer)
        progress.advance(task)

    await post(bank, items, lambda row: row.reference, record)
    tally.finish(time.monotonic() - began)
    return tally
