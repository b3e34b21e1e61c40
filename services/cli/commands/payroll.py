"""`hivecore payroll`: one debit, as many credits as the file has lines, all or none."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.amounts import format_amount
from services.cli.commands.files import read_file, show_rows
from services.cli.commands.options import AsJson, Currency, Data, Gateway, Reference, Token, ask_once, with_bank
from services.cli.csv_files import FileRefused, PayrollRow, parse_payroll
from services.cli.finding import Where
from services.cli.ids import request_id
from services.cli.output import fail, show_fields, show_json
from services.domain import limits

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session


def payroll(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with the columns account, amount.")],
    debit: Annotated[str, typer.Option("--from", metavar="ACCOUNT", help="Account that pays them all.")],
    currency: Currency,
    transfer_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="UUID of the transfer; the file's own when not given.")
    ] = None,
    reference: Reference = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Pay everybody in a file from one account, in one transfer: all are paid or nobody.

    The payees may lie on any shards. Run again with the same file, payer and reference, it pays nobody
    twice. A line that is wrong refuses the file before anything is sent; a payee who cannot be paid
    refuses the payroll, and is named.
    """
    content, rows = _read(path, currency)
    digest = sha256(content).hexdigest()
    chosen_id = transfer_id or request_id("payroll", f"{debit}:{currency}:{reference}:{digest}")

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        from services.domain.errors import NotFound, Refused

        legs = [
            bank_pb2.Leg(
                debit_account=debit, credit_account=row.reference, amount_minor=row.amount_minor, currency_code=currency
            )
            for row in rows
        ]
        wanted = bank_pb2.Transfer(transfer_id=chosen_id, legs=legs, reference=reference)
        try:
            request = bank_pb2.PostTransferRequest(transfer=wanted)
            return await ask_once(bank, bank.stub.PostTransfer, request, chosen_id)
        except (Refused, NotFound) as error:
            blamed = error.metadata.get("leg", "")
            if blamed.isdigit():
                row = rows[int(blamed)]
                fail(f"nobody is paid: line {row.line}, {row.reference}: {error.message} ({error.reason})")
            raise

    posted = with_bank(Where(data, gateway, token), work)
    total = sum(row.amount_minor for row in rows)
    view = {
        "transfer_id": posted.transfer_id,
        "state": type(posted).State.Name(posted.state),
        "payees": len(rows),
        "total": format_amount(total, currency),
        "currency_code": currency,
        "debit_account": debit,
        "reference": posted.reference,
    }
    (show_json if as_json else show_fields)(view)


def _read(path: Path, currency: str) -> tuple[bytes, list[PayrollRow]]:
    """Read a payroll's file; ends the command when anything in it is wrong."""
    try:
        content = read_file(path)
        parsed = parse_payroll(str(path), content, currency)
    except FileRefused as error:
        fail(str(error))
    if parsed.refused:
        show_rows(f"lines of {path} that are wrong", parsed.refused)
        fail(f"{path}: {len(parsed.refused)} lines are wrong; nothing was sent")
    if not 1 <= len(parsed.rows) <= limits.LEGS_PER_TRANSFER_MAX:
        fail(f"{path}: {len(parsed.rows)} payees; from 1 to {limits.LEGS_PER_TRANSFER_MAX} may be paid in one transfer")
    return content, parsed.rows
