"""`hivecore product ...` and `hivecore quote`: what the bank offers, and what a transfer would cost."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.amounts import format_amount
from services.cli.commands.options import (
    AccountNumber,
    AsJson,
    Currency,
    Data,
    Gateway,
    Token,
    amount_of,
    ask_once,
    with_bank,
)
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import fail, show_fields, show_json, show_line, show_table

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.catalogue_files import CatalogueFile
    from services.cli.session import Session

product = typer.Typer(
    name="product", help="Products: what accounts may do and what payments cost.", no_args_is_help=True
)

CatalogueArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="YAML file; the catalogue that comes with hivecore when not given."),
]


@product.command("validate")
def validate(file: CatalogueArgument = None, as_json: AsJson = False) -> None:
    """Check a catalogue file without a bank; every fault is told with its line and column."""
    read = _read(file)
    names = [f"{each.code} version {each.version}" for each in read.products]
    if as_json:
        show_json({"products": names, "defaults": read.defaults})
    else:
        show_line(f"{len(names)} versions of products: {', '.join(names)}")


@product.command("load")
def load(
    file: CatalogueArgument = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Publish a catalogue file; what is published already is left alone, and refused if it would change."""
    read = _read(file)

    async def work(bank: "Session") -> "bank_pb2.LoadProductsResponse":
        from hivecore.gateway.v1 import bank_pb2

        from services.chassis import catalogue_wire

        request = bank_pb2.LoadProductsRequest(
            products=map(catalogue_wire.product, read.products), default_products=read.defaults
        )
        return await bank.call(bank.stub.LoadProducts, request)

    published = with_bank(Where(data, gateway, token), work).published
    names = [name.removeprefix("products/").replace("/versions/", " version ") for name in published]
    if as_json:
        show_json({"published": names, "unchanged_count": len(read.products) - len(names)})
    else:
        show_line(f"published: {', '.join(names) or 'nothing new'}; {len(read.products) - len(names)} unchanged")


@product.command("list")
def list_products(data: Data = None, gateway: Gateway = None, token: Token = None, as_json: AsJson = False) -> None:
    """List all published products."""

    async def work(bank: "Session") -> "bank_pb2.ListProductsResponse":
        from hivecore.gateway.v1 import bank_pb2

        return await bank.call(bank.stub.ListProducts, bank_pb2.ListProductsRequest())

    answer = with_bank(Where(data, gateway, token), work)
    from services.cli.product_views import product_view

    views = [product_view(each, answer.default_products) for each in answer.products]
    if as_json:
        show_json({"products": views})
    else:
        titles = ("product", "version", "name", "currency", "kind", "default", "overdraft", "limits", "fees")
        columns = ("code", "version", "display_name", "currency_code", "kind", "is_default", "overdraft", "limits_text")
        rows = [[*(view[column] for column in columns), view["fees_text"]] for view in views]
        show_table("", titles, rows)


@product.command("show")
def show(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The product's code.")],
    version: Annotated[int, typer.Option("--version", min=0, help="The highest when not given.")] = 0,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show one version of a product."""

    async def work(bank: "Session") -> "bank_pb2.ListProductsResponse":
        from hivecore.gateway.v1 import bank_pb2

        return await bank.call(bank.stub.ListProducts, bank_pb2.ListProductsRequest())

    answer = with_bank(Where(data, gateway, token), work)
    from services.cli.product_views import product_view

    found = [each for each in answer.products if each.code == code and version in {0, each.version}]
    if not found:
        fail(f"no such product is published: {code} (PRODUCT_NOT_FOUND)")
    view = product_view(max(found, key=lambda each: each.version), answer.default_products)
    if as_json:
        show_json(view)
    else:
        show_fields(
            {name: value for name, value in view.items() if not isinstance(value, list) and "_minor" not in name}
        )


@product.command("move")
def move(
    number: AccountNumber,
    code: Annotated[str, typer.Argument(metavar="CODE", help="The product's code.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the move.")],
    version: Annotated[int, typer.Option("--version", min=0, help="The highest when not given.")] = 0,
    request_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="UUID of this request; the same id moves nothing twice.")
    ] = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Move an account to another product or version; limits set for the account alone stay."""
    chosen_id = request_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Account":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.MoveAccountProductRequest(
            name=f"accounts/{number}",
            request_id=chosen_id,
            product=f"products/{code}" + (f"/versions/{version}" if version else ""),
            reason=reason,
        )
        return await ask_once(bank, bank.stub.MoveAccountProduct, request, chosen_id)

    moved = with_bank(Where(data, gateway, token), work)
    from services.cli.views import account_view

    (show_json if as_json else show_fields)(account_view(moved))


def quote(
    debit: Annotated[str, typer.Option("--from", metavar="ACCOUNT", help="Account that would pay.")],
    credit: Annotated[
        str, typer.Option("--to", metavar="ACCOUNT", help="Account that would be paid, or CASH, NOSTRO.<bank> ...")
    ],
    amount: Annotated[str, typer.Option("--amount", metavar="AMOUNT", help="Decimal amount, like 12.50.")],
    currency: Currency,
    hold_id: Annotated[
        str, typer.Option("--hold", metavar="UUID", help="UUID of a hold of the payer that it would capture.")
    ] = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show what a transfer would cost, and whether it would be refused now. Moves nothing."""
    amount_minor = amount_of(amount, currency)

    async def work(bank: "Session") -> "bank_pb2.Quote":
        from hivecore.gateway.v1 import bank_pb2

        leg = bank_pb2.Leg(
            debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=currency
        )
        request = bank_pb2.QuoteTransferRequest(
            transfer=bank_pb2.Transfer(legs=[leg]),
            captured_hold=f"accounts/{debit}/holds/{hold_id}" if hold_id else "",
        )
        return await bank.call(bank.stub.QuoteTransfer, request)

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.product_views import quote_view

    view = quote_view(found)
    if as_json:
        show_json(view)
        return
    transfer = found.transfer
    shown = {
        "from": transfer.legs[0].debit_account,
        "to": transfer.legs[0].credit_account,
        "amount": f"{amount} {currency}",
        "fee": f"{format_amount(transfer.fee_minor, currency)} {currency}",
        "total": f"{format_amount(found.total_minor, currency)} {currency}",
        "refused now": found.reason or "no",
    }
    show_fields(shown)


def _read(file: Path | None) -> "CatalogueFile":
    """Read a catalogue file, or end with everything that is wrong with it."""
    from services.cli.catalogue_files import CatalogueInvalid, read

    name = str(file) if file else "catalogue.yaml"
    try:
        raw = file.read_bytes() if file else resources.files("services.account").joinpath(name).read_bytes()
    except OSError as error:
        fail(f"cannot read {name}: {error.strerror}")
    try:
        return read(raw)
    except CatalogueInvalid as error:
        *others, last = error.faults
        for fault in others:
            show_line(f"{name}: {fault}")
        fail(f"{name}: {last}")
