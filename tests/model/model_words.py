"""What the model keeps of ids, of promises, and of what travels between shards. Never here: rules, what is done with it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from memory_books import Ask

from services.domain.metadata import Metadata
from services.domain.outcomes import Refusal
from services.ledger.books import NO_LEG, Leg

TRANSIT = "transit"
Name = int | tuple[str, int, int]
"""An account's number; or, for the engine's own, (TRANSIT, peer, currency)."""


class Across(NamedTuple):
    """A transfer over several shards as its caller means it; `shards` are each leg's payer's and payee's."""

    ask: Ask
    shards: tuple[tuple[int, int], ...]

    @property
    def home(self) -> int:
        """The shard that decides."""
        return self.shards[0][0]

    @property
    def peers(self) -> list[int]:
        """The others that take part."""
        return sorted({shard for pair in self.shards for shard in pair} - {self.home})


@dataclass(frozen=True)
class Decided:
    """What a home tells a peer about an id."""

    transfer_id: bytes
    refusal: Refusal | None
    value_date: int
    towards: dict[int, int]
    """What the peer's side of the transit accounts is to receive, by currency, when it was posted."""


@dataclass
class Promised:
    """One shard's part of a transfer over several."""

    across: Across
    aside: dict[int, int]
    """What was set aside for each leg that is paid here, by its place."""
    day: int
    """When it was made."""
    is_open: bool = True


@dataclass
class Stream:
    """Crossings from one shard to another, in order; crossing n stands at place n - 1."""

    sent: list["Sent | Decided"] = field(default_factory=list)
    landed: int = 0
    acknowledged: int = 0
    acknowledged_before: int = 0
    """The same before the batch that is being decided."""
    refused: dict[int, Refusal] = field(default_factory=dict)

    def under_way(self, currency: int) -> int:
        """Sum up what left the payer and has neither reached the payee nor come back."""
        at_home_again = {number for number in self.refused if number <= self.acknowledged}
        there = {number for number in range(1, self.landed + 1) if number not in self.refused}
        return sum(
            sent.towards.get(currency, 0)
            for number, sent in enumerate(self.sent, start=1)
            if number not in there | at_home_again
        )


class Sent(NamedTuple):
    """A crossing: its first leg, and those on the payer's shard that come back with it."""

    transfer_id: bytes
    leg: Leg
    fees: tuple[Leg, ...]
    metadata: Metadata
    value_date: int

    @property
    def towards(self) -> dict[int, int]:
        """What it brings to the payee's shard, by currency."""
        return {self.leg.currency: self.leg.amount_minor}


@dataclass
class Meaning:
    """What an id means: `body` tells a repeat from a reuse; what was not asked for here has none."""

    body: object = None
    refusal: Refusal | None = None
    leg: int = NO_LEG
    """Which of several legs was refused."""
    crossing: tuple[int, int] | None = None
    metadata: Metadata = ()
    value_date: int = 0
    """The one asked for, or the day of booking."""
    is_buried: bool = False
    promised: Promised | None = None
    legs: tuple[Leg, ...] = ()
    """What can be reversed of it here: the legs asked for, or landed."""
    reversals: list[tuple[int, "Meaning"]] = field(default_factory=list)
    """What was given back of it, and by what."""
