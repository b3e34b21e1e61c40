"""Closed-loop load: callers in processes of their own, each sending its next call when the last is answered.

A figure counts what was answered within the measured seconds, after a warm-up; nothing that ends
before or after. What became of transfers is counted over the whole run, warm-up included, and every
one is in the journal. A closed loop shows what the bank can do, not what customers wait when more
comes in than it can do: that is `open_loop/`. Never here: whom to pay (`workload.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random, SystemRandom
from typing import Any

from hdrh.histogram import HdrHistogram
from hivecore.gateway.v1 import bank_pb2

from loadtest.client import POSTED, Access, Client, Outcome
from loadtest.crew import Crew
from loadtest.histograms import new_histogram, record
from loadtest.journal import Journal, Sent
from loadtest.lean_client import LeanClient
from loadtest.popularity import Popularity, uniform
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Hot, Workload, transfer_id


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
    popularity: Popularity = uniform
    hot: Hot | None = None
    bulk: bool = False
    """Whether even one transfer goes by PostTransfers."""


@dataclass(slots=True)
class Measured:
    """What one process, or all together, saw."""

    posted: int = 0
    """Transfers acknowledged as POSTED within the measured seconds."""
    latencies: HdrHistogram = field(default_factory=new_histogram)
    """Microseconds per call within the measured seconds, failed ones included."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of all transfers of the run."""
    journal: Journal = field(default_factory=Journal)
    """All transfers of the run."""

    def __getstate__(self) -> tuple[Any, ...]:
        """Encode the histogram, which cannot go to another process as it is."""
        return self.posted, self.latencies.encode(), self.outcomes, self.journal

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Decode what another process sent."""
        self.posted, latencies, self.outcomes, self.journal = state
        self.latencies = HdrHistogram.decode(latencies)

    def add(self, other: "Measured") -> None:
        """Count in what another process saw."""
        self.posted += other.posted
        self.latencies.add(other.latencies)
        self.outcomes += other.outcomes
        self.journal.add(other.journal)


def generate(load: Load, processes: int, at_edges: Callable[[], None] = lambda: None) -> Measured:
    """Send a load from several processes, its calls in flight spread over them; return what all saw.

    `at_edges` is called when the measured seconds begin and when they end. Raises CrewFailed.
    """
    processes = min(processes, load.in_flight)
    with Crew(Callers, [_part(load, number, processes) for number in range(processes)]) as crew:
        total = Measured()
        for seen in crew.run((load.warm_up_seconds, load.warm_up_seconds + load.seconds), at_edges):
            total.add(seen)
        return total


def _part(load: Load, number: int, processes: int) -> Load:
    calls = load.in_flight // processes + (number < load.in_flight % processes)
    return replace(load, in_flight=calls, seed=load.seed * processes + number)


class Callers:
    """The callers of one process."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._workload = Workload(
            load.accounts_by_shard,
            crossing_share=load.crossing_share,
            chance=Random(load.seed),  # noqa: S311
            popularity=load.popularity,
            hot=load.hot,
        )
        self._stencil = Stencil(load.currency_code)
        # Seeded from the machine: ids must be new in every run, payments need not be.
        self._chance = Random(SystemRandom().getrandbits(128))  # noqa: S311
        self._client: LeanClient | None = None
        self._measured = Measured()
        self._told: list[tuple[list[Sent], list[Outcome]]] = []
        """Every call of the run; sorted out when the clock has stopped."""

    async def connect(self) -> None:
        """Connect, and see that the token is good. Raises grpc.aio.AioRpcError."""
        number = next(accounts[0] for accounts in self._load.accounts_by_shard if accounts)
        request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
        async with Client(self._load.access) as client:
            await client.call(client.stub.GetBalance, request)
        self._client = LeanClient(self._load.access)

    async def run(self, begin: float) -> None:
        """Call from `begin` (of the monotonic clock) until the measured seconds are over and all is answered."""
        assert self._client is not None
        await asyncio.sleep(begin - time.monotonic())
        first = begin + self._load.warm_up_seconds
        async with self._client, asyncio.TaskGroup() as tasks:
            for _ in range(self._load.in_flight):
                tasks.create_task(self._caller(self._client, first, first + self._load.seconds))

    def seen(self) -> Measured:
        """Sort out what the callers were told."""
        measured = self._measured
        for sent, outcomes in self._told:
            measured.outcomes.update(outcomes)
            for transfer, outcome in zip(sent, outcomes, strict=True):
                measured.journal.told(transfer, outcome, partial(self._again, transfer))
        self._told.clear()
        return measured

    async def _caller(self, client: LeanClient, first: float, end: float) -> None:
        measured, single = self._measured, self._load.transfers_per_call == 1 and not self._load.bulk
        while time.monotonic() < end:
            transfers = self._next()
            request = self._stencil.write(transfers)
            began = time.monotonic()
            outcomes = await (client.post_one(request) if single else client.post_many(request, len(transfers)))
            ended = time.monotonic()
            self._told.append((transfers, outcomes))
            if first <= ended <= end:
                measured.posted += sum(outcome.kind == POSTED for outcome in outcomes)
                record(measured.latencies, ended - began)

    def _again(self, transfer: Sent) -> tuple[str, bytes]:
        return "PostTransfer", self._stencil.write([transfer])

    def _next(self) -> list[Sent]:
        milliseconds, bits = time.time_ns() // 1_000_000, self._chance.getrandbits
        return [
            (transfer_id(milliseconds, bits(ID_CHANCE_BITS)), debit, credit, amount_minor)
            for debit, credit, amount_minor in self._workload.draw(self._load.transfers_per_call)
        ]
