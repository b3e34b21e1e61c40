"""What the model knows of one leg: two accounts, the reasons in order, and the movement itself; and of one hold."""

from dataclasses import dataclass, field

from services.domain import limits
from services.domain.outcomes import Refusal
from services.ledger.books import Allowance, Leg, Restriction

NO_LIMITS = Allowance()


@dataclass
class Purse:
    """What was spent, this one day that a test lasts: by an account, or by a customer over all accounts."""

    day_max: int | None = None
    minor: int = 0
    times: int = 0


@dataclass
class Account:
    """What is known of an account."""

    currency: int
    floor: int = 0
    restrictions: int = 0
    history: list[tuple[int, int]] = field(default_factory=list)
    """Amounts and balances after them; amount 0 where money is set aside or freed."""
    held: int = 0
    promised: int = 0
    """What is to come by open promises."""
    limits: Allowance = NO_LIMITS
    own: Purse = field(default_factory=Purse)
    customers: Purse = field(default_factory=Purse)
    """Shared by all of a customer's accounts."""

    @property
    def balance(self) -> int:
        return self.history[-1][1] if self.history else 0

    def set_aside(self, amount: int) -> None:
        """Set money aside, or free it when negative."""
        self.held += amount
        self.history.append((0, self.balance))

    def spend(self, amount: int, times: int) -> None:
        """Count what is spent; negative when it is taken back."""
        for purse in (self.own, self.customers):
            purse.minor += amount
            purse.times += times


@dataclass
class Hold:
    """Money set aside; `over` says why it can no longer be used."""

    number: int
    amount: int
    payee: int
    over: Refusal | None = None


def move(payer: Account | None, payee: Account | None, amount: int) -> None:
    """Write both sides of a leg."""
    assert payer is not None and payee is not None
    payer.history.append((-amount, payer.balance - amount))
    payee.history.append((amount, payee.balance + amount))


ANYBODY = Account(0, -limits.INT64_MAX, 0)
"""Stands for a side of the leg that is judged elsewhere."""


def refusal_of(payer: Account | None, payee: Account | None, leg: Leg, *, crossing: bool = False) -> Refusal | None:
    """Walk down the reasons and give the first that applies, funds included."""
    return first(
        pays_nobody(payer, leg),
        poor(payer, leg.amount_minor),
        None if leg.is_fee else overspends(payer, leg.amount_minor),
        takes_nothing(payee, leg, crossing=crossing),
    )


def first(*reasons: Refusal | None) -> Refusal | None:
    """Choose by the public order of precedence."""
    return min(filter(None, reasons), default=None)


def pays_nobody(payer: Account | None, leg: Leg) -> Refusal | None:
    """Tell what forbids an account to pay at all."""
    if payer is None:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    return _first_of(
        {
            Refusal.DEBIT_CURRENCY_MISMATCH: payer is not ANYBODY and payer.currency != leg.currency,
            Refusal.DEBIT_ACCOUNT_CLOSED: payer.restrictions & Restriction.CLOSED,
            Refusal.DEBITS_FROZEN: payer.restrictions & Restriction.DEBITS_FROZEN,
        }
    )


def poor(payer: Account | None, amount: int) -> Refusal | None:
    """Tell whether an account lacks funds."""
    lacks = payer is not None and payer.balance - payer.held - amount < payer.floor
    return Refusal.INSUFFICIENT_FUNDS if lacks else None


def overspends(payer: Account | None, amount: int) -> Refusal | None:
    """Tell which limit or cap forbids to spend so much."""
    if payer is None:
        return None
    limits_, spent, cap = payer.limits, payer.own, payer.customers.day_max
    return _first_of(
        {
            Refusal.TRANSFER_LIMIT: amount > _bound(limits_.transfer_minor_max),
            Refusal.DAY_AMOUNT_LIMIT: spent.minor + amount > _bound(limits_.day_minor_max),
            Refusal.DAY_COUNT_LIMIT: spent.times >= _bound(limits_.day_count_max),
            Refusal.CUSTOMER_DAY_LIMIT: payer.customers.minor + amount > _bound(cap),
        }
    )


def takes_nothing(payee: Account | None, leg: Leg, *, crossing: bool = False) -> Refusal | None:
    """Tell what forbids an account to be paid; of a crossing, balances are judged where it lands."""
    if payee is None:
        return Refusal.CREDIT_ACCOUNT_NOT_FOUND
    after = payee.balance + leg.amount_minor
    most = _bound(payee.limits.balance_minor_max)
    return _first_of(
        {
            Refusal.CREDIT_CURRENCY_MISMATCH: payee is not ANYBODY and payee.currency != leg.currency,
            Refusal.CREDIT_ACCOUNT_CLOSED: payee.restrictions & Restriction.CLOSED,
            Refusal.CREDITS_FROZEN: payee.restrictions & Restriction.CREDITS_FROZEN,
            Refusal.CREDIT_BALANCE_LIMIT: not crossing
            and payee is not ANYBODY
            and (after > limits.BALANCE_MINOR_MAX or after + payee.promised > most),
        }
    )


def hold_refusal(hold: Hold | None, number: int) -> Refusal | None:
    """Tell why a hold of an account can no longer be used."""
    return Refusal.HOLD_NOT_FOUND if hold is None or hold.number != number else hold.over


def capture_refusal(hold: Hold | None, leg: Leg) -> Refusal | None:
    """Tell why a leg may not use a hold."""
    refusal = hold_refusal(hold, leg.debit_account)
    if refusal or hold is None:
        return refusal
    return _first_of(
        {
            Refusal.HOLD_PAYEE_MISMATCH: hold.payee not in {0, leg.credit_account},
            Refusal.CAPTURE_EXCEEDS_HOLD: leg.amount_minor > hold.amount,
        }
    )


def _bound(most: int | None) -> int:
    return limits.INT64_MAX if most is None else most


def _first_of(reasons: dict[Refusal, object]) -> Refusal | None:
    return first(*(reason for reason, applies in reasons.items() if applies))
