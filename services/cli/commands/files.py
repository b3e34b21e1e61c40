"""`hivecore import` and `hivecore pay`: whole files into the bank, repeatable without a second effect."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.amounts import AmountInvalid, parse_amount
from services.cli.commands.options import AsJson, Data, Gateway, Token, with_bank
from services.cli.csv_files import (
    AccountRow,
    FileRefused,
    Parsed,
    RefusedRow,
    parse_accounts,
    parse_customers,
    parse_payments,
)
from services.cli.finding import Where
from services.cli.output import ROWS_SHOWN_MAX, fail, open_progress, show_json, show_line, show_table

if TYPE_CHECKING:
    from services.cli.importing import Import
    from services.cli.paying import Payments
    from services.cli.session import Session
    from services.cli.tally import Tally


def import_(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIRECTORY", help="Where customers.csv and accounts.csv lie.")
    ] = None,
    customers_file: Annotated[Path | None, typer.Option("--customers", help="A file of customers.")] = None,
    accounts_file: Annotated[Path | None, typer.Option("--accounts", help="A file of accounts.")] = None,
    fund: Annotated[
        str | None,
        typer.Option("--fund", metavar="AMOUNT", help="Pay this amount in cash into each account of the file, once."),
    ] = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Open the customers and accounts of files, each once.

    Run again, it does only what is missing. customers.csv has the columns customer_ref, birth_date,
    gender, district; accounts.csv has account_ref, customer_ref, currency, opened_on,
    branch_district. The references become external references; customers that are in no file are
    looked up. Exit status 0 when every row is in the bank, else 1 after a report of the rows that
    are not.
    """
    if directory is not None:
        customers_file = customers_file or _if_there(directory / "customers.csv")
        accounts_file = accounts_file or _if_there(directory / "accounts.csv")
    if customers_file is None and accounts_file is None:
        where = f"{directory} has neither customers.csv nor accounts.csv" if directory else "nothing to import"
        raise typer.BadParameter(f"{where}: give a directory, --customers or --accounts")
    try:
        customers = parse_customers(str(customers_file), read_file(customers_file)) if customers_file else None
        accounts = parse_accounts(str(accounts_file), read_file(accounts_file)) if accounts_file else None
    except FileRefused as error:
        fail(str(error))
    if fund is not None:
        _check_fund(fund, accounts)

    async def work(bank: "Session") -> "Import":
        from services.cli.importing import import_files

        with open_progress(silent=as_json) as progress:
            return await import_files(bank, customers, accounts, fund, progress)

    done = with_bank(Where(data, gateway, token), work)
    if as_json:
        show_json({tally.what: tally.view() for tally in done.tallies})
    else:
        _show_tallies(done.tallies)
    if not all(tally.is_complete for tally in done.tallies):
        raise typer.Exit(1)


def pay(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="payments.csv, or the directory where it lies.")],
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Pay the payments of a file to partner banks, each once.

    Run again, it pays only what is missing. payments.csv has the columns payment_ref,
    debit_account_ref, creditor_bank, creditor_account, amount, currency, category. The partner banks
    of the file are registered first. Exit status 0 when every row is posted, else 1 after a report
    of the rows that are not.
    """
    file = path / "payments.csv" if path.is_dir() else path
    try:
        payments = parse_payments(str(file), read_file(file))
    except FileRefused as error:
        fail(str(error))

    async def work(bank: "Session") -> "Payments":
        from services.cli.paying import pay as pay_all

        with open_progress(silent=as_json) as progress:
            return await pay_all(bank, payments, progress)

    done = with_bank(Where(data, gateway, token), work)
    totals = [total.view() for total in done.totals]
    grand_totals = [total.view() for total in done.grand_totals()]
    if as_json:
        show_json({"payments": done.tally.view(), "totals": totals, "grand_totals": grand_totals})
    else:
        columns = ("bank_code", "currency_code", "posted_count", "posted", "file", "nostro", "is_all_posted")
        titles = ("bank", "currency", "payments", "posted", "sum in file", "nostro balance", "as in file")
        rows = [[total[column] for column in columns] for total in (*totals, *grand_totals)]
        show_table("to partner banks", titles, [[bank_code or "all", *rest] for bank_code, *rest in rows])
        _show_tallies([done.tally])
    if not done.tally.is_complete:
        raise typer.Exit(1)


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def read_file(path: Path) -> bytes:
    """Read a file. Raises `FileRefused` when that fails."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error


def _check_fund(fund: str, accounts: Parsed[AccountRow] | None) -> None:
    """Refuse an amount that some account of the file cannot be funded with, before anything is sent."""
    if accounts is None:
        raise typer.BadParameter("--fund needs a file of accounts")
    try:
        for currency_code in sorted({row.currency_code for row in accounts.rows}):
            parse_amount(fund, currency_code)
    except AmountInvalid as error:
        raise typer.BadParameter(str(error), param_hint="--fund") from error


def _show_tallies(tallies: Sequence["Tally"]) -> None:
    """Print what became of the rows, and those that were not done."""
    titles = ("", "rows", "done", "refused", "undecided", "seconds", "done per second")
    rows = []
    for tally in tallies:
        per_second = f"{tally.done_count / tally.seconds:.0f}" if tally.seconds else ""
        counts = (tally.row_count, tally.done_count, len(tally.refused), len(tally.undecided))
        rows.append((tally.what, *counts, f"{tally.seconds:.2f}", per_second))
    show_table("", titles, rows)
    for tally in tallies:
        if tally.is_complete:
            continue
        show_table(f"{tally.what} not done", ("reason", "rows"), tally.count_by_reason().items())
        show_rows(f"refused {tally.what}", tally.refused)
        show_rows(f"undecided {tally.what}; run the same command again", tally.undecided)


def show_rows(title: str, rows: Sequence[RefusedRow]) -> None:
    """Print rows by line, up to a screen or two of them."""
    if not rows:
        return
    shown = [(row.line, row.reference, row.reason, row.message) for row in rows[:ROWS_SHOWN_MAX]]
    show_table(title, ("line", "reference", "reason", "message"), shown)
    if len(rows) > ROWS_SHOWN_MAX:
        show_line(f"and {len(rows) - ROWS_SHOWN_MAX} more: --json shows all")
