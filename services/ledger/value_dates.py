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
    added: dict[tuple[int, int, int], int] = defaultdict(int)
    for account, _, amount, value_date in value_dated:
        for day, signed in ((value_date, amount), (business_date, -amount)):
            for width in WIDTHS_DAYS:
                added[account, day - day % width, width] += signed
    return [ValueSum(*place, amount) for place, amount in sorted(added.items()) if amount]
