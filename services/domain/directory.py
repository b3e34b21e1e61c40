"""Which shard has which slot: the table that everybody caches whole.

A `Directory` is a value; a newer version replaces it as a whole. Never here: fetching it
(`services/chassis/directory_cache.py`) or changing it (`services/account`).
"""

from dataclasses import dataclass, field

from services.domain import chart
from services.domain.identifiers import SLOTS


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What the directory says of one shard."""

    shard_id: int
    ledger_addresses: tuple[str, ...]
    customer_quota: int
    customer_count: int


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Neighbouring slots, both ends inclusive, that live on one shard with one epoch."""

    first_slot: int
    last_slot: int
    shard_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Directory:
    """One version of the bank's map."""

    version: int
    shards: tuple[ShardFacts, ...]
    slots: tuple[SlotRange, ...]
    partner_numbers: dict[str, int]
    currencies: tuple[int, ...]
    shard_by_slot: tuple[int, ...] = field(init=False, repr=False)
    """Place i is the shard of slot i; 0 for a slot that nobody has."""
    shard_ids: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = [0] * SLOTS
        for span in self.slots:
            for slot in range(span.first_slot, span.last_slot + 1):
                assert table[slot] == 0, f"slot {slot} is on two shards"
                table[slot] = span.shard_id
        for shard in self.shards:
            table[chart.internal_slot(shard.shard_id)] = shard.shard_id
        object.__setattr__(self, "shard_by_slot", tuple(table))
        object.__setattr__(self, "shard_ids", tuple(shard.shard_id for shard in self.shards))

    def shard_of_account(self, number: int) -> int:
        """Tell the shard of an account; 0 when nobody has its slot."""
        return self.shard_by_slot[number // 10**12]

    def shard_of_customer(self, number: int) -> int:
        """Tell the shard of a customer; 0 when nobody has its slot."""
        return self.shard_by_slot[number // 10**10]
