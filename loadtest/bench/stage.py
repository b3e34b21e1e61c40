"""Measures the rows of one stage in one bank, and proves that bank sound before they count.

Never here: what to measure (`scenarios.py`), and whether a figure is shown (`__main__.py`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from loadtest import accounts, closed_loop, popularity
from loadtest.bank import OpenBank
from loadtest.bench import pgbench
from loadtest.bench.costs import Costs, Edge, Growth, edge
from loadtest.bench.rows import Row
from loadtest.bench.scenarios import UNIFORM, Accounts, OpenLoop, Pgbench, Scenario, Sizes, Step, Together
from loadtest.client import Access
from loadtest.closed_loop import Load, Measured
from loadtest.histograms import percentile_ms
from loadtest.journal import Journal
from loadtest.mix import MIXES
from loadtest.open_loop import callers as open_loop
from loadtest.open_loop.callers import OpenLoad
from loadtest.postgres import Server
from loadtest.proof import Proved, require_sound

CURRENCY: Final = "CZK"
REST_POLL_SECONDS: Final = 0.5
DRIFT_SHARE_MAX: Final = 0.15
"""How far pgbench's figures may lie apart before the report says so."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    sizes: Sizes
    generators: int
    """Client processes."""
    seed: int
    say: Callable[[str], None]
    """Hears how far it is; never a figure."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one stage found; only of a bank that was proved sound."""

    rows: list[Row]
    proved: Proved
    pgbench_per_s: tuple[float, ...]
    """What pgbench did each time with the same number of clients."""
    pgbench_clients: int
    """The best number of them."""
    ledger_bytes_at_start: int
    growth: Growth
    postgresql: dict[str, str]


@dataclass(slots=True)
class Measuring:
    """One bank, and what was measured in it so far."""

    settings: Settings
    bank: OpenBank
    server: Server
    access: Access
    stack: ExitStack
    """Closed when all is measured."""
    accounts_by_shard: list[list[str]] = field(default_factory=list)
    journal: Journal = field(default_factory=Journal)
    rows: dict[str, Row] = field(default_factory=dict)
    """The better run of each."""
    growth: Growth = field(default_factory=Growth)
    """Of all runs of even rows."""
    pgbench_dsn: str = ""
    pgbench_clients: int = 0
    pgbench_per_s: list[float] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Do one step."""
        match step:
            case Accounts(count):
                self._open_accounts(count)
            case Pgbench():
                self._pgbench()
            case Scenario():
                for calls in self._alternatives(step):
                    self.server.checkpoint()
                    self._keep(self._scenario(step, calls))
            case Together(scenarios):
                for alternative in zip(*map(self._alternatives, scenarios), strict=True):
                    self.server.checkpoint()
                    for scenario, calls in zip(scenarios, alternative, strict=True):
                        self._keep(self._scenario(scenario, calls))
            case OpenLoop():
                self._keep(self._open_loop(step, self._rest() if step.is_steady else 0.0))

    def found(self, ledger_bytes_at_start: int) -> Found:
        """Prove the bank sound and give the rows. Raises NotSound."""
        self.settings.say("proving the books: audit, ids, balances")
        proved = require_sound(self.bank, self.server, self.access, self.journal, self.accounts_by_shard)
        return Found(
            list(self.rows.values()),
            proved,
            tuple(self.pgbench_per_s),
            self.pgbench_clients,
            ledger_bytes_at_start,
            self.growth,
            self.server.settings(),
        )

    def _keep(self, row: Row) -> None:
        """Keep a run when it is the best of its row so far; the rates and outcomes of all."""
        before = self.rows.get(row.name)
        self.rows[row.name] = row if before is None else before.joined(row)

    def _alternatives(self, scenario: Scenario) -> tuple[int, ...]:
        """Give the numbers of calls in flight to be tried: all at first, then the best."""
        before = self.rows.get(scenario.name)
        return scenario.in_flight if before is None else (before.in_flight,)

    def _open_accounts(self, count: int) -> None:
        have = sum(map(len, self.accounts_by_shard))
        self.settings.say(f"opening and funding {count - have:,} accounts")
        numbers = asyncio.run(accounts.open_accounts(self.access, count - have, CURRENCY))
        opened = asyncio.run(accounts.by_shard(self.bank.account, numbers))
        before = self.accounts_by_shard or [[] for _ in opened]
        self.accounts_by_shard = [old + new for old, new in zip(before, opened, strict=True)]
        self.server.settle()

    def _pgbench(self) -> None:
        sizes = self.settings.sizes
        if not self.pgbench_dsn:
            self.settings.say(f"filling pgbench at scale {sizes.pgbench_scale}")
            self.pgbench_dsn = self.stack.enter_context(pgbench.database(self.server, sizes.pgbench_scale))
            runs = []
            for clients in sizes.pgbench_clients:
                self.server.checkpoint()
                runs.append(self._run_pgbench("pgbench_best", clients))
            best = max(runs, key=lambda row: row.transfers_per_s)
            self.pgbench_clients = best.in_flight
            alone = self._run_pgbench("pgbench_1", 1)
        else:
            both = [("pgbench_best", self.pgbench_clients), ("pgbench_1", 1)]
            self.server.checkpoint()
            # Turned round every second time, like `Together`.
            ran = {name: self._run_pgbench(name, count) for name, count in both[:: (-1) ** len(self.pgbench_per_s)]}
            best, alone = ran["pgbench_best"], ran["pgbench_1"]
        self.pgbench_per_s.append(best.transfers_per_s)
        self._keep(best)
        self._keep(alone)

    def _run_pgbench(self, name: str, clients: int) -> Row:
        seconds = max(1, round(self.settings.sizes.seconds))
        self.settings.say(f"{name}: {clients} clients")
        # pgbench counts what it does in its first second, too: it gets a warm-up that does not count.
        pgbench.run(self.server, self.pgbench_dsn, clients, max(1, round(self.settings.sizes.warm_up_seconds)))
        begin = edge(self.bank, self.server)
        result = pgbench.run(self.server, self.pgbench_dsn, clients, seconds)
        costs = Costs.between(begin, edge(self.bank, self.server), result.transactions_per_s * seconds)
        # This process also read pgbench's logs, so its own time tells nothing.
        processor_us = {part: us for part, us in costs.processor_us.items() if part == "postgres"}
        costs = replace(costs, processor_us=processor_us, table_bytes=0.0, memory_bytes={})
        rate = result.transactions_per_s
        return Row(name, rate, result.latencies, clients, costs, runs_per_s=(rate,))

    def _scenario(self, scenario: Scenario, calls: int) -> Row:
        sizes = self.settings.sizes
        load = Load(
            access=self.access,
            accounts_by_shard=self.accounts_by_shard,
            currency_code=CURRENCY,
            crossing_share=scenario.crossing_share,
            transfers_per_call=scenario.transfers_per_call,
            in_flight=calls,
            warm_up_seconds=sizes.warm_up_seconds,
            seconds=sizes.seconds,
            seed=self.settings.seed,
            popularity=popularity.named(scenario.popularity),
            hot=scenario.hot,
            bulk=scenario.bulk,
        )
        self.settings.say(f"{scenario.name}: {calls} in flight")
        edges: list[Edge] = []
        bytes_before = self.server.table_bytes()
        measured: Measured = closed_loop.generate(
            load, self.settings.generators, lambda: edges.append(edge(self.bank, self.server))
        )
        self.journal.add(measured.journal)
        if scenario.is_even:
            self.growth.add(measured.journal.acknowledged_count, self.server.table_bytes() - bytes_before)
        return Row(
            scenario.name,
            measured.posted / sizes.seconds,
            measured.latencies,
            calls,
            Costs.between(edges[0], edges[1], measured.posted),
            runs_per_s=(measured.posted / sizes.seconds,),
            transfers_per_call=scenario.transfers_per_call,
            crossing_share=scenario.crossing_share,
            is_bulk=scenario.bulk or scenario.transfers_per_call > 1,
            popularity="hot" if scenario.hot else scenario.popularity,
            outcomes=measured.outcomes,
            **self._books(),
        )

    def _rest(self) -> float:
        """Let the bank do what is left of earlier rows, for so long at most; tell how many seconds it took."""
        began, longest = time.monotonic(), self.settings.sizes.rest_seconds_max
        self.settings.say(f"cleaning, then waiting up to {longest:g} s until all is sealed")
        self.server.settle()
        while self.server.unsealed() and time.monotonic() < began + longest:
            time.sleep(REST_POLL_SECONDS)
        return time.monotonic() - began

    def _open_loop(self, step: OpenLoop, waited_seconds: float) -> Row:
        sizes = self.settings.sizes
        seconds, warm_up = (sizes.steady_seconds,) * 2 if step.is_steady else (sizes.seconds, sizes.warm_up_seconds)
        peak = max((row.transfers_per_s for row in self.rows.values() if row.shards and not row.is_bulk), default=0.0)
        load = OpenLoad(
            access=self.access,
            accounts_by_shard=self.accounts_by_shard,
            currency_code=CURRENCY,
            mix=MIXES["transfers"],
            per_second=max(1.0, peak * step.share_of_peak),
            seconds=seconds,
            warm_up_seconds=warm_up,
            seed=self.settings.seed,
        )
        self.settings.say(f"{step.name}: what comes in is {step.share_of_peak:.0%} of the highest rate of single calls")
        edges: list[Edge] = []
        unsealed, bytes_before = self.server.unsealed(), self.server.table_bytes()
        self.server.checkpoint()
        seen = open_loop.generate(load, self.settings.generators, lambda: edges.append(edge(self.bank, self.server)))
        self.journal.add(seen.journal)
        self.growth.add(seen.journal.acknowledged_count, self.server.table_bytes() - bytes_before)
        latencies = seen.all_latencies()
        return Row(
            step.name,
            seen.posted / seconds,
            latencies,
            seen.in_flight_max,
            Costs.between(edges[0], edges[1], seen.posted),
            runs_per_s=(seen.posted / seconds,),
            runs_p99_ms=(percentile_ms(latencies, 99),),
            popularity=UNIFORM,
            offered_per_s=seen.due / seconds,
            dropped=seen.dropped,
            generator_late_p99_ms=percentile_ms(seen.late, 99),
            waited_seconds=waited_seconds,
            unsealed_at_start=unsealed,
            outcomes=Counter({outcome: count for (_, outcome), count in seen.outcomes.items()}),
            **self._books(),
        )

    def _books(self) -> dict[str, Any]:
        return {"shards": self.bank.shards, "accounts": sum(map(len, self.accounts_by_shard))}


@contextmanager
def measuring(settings: Settings, open_bank: OpenBank, server: Server, access: Access) -> Iterator[Measuring]:
    """Measure in an open bank; databases that it needed are dropped at the end."""
    with ExitStack() as stack:
        yield Measuring(settings, open_bank, server, access, stack)


def carry_out(steps: Sequence[Step], settings: Settings, open_bank: OpenBank, server: Server, access: Access) -> Found:
    """Take all steps of a stage in a bank that has just been opened, and prove it sound.

    Raises NotSound, and what the generators, PostgreSQL and the bank raise.
    """
    at_start = edge(open_bank, server).memory_bytes.get("ledger", 0)
    with measuring(settings, open_bank, server, access) as stage:
        for step in steps:
            stage.take(step)
        return stage.found(at_start)
