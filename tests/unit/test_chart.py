"""The bank's own accounts: any room can name them, none can be mistaken for a customer's."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import chart, identifiers, limits
from services.domain.chart import Code
from services.domain.identifiers import CUSTOMER_SLOTS, SHARD_ID_MAX

shard_ids = st.integers(1, SHARD_ID_MAX)
currencies = st.integers(1, 999)


def test_the_number_says_whose_what_for_and_in_which_currency() -> None:
    text = identifiers.account_text(chart.internal_account(1, Code.NOSTRO, 203, 7))
    assert text[:-2] == "9999" + "1020" + "007" + "203"


@given(shard_ids, st.sampled_from(list(Code)), currencies, st.integers(0, limits.PARTNER_BANKS_MAX))
def test_an_internal_account_is_recognized_by_its_number(shard_id: int, code: Code, currency: int, sub: int) -> None:
    number = chart.internal_account(shard_id, code, currency, sub)
    assert chart.is_internal(number)
    assert chart.shard_of_internal_slot(identifiers.slot_of_account(number)) == shard_id
    assert identifiers.parse_account_number(identifiers.account_text(number)) == number
    assert chart.code_of(number) == (code, sub)
    assert chart.is_transit(number) == (code == Code.TRANSIT)


@given(shard_ids)
def test_a_shards_own_accounts_are_all_numbers_of_its_slot(shard_id: int) -> None:
    own, slot = chart.own_accounts(shard_id), chart.internal_slot(shard_id)
    assert (own.start, own.stop) == (slot * 10**12, (slot + 1) * 10**12)


@given(st.sampled_from(CUSTOMER_SLOTS), st.integers(1, identifiers.ACCOUNT_SERIAL_MAX))
def test_a_customers_account_is_never_taken_for_the_banks(slot: int, serial: int) -> None:
    assert not chart.is_internal(identifiers.account_number(slot, serial))
    assert not chart.is_transit(identifiers.account_number(slot, serial))
    assert chart.shard_of_internal_slot(slot) is None


def test_every_slot_is_either_for_customers_or_for_one_shard() -> None:
    owners = [chart.shard_of_internal_slot(slot) for slot in range(identifiers.SLOTS)]
    assert all(owners[slot] is None for slot in identifiers.CUSTOMER_SLOTS)
    assert sorted(owner for owner in owners if owner is not None) == list(range(1, SHARD_ID_MAX + 1))
    spare = [slot for slot, owner in enumerate(owners) if owner is None and slot not in identifiers.CUSTOMER_SLOTS]
    assert spare == [9_000], "between the two, and nobody's: it would be shard 1000's"


def test_every_shard_can_be_a_peer_by_the_three_digits_of_a_sub_number() -> None:
    peers = range(1, identifiers.SHARD_ID_MAX + 1)
    assert [chart.code_of(chart.transit_account(1, peer, 203)) for peer in peers] == [
        (Code.TRANSIT, peer) for peer in peers
    ]


def test_no_two_internal_accounts_share_a_number() -> None:
    named = list(product((1, 2, 999), Code, (1, 203, 999), (0, 1, 999)))
    numbers = {chart.internal_account(shard, code, currency, sub) for shard, code, currency, sub in named}
    assert len(numbers) == len(named)


@given(shard_ids, shard_ids, currencies)
def test_both_ends_of_a_crossing_have_transit_accounts_of_their_own(payer: int, payee: int, currency: int) -> None:
    here, there = chart.transit_account(payer, payee, currency), chart.transit_account(payee, payer, currency)
    assert (here == there) == (payer == payee)
    assert identifiers.slot_of_account(here) == chart.internal_slot(payer)


@pytest.mark.parametrize("shard_id", [0, SHARD_ID_MAX + 1])
def test_a_shard_without_a_slot_is_a_bug(shard_id: int) -> None:
    with pytest.raises(AssertionError):
        chart.internal_slot(shard_id)
