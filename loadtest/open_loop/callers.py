"""Sends operations when they are due, from several processes, and never waits for an answer to send the next.

Never here: what an operation is (`operations.py`), and when one is due (`arrivals.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from random import Random, SystemRandom
from typing import Any, Final

from hivecore.gateway.v1 import bank_pb2

from loadtest.client import POSTED, Access, Client, Outcome
from loadtest.crew import Crew
from loadtest.lean_client import LeanClient
from loadtest.mix import Mix
from loadtest.open_loop.arrivals import POISSON, arrivals
from loadtest.open_loop.record import Seen
from loadtest.operations import BATCH_TRANSFERS, Operation, Operations, alone
from loadtest.popularity import Popularity, uniform
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
        self._operations = Operations(
            load.mix, workload, load.currency_code, ids, lambda: time.time_ns() // 1_000_000, load.batch_transfers
        )
        self._arrivals = arrivals(load.arrival, load.per_second, load.number, load.processes, chance)
        self._stack = AsyncExitStack()
        self._send: Send | None = None
        self._seen = Seen()
        self._in_flight = 0

    async def connect(self) -> None:
        """Connect, and see that the token is good. Raises grpc.aio.AioRpcError."""
        load = self._load
        number = next(accounts[0] for accounts in load.accounts_by_shard if accounts)
        request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
        client = await self._stack.enter_async_context(Client(load.access))
        await client.call(client.stub.GetBalance, request)
        if load.client == GRPC or load.access.authority is not None:
            self._send = partial(client.send, seconds=load.deadline_seconds)
            return
        await client.close()
        self._send = (await self._stack.enter_async_context(LeanClient(load.access, load.deadline_seconds))).send

    async def run(self, begin: float) -> None:
        """Send what is due from `begin` (of the monotonic clock) on until the time is over, then await all answers."""
        load, seen, send = self._load, self._seen, self._send
        assert send is not None
        async with self._stack, asyncio.TaskGroup() as tasks:
            for count, due in enumerate(self._arrivals):
                if due >= load.warm_up_seconds + load.seconds:
                    break
                wait = begin + due - time.monotonic()
                if wait > TIMER_SECONDS / 2 or count % BREATH == 0:
                    await asyncio.sleep(max(0.0, wait))
                is_measured = due >= load.warm_up_seconds
                seen.due += is_measured
                if self._in_flight >= load.in_flight_max:
                    seen.dropped += is_measured
                    continue
                self._in_flight += 1
                seen.in_flight_max = max(seen.in_flight_max, self._in_flight)
                tasks.create_task(self._carry_out(send, self._operations.draw(), begin, due, is_measured))

    def seen(self) -> Seen:
        """Give what was seen, when all is over."""
        self._seen.sort_out()
        return self._seen

    async def _carry_out(self, send: Send, operation: Operation, begin: float, due: float, is_measured: bool) -> None:
        seen = self._seen
        sent_at = time.monotonic() - begin
        begun_at = min(sent_at, due)
        told: list[Outcome] = []
        for call in operation.calls:
            outcomes = await send(call.method, call.request, len(call.sent))
            told += outcomes
            for sent, outcome in zip(call.sent, outcomes, strict=False):
                seen.journal.told(sent, outcome, partial(alone, call, sent, self._load.currency_code))
            if any(outcome.kind != POSTED for outcome in outcomes):
                break
        self._in_flight -= 1
        if is_measured:
            seconds = time.monotonic() - begin - begun_at
            seen.note(operation.name, due - self._load.warm_up_seconds, sent_at - begun_at, seconds)
            seen.done += all(outcome.kind == POSTED for outcome in told)
            seen.outcomes.update((operation.name, outcome) for outcome in told)
            # What the last call asked for; the calls before it moved nothing.
            seen.posted += sum(outcome.kind == POSTED for outcome in told[-len(call.sent) :]) if call.sent else 0
