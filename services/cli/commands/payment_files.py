"""`hivecore payment-file`: an ISO 20022 payment file carried out, and the status report on it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.commands.options import AsJson, Data, Gateway, Token, with_bank
from services.cli.finding import Where
from services.cli.output import ROWS_SHOWN_MAX, fail, open_progress, show_json, show_line, show_table

if TYPE_CHECKING:
    from services.cli.iso20022.filing import Filed
    from services.cli.iso20022.orders import PaymentFile
    from services.cli.session import Session

WAITS_FOR_ITS_DAY: Final = 3
"""Exit status: neither 0, so that nobody puts the file away, nor that of a failure."""


def payment_file(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A pain.001 document, versions 03 to 13.")],
    status: Annotated[
        Path | None, typer.Option("--status", help="Write the status report here: a pain.002 document.")
    ] = None,
    register_banks: Annotated[
        bool,
        typer.Option("--register-banks", help="Make the creditors' banks partner banks first; needs scope operator."),
    ] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Carry out an ISO 20022 payment file, each payment once, and report on it.

    Run again, the same file does only what is missing and gives the same report. Accounts of this
    bank are named by number or external reference, others by their bank's BIC or code, which must
    be a partner bank's. Payments for a day to come are looked over and left to be paid: file them
    again on that day. Exit status 0 when every payment is settled, 3 when only payments for a day to
    come are not, else 1, after a report of those that are not settled.
    """
    file = _read(path)

    async def work(bank: "Session") -> "Filed":
        from services.cli.iso20022 import filing

        with open_progress(silent=as_json) as progress:
            today = datetime.now(UTC).date()
            return await filing.carry_out(bank, file, today, progress, registers_banks=register_banks)

    filed = with_bank(Where(data, gateway, token), work)
    if status is not None:
        try:
            status.write_bytes(filed.status_xml)
        except OSError as error:
            fail(f"{status}: {error.strerror}; the payments were carried out: the same command again reports on them")
    _show(filed, as_json=as_json)
    if not filed.report.is_settled:
        raise typer.Exit(WAITS_FOR_ITS_DAY if filed.report.waits_for_its_day else 1)


def _read(path: Path) -> "PaymentFile":
    from services.cli.iso20022 import orders

    try:
        with path.open("rb") as file:
            return orders.read(file)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except orders.FileRefused as error:
        fail(f"{path}: {error}")


def _show(filed: "Filed", *, as_json: bool) -> None:
    """Print what became of the file, and of the payments that are not settled."""
    from services.cli.iso20022 import report

    told = filed.report
    rows = report.unsettled(told)
    if as_json:
        show_json(report.view(told))
        return
    counts = ", ".join(f"{count} {status}" for status, count in told.counts().items())
    show_line(f"{told.file.message_name} {told.file.message_id}: {told.status} ({counts or 'no payments'})")
    if rows:
        titles = tuple(name.replace("_", " ") for name in rows[0])
        show_table("not settled", titles, [list(row.values()) for row in rows[:ROWS_SHOWN_MAX]])
    if len(rows) > ROWS_SHOWN_MAX:
        show_line(f"and {len(rows) - ROWS_SHOWN_MAX} more: --json and --status tell all")
