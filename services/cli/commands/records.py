"""`hivecore customer ...` and `hivecore account ...`: who has which accounts."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.commands.options import AsJson, Data, Gateway, Token, account_number, with_bank
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import Failure, show_fields, show_json, show_table

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

customer = typer.Typer(no_args_is_help=True, help="Open and show customers.", rich_markup_mode=None)
account = typer.Typer(no_args_is_help=True, help="Open, show and list accounts.", rich_markup_mode=None)

RequestId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="UUID", help="UUID of this request; the same id opens nothing twice. New when not given."
    ),
]
CustomerNumber = Annotated[str, typer.Argument(metavar="CUSTOMER", help="Customer number, 14 digits.")]


@customer.command("open")
def open_customer(
    reference: Annotated[
        str, typer.Option("--reference", metavar="TEXT", help="What another system calls the customer.")
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name to display.")] = "",
    request_id: RequestId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Open a customer."""

    async def work(bank: "Session") -> "bank_pb2.Customer":
        from hivecore.gateway.v1 import bank_pb2

        wanted = bank_pb2.Customer(external_reference=reference, display_name=name)
        request = bank_pb2.OpenCustomerRequest(request_id=request_id or new_id(), customer=wanted)
        return await bank.call(bank.stub.OpenCustomer, request)

    _show_customer(with_bank(Where(data, gateway, token), work), as_json=as_json)


@customer.command("show")
def show_customer(
    number: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Customer number, 14 digits.")] = "",
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="Instead of the number.")] = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show a customer, by number or by external reference."""
    _require_one(number, reference)

    async def work(bank: "Session") -> "bank_pb2.Customer":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.GetCustomerRequest(name=f"customers/{number or '-'}", external_reference=reference)
        return await bank.call(bank.stub.GetCustomer, request)

    _show_customer(with_bank(Where(data, gateway, token), work), as_json=as_json)


@account.command("open")
def open_account(
    number: CustomerNumber,
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="ISO 4217 code of the account.")],
    reference: Annotated[
        str, typer.Option("--reference", metavar="TEXT", help="What another system calls the account.")
    ] = "",
    product: Annotated[
        str, typer.Option("--product", metavar="CODE", help="Code of a product; the currency's default.")
    ] = "",
    request_id: RequestId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Open an account of a customer."""

    async def work(bank: "Session") -> "bank_pb2.Account":
        from hivecore.gateway.v1 import bank_pb2

        wanted = bank_pb2.Account(
            customer=f"customers/{number}",
            currency_code=currency,
            external_reference=reference,
            product=f"products/{product}" if product else "",
        )
        request = bank_pb2.OpenAccountRequest(request_id=request_id or new_id(), account=wanted)
        return await bank.call(bank.stub.OpenAccount, request)

    _show_account(with_bank(Where(data, gateway, token), work), as_json=as_json)


@account.command("show")
def show_account(
    number: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="Account number, 16 digits.", callback=account_number)
    ] = "",
    reference: Annotated[str, typer.Option("--reference", metavar="TEXT", help="Instead of the number.")] = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show an account, by number or by external reference."""
    _require_one(number, reference)

    async def work(bank: "Session") -> "bank_pb2.Account":
        from hivecore.gateway.v1 import bank_pb2

        if number:
            return await bank.call(bank.stub.GetAccount, bank_pb2.GetAccountRequest(name=f"accounts/{number}"))
        request = bank_pb2.FindAccountsRequest(external_references=[reference])
        found = (await bank.call(bank.stub.FindAccounts, request)).accounts[0]
        if not found.name:
            raise Failure(f"the bank has no account {reference!r} (ACCOUNT_REFERENCE_NOT_FOUND)")
        return found

    _show_account(with_bank(Where(data, gateway, token), work), as_json=as_json)


@account.command("list")
def list_accounts(
    number: CustomerNumber,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List all accounts of a customer in the order they were opened."""

    async def work(bank: "Session") -> "list[bank_pb2.Account]":
        from hivecore.gateway.v1 import bank_pb2

        found: list[bank_pb2.Account] = []
        request = bank_pb2.ListAccountsRequest(parent=f"customers/{number}", page_size=1_000)
        while True:
            page = await bank.call(bank.stub.ListAccounts, request)
            found.extend(page.accounts)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.views import account_view

    views = [account_view(each) for each in found]
    if as_json:
        show_json({"accounts": views})
    else:
        columns = ("account_number", "currency_code", "state", "external_reference", "create_time")
        titles = ("account", "currency", "state", "reference", "opened")
        show_table("", titles, [[view[column] for column in columns] for view in views])


def _require_one(number: str, reference: str) -> None:
    if bool(number) == bool(reference):
        raise typer.BadParameter("give either the number or --reference")


def _show_customer(shown: "bank_pb2.Customer", *, as_json: bool) -> None:
    from services.cli.views import customer_view

    (show_json if as_json else show_fields)(customer_view(shown))


def _show_account(shown: "bank_pb2.Account", *, as_json: bool) -> None:
    from services.cli.views import account_view

    (show_json if as_json else show_fields)(account_view(shown))
