"""What callers were told of their transfers: which ids are in the books, and what each account must hold.

Pure. A journal holds every transfer of a run, not a sample. What is undecided is asked again until it
is decided (`proof.py`), and then the books must agree with the journal to the last id and cent.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from loadtest.client import ERROR, IN_TRANSIT, POSTED, UNKNOWN, Outcome

ACCOUNT_DIGITS: Final = 16
SLOT_DIGITS: Final = 4

Sent = tuple[str, str, str, int]
"""transfer_id, debit account, credit account, amount in minor units: of one leg."""


class Undecided(NamedTuple):
    """A transfer whose caller does not know yet what became of it, and how to ask again."""

    sent: Sent
    method: str
    """Of the gateway."""
    request: bytes


@dataclass(slots=True)
class Journal:
    """All transfers of one process, or of all together."""

    ids_by_slot: dict[str, bytearray] = field(default_factory=dict)
    """Ids told to be POSTED, 16 bytes each, by the slot of the account that paid (`CASH` and the like: of the payee)."""
    change_minor: Counter[str] = field(default_factory=Counter)
    """By account number: what came in less what went out, of transfers told to be POSTED."""
    undecided: list[Undecided] = field(default_factory=list)

    @property
    def acknowledged_count(self) -> int:
        """How many transfers were told to be POSTED."""
        return sum(len(ids) for ids in self.ids_by_slot.values()) // 16

    def posted(self, sent: Sent) -> None:
        """Enter a transfer that was told to be POSTED."""
        identifier, debit, credit, amount_minor = sent
        slot = (debit if len(debit) == ACCOUNT_DIGITS else credit)[:SLOT_DIGITS]
        ids = self.ids_by_slot.get(slot)
        if ids is None:
            ids = self.ids_by_slot[slot] = bytearray()
        ids += bytes.fromhex(identifier.replace("-", ""))
        if len(debit) == ACCOUNT_DIGITS:
            self.change_minor[debit] -= amount_minor
        if len(credit) == ACCOUNT_DIGITS:
            self.change_minor[credit] += amount_minor

    def told(self, sent: Sent, outcome: Outcome, again: Callable[[], tuple[str, bytes]]) -> None:
        """Enter what the caller of a transfer was told; `again` gives method and request to ask for it alone."""
        if outcome.kind == POSTED:
            self.posted(sent)
        elif outcome.kind in {IN_TRANSIT, UNKNOWN}:
            self.undecided.append(Undecided(sent, *again()))

    def add(self, other: "Journal") -> None:
        """Take in what another journal holds."""
        for slot, ids in other.ids_by_slot.items():
            self.ids_by_slot.setdefault(slot, bytearray()).extend(ids)
        for account, change in other.change_minor.items():
            self.change_minor[account] += change
        self.undecided += other.undecided


ASK_AGAIN: Final = frozenset({IN_TRANSIT, UNKNOWN, ERROR})
"""Kinds of answers to a repeated transfer that leave it undecided: an error says nothing of the first attempt."""
