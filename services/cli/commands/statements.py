"""`hivecore balance`, `statement`, `transfers` and `gl`: what the books say, now and of the past."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, TypeVar

import typer

from services.cli.commands.options import (
    AccountNumber,
    AsJson,
    Data,
    Gateway,
    MetadataPairs,
    Token,
    account_number,
    amount_of,
    metadata_of,
    with_bank,
)
from services.cli.finding import Where
from services.cli.output import Failure, show_fields, show_json, show_line, show_table

if TYPE_CHECKING:
    from google.type.date_pb2 import Date
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.iso20022.statement import Holder
    from services.cli.session import Session

Value = TypeVar("Value")

FirstDate = Annotated[str, typer.Option("--from", metavar="DAY", help="First business day, like 2026-01-01.")]
LastDate = Annotated[str, typer.Option("--to", metavar="DAY", help="Last business day, inclusive.")]

transfers = typer.Typer(no_args_is_help=True, help="Find and show transfers.", rich_markup_mode=None)


class Format(StrEnum):
    """Forms of a statement."""

    TABLE = "table"
    CSV = "csv"
    CAMT053 = "camt053"


def balance(
    number: AccountNumber,
    at: Annotated[
        str,
        typer.Option("--at", metavar="TIME", help="As booked by then, like 2026-01-31T12:00:00Z (UTC unless said)."),
    ] = "",
    day: Annotated[str, typer.Option("--day", metavar="DAY", help="As booked by the end of this business day.")] = "",
    value_date: Annotated[str, typer.Option("--value-date", metavar="DAY", help="By value date, up to this day.")] = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what an account holds, now or at a moment of the past."""
    if sum(map(bool, (at, day, value_date))) > 1:
        raise typer.BadParameter("--at, --day and --value-date name one moment: give one of them")

    async def work(bank: "Session") -> "bank_pb2.Balance":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
        if at:
            request.booking_time.FromDatetime(_time_of(at))
        elif day:
            request.business_date.CopyFrom(_day_of(day, "--day"))
        elif value_date:
            request.value_date.CopyFrom(_day_of(value_date, "--value-date"))
        return await bank.call(bank.stub.GetBalance, request)

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.views import balance_view

    view = balance_view(number, found, is_past=bool(at or day or value_date))
    if as_json:
        show_json(view)
    else:
        show_fields({name: value for name, value in view.items() if not name.endswith("_minor")})


def statement(
    number: AccountNumber,
    first: FirstDate = "",
    last: LastDate = "",
    form: Annotated[
        Format, typer.Option("--format", help="table, csv or camt053 (ISO 20022 camt.053.001.08).")
    ] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", dir_okay=False, help="File to write; standard output when not given.")
    ] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Instead of newest first.")] = False,
    page_size: Annotated[int, typer.Option("--page-size", min=1, max=1_000, help="Entries of one page.")] = 25,
    page_token: Annotated[
        str, typer.Option("--page-token", metavar="TOKEN", help="Go on where another page ended.")
    ] = "",
    whole: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show an account's statement: with --from, a period that adds up; without, its entries page by page.

    A period ends today (UTC) unless --to says otherwise, and has all of its entries, oldest first.
    """
    where = Where(data, gateway, token)
    if first:
        if oldest_first or page_token or whole:
            raise typer.BadParameter("a period has all of its entries, oldest first: leave the options of pages out")
        period = (_day_of(first, "--from"), _day_of(last or datetime.now(UTC).date().isoformat(), "--to"))
        if form is Format.TABLE:
            with_bank(where, lambda bank: _show_period(bank, number, period, as_json=as_json))
        else:
            with_bank(where, lambda bank: _export(bank, number, period, form, output))
        return
    if last or output or form is not Format.TABLE:
        raise typer.BadParameter("--to, --format and --output go with --from")
    _show_pages(where, number, oldest_first, page_size, page_token, whole, as_json=as_json)


def _show_pages(
    where: Where, number: str, oldest_first: bool, page_size: int, page_token: str, whole: bool, *, as_json: bool
) -> None:
    async def work(bank: "Session") -> "tuple[list[bank_pb2.Entry], str]":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.ListEntriesRequest(
            parent=f"accounts/{number}",
            page_size=page_size,
            page_token=page_token,
            order_by="version" if oldest_first else "version desc",
        )
        entries: list[bank_pb2.Entry] = []
        while True:
            page = await bank.call(bank.stub.ListEntries, request)
            entries.extend(page.entries)
            request.page_token = page.next_page_token
            if not whole or not page.next_page_token:
                return entries, page.next_page_token

    entries, next_page_token = with_bank(where, work)
    from services.cli.views import entry_view

    views = [entry_view(entry) for entry in entries]
    if as_json:
        show_json({"account_number": number, "entries": views, "next_page_token": next_page_token})
        return
    _show_entries(f"account {number}", views)
    if next_page_token:
        show_line(f"More with --page-token {next_page_token}")


def _show_entries(title: str, views: list[dict[str, object]]) -> None:
    titles = ("version", "booked", "amount", "balance after", "currency", "other side", "reference", "transfer")
    columns = (
        "version",
        "booking_time",
        "amount",
        "balance_after",
        "currency_code",
        "counterparty_account",
        "reference",
        "transfer_id",
    )
    show_table(title, titles, [[view[column] for column in columns] for view in views])


async def _show_period(bank: "Session", number: str, period: "tuple[Date, Date]", *, as_json: bool) -> None:
    from services.cli.statements import entries_of, frame_of, frame_view
    from services.cli.views import entry_view

    frame = await frame_of(bank, number, *period)
    views = [entry_view(entry) async for entry in entries_of(bank, number, frame)]
    view = frame_view(frame)
    if as_json:
        show_json(view | {"entries": views})
        return
    show_fields({name: value for name, value in view.items() if not name.endswith("_minor")})
    _show_entries("", views)


async def _export(bank: "Session", number: str, period: "tuple[Date, Date]", form: Format, output: Path | None) -> None:
    """Write a statement into a file, or to standard output, while it arrives; a file is there whole or not at all."""
    from services.cli.statements import frame_of

    frame = await frame_of(bank, number, *period)
    with ExitStack() as stack:
        sink: IO[bytes]
        if output is None:
            sink = sys.stdout.buffer
        else:
            try:
                sink = stack.enter_context(
                    NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False)
                )
            except OSError as error:
                raise Failure(f"{output}: {error.strerror}") from error
            stack.callback(Path(sink.name).unlink, missing_ok=True)
        await _write(bank, number, frame, form, sink)
        sink.flush()
        if output is not None:
            await asyncio.to_thread(Path(sink.name).replace, output)
            show_line(f"{frame.entry_count} entries written to {output}")


async def _write(bank: "Session", number: str, frame: "bank_pb2.Statement", form: Format, sink: IO[bytes]) -> None:
    from services.cli.statements import CSV_COLUMNS, csv_row, csv_values, entries_of

    if form is Format.CSV:
        sink.write(csv_row(CSV_COLUMNS))
        async for entry in entries_of(bank, number, frame):
            sink.write(csv_row(csv_values(entry)))
        return
    from services.cli.iso20022.statement import StatementWriter

    writer = StatementWriter(sink, frame, await _holder(bank, number), datetime.now(UTC))
    writer.begin()
    async for entry in entries_of(bank, number, frame):
        writer.entry(entry)
    writer.end()


async def _holder(bank: "Session", number: str) -> "Holder":
    """Ask whose account it is; the bank's own have nobody's name."""
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.iso20022.statement import Holder
    from services.domain import chart
    from services.domain.errors import NotFound

    if chart.is_internal(int(number)):
        return Holder(number, "", "")
    account = await bank.insist(bank.stub.GetAccount, bank_pb2.GetAccountRequest(name=f"accounts/{number}"))
    try:
        customer = await bank.insist(bank.stub.GetCustomer, bank_pb2.GetCustomerRequest(name=account.customer))
    except NotFound:
        return Holder(number, account.external_reference, "")
    return Holder(number, account.external_reference, customer.display_name)


_Whose = Annotated[
    str,
    typer.Argument(
        metavar="ACCOUNT", help="Whose; the whole bank when not given (scope operator).", callback=account_number
    ),
]
_Counterparty = Annotated[
    str, typer.Option("--counterparty", metavar="ACCOUNT", help="An account on either side.", callback=account_number)
]
_AmountsCurrency = Annotated[
    str, typer.Option("--currency", metavar="CODE", help="ISO 4217 code that the amounts are read in.")
]
_PageToken = Annotated[str, typer.Option("--page-token", metavar="TOKEN", help="Go on where another page ended.")]


@transfers.command("search")
def search(
    number: _Whose = "-",
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="The whole reference.")] = "",
    counterparty: _Counterparty = "",
    least: Annotated[str, typer.Option("--min", metavar="AMOUNT", help="The least amount, with --currency.")] = "",
    most: Annotated[str, typer.Option("--max", metavar="AMOUNT", help="The largest amount, with --currency.")] = "",
    currency: _AmountsCurrency = "",
    first: FirstDate = "",
    last: LastDate = "",
    metadata: MetadataPairs = None,
    page_size: Annotated[int, typer.Option("--page-size", min=1, max=100, help="Transfers of one page.")] = 25,
    page_token: _PageToken = "",
    whole: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find transfers, newest first; whatever is given must apply."""
    if (least or most) and not currency:
        raise typer.BadParameter("--min and --max go with --currency")
    bounds = [amount_of(text, currency, name) if text else 0 for text, name in ((least, "--min"), (most, "--max"))]
    pairs = metadata_of(metadata)

    async def work(bank: "Session") -> "tuple[list[bank_pb2.Transfer], str]":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.SearchTransfersRequest(
            parent=f"accounts/{number}",
            reference=reference,
            counterparty_account=counterparty,
            amount_minor_min=bounds[0],
            amount_minor_max=bounds[1],
            first_date=_day_of(first, "--from") if first else None,
            last_date=_day_of(last, "--to") if last else None,
            metadata=pairs,
            page_size=page_size,
            page_token=page_token,
        )
        found: list[bank_pb2.Transfer] = []
        while True:
            page = await bank.call(bank.stub.SearchTransfers, request)
            found.extend(page.transfers)
            request.page_token = page.next_page_token
            # A page may be empty only because there was much to look at.
            if not page.next_page_token or (found and not whole):
                return found, page.next_page_token

    found, next_page_token = with_bank(Where(data, gateway, token), work)
    from services.cli.views import transfer_row, transfer_view

    if as_json:
        show_json({"transfers": [transfer_view(each) for each in found], "next_page_token": next_page_token})
        return
    titles = ("transfer", "booked", "state", "from", "to", "amount", "currency", "reference", "metadata")
    show_table(f"{len(found)} transfers", titles, map(transfer_row, found))
    if next_page_token:
        show_line(f"More with --page-token {next_page_token}")


@transfers.command("show")
def show(
    number: AccountNumber,
    transfer_id: Annotated[str, typer.Argument(metavar="TRANSFER", help="The transfer's UUID.")],
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show one transfer with its outcome."""

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.GetTransferRequest(name=f"accounts/{number}/transfers/{transfer_id}")
        return await bank.call(bank.stub.GetTransfer, request)

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.commands.money import show_transfer

    show_transfer(found, as_json=as_json)


def general_ledger(
    first: FirstDate = "",
    last: LastDate = "",
    by_shard: Annotated[
        bool, typer.Option("--by-shard", help="Show the trial balance of every shard as well.")
    ] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show the general ledger: trial balance of the whole bank, income and expense; needs scope gl.read."""

    async def work(bank: "Session") -> "bank_pb2.GeneralLedger":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.GetGeneralLedgerRequest(
            first_date=_day_of(first, "--from") if first else None, last_date=_day_of(last, "--to") if last else None
        )
        return await bank.call(bank.stub.GetGeneralLedger, request, deadline_seconds=60.0)

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.ledger_views import general_ledger_view, show_general_ledger

    if as_json:
        show_json(general_ledger_view(found))
    else:
        show_general_ledger(found, by_shard=by_shard)


def _day_of(text: str, option: str) -> "Date":
    from services.cli.statements import day_of

    return _read(day_of, text, option, "a day, like 2026-01-31")


def _time_of(text: str) -> datetime:
    time = _read(datetime.fromisoformat, text, "--at", "a time, like 2026-01-31T12:00:00Z")
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None)


def _read(read: Callable[[str], Value], text: str, option: str, wanted: str) -> Value:
    try:
        return read(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {wanted}", param_hint=option) from None
