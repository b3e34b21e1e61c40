"""What the model knows of one leg: two accounts, the reasons in order, and the movement itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.domain import limits
from services.domain.outcomes import Refusal
from services.ledger.books import Leg, Restriction


@dataclass
class Account:
    """What is known of an account."""

    currency: int
    floor: int = 0
    restrictions: int = 0
    history: list[tuple[int, int]] = field(default_factory=list)
    """Amounts and balances after them; amount 0 where money is set aside or freed."""
    held: int = 0

    @property
    def balance(self) -> int:
        return self.history[-1][1] if self.history else 0

    def set_aside(self, amount: int) -> None:
        """Set money aside, or free it when negative."""
        self.held += amount
        self.history.append((0, self.balance))


def move(payer: Account | None, payee: Account | None, amount: int) -> None:
    """Write both sides of a leg."""
    assert payer is not None and payee is not None
    payer.history.append((-amount, payer.balance - amount))
    payee.history.append((amount, payee.balance + amount))


ANYBODY = Account(0, -limits.INT64_MAX, 0)
"""Stands for a side of the leg that is judged elsewhere."""


def refusal_of(payer: Account | None, payee: Account | None, leg: Leg, *, crossing: bool = False) -> Refusal | None:
    """Walk down the reasons and give the first that applies."""
    return next((reason for reason in Refusal if _applies(reason, payer, payee, leg, crossing=crossing)), None)


def _applies(reason: Refusal, payer: Account | None, payee: Account | None, leg: Leg, *, crossing: bool) -> bool:
    amount = leg.amount_minor
    if payer is None:
        return reason is Refusal.DEBIT_ACCOUNT_NOT_FOUND
    if payee is None:
        return reason is Refusal.CREDIT_ACCOUNT_NOT_FOUND
    applies: dict[Refusal, Callable[[], object]] = {
        Refusal.DEBIT_CURRENCY_MISMATCH: lambda: payer is not ANYBODY and payer.currency != leg.currency,
        Refusal.CREDIT_CURRENCY_MISMATCH: lambda: payee is not ANYBODY and payee.currency != leg.currency,
        Refusal.DEBIT_ACCOUNT_CLOSED: lambda: payer.restrictions & Restriction.CLOSED,
        Refusal.CREDIT_ACCOUNT_CLOSED: lambda: payee.restrictions & Restriction.CLOSED,
        Refusal.DEBITS_FROZEN: lambda: payer.restrictions & Restriction.DEBITS_FROZEN,
        Refusal.CREDITS_FROZEN: lambda: payee.restrictions & Restriction.CREDITS_FROZEN,
        Refusal.INSUFFICIENT_FUNDS: lambda: payer.balance - payer.held - amount < payer.floor,
        Refusal.CREDIT_BALANCE_LIMIT: lambda: (
            not crossing and payee is not ANYBODY and payee.balance + amount > limits.BALANCE_MINOR_MAX
        ),
    }
    return bool(applies.get(reason, bool)())
