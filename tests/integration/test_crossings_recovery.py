"""Crossings after crashes, lost memories and storms on the lines, on real PostgreSQL: taken up where the tables say."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from ledger_room import Bank, connected, held_head, open_bank
from memory_books import Ask, ask, cash, customer_account

from services.domain import errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import crossings
from services.ledger.books import Restriction

A, FAR = customer_account(1, 1), customer_account(2, 1)
POSTED = (Outcome.POSTED, 0)


@pytest.fixture
async def bank(ledger_dsns: dict[int, str]) -> AsyncIterator[Bank]:
    """Give two shards whose customers have 1,000 each; the books are proved when the test is done."""
    async with open_bank({shard: ledger_dsns[shard] for shard in (1, 2)}) as bank:
        yield bank


def pay(number: int, amount: int = 10, *, payer: int = A, payee: int = FAR) -> Ask:
    return ask(number, payer, payee, amount)


@pytest.fixture
async def fresh(bank: Bank) -> int:
    """Give an account on shard 2 that its writer has in the books but not in memory."""
    account = customer_account(2, 50)
    await bank.open(account, shard_id=2)
    await bank.stop(2)
    await bank.start(2)
    return account


async def test_a_restarted_payer_takes_up_its_crossings_from_the_tables(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CROSSINGS_PER_CALL_MAX", 4)
    await bank.outcomes(pay(1))
    bank.lines[2].is_cut = True
    sent = [pay(n, 1) for n in range(10, 20)]
    assert {kind for kind, _ in await bank.outcomes(*sent, seconds=0.2)} == {Outcome.IN_TRANSIT}
    await bank.stop(1)
    bank.lines[2].is_cut = False
    await bank.start(1)
    for n in range(10, 20):
        await bank.until_recorded(n, Outcome.POSTED)
    assert await bank.outcomes(*sent) == [POSTED] * 10
    assert await bank.balances(2, [FAR]) == [1_020]
    await bank.prove()


async def test_a_payer_that_died_before_it_heard_the_answer_hears_it_after_its_restart(bank: Bank, fresh: int) -> None:
    heard = asyncio.Event()

    async def fall_silent(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        if method == "LandCrossings":
            await bank.restrict(2, fresh, Restriction.CLOSED)
        answer = await carry()
        if method == "LandCrossings" and not heard.is_set():
            heard.set()
            await asyncio.Event().wait()
        return answer

    bank.lines[2].listener = fall_silent
    asking = asyncio.create_task(bank.post(1, pay(1, 20), pay(2, 300, payee=fresh)))
    await heard.wait()
    await bank.stop(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await bank.balances(2, [FAR]) == [1_020]
    await bank.start(1)
    assert await bank.outcomes(pay(1, 20), pay(2, 300, payee=fresh)) == [
        POSTED,
        (Outcome.RETURNED, Refusal.CREDIT_ACCOUNT_CLOSED),
    ]
    assert await bank.balances(1, [A]) == [980]
    assert await bank.balances(2, [FAR]) == [1_020]
    await bank.prove()


async def test_a_peer_that_is_further_than_the_hand_over_is_believed_only_as_far_as_that(
    bank: Bank, fresh: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CROSSINGS_PER_CALL_MAX", 3)
    await bank.outcomes(pay(1))
    await bank.until_acknowledged()
    payers_head = held_head(bank.dsns[1])
    is_held = False

    async def hold_the_payers_books(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        # All nine land, and the payer's shard cannot write down a word of it.
        nonlocal is_held
        if method == "LandCrossings" and not is_held:
            is_held = True
            await payers_head.__aenter__()
            await bank.restrict(2, fresh, Restriction.CLOSED)
        return await carry()

    bank.lines[2].listener = hold_the_payers_books
    sent = [pay(n, 1, payee=fresh if n == 18 else FAR) for n in range(11, 20)]
    asking = asyncio.create_task(bank.post(1, *sent))
    async with connected(bank.dsns[2]) as looking, asyncio.timeout(10):
        while await looking.fetchval("SELECT landed_through FROM ledger.peer") < 10:
            await asyncio.sleep(0.005)
    await bank.stop(1)
    await payers_head.__aexit__(None, None, None)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await bank.start(1)
    returned = (Outcome.RETURNED, Refusal.CREDIT_ACCOUNT_CLOSED)
    assert await bank.outcomes(*sent) == [POSTED] * 7 + [returned] + [POSTED]
    await bank.prove()


async def test_a_payees_shard_that_restarts_in_the_middle_lands_each_crossing_once(bank: Bank) -> None:
    await bank.outcomes(pay(1))
    asking = [asyncio.create_task(bank.outcomes(*(pay(100 * n + i, 1) for i in range(10)))) for n in range(1, 9)]
    for _ in range(2):
        await bank.stop(2)
        await bank.start(2)
    assert await asyncio.gather(*asking) == [[POSTED] * 10] * 8
    assert await bank.balances(2, [FAR]) == [1_090]
    await bank.prove()


async def test_a_peer_that_lost_what_it_had_acknowledged_is_not_believed(bank: Bank) -> None:
    await bank.outcomes(pay(1), pay(2))

    async def forget(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        if method != "LandCrossings":
            return await carry()
        return ledger_pb2.LandCrossingsResponse(landed_through=1)

    bank.lines[2].listener = forget
    assert await bank.outcomes(pay(3), seconds=0.3) == [(Outcome.IN_TRANSIT, 0)]
    async with connected(bank.dsns[1]) as looking:
        assert await looking.fetchval("SELECT acknowledged_through FROM ledger.peer") == 2
    bank.lines[2].listener = None
    await bank.until_recorded(3, Outcome.POSTED)


async def test_a_storm_on_the_lines_loses_no_money_and_moves_none_twice(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossings, "RETRY_SECONDS_MAX", crossings.RETRY_SECONDS_MIN)
    chance = random.Random(5)
    calls, size, customers = 30, 6, 3

    async with open_bank(ledger_dsns, customers=customers) as bank:

        async def disturb(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
            fate = chance.random()
            if fate < 0.2:
                raise errors.Unavailable("PEER_UNREACHABLE", "the request got lost")
            answer = await carry()
            if fate < 0.4:
                raise errors.Unavailable("PEER_UNREACHABLE", "the answer got lost")
            return answer

        for line in bank.lines.values():
            line.listener = disturb

        async def caller(shard_id: int) -> list[int]:
            told: list[int] = []
            for call in range(calls):
                asked = []
                for i in range(size):
                    payee = customer_account(chance.choice([1, 2, 3]), chance.randint(1, customers))
                    payer = chance.choice([n for n in (1, 2, 3) if customer_account(shard_id, n) != payee])
                    number = (shard_id * calls + call) * size + i
                    asked.append(ask(number, customer_account(shard_id, payer), payee, chance.randint(1, 400)))
                while True:
                    response = await bank.post(shard_id, *asked)
                    if not any(response.errors):
                        break
                told.extend(response.outcomes)
            return told

        told = await asyncio.gather(*(caller(shard_id) for shard_id in (1, 2, 3)))
        assert {kind for kinds in told for kind in kinds} == {Outcome.POSTED, Outcome.REFUSED}
        money = [
            sum(await bank.balances(n, [cash(n), *(customer_account(n, i) for i in range(1, customers + 1))]))
            for n in (1, 2, 3)
        ]
        assert sum(money) == 0
        await bank.prove()
