"""Closed-loop load: callers in processes of their own, each sending its next call when the last is answered.

A figure counts what was answered within the measured seconds, after a warm-up; nothing that ends
before or after. What became of transfers is counted over the whole run, warm-up included. A closed
loop shows what the bank can do, not what customers wait when more comes in than it can do.
Never here: whom to pay (`workload.py`), the processes of the bank (`baseline.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random, SystemRandom
from typing import Any, Final

import uvloop
from hdrh.histogram import HdrHistogram
from hivecore.gateway.v1 import bank_pb2

from loadtest.client import POSTED, Access, Client, Outcome
from loadtest.stencil import Stencil
from loadtest.workload import Workload, transfer_id

LATENCY_US_MAX: Final = 120_000_000
SIGNIFICANT_DIGITS: Final = 3
ID_CHANCE_BITS: Final = 74
HEAD_START_SECONDS: Final = 0.05
"""Between the word to start and the start, so that all processes start together."""

ACKNOWLEDGED_MAX: Final = 50
"""Of each process: acknowledged transfers, drawn from the whole run, to be asked for afterwards."""


def new_histogram() -> HdrHistogram:
    """Make an empty histogram of microseconds."""
    return HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)


@dataclass(frozen=True, slots=True)
class Load:
    """What one process is to send, and for how long."""

    access: Access
    accounts_by_shard: Sequence[Sequence[str]]
    currency_code: str
    crossing_share: float
    """From 0 to 1."""
    transfers_per_call: int
    in_flight: int
    """Calls at the same time."""
    warm_up_seconds: float
    seconds: float
    """Measured, after the warm-up."""
    seed: int


@dataclass(slots=True)
class Measured:
    """What one process, or all together, saw."""

    posted: int = 0
    """Transfers acknowledged as POSTED within the measured seconds."""
    latencies: HdrHistogram = field(default_factory=new_histogram)
    """Microseconds per call within the measured seconds."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of all transfers of the run."""
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    """Some of the transfers acknowledged as POSTED: debit account and transfer_id."""
    acknowledged_calls: int = 0
    """Calls that `acknowledged` was drawn from."""

    def keep(self, account: str, identifier: str, chance: Random) -> None:
        """Keep an acknowledged transfer, or not: each of those offered is as likely to be kept in the end."""
        self.acknowledged_calls += 1
        if len(self.acknowledged) < ACKNOWLEDGED_MAX:
            self.acknowledged.append((account, identifier))
        elif (place := chance.randrange(self.acknowledged_calls)) < ACKNOWLEDGED_MAX:
            self.acknowledged[place] = (account, identifier)

    def __getstate__(self) -> tuple[Any, ...]:
        """Encode the histogram, which cannot go to another process as it is."""
        return self.posted, self.latencies.encode(), self.outcomes, self.acknowledged, self.acknowledged_calls

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Decode what another process sent."""
        self.posted, latencies, self.outcomes, self.acknowledged, self.acknowledged_calls = state
        self.latencies = HdrHistogram.decode(latencies)

    def add(self, other: "Measured") -> None:
        """Count in what another process saw."""
        self.posted += other.posted
        self.latencies.add(other.latencies)
        self.outcomes += other.outcomes
        self.acknowledged += other.acknowledged
        self.acknowledged_calls += other.acknowledged_calls


class GeneratorFailed(Exception):
    """A process ended without a result; its reason is on standard error."""


def generate(load: Load, processes: int, at_edges: Callable[[], None] = lambda: None) -> Measured:
    """Send a load from several processes, its calls in flight spread over them; return what all saw.

    `at_edges` is called when the measured seconds begin and when they end.
    """
    processes = min(processes, load.in_flight)
    context = get_context("spawn")
    with ExitStack() as stack:
        lines: list[Connection] = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.close)
            theirs.close()
            ours.send(_part(load, number, processes))
            lines.append(ours)
        for line in lines:
            _receive(line)
        begin = time.monotonic() + HEAD_START_SECONDS
        for line in lines:
            line.send(begin)
        for edge in (begin + load.warm_up_seconds, begin + load.warm_up_seconds + load.seconds):
            time.sleep(max(0.0, edge - time.monotonic()))
            at_edges()
        total = Measured()
        for line in lines:
            total.add(_receive(line))
        return total


def _part(load: Load, number: int, processes: int) -> Load:
    calls = load.in_flight // processes + (number < load.in_flight % processes)
    return Load(
        access=load.access,
        accounts_by_shard=load.accounts_by_shard,
        currency_code=load.currency_code,
        crossing_share=load.crossing_share,
        transfers_per_call=load.transfers_per_call,
        in_flight=calls,
        warm_up_seconds=load.warm_up_seconds,
        seconds=load.seconds,
        seed=load.seed * processes + number,
    )


def _receive(line: Connection) -> Any:
    try:
        return line.recv()
    except EOFError as error:
        raise GeneratorFailed("a load generator ended without a result") from error


def _work(line: Connection) -> None:
    """Be one process: take the load, say when ready, start when told, send what was measured."""
    load: Load = line.recv()
    callers = Callers(load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(callers.connect())
        line.send(None)
        begin: float = line.recv()
        runner.run(callers.run(begin))
    line.send(callers.measured)


class Callers:
    """The callers of one process."""

    def __init__(self, load: Load) -> None:
        self.measured = Measured()
        self._load = load
        self._workload = Workload(
            load.accounts_by_shard,
            crossing_share=load.crossing_share,
            chance=Random(load.seed),  # noqa: S311
        )
        self._stencil = Stencil(load.currency_code)
        # Seeded from the machine: ids must be new in every run, payments need not be.
        self._chance = Random(SystemRandom().getrandbits(128))  # noqa: S311
        self._client: Client | None = None

    async def connect(self) -> None:
        """Connect, and see that the token is good. Raises grpc.aio.AioRpcError."""
        self._client = Client(self._load.access)
        number = self._load.accounts_by_shard[0][0]
        request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
        await self._client.call(self._client.stub.GetBalance, request)

    async def run(self, begin: float) -> None:
        """Call from `begin` (of the monotonic clock) until the measured seconds are over and all is answered."""
        assert self._client is not None
        await asyncio.sleep(begin - time.monotonic())
        first = begin + self._load.warm_up_seconds
        async with self._client, asyncio.TaskGroup() as tasks:
            for _ in range(self._load.in_flight):
                tasks.create_task(self._caller(self._client, first, first + self._load.seconds))

    async def _caller(self, client: Client, first: float, end: float) -> None:
        measured, single = self.measured, self._load.transfers_per_call == 1
        while time.monotonic() < end:
            transfers = self._next()
            request = self._stencil.write(transfers)
            began = time.monotonic()
            outcomes = await (client.post_one(request) if single else client.post_many(request, len(transfers)))
            ended = time.monotonic()
            counts = Counter(outcomes)
            measured.outcomes += counts
            posted = sum(count for outcome, count in counts.items() if outcome.kind == POSTED)
            if posted == len(transfers):
                identifier, account, _, _ = self._chance.choice(transfers)
                measured.keep(account, identifier, self._chance)
            if first <= ended <= end:
                measured.posted += posted
                measured.latencies.record_value(round((ended - began) * 1e6))

    def _next(self) -> list[tuple[str, str, str, int]]:
        milliseconds, bits = time.time_ns() // 1_000_000, self._chance.getrandbits
        return [
            (transfer_id(milliseconds, bits(ID_CHANCE_BITS)), debit, credit, amount_minor)
            for debit, credit, amount_minor in self._workload.draw(self._load.transfers_per_call)
        ]
