"""Place i of every column belongs to transfer i, however transfers are joined, picked and cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import chart, limits
from services.gateway import columns
from services.gateway.columns import Actor, Creditor, FurtherLeg, Outcomes, Special, Transfers
from services.ledger.books import Flag

RARE = ("references", "value_dates", "creditors", "further_legs", "specials", "metadata", "actor_places")


def _of(count: int, first: int = 0) -> Transfers:
    """Make plain transfers that are told apart by every column."""
    places = range(first, first + count)
    return Transfers(
        b"".join(bytes([place]) * 16 for place in places),
        [1_000 + place for place in places],
        [2_000 + place for place in places],
        [3_000 + place for place in places],
        [4_000 + place for place in places],
        actors=[Actor("app", "anna")],
    )


def _rows(transfers: Transfers) -> list[Any]:
    """Tell all there is to each transfer, without saying where it stands."""
    count = len(transfers)
    actors = transfers.actor_places or [0] * count
    return [
        (
            columns.transfer_id(transfers, place),
            transfers.debit_accounts[place],
            transfers.credit_accounts[place],
            transfers.amounts_minor[place],
            transfers.currencies[place],
            transfers.references[place] if transfers.references else "",
            transfers.value_dates[place] if transfers.value_dates else 0,
            [row[1:] for row in transfers.creditors if row.place == place],
            [row[1:] for row in transfers.further_legs if row.place == place],
            transfers.specials.get(place),
            transfers.metadata.get(place),
            transfers.actors[actors[place]],
        )
        for place in range(count)
    ]


@st.composite
def some_transfers(draw: st.DrawFn) -> Transfers:
    count = draw(st.integers(1, 4))
    made = _of(count, draw(st.integers(0, 200)))
    places = st.lists(st.integers(0, count - 1), max_size=3).map(sorted)
    texts = st.lists(st.sampled_from(["", "rent", "salary"]), min_size=count, max_size=count)
    made.references = draw(st.just([]) | texts)
    made.value_dates = draw(st.just([]) | st.lists(st.integers(0, 3), min_size=count, max_size=count))
    made.creditors = [Creditor(place, "AB", f"{place}", "", "") for place in sorted(set(draw(places)))]
    made.further_legs = [FurtherLeg(place, 5 + row, 6, 7, 203) for row, place in enumerate(draw(places))]
    made.specials = {place: Special(fee_minor_max=place) for place in draw(places)}
    made.metadata = {place: (("order", f"{place}"),) for place in draw(places)}
    made.actors = draw(st.sampled_from([[Actor("app", "anna")], [Actor("app", "ivan"), Actor("app", "anna")]]))
    if len(made.actors) > 1:
        made.actor_places = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    return made


@given(st.lists(some_transfers(), min_size=1, max_size=4))
def test_joined_transfers_are_what_they_were_one_after_the_other(several: list[Transfers]) -> None:
    joined = columns.join(several)
    assert _rows(joined) == [row for part in several for row in _rows(part)]
    assert len(joined) == sum(map(len, several))
    assert len(set(joined.actors)) == len(joined.actors), "each actor is named once"


@given(some_transfers(), st.randoms())
def test_picked_transfers_are_what_they_were_in_the_order_of_the_picking(transfers: Transfers, chance: Any) -> None:
    places = chance.sample(range(len(transfers)), chance.randint(1, len(transfers)))
    picked = columns.pick(transfers, places)
    rows = _rows(transfers)
    assert _rows(picked) == [rows[place] for place in places]
    assert [leg.place for leg in picked.further_legs] == sorted(leg.place for leg in picked.further_legs)


def test_columns_that_nobody_uses_stay_empty() -> None:
    several = [_of(2), _of(1, 2)]
    for made in (columns.join(several), columns.pick(several[0], [1, 0])):
        assert [getattr(made, name) for name in RARE] == [[], [], [], [], {}, {}, []]


def test_an_id_is_the_16_bytes_at_its_place() -> None:
    made = _of(3, 7)
    assert [columns.transfer_id(made, place) for place in range(3)] == [bytes([7 + place]) * 16 for place in range(3)]


def test_transfers_alone_are_not_copied() -> None:
    alone = _of(2)
    assert columns.join([alone]) is alone


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_each_part_gets_its_own_of_a_joined_answer(sizes: list[int]) -> None:
    count = sum(sizes)
    answer = Outcomes(
        list(range(count)),
        list(range(100, 100 + count)),
        list(range(200, 200 + count)),
        list(range(300, 300 + count)),
        range(count),
        {place: 400 + place for place in range(count)},
    )
    parts = columns.cut(answer, sizes)
    assert [list(part.repeats) for part in parts] == [list(range(size)) for size in sizes]
    for part, size in zip(parts, sizes, strict=True):
        first = part.outcomes[0]
        assert list(part.outcomes) == list(range(first, first + size))
        assert list(part.refusals) == [100 + outcome for outcome in part.outcomes]
        assert list(part.booking_times_us) == [200 + outcome for outcome in part.outcomes]
        assert list(part.errors) == [300 + outcome for outcome in part.outcomes]
        assert part.refused_legs == {place: 400 + first + place for place in range(size)}
    assert [outcome for part in parts for outcome in part.outcomes] == list(range(count))


@pytest.mark.parametrize("code", list(chart.Code))
@pytest.mark.parametrize("sub_number", [0, 1, limits.PARTNER_BANKS_MAX])
def test_a_chart_name_as_a_side_is_no_accounts_number_and_is_read_back(code: int, sub_number: int) -> None:
    side = columns.chart_side(code, sub_number)
    assert side < 0
    assert columns.code_of_chart_side(side) == (code, sub_number)


def test_gateways_and_ledgers_mean_the_same_by_a_flag() -> None:
    assert (columns.LIMITS_OVERRIDDEN, columns.OVERDRAW, columns.FEES_WAIVED) == (
        Flag.LIMITS_OVERRIDDEN,
        Flag.OVERDRAW,
        Flag.FEES_WAIVED,
    )
