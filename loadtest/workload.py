"""Who pays whom, how much, and under which id: decided here, without touching anything.

Chance and the time are passed in. Never here: sending a payment (`generator.py`) or its bytes (`stencil.py`).
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

AMOUNT_MINOR_MAX: Final = 100
"""Largest amount of a payment: so small that no funded account runs dry during a run."""

Popularity: TypeAlias = Callable[[float, int], int]
"""Picks one of `count` places (the second argument) by a number from 0 up to but not including 1."""

Payment: TypeAlias = tuple[str, str, int]
"""Debit account, credit account, amount in minor units."""


def uniform(point: float, count: int) -> int:
    """Pick every place equally often."""
    return int(point * count)


class Workload:
    """Draws payments between the accounts of a bank."""

    def __init__(
        self,
        accounts_by_shard: Sequence[Sequence[str]],
        *,
        crossing_share: float,
        chance: Random,
        popularity: Popularity = uniform,
    ) -> None:
        """Prepare to draw; `crossing_share` of the payments (0 to 1) go to another shard than the payer's.

        Raises ValueError when the accounts do not allow such payments.
        """
        if not 0.0 <= crossing_share <= 1.0:
            raise ValueError(f"a share is from 0 to 1, not {crossing_share}")
        filled = [accounts for accounts in accounts_by_shard if accounts]
        if crossing_share > 0.0 and len(filled) < 2:
            raise ValueError("payments between shards need accounts on two shards")
        if crossing_share < 1.0 and any(len(accounts) < 2 for accounts in filled):
            raise ValueError("payments within a shard need two accounts on each")
        if not filled:
            raise ValueError("payments need accounts")
        self._accounts = [number for accounts in filled for number in accounts]
        self._neighbours: list[tuple[int, int]] = []
        """For each account, where those of its shard begin and end."""
        for accounts in filled:
            first = len(self._neighbours)
            self._neighbours += [(first, first + len(accounts))] * len(accounts)
        self._crossing_share = crossing_share
        self._point = chance.random
        self._popularity = popularity

    def draw(self, count: int) -> list[Payment]:
        """Draw the next payments."""
        accounts, neighbours, point, popularity = self._accounts, self._neighbours, self._point, self._popularity
        payments = []
        for _ in range(count):
            payer = popularity(point(), len(accounts))
            first, end = neighbours[payer]
            if point() < self._crossing_share:
                payee = popularity(point(), len(accounts) - (end - first))
                if payee >= first:
                    payee += end - first
            else:
                payee = first + popularity(point(), end - first - 1)
                if payee >= payer:
                    payee += 1
            payments.append((accounts[payer], accounts[payee], 1 + int(point() * AMOUNT_MINOR_MAX)))
        return payments


def transfer_id(milliseconds: int, chance_bits: int) -> str:
    """Write a UUIDv7: the time since 1970 in milliseconds, then 74 bits of chance."""
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{chance_bits >> 62 & 0xFFF:03x}"
        f"-{0x8000 | chance_bits >> 48 & 0x3FFF:04x}-{chance_bits & 0xFFFF_FFFF_FFFF:012x}"
    )
