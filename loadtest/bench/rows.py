"""One row of the benchmark's table, and how it stands in the JSON file.

Never here: whether a row may be shown (`__main__.py`).
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from hdrh.histogram import HdrHistogram

from loadtest.bench.costs import Costs
from loadtest.client import KINDS, POSTED, Outcome
from loadtest.histograms import percentile_ms

MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure."""

    name: str
    transfers_per_s: float
    """Of pgbench: transactions."""
    latencies: HdrHistogram
    """Microseconds per call or transaction; of an open loop from when the call was due."""
    in_flight: int
    """Calls, or clients of pgbench, at the same time; of an open loop the most that there were."""
    costs: Costs
    runs_per_s: tuple[float, ...] = ()
    """The rate of each run; the other figures are the best one's, but for the outcomes."""
    runs_p99_ms: tuple[float, ...] = ()
    """Of an open loop: each run's."""
    shards: int = 0
    """0 for pgbench."""
    accounts: int = 0
    transfers_per_call: int = 1
    is_bulk: bool = False
    """Whether transfers went by PostTransfers."""
    crossing_share: float = 0.0
    popularity: str = ""
    offered_per_s: float = 0.0
    """Of an open loop: what came in; 0 for a closed one."""
    dropped: int = 0
    """Of an open loop: calls that were due and not sent, since too many were unanswered."""
    generator_late_p99_ms: float = 0.0
    """Of an open loop: how late the generator was itself, which is part of the latencies."""
    waited_seconds: float = 0.0
    """Of a steady open loop: how long the bank was left to seal and to clean before it."""
    unsealed_at_start: int = 0
    """Of an open loop: sequences that were not sealed when it began."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of all transfers sent in all runs, warm-up included."""

    @property
    def p99_ms(self) -> float:
        """Give the 99th percentile of the latencies."""
        return percentile_ms(self.latencies, 99)

    def joined(self, run: Self) -> Self:
        """Give the better one of this and another run of the row, with the rates, p99 and outcomes of all.

        What an open loop is offered is given, so of two the one with the quicker slow calls is better; else the higher rate.
        """
        is_given = self.offered_per_s > 0
        is_better = run.p99_ms < self.p99_ms if is_given else run.transfers_per_s > self.transfers_per_s
        return replace(
            run if is_better else self,
            runs_per_s=(*self.runs_per_s, *run.runs_per_s),
            runs_p99_ms=(*self.runs_p99_ms, *run.runs_p99_ms),
            outcomes=self.outcomes + run.outcomes,
        )

    def counts(self) -> dict[str, int]:
        """Count the transfers sent by kind of outcome."""
        counts = dict.fromkeys(KINDS, 0)
        for outcome, count in self.outcomes.items():
            counts[outcome.kind] += count
        return counts

    def to_json(self, pgbench_per_s: float) -> dict[str, Any]:
        """Give the row of the JSON file, with the ratio to what pgbench did."""
        costs = self.costs
        return {
            "name": self.name,
            "transfers_per_s": round(self.transfers_per_s, 1),
            "ratio_to_pgbench": round(self.transfers_per_s / pgbench_per_s, 3),
            "p50_ms": percentile_ms(self.latencies, 50),
            "p99_ms": self.p99_ms,
            "p999_ms": percentile_ms(self.latencies, 99.9),
            "in_flight": self.in_flight,
            "transfers_per_call": self.transfers_per_call,
            "crossing_share": self.crossing_share,
            "popularity": self.popularity,
            "shards": self.shards,
            "accounts": self.accounts,
            "offered_per_s": round(self.offered_per_s, 1),
            "dropped": self.dropped,
            "generator_late_p99_ms": self.generator_late_p99_ms,
            "waited_seconds": round(self.waited_seconds, 1),
            "unsealed_at_start": self.unsealed_at_start,
            "processor_us_per_transfer": {part: round(us, 2) for part, us in costs.processor_us.items()},
            "wal_bytes_per_transfer": round(costs.wal_bytes, 1),
            "table_bytes_per_transfer": round(costs.table_bytes, 1),
            "memory_mb": {part: round(held / MB, 1) for part, held in costs.memory_bytes.items()},
            "outcomes": self.counts(),
            "reasons": {
                f"{outcome.kind}:{outcome.reason}": count
                for outcome, count in sorted(self.outcomes.items())
                if outcome.kind != POSTED
            },
            "others_share": round(costs.others_share, 3),
            "pgbench_per_s": round(pgbench_per_s, 1),
            "runs_per_s": [round(rate, 1) for rate in self.runs_per_s],
            "runs_p99_ms": list(self.runs_p99_ms),
        }
