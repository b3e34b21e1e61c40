"""Sends operations when they are due, from several processes, and never waits for an answer to send the next.

Never here: what an operation is (`operations.py`), and when one is due (`arrivals.py`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from random import Random, SystemRandom
from typing import Any, Final, NamedTuple

from hivecore.gateway.v1 import bank_pb2

from loadtest.client import DONE, Access, Client, Outcome
from loadtest.crew import Crew
from loadtest.lean_client import Answer, LeanClient
from loadtest.mix import Mix
from loadtest.open_loop.arrivals import POISSON, arrivals
from loadtest.open_loop.record import Seen
from loadtest.operations import BATCH_TRANSFERS, Call, Operation, Operations, alone
from loadtest.popularity import Popularity, uniform
from loadtest.stencil import Stencil
from loadtest.workload import Workload

LEAN: Final = "lean"
GRPC: Final = "grpc"
CLIENTS: Final = (LEAN, GRPC)
"""Of this kit, in plain text only; and grpc.aio's, for which a call costs several times as much."""

Send = Callable[[str, Any, int], Awaitable[list[Outcome]]]
"""Calls a method by name with a request of so many transfers; see `Client.send`."""

TIMER_SECONDS: Final = 0.001
"""The loop's timers are no finer: what is due within half of it is sent now, not at another turn of the loop."""

BREATH: Final = 16
"""Operations after which a generator that is behind looks after the answers before it sends on."""


KEPT_MAX: Final = 100_000
"""Operations that a process draws before the clock runs, and answers that it looks at when all is over: some 200 MB. What is
more is drawn when it is due, and looked at meanwhile, of the machine that the bank is measured on."""


class Begun(NamedTuple):
    """An operation that has been sent."""

    operation: Operation
    due: float
    sent_at: float
    """Like `due`, in seconds from the start."""
    is_measured: bool


class Answered(NamedTuple):
    """An operation of one call, when its answer has come or will not come any more."""

    begun: Begun
    answer: Answer
    at: float
    """Seconds from the start."""


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """What one process is to send, and for how long."""

    access: Access
    accounts_by_shard: Sequence[Sequence[str]]
    currency_code: str
    mix: Mix
    per_second: float
    """Operations, of all processes together."""
    seconds: float
    """Measured, after the warm-up."""
    warm_up_seconds: float = 2.0
    arrival: str = POISSON
    crossing_share: float = 0.0
    popularity: Popularity = uniform
    batch_transfers: int = BATCH_TRANSFERS
    in_flight_max: int = 2_000
    """Operations unanswered at the same time, of one process; more are dropped, and counted."""
    deadline_seconds: float = 15.0
    """Of each call."""
    client: str = LEAN
    """One of `CLIENTS`; where TLS is spoken it is grpc.aio's."""
    seed: int = 1
    number: int = 0
    processes: int = 1


def generate(load: OpenLoad, processes: int, at_edges: Callable[[], None] = lambda: None) -> Seen:
    """Send a load from several processes; return what all saw.

    `at_edges` is called when the measured seconds begin and when they end. Raises crew.CrewFailed.
    """
    parts = [replace(load, number=number, processes=processes) for number in range(processes)]
    with Crew(OpenCallers, parts) as crew:
        total = Seen()
        for seen in crew.run((load.warm_up_seconds, load.warm_up_seconds + load.seconds), at_edges):
            total.add(seen)
        return total


class OpenCallers:
    """The callers of one process."""

    def __init__(self, load: OpenLoad) -> None:
        self._load = load
        chance = Random(load.seed * load.processes + load.number)  # noqa: S311
        workload = Workload(
            load.accounts_by_shard,
            crossing_share=load.crossing_share,
            chance=chance,
            popularity=load.popularity,
            hot=load.mix.hot,
        )
        # Seeded from the machine: ids must be new in every run, who pays whom need not be.
        ids = Random(SystemRandom().getrandbits(128))  # noqa: S311
        self._is_lean = load.client == LEAN and load.access.authority is None
        self._operations = Operations(
            load.mix,
            workload,
            load.currency_code,
            ids,
            lambda: self._milliseconds,
            load.batch_transfers,
            Stencil(load.currency_code) if self._is_lean else None,
        )
        self._milliseconds = time.time_ns() // 1_000_000
        """Since 1970, when the operation that is drawn will be due; roughly, for ids."""
        self._planned = self._plan(arrivals(load.arrival, load.per_second, load.number, load.processes, chance))
        """Operations, and when they are due."""
        self._stack = AsyncExitStack()
        self._send: Send | None = None
        self._lean: LeanClient | None = None
        self._seen = Seen()
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._answered: deque[Answered] = deque()
        """Not looked at yet."""

    async def connect(self) -> None:
        """Connect, see that the token is good, and draw what will be sent first. Raises grpc.aio.AioRpcError."""
        self._planned = chain(list(islice(self._planned, KEPT_MAX)), self._planned)
        load = self._load
        number = next(accounts[0] for accounts in load.accounts_by_shard if accounts)
        request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
        client = await self._stack.enter_async_context(Client(load.access))
        await client.call(client.stub.GetBalance, request)
        if not self._is_lean:
            self._send = partial(client.send, seconds=load.deadline_seconds)
            return
        await client.close()
        self._lean = await self._stack.enter_async_context(LeanClient(load.access, load.deadline_seconds))
        self._send = self._lean.send

    async def run(self, begin: float) -> None:
        """Send what is due from `begin` (of the monotonic clock) on until the time is over, then await all answers."""
        load, seen, in_flight, monotonic = self._load, self._seen, self._in_flight, time.monotonic
        async with self._stack, asyncio.TaskGroup() as tasks:
            for count, (due, operation) in enumerate(self._planned):
                wait = begin + due - monotonic()
                if wait > TIMER_SECONDS / 2 or count % BREATH == 0:
                    await asyncio.sleep(max(0.0, wait))
                    self._look_at_answers(KEPT_MAX)
                is_measured = due >= load.warm_up_seconds
                seen.due += is_measured
                if len(in_flight) >= load.in_flight_max:
                    seen.dropped += is_measured
                    continue
                self._begin(Begun(operation, due, monotonic() - begin, is_measured), begin, tasks)
                seen.in_flight_max = max(seen.in_flight_max, len(in_flight))
            while in_flight:
                await asyncio.wait(in_flight)
            self._look_at_answers(0)

    def seen(self) -> Seen:
        """Give what was seen, when all is over."""
        self._seen.sort_out()
        return self._seen

    def _plan(self, dues: Iterator[float]) -> Iterator[tuple[float, Operation]]:
        began = self._milliseconds
        for due in dues:
            if due >= self._load.warm_up_seconds + self._load.seconds:
                return
            self._milliseconds = began + int(due * 1000)
            yield due, self._operations.draw()

    def _begin(self, begun: Begun, begin: float, tasks: asyncio.TaskGroup) -> None:
        """Send an operation. Of one call, by a client that can, without a task, which costs as much as the call."""
        if self._lean is not None and len(begun.operation.calls) == 1:
            (call,) = begun.operation.calls
            answer = self._lean.begin(call.method, call.written())
            if answer is not None:
                self._in_flight.add(answer)
                answer.add_done_callback(partial(self._has_come, begun, begin))
                return
        assert self._send is not None
        task = tasks.create_task(self._carry_out(self._send, begun, begin))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def _has_come(self, begun: Begun, begin: float, answer: Answer) -> None:
        self._in_flight.discard(answer)
        self._answered.append(Answered(begun, answer, time.monotonic() - begin))

    def _look_at_answers(self, left_max: int) -> None:
        """Note what was answered, the first ones first, but for so many.

        Not where an answer comes in, where an error would go to the loop and not end the run.
        """
        while len(self._answered) > left_max:
            assert self._lean is not None
            begun, answer, at = self._answered.popleft()
            (call,) = begun.operation.calls
            told = self._lean.told(call.method, answer, len(call.sent))
            self._enter(call, told)
            self._note(begun, at, told, call)

    async def _carry_out(self, send: Send, begun: Begun, begin: float) -> None:
        told: list[Outcome] = []
        for call in begun.operation.calls:
            outcomes = await send(call.method, call.request, len(call.sent))
            told += outcomes
            self._enter(call, outcomes)
            if outcomes.count(DONE) != len(outcomes):
                break
        self._note(begun, time.monotonic() - begin, told, call)

    def _enter(self, call: Call, outcomes: Sequence[Outcome]) -> None:
        journal = self._seen.journal
        for sent, outcome in zip(call.sent, outcomes, strict=False):
            if outcome == DONE:
                journal.posted(sent)
            else:
                journal.told(sent, outcome, partial(alone, call, sent, self._load.currency_code))

    def _note(self, begun: Begun, at: float, told: Sequence[Outcome], last: Call) -> None:
        (name, _), due, sent_at, is_measured = begun
        if is_measured:
            seen = self._seen
            # What was sent a trifle too early is not late, and waited from then on.
            begun_at = min(sent_at, due)
            seen.note(name, due - self._load.warm_up_seconds, sent_at - begun_at, at - begun_at)
            seen.done += told.count(DONE) == len(told)
            for outcome in told:
                seen.outcomes[name, outcome] += 1
            # What the last call asked for; the calls before it moved nothing.
            seen.posted += told[-len(last.sent) :].count(DONE) if last.sent else 0
