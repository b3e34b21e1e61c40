"""Who pays whom, how much, and under which id: decided here, without touching anything.

Chance and the time are passed in. Never here: sending a payment (`closed_loop.py`, `open_loop/`) or its
bytes (`stencil.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from loadtest.popularity import Popularity, uniform

AMOUNT_MINOR_MAX: Final = 100
"""Largest amount of a payment: so small that no funded account runs dry during a run."""

ID_CHANCE_BITS: Final = 74

Payment: TypeAlias = tuple[str, str, int]
"""Debit account, credit account, amount in minor units."""

PAYS: Final = "pays"
IS_PAID: Final = "is_paid"
BOTH: Final = "both"


@dataclass(frozen=True, slots=True)
class Hot:
    """One account that many payments touch: the first of the first shard that has any."""

    share: float
    """Of all payments, 0 to 1."""
    role: str = BOTH
    """`PAYS` (an employer), `IS_PAID` (a merchant), or `BOTH` in turn, so that it neither fills nor runs dry."""


class Workload:
    """Draws payments between the accounts of a bank."""

    def __init__(
        self,
        accounts_by_shard: Sequence[Sequence[str]],
        *,
        crossing_share: float,
        chance: Random,
        popularity: Popularity = uniform,
        hot: Hot | None = None,
    ) -> None:
        """Prepare to draw; `crossing_share` of the payments (0 to 1) go to another shard than the payer's.

        Raises ValueError when the accounts do not allow such payments.
        """
        if not 0.0 <= crossing_share <= 1.0 or not 0.0 <= (hot.share if hot else 0.0) <= 1.0:
            raise ValueError("a share is from 0 to 1")
        filled = [accounts for accounts in accounts_by_shard if accounts]
        if crossing_share > 0.0 and len(filled) < 2:
            raise ValueError("payments between shards need accounts on two shards")
        if crossing_share < 1.0 and any(len(accounts) < 2 for accounts in filled):
            raise ValueError("payments within a shard need two accounts on each")
        if not filled:
            raise ValueError("payments need accounts")
        self._accounts = [number for accounts in filled for number in accounts]
        self._shards: list[tuple[int, int]] = []
        """Where the accounts of each shard begin and end."""
        for accounts in filled:
            first = self._shards[-1][1] if self._shards else 0
            self._shards.append((first, first + len(accounts)))
        self._neighbours = [stretch for stretch in self._shards for _ in range(*stretch)]
        """For each account, where those of its shard begin and end."""
        # The most popular accounts of all shards first, so that no shard is more popular than another.
        self._by_rank = sorted(range(len(self._accounts)), key=lambda place: place - self._neighbours[place][0])
        self._crossing_share = crossing_share
        self._point = chance.random
        self._popularity = popularity
        self._hot = hot
        self._hot_pays = False

    def draw(self, count: int) -> list[Payment]:
        """Draw the next payments."""
        return [self.draw_one() for _ in range(count)]

    def draw_one(self) -> Payment:
        """Draw the next payment."""
        accounts, point, hot = self._accounts, self._point, self._hot
        if hot is not None and point() < hot.share:
            payer, payee = self._touching_hot(hot.role)
        else:
            payer = self._by_rank[self._popularity(point(), len(accounts))]
            payee = self._other(payer)
        return accounts[payer], accounts[payee], 1 + int(point() * AMOUNT_MINOR_MAX)

    def draw_account(self) -> str:
        """Draw one account, by popularity."""
        return self._accounts[self._by_rank[self._popularity(self._point(), len(self._accounts))]]

    def _other(self, place: int) -> int:
        """Draw the other side of a payment."""
        first, end = self._neighbours[place]
        if self._point() < self._crossing_share:
            foreign = int(self._point() * (len(self._accounts) - (end - first)))
            first, end = self._neighbours[foreign if foreign < first else foreign + end - first]
            return first + self._popularity(self._point(), end - first)
        other = first + self._popularity(self._point(), end - first - 1)
        return other + 1 if other >= place else other

    def _touching_hot(self, role: str) -> tuple[int, int]:
        other = self._other(0)
        self._hot_pays = role == PAYS or (role == BOTH and not self._hot_pays)
        return (0, other) if self._hot_pays else (other, 0)


def transfer_id(milliseconds: int, chance_bits: int) -> str:
    """Write a UUIDv7: the time since 1970 in milliseconds, then 74 bits of chance."""
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{chance_bits >> 62 & 0xFFF:03x}"
        f"-{0x8000 | chance_bits >> 48 & 0x3FFF:04x}-{chance_bits & 0xFFFF_FFFF_FFFF:012x}"
    )
