"""`hivecore hold ...`: money set aside, used or freed."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.commands.options import (
    AccountNumber,
    AsJson,
    Currency,
    Data,
    Gateway,
    OverrideLimits,
    Reference,
    Token,
    amount_of,
    ask_once,
    with_bank,
)
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import show_fields, show_json, show_table

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

hold = typer.Typer(no_args_is_help=True, help="Set money aside, use it or free it.", rich_markup_mode=None)

HoldId = Annotated[str, typer.Argument(metavar="HOLD", help="The hold's UUID.")]
Amount = Annotated[str, typer.Option("--amount", metavar="AMOUNT", help="Decimal amount, like 12.50.")]
Seconds = Annotated[
    int, typer.Option("--seconds", min=0, show_default=False, metavar="SECONDS", help="How long it holds from now on.")
]
CommandId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="UUID", help="UUID of this command; the same id does nothing twice. New when not given."
    ),
]


@hold.command("place")
def place(
    number: AccountNumber,
    amount: Amount,
    currency: Currency,
    seconds: Seconds = 0,
    payee: Annotated[
        str, typer.Option("--payee", metavar="ACCOUNT", help="The only account that a capture may pay.")
    ] = "",
    reference: Reference = "",
    hold_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="UUID", help="UUID of the hold; the same id holds nothing twice. New when not given."
        ),
    ] = None,
    override_limits: OverrideLimits = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Set money aside, for 7 days unless --seconds says otherwise."""
    amount_minor = amount_of(amount, currency)
    chosen_id = hold_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Hold":
        from hivecore.gateway.v1 import bank_pb2

        wanted = bank_pb2.Hold(
            hold_id=chosen_id,
            account=number,
            amount_minor=amount_minor,
            currency_code=currency,
            hold_seconds=seconds,
            payee_account=payee,
            reference=reference,
        )
        request = bank_pb2.PlaceHoldRequest(hold=wanted, override_limits=override_limits)
        return await ask_once(bank, bank.stub.PlaceHold, request, chosen_id)

    _show(with_bank(Where(data, gateway, token), work), as_json=as_json)


@hold.command("increase")
def increase(
    number: AccountNumber,
    hold_id: HoldId,
    amount: Amount,
    currency: Currency,
    seconds: Seconds = 0,
    command_id: CommandId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Set more aside; --seconds also moves the expiry."""
    amount_minor = amount_of(amount, currency)
    chosen_id = command_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Hold":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.IncreaseHoldRequest(
            name=_name(number, hold_id),
            request_id=chosen_id,
            amount_minor=amount_minor,
            currency_code=currency,
            hold_seconds=seconds,
        )
        return await ask_once(bank, bank.stub.IncreaseHold, request, chosen_id)

    _show(with_bank(Where(data, gateway, token), work), as_json=as_json)


@hold.command("capture")
def capture(
    number: AccountNumber,
    hold_id: HoldId,
    credit: Annotated[
        str,
        typer.Option("--to", metavar="ACCOUNT", help="Account that is paid, or CASH, FEES, SUSPENSE, NOSTRO.<bank>."),
    ],
    amount: Amount,
    currency: Currency,
    reference: Reference = "",
    transfer_id: CommandId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Pay out of a hold, whole or in part; the rest is free again."""
    from services.cli.commands.money import show_transfer

    amount_minor = amount_of(amount, currency)
    chosen_id = transfer_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        leg = bank_pb2.Leg(
            debit_account=number, credit_account=credit, amount_minor=amount_minor, currency_code=currency
        )
        wanted = bank_pb2.Transfer(transfer_id=chosen_id, legs=[leg], reference=reference)
        request = bank_pb2.CaptureHoldRequest(name=_name(number, hold_id), transfer=wanted)
        return await ask_once(bank, bank.stub.CaptureHold, request, chosen_id)

    show_transfer(with_bank(Where(data, gateway, token), work), as_json=as_json)


@hold.command("release")
def release(
    number: AccountNumber,
    hold_id: HoldId,
    command_id: CommandId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Free a hold's money."""
    chosen_id = command_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Hold":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.ReleaseHoldRequest(name=_name(number, hold_id), request_id=chosen_id)
        return await ask_once(bank, bank.stub.ReleaseHold, request, chosen_id)

    _show(with_bank(Where(data, gateway, token), work), as_json=as_json)


@hold.command("show")
def show(
    number: AccountNumber,
    hold_id: HoldId,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Show a hold."""

    async def work(bank: "Session") -> "bank_pb2.Hold":
        from hivecore.gateway.v1 import bank_pb2

        return await bank.call(bank.stub.GetHold, bank_pb2.GetHoldRequest(name=_name(number, hold_id)))

    _show(with_bank(Where(data, gateway, token), work), as_json=as_json)


@hold.command("list")
def list_open(
    number: AccountNumber,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List an account's open holds, those that expire first first."""

    async def work(bank: "Session") -> "list[bank_pb2.Hold]":
        from hivecore.gateway.v1 import bank_pb2

        return list(
            (await bank.call(bank.stub.ListHolds, bank_pb2.ListHoldsRequest(parent=f"accounts/{number}"))).holds
        )

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.views import hold_view

    views = [hold_view(each) for each in found]
    if as_json:
        show_json({"account_number": number, "holds": views})
    else:
        columns = ("hold_id", "amount", "currency_code", "expire_time", "payee_account", "reference")
        titles = ("hold", "amount", "currency", "expires", "payee", "reference")
        show_table(f"open holds of {number}", titles, [[view[column] for column in columns] for view in views])


def _name(number: str, hold_id: str) -> str:
    return f"accounts/{number}/holds/{hold_id}"


def _show(shown: "bank_pb2.Hold", *, as_json: bool) -> None:
    from services.cli.views import hold_view

    view = hold_view(shown)
    if as_json:
        show_json(view)
    else:
        show_fields({name: value for name, value in view.items() if not name.endswith("_minor")})
