"""Where new customers go, and which shard keeps a name."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.account import placing
from services.account.placing import Kind, SerialRange, ShardFill, SlotFill
from services.domain.identifiers import CUSTOMER_SLOTS

QUOTAS = st.dictionaries(st.integers(1, 999), st.integers(1, 10**7), min_size=1, max_size=30)
FILLS = st.lists(
    st.builds(
        ShardFill,
        shard_id=st.integers(1, 999),
        customer_quota=st.integers(1, 1000),
        customer_count=st.integers(0, 1100),
        slot_count=st.integers(0, 50),
    ),
    max_size=12,
    unique_by=lambda fill: fill.shard_id,
)


def test_equal_quotas_share_the_slots_evenly_in_order_of_shard() -> None:
    assert placing.split_slots({2: 10, 1: 10, 3: 10}) == {
        1: range(3000),
        2: range(3000, 6000),
        3: range(6000, 9000),
    }


def test_a_shard_with_twice_the_quota_gets_about_twice_the_slots() -> None:
    assert placing.split_slots({1: 2_000_000, 2: 1_000_000}) == {1: range(6000), 2: range(6000, 9000)}


def test_a_tiny_shard_still_gets_a_slot() -> None:
    assert len(placing.split_slots({1: 90_000_000, 2: 1})[2]) == 1


@given(QUOTAS)
def test_every_customer_slot_goes_to_exactly_one_shard(quotas: dict[int, int]) -> None:
    stretches = placing.split_slots(quotas)
    assert list(stretches) == sorted(quotas)
    assert [slot for stretch in stretches.values() for slot in stretch] == list(CUSTOMER_SLOTS)


@given(QUOTAS)
def test_slots_follow_the_quota_to_within_one_slot_for_each_shard(quotas: dict[int, int]) -> None:
    for shard_id, stretch in placing.split_slots(quotas).items():
        assert abs(len(stretch) - len(CUSTOMER_SLOTS) * quotas[shard_id] / sum(quotas.values())) <= len(quotas) + 1


def test_one_customer_goes_to_the_least_filled_shard_not_to_the_one_with_fewest_customers() -> None:
    fills = [ShardFill(1, 100, 40, 10), ShardFill(2, 1000, 390, 10)]
    assert placing.split_call(1, fills) == {2: 1}


def test_among_equally_filled_shards_the_first_is_taken() -> None:
    assert placing.split_call(1, [ShardFill(7, 100, 0, 1), ShardFill(3, 10, 0, 1)]) == {3: 1}


def test_a_big_call_is_split_evenly_over_all_open_shards() -> None:
    fills = [ShardFill(n, 5_000_000, 100 * n, 10) for n in (1, 2, 3, 4)]
    assert placing.split_call(8_000, fills) == {1: 2000, 2: 2000, 3: 2000, 4: 2000}


def test_what_does_not_divide_goes_to_the_least_filled() -> None:
    fills = [ShardFill(1, 100, 30, 1), ShardFill(2, 100, 10, 1), ShardFill(3, 100, 20, 1)]
    assert placing.split_call(8, fills) == {1: 2, 2: 3, 3: 3}


def test_what_does_not_fit_one_shard_goes_to_the_others() -> None:
    fills = [ShardFill(1, 10, 8, 1), ShardFill(2, 100, 0, 1)]
    assert placing.split_call(50, fills) == {1: 2, 2: 48}


def test_full_shards_and_shards_without_slots_take_nobody() -> None:
    fills = [ShardFill(1, 10, 10, 1), ShardFill(2, 10, 0, 0), ShardFill(3, 10, 12, 1)]
    assert placing.split_call(5, fills) == {}


@given(st.integers(0, 9000), FILLS)
def test_a_call_is_placed_up_to_the_last_free_place_and_never_beyond_a_quota(
    count: int, fills: list[ShardFill]
) -> None:
    shares = placing.split_call(count, fills)
    rooms = {fill.shard_id: fill.room for fill in fills}
    assert sum(shares.values()) == min(count, sum(rooms.values()))
    assert all(0 < share <= rooms[shard_id] for shard_id, share in shares.items())


@given(st.integers(1, 300))
def test_calls_of_one_end_up_as_level_as_one_big_call(count: int) -> None:
    placed: Counter[int] = Counter()
    for _ in range(count):
        fills = [ShardFill(n, 1000, placed[n], 10) for n in (1, 2, 3)]
        placed.update(placing.split_call(1, fills))
    assert placed == placing.split_call(count, [ShardFill(n, 1000, 0, 10) for n in (1, 2, 3)])


def test_slots_are_filled_in_ascending_order() -> None:
    slots = [SlotFill(11, 0), SlotFill(10, 7), SlotFill(12, 0)]
    assert placing.fill_slots(8, slots, slot_capacity=10) == [SerialRange(10, 8, 3), SerialRange(11, 1, 5)]


def test_a_slot_beyond_its_capacity_is_passed_over() -> None:
    slots = [SlotFill(10, 12), SlotFill(11, 0)]
    assert placing.fill_slots(2, slots, slot_capacity=10) == [SerialRange(11, 1, 2)]


@given(st.integers(1, 10_000), st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_a_shard_below_its_quota_always_has_room_in_its_slots(quota: int, filled: list[int]) -> None:
    fill = ShardFill(1, quota, sum(filled), len(filled))
    slots = [SlotFill(slot, last_serial) for slot, last_serial in enumerate(filled)]
    taken = placing.fill_slots(fill.room, slots, fill.slot_capacity)
    assert sum(serials.count for serials in taken) == fill.room
    assert all(serials.first_serial + serials.count - 1 <= fill.slot_capacity for serials in taken)
    assert fill.slot_capacity == math.ceil(quota / len(filled))


def test_home_slots_never_change() -> None:
    assert placing.home_slot(Kind.CUSTOMER_REQUEST, bytes(16)) == 8528
    assert placing.home_slot(Kind.ACCOUNT_REFERENCE, b"CZ65 0800") == 4215


def test_names_spread_over_all_slots_and_kinds_do_not_share_a_home() -> None:
    names = [number.to_bytes(16) for number in range(20_000)]
    homes = Counter(placing.home_slot(Kind.ACCOUNT_REQUEST, name) for name in names)
    assert set(homes) <= set(CUSTOMER_SLOTS)
    assert len(homes) > 7_500
    assert max(homes.values()) < 15
    same = sum(
        placing.home_slot(Kind.CUSTOMER_REQUEST, name) == placing.home_slot(Kind.ACCOUNT_REQUEST, name)
        for name in names
    )
    assert same < 20
