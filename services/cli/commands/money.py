"""`hivecore transfer`, `balance` and `statement`: moving money and seeing where it is."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.amounts import AmountInvalid, format_amount, parse_amount
from services.cli.commands.options import AsJson, Data, Gateway, Token, with_bank
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import Failure, show_fields, show_json, show_line, show_table
from services.domain.errors import DeadlinePassed, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

AccountNumber = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Account number, 16 digits.")]


def transfer(
    debit: Annotated[str, typer.Option("--from", help="Account that pays, or CASH, FEES, SUSPENSE, NOSTRO.<bank>.")],
    credit: Annotated[str, typer.Option("--to", help="Account that is paid, or one of the same names.")],
    amount: Annotated[str, typer.Option("--amount", help="Decimal amount, like 12.50.")],
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217 code, the currency of both accounts.")],
    transfer_id: Annotated[
        str | None,
        typer.Option("--id", help="UUID of the transfer; the same id moves nothing twice. New when not given."),
    ] = None,
    reference: Annotated[str, typer.Option("--reference", help="Words for the statement.")] = "",
    creditor_account: Annotated[
        str, typer.Option("--creditor-account", help="Account at the partner bank, when --to is NOSTRO.<bank>.")
    ] = "",
    remittance: Annotated[str, typer.Option("--remittance", help="Words for the payee at the partner bank.")] = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Move money from one account to another, once per id."""
    try:
        amount_minor = parse_amount(amount, currency)
    except AmountInvalid as error:
        raise typer.BadParameter(str(error), param_hint="--amount") from error
    chart, _, bank_code = credit.partition(".")
    if (creditor_account or remittance) and not (chart == "NOSTRO" and bank_code and creditor_account):
        raise typer.BadParameter("--creditor-account and --remittance go with --to NOSTRO.<bank>")
    chosen_id = transfer_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        leg = bank_pb2.Leg(
            debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=currency
        )
        wanted = bank_pb2.Transfer(transfer_id=chosen_id, legs=[leg], reference=reference)
        if creditor_account:
            wanted.creditor.bank_code = bank_code
            wanted.creditor.account = creditor_account
            wanted.creditor.remittance_text = remittance
        try:
            return await bank.call(bank.stub.PostTransfer, bank_pb2.PostTransferRequest(transfer=wanted))
        except (OutcomeUnknown, DeadlinePassed, Unavailable) as error:
            again = f"repeat it safely with --id {chosen_id}"
            raise Failure(f"{error.message} ({error.reason}); {again}") from error

    _show_transfer(with_bank(Where(data, gateway, token), work), as_json=as_json)


def _show_transfer(posted: "bank_pb2.Transfer", *, as_json: bool) -> None:
    from services.cli.views import transfer_view

    view = transfer_view(posted)
    if as_json:
        show_json(view)
        return
    (leg,) = posted.legs
    show_fields(
        {
            "transfer": posted.transfer_id,
            "state": view["state"],
            "from": leg.debit_account,
            "to": leg.credit_account,
            "amount": f"{format_amount(leg.amount_minor, leg.currency_code)} {leg.currency_code}",
            "reference": posted.reference,
            "booked": view["booking_time"],
        }
    )
    if view["state"] == "IN_TRANSIT":
        show_line(f"The payee's shard has not answered yet; ask again with --id {posted.transfer_id}.")


def balance(
    number: AccountNumber,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what an account holds now."""

    async def work(bank: "Session") -> "bank_pb2.Balance":
        from hivecore.gateway.v1 import bank_pb2

        return await bank.call(bank.stub.GetBalance, bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance"))

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.views import balance_view

    view = balance_view(number, found)
    if as_json:
        show_json(view)
    else:
        show_fields({name: value for name, value in view.items() if not name.endswith("_minor")})


def statement(
    number: AccountNumber,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Instead of newest first.")] = False,
    page_size: Annotated[int, typer.Option("--page-size", min=1, max=1_000, help="Entries of one page.")] = 25,
    page_token: Annotated[str, typer.Option("--page-token", help="Go on where another page ended.")] = "",
    whole: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show an account's entries, page by page."""

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

    entries, next_page_token = with_bank(Where(data, gateway, token), work)
    from services.cli.views import entry_view

    views = [entry_view(entry) for entry in entries]
    if as_json:
        show_json({"account_number": number, "entries": views, "next_page_token": next_page_token})
        return
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
    show_table(f"account {number}", titles, [[view[column] for column in columns] for view in views])
    if next_page_token:
        show_line(f"More with --page-token {next_page_token}")
