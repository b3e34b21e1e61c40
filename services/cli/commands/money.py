"""`hivecore transfer` and `reverse`: moving money, and giving it back."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.amounts import format_amount
from services.cli.commands.options import (
    AsJson,
    Currency,
    Data,
    Gateway,
    MetadataPairs,
    OverrideLimits,
    Reference,
    Token,
    account_number,
    amount_of,
    ask_once,
    limit_of,
    metadata_of,
    with_bank,
)
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import show_fields, show_json, show_line

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

TransferId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="UUID", help="UUID of the transfer; the same id moves nothing twice. New when not given."
    ),
]

_Payer = Annotated[
    str,
    typer.Option("--from", metavar="ACCOUNT", help="Account that pays, or CASH, FEES, SUSPENSE, NOSTRO.<bank>."),
]
_Payee = Annotated[str, typer.Option("--to", metavar="ACCOUNT", help="Account that is paid, or one of the same names.")]
_FurtherLegs = Annotated[
    list[str] | None,
    typer.Option(
        "--and",
        metavar="DEBIT:CREDIT:AMOUNT",
        help="One more leg, in the same currency; repeatable, all are posted or none.",
    ),
]
_CreditorAccount = Annotated[
    str,
    typer.Option(
        "--creditor-account", metavar="ACCOUNT", help="Account at the partner bank, when --to is NOSTRO.<bank>."
    ),
]
_Remittance = Annotated[
    str, typer.Option("--remittance", metavar="TEXT", help="Words for the payee at the partner bank.")
]
_FeeMax = Annotated[
    str | None,
    typer.Option("--max-fee", metavar="AMOUNT", help="The most that may be charged for it; more is refused."),
]


def transfer(
    debit: _Payer,
    credit: _Payee,
    amount: Annotated[str, typer.Option("--amount", metavar="AMOUNT", help="Decimal amount, like 12.50.")],
    currency: Currency,
    further: _FurtherLegs = None,
    transfer_id: TransferId = None,
    reference: Reference = "",
    creditor_account: _CreditorAccount = "",
    remittance: _Remittance = "",
    metadata: MetadataPairs = None,
    override_limits: OverrideLimits = False,
    max_fee: _FeeMax = None,
    waive_fees: Annotated[bool, typer.Option("--waive-fees", help="Charge nothing; needs scope fees.waive.")] = False,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Move money from one account to another, or in several legs between any accounts, once per id."""
    amount_minor = amount_of(amount, currency)
    fee_minor_max = None if max_fee is None else limit_of(max_fee, currency, "--max-fee")
    chart, _, bank_code = credit.partition(".")
    if (creditor_account or remittance) and not (chart == "NOSTRO" and bank_code and creditor_account):
        raise typer.BadParameter("--creditor-account and --remittance go with --to NOSTRO.<bank>")
    chosen_id = transfer_id or new_id()
    sides = [(debit, credit, amount_minor), *(_read_leg(text, currency) for text in further or ())]
    pairs = metadata_of(metadata)

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        legs = [
            bank_pb2.Leg(debit_account=payer, credit_account=payee, amount_minor=minor, currency_code=currency)
            for payer, payee, minor in sides
        ]
        wanted = bank_pb2.Transfer(
            transfer_id=chosen_id,
            legs=legs,
            reference=reference,
            override_limits=override_limits,
            waive_fees=waive_fees,
            fee_minor_max=fee_minor_max,
            metadata=pairs,
        )
        if creditor_account:
            wanted.creditor.bank_code = bank_code
            wanted.creditor.account = creditor_account
            wanted.creditor.remittance_text = remittance
        return await ask_once(bank, bank.stub.PostTransfer, bank_pb2.PostTransferRequest(transfer=wanted), chosen_id)

    show_transfer(with_bank(Where(data, gateway, token), work), as_json=as_json)


def _read_leg(text: str, currency: str) -> tuple[str, str, int]:
    """Read a further leg; ends the command when it is none."""
    parts = text.split(":")
    if len(parts) != 3:
        raise typer.BadParameter(f"{text!r} is not DEBIT:CREDIT:AMOUNT", param_hint="--and")
    return parts[0], parts[1], amount_of(parts[2], currency)


def reverse(
    number: Annotated[
        str,
        typer.Argument(metavar="ACCOUNT", help="Account that paid the original, 16 digits.", callback=account_number),
    ],
    original_id: Annotated[str, typer.Argument(metavar="TRANSFER", help="UUID of the original.")],
    amount: Annotated[
        str,
        typer.Option(
            "--amount", metavar="AMOUNT", help="A part, like 12.50, with its --currency; the whole when not given."
        ),
    ] = "",
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="ISO 4217 code of the part.")] = "",
    overdraw: Annotated[
        bool, typer.Option("--overdraw", help="Even when the payee no longer has it; needs scope overdraft.force.")
    ] = False,
    transfer_id: TransferId = None,
    reference: Reference = "",
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Give back what a transfer moved, whole or in part."""
    if bool(amount) != bool(currency):
        raise typer.BadParameter("--amount and --currency go together")
    amount_minor = amount_of(amount, currency) if amount else 0
    chosen_id = transfer_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Transfer":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.ReverseTransferRequest(
            name=f"accounts/{number}/transfers/{original_id}",
            transfer_id=chosen_id,
            amount_minor=amount_minor,
            policy=bank_pb2.ReverseTransferRequest.OVERDRAW if overdraw else bank_pb2.ReverseTransferRequest.REFUSE,
            reference=reference,
        )
        return await ask_once(bank, bank.stub.ReverseTransfer, request, chosen_id)

    show_transfer(with_bank(Where(data, gateway, token), work), as_json=as_json)


def show_transfer(posted: "bank_pb2.Transfer", *, as_json: bool) -> None:
    """Show a transfer with its outcome."""
    from services.cli.views import transfer_view

    view = transfer_view(posted)
    if as_json:
        show_json(view)
        return
    shown: dict[str, object] = {"transfer": posted.transfer_id, "state": view["state"]}
    if posted.reason:
        shown["reason"] = posted.reason
    legs = [each for each in posted.legs if not each.is_fee]
    for leg in legs[:1]:  # An id that was refused before it was asked for has none.
        shown |= {
            "from": leg.debit_account,
            "to": leg.credit_account,
            "amount": f"{format_amount(leg.amount_minor, leg.currency_code)} {leg.currency_code}",
        }
    shown |= {"reference": posted.reference, "booked": view["booking_time"]}
    if posted.metadata:
        shown["metadata"] = [f"{key}={value}" for key, value in sorted(posted.metadata.items())]
    if posted.fee_minor:
        code = posted.legs[0].currency_code
        shown["fee"] = f"{format_amount(posted.fee_minor, code)} {code}"
    if len(legs) > 1:
        shown["further legs"] = len(legs) - 1
    show_fields(shown)
    if posted.is_part:
        show_line("Only a part: the shard that decides the transfer does not answer, or did not decide it.")
    if view["state"] == "IN_TRANSIT":
        show_line(f"Another shard has not answered yet; ask again: {_again(posted)}")


def _again(posted: "bank_pb2.Transfer") -> str:
    _, account, _, transfer_id = posted.name.split("/")
    return f"hivecore transfers show {account} {transfer_id}"
