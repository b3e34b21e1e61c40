"""Transfers over several shards: promised by all, decided by one, posted or dropped everywhere."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from ledger_room import DEADLINE_SECONDS, Bank, Call, open_bank
from memory_books import CZK, an_id, customer_account

from services.domain import errors
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import Leg, PlaceError

A, A2 = customer_account(1, 1), customer_account(1, 2)
B, B2 = customer_account(2, 1), customer_account(2, 2)
C, C2 = customer_account(3, 1), customer_account(3, 2)
NOBODY = customer_account(3, 9)
POSTED, REFUSED = (Outcome.POSTED, 0), Outcome.REFUSED


def leg(debit: int, credit: int, amount: int = 100, currency: int = CZK) -> Leg:
    return Leg(debit, credit, amount, currency)


def request_of(number: int, *legs: Leg, shard_id: int, original: int | None = None) -> Any:
    first, *further = legs
    request = ledger_pb2.PostTransfersRequest(
        shard_id=shard_id,
        transfer_ids=an_id(number),
        debit_accounts=[first.debit_account],
        credit_accounts=[first.credit_account],
        amounts_minor=[first.amount_minor],
        currencies=[first.currency],
        further_legs=[ledger_pb2.FurtherLeg(place=0, **each._asdict()) for each in further],
        actors=[ledger_pb2.Actor(channel="test", subject="tester")],
    )
    if original is not None:
        request.specials.append(ledger_pb2.Special(place=0, original_id=an_id(original)))
    return request


async def post(
    bank: Bank,
    number: int,
    *legs: Leg,
    shard_id: int = 1,
    seconds: float = DEADLINE_SECONDS,
    original: int | None = None,
) -> Any:
    return await bank.service.PostTransfers(
        request_of(number, *legs, shard_id=shard_id, original=original), Call(seconds)
    )


async def outcome(bank: Bank, number: int, *legs: Leg, **more: Any) -> tuple[int, int]:
    response = await post(bank, number, *legs, **more)
    assert not any(response.errors)
    return response.outcomes[0], response.refusals[0]


async def balances(bank: Bank) -> list[int]:
    found = []
    for shard_id, accounts in ((1, (A, A2)), (2, (B, B2)), (3, (C, C2))):
        found += await bank.balances(shard_id, accounts)
    return found


async def held(bank: Bank, shard_id: int, account: int) -> int:
    request = ledger_pb2.GetBalancesRequest(shard_id=shard_id, account_numbers=[account])
    return (await bank.service.GetBalances(request, Call(DEADLINE_SECONDS))).helds_minor[0]


@pytest.fixture
async def bank(ledger_dsns: dict[int, str]) -> AsyncIterator[Bank]:
    async with open_bank(ledger_dsns, customers=2) as bank:
        yield bank
        await bank.until_settled()
        await bank.prove()


@pytest.mark.parametrize(
    ("legs", "after"),
    [
        ((leg(A, B), leg(A, C)), [800, 1000, 1100, 1000, 1100, 1000]),
        ((leg(A, B), leg(C, A2)), [900, 1100, 1100, 1000, 900, 1000]),
        ((leg(A, A2), leg(B, C)), [900, 1100, 900, 1000, 1100, 1000]),
        ((leg(A, A2), leg(B, B2)), [900, 1100, 900, 1100, 1000, 1000]),
        ((leg(A, B), leg(B, A, 40)), [940, 1000, 1060, 1000, 1000, 1000]),
        ((leg(A, B), leg(A, B), leg(B2, C2, 1000), leg(C, A, 1)), [801, 1000, 1200, 0, 999, 2000]),
        ((leg(A, B, 500), leg(B, C, 1500), leg(C, C2, 2500)), [500, 1000, 0, 1000, 0, 3500]),
    ],
    ids=["payroll", "in and out", "past the home", "elsewhere", "there and back", "much at once", "passed on"],
)
async def test_all_legs_are_posted(bank: Bank, legs: tuple[Leg, ...], after: list[int]) -> None:
    assert await outcome(bank, 1, *legs) == POSTED
    assert await balances(bank) == after
    assert await outcome(bank, 1, *legs) == POSTED
    assert await balances(bank) == after
    for shard_id in (1, 2, 3):
        if any(account // 10**14 == shard_id for each in legs for account in each[:2]):
            record = await bank.transfer(shard_id, an_id(1))
            assert record.outcome == Outcome.POSTED


@pytest.mark.parametrize(
    ("legs", "refusal", "place"),
    [
        ((leg(A, B), leg(A, NOBODY)), Refusal.CREDIT_ACCOUNT_NOT_FOUND, 1),
        ((leg(A, B), leg(A, C, 901)), Refusal.INSUFFICIENT_FUNDS, 1),
        ((leg(A, B), leg(B, C, 1101), leg(C, A, 2000)), Refusal.INSUFFICIENT_FUNDS, 1),
        ((leg(A, B), leg(C, A, 1001), leg(B, C, 1100)), Refusal.INSUFFICIENT_FUNDS, 1),
        ((leg(A, B, 1001), leg(B, C, 1001)), Refusal.INSUFFICIENT_FUNDS, 0),
        ((leg(A, B), leg(A, C, 1, 978)), Refusal.DEBIT_CURRENCY_MISMATCH, 1),
        ((leg(A, NOBODY, 2000), leg(A, C)), Refusal.CREDIT_ACCOUNT_NOT_FOUND, 0),
    ],
)
async def test_one_refused_leg_refuses_all_and_is_named(
    bank: Bank, legs: tuple[Leg, ...], refusal: int, place: int
) -> None:
    for _ in range(2):
        response = await post(bank, 1, *legs)
        assert (response.outcomes[0], response.refusals[0]) == (REFUSED, refusal)
        assert [(each.place, each.leg) for each in response.refused_legs] == [(0, place)]
    assert (await bank.transfer(1, an_id(1))).refused_leg == place
    assert await balances(bank) == [1000] * 6
    await bank.until_settled()
    assert [await held(bank, 2, B), await held(bank, 3, C)] == [0, 0]


async def test_a_reversal_waits_until_its_shard_knows_what_became_of_the_original(bank: Bank) -> None:
    sent, back = (leg(A, B), leg(A, A2, 5)), (leg(A2, A, 5), leg(B, A))
    assert await outcome(bank, 1, *sent) == POSTED
    bank.lines[2].is_cut = True
    assert await outcome(bank, 2, *sent, seconds=0.2) == (Outcome.IN_TRANSIT, 0)
    before = await bank.balances(1, (A, A2))
    await bank.stop(1)
    await bank.start(1)
    for number, error in ((3, PlaceError.ORIGINAL_IN_TRANSIT), (1, PlaceError.TRANSFER_ID_REUSED)) * 2:
        assert list((await post(bank, number, *back, original=2)).errors) == [error]
    with pytest.raises(errors.NotFound):
        await bank.transfer(1, an_id(3))
    assert (await bank.balances(1, (A, A2)), await held(bank, 2, B)) == (before, 0)
    bank.lines[2].is_cut = False
    await bank.until_recorded(2, Outcome.POSTED)
    assert await outcome(bank, 3, *back, original=2) == POSTED
    assert await balances(bank) == [895, 1005, 1100, 1000, 1000, 1000]


async def test_what_came_back_is_not_reversed_for_ever(bank: Bank) -> None:
    assert await outcome(bank, 2, leg(B, B2), shard_id=2) == POSTED
    assert await outcome(bank, 2, leg(A, B), leg(A, A2, 5)) == (Outcome.RETURNED, Refusal.TRANSFER_ID_TAKEN)
    asked = leg(A2, A, 5), leg(A, A2)
    for _ in range(2):
        assert await outcome(bank, 3, *asked, original=2) == (REFUSED, Refusal.ORIGINAL_NOT_POSTED)
