"""Where new customers go: which shard, which slot, which serials; and which shard keeps a name.

Customers are placed by quota, never by hash, so growing never moves anybody. Only names (request
ids, external references) are hashed, because uniqueness over the bank needs one place per name and
no table that grows in the middle. Pure; what performs it is `store.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from hashlib import blake2b

from services.domain.identifiers import CUSTOMER_SERIAL_MAX, CUSTOMER_SLOTS


class Kind(IntEnum):
    """What a claimed name is. The numbers are stored and hashed: never change them."""

    CUSTOMER_REQUEST = 1
    CUSTOMER_REFERENCE = 2
    ACCOUNT_REQUEST = 3
    ACCOUNT_REFERENCE = 4
    PAYMENT_FILE = 5


@dataclass(frozen=True, slots=True)
class ShardFill:
    """How full a shard is, in customers; `slot_count` of its slots take customers."""

    shard_id: int
    customer_quota: int
    customer_count: int
    slot_count: int

    @property
    def room(self) -> int:
        """How many customers may still be placed here."""
        return max(0, self.customer_quota - self.customer_count) if self.slot_count else 0

    @property
    def slot_capacity(self) -> int:
        """How many customers one slot takes; all slots together take at least the quota."""
        return math.ceil(self.customer_quota / self.slot_count)


@dataclass(frozen=True, slots=True)
class SlotFill:
    """How full a slot is: serials up to `last_serial` have been given out."""

    slot: int
    last_serial: int


@dataclass(frozen=True, slots=True)
class SerialRange:
    """Serials of one slot, from `first_serial` on."""

    slot: int
    first_serial: int
    count: int


def home_slot(kind: Kind, key: bytes) -> int:
    """Tell the slot whose shard keeps the name `key`, for ever."""
    digest = blake2b(kind.to_bytes() + key, digest_size=8).digest()
    return int.from_bytes(digest) % len(CUSTOMER_SLOTS)


def split_slots(quotas: Mapping[int, int]) -> dict[int, range]:
    """Share the customer slots out: one stretch per shard, by ascending shard id, in proportion to quota."""
    assert 1 <= len(quotas) <= len(CUSTOMER_SLOTS)
    total = sum(quotas.values())
    spare = len(CUSTOMER_SLOTS) - len(quotas)  # each shard gets one slot, the others are shared out
    exact = {shard_id: Fraction(spare * quotas[shard_id], total) for shard_id in sorted(quotas)}
    counts = {shard_id: 1 + math.floor(share) for shard_id, share in exact.items()}
    by_remainder = sorted(exact, key=lambda shard_id: (math.floor(exact[shard_id]) - exact[shard_id], shard_id))
    for shard_id in by_remainder[: len(CUSTOMER_SLOTS) - sum(counts.values())]:
        counts[shard_id] += 1
    stretches: dict[int, range] = {}
    start = CUSTOMER_SLOTS.start
    for shard_id, count in counts.items():
        stretches[shard_id] = range(start, start + count)
        start += count
    assert start == CUSTOMER_SLOTS.stop
    assert all(math.ceil(quotas[key] / len(slots)) <= CUSTOMER_SERIAL_MAX for key, slots in stretches.items())
    return stretches


def split_call(customer_count: int, shards: Sequence[ShardFill]) -> dict[int, int]:
    """Say how many of a call's customers go to which shard; fewer than asked when the bank is full.

    Open shards take even shares as far as they have room; what does not divide goes to the least
    filled, so that calls of one customer follow the fill alone.
    """
    rooms = {shard.shard_id: shard.room for shard in shards if shard.room}
    fills = {shard.shard_id: Fraction(shard.customer_count, shard.customer_quota) for shard in shards if shard.room}
    shares = dict.fromkeys(rooms, 0)
    left = min(customer_count, sum(rooms.values()))
    while left:
        open_ids = sorted((key for key in rooms if shares[key] < rooms[key]), key=lambda key: (fills[key], key))
        even = left // len(open_ids)
        for shard_id in open_ids if even else open_ids[:left]:
            more = min(even or 1, rooms[shard_id] - shares[shard_id])
            shares[shard_id] += more
            left -= more
    return {shard_id: shares[shard_id] for shard_id in sorted(shares) if shares[shard_id]}


def fill_slots(customer_count: int, slots: Sequence[SlotFill], slot_capacity: int) -> list[SerialRange]:
    """Take serials for a shard's new customers, filling its slots in ascending order."""
    taken: list[SerialRange] = []
    left = customer_count
    for slot in sorted(slots, key=lambda fill: fill.slot):
        count = min(left, slot_capacity - slot.last_serial)
        if count > 0:
            taken.append(SerialRange(slot.slot, slot.last_serial + 1, count))
            left -= count
    assert left == 0, "a shard below its quota has room in its slots"
    return taken
