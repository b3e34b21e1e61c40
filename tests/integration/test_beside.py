"""The accounts of the next batch are read while the one before it is written, and believed only if the books are the writer's."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from ledger_room import Watched, Writing, connected, held_head, post, prepare, taken, until, watched, writing
from memory_books import ask, cash, customer_account
from prometheus_client import REGISTRY

from services.domain.outcomes import Outcome, Refusal
from services.ledger import ahead, beside

CASH, A, B = cash(1), customer_account(1, 1), customer_account(1, 2)
BESIDE = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hivecore-ledger-read-ahead'"


def loaded() -> float:
    """Tell how many accounts were read for batches that were written as decided ahead."""
    return REGISTRY.get_sample_value("hivecore_ledger_accounts_loaded_ahead_total", {"shard": "1"}) or 0.0


@pytest.fixture
async def forgetful(ledger_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writing]:
    """Give a writer that knows cash only, of books where A has 100 and B nothing."""
    monkeypatch.setattr(ahead, "LOADING_WEIGHT_MIN", 1)
    async with writing(ledger_dsn) as books:
        await prepare(books)
        await post(books, ask(1, CASH, A, 100))
    async with writing(ledger_dsn) as books:
        assert (await post(books, ask(2, CASH, customer_account(1, 77), 5))).refusals
        yield books


async def ask_while_writing(books: Writing, dsn: str, *calls: Watched, is_ahead: bool = True) -> None:
    """Submit calls while another batch is being written, which touches cash only.

    Wait until all are decided ahead, or until reading beside has failed.
    """
    async with held_head(dsn):
        below = watched(ask(3, CASH, customer_account(1, 78), 5))
        books.writer.submit(below)
        await taken(below)
        for each in calls:
            books.writer.submit(each)
        if is_ahead:
            await until(lambda: all(each.decided for each in calls))
            assert not any(each.started for each in calls)
        else:
            await until(lambda: books.store.beside.is_resting)
            assert not any(each.decided for each in calls)
    assert (await below.future).refusals == [Refusal.CREDIT_ACCOUNT_NOT_FOUND]


async def test_accounts_that_nobody_remembers_are_read_while_the_batch_before_is_written(
    forgetful: Writing, ledger_dsn: str
) -> None:
    before = loaded()
    pays, has_too_little = watched(ask(4, A, B, 70)), watched(ask(5, A, B, 70))
    await ask_while_writing(forgetful, ledger_dsn, pays, has_too_little)
    assert (await pays.future).outcomes == [Outcome.POSTED]
    assert (await has_too_little.future).refusals == [Refusal.INSUFFICIENT_FUNDS]
    assert loaded() == before + 2
    assert (pays.decided, has_too_little.decided) == (1, 1)


async def test_who_is_gone_while_accounts_are_read_stops_nobody(
    forgetful: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(beside.SQL, "see_head", "SELECT *, pg_sleep(0.2) FROM ledger.journal_head")
    async with held_head(ledger_dsn), connected(ledger_dsn) as looking:
        below = watched(ask(3, CASH, customer_account(1, 78), 5))
        forgetful.writer.submit(below)
        await taken(below)
        gone = watched(ask(4, A, B, 70))
        forgetful.writer.submit(gone)
        async with asyncio.timeout(10):
            while not await looking.fetchval(f"SELECT count(*) {BESIDE} AND query LIKE '%pg_sleep%'"):
                await asyncio.sleep(0.001)
        gone.future.cancel()
    await below.future
    assert (await post(forgetful, ask(5, A, B, 100))).outcomes == [Outcome.POSTED]
    assert not forgetful.running.done()


async def test_what_the_batch_before_changes_is_not_read_beside_it(ledger_dsn: str, forgetful: Writing) -> None:
    async with held_head(ledger_dsn):
        below = watched(ask(3, CASH, A, 1_000))
        forgetful.writer.submit(below)
        await taken(below)
        spends_it, needs_another = watched(ask(4, A, CASH, 1_100)), watched(ask(5, CASH, B, 1))
        forgetful.writer.submit(spends_it)
        forgetful.writer.submit(needs_another)
        await until(lambda: bool(spends_it.decided and needs_another.decided))
        assert not below.future.done()
    assert (await spends_it.future).outcomes == (await needs_another.future).outcomes == [Outcome.POSTED]
    assert [len(draft.transfers) for draft in forgetful.drafts[-2:]] == [1, 2]


async def test_a_server_that_lost_its_place_is_not_believed(
    forgetful: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded()
    monkeypatch.setitem(
        beside.SQL, "see_head", "SELECT last_sequence - 1 AS last_sequence, writer_epoch FROM ledger.journal_head"
    )
    pays = watched(ask(4, A, B, 70))
    await ask_while_writing(forgetful, ledger_dsn, pays, is_ahead=False)
    assert (await pays.future).outcomes == [Outcome.POSTED]
    assert loaded() == before


async def test_a_connection_of_no_use_costs_the_batch_its_turn_and_nobody_an_outcome(
    forgetful: Writing, ledger_dsn: str
) -> None:
    first = watched(ask(4, A, B, 10))
    await ask_while_writing(forgetful, ledger_dsn, first)
    await first.future
    unknown = watched(ask(5, customer_account(1, 79), B, 1))
    async with connected(ledger_dsn) as meddler:
        assert await meddler.fetchval(f"SELECT count(pg_terminate_backend(pid, 5000)) {BESIDE}") == 1
        async with held_head(ledger_dsn):
            below = watched(ask(6, CASH, A, 1))
            forgetful.writer.submit(below)
            await taken(below)
            forgetful.writer.submit(unknown)
            await until(lambda: forgetful.store.beside.is_resting or bool(unknown.decided))
            assert not unknown.decided
        assert (await below.future).outcomes == [Outcome.POSTED]
        assert (await unknown.future).refusals == [Refusal.DEBIT_ACCOUNT_NOT_FOUND]


async def test_a_server_that_does_not_answer_holds_a_batch_up_for_a_moment_only(
    forgetful: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LOAD_SECONDS_MAX", 0.1)
    monkeypatch.setitem(beside.SQL, "see_head", "SELECT pg_sleep(60)")
    pays = watched(ask(4, A, B, 70))
    async with asyncio.timeout(10):
        await ask_while_writing(forgetful, ledger_dsn, pays, is_ahead=False)
        assert (await pays.future).outcomes == [Outcome.POSTED]


async def test_it_leaves_no_connection_behind(ledger_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LOADING_WEIGHT_MIN", 1)
    async with writing(ledger_dsn) as books:
        await prepare(books)
    async with writing(ledger_dsn) as books:
        await ask_while_writing(books, ledger_dsn, watched(ask(4, A, B, 1)))
    async with connected(ledger_dsn) as looking:

        async def _count(connection: asyncpg.Connection) -> int:
            found: int = await connection.fetchval(f"SELECT count(*) {BESIDE}")
            return found

        async with asyncio.timeout(10):
            while await _count(looking):
                await asyncio.sleep(0.01)
