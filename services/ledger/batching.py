"""The one writer of a shard: hundreds of callers share one commit.

The writer drains its queue while the previous batch commits: no timer, no lingering, so an idle
ledger commits a single transfer at once and a busy one commits thousands together. Each batch is
four moves: load the accounts it lacks, decide everything in memory in the order of arrival
(`posting.py`), write it in one transaction, answer. Nobody is answered before the commit.

What may go wrong has its place here: an id that the database knows already (decide again, knowing
it), a commit whose answer got lost (ask the database before anything else), books that another
writer has taken (stop). Never here: rules about money, SQL, gRPC.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from services.chassis import logs, postgres
from services.domain import chart, errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import metrics, posting
from services.ledger.posting import AccountState, Answers, Crossing, Crossings, Decision, Draft, Transfers, Watermarks
from services.ledger.store import Head, IdTaken, Store

CACHED_ACCOUNTS_MAX: Final = 500_000
"""States held in memory per shard, about 350 bytes each; the rest is one index seek away."""

REMEMBERED_IDS_MAX: Final = 100_000
"""Ids whose outcome is held in memory per shard, so that a storm of retries costs no rollback."""

QUEUE_RETRY_SECONDS: Final = 0.2
"""What a refused caller is told to wait: a full queue is worked off in about this time."""

RECONNECT_SECONDS: Final = 0.2

_log = logs.get(__name__)

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Bounded(Generic[K, V]):
    """A dictionary that forgets what was not used lately, by halves: no bookkeeping per look-up."""

    def __init__(self, size_max: int) -> None:
        self._half = max(1, size_max // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return a value, keeping it for longer."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self._young[key] = value
        return value

    def update(self, fresh: dict[K, V]) -> None:
        """Take values in; when half of the room is full of them, forget the other half."""
        self._young.update(fresh)
        if len(self._young) > self._half:
            self._old, self._young = self._young, {}


class Job(ABC, Generic[T]):
    """One caller's request to the writer, and the future of its answer."""

    __slots__ = ("deadline", "future", "started", "weight")

    def __init__(self, weight: int, deadline: float) -> None:
        self.weight = weight
        self.deadline = deadline
        """Loop time; a job that is still waiting then is dropped with nothing written."""
        self.started = False
        """Whether a batch has taken it: from then on it may be written."""
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @abstractmethod
    def accounts(self) -> Sequence[Sequence[int]]:
        """Return columns of the accounts that deciding needs."""

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return (peer, currency) of the transit accounts that deciding needs."""
        return ()

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the ids that deciding asks about."""
        return ()

    @abstractmethod
    def decide(self, draft: Draft) -> T:
        """Decide on a draft; may be called again on another draft."""


class PostJob(Job[Answers]):
    """Transfers to decide."""

    __slots__ = ("transfers",)

    def __init__(self, transfers: Transfers, deadline: float) -> None:
        super().__init__(len(transfers.transfer_ids), deadline)
        self.transfers = transfers

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return payers, payees and whoever further legs name."""
        columns: list[Sequence[int]] = [self.transfers.debit_accounts, self.transfers.credit_accounts]
        columns.extend(leg[:2] for legs in self.transfers.further_legs.values() for leg in legs)
        return columns

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peers that are paid."""
        if self.transfers.peers is None:
            return ()
        return {pair for pair in zip(self.transfers.peers, self.transfers.currencies, strict=True) if pair[0]}

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the transfers' ids."""
        return self.transfers.transfer_ids

    def decide(self, draft: Draft) -> Answers:
        """Post."""
        return posting.post(draft, self.transfers)


class Landed(NamedTuple):
    """How far a peer's crossings have landed."""

    through: int
    refused: list[tuple[int, int]]
    """Numbers and refusals that this batch decided."""
    repeated: bool
    """Whether some of the crossings had landed before; `refused` lacks those."""


class LandJob(Job[Landed]):
    """Crossings from a peer."""

    __slots__ = ("crossings",)

    def __init__(self, crossings: Crossings, deadline: float) -> None:
        super().__init__(len(crossings.transfer_ids), deadline)
        self.crossings = crossings

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the payees."""
        return (self.crossings.credit_accounts,)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peer."""
        return {(self.crossings.peer_id, currency) for currency in self.crossings.currencies}

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the crossings' ids."""
        return self.crossings.transfer_ids

    def decide(self, draft: Draft) -> Landed:
        """Land."""
        peer_id, first = self.crossings.peer_id, self.crossings.first_number
        before = draft.watermarks(peer_id).landed_through
        posting.land(draft, self.crossings)
        through = draft.watermarks(peer_id).landed_through
        refused = [
            (number, refusal)
            for number, refuser, refusal in draft.crossings_refused
            if refuser == peer_id and before < number
        ]
        return Landed(through, refused, before >= first)


class AcknowledgeJob(Job[None]):
    """A peer's word on how far crossings have landed, and which are to be given back."""

    __slots__ = ("landed_through", "peer_id", "refused")

    def __init__(self, peer_id: int, landed_through: int, refused: Sequence[tuple[Crossing, int]]) -> None:
        super().__init__(1 + len(refused), float("inf"))
        self.peer_id = peer_id
        self.landed_through = landed_through
        self.refused = refused

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the payers who get money back."""
        return ([crossing.debit_account for crossing, _ in self.refused],)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peer."""
        return {(self.peer_id, crossing.currency) for crossing, _ in self.refused}

    def decide(self, draft: Draft) -> None:
        """Acknowledge."""
        posting.acknowledge(draft, self.peer_id, self.landed_through, self.refused)


class OpenJob(Job[list[bool]]):
    """Accounts to put into the books."""

    __slots__ = ("currencies", "floors_minor", "numbers")

    def __init__(
        self, numbers: Sequence[int], currencies: Sequence[int], floors_minor: Sequence[int], deadline: float
    ) -> None:
        super().__init__(len(numbers), deadline)
        self.numbers = numbers
        self.currencies = currencies
        self.floors_minor = floors_minor

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the accounts themselves: they may be there already."""
        return (self.numbers,)

    def decide(self, draft: Draft) -> list[bool]:
        """Open."""
        return posting.open_accounts(draft, self.numbers, self.currencies, self.floors_minor)


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
        peers: dict[int, Watermarks],
        now_us: Callable[[], int],
        on_commit: Callable[[Draft], None],
    ) -> None:
        self.shard_id = shard_id
        self.head = head
        self.peers = peers
        self.queued_count = 0
        self._store = store
        self._now_us = now_us
        self._on_commit = on_commit
        self._queue: deque[Job[Any]] = deque()
        self._arrived = asyncio.Event()
        self._stopped = False
        self._states: Bounded[int, AccountState] = Bounded(CACHED_ACCOUNTS_MAX)
        self._decisions: Bounded[bytes, Decision] = Bounded(REMEMBERED_IDS_MAX)
        self._meters = _Meters(shard_id)

    def submit(self, job: Job[T]) -> None:
        """Queue a job. Raises `Overloaded` when the queue is full, `Unavailable` when the writer stopped."""
        if self.queued_count and self.queued_count + job.weight > limits.QUEUE_TRANSFERS_MAX:
            raise errors.Overloaded("QUEUE_FULL", "the shard's queue is full", QUEUE_RETRY_SECONDS)
        self.submit_always(job)

    def submit_always(self, job: Job[T]) -> None:
        """Queue a job that must not be refused for want of room: it makes room elsewhere."""
        if self._stopped:
            raise not_the_writer(self.shard_id)
        self.queued_count += job.weight
        self._queue.append(job)
        self._arrived.set()

    async def ask(self, job: Job[T]) -> T:
        """Queue a job and wait for its answer until its deadline.

        Raises `DeadlinePassed` when no batch took it in time and `OutcomeUnknown` when one did but
        the commit's answer is still out; otherwise as `submit`.
        """
        self.submit(job)
        timeout = None if job.deadline == float("inf") else job.deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout):
                return await job.future
        except TimeoutError:
            if job.started:
                raise outcome_unknown() from None
            raise errors.DeadlinePassed(
                "DEADLINE_EXCEEDED", "the deadline came before the shard could decide"
            ) from None

    async def run(self) -> None:
        """Write batches for ever. Returns only by an exception: `FenceLost` or a bug."""
        batch: list[Job[Any]] = []
        try:
            while True:
                batch = await self._next_batch()
                await self._settle(batch)
        finally:
            self._stopped = True
            for job in batch:
                _fail(job, outcome_unknown())
            for job in self._queue:
                _fail(job, not_the_writer(self.shard_id))
            self._queue.clear()

    async def _next_batch(self) -> list[Job[Any]]:
        """Wait for work and take as much of it as one transaction should hold."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        now = asyncio.get_running_loop().time()
        batch: list[Job[Any]] = []
        weight = 0
        while self._queue and (not batch or weight + self._queue[0].weight <= limits.BATCH_TRANSFERS_MAX):
            job = self._queue.popleft()
            self.queued_count -= job.weight
            if job.future.done() or job.deadline < now:
                continue  # Its caller is gone; nothing was written.
            job.started = True
            batch.append(job)
            weight += job.weight
        self._meters.queued.set(self.queued_count)
        return batch

    async def _settle(self, batch: list[Job[Any]]) -> None:
        """See a batch through to its commit, whatever happens to the connection on the way."""
        known: dict[bytes, Decision] = {}
        while True:
            try:
                await self._load(batch)
                draft, answers = self._decide(batch, known)
                if not draft.is_empty():
                    await self._write(draft)
            except IdTaken:
                ids = [transfer_id for job in batch for transfer_id in job.transfer_ids()]
                known = await self._find(ids)
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

    async def _load(self, batch: list[Job[Any]]) -> None:
        """Bring the states of a batch's accounts into memory."""
        get = self._states.get
        wanted = {number for job in batch for column in job.accounts() for number in column}
        for job in batch:
            wanted.update(chart.transit_account(self.shard_id, *pair) for pair in job.transits())
        missing = [number for number in wanted if get(number) is None]
        if missing:
            started = perf_counter()
            self._states.update(await self._store.load_accounts(missing))
            self._meters.load.observe(perf_counter() - started)
            self._meters.cached.set(len(self._states))

    def _decide(self, batch: list[Job[Any]], known: dict[bytes, Decision]) -> tuple[Draft, list[Any]]:
        """Decide all jobs, in order, on one draft."""
        started = perf_counter()
        booking_time_us = max(self._now_us(), self.head.booking_time_us + 1)
        draft = Draft(
            self.shard_id,
            self.head.sequence,
            booking_time_us,
            booking_time_us // 86_400_000_000,
            self._states.get,
            (lambda transfer_id: known.get(transfer_id) or self._decisions.get(transfer_id))
            if known
            else self._decisions.get,
            self.peers,
        )
        answers = [job.decide(draft) for job in batch]
        self._meters.decide.observe(perf_counter() - started)
        return draft, answers

    async def _write(self, draft: Draft) -> None:
        """Commit a draft, or raise. After a lost connection, first find out what became of it."""
        started = perf_counter()
        try:
            self.head = await self._store.write(self.head, draft)
        except postgres.ERRORS as error:
            if not postgres.is_connection_lost(error):
                raise
            confirmed = await self._confirm(draft, error)
            if confirmed is None:
                raise
            self.head = confirmed
        self._meters.write.observe(perf_counter() - started)

    async def _confirm(self, draft: Draft, lost: Exception) -> Head | None:
        """Ask the database, for as long as it takes, whether a draft was committed."""
        self._meters.doubts.inc()
        _log.warning("commit_in_doubt", shard=self.shard_id, error=type(lost).__name__)
        return await self._insist(lambda: self._store.confirm(self.head, draft))

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
        """Repeat what needs the database until it is there."""
        while True:
            try:
                return await attempt()
            except postgres.ERRORS as error:
                _log.warning("database_unreachable", shard=self.shard_id, error=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    def _finish(self, batch: list[Job[Any]], draft: Draft, answers: list[Any]) -> None:
        """Take a committed draft into memory and answer its callers."""
        self._states.update(draft.touched)
        self._decisions.update(draft.decisions)
        self.peers.update(draft.peers)
        self._on_commit(draft)
        self._meters.count(draft, sum(len(job.transfer_ids()) for job in batch))
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(job, AcknowledgeJob):
                self._remember_returns(job)
            if not job.future.done():
                job.future.set_result(answer)

    def _remember_returns(self, job: AcknowledgeJob) -> None:
        """Let remembered ids of returned crossings mean that from now on."""
        for crossing, refusal in job.refused:
            before = self._decisions.get(crossing.transfer_id)
            if before is not None:
                returned = before._replace(outcome=Outcome.RETURNED, refusal=refusal)
                self._decisions.update({crossing.transfer_id: returned})


class _Meters:
    """Bound children of the ledger's metrics for one shard."""

    def __init__(self, shard_id: int) -> None:
        shard = str(shard_id)
        self._shard = shard
        self.queued = metrics.QUEUED_TRANSFERS.labels(shard)
        self.cached = metrics.CACHED_ACCOUNTS.labels(shard)
        self.load = metrics.LOAD_SECONDS.labels(shard)
        self.decide = metrics.DECIDE_SECONDS.labels(shard)
        self.write = metrics.WRITE_SECONDS.labels(shard)
        self.doubts = metrics.DOUBTS.labels(shard)
        self._batch = metrics.BATCH_TRANSFERS.labels(shard)
        self._repeats = metrics.REPEATS.labels(shard)
        self._outcomes: dict[tuple[int, int], Any] = {}

    def count(self, draft: Draft, asked: int) -> None:
        """Count a committed draft."""
        self._batch.observe(len(draft.transfers))
        counts: dict[tuple[int, int], int] = {}
        for decision in draft.decisions.values():
            key = (decision.outcome, decision.refusal)
            counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            child = self._outcomes.get(key)
            if child is None:
                outcome, refusal = key
                reason = Refusal(refusal).name if refusal else ""
                child = metrics.TRANSFERS.labels(self._shard, Outcome(outcome).name, reason)
                self._outcomes[key] = child
            child.inc(count)
        repeats = asked - len(draft.decisions) - len(draft.crossings_refused)
        if repeats > 0:
            self._repeats.inc(repeats)


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
