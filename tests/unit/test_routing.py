"""Which shard decides a transfer, and how a call is split over shards and put together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import chart, errors, identifiers
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.gateway import routing
from services.gateway.columns import (
    Actor,
    Creditor,
    FurtherLeg,
    Outcomes,
    Special,
    Transfers,
    chart_side,
    cut,
    join,
    pick,
)

CZK, EUR = 203, 978
DIRECTORY = Directory(
    version=1,
    shards=tuple(ShardFacts(shard_id, ("127.0.0.1:1",), 10, 0) for shard_id in (1, 2, 3)),
    slots=(SlotRange(0, 99, 1, 1), SlotRange(100, 199, 2, 1), SlotRange(200, 299, 3, 1)),
    partner_numbers={"AB": 7},
    currencies=(CZK,),
)


def _account(slot: int, serial: int = 1) -> int:
    return identifiers.account_number(slot, serial)


A1, B1, A2, A3, NOWHERE = _account(1), _account(2), _account(101), _account(201), _account(5000)
CASH, NOSTRO_AB = chart_side(chart.Code.CASH), chart_side(chart.Code.NOSTRO, 7)


def _transfers(*sides: tuple[int, int], further: tuple[FurtherLeg, ...] = ()) -> Transfers:
    return Transfers(
        b"".join(bytes([place] * 16) for place in range(len(sides))),
        [debit for debit, _ in sides],
        [credit for _, credit in sides],
        [100 + place for place in range(len(sides))],
        [CZK] * len(sides),
        further_legs=list(further),
    )


def _split(
    transfers: Transfers, refused: tuple[int, ...] = ()
) -> tuple[dict[int, tuple[int, list[int]]], dict[int, str]]:
    parts, faults = routing.split(transfers, DIRECTORY, refused)
    return (
        {part.shard_id: (part.lane, list(part.places)) for part in parts},
        {place: fault.reason for place, fault in faults.items()},
    )


def test_the_payers_shard_decides() -> None:
    assert _split(_transfers((A1, B1), (A2, A1), (B1, A1), (A3, A2))) == (
        {1: (1, [0, 2]), 2: (1, [1]), 3: (2, [3])},
        {},
    )


def test_the_lane_is_the_payees_shard_and_mixed_when_there_are_several() -> None:
    parts, _ = _split(_transfers((A1, B1), (A1, A2), (A2, A3), (A2, A3), (A3, A3)))
    assert {shard_id: lane for shard_id, (lane, _) in parts.items()} == {1: routing.LANE_MIXED, 2: 3, 3: 3}


def test_no_shards_lane_is_taken_for_mixed_payees_or_for_transfers_over_several_shards() -> None:
    lanes = {routing.LANE_MIXED, routing.LANE_SPANNING, *range(1, identifiers.SHARD_ID_MAX + 1)}
    assert len(lanes) == 2 + identifiers.SHARD_ID_MAX


def test_refused_places_are_left_out() -> None:
    assert _split(_transfers((0, 0), (A1, B1), (0, A1)), refused=(0, 2)) == ({1: (1, [1])}, {})


def test_a_refused_transfer_over_several_shards_reaches_none() -> None:
    far, lost = FurtherLeg(0, B1, A2, 5, CZK), FurtherLeg(1, A1, NOWHERE, 5, CZK)
    assert _split(_transfers((A1, B1), (A1, B1), further=(far, lost)), refused=(0, 1)) == ({}, {})


def test_an_account_in_a_slot_that_nobody_has_is_not_found() -> None:
    transfers = _transfers((NOWHERE, A1), (A1, NOWHERE), (CASH, NOWHERE), (A1, B1))
    parts, faults = routing.split(transfers, DIRECTORY, ())
    assert [part.places for part in parts] == [[3]]
    assert {place: (type(fault), fault.reason) for place, fault in faults.items()} == dict.fromkeys(
        (0, 1, 2), (errors.NotFound, "ACCOUNT_NOT_FOUND")
    )
    assert faults[2].metadata == {"account": identifiers.account_text(NOWHERE)}


def test_a_chart_name_is_the_banks_own_account_on_the_other_sides_shard() -> None:
    transfers = _transfers((CASH, A1), (A2, NOSTRO_AB), (CASH, A2))
    parts, faults = routing.split(transfers, DIRECTORY, ())
    assert faults == {}
    assert {part.shard_id: (part.transfers.debit_accounts, part.transfers.credit_accounts) for part in parts} == {
        1: ([chart.internal_account(1, chart.Code.CASH, CZK)], [A1]),
        2: (
            [A2, chart.internal_account(2, chart.Code.CASH, CZK)],
            [chart.internal_account(2, chart.Code.NOSTRO, CZK, 7), A2],
        ),
    }


def test_a_chart_name_that_stands_for_the_other_side_is_refused_before_it_reaches_a_ledger() -> None:
    cash = chart.internal_account(1, chart.Code.CASH, CZK)
    transfers = _transfers((cash, CASH), (CASH, cash), (A1, B1), (A1, B1), further=(FurtherLeg(3, cash, CASH, 1, CZK),))
    assert _split(transfers) == ({1: (1, [2])}, dict.fromkeys((0, 1, 3), "SAME_ACCOUNT"))


def test_splitting_leaves_the_call_as_it_was_so_that_it_can_be_routed_again() -> None:
    transfers = _transfers((CASH, A1), (A1, B1), further=(FurtherLeg(1, A1, CASH, 5, EUR),))
    routing.split(transfers, DIRECTORY, ())
    assert transfers == _transfers((CASH, A1), (A1, B1), further=(FurtherLeg(1, A1, CASH, 5, EUR),))
    moved = Directory(2, DIRECTORY.shards, (SlotRange(0, 99, 3, 2),), {}, (CZK,))
    (part,), _ = routing.split(transfers, moved, (), [0])
    assert part.shard_id == 3
    assert part.transfers.debit_accounts == [chart.internal_account(3, chart.Code.CASH, CZK)]


def test_further_legs_stay_with_their_transfer_and_their_chart_names_are_resolved() -> None:
    transfers = _transfers(
        (A2, _account(101, 2)),
        (A1, B1),
        (A1, A2),
        further=(FurtherLeg(0, A2, CASH, 1, EUR), FurtherLeg(1, B1, A1, 2, CZK), FurtherLeg(1, CASH, A1, 3, CZK)),
    )
    parts, faults = routing.split(transfers, DIRECTORY, ())
    assert faults == {}
    assert {part.shard_id: part.transfers.further_legs for part in parts} == {
        2: [FurtherLeg(0, A2, chart.internal_account(2, chart.Code.CASH, EUR), 1, EUR)],
        1: [FurtherLeg(0, B1, A1, 2, CZK), FurtherLeg(0, chart.internal_account(1, chart.Code.CASH, CZK), A1, 3, CZK)],
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((A1, A2), (A1, A2)),
        ((A1, A2), (A2, B1)),
        ((A1, B1), (A1, A2)),
        ((A1, B1), (A2, A1)),
        ((A1, B1), (A2, A2 + 97)),
        ((A1, B1), (A2, CASH)),
    ],
)
def test_a_further_leg_that_leaves_the_payers_shard_is_decided_there_in_a_lane_of_its_own(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    (part,), faults = routing.split(_transfers(first, further=(FurtherLeg(0, *second, 5, CZK),)), DIRECTORY, ())
    assert (part.shard_id, part.lane, faults) == (1, routing.LANE_SPANNING, {})


def test_transfers_over_several_shards_hold_up_nobody_else() -> None:
    transfers = _transfers((A1, B1), (A1, A2), (A1, B1), further=(FurtherLeg(1, B1, A2, 5, CZK),))
    parts, faults = routing.split(transfers, DIRECTORY, ())
    assert faults == {}
    assert [(part.shard_id, part.lane, list(part.places)) for part in parts] == [
        (1, 1, [0, 2]),
        (1, routing.LANE_SPANNING, [1]),
    ]


def test_the_reversal_of_a_transfer_over_several_shards_goes_to_the_originals_home() -> None:
    transfers = _transfers((A2, A2 + 97), further=(FurtherLeg(0, A2, A1, 5, CZK),))
    transfers.specials[0] = Special(original_id=b"9" * 16)
    (part,), faults = routing.split(transfers, DIRECTORY, ())
    assert (part.shard_id, part.lane, faults) == (1, routing.LANE_SPANNING, {})
    first_away = _transfers((A2, A1), further=(FurtherLeg(0, B1, A1, 5, CZK),))
    first_away.specials[0] = Special(original_id=b"9" * 16)
    (part,), faults = routing.split(first_away, DIRECTORY, ())
    assert (part.shard_id, part.lane, faults) == (1, routing.LANE_SPANNING, {})


def test_a_crossing_may_have_further_legs_on_the_payers_shard() -> None:
    further = (FurtherLeg(0, A1, CASH, 5, CZK), FurtherLeg(0, B1, A1, 6, CZK))
    transfers = _transfers((A1, A2), further=further)
    (part,), faults = routing.split(transfers, DIRECTORY, ())
    assert faults == {}
    assert (part.shard_id, part.lane) == (1, 2)
    assert part.transfers.further_legs == [
        FurtherLeg(0, A1, chart.internal_account(1, chart.Code.CASH, CZK), 5, CZK),
        FurtherLeg(0, B1, A1, 6, CZK),
    ]


def test_a_further_leg_in_a_slot_that_nobody_has_is_not_found() -> None:
    for leg in ((A1, NOWHERE), (NOWHERE, A1), (CASH, NOWHERE)):
        parts, faults = _split(_transfers((A1, B1), further=(FurtherLeg(0, *leg, 5, CZK),)))
        assert (parts, faults) == ({}, {0: "ACCOUNT_NOT_FOUND"})


def test_a_refusal_names_the_account_that_nobody_has() -> None:
    transfers = _transfers(
        (NOWHERE, A1), (A1, NOWHERE), (CASH, NOWHERE), (A1, B1), further=(FurtherLeg(3, A1, NOWHERE, 1, CZK),)
    )
    parts, faults = routing.split(transfers, DIRECTORY, ())
    named = identifiers.account_text(NOWHERE)
    assert [fault.metadata for _, fault in sorted(faults.items())] == [{"account": named}] * 4
    assert parts == []


def test_a_refusal_names_the_first_account_that_nobody_has_leg_by_leg() -> None:
    lost, same = FurtherLeg(0, A1, NOWHERE + 97, 1, CZK), FurtherLeg(0, A2, A2, 1, CZK)
    for first in ((A1, NOWHERE), (NOWHERE, A1), (CASH, NOWHERE), (NOWHERE, CASH)):
        _, faults = routing.split(_transfers(first, further=(lost, same)), DIRECTORY, ())
        assert faults[0].metadata == {"account": identifiers.account_text(NOWHERE)}
    _, faults = routing.split(_transfers((A1, B1), further=(lost, same)), DIRECTORY, ())
    assert faults[0].metadata == {"account": identifiers.account_text(NOWHERE + 97)}
    assert _split(_transfers((A1, B1), further=(same, lost))) == ({}, {0: "SAME_ACCOUNT"})


def test_a_chart_name_is_never_told_as_the_account_that_nobody_has_whichever_shards_there_are() -> None:
    without_first = Directory(1, DIRECTORY.shards[1:], DIRECTORY.slots[1:], {}, (CZK,))
    for sides in ((CASH, NOWHERE), (NOWHERE, CASH)):
        _, faults = routing.split(_transfers(sides), without_first, ())
        assert faults[0].metadata == {"account": identifiers.account_text(NOWHERE)}


def test_one_leg_at_fault_keeps_its_whole_transfer_from_every_shard() -> None:
    far, lost, again = FurtherLeg(0, A2, A3, 1, CZK), FurtherLeg(0, A1, NOWHERE, 1, CZK), FurtherLeg(0, A2, A2, 1, CZK)
    for further in ((far, lost), (lost, far), (far, again), (again, far)):
        parts, faults = routing.split(_transfers((A1, B1), further=further), DIRECTORY, ())
        assert parts == []
        assert list(faults) == [0]


def test_only_some_places_can_be_routed_again() -> None:
    parts, faults = routing.split(_transfers((A1, B1), (CASH, A2), (A2, A1)), DIRECTORY, (), [1])
    assert faults == {}
    assert [(part.shard_id, part.places) for part in parts] == [(2, [1])]


def test_what_is_not_routed_again_is_not_judged_again() -> None:
    lost, far = FurtherLeg(0, A1, NOWHERE, 5, CZK), FurtherLeg(2, A1, A2, 5, CZK)
    transfers = _transfers((A1, B1), (A2, A1), (A1, B1), further=(lost, far))
    parts, faults = routing.split(transfers, DIRECTORY, (), [1])
    assert ([list(part.places) for part in parts], faults) == ([[1]], {})


sides = st.sampled_from([A1, B1, A2, A3, NOWHERE, CASH])
pairs = st.tuples(sides, sides).filter(lambda pair: pair[0] != pair[1])


@given(st.lists(pairs, min_size=1, max_size=20), st.data())
def test_every_transfer_is_in_one_part_or_has_a_fault_and_keeps_its_place(
    call: list[tuple[int, int]], data: st.DataObject
) -> None:
    refused = data.draw(st.sets(st.integers(0, len(call) - 1)))
    transfers = _transfers(*call)
    transfers.references = [f"r{place}" for place in range(len(call))]
    transfers.creditors = [Creditor(place, "AB", str(place), "", "") for place in range(0, len(call), 2)]
    parts, faults = routing.split(transfers, DIRECTORY, refused)
    placed = [place for part in parts for place in part.places]
    assert sorted([*placed, *faults, *refused]) == list(range(len(call)))
    for part in parts:
        assert list(part.places) == sorted(part.places)
        assert part.transfers.references == [f"r{place}" for place in part.places]
        assert part.transfers.amounts_minor == [100 + place for place in part.places]
        assert {part.places[row.place]: row.account for row in part.transfers.creditors} == {
            place: str(place) for place in part.places if place % 2 == 0
        }
        assert all(side > 0 for side in part.transfers.debit_accounts + part.transfers.credit_accounts)


def test_joined_transfers_are_picked_apart_again_and_their_outcomes_cut() -> None:
    one = _transfers((A1, B1), further=(FurtherLeg(0, A1, B1, 5, CZK),))
    two = _transfers((A1, A2), (B1, A1))
    two.references, two.value_dates = ["x", "y"], [0, 9]
    two.creditors = [Creditor(1, "AB", "1", "", "")]
    two.specials = {1: Special(hold_id=b"h" * 16)}
    joined = join([one, two])
    assert len(joined) == 3
    assert joined.specials == {2: Special(hold_id=b"h" * 16)}
    assert joined.references == ["", "x", "y"]
    assert joined.creditors == [Creditor(2, "AB", "1", "", "")]
    assert pick(joined, [1, 2]) == two
    outcomes = Outcomes([1, 2, 3], [0, 90, 0], [7, 8, 9], [])
    assert cut(outcomes, [1, 2]) == [Outcomes([1], [0], [7], []), Outcomes([2, 3], [90, 0], [8, 9], [])]


ANNA, IVAN = Actor("app", "anna"), Actor("app", "ivan")


def _asked_by(actor: Actor, count: int) -> Transfers:
    transfers = _transfers(*[(A1, B1)] * count)
    transfers.actors = [actor]
    return transfers


def test_one_actor_asks_for_all_without_a_column() -> None:
    joined = join([_asked_by(ANNA, 2), _asked_by(ANNA, 1)])
    assert (joined.actors, joined.actor_places) == ([ANNA], [])


def test_each_actor_is_named_once_and_each_transfer_keeps_its_own() -> None:
    several = join([_asked_by(ANNA, 2), _asked_by(IVAN, 1), _asked_by(ANNA, 1)])
    assert (several.actors, several.actor_places) == ([ANNA, IVAN], [0, 0, 1, 0])
    again = join([_asked_by(IVAN, 1), several])
    assert (again.actors, again.actor_places) == ([IVAN, ANNA], [0, 1, 1, 0, 1])
    assert pick(several, [1, 2]).actor_places == [0, 1]


def test_an_account_is_found_on_its_shard() -> None:
    assert routing.shard_of_account(DIRECTORY, A2) == 2
    with pytest.raises(errors.NotFound):
        routing.shard_of_account(DIRECTORY, NOWHERE)
