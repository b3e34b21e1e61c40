"""Money between shards, through the ledgers' own doors on real PostgreSQL: each crossing arrives or comes back, once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from ledger_room import Bank, Call, held_head, open_bank, until
from memory_books import CZK, Ask, an_id, ask, customer_account

from services.domain import chart, errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import crossings
from services.ledger.books import PlaceError, Restriction
from services.ledger.reader import Reader
from services.ledger.service import LedgerService
from services.ledger.shard import Shard
from services.ledger.store import Store

A, B, FAR, FAR_TOO = (
    customer_account(1, 1),
    customer_account(1, 2),
    customer_account(2, 1),
    customer_account(2, 2),
)
HERE, THERE = chart.transit_account(1, 2, CZK), chart.transit_account(2, 1, CZK)


@pytest.fixture
async def bank(ledger_dsns: dict[int, str]) -> AsyncIterator[Bank]:
    """Give two shards whose customers have 1,000 each; the books are proved when the test is done."""
    async with open_bank({shard: ledger_dsns[shard] for shard in (1, 2)}) as bank:
        yield bank


def pay(number: int, amount: int = 10, *, payer: int = A, payee: int = FAR) -> Ask:
    return ask(number, payer, payee, amount)


async def errors_of(bank: Bank, *asked: Ask) -> list[int]:
    response = await bank.post(1, *asked)
    assert not any(response.outcomes)
    return list(response.errors)


POSTED = (Outcome.POSTED, 0)


async def test_a_crossing_is_posted_when_the_payee_has_the_money(bank: Bank) -> None:
    assert await bank.outcomes(pay(1, 300)) == [POSTED]
    assert await bank.balances(1, [A, HERE]) == [700, 300]
    assert await bank.balances(2, [FAR, THERE]) == [1_300, -300]
    landed = await bank.transfer(2, an_id(1))
    assert (landed.outcome, landed.legs[0].debit_account, landed.legs[0].credit_account) == (Outcome.POSTED, A, FAR)


async def test_a_call_may_mix_crossings_with_transfers_at_home(bank: Bank) -> None:
    answers = await bank.outcomes(
        pay(1, 1_000), pay(2, 1, payee=B), pay(3, 5, payer=B), pay(4, 1), pay(5, 1, payer=customer_account(1, 99))
    )
    assert answers == [
        POSTED,
        (Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS),
        POSTED,
        (Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS),
        (Outcome.REFUSED, Refusal.DEBIT_ACCOUNT_NOT_FOUND),
    ]
    assert await bank.balances(2, [FAR]) == [2_005]


async def test_many_crossings_both_ways_arrive_in_several_hand_overs(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CROSSINGS_PER_CALL_MAX", 7)
    there = [pay(n, 2) for n in range(100)]
    back = [pay(1_000 + n, 1, payer=FAR_TOO, payee=B) for n in range(100)]
    answers = await asyncio.gather(bank.outcomes(*there), bank.outcomes(*back, shard_id=2))
    assert answers == [[POSTED] * 100] * 2
    assert bank.lines[2].calls.count("LandCrossings") >= 15
    assert await bank.balances(1, [A, B]) == [800, 1_100]
    assert await bank.balances(2, [FAR, FAR_TOO]) == [1_200, 900]
    await bank.prove()


async def test_metadata_goes_with_a_crossing(bank: Bank) -> None:
    pairs = (("end_to_end_id", "E-7"), ("order", "č. 7/24"))
    asked = [ask(1, A, FAR, 1, metadata=pairs), pay(2), ask(3, A, B, 1, metadata=(("k", "v"),))]
    assert await bank.outcomes(*asked) == [POSTED] * 3
    assert await bank.outcomes(*asked) == [POSTED] * 3
    for shard_id in (1, 2):
        assert [dict((await bank.transfer(shard_id, an_id(n))).metadata) for n in (1, 2)] == [dict(pairs), {}]
    assert dict((await bank.transfer(1, an_id(3))).metadata) == {"k": "v"}
    assert await errors_of(bank, ask(1, A, FAR, 1)) == [PlaceError.TRANSFER_ID_REUSED]


async def test_a_hand_over_with_long_texts_is_cut_to_what_a_message_takes(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossings, "HAND_OVER_BYTES_MAX", 5_000)
    sizes: list[int] = []

    async def measure(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        if method == "LandCrossings":
            sizes.append(request.ByteSize())
        return await carry()

    bank.lines[2].listener = measure
    pairs = (("long", "ž" * 256), ("order", "7"))
    asked = [ask(n, A, FAR, 1, reference="€" * 140, metadata=pairs) for n in range(40)]
    assert await bank.outcomes(*asked) == [POSTED] * 40
    assert len(sizes) >= 8
    assert max(sizes) <= 5_000
    assert dict((await bank.transfer(2, an_id(39))).metadata) == dict(pairs)


# Asking beforehand


@pytest.mark.parametrize(
    ("payee", "restriction", "reason"),
    [
        (customer_account(2, 99), 0, Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (THERE, 0, Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (customer_account(3, 1), 0, Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (FAR, Restriction.CLOSED, Refusal.CREDIT_ACCOUNT_CLOSED),
        (FAR, Restriction.CREDITS_FROZEN, Refusal.CREDITS_FROZEN),
    ],
    ids=["unknown", "transit", "slot that nobody has", "closed", "frozen"],
)
async def test_what_the_payees_shard_would_refuse_is_refused_before_the_debit(
    bank: Bank, payee: int, restriction: int, reason: Refusal
) -> None:
    await bank.outcomes(pay(9, 1, payer=FAR_TOO, payee=B), shard_id=2)  # So that there is a transit account.
    if restriction:
        await bank.restrict(2, payee, restriction)
        await bank.stop(2)
        await bank.start(2)  # So that the writer, which may vouch for whom it remembers, learns of it.
    assert await bank.outcomes(pay(1, 300, payee=payee)) == [(Outcome.REFUSED, reason)]
    assert await bank.balances(1, [A]) == [1_000]


async def test_a_yes_is_believed_for_a_while_and_a_no_is_asked_again(bank: Bank) -> None:
    unknown = customer_account(2, 99)
    for n in (1, 2, 3):
        await bank.outcomes(pay(n))
    assert bank.lines[2].calls.count("CheckPayees") == 1
    for n in (4, 5):
        await bank.outcomes(pay(n, payee=unknown), pay(10 + n))
    assert bank.lines[2].calls.count("CheckPayees") == 3
    await bank.open(unknown, shard_id=2)
    assert await bank.outcomes(pay(6, payee=unknown)) == [POSTED]


async def test_payees_whom_the_writers_know_are_not_looked_up(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = customer_account(2, 99)
    await bank.outcomes(pay(1, payee=B), pay(2))  # So that there are transit accounts.
    asked: list[int] = []
    load, read = Store.load_accounts, Reader.facts

    async def load_accounts(store: Store, numbers: Sequence[int]) -> Any:
        asked.extend(numbers)
        return await load(store, numbers)

    async def facts(reader: Reader, numbers: Sequence[int]) -> Any:
        asked.extend(numbers)
        return await read(reader, numbers)

    monkeypatch.setattr(Store, "load_accounts", load_accounts)
    monkeypatch.setattr(Reader, "facts", facts)
    assert await bank.outcomes(pay(3, payee=FAR_TOO), pay(4, payee=B)) == [POSTED] * 2
    assert asked == []
    refused = (Outcome.REFUSED, Refusal.CREDIT_ACCOUNT_NOT_FOUND)
    assert await bank.outcomes(pay(5, payee=FAR), pay(6, payee=unknown)) == [POSTED, refused]
    assert asked == [unknown]


async def test_a_standby_vouches_for_nobody_and_reads(bank: Bank) -> None:
    request = ledger_pb2.CheckPayeesRequest(shard_id=2, account_numbers=[FAR, FAR_TOO], currencies=[CZK] * 2)
    standby = Shard(2, bank.dsns[2], "a standby", 60.0, bank.lines.__getitem__)
    door = LedgerService({2: standby}, lambda: bank.directory, bank._refresh)
    running = asyncio.create_task(standby.run())
    try:
        await until(lambda: standby._reader is not None)
        await bank.restrict(2, FAR, Restriction.CLOSED)
        answer = await door.CheckPayees(request, Call(5.0))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert list(answer.refusals) == [Refusal.CREDIT_ACCOUNT_CLOSED, 0]


async def test_when_the_payees_shard_cannot_be_asked_nothing_is_written(bank: Bank) -> None:
    bank.lines[2].is_cut = True
    unreachable = PlaceError.PAYEE_SHARD_UNREACHABLE
    response = await bank.post(1, pay(1), pay(2, payee=B))
    assert list(response.errors) == [unreachable, 0]
    assert list(response.outcomes) == [0, Outcome.POSTED]
    with pytest.raises(errors.NotFound):
        await bank.transfer(1, an_id(1))
    bank.lines[2].is_cut = False
    assert await bank.outcomes(pay(1)) == [POSTED]


async def test_a_repeat_finds_its_outcome_although_the_payees_shard_is_away_and_the_ledger_forgot(bank: Bank) -> None:
    assert await bank.outcomes(pay(1)) == [POSTED]
    await bank.until_acknowledged()
    await bank.stop(1)
    bank.lines[2].is_cut = True
    await bank.start(1)
    assert await bank.outcomes(pay(1)) == [POSTED]
    assert await errors_of(bank, pay(2), pay(1, 11)) == [
        PlaceError.PAYEE_SHARD_UNREACHABLE,
        PlaceError.TRANSFER_ID_REUSED,
    ]


async def test_when_too_much_is_under_way_to_a_peer_nothing_is_added(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossings, "IN_FLIGHT_MAX", 3)
    assert await bank.outcomes(pay(1)) == [POSTED]
    bank.lines[2].is_cut = True
    assert {kind for kind, _ in await bank.outcomes(*(pay(n) for n in range(2, 5)), seconds=0.2)} == {
        Outcome.IN_TRANSIT
    }
    assert await errors_of(bank, pay(9)) == [PlaceError.PAYEE_SHARD_UNREACHABLE]
    bank.lines[2].is_cut = False
    for n in range(2, 5):
        await bank.until_recorded(n, Outcome.POSTED)
    assert await bank.outcomes(pay(9)) == [POSTED]


# Under way


async def test_a_crossing_whose_payees_shard_falls_silent_is_in_transit_at_the_deadline_and_posted_later(
    bank: Bank,
) -> None:
    await bank.outcomes(pay(1))
    bank.lines[2].is_cut = True
    assert await bank.outcomes(pay(2, 90), pay(3, 1, payee=B), seconds=0.3) == [(Outcome.IN_TRANSIT, 0), POSTED]
    assert await bank.recorded(2) == (Outcome.IN_TRANSIT, 0)
    assert await bank.outcomes(pay(2, 90), seconds=0.2) == [(Outcome.IN_TRANSIT, 0)]
    assert await bank.balances(1, [A, HERE]) == [899, 100]
    await bank.prove(at_rest=False)
    bank.lines[2].is_cut = False
    # Nobody asks again; it arrives all the same.
    await bank.until_recorded(2, Outcome.POSTED)
    assert await bank.outcomes(pay(2, 90)) == [POSTED]
    assert await bank.balances(2, [FAR]) == [1_100]
    await bank.prove()


async def test_whoever_was_told_posted_reads_posted(bank: Bank) -> None:
    await bank.outcomes(pay(1))
    waiting: list[Any] = []

    async def hold_the_payers_books(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        answer = await carry()
        if method == "LandCrossings" and not waiting:
            # The payer's writer cannot write down what it is told now.
            waiting.append(held_head(bank.dsns[1]))
            await waiting[0].__aenter__()
        return answer

    bank.lines[2].listener = hold_the_payers_books
    assert await bank.outcomes(pay(2)) == [POSTED]
    assert await bank.recorded(2) == POSTED
    await waiting[0].__aexit__(None, None, None)


async def test_an_answer_that_gets_lost_makes_nothing_land_twice(bank: Bank) -> None:
    losses = 3

    async def lose(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal losses
        answer = await carry()
        if method == "LandCrossings" and losses:
            losses -= 1
            raise errors.Unavailable("PEER_UNREACHABLE", "the answer got lost")
        return answer

    bank.lines[2].listener = lose
    assert await bank.outcomes(*(pay(n) for n in range(5))) == [POSTED] * 5
    assert losses == 0
    assert await bank.balances(2, [FAR]) == [1_050]
    await bank.prove()


# Coming back


def close_before_landing(bank: Bank, account: int, *, lost_answers: int = 0) -> None:
    """Close a payee's account after its shard said yes and before its writer has looked at it."""
    losses = lost_answers

    async def close(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal losses
        if method != "LandCrossings":
            return await carry()
        await bank.restrict(2, account, Restriction.CLOSED)
        answer = await carry()
        if losses:
            losses -= 1
            raise errors.Unavailable("PEER_UNREACHABLE", "the answer got lost")
        return answer

    bank.lines[2].listener = close


@pytest.fixture
async def fresh(bank: Bank) -> int:
    """Give an account on shard 2 that its writer has in the books but not in memory."""
    account = customer_account(2, 50)
    await bank.open(account, shard_id=2)
    await bank.stop(2)
    await bank.start(2)
    return account


@pytest.mark.parametrize("lost_answers", [0, 2])
async def test_what_cannot_be_credited_any_more_comes_back_to_the_payer(
    bank: Bank, fresh: int, lost_answers: int
) -> None:
    close_before_landing(bank, fresh, lost_answers=lost_answers)
    returned = (Outcome.RETURNED, Refusal.CREDIT_ACCOUNT_CLOSED)
    assert await bank.outcomes(pay(1, 20), pay(2, 300, payee=fresh), pay(3, 40)) == [POSTED, returned, POSTED]
    # Whoever is told RETURNED has the money.
    assert await bank.balances(1, [A, HERE]) == [940, 60]
    assert await bank.balances(2, [fresh, FAR]) == [0, 1_060]
    assert await bank.recorded(2) == returned
    assert await bank.outcomes(pay(2, 300, payee=fresh)) == [returned]
    with pytest.raises(errors.NotFound):
        await bank.transfer(2, an_id(2))
    await bank.stop(1)
    await bank.start(1)
    assert await bank.outcomes(pay(2, 300, payee=fresh)) == [returned]
    assert await bank.balances(1, [A]) == [940]
    await bank.prove()


async def test_money_comes_back_to_a_payer_whose_account_was_closed_meanwhile(bank: Bank, fresh: int) -> None:
    await bank.outcomes(pay(1), pay(2, 1, payee=fresh, payer=B))
    await bank.stop(2)
    await bank.start(2)
    bank.lines[2].is_cut = True
    assert await bank.outcomes(pay(3, 300, payee=fresh), seconds=0.2) == [(Outcome.IN_TRANSIT, 0)]
    await bank.stop(1)
    await bank.restrict(1, A, Restriction.CLOSED)
    await bank.restrict(2, fresh, Restriction.CLOSED)
    await bank.start(1)
    bank.lines[2].is_cut = False
    await bank.until_recorded(3, Outcome.RETURNED)
    assert await bank.balances(1, [A]) == [990]
    assert await bank.outcomes(pay(4)) == [(Outcome.REFUSED, Refusal.DEBIT_ACCOUNT_CLOSED)]


async def test_a_crossing_whose_id_the_payees_shard_knows_comes_back(bank: Bank) -> None:
    assert await bank.outcomes(pay(1, 5, payer=FAR, payee=FAR_TOO), shard_id=2) == [POSTED]
    assert await bank.outcomes(pay(1, 300)) == [(Outcome.RETURNED, Refusal.TRANSFER_ID_TAKEN)]
    assert await bank.balances(1, [A]) == [1_000]
    assert (await bank.transfer(2, an_id(1))).legs[0].debit_account == FAR


async def test_a_landed_id_cannot_be_used_on_the_payees_shard(bank: Bank) -> None:
    await bank.outcomes(pay(1))
    response = await bank.post(2, pay(1, 5, payer=FAR, payee=FAR_TOO))
    assert list(response.errors) == [PlaceError.TRANSFER_ID_REUSED]
