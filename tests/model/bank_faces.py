"""What a bank is to its tests: the work that it is given, and what it shows. Never here: a bank, a model, comparing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from memory_books import Ask
from model_words import Across

from services.domain.metadata import Metadata
from services.ledger.books import Allowance, HoldCommand
from services.ledger.change_rows import Change
from services.ledger.promises import PromiseAsked
from services.ledger.spanning import Span, Told
from services.ledger.traffic import Crossing, Watermarks


@dataclass(frozen=True)
class Landing:
    """Crossings as a peer hands them over."""

    peer_id: int
    sent: tuple[Crossing, ...]


@dataclass(frozen=True)
class Word:
    """What a peer says of crossings, with those that come back."""

    peer_id: int
    through: int
    refused: tuple[tuple[Crossing, int], ...]


@dataclass(frozen=True)
class Promising:
    """A home's request for a part of a transfer."""

    across: Across
    asked: PromiseAsked


@dataclass(frozen=True)
class Deciding:
    """A transfer over several shards with the others' answers."""

    across: Across
    span: Span
    refusals: tuple[tuple[int, int], ...]
    told: tuple[int, ...]


@dataclass(frozen=True)
class Inquiry:
    """A peer's question."""

    peer_id: int
    told: Told


@dataclass(frozen=True)
class Opening:
    """Facts of a new account."""

    number: int
    currency: int
    floor: int
    limits: Allowance | None
    customer: int


@dataclass(frozen=True)
class Holding:
    """What is to become of a hold."""

    command: HoldCommand


@dataclass(frozen=True)
class Expiring:
    """Holds to be freed whose time has come."""

    hold_ids: tuple[bytes, ...]


@dataclass(frozen=True)
class Changing:
    """What is to become of an account's limits, or of its customer's cap."""

    change: Change


Work = tuple[Ask, ...] | Holding | Expiring | Changing | Promising | Deciding | Inquiry | Landing | Word | Opening
"""What a request comes to once the other shards' committed books were looked at."""


@dataclass
class Seen:
    """An account as the books show it."""

    currency: int
    floor: int
    restrictions: int
    history: list[tuple[int, int]]
    held: int = 0
    spent: tuple[int, int] = (0, 0)
    """How much and how often today, where a limit per day counts it."""


class Bank(Protocol):
    """Several shards that are driven and looked at."""

    def run(self, shard: int, work: Sequence[Work], fate: str) -> list[Any] | None:
        """Do work as one batch; None when nothing was written and nothing is in doubt."""

    def wait(self, hours: int) -> None:
        """Let time pass, on all shards."""

    def cap(self, shard: int, customer: int, number: int, day_max: int) -> None:
        """Cap what a customer may spend, who has the account, in the committed books."""

    def capped(self, shard: int, customer: int) -> int:
        """Tell what a capped customer has spent today."""

    def value_dates(self, shard: int) -> dict[bytes, int]:
        """Show the value dates of what moved money, by id."""

    def payee_refusal(self, shard: int, number: int, currency: int) -> int:
        """Answer what a payer's shard asks beforehand."""

    def accounts(self, shard: int) -> dict[int, Seen]:
        """Show all accounts."""

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[int, int]:
        """Tell what an id means by the committed books."""

    def metadata(self, shard: int) -> dict[bytes, Metadata]:
        """Show what is kept with transfers, by id, where there is any."""

    def open_promises(self, shard: int) -> list[tuple[bytes, int]]:
        """Show the ids and homes of open promises, in the order in which they were made."""

    def watermarks(self, shard: int) -> dict[int, Watermarks]:
        """Show how far crossings have come."""

    def sent(self, shard: int, peer_id: int) -> list[Crossing]:
        """Show all crossings that left for a peer."""

    def refused(self, shard: int, peer_id: int) -> dict[int, int]:
        """Show what was refused of a peer's crossings."""

    def returned(self, shard: int, peer_id: int) -> dict[int, int]:
        """Show what came back from a peer."""
