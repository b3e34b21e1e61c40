"""Performs what `coordination.py` decides: asks peers for promises, has outcomes written, asks about old promises.

`Coordinator` is the home's side, one per writer: a transfer over several shards waits here for the
others' answers, and never inside a database transaction; the writers go on with everything else.
`Inquirer` is the other side's: promises that have waited for long are asked about, never guessed.

Never here: what may be promised or decided, SQL.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from hivecore.ledger.v1 import ledger_pb2

from services.chassis import logs
from services.domain import errors, limits
from services.domain.outcomes import Outcome
from services.ledger import metrics, wire_traffic
from services.ledger.batching import Writer, outcome_unknown
from services.ledger.books import Actor
from services.ledger.coordination import Ask, Coordination, Decide, GiveUp, Step
from services.ledger.crossings import Couriers, Peer
from services.ledger.promise_jobs import DecideJob, RehearseDecideJob, TellJob
from services.ledger.promises import PromiseAnswer
from services.ledger.spanning import Answered, Span, Told
from services.ledger.traffic import Promise

ASKING_SECONDS_MAX: Final = 8.0
"""How long a home waits for promises, whatever its caller's deadline."""

PROMISE_SECONDS: Final = 10.0
"""How long a promise waits before its home is asked: longer than any home that is alive asks."""

INQUIRY_SECONDS: Final = 1.0
"""How often old promises are looked for."""

INQUIRY_PROMISES_MAX: Final = 1_000
"""Promises asked about in one call."""

INQUIRY_CALL_SECONDS_MAX: Final = 5.0

SETTLING_SECONDS_MAX: Final = 1.0
"""How long a posted transfer's answer waits for the others to have posted their parts, too."""

SPANS_AT_ONCE_MAX: Final = 1_000
"""Transfers over several shards that one home decides at the same time; further ones wait their turn."""

_log = logs.get(__name__)


class Coordinator:
    """Brings transfers over several shards to their outcomes."""

    def __init__(self, shard_id: int, writer: Writer, couriers: Couriers, client: Callable[[int], Peer]) -> None:
        self._writer = writer
        self._couriers = couriers
        self._client = client
        self._asking: Counter[bytes] = Counter()
        self._turns = asyncio.Semaphore(SPANS_AT_ONCE_MAX)
        self._meters = metrics.SpanMeters(shard_id)

    async def decide(self, span: Span, actor: Actor | None, deadline: float) -> Answered | None:
        """Have a transfer decided by `deadline` (loop time); None when it is left undecided.

        Raises `BankError` as `Writer.ask`: `OutcomeUnknown` also when others of its callers may still have it decided.
        """
        async with self._turns:
            self._asking[span.transfer_id] += 1
            try:
                answered = await self._coordinate(span, actor, deadline)
            finally:
                self._asking[span.transfer_id] -= 1
                if not self._asking[span.transfer_id]:
                    del self._asking[span.transfer_id]
        self._meters.count(answered)
        if answered is not None and answered.outcome == Outcome.POSTED:
            await self._wait_settled(answered, deadline)
        return answered

    async def rehearse(self, span: Span, actor: Actor | None, deadline: float) -> Answered | None:
        """Tell what would become of a transfer now, writing nothing; None when not everybody answers.

        Raises `BankError` as `Writer.ask`.
        """
        until = min(asyncio.get_running_loop().time() + ASKING_SECONDS_MAX, deadline)
        asking = (self._ask(span, peer_id, actor, until, "RehearsePromise") for peer_id in span.peers)
        answers = [answer for _, answer in await asyncio.gather(*asking)]
        if None in answers:
            return None
        refusals = [(answer.place, answer.refusal) for answer in answers if answer is not None and answer.refusal]
        return await self._writer.ask(RehearseDecideJob(span, refusals, (), None, deadline))

    async def _coordinate(self, span: Span, actor: Actor | None, deadline: float) -> Answered | None:
        """Perform the steps of one transfer."""
        coordination = Coordination(tuple(span.peers))
        loop = asyncio.get_running_loop()
        # Half the time is for the others; what is left is for writing.
        until = min(loop.time() + ASKING_SECONDS_MAX, (loop.time() + deadline) / 2)
        steps: list[Step] = coordination.begin()
        asking: set[asyncio.Task[tuple[int, PromiseAnswer | None]]] = set()
        try:
            while True:
                for step in steps:
                    match step:
                        case Ask(peer_id):
                            asking.add(asyncio.create_task(self._ask(span, peer_id, actor, until)))
                        case Decide(refusals, told):
                            job = DecideJob(span, refusals, told, actor, deadline)
                            answered = await self._writer.ask(job)
                            coordination.written()
                            return answered
                        case GiveUp(missing):
                            _log.warning("transfer_undecided", missing=missing)
                            if self._asking[span.transfer_id] > 1:
                                raise outcome_unknown()
                            return None
                steps = await self._next_steps(coordination, asking)
        finally:
            for task in asking:
                task.cancel()

    @staticmethod
    async def _next_steps(
        coordination: Coordination, asking: set["asyncio.Task[tuple[int, PromiseAnswer | None]]"]
    ) -> list[Step]:
        """Wait for answers; those who gave none until the end of the time never come back."""
        if not asking:
            return coordination.time_over()
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        asking -= done
        steps: list[Step] = []
        for task in done:
            peer_id, answer = task.result()
            if answer is not None:
                steps += coordination.answered(peer_id, answer)
        return steps

    async def _ask(
        self, span: Span, peer_id: int, actor: Actor | None, until: float, method: str = "PromiseTransfer"
    ) -> tuple[int, PromiseAnswer | None]:
        """Ask one peer for its promise until a loop time; repeating is harmless, so doubt does not matter."""
        request = wire_traffic.promise_request(span, peer_id, actor)
        loop = asyncio.get_running_loop()
        try:
            response = await self._client(peer_id).call(method, request, deadline_seconds=max(until - loop.time(), 0.0))
        except errors.BankError as error:
            _log.warning("promise_missing", peer=peer_id, reason=error.reason)
            return peer_id, None
        return peer_id, PromiseAnswer(response.refusal, response.place)

    async def _wait_settled(self, answered: Answered, deadline: float) -> None:
        """Let the others post their parts before the caller reads them, if that is a matter of moments."""
        loop = asyncio.get_running_loop()
        until = min(loop.time() + SETTLING_SECONDS_MAX, (loop.time() + deadline) / 2)
        try:
            async with asyncio.timeout_at(until):
                for peer_id, number in answered.numbers.items():
                    await self._couriers.of(peer_id).wait_resolved(number)
        except TimeoutError:
            _log.warning("transfer_settles_late", peers=list(answered.numbers))

    async def tell(self, peer_id: int, asked: Sequence[Told], deadline: float) -> int:
        """See to it that a peer gets the decisions it asks about; return on how many of them it will.

        What is being decided just now is left alone: its peer will hear in time, or ask again.
        """
        settled = [one for one in asked if one.transfer_id not in self._asking]
        if settled:
            await self._writer.ask(TellJob(peer_id, settled, deadline))
        return len(settled)


class Inquirer:
    """Asks homes about promises that have waited for long. `now_us` is the time in microseconds since 1970.

    Long by the wall clock, which knows of promises that were made before this process began, or by this
    process's own looks, which go on when the clock is set back. Asking too early does no harm.
    """

    def __init__(self, shard_id: int, writer: Writer, client: Callable[[int], Peer], now_us: Callable[[], int]) -> None:
        self._shard_id = shard_id
        self._promises = writer.memory.promises
        self._client = client
        self._now_us = now_us
        self._looks: deque[tuple[float, int]] = deque()
        """Loop times of looks, and the newest promise that each of them saw."""
        self._oldest_seen = (0, 0.0)
        """The oldest promise, and when it was first seen to be that."""
        self._open = metrics.PROMISES_OPEN.labels(str(shard_id))
        self._oldest = metrics.PROMISE_AGE.labels(str(shard_id))

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.sleep(INQUIRY_SECONDS)
            now_us, now = self._now_us(), asyncio.get_running_loop().time()
            self._open.set(len(self._promises))
            self._oldest.set(self._age_seconds(self._promises.oldest(), now_us, now))
            by_home: dict[int, list[Promise]] = {}
            for promise in self._old(now_us, now):
                by_home.setdefault(promise.home_id, []).append(promise)
            if by_home:
                await asyncio.gather(*(self._ask(home_id, made) for home_id, made in by_home.items()))

    def _age_seconds(self, oldest: Promise | None, now_us: int, now: float) -> float:
        """Tell how long the oldest promise has waited, by the clock that says more."""
        if oldest is None:
            return 0.0
        if self._oldest_seen[0] != oldest.sequence:
            self._oldest_seen = (oldest.sequence, now)
        return max((now_us - oldest.promise_time_us) / 1_000_000, now - self._oldest_seen[1])

    def _old(self, now_us: int, now: float) -> list[Promise]:
        """Return the promises that have waited for long by either clock."""
        self._looks.append((now, self._promises.newest_sequence()))
        long_ago = now - PROMISE_SECONDS
        while len(self._looks) > 1 and self._looks[1][0] <= long_ago:
            self._looks.popleft()
        looked, sequence = self._looks[0]
        seen = sequence if looked <= long_ago else 0
        by_clock = self._promises.made_before(now_us - int(PROMISE_SECONDS * 1_000_000))
        # Both are as many of the oldest as are old.
        return max(by_clock, self._promises.made_through(seen), key=len)

    async def _ask(self, home_id: int, made: list[Promise]) -> None:
        """Ask one home; its decisions come among its crossings."""
        asked = made[:INQUIRY_PROMISES_MAX]
        request = ledger_pb2.AskDecisionsRequest(
            shard_id=home_id,
            from_shard_id=self._shard_id,
            transfer_ids=b"".join([promise.transfer_id for promise in asked]),
            accounts=[_account_of(promise) for promise in asked],
        )
        try:
            await self._client(home_id).call("AskDecisions", request, deadline_seconds=INQUIRY_CALL_SECONDS_MAX)
        except errors.BankError as error:
            _log.warning("promises_wait", shard=self._shard_id, home=home_id, count=len(made), reason=error.reason)


def has_room(writer: Writer, leg_count: int) -> bool:
    """Tell whether a shard may promise so many more legs."""
    return writer.memory.promises.leg_count + leg_count <= limits.PROMISED_LEGS_MAX


def _account_of(promise: Promise) -> int:
    leg = promise.legs[0]
    return leg.credit_account if leg.debit_peer else leg.debit_account
