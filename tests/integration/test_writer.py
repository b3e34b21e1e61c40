"""The one writer of a shard on real PostgreSQL: one effect per id, refusals at once, nothing written by halves."""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest
from ledger_room import (
    FOREVER,
    Writing,
    balance,
    connected,
    count,
    held_head,
    job,
    post,
    prepare,
    taken,
    until,
    writing,
)
from memory_books import CZK, an_id, ask, cash, customer_account

from services.domain import errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import memory
from services.ledger.batching import FEW_JOBS
from services.ledger.books import AccountState, Actor, PlaceError
from services.ledger.change_rows import Change
from services.ledger.command_jobs import ChangeJob
from services.ledger.draft import Draft
from services.ledger.jobs import AcknowledgeJob, OpenJob

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


# One effect per id


async def test_many_callers_with_one_id_get_one_effect_and_one_answer(
    books: Writing, looking: asyncpg.Connection
) -> None:
    answers = await asyncio.gather(*(post(books, ask(1, CASH, A, 10)) for _ in range(50)))
    assert {(*answer.outcomes, *answer.booking_times_us) for answer in answers} == {
        (Outcome.POSTED, answers[0].booking_times_us[0])
    }
    assert (await count(looking), await balance(looking, A)) == (1, 10)


async def test_duplicates_within_a_call_have_one_effect(books: Writing, looking: asyncpg.Connection) -> None:
    answers = await post(books, *[ask(1, CASH, A, 10)] * 20, ask(1, CASH, A, 11))
    assert answers.outcomes == [Outcome.POSTED] * 20 + [0]
    assert answers.errors == {20: PlaceError.TRANSFER_ID_REUSED}
    assert (await count(looking), await balance(looking, A)) == (1, 10)


async def test_duplicates_across_batches_have_one_effect(books: Writing, looking: asyncpg.Connection) -> None:
    first = await post(books, ask(1, CASH, A, 10), ask(2, A, B, 11))
    again = await post(books, ask(2, A, B, 11), ask(1, CASH, A, 10), ask(3, CASH, B, 1))
    assert first.outcomes == [Outcome.POSTED, Outcome.REFUSED]
    assert again.outcomes == [Outcome.REFUSED, Outcome.POSTED, Outcome.POSTED]
    assert again.refusals == [Refusal.INSUFFICIENT_FUNDS, 0, 0]
    assert again.booking_times_us[:2] == first.booking_times_us[::-1]
    assert (await count(looking), await balance(looking, A)) == (3, 10)


async def test_duplicates_after_a_restart_have_one_effect(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    first = await post(books, ask(1, CASH, A, 10), ask(2, A, B, 11))
    async with writing(ledger_dsn) as restarted:
        again = await post(restarted, ask(1, CASH, A, 10), ask(2, A, B, 11), ask(1, CASH, A, 9), ask(4, CASH, A, 1))
    assert again.outcomes == [Outcome.POSTED, Outcome.REFUSED, 0, Outcome.POSTED]
    assert again.errors == {2: PlaceError.TRANSFER_ID_REUSED}
    assert again.booking_times_us[:2] == first.booking_times_us
    assert (await count(looking), await balance(looking, A)) == (3, 11)


async def test_what_an_id_means_is_known_even_where_it_would_be_passed_over(books: Writing, ledger_dsn: str) -> None:
    # Its caller lost the first answer, the ledger its memory, and the payee's shard is away: to say
    # that nothing was written would be wrong.
    crossing = ask(2, A, FAR, 10, peer_id=2)
    await post(books, ask(1, CASH, A, 10), crossing)
    unreachable = PlaceError.PAYEE_SHARD_UNREACHABLE
    async with writing(ledger_dsn) as restarted:
        asked = [crossing._replace(error=unreachable), ask(3, A, FAR, 10, peer_id=2, error=unreachable)]
        answers = await post(restarted, *asked)
    assert (answers.outcomes, answers.crossings) == ([Outcome.IN_TRANSIT, 0], {0: (2, 1)})
    assert answers.errors == {1: unreachable}


async def test_a_repeat_writes_nothing(books: Writing) -> None:
    await post(books, ask(1, CASH, A, 10))
    head = books.writer.head
    await post(books, ask(1, CASH, A, 10))
    await books.open(A, B)
    assert books.writer.head == head


async def test_a_crossing_that_came_back_is_remembered_as_returned(books: Writing) -> None:
    crossing = ask(2, A, FAR, 10, peer_id=2)
    await post(books, ask(1, CASH, A, 10), crossing)
    (sent,) = await books.store.unacknowledged_crossings(2, 0, 10)
    await books.writer.ask(AcknowledgeJob(2, 1, [(sent, Refusal.CREDITS_FROZEN)]))
    answers = await post(books, crossing)
    assert (answers.outcomes, answers.refusals) == ([Outcome.RETURNED], [Refusal.CREDITS_FROZEN])
    assert answers.crossings == {}


# Batches


async def test_callers_share_a_commit_while_the_one_before_is_under_way(books: Writing, ledger_dsn: str) -> None:
    drafts = len(books.drafts)
    async with held_head(ledger_dsn):
        first = job(ask(1, CASH, A, 1))
        books.writer.submit(first)
        await taken(first)
        others = [job(ask(n, CASH, A, 1)) for n in range(2, 100)]
        for other in others:
            books.writer.submit(other)
        assert books.writer.queued_count == 98
    answers = await asyncio.gather(first.future, *(other.future for other in others))
    assert [len(draft.transfers) for draft in books.drafts[drafts:]] == [1, 98]
    assert len({answer.booking_times_us[0] for answer in answers}) == 2
    assert books.writer.queued_count == 0


async def test_a_long_queue_is_written_in_batches_of_bounded_size(
    books: Writing, monkeypatch: pytest.MonkeyPatch, looking: asyncpg.Connection
) -> None:
    monkeypatch.setattr(limits, "BATCH_TRANSFERS_MAX", 5)
    drafts = len(books.drafts)
    sizes = [3, 2, 1, 5, 9, 1, 1]
    ids = iter(range(1, 100))
    jobs = [job(*(ask(next(ids), CASH, A, 1) for _ in range(size))) for size in sizes]
    for one in jobs:
        books.writer.submit(one)
    await asyncio.gather(*(one.future for one in jobs))
    assert [len(draft.transfers) for draft in books.drafts[drafts:]] == [5, 1, 5, 9, 2]
    assert await balance(looking, A) == sum(sizes)


async def test_an_idle_writer_commits_a_single_transfer_at_once(books: Writing) -> None:
    drafts = len(books.drafts)
    for n in (1, 2, 3):
        await post(books, ask(n, CASH, A, 1))
    assert [len(draft.transfers) for draft in books.drafts[drafts:]] == [1, 1, 1]


async def test_callers_are_answered_only_after_the_commit_is_taken_up(books: Writing) -> None:
    one = job(ask(1, CASH, A, 1))
    answered_before = []
    on_commit = books.writer._on_commit

    def look(draft: Draft) -> None:
        answered_before.append(one.future.done())
        on_commit(draft)

    books.writer._on_commit = look
    await books.writer.ask(one)
    assert answered_before == [False]


async def test_booking_times_rise_even_when_the_clock_goes_back(ledger_dsn: str, looking: asyncpg.Connection) -> None:
    clock = iter([5_000_000, 4_000_000, 4_000_000, 9_000_000, 1])
    async with writing(ledger_dsn, now_us=lambda: next(clock)) as books:
        await prepare(books)
        times = [(await post(books, ask(n, CASH, A, 1))).booking_times_us[0] for n in (1, 2, 3)]
    assert times == [5_000_002, 9_000_000, 9_000_001]
    assert (
        await looking.fetchval("SELECT extract(epoch FROM booking_time) * 1000000 FROM ledger.journal_head")
        == times[-1]
    )


async def test_accounts_beyond_the_memory_are_loaded_again(
    ledger_dsn: str, monkeypatch: pytest.MonkeyPatch, looking: asyncpg.Connection
) -> None:
    monkeypatch.setattr(memory, "ACCOUNTS_MAX", 3)
    monkeypatch.setattr(memory, "IDS_MAX", 2)
    accounts = [customer_account(1, serial) for serial in range(1, 21)]
    async with writing(ledger_dsn) as books:
        await books.open(CASH, floor=-limits.BALANCE_MINOR_MAX)
        await books.open(*accounts)
        chance = random.Random(7)
        owed = dict.fromkeys(accounts, 0)
        for batch in range(15):
            asked = [ask(100 * batch + i, CASH, chance.choice(accounts), chance.randint(1, 9)) for i in range(8)]
            for one in asked:
                owed[one.legs[0].credit_account] += one.legs[0].amount_minor
            await post(books, *asked)
            assert set((await post(books, *asked)).outcomes) == {Outcome.POSTED}
    assert {account: await balance(looking, account) for account in accounts} == owed


# Refusing early, giving up in time


async def test_a_full_queue_refuses_at_once_instead_of_growing(
    books: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUEUE_TRANSFERS_MAX", 10)
    async with held_head(ledger_dsn):
        first = job(ask(1, CASH, A, 1))
        books.writer.submit(first)
        await taken(first)
        waiting = job(*(ask(n, CASH, A, 1) for n in range(2, 12)))
        few = [job(ask(20 + n, CASH, A, 1)) for n in range(FEW_JOBS - 1)]
        for one in (waiting, *few):
            books.writer.submit(one)
        with pytest.raises(errors.Overloaded) as caught:
            await post(books, ask(12, CASH, A, 1))
        assert (caught.value.reason, caught.value.retry_after_seconds > 0) == ("QUEUE_FULL", True)
        # What makes room at a peer is never refused.
        books.writer.submit_always(AcknowledgeJob(2, 0, []))
    for one in (waiting, *few):
        assert set((await one.future).outcomes) == {Outcome.POSTED}
    assert (await post(books, ask(12, CASH, A, 1))).outcomes == [Outcome.POSTED]


async def test_a_call_larger_than_the_queue_is_taken_when_the_queue_is_empty(
    books: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUEUE_TRANSFERS_MAX", 3)
    answers = await post(books, *(ask(n, CASH, A, 1) for n in range(5)))
    assert answers.outcomes == [Outcome.POSTED] * 5


async def test_a_job_whose_deadline_came_in_the_queue_is_dropped_with_nothing_written(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    async with held_head(ledger_dsn):
        first = job(ask(1, CASH, A, 1))
        books.writer.submit(first)
        await taken(first)
        with pytest.raises(errors.DeadlinePassed):
            await post(books, ask(2, CASH, A, 1), seconds=0.02)
        with pytest.raises(errors.DeadlinePassed):
            await post(books, ask(3, CASH, A, 1), seconds=-1)
        unheard = job(ask(5, CASH, A, 1), seconds=0)  # Its caller has not noticed yet.
        books.writer.submit(unheard)
    await first.future
    assert (await post(books, ask(4, CASH, A, 1))).outcomes == [Outcome.POSTED]
    ids = [row[0].bytes for row in await looking.fetch("SELECT transfer_id FROM ledger.transfer ORDER BY sequence")]
    assert ids == [an_id(1), an_id(4)]
    assert not unheard.started
    assert books.writer.queued_count == 0


async def test_a_job_whose_caller_has_gone_is_dropped_with_nothing_written(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    async with held_head(ledger_dsn):
        first = job(ask(1, CASH, A, 1))
        books.writer.submit(first)
        await taken(first)
        caller = asyncio.create_task(post(books, ask(2, CASH, A, 1)))
        await until(lambda: books.writer.queued_count == 1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    await first.future
    await post(books, ask(3, CASH, A, 1))
    assert await count(looking) == 2


async def test_a_deadline_during_the_commit_leaves_doubt_that_a_repeat_clears(
    books: Writing, ledger_dsn: str, looking: asyncpg.Connection
) -> None:
    async with held_head(ledger_dsn):
        with pytest.raises(errors.OutcomeUnknown):
            await post(books, ask(1, CASH, A, 1), seconds=0.1)
    assert (await post(books, ask(1, CASH, A, 1))).outcomes == [Outcome.POSTED]
    assert await count(looking) == 1


async def test_a_cap_is_not_changed_in_the_batch_that_opens_one_of_its_accounts(
    books: Writing, ledger_dsn: str
) -> None:
    fresh = customer_account(1, 77)
    async with held_head(ledger_dsn):
        first = job(ask(1, CASH, A, 1))
        books.writer.submit(first)
        await taken(first)
        opening = OpenJob([AccountState(fresh, CZK, 0, customer_number=7)], FOREVER)
        capping = ChangeJob(Change(an_id(9), fresh, None, None, None, 100, "asked", 0), Actor("test", "ann"), FOREVER)
        books.writer.submit(opening)
        books.writer.submit(capping)
    assert await opening.future == [True]
    decision = await capping.future
    assert decision is not None
    assert decision.refusal == 0
    assert [(len(draft.opened), len(draft.changes)) for draft in books.drafts[-2:]] == [(1, 0), (0, 1)]
