"""The bank's map: every slot on one shard at most, numbers routed without a look-up."""

import pytest

from services.domain import chart
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.identifiers import account_number, customer_number


def directory(*slots: SlotRange, shards: tuple[int, ...] = (1, 2)) -> Directory:
    return Directory(1, tuple(ShardFacts(n, (), 10, 0) for n in shards), slots, {}, (203,))


def test_a_number_routes_to_the_shard_of_its_slot() -> None:
    map_ = directory(SlotRange(0, 4499, 1, 1), SlotRange(4500, 8999, 2, 1))
    assert [map_.shard_of_account(account_number(slot, 1)) for slot in (0, 4499, 4500, 8999)] == [1, 1, 2, 2]
    assert [map_.shard_of_customer(customer_number(slot, 1)) for slot in (0, 4499, 4500, 8999)] == [1, 1, 2, 2]


def test_a_slot_that_nobody_has_routes_nowhere() -> None:
    map_ = directory(SlotRange(0, 9, 1, 1))
    assert map_.shard_of_account(account_number(10, 1)) == 0
    assert map_.shard_of_customer(customer_number(10, 1)) == 0


def test_a_shards_own_accounts_lie_on_it_without_being_listed() -> None:
    map_ = directory(SlotRange(0, 8999, 1, 1))
    assert [map_.shard_of_account(chart.internal_account(n, chart.Code.CASH, 203)) for n in (1, 2, 3)] == [1, 2, 0]


def test_a_slot_on_two_shards_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="slot 5 is on two shards"):
        directory(SlotRange(0, 5, 1, 1), SlotRange(5, 8999, 2, 1))


def test_shards_are_named_in_the_order_in_which_they_are_listed() -> None:
    assert directory(shards=(1, 2, 7)).shard_ids == (1, 2, 7)
