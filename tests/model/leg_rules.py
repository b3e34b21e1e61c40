"""What the model knows of one leg: two accounts, the reasons in order, and the movement itself; and of one hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import Allowance, Leg, Restriction
from services.ledger.change_rows import Change

NO_LIMITS = Allowance()


@dataclass
class Purse:
    """What was spent on a day: by an account, or by a customer over all accounts."""

    day_max: int | None = None
    """A customer's cap."""
    day: int = 0
    minor: int = 0
    times: int = 0

    def of(self, today: int) -> tuple[int, int]:
        """Tell how much and how often was spent on a day that is not over."""
        return (self.minor, self.times) if self.day == today else (0, 0)

    def spend(self, today: int, amount: int, times: int) -> None:
        """Count what is spent; negative when it is taken back."""
        before = self.of(today)
        self.day, self.minor, self.times = today, before[0] + amount, before[1] + times

    def begin(self, today: int, set_aside: Sequence[int]) -> None:
        """Begin to count, with what was set aside today and still is."""
        self.day, self.minor, self.times = today, sum(set_aside), len(set_aside)


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
    customer: int = 0
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

    @property
    def is_frozen(self) -> bool:
        return bool(self.restrictions & (Restriction.DEBITS_FROZEN | Restriction.CREDITS_FROZEN))

    @property
    def is_counted(self) -> bool:
        """Whether a limit per day counts what is spent."""
        return self.limits.day_minor_max is not None or self.limits.day_count_max is not None

    def spend(self, today: int, amount: int, times: int) -> None:
        """Count what is spent; negative when it is taken back."""
        for purse in (self.own, self.customers):
            purse.spend(today, amount, times)


@dataclass
class Hold:
    """Money set aside; `over` says why it can no longer be used."""

    number: int
    amount: int
    payee: int
    day: int
    """When it was placed."""
    end: int
    """The hour from which on it is over."""
    over: Refusal | None = None

    def refusal(self, hour: int) -> Refusal | None:
        """Tell why it can no longer be used."""
        return self.over or (Refusal.HOLD_ALREADY_EXPIRED if hour >= self.end else None)


def move(payer: Account | None, payee: Account | None, amount: int) -> None:
    """Write both sides of a leg."""
    assert payer is not None and payee is not None
    payer.history.append((-amount, payer.balance - amount))
    payee.history.append((amount, payee.balance + amount))


def cannot_pay(payer: Account | None, leg: Leg, today: int) -> Refusal | None:
    """Tell what forbids an account to pay an amount out of its free funds."""
    return first(
        pays_nobody(payer, leg),
        poor(payer, leg.amount_minor),
        None if leg.is_fee else overspends(payer, leg.amount_minor, today),
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
            Refusal.DEBIT_CURRENCY_MISMATCH: payer.currency != leg.currency,
            Refusal.DEBIT_ACCOUNT_CLOSED: payer.restrictions & Restriction.CLOSED,
            Refusal.DEBITS_FROZEN: payer.restrictions & Restriction.DEBITS_FROZEN,
            Refusal.DEBIT_ACCOUNT_DORMANT: payer.restrictions & Restriction.DORMANT,
        }
    )


def poor(payer: Account | None, amount: int) -> Refusal | None:
    """Tell whether an account lacks funds."""
    lacks = payer is not None and payer.balance - payer.held - amount < payer.floor
    return Refusal.INSUFFICIENT_FUNDS if lacks else None


def overspends(payer: Account | None, amount: int, today: int) -> Refusal | None:
    """Tell which limit or cap forbids to spend so much."""
    if payer is None:
        return None
    limits_, (minor, times), cap = payer.limits, payer.own.of(today), payer.customers.day_max
    return _first_of(
        {
            Refusal.TRANSFER_LIMIT: amount > _bound(limits_.transfer_minor_max),
            Refusal.DAY_AMOUNT_LIMIT: minor + amount > _bound(limits_.day_minor_max),
            Refusal.DAY_COUNT_LIMIT: times >= _bound(limits_.day_count_max),
            Refusal.CUSTOMER_DAY_LIMIT: payer.customers.of(today)[0] + amount > _bound(cap),
        }
    )


def takes_nothing(payee: Account | None, leg: Leg, *, is_far: bool = False) -> Refusal | None:
    """Tell what forbids an account to be paid; asked from far away, balances are left to the landing."""
    if payee is None:
        return Refusal.CREDIT_ACCOUNT_NOT_FOUND
    after = payee.balance + leg.amount_minor
    most = _bound(payee.limits.balance_minor_max)
    return _first_of(
        {
            Refusal.CREDIT_CURRENCY_MISMATCH: payee.currency != leg.currency,
            Refusal.CREDIT_ACCOUNT_CLOSED: payee.restrictions & Restriction.CLOSED,
            Refusal.CREDITS_FROZEN: payee.restrictions & Restriction.CREDITS_FROZEN,
            Refusal.CREDIT_BALANCE_LIMIT: not is_far
            and (after > limits.BALANCE_MINOR_MAX or after + payee.promised > most),
        }
    )


def hold_refusal(hold: Hold | None, number: int, hour: int) -> Refusal | None:
    """Tell why a hold of an account can no longer be used."""
    return Refusal.HOLD_NOT_FOUND if hold is None or hold.number != number else hold.refusal(hour)


def capture_refusal(hold: Hold | None, leg: Leg, hour: int) -> Refusal | None:
    """Tell why a leg may not use a hold."""
    refusal = hold_refusal(hold, leg.debit_account, hour)
    if refusal or hold is None:
        return refusal
    return _first_of(
        {
            Refusal.HOLD_PAYEE_MISMATCH: hold.payee not in {0, leg.credit_account},
            Refusal.CAPTURE_EXCEEDS_HOLD: leg.amount_minor > hold.amount,
        }
    )


def reversal_refusal(original: Sequence[Leg], outcome: Outcome, given_back: int, legs: Sequence[Leg]) -> Refusal | None:
    """Tell why legs may not reverse a transfer: one leg whole or in part, several all of them in the other order."""
    if not original:
        return Refusal.ORIGINAL_NOT_FOUND
    if outcome != Outcome.POSTED:
        return Refusal.ORIGINAL_NOT_POSTED
    back = [Leg(leg.credit_account, leg.debit_account, leg.amount_minor, leg.currency) for leg in original[::-1]]
    wanted = list(legs)
    if len(back) == 1:
        wanted = [leg._replace(amount_minor=back[0].amount_minor) for leg in legs]
    if wanted != back:
        return Refusal.REVERSAL_MISMATCH
    too_much = given_back + sum(leg.amount_minor for leg in legs) > sum(leg.amount_minor for leg in back)
    return Refusal.REVERSAL_EXCEEDS_ORIGINAL if too_much else None


def cannot_change(account: Account | None, asked: Change) -> Refusal | None:
    """Tell what forbids to change an account's state, its limits or its customer's cap."""
    if account is None:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    return _first_of(
        {
            Refusal.DEBIT_ACCOUNT_CLOSED: account.restrictions == Restriction.CLOSED,
            Refusal.CUSTOMER_MISSING: asked.customer_day_minor_max is not None and not account.customer,
            Refusal.STATE_MAY_NOT_FOLLOW: asked.restrictions == Restriction.CLOSED and account.is_frozen,
            Refusal.ACCOUNT_NOT_EMPTY: asked.restrictions == Restriction.CLOSED
            and (account.balance, account.held, account.promised) != (0, 0, 0),
        }
    )


def _bound(most: int | None) -> int:
    return limits.INT64_MAX if most is None else most


def _first_of(reasons: dict[Refusal, object]) -> Refusal | None:
    return first(*(reason for reason, applies in reasons.items() if applies))
