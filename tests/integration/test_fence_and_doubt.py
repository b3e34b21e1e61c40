"""A writer that is cut off, doubts, or loses its books on real PostgreSQL: nobody is told what is not so."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest
from ledger_room import FOREVER, Writing, balance, connected, count, job, post, prepare, writing
from memory_books import CZK, ask, cash, customer_account

from services.domain import errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import batching
from services.ledger.books import AccountState, Answers
from services.ledger.draft import Draft
from services.ledger.jobs import OpenJob
from services.ledger.store import FenceLost, Head, Store

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
CASH = cash(1)


@pytest.fixture
async def books(ledger_dsn: str) -> AsyncIterator[Writing]:
    """Give a writer at work on books with cash and two customers' accounts."""
    async with writing(ledger_dsn) as books:
        await prepare(books)
        yield books


@pytest.fixture
async def looking(ledger_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(ledger_dsn) as connection:
        yield connection


# When PostgreSQL says no, or nothing


async def test_a_batch_that_postgresql_refuses_fails_as_a_whole_and_the_next_one_is_written(
    books: Writing, looking: asyncpg.Connection
) -> None:
    await looking.execute("ALTER TABLE ledger.transfer ADD CONSTRAINT no_rent CHECK (reference <> 'rent') NOT VALID")
    try:
        jobs = [job(ask(1, CASH, A, 1)), job(ask(2, CASH, A, 1, reference="rent"))]
        for one in jobs:
            books.writer.submit(one)
        failed = await asyncio.gather(*(one.future for one in jobs), return_exceptions=True)
        assert [(type(error), error.reason) for error in failed if isinstance(error, errors.BankError)] == [
            (errors.Unavailable, "SHARD_CANNOT_WRITE")
        ] * 2
        assert await count(looking) == 0
        assert (await post(books, ask(1, CASH, A, 1))).outcomes == [Outcome.POSTED]
    finally:
        await looking.execute("ALTER TABLE ledger.transfer DROP CONSTRAINT no_rent")
    assert (await post(books, ask(2, CASH, A, 1, reference="rent"))).outcomes == [Outcome.POSTED]
    assert await balance(looking, A) == 2


class LosingStore(Store):
    """A store that commits, and then loses the answer and its connection; before, it lets something happen."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.losses = 0
        self.meanwhile: list[Store] = []

    async def write(self, head: Head, draft: Draft) -> Head:
        after = await super().write(head, draft)
        if not self.losses:
            return after
        self.losses -= 1
        for other in self.meanwhile:
            assert await other.take_lease("the test", 60)
        self._connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT got lost")


async def test_a_commit_whose_answer_got_lost_is_found_and_answered(
    ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    store = LosingStore(ledger_dsn)
    async with writing(ledger_dsn, store=store) as books:
        await prepare(books)
        store.losses = 3
        for n in (1, 2, 3):
            assert (await post(books, ask(n, CASH, A, 1))).outcomes == [Outcome.POSTED]
    assert (store.losses, await count(looking), await balance(looking, A)) == (0, 3, 3)


async def test_doubt_stays_doubt_when_another_writer_took_the_books_meanwhile(
    ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    store, other = LosingStore(ledger_dsn), Store(ledger_dsn)
    await other.connect()
    async with writing(ledger_dsn, store=store) as books:
        await prepare(books)
        store.losses, store.meanwhile = 1, [other]
        with pytest.raises(errors.OutcomeUnknown):
            await post(books, ask(1, CASH, A, 1))
        with pytest.raises(FenceLost):
            await books.running
    await other.close()
    async with writing(ledger_dsn) as books:
        assert (await post(books, ask(1, CASH, A, 1))).outcomes == [Outcome.POSTED]
    assert await count(looking) == 1


async def test_connections_that_are_cut_at_any_time_cost_nobody_an_outcome(
    books: Writing, looking: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "RECONNECT_SECONDS", 0.01)
    size, cuts_wanted = 4, 40
    cuts: list[int] = []
    numbers = itertools.count()

    async def call_on_and_on() -> None:
        while len(cuts) < cuts_wanted:
            first = next(numbers) * size
            answers = await post(books, *(ask(first + i, CASH, (A, B)[i % 2], 1) for i in range(size)))
            assert set(answers.outcomes) == {Outcome.POSTED}

    async def cut_on_and_on() -> None:
        chance = random.Random(11)
        while len(cuts) < cuts_wanted:
            await asyncio.sleep(chance.uniform(0, 0.01))
            ended = await looking.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'hivecore-ledger-write' AND datname = current_database()"
            )
            cuts.extend(len(cuts) for _ in ended)

    await asyncio.gather(cut_on_and_on(), *(call_on_and_on() for _ in range(8)))
    total = next(numbers) * size
    assert (await count(looking), await count(looking, "entry")) == (total, 2 * total)
    assert (await balance(looking, A), await balance(looking, CASH)) == (total // 2, -total)


# Two writers


async def test_of_two_writers_only_the_later_one_writes(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    await post(books, ask(1, CASH, A, 10))
    async with writing(ledger_dsn) as later:
        assert (await post(later, ask(2, A, B, 10))).outcomes == [Outcome.POSTED]
        # To the earlier one, A still has the money.
        with pytest.raises(errors.Unavailable, match="does not write shard 1") as caught:
            await post(books, ask(3, A, B, 10))
        assert caught.value.reason == "NOT_THE_WRITER"
        with pytest.raises(FenceLost):
            await books.running
        assert (await post(later, ask(3, A, B, 10))).refusals == [Refusal.INSUFFICIENT_FUNDS]
    assert (await count(looking), await balance(looking, B)) == (3, 10)


async def test_a_writer_that_lost_its_books_fails_all_that_wait_and_takes_nothing_more(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_TRANSFERS_MAX", 1)
    jobs = [job(ask(n, CASH, A, 1)) for n in range(5)]
    async with writing(ledger_dsn):
        for one in jobs:
            books.writer.submit(one)
        failed = await asyncio.gather(*(one.future for one in jobs), return_exceptions=True)
    assert {(type(error), getattr(error, "reason", "")) for error in failed} == {(errors.Unavailable, "NOT_THE_WRITER")}
    for late in (job(ask(9, CASH, A, 1)), OpenJob([AccountState(FAR, CZK, 0)], FOREVER)):
        with pytest.raises(errors.Unavailable):
            books.writer.submit(late)
    assert await count(looking) == 0


async def test_two_writers_that_take_the_books_in_turns_lose_nothing(
    ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    async with writing(ledger_dsn) as books:
        await prepare(books)
    answered = 0
    for turn in range(10):
        async with writing(ledger_dsn) as earlier, writing(ledger_dsn) as later:
            outcomes = await asyncio.gather(
                *(post(writer, ask(turn, CASH, A, 1)) for writer in (earlier, later)), return_exceptions=True
            )
        assert isinstance(outcomes[0], errors.Unavailable)
        assert isinstance(outcomes[1], Answers)
        answered += outcomes[1].outcomes == [Outcome.POSTED]
    assert (answered, await count(looking), await balance(looking, A)) == (10, 10, 10)


async def test_a_writer_that_is_told_to_stop_stops_although_its_connection_breaks_meanwhile(
    books: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def broken(self: Store, head: Head, draft: Draft) -> Head:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # As the driver does when it takes a transaction back on a connection that has just gone.
            raise asyncpg.InterfaceError(
                "cannot call Transaction.rollback(): the underlying connection is closed"
            ) from None
        return head

    monkeypatch.setattr(Store, "write", broken)
    one = job(ask(1, CASH, A, 1))
    books.writer.submit(one)
    await begun.wait()
    books.running.cancel()
    async with asyncio.timeout(10):
        (ended,) = await asyncio.gather(books.running, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    with pytest.raises(errors.OutcomeUnknown):
        await one.future
