"""Who writes a shard and when: one writes, the others stand by, and a shard is never without for long."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from ledger_room import FOREVER, PATIENCE_SECONDS, connected, held_head, taken, until
from memory_books import ask, cash, customer_account, transfers

from services.domain import errors
from services.domain.outcomes import Refusal
from services.ledger import shard as shard_module
from services.ledger.books import Transfers
from services.ledger.jobs import AcknowledgeJob, PostJob
from services.ledger.shard import Shard
from services.ledger.store import Store

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "STANDBY_POLL_SECONDS", 0.02)
    monkeypatch.setattr(shard_module, "REST_SECONDS", 0.02)


class Process:
    """A shard as one process serves it."""

    def __init__(self, dsn: str, instance: str, lease_seconds: float) -> None:
        self.shard = Shard(1, dsn, instance, lease_seconds, _nobody)
        self._running = asyncio.create_task(self.shard.run())

    async def stop(self) -> None:
        """Stop it as it would be told to; one that does not stop is told until it does, so that no other test meets it."""
        assert not self._running.done()
        self._running.cancel()
        _, still = await asyncio.wait({self._running}, timeout=PATIENCE_SECONDS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._running.done():
                self._running.cancel()
                await asyncio.sleep(0.02)
        assert not still, "it was told to stop and did not"


def _nobody(peer_id: int) -> None:
    raise AssertionError(f"shard {peer_id} is called, though nothing crosses")


Start = Callable[..., Process]


@pytest.fixture
async def start(ledger_dsn: str) -> AsyncIterator[Start]:
    """Start processes that serve shard 1; those still running are stopped when the test is done."""
    started: list[Process] = []

    def start(instance: str, lease_seconds: float = 60.0) -> Process:
        started.append(Process(ledger_dsn, instance, lease_seconds))
        return started[-1]

    yield start
    stopping = [process.stop() for process in started if not process._running.done()]
    failures = [failure for failure in await asyncio.gather(*stopping, return_exceptions=True) if failure is not None]
    assert not failures, failures


def asked(number: int) -> Transfers:
    """Ask for something: a transfer between accounts that are not there."""
    return transfers([ask(number, cash(1), customer_account(1, 1), 1)])


async def soon(answer: Awaitable[T]) -> T:
    """Wait for an answer that a writer owes, not for ever: its callers here have no deadline."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await answer


async def write(shard: Shard, number: int = 1) -> None:
    """Write something."""
    answers = await soon(shard.writer.ask(PostJob(asked(number), FOREVER)))
    assert answers.refusals == [Refusal.DEBIT_ACCOUNT_NOT_FOUND]


async def test_of_two_that_serve_a_shard_one_writes_and_one_stands_by(start: Start) -> None:
    first, second = start("first").shard, start("second").shard
    await until(lambda: first.is_writer or second.is_writer)
    writer, standby = (first, second) if first.is_writer else (second, first)
    await write(writer)
    assert not standby.is_writer
    for needs_the_writer in (lambda: standby.writer, lambda: standby.couriers):
        with pytest.raises(errors.Unavailable) as caught:
            needs_the_writer()
        assert caught.value.reason == "NOT_THE_WRITER"
    await until(lambda: standby._reader is not None)
    assert (await standby.reader.status()).last_sequence == 1
    assert (await standby.reader.status()).writer_epoch == 1


async def test_a_standby_takes_over_at_once_when_the_writer_stops_cleanly(start: Start) -> None:
    first = start("first")
    await until(lambda: first.shard.is_writer)
    second = start("second")
    await until(lambda: second.shard._reader is not None)
    await write(first.shard)
    await first.stop()
    began = time.monotonic()
    await until(lambda: second.shard.is_writer)
    assert time.monotonic() - began < 5  # The lease would have been held for a minute.
    await write(second.shard)


async def test_a_standby_that_stops_gives_nothing_away(start: Start) -> None:
    writer = start("first")
    await until(lambda: writer.shard.is_writer)
    standby = start("second")
    await until(lambda: standby.shard._reader is not None)
    await standby.stop()
    other = start("third")
    await until(lambda: other.shard._reader is not None)
    await write(writer.shard)
    assert not other.shard.is_writer


@asynccontextmanager
async def fallen_silent(dsn: str, seconds: float) -> AsyncIterator[float]:
    """Let somebody take the lease and never be heard of again, its session open; say when that was."""
    silent, began = Store(dsn), time.monotonic()
    await silent.connect()
    assert await silent.take_lease("silent", seconds)
    try:
        yield began
    finally:
        silent.drop()


async def set_clock_back(dsn: str, seconds: float) -> None:
    """Leave the lease as PostgreSQL's clock leaves it when it is set back after a renewal; forward, if negative."""
    async with connected(dsn) as meddling:
        await meddling.execute(
            "UPDATE ledger.writer_lease SET expire_time = expire_time + make_interval(secs => $1)", seconds
        )


@pytest.mark.parametrize("back_seconds", [0, 7_200, -7_200])
async def test_a_standby_takes_over_when_the_holder_of_the_lease_falls_silent_whatever_clocks_say(
    start: Start, ledger_dsn: str, back_seconds: float
) -> None:
    async with fallen_silent(ledger_dsn, 0.5) as began:
        await set_clock_back(ledger_dsn, back_seconds)
        standby = start("second")
        await until(lambda: standby.shard.is_writer)
        assert 0.5 <= time.monotonic() - began < 5  # What the holder's lease is worth, not the standby's own.
        await write(standby.shard)


async def test_a_holder_that_is_well_keeps_its_shard_although_the_clock_was_set_forward(
    start: Start, ledger_dsn: str
) -> None:
    holder = start("first", 3.0)
    await until(lambda: holder.shard.is_writer)
    standby = start("second", 3.0)
    await until(lambda: standby.shard._reader is not None)
    await set_clock_back(ledger_dsn, -7_200)
    async with connected(ledger_dsn) as looking, asyncio.timeout(20):
        # The standby asks dozens of times until the holder renews its lease.
        while not await looking.fetchval("SELECT expire_time > clock_timestamp() FROM ledger.writer_lease"):
            await asyncio.sleep(0.02)
    assert holder.shard.is_writer
    assert not standby.shard.is_writer
    await write(holder.shard)
    assert (await holder.shard.reader.status()).writer_epoch == 1


async def test_a_writer_keeps_its_shard_for_longer_than_one_lease(start: Start) -> None:
    writer, standby = start("first", 1.0), start("second", 1.0)
    await until(lambda: writer.shard.is_writer or standby.shard.is_writer)
    holder = writer.shard if writer.shard.is_writer else standby.shard
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 1.5:
        number += 1
        await write(holder, number)
    assert (await holder.reader.status()).writer_epoch == 1


async def test_a_writer_that_lost_its_lease_steps_down_and_stands_by(start: Start, ledger_dsn: str) -> None:
    shard = start("first", 0.3).shard
    await until(lambda: shard.is_writer)
    async with connected(ledger_dsn) as meddling:
        await meddling.execute(
            "UPDATE ledger.writer_lease SET instance = 'other', expire_time = now() + interval '1 hour'"
        )
        await until(lambda: not shard.is_writer)
        await meddling.execute("UPDATE ledger.writer_lease SET expire_time = 'epoch'")
    await until(lambda: shard.is_writer)
    await write(shard)
    assert (await shard.reader.status()).writer_epoch == 2


async def test_a_writer_whose_books_were_taken_steps_down_at_its_next_batch(start: Start, ledger_dsn: str) -> None:
    shard = start("first").shard
    await until(lambda: shard.is_writer)
    async with connected(ledger_dsn) as meddling:
        await meddling.execute("UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1")
    before = shard.writer
    with pytest.raises(errors.Unavailable):
        await write(shard)
    await until(lambda: shard.is_writer and shard.writer is not before)
    await write(shard)
    assert (await shard.reader.status()).writer_epoch == 3


async def test_a_bug_does_not_leave_the_shard_without_a_writer(start: Start) -> None:
    shard = start("first").shard
    await until(lambda: shard.is_writer)
    before = shard.writer
    impossible = AcknowledgeJob(2, 7, [])  # Nothing was ever sent.
    shard.writer.submit_always(impossible)
    with pytest.raises(errors.OutcomeUnknown):
        await soon(impossible.future)
    await until(lambda: shard.is_writer and shard.writer is not before)
    await write(shard)


async def test_callers_of_a_writer_that_is_stopped_in_a_commit_are_left_in_doubt(start: Start, ledger_dsn: str) -> None:
    first = start("first")
    await until(lambda: first.shard.is_writer)
    job = PostJob(asked(1), FOREVER)
    async with held_head(ledger_dsn):
        first.shard.writer.submit(job)
        await taken(job)
        await first.stop()
        with pytest.raises(errors.OutcomeUnknown):
            await soon(job.future)
    second = start("second")
    await until(lambda: second.shard.is_writer)
    await write(second.shard, 1)
    assert (await second.shard.reader.status()).last_sequence == 1
