"""A shard's books as its journal makes them, and the rows of one commit: what checking them works on.

Never here: what is right (`replay.py`, `checker.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.ledger.books import HoldState
from simulation.database import Change
from simulation.tables import Row


class Violation(AssertionError):
    """The books are wrong."""


def claim(holds: object, what: str, *about: Any) -> None:
    """Raise unless something is so."""
    if not holds:
        raise Violation(f"{what}: {', '.join(map(str, about))}")


@dataclass
class Counted:
    """What was spent on a day, since it is counted."""

    day: int = 0
    minor: int = 0
    times: int = 0

    def add(self, day: int, minor: int, times: int) -> None:
        if self.day != day:
            self.day, self.minor, self.times = day, 0, 0
        self.minor += minor
        self.times += times

    def on(self, day: int) -> tuple[int, int]:
        return (self.minor, self.times) if self.day == day else (0, 0)


@dataclass
class Account:
    """An account as the journal makes it."""

    number: int
    currency: int
    floor: int
    restrictions: int
    customer: int
    limits: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    balance: int = 0
    held: int = 0
    promised: int = 0
    """What open promises will credit."""
    version: int = 0
    counted: Counted = field(default_factory=Counted)

    @property
    def is_counted(self) -> bool:
        return self.limits[2] is not None or self.limits[3] is not None


@dataclass
class Hold:
    """A hold as the journal makes it."""

    account: int
    amount: int
    expire_time: int
    payee: int
    place_date: int
    state: int = HoldState.OPEN


class RoutedLeg(NamedTuple):
    """A leg of a transfer over several shards, with the peers through which its sides pass; 0 for a side here."""

    leg: Row
    debit_peer: int
    credit_peer: int

    @property
    def passes_by(self) -> bool:
        """Whether nothing of it is written here."""
        return self.debit_peer == self.credit_peer != 0

    @property
    def body(self) -> tuple[int, ...]:
        """What its caller asked for."""
        return tuple(self.leg[name] for name in ("debit_account", "credit_account", "amount_minor", "currency"))


@dataclass
class Promise:
    """An open promise as the journal makes it."""

    home: int
    legs: list[RoutedLeg]
    asides: list[int]
    """What each leg whose payer is here has set aside."""
    day: int
    is_spending: bool


@dataclass
class Books:
    """One shard as its journal makes it."""

    accounts: dict[int, Account] = field(default_factory=dict)
    holds: dict[bytes, Hold] = field(default_factory=dict)
    promises: dict[bytes, Promise] = field(default_factory=dict)
    """Those that are open."""
    caps: dict[tuple[int, int], tuple[int, Counted]] = field(default_factory=dict)
    sequence: int = 0
    time_us: int = 0
    landed: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)
    reversed: dict[bytes, int] = field(default_factory=dict)
    """How much standing reversals give back."""

    def set_aside(self, number: int) -> int:
        """Tell what open promises have set aside on an account."""
        return sum(
            aside
            for promise in self.promises.values()
            for (leg, debit_peer, _), aside in zip(promise.legs, promise.asides, strict=True)
            if not debit_peer and leg["debit_account"] == number
        )

    def promised_today(self, number: int, day: int) -> list[int]:
        """List what open promises of a day will debit to an account as its spending."""
        return [
            leg["amount_minor"]
            for promise in self.promises.values()
            if promise.day == day and promise.is_spending
            for leg, debit_peer, _ in promise.legs
            if not debit_peer and leg["debit_account"] == number and not leg.get("is_fee")
        ]


@dataclass
class Batch:
    """The rows of one commit, by what they belong to."""

    shard: int
    rows: dict[str, list[Row]] = field(default_factory=dict)
    entries: dict[int, list[Row]] = field(default_factory=dict)
    further: dict[int, list[Row]] = field(default_factory=dict)
    relations: dict[int, Row] = field(default_factory=dict)
    peer_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Peer and number of crossings that left, by sequence."""
    number_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Peer and number of crossings that landed, by sequence."""
    routes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Peers of a leg's payer and payee, by the leg's sequence."""
    told: dict[int, list[Row]] = field(default_factory=dict)
    """Decisions for peers, by the sequence of the transfer."""
    heard: dict[int, Row] = field(default_factory=dict)
    """Decisions of peers, by the sequence of what they wrote."""
    used: list[int] = field(default_factory=list)

    def routed(self, row: Row, further: list[Row]) -> list[RoutedLeg]:
        """Return a transfer's legs with their routes."""
        legs = enumerate((row, *further), row["sequence"])
        return [RoutedLeg(leg, *self.routes.get(sequence, (0, 0))) for sequence, leg in legs]

    def is_span(self, row: Row) -> bool:
        """Tell whether a transfer was decided for other shards too."""
        return row["sequence"] in self.told


def batch_of(shard: int, changes: Sequence[Change]) -> Batch:
    batch = Batch(shard)
    for name, row in changes:
        batch.rows.setdefault(name, []).append(row)
    for row in batch.rows.get("entry", ()):
        batch.entries.setdefault(row["sequence"], []).append(row)
    for row in batch.rows.get("further_leg", ()):
        batch.further.setdefault(row["transfer_sequence"], []).append(row)
    for row in batch.rows.get("relation", ()):
        batch.relations[row["sequence"]] = row
    for row in batch.rows.get("crossing_out", ()):
        batch.peer_of[row["sequence"]] = (row["peer_id"], row["number"])
    for row in batch.rows.get("crossing_landed", ()):
        for number in range(row["first_number"], row["last_number"] + 1):
            batch.number_of[row["first_sequence"] + number - row["first_number"]] = (row["peer_id"], number)
    for row in batch.rows.get("leg_route", ()):
        batch.routes[row["sequence"]] = (row["debit_peer"], row["credit_peer"])
    for row in batch.rows.get("decision_out", ()):
        batch.told.setdefault(row["sequence"], []).append(row)
    for row in batch.rows.get("decision_landed", ()):
        batch.heard[row["sequence"]] = row
    return batch
