"""Sums by value date: any day's sum, put together from them, is what the entries themselves add up to."""

from collections.abc import Iterable
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from services.ledger import value_dates

DAYS = st.integers(0, 30_000)
ENTRIES = st.lists(st.tuples(st.integers(-1_000, 1_000), DAYS, DAYS), max_size=30)
EDGES = (0, 1, 32, 63, 64, 96, 128, 2_048, 4_096, 8_192)
"""At which sums of one width begin or end, or which lie halfway."""


def check(entries: list[tuple[int, int, int]], asked_days: Iterable[int]) -> None:
    """Compare sums up to days with (amount, business date, value date) themselves."""
    kept: dict[tuple[int, int], int] = {}
    for amount, business_date, value_date in entries:
        for added in value_dates.sums([(7, 1, amount, value_date)], business_date):
            place = added.width_days, added.first_day
            assert added.first_day % added.width_days == 0 <= added.first_day
            kept[place] = kept.get(place, 0) + added.amount_minor
    for asked_day in asked_days:
        ranges = {
            4096: range(asked_day - asked_day % 4096),
            64: range(asked_day - asked_day % 4096, asked_day - asked_day % 64),
            1: range(asked_day - asked_day % 64, asked_day + 1),
        }
        found = sum(amount for (width, first), amount in kept.items() if first in ranges[width])
        by_value = sum(amount for amount, _, value_date in entries if value_date <= asked_day)
        booked = sum(amount for amount, business_date, _ in entries if business_date <= asked_day)
        assert found == by_value - booked


@given(ENTRIES, DAYS)
def test_the_sum_up_to_a_day_is_what_entries_move_between_days(
    entries: list[tuple[int, int, int]], asked_day: int
) -> None:
    check(entries, [asked_day])


def test_the_same_holds_at_the_edges_of_sums() -> None:
    for business_date, value_date in product(EDGES, repeat=2):
        check([(5, business_date, value_date)], EDGES)


def test_entries_of_one_batch_share_their_sums_and_what_cancels_out_is_not_written() -> None:
    row = (7, 1, 100, 64)
    assert value_dates.sums([row, (7, 2, 50, 64), (8, 1, 5, 65)], 63) == [
        (7, 0, 64, -150),
        (7, 63, 1, -150),
        (7, 64, 1, 150),
        (7, 64, 64, 150),
        (8, 0, 64, -5),
        (8, 63, 1, -5),
        (8, 64, 64, 5),
        (8, 65, 1, 5),
    ]
    assert value_dates.sums([row, (7, 2, -100, 64)], 63) == []
