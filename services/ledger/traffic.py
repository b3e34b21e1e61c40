"""What shards have to do with each other, as values: crossings, promises, decisions on them.

Never here: rules, I/O, a clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from services.domain.metadata import Metadata
from services.ledger.books import ENGINE, Actor, Flag, Leg

_GIVES_BACK: Final = int(Flag.GIVES_BACK)
"""A plain integer, as in `rules.py`."""


class RoutedLeg(NamedTuple):
    """A leg of a transfer over several shards, as one of them sees it."""

    place: int
    """Which leg of the whole transfer, from 0."""
    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    debit_peer: int
    """Through which peer's transit account the payer's side passes; 0 when the payer lies here."""
    credit_peer: int
    """The same of the payee's side. Both the same peer: the leg passes this shard by."""
    is_fee: bool = False

    @property
    def leg(self) -> Leg:
        """The leg as its caller sees it."""
        return Leg(self.debit_account, self.credit_account, self.amount_minor, self.currency, self.is_fee)

    @property
    def passes_by(self) -> bool:
        """Whether nothing of it is written here."""
        return self.debit_peer == self.credit_peer != 0


class PromiseState(IntEnum):
    """Where a promise is in its life; all but OPEN are for ever."""

    OPEN = 1
    KEPT = 2
    DROPPED = 3


class Promise(NamedTuple):
    """This shard's part of a transfer that the home shard decides."""

    transfer_id: bytes
    home_id: int
    sequence: int
    promise_time_us: int
    business_date: int
    """What its debits count for."""
    fingerprint: int
    flags: int
    actor_id: int
    reference: str
    legs: tuple[RoutedLeg, ...]
    metadata: Metadata
    state: int
    refusal: int = 0
    resolve_sequence: int | None = None

    def counts(self, leg: RoutedLeg) -> bool:
        """Tell whether a leg is its payer's spending."""
        return is_spending(leg, self.flags)


def is_spending(leg: RoutedLeg, flags: int) -> bool:
    """Tell whether a leg is its payer's spending: fees are not, nor is what gives back."""
    return not leg.is_fee and not flags & _GIVES_BACK


@dataclass(slots=True)
class Crossings:
    """Crossings of one peer, numbered from `first_number` on, in columns."""

    peer_id: int
    first_number: int
    transfer_ids: list[bytes]
    debit_accounts: list[int]
    credit_accounts: list[int]
    amounts_minor: list[int]
    currencies: list[int]
    references: list[str]
    value_dates: list[int]
    metadata: dict[int, Metadata] = field(default_factory=dict)
    actors: list[Actor] | None = None
    """Who asked on the payers' shard; None when it does not say."""
    actor_ids: list[int] | None = None
    """The numbers of `actors` in these books, put in before deciding."""
    decisions: list["Verdict"] = field(default_factory=list)
    """Numbered among the crossings, in order; the columns are without them."""

    def runs(self) -> "Iterator[Crossings | Verdict]":
        """Yield crossings without decisions among them, and decisions, in the order of their numbers."""
        number, place = self.first_number, 0
        for verdict in self.decisions:
            if number < verdict.number:
                yield self._run(number, place, place + verdict.number - number)
            place += verdict.number - number
            yield verdict
            number = verdict.number + 1
        if place < len(self.transfer_ids):
            yield self._run(number, place, len(self.transfer_ids))

    def _run(self, first_number: int, start: int, end: int) -> "Crossings":
        return Crossings(
            self.peer_id,
            first_number,
            self.transfer_ids[start:end],
            self.debit_accounts[start:end],
            self.credit_accounts[start:end],
            self.amounts_minor[start:end],
            self.currencies[start:end],
            self.references[start:end],
            self.value_dates[start:end],
            {place - start: pairs for place, pairs in self.metadata.items() if start <= place < end},
            None,
            None if self.actor_ids is None else self.actor_ids[start:end],
        )


class Verdict(NamedTuple):
    """What became of a transfer, told to a shard that promised a part of it."""

    number: int
    transfer_id: bytes
    outcome: int
    """POSTED or REFUSED."""
    refusal: int
    reference: str
    value_date: int
    account_number: int
    """Whose promise, should the id be unknown."""


class Crossing(NamedTuple):
    """One crossing that left this shard, or a decision that travels among them."""

    number: int
    transfer_id: bytes
    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    reference: str
    value_date: int
    further: tuple[Leg, ...] = ()
    """Legs on the payer's shard, given back with it."""
    metadata: Metadata = ()
    actor: Actor = ENGINE
    """Who asked for it."""
    verdict: Verdict | None = None
    """A decision: everything else is 0, since nothing comes back."""

    @classmethod
    def of_verdict(cls, verdict: Verdict) -> "Crossing":
        """Let a decision travel among the crossings."""
        return cls(verdict.number, verdict.transfer_id, 0, 0, 0, 0, "", 0, verdict=verdict)


@dataclass(slots=True)
class Watermarks:
    """How far money has gone to and come from one peer."""

    sent_through: int = 0
    acknowledged_through: int = 0
    landed_through: int = 0
