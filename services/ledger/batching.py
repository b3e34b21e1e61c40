"""The one writer of a shard: hundreds of callers share one commit.

The writer's queue fills while the previous batch commits: no timer, no lingering, so an idle
ledger commits a single transfer at once and a busy one commits thousands together. Each batch is
four moves: load the accounts it lacks, decide everything in memory in the order of arrival
(`posting.py`), write it in one transaction, answer. Nobody is answered before the commit. While
one batch is written the next one is decided already, where memory suffices (`ahead.py`).

What may go wrong has its place here: an id that the database knows already (decide again, knowing
it), a commit whose answer got lost (ask the database before anything else), books that another
writer has taken (stop). Never here: rules about money, SQL, gRPC.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from time import perf_counter
from typing import Any, Final, TypeVar

from services.chassis import logs, postgres, tracing
from services.domain import errors, identifiers, limits
from services.ledger.ahead import Ahead
from services.ledger.books import Decision
from services.ledger.draft import Draft
from services.ledger.jobs import AcknowledgeJob, Job
from services.ledger.memory import Facts, Memory
from services.ledger.meters import Meters
from services.ledger.store import FenceLost, Head, IdTaken, Store

QUEUE_RETRY_SECONDS: Final = 0.2
"""What a refused caller is told to wait: a full queue is worked off in about this time."""

FEW_JOBS: Final = 4
"""With fewer in the queue the one that comes is taken, however large they are: two callers may bring as many."""

RECONNECT_SECONDS: Final = 0.2

PASSING_SECONDS: Final = 0.05
"""How long what nobody waits for may wait for somebody else's batch."""

IDS_LOGGED_MAX: Final = 100
"""Of a batch's transfers, in a line at DEBUG."""

_log = logs.get(__name__)

T = TypeVar("T")


class Writer:
    """Writes one shard's books from `head` on, until the fence says that somebody else does.

    `now_us` gives the time in microseconds since 1970-01-01 UTC; `on_commit` learns of every draft
    that was committed, before its callers are answered.
    """

    def __init__(
        self,
        shard_id: int,
        store: Store,
        head: Head,
        memory: Memory,
        now_us: Callable[[], int],
        on_commit: Callable[[Draft], None],
    ) -> None:
        self.shard_id = shard_id
        self.head = head
        self.memory = memory
        self.queued_count = 0
        self._store = store
        self._now_us = now_us
        self._on_commit = on_commit
        self._queue: deque[Job[Any]] = deque()
        self._arrived = asyncio.Event()
        self._stopped = False
        self._in_doubt = False
        self._in_passing: dict[int, int] = {}
        """How far peers' crossings have landed, to be written with the next batch."""
        self._is_hurried = False
        self._below: Draft | None = None
        """What is being written."""
        self._ahead: Ahead | None = None
        """What was decided already of the next batch, while the last one was being written."""
        self._will_look = False
        self._fault: Exception | None = None
        """What went wrong while deciding ahead, which is a bug."""
        self._meters = Meters(shard_id)

    def submit(self, job: Job[T]) -> None:
        """Queue a job. Raises `Overloaded` when the queue is full, `Unavailable` when the writer stopped."""
        if len(self._queue) >= FEW_JOBS and self.queued_count + job.weight > limits.QUEUE_TRANSFERS_MAX:
            raise errors.Overloaded("QUEUE_FULL", "the shard's queue is full", QUEUE_RETRY_SECONDS)
        self.submit_always(job)

    def submit_always(self, job: Job[T]) -> None:
        """Queue a job that must not be refused for want of room: it makes room elsewhere."""
        if self._stopped:
            raise not_the_writer(self.shard_id)
        job.queued_at = perf_counter()
        self.queued_count += job.weight
        self._queue.append(job)
        self._wake()

    def acknowledge_in_passing(self, peer_id: int, landed_through: int) -> None:
        """Write a peer's word with the next batch, or soon if there is none: nobody waits for it.

        Until then the table says less than the courier knows; a restart hands over again, harmlessly.
        """
        if not self._in_passing:
            asyncio.get_running_loop().call_later(PASSING_SECONDS, self._hurry)
        self._in_passing[peer_id] = landed_through

    def _hurry(self) -> None:
        """Let what was to be written in passing have a batch of its own."""
        if self._in_passing:
            self._is_hurried = True
            self._arrived.set()

    async def ask(self, job: Job[T]) -> T:
        """Queue a job and wait for its answer until its deadline.

        Raises `DeadlinePassed` when no batch took it in time and `OutcomeUnknown` when one did but
        the commit's answer is still out; otherwise as `submit`.
        """
        self.submit(job)
        if job.deadline == float("inf"):
            return await job.future
        timer = asyncio.get_running_loop().call_at(job.deadline, self._expire, job)
        try:
            return await job.future
        finally:
            timer.cancel()

    def _expire(self, job: Job[Any]) -> None:
        """Answer a job whose deadline has come."""
        if job.future.done():
            return
        if job.started:
            self._meters.unknown.inc()
            _fail(job, outcome_unknown())
        else:
            _fail(job, errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came before the shard could decide"))

    async def run(self) -> None:
        """Write batches for ever. Returns only by an exception: `FenceLost` or a bug."""
        batch: list[Job[Any]] = []
        fate: errors.BankError = outcome_unknown()
        try:
            while True:
                batch = await self._next_batch()
                with tracing.span("batch", (job.origin for job in batch)):
                    await self._settle(batch)
        except FenceLost:
            if not self._in_doubt:
                fate = not_the_writer(self.shard_id)
            raise
        finally:
            self._stopped = True
            for job in batch:
                _fail(job, fate)
            if isinstance(fate, errors.OutcomeUnknown):
                self._meters.unknown.inc(len(batch))
            for job in self._queue:
                _fail(job, not_the_writer(self.shard_id))
            self._queue.clear()

    async def _next_batch(self) -> list[Job[Any]]:
        """Wait for work and take as much of it as one transaction should hold."""
        while not self._queue and not self._is_hurried:
            self._arrived.clear()
            await self._arrived.wait()
        now = asyncio.get_running_loop().time()
        batch: list[Job[Any]] = []
        weight = 0
        opens_accounts = False
        while self._queue and (not batch or weight + self._queue[0].weight <= limits.BATCH_TRANSFERS_MAX):
            if opens_accounts and self._queue[0].needs_all_siblings:
                break
            job = self._queue.popleft()
            self.queued_count -= job.weight
            if job.future.done() or job.deadline < now:
                continue  # Its caller is gone; nothing was written.
            job.started = True
            batch.append(job)
            weight += job.weight
            opens_accounts |= job.opens_accounts
        if batch:
            self._meters.queue_wait.observe(perf_counter() - batch[0].queued_at)
        if self._in_passing:
            batch.extend(AcknowledgeJob(peer_id, through, ()) for peer_id, through in self._in_passing.items())
            self._in_passing.clear()
        self._is_hurried = False
        self._meters.queued.set(self.queued_count)
        return batch

    async def _settle(self, batch: list[Job[Any]]) -> None:
        """See a batch through to its commit, whatever happens to the connection on the way."""
        facts = Facts()
        while True:
            try:
                draft, answers = await self._decide(batch, facts)
                if not draft.is_empty():
                    await self._write(draft)
            except IdTaken:
                ids = [transfer_id for job in batch for transfer_id in job.transfer_ids()]
                facts.known |= await self._find(ids)
                self.memory.remember(facts.known)
                continue
            except postgres.ERRORS as error:
                if postgres.is_connection_lost(error):
                    await self._reconnect(error)
                    continue
                if not isinstance(error, postgres.DID_NOT_COMMIT):
                    raise
                _log.exception("batch_not_written", shard=self.shard_id)
                for job in batch:
                    _fail(job, errors.Unavailable("SHARD_CANNOT_WRITE", "the shard's database refuses to write now"))
                return
            self._finish(batch, draft, answers)
            return

    async def _decide(self, batch: list[Job[Any]], facts: Facts) -> tuple[Draft, list[Any]]:
        """Decide all jobs, in order, on one draft; what is decided already holds only for the batch that it was meant for."""
        ahead, self._ahead = self._ahead, None
        decided = await ahead.complete(batch) if ahead is not None else None
        if ahead is not None and decided is not None:
            self._meters.decide.observe(ahead.seconds)
            self._meters.ahead.inc()
            self._meters.loaded_ahead.inc(ahead.loaded_count)
            return decided
        started = perf_counter()
        await self.memory.load(batch, self._store, facts)
        loaded = perf_counter()
        draft = self.memory.draft(self.head, self._now_us(), facts)
        answers = [job.decide(draft) for job in batch]
        self._meters.load.observe(loaded - started)
        self._meters.decide.observe(perf_counter() - loaded)
        return draft, answers

    async def _write(self, draft: Draft) -> None:
        """Commit a draft, or raise. After a lost connection, first find out what became of it."""
        started = perf_counter()
        try:
            self.head = await self._commit(draft)
        except postgres.ERRORS as error:
            if not postgres.is_connection_lost(error):
                raise
            self.head = await self._confirm(draft, error)
            if self.head.booking_time_us != draft.booking_time_us:
                raise
        self._meters.write.observe(perf_counter() - started)
        self._meters.commit.observe(self._store.commit_seconds)

    async def _commit(self, draft: Draft) -> Head:
        """Have a draft written, and decide meanwhile on top of it; if it fails, that is dropped, too."""
        self._below = draft
        if self._queue:
            self._wake()
        try:
            after = await self._store.write(self.head, draft)
        except BaseException:
            self._ahead = None
            raise
        finally:
            self._below = None
        if self._fault is not None:
            raise self._fault
        return after

    def _wake(self) -> None:
        """See that what has come is looked at: by the writer if it waits for work, otherwise ahead of its turn."""
        self._arrived.set()
        if self._below is not None and not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_soon(self._look_ahead)

    def _look_ahead(self) -> None:
        """Decide some of what waits on top of what is being written."""
        self._will_look = False
        below = self._below
        if below is None:
            return
        try:
            if self._ahead is None:
                self._ahead = Ahead(self.memory, self.head, below, self._now_us, self._store.beside, self._wake)
            if self._ahead.look(self._queue):
                self._wake()
        except Exception as error:  # noqa: BLE001 - the writer ends by it, once it knows what became of the batch
            self._fault = error

    async def _confirm(self, draft: Draft, lost: Exception) -> Head:
        """Ask the database, for as long as it takes, whether a draft was committed."""
        self._meters.doubts.inc()
        _log.warning("commit_in_doubt", shard=self.shard_id, error=type(lost).__name__)
        self._in_doubt = True
        confirmed = await self._insist(lambda: self._store.confirm(self.head, draft))
        self._in_doubt = False
        return confirmed

    async def _find(self, ids: list[bytes]) -> dict[bytes, Decision]:
        """Ask the database what a batch's ids mean already."""
        try:
            return await self._store.find_decisions(ids)
        except postgres.ERRORS as error:
            await self._reconnect(error)
            return {}  # The next attempt finds the ids taken again.

    async def _reconnect(self, lost: Exception) -> None:
        """Get a new connection, for as long as it takes; nothing is in doubt."""
        _log.warning("connection_lost", shard=self.shard_id, error=type(lost).__name__)
        await self._insist(self._store.connect)

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what needs the database until it is there, or the writer is told to stop."""
        while True:
            _heed_cancellation()
            try:
                return await attempt()
            except postgres.ERRORS as error:
                _log.warning("database_unreachable", shard=self.shard_id, error=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _finish(self, batch: list[Job[Any]], draft: Draft, answers: list[Any]) -> None:
        """Take a committed draft into memory and answer its callers."""
        if not draft.is_empty():
            self.memory.take(draft)
            self._on_commit(draft)
        if logs.shows_calls() and draft.decisions:
            ids = [identifiers.uuid_text(transfer_id) for transfer_id in islice(draft.decisions, IDS_LOGGED_MAX)]
            _log.debug("batch_written", shard=self.shard_id, sequence=draft.sequence, transfer_ids=ids)
        self._meters.cached.set(self.memory.account_count)
        self._meters.count(draft, sum(len(job.transfer_ids()) for job in batch))
        for job, answer in zip(batch, answers, strict=True):
            if type(job) is AcknowledgeJob:
                self.memory.take_returns(job.refused)
            if not job.future.done():
                job.future.set_result(answer)


def _heed_cancellation() -> None:
    """Stop when that was asked for: a connection that breaks meanwhile puts its own error in the place of the request."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _fail(job: Job[Any], error: errors.BankError) -> None:
    if not job.future.done():
        job.future.set_exception(error)
        job.future.exception()  # Its caller may be gone; then nobody fetches it.


def not_the_writer(shard_id: int) -> errors.Unavailable:
    """Say that another process writes this shard."""
    return errors.Unavailable(
        "NOT_THE_WRITER", f"this ledger does not write shard {shard_id} now", {"shard_id": str(shard_id)}
    )


def outcome_unknown() -> errors.OutcomeUnknown:
    """Say that the transfers may or may not have been written."""
    return errors.OutcomeUnknown("OUTCOME_UNKNOWN", "the commit's answer is not known yet: send the same ids again")
