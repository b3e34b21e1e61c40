"""Balances by value date: what entries whose value date is another day add up to, in sums over days. Pure.

An entry adds its amount on its value date and takes it away on its business day. Summed up to a day, that
is the difference between the balance by value date and the booked one at the day's end. The sums are kept
by day, by 64 and by 4,096 days, so that any such sum is a few dozen rows however long the history is. Never
here: reading the sums (`queries.sql`).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

WIDTHS_DAYS: Final = (1, 64, 4096)
"""Each a multiple of the one before; the check of `ledger.value_sum` and its query say the same."""


class ValueSum(NamedTuple):
    """What is added to one sum."""

    account_number: int
    first_day: int
    """Days since 1970-01-01, a multiple of the width."""
    width_days: int
    amount_minor: int


def sums(value_dated: Iterable[tuple[int, int, int, int]], business_date: int) -> list[ValueSum]:
    """Add up (account, sequence, amount, value date) of one business day, each sum once."""
    moved: dict[tuple[int, int], int] = defaultdict(int)
    for account, _, amount, value_date in value_dated:
        moved[account, value_date] += amount
    parted = {value_date: _parted(value_date, business_date) for _, value_date in moved}
    added: dict[tuple[int, int, int], int] = defaultdict(int)
    for (account, value_date), amount in moved.items():
        for there, here, width in parted[value_date]:
            added[account, there, width] += amount
            added[account, here, width] -= amount
    return [ValueSum(*place, amount) for place, amount in sorted(added.items()) if amount]


def _parted(day: int, other: int) -> list[tuple[int, int, int]]:
    """Give the sums in which only one of two days lies, as (first day of the one, of the other, width)."""
    return [
        (day - day % width, other - other % width, width)
        for width in WIDTHS_DAYS
        if day - day % width != other - other % width
    ]
