"""`hivecore account state` and `hivecore account limits`: what operators change about accounts."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from services.cli.amounts import AmountInvalid, parse_limit
from services.cli.commands.options import AccountNumber, AsJson, Data, Gateway, Token, ask_once, with_bank
from services.cli.finding import Where
from services.cli.ids import new_id
from services.cli.output import Failure, show_fields, show_json

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

NO_CAP = "none"

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the change.")]
RequestId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="UUID", help="UUID of this request; the same id changes nothing twice. New when not given."
    ),
]


class State(StrEnum):
    """States of life that an account can be given."""

    ACTIVE = "active"
    PENDING = "pending"
    DEBITS_FROZEN = "debits-frozen"
    CREDITS_FROZEN = "credits-frozen"
    FROZEN = "frozen"
    DORMANT = "dormant"
    CLOSED = "closed"


def state(
    number: AccountNumber,
    wanted: Annotated[State, typer.Argument(metavar="STATE", help=", ".join(State))],
    reason: Reason,
    request_id: RequestId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Freeze, thaw, wake, put to sleep or close an account."""
    chosen_id = request_id or new_id()

    async def work(bank: "Session") -> "bank_pb2.Account":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.ChangeAccountStateRequest(
            name=f"accounts/{number}",
            request_id=chosen_id,
            state=bank_pb2.Account.State.Value(wanted.name),
            reason=reason,
        )
        return await ask_once(bank, bank.stub.ChangeAccountState, request, chosen_id)

    changed = with_bank(Where(data, gateway, token), work)
    from services.cli.views import account_view

    (show_json if as_json else show_fields)(account_view(changed))


_Overdraft = Annotated[
    str | None,
    typer.Option("--overdraft", metavar="AMOUNT", help="How far balance less held money may go below zero."),
]
_BalanceMax = Annotated[str | None, typer.Option("--balance-max", metavar="AMOUNT", help="The most that it may hold.")]
_TransferMax = Annotated[
    str | None, typer.Option("--transfer-max", metavar="AMOUNT", help="The most that it may pay at a time.")
]
_DayMax = Annotated[
    str | None,
    typer.Option("--day-max", metavar="AMOUNT", help="The most that it may pay and set aside in a business day."),
]
_CustomerDayMax = Annotated[
    str | None,
    typer.Option(
        "--customer-day-max",
        metavar="AMOUNT",
        help=f"What the customer may pay in a business day over all accounts of this currency; {NO_CAP} lifts it.",
    ),
]


def limits(
    number: AccountNumber,
    reason: Reason,
    overdraft: _Overdraft = None,
    balance_max: _BalanceMax = None,
    transfer_max: _TransferMax = None,
    day_max: _DayMax = None,
    day_count: Annotated[
        int | None, typer.Option("--day-count", min=0, help="How often it may pay or set aside in a business day.")
    ] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Lift all four limits.")] = False,
    customer_day_max: _CustomerDayMax = None,
    request_id: RequestId = None,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Change what an account may do, from its next transfer on.

    Those of the four limits that are given replace all four. Amounts are in the account's currency.
    """
    given = {"balance_minor_max": balance_max, "transfer_minor_max": transfer_max, "day_minor_max": day_max}
    wanted = _Wanted(overdraft, given, day_count, no_limits, customer_day_max)
    wanted.check()
    chosen_id = request_id or new_id()

    async def work(bank: "Session") -> "tuple[str, bank_pb2.ChangeAccountLimitsRequest]":
        from hivecore.gateway.v1 import bank_pb2

        name = f"accounts/{number}"
        code = (await bank.call(bank.stub.GetAccount, bank_pb2.GetAccountRequest(name=name))).currency_code
        request = bank_pb2.ChangeAccountLimitsRequest(name=name, request_id=chosen_id, reason=reason)
        try:
            wanted.fill(request, code)
        except AmountInvalid as error:
            raise Failure(str(error)) from error
        await ask_once(bank, bank.stub.ChangeAccountLimits, request, chosen_id)
        return code, request

    code, changed = with_bank(Where(data, gateway, token), work)
    from services.cli.views import limits_view

    view = limits_view(number, code, changed)
    if as_json:
        show_json(view)
    else:
        show_fields({name: value for name, value in view.items() if "_minor" not in name})


class _Wanted(NamedTuple):
    """What an account may do from now on, as it was typed."""

    overdraft: str | None
    limits: Mapping[str, str | None]
    day_count: int | None
    no_limits: bool
    customer_day_max: str | None

    @property
    def is_limited(self) -> bool:
        """Tell whether one of the four limits is given."""
        return self.day_count is not None or any(text is not None for text in self.limits.values())

    def check(self) -> None:
        """Refuse what makes no sense together, as wrong usage."""
        if self.is_limited and self.no_limits:
            raise typer.BadParameter("--no-limits goes with none of the four limits")
        if not self.is_limited and not self.no_limits and self.overdraft is None and self.customer_day_max is None:
            raise typer.BadParameter("nothing to change: give a limit, --no-limits, --overdraft or --customer-day-max")

    def fill(self, request: "bank_pb2.ChangeAccountLimitsRequest", code: str) -> None:
        """Put it into a request, in minor units of a currency. Raises `AmountInvalid`."""
        if self.overdraft is not None:
            request.floor_minor = -parse_limit(self.overdraft, code)
        if self.is_limited or self.no_limits:
            request.limits.SetInParent()
            for name, text in self.limits.items():
                if text is not None:
                    setattr(request.limits, name, parse_limit(text, code))
            if self.day_count is not None:
                request.limits.day_count_max = self.day_count
        if self.customer_day_max is not None:
            lifts = self.customer_day_max == NO_CAP
            request.customer_day_minor_max = -1 if lifts else parse_limit(self.customer_day_max, code)
