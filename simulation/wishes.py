"""What callers want next: operations drawn from the plan, on accounts, holds and transfers that there may be.

Never here: sending anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from hivecore.gateway.v1 import bank_pb2

from services.domain import chart
from services.domain.identifiers import account_text, uuid_text
from services.domain.outcomes import Outcome
from services.gateway import wire
from services.ledger import changes
from simulation.applicants import Applicants
from simulation.oracle import Intention, Leg, Oracle
from simulation.plan import Plan

CZK, EUR = 203, 978
CODES = {CZK: "CZK", EUR: "EUR"}


@dataclass(frozen=True)
class Account:
    """An account that was opened."""

    number: int
    shard_id: int
    currency: int


class Wishes:
    """Draws intentions until the plan's number of them is reached."""

    def __init__(self, plan: Plan, oracle: Oracle) -> None:
        self.accounts: list[Account] = []
        self.openings_wanted = 0
        self._plan = plan
        self._oracle = oracle
        self._chance = Random(f"wishes {plan.seed}")
        self._left = plan.intentions
        self._numbers = 0
        self._transfers: list[Intention] = []
        self._holds: list[Intention] = []
        self.soon: list[Intention] = []
        self._draws: dict[str, Callable[[], list[Intention] | None]] = {
            "transfer": lambda: self._transfer(crosses=False),
            "crossing": lambda: self._transfer(crosses=True),
            "legs": lambda: self._transfer(crosses=False, further=self._chance.randint(1, 4)),
            "fee": lambda: self._transfer(crosses=True, further=1),
            "hold": self._hold,
            "increase": self._increase,
            "capture": self._capture,
            "release": self._release,
            "reverse": self._reverse,
            "limits": self._limits,
            "cap": self._cap,
            "state": self._state,
            "reuse": self._reuse,
            "batch": self._batch,
            "open": self._open,
            "span": self._span,
            "move": self._move,
            "undo": self._undo,
            **Applicants(plan.seed, oracle, self.new_id, self.soon).draws,
        }

    def next(self) -> list[Intention] | None:
        """Draw what is wanted next: one thing, or transfers for one call. None when that is all."""
        if self.soon:
            return [self.soon.pop(0)]
        while self._left > 0:
            kinds = list(self._plan.weights)
            kind = self._chance.choices(kinds, list(self._plan.weights.values()))[0]
            self._left -= 1
            wished = self._draws[kind]()
            if wished:
                return wished
        return None

    def end(self) -> None:
        """Want nothing more."""
        self._left = 0
        self.soon.clear()

    def fund(self, account: Account) -> Intention:
        """Want money on an account that was just opened."""
        cash = chart.internal_account(account.shard_id, chart.Code.CASH, account.currency)
        amount = self._chance.randint(1, 2_000 if self._plan.is_tight else 100_000)
        return self._ask([(cash, account.number, amount, account.currency)])

    def use(self, account: Account) -> Intention | None:
        """Want to pay with an account that was just opened, whether or not there is money on it yet."""
        payee = self._account(currency=account.currency, besides=account.number)
        return None if payee is None else self._ask([(account.number, payee.number, 1, account.currency)])

    def new_id(self) -> bytes:
        """Mint an id."""
        self._numbers += 1
        return (0x5EED << 112 | self._numbers).to_bytes(16)

    # One by one.

    def _account(self, shard_id: int = 0, currency: int = 0, *, besides: int = 0, not_on: int = 0) -> Account | None:
        fitting = [
            one
            for one in self.accounts
            if shard_id in {0, one.shard_id}
            and currency in {0, one.currency}
            and one.number != besides
            and one.shard_id != not_on
        ]
        # Few of them get most, so that some accounts are hot.
        return fitting[int(len(fitting) * self._chance.random() ** 2)] if fitting else None

    def _amount(self) -> int:
        return self._chance.choice((1, self._chance.randint(1, 300), self._chance.randint(1, 3_000)))

    def _ask(self, legs: list[Leg], *, kind: str = "transfer", of: bytes | None = None) -> Intention:
        transfer_id = of or self.new_id()
        transfer = bank_pb2.Transfer(transfer_id=uuid_text(transfer_id), legs=[_leg(leg) for leg in legs])
        if self._chance.random() < 0.3:
            transfer.reference = f"reference {self._chance.randint(1, 9)}"
        if kind == "transfer" and self._chance.random() < 0.05:
            transfer.override_limits = True
        if self._plan.has_products:
            transfer.waive_fees = self._chance.random() < 0.05
            if self._chance.random() < 0.15:
                transfer.fee_minor_max = self._chance.choice((0, 2, 20, 1_000))
        request = bank_pb2.PostTransferRequest(transfer=transfer)
        intention = self._oracle.add(Intention(kind, transfer_id, request, "PostTransfer", tuple(legs)))
        if kind == "transfer":
            self._transfers.append(intention)
        return intention

    def _legs(self, *, crosses: bool, further: int = 0) -> list[Leg] | None:
        payer = self._account()
        if payer is None:
            return None
        if crosses and self._plan.shards > 1:
            payee = self._account(currency=payer.currency, not_on=payer.shard_id)
        else:
            payee = self._account(payer.shard_id, payer.currency, besides=payer.number)
        if payee is None:
            return None
        legs = [(payer.number, payee.number, self._amount(), payer.currency)]
        for _ in range(further):
            second = self._account(payer.shard_id, payer.currency, besides=payer.number)
            if second is not None:
                sides = (payer, second) if self._chance.random() < 0.7 else (second, payer)
                legs.append((sides[0].number, sides[1].number, self._amount(), payer.currency))
        return legs

    def _transfer(self, *, crosses: bool, further: int = 0) -> list[Intention] | None:
        legs = self._legs(crosses=crosses, further=further)
        return [self._ask(legs)] if legs else None

    def _span(self) -> list[Intention] | None:
        """Want legs between accounts wherever they lie: one payer and many payees, many and one, or in turns."""
        first = self._account()
        if first is None:
            return None
        one_pays, one_is_paid = self._chance.choice(((True, False), (False, True), (False, False)))
        payer, payee, legs = first, first, []
        for _ in range(self._chance.choice((2, 2, 3, 3, 4, 8))):
            other = first if one_is_paid else self._account(currency=first.currency, besides=payer.number)
            if one_is_paid:
                payer = self._account(currency=first.currency, besides=first.number) or first
            if other is None or other is payer:
                return None
            payee = other
            amount = self._chance.choice((1, self._chance.randint(1, 100)))
            legs.append((payer.number, payee.number, amount, first.currency))
            payer = payer if one_pays else payee
        if "state" in self._plan.weights and self._chance.random() < 0.3:
            closed = self._state_of(payee, changes.CLOSED)
            closed.pause_seconds = self._chance.uniform(0, 0.02)  # It is about to be paid.
            self.soon.append(closed)
        return [self._ask(legs)]

    def _batch(self) -> list[Intention] | None:
        many = []
        for _ in range(self._chance.randint(2, 25)):
            legs = self._legs(crosses=self._chance.random() < 0.5)
            if legs:
                many.append(self._ask(legs))
        self._left -= len(many)
        return many

    def _reuse(self) -> list[Intention] | None:
        """Want something else under an id that was minted for another thing."""
        before, legs = self._some(self._transfers), self._legs(crosses=self._chance.random() < 0.5)
        if (
            before is None
            or not legs
            or before.legs == tuple(legs)
            or before.legs[0][0] // 10**12 != legs[0][0] // 10**12
        ):
            return None  # An id is one shard's: on another it would be another id.
        other = self._ask(legs, of=before.id)
        self._transfers.remove(other)
        return [other]

    def _some(self, of: list[Intention]) -> Intention | None:
        return of[-1 - int(min(len(of), 30) * self._chance.random())] if of else None

    def _hold(self) -> list[Intention] | None:
        account = self._account()
        if account is None:
            return None
        hold_id, amount = self.new_id(), self._amount()
        payee = (
            self._account(currency=account.currency, besides=account.number) if self._chance.random() < 0.3 else None
        )
        hold = bank_pb2.Hold(
            hold_id=uuid_text(hold_id),
            account=account_text(account.number),
            amount_minor=amount,
            currency_code=CODES[account.currency],
            hold_seconds=self._chance.choice((1, 2, 5, 3_600)),
            payee_account=account_text(payee.number) if payee is not None else "",
        )
        leg = (account.number, payee.number if payee is not None else 0, amount, account.currency)
        request = bank_pb2.PlaceHoldRequest(hold=hold)
        placed = self._oracle.add(Intention("hold", hold_id, request, "PlaceHold", (leg,)))
        self._holds.append(placed)
        return [placed]

    def _increase(self) -> list[Intention] | None:
        hold = self._some(self._holds)
        if hold is None:
            return None
        request_id, amount = self.new_id(), self._chance.randint(1, 200)
        account, _, _, currency = hold.legs[0]
        request = bank_pb2.IncreaseHoldRequest(
            name=_hold_name(hold),
            request_id=uuid_text(request_id),
            amount_minor=amount,
            currency_code=CODES[currency],
            hold_seconds=self._chance.choice((0, 5)),
        )
        leg = (account, 0, amount, currency)
        return [self._oracle.add(Intention("increase", request_id, request, "IncreaseHold", (leg,), hold.id))]

    def _release(self) -> list[Intention] | None:
        hold = self._some(self._holds)
        if hold is None:
            return None
        request_id = self.new_id()
        request = bank_pb2.ReleaseHoldRequest(name=_hold_name(hold), request_id=uuid_text(request_id))
        return [self._oracle.add(Intention("release", request_id, request, "ReleaseHold", hold.legs, hold.id))]

    def _capture(self) -> list[Intention] | None:
        hold = self._some(self._holds)
        if hold is None:
            return None
        account, payee, held, currency = hold.legs[0]
        if not payee or self._chance.random() < 0.2:
            other = self._account(currency=currency, besides=account)
            if other is None:
                return None
            payee = other.number
        amount = self._chance.choice((held, max(1, held // 2), held + 1, held + 100))
        captured = self._ask([(account, payee, amount, currency)], kind="capture")
        captured.target, captured.method = hold.id, "CaptureHold"
        captured.request = bank_pb2.CaptureHoldRequest(name=_hold_name(hold), transfer=captured.request.transfer)
        return [captured]

    def _undo(self) -> list[Intention] | None:
        """Want a transfer reversed whose legs lie on several shards, mostly one that was posted."""
        shards = {account.number: account.shard_id for account in self.accounts}
        wide = [
            one
            for one in self._transfers
            if len(one.legs) > 1 and len({shards.get(side) for leg in one.legs for side in leg[:2]}) > 1
        ]
        posted = [one for one in wide if one.final is not None and one.final.outcome == Outcome.POSTED]
        original = self._some(posted if posted and self._chance.random() < 0.8 else wide)
        if original is None:
            return None
        return self._reversal(original, self._chance.choice((0, 0, sum(leg[2] for leg in original.legs), 1)))

    def _reverse(self) -> list[Intention] | None:
        original = self._some(self._transfers)
        if original is None:
            return None
        return self._reversal(original, self._chance.choice((0, 0, 1, max(1, original.legs[0][2] // 2))))

    def _reversal(self, original: Intention, part: int) -> list[Intention]:
        transfer_id = self.new_id()
        policy = bank_pb2.ReverseTransferRequest.OVERDRAW if self._chance.random() < 0.3 else 0
        request = bank_pb2.ReverseTransferRequest(
            name=f"accounts/{account_text(original.legs[0][0])}/transfers/{uuid_text(original.id)}",
            transfer_id=uuid_text(transfer_id),
            amount_minor=part,
            policy=policy,  # type: ignore[arg-type]
        )
        return [self._oracle.add(Intention("reverse", transfer_id, request, "ReverseTransfer", (), original.id))]

    def _change(self, **what: object) -> list[Intention] | None:
        account = self._account()
        if account is None:
            return None
        change_id = self.new_id()
        request = bank_pb2.ChangeAccountLimitsRequest(
            name=f"accounts/{account_text(account.number)}", request_id=uuid_text(change_id), reason="test"
        )
        for name, value in what.items():
            if name == "limits":
                assert isinstance(value, bank_pb2.AccountLimits)
                request.limits.CopyFrom(value)
            else:
                setattr(request, name, value)
        return [self._oracle.add(Intention("limits", change_id, request, "ChangeAccountLimits"))]

    def _move(self) -> list[Intention] | None:
        """Want another product, or another version of it, for an account; now and then one in another currency."""
        account = self._account()
        if account is None:
            return None
        request_id, products = self.new_id(), list(self._oracle.charges.products)
        fitting = [each for each in products if each.code.endswith(str(account.currency))]
        product = self._chance.choice(fitting if self._chance.random() < 0.95 else products)
        version = f"/versions/{product.version}" if self._chance.random() < 0.8 else ""
        request = bank_pb2.MoveAccountProductRequest(
            name=f"accounts/{account_text(account.number)}",
            request_id=uuid_text(request_id),
            product=f"products/{product.code}{version}",
            reason="test",
        )
        return [self._oracle.add(Intention("move", request_id, request, "MoveAccountProduct"))]

    def _limits(self) -> list[Intention] | None:
        limits = bank_pb2.AccountLimits()
        for name in ("balance_minor_max", "transfer_minor_max", "day_minor_max"):
            if self._chance.random() < 0.3:
                setattr(limits, name, self._chance.randint(0, 5_000))
        if self._chance.random() < 0.3:
            limits.day_count_max = self._chance.randint(0, 5)
        if self._chance.random() < 0.3:
            return self._change(floor_minor=-self._chance.choice((0, 100, 1_000)))
        return self._change(limits=limits)

    def _cap(self) -> list[Intention] | None:
        return self._change(customer_day_minor_max=self._chance.choice((-1, 0, 500, 2_000)))

    def _state(self) -> list[Intention] | None:
        account = self._account()
        if account is None:
            return None
        states = (changes.ACTIVE, changes.ACTIVE, changes.FROZEN, changes.DEBITS_FROZEN, changes.CREDITS_FROZEN,
                  changes.DORMANT, changes.CLOSED)  # fmt: skip
        restrictions = self._chance.choice(states)
        changed = self._state_of(account, restrictions)
        emptied = self._empty(account) if restrictions == changes.CLOSED else None
        if emptied is None:
            return [changed]
        changed.pause_seconds = self._chance.choice((0, self._chance.uniform(0, 0.05)))
        self.soon.append(changed)
        return [emptied]

    def _state_of(self, account: Account, restrictions: int) -> Intention:
        change_id = self.new_id()
        request = bank_pb2.ChangeAccountStateRequest(
            name=f"accounts/{account_text(account.number)}",
            request_id=uuid_text(change_id),
            state=wire.STATE_BY_RESTRICTIONS[restrictions],
            reason="test",
        )
        return self._oracle.add(Intention("state", change_id, request, "ChangeAccountState"))

    def _empty(self, account: Account) -> Intention | None:
        """Want all of an account's money to go elsewhere, as whoever closes it would."""
        entries = self._oracle.databases[account.shard_id].tables["entry"].by("account_number", account.number)
        payee = self._account(currency=account.currency, besides=account.number)
        if not entries or payee is None or entries[-1]["balance_after_minor"] < 1:
            return None
        return self._ask([(account.number, payee.number, entries[-1]["balance_after_minor"], account.currency)])

    def _open(self) -> list[Intention] | None:
        self.openings_wanted += 1
        return None


def _leg(leg: Leg) -> bank_pb2.Leg:
    debit, credit, amount, currency = leg
    return bank_pb2.Leg(
        debit_account=account_text(debit),
        credit_account=account_text(credit),
        amount_minor=amount,
        currency_code=CODES[currency],
    )


def _hold_name(hold: Intention) -> str:
    return f"accounts/{account_text(hold.legs[0][0])}/holds/{uuid_text(hold.id)}"
