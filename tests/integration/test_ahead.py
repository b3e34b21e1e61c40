"""The next batch is decided while the one before it is written: on what that will leave, and only if it does."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator

import pytest
from ledger_room import Watched, Writing, connected, held_head, post, prepare, taken, until, watched, writing
from memory_books import ask, cash, customer_account, transfers
from prometheus_client import REGISTRY

from services.domain import errors
from services.domain.outcomes import Outcome, Refusal
from services.ledger.batching import Writer
from services.ledger.books import Answers
from services.ledger.draft import Draft
from services.ledger.jobs import PostJob
from services.ledger.memory import Memory
from services.ledger.store import Store

CASH, A, B = cash(1), customer_account(1, 1), customer_account(1, 2)
OF_THE_WRITER = "FROM pg_stat_activity WHERE application_name = 'hivecore-ledger-write'"


def ahead() -> float:
    """Tell how many batches were written as they had been decided ahead."""
    return REGISTRY.get_sample_value("hivecore_ledger_batches_ahead_total", {"shard": "1"}) or 0.0


async def begun(writer: Writer, one: PostJob) -> PostJob:
    """Submit a call and wait until it is in a batch."""
    writer.submit(one)
    await taken(one)
    return one


async def decided_ahead(writer: Writer, *calls: Watched) -> None:
    """Submit calls and wait until all of them are decided."""
    for each in calls:
        writer.submit(each)
    await until(lambda: all(each.decided for each in calls))
    assert not any(each.started or each.future.done() for each in calls)


@pytest.fixture
async def books(ledger_dsn: str) -> AsyncIterator[Writing]:
    async with writing(ledger_dsn) as books:
        await prepare(books)
        yield books


async def test_a_batch_stands_on_the_one_that_is_being_written(books: Writing, ledger_dsn: str) -> None:
    before = ahead()
    async with held_head(ledger_dsn):
        below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
        lives_off_it, has_too_little = watched(ask(2, A, B, 70)), watched(ask(3, A, B, 70))
        repeats, reuses = watched(ask(1, CASH, A, 100)), watched(ask(1, CASH, A, 5))
        await decided_ahead(books.writer, lives_off_it, has_too_little, repeats, reuses)
        assert not below.future.done()
    assert (await below.future).outcomes == [Outcome.POSTED]
    assert (await lives_off_it.future).outcomes == [Outcome.POSTED]
    assert (await has_too_little.future).refusals == [Refusal.INSUFFICIENT_FUNDS]
    assert (await repeats.future).outcomes == [Outcome.POSTED]
    assert (await reuses.future).errors
    assert ahead() == before + 1
    drafts = books.drafts[-2:]
    assert [len(draft.transfers) for draft in drafts] == [1, 2]
    assert drafts[1].first_sequence == drafts[0].sequence
    assert drafts[1].booking_time_us > drafts[0].booking_time_us


async def test_what_comes_after_the_commit_joins_the_batch(books: Writing, ledger_dsn: str) -> None:
    before = ahead()
    async with held_head(ledger_dsn):
        below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
        early, late = watched(ask(2, A, B, 70)), watched(ask(3, B, A, 70))
        await decided_ahead(books.writer, early)
        below.future.add_done_callback(lambda _: books.writer.submit(late))
    assert (await below.future).outcomes == [Outcome.POSTED]
    assert (await early.future).outcomes == [Outcome.POSTED]
    assert (await late.future).outcomes == [Outcome.POSTED]
    assert ahead() >= before + 1


async def test_what_stood_on_a_batch_that_was_not_written_is_decided_anew(books: Writing, ledger_dsn: str) -> None:
    before = ahead()
    async with connected(ledger_dsn) as meddler:
        async with held_head(ledger_dsn):
            below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
            lives_off_it, lives_by_itself = watched(ask(2, A, B, 70)), watched(ask(3, CASH, B, 1))
            await decided_ahead(books.writer, lives_off_it, lives_by_itself)
            await meddler.execute(f"SELECT pg_cancel_backend(pid) {OF_THE_WRITER}")
            with pytest.raises(errors.Unavailable):
                await below.future
        assert (await lives_off_it.future).refusals == [Refusal.INSUFFICIENT_FUNDS]
        assert (await lives_by_itself.future).outcomes == [Outcome.POSTED]
        assert await meddler.fetchval("SELECT count(*) FROM ledger.transfer") == 2
        assert await meddler.fetchval("SELECT last_sequence FROM ledger.journal_head") == 2
    assert ahead() == before


async def test_what_stood_on_an_id_that_meant_something_else_is_decided_anew(books: Writing, ledger_dsn: str) -> None:
    await post(books, ask(1, CASH, A, 5))
    async with writing(ledger_dsn) as forgetful:  # Its memory knows no ids; the index does.
        await post(forgetful, ask(7, CASH, A, 1), ask(8, CASH, B, 1))
        async with held_head(ledger_dsn):
            below = await begun(forgetful.writer, watched(ask(1, CASH, A, 100)))
            lives_off_it = watched(ask(2, A, B, 70))
            await decided_ahead(forgetful.writer, lives_off_it)
        assert (await below.future).errors
        assert (await lives_off_it.future).refusals == [Refusal.INSUFFICIENT_FUNDS]


async def test_a_connection_cut_beneath_it_costs_nobody_an_outcome(books: Writing, ledger_dsn: str) -> None:
    async with connected(ledger_dsn) as meddler:
        async with held_head(ledger_dsn):
            below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
            lives_off_it = watched(ask(2, A, B, 70))
            await decided_ahead(books.writer, lives_off_it)
            await meddler.execute(f"SELECT pg_terminate_backend(pid) {OF_THE_WRITER}")
        assert (await below.future).outcomes == (await lives_off_it.future).outcomes == [Outcome.POSTED]
        assert await meddler.fetchval("SELECT count(*) FROM ledger.transfer") == 2


async def test_whoever_is_gone_before_the_commit_gets_nothing_written(books: Writing, ledger_dsn: str) -> None:
    async with held_head(ledger_dsn):
        below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
        gone, stays = watched(ask(2, A, B, 70)), watched(ask(3, A, B, 70))
        await decided_ahead(books.writer, gone, stays)
        gone.future.cancel()
    assert (await below.future).outcomes == [Outcome.POSTED]
    assert (await stays.future).outcomes == [Outcome.POSTED]  # There would be too little if the other one counted.
    assert [len(draft.transfers) for draft in books.drafts[-2:]] == [1, 1]


async def test_what_must_ask_the_database_is_decided_in_its_turn_with_all_the_others(
    books: Writing, ledger_dsn: str
) -> None:
    before = ahead()
    async with held_head(ledger_dsn):
        below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
        plain, unknown_account = watched(ask(2, A, B, 70)), watched(ask(3, customer_account(1, 77), B, 1))
        await decided_ahead(books.writer, plain)
        books.writer.submit(unknown_account)
    await below.future
    assert (await plain.future).outcomes == [Outcome.POSTED]
    assert (await unknown_account.future).refusals == [Refusal.DEBIT_ACCOUNT_NOT_FOUND]
    assert ahead() == before
    assert [len(draft.transfers) for draft in books.drafts[-2:]] == [1, 2]


class _Broken(PostJob):
    """A call that cannot be decided."""

    def decide(self, draft: Draft) -> Answers:
        raise ZeroDivisionError


async def test_a_bug_while_deciding_ahead_ends_the_writer_and_says_nothing_false(
    books: Writing, ledger_dsn: str
) -> None:
    async with held_head(ledger_dsn):
        below = await begun(books.writer, watched(ask(1, CASH, A, 100)))
        broken = _Broken(transfers([ask(2, A, B, 70)]), float("inf"))
        books.writer.submit(broken)
    with pytest.raises(ZeroDivisionError):
        await books.running
    with pytest.raises(errors.OutcomeUnknown):
        await below.future
    with pytest.raises(errors.Unavailable):
        await broken.future


async def test_no_draft_keeps_those_before_it(ledger_dsn: str) -> None:
    async with writing(ledger_dsn) as books:
        await prepare(books)
    store = Store(ledger_dsn)
    await store.connect()
    head = await store.take_lease("the test", 60)
    assert head is not None
    drafts: list[weakref.ref[Draft]] = []
    memory = Memory(1, await store.load_peers())
    writer = Writer(
        1, store, head, memory, lambda: time.time_ns() // 1000, lambda draft: drafts.append(weakref.ref(draft))
    )
    running = asyncio.create_task(writer.run())
    before = ahead()
    try:
        for number in range(2, 2 + 3 * 20, 3):
            calls = [watched(ask(number + i, CASH, A, 1)) for i in range(3)]
            for each in calls:
                writer.submit(each)
                while not each.started:  # The next one comes at once, long before this one is written.
                    await asyncio.sleep(0)
            await asyncio.gather(*(each.future for each in calls))
        gc.collect()
        alive = sum(draft() is not None for draft in drafts)
        assert len(drafts) > 40
        assert ahead() > before + 10
        assert alive <= 3
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.drop()
