"""What callers noticed while one shard had no ledger: figures from their attempts, a table, a JSON file.

Never here: making the outage (`outage.py`), and whether there may be a figure at all.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.client import POSTED, UNKNOWN
from loadtest.insistence import Attempt, Insistent

HAD_BEEN_POSTED: Final = "already posted"
POSTED_BY_REPEATING: Final = "posted when sent again"
OTHERWISE: Final = "refused or returned"


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long calls took, in milliseconds; None where there were no calls."""

    calls: int
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float | None

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> "Latencies":
        """Look at attempts."""
        ordered = sorted(attempt.ended - attempt.began for attempt in attempts)
        if not ordered:
            return cls(0, None, None, None)

        def at(share: float) -> float:
            return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 1)

        return cls(len(ordered), at(0.5), at(0.99), at(1.0))

    def to_json(self) -> dict[str, Any]:
        """Give them as plain values."""
        return {"calls": self.calls, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms, "longest_ms": self.longest_ms}


@dataclass(frozen=True, slots=True)
class Outage:
    """One run: what was killed when, and all that the callers know."""

    standbys: int
    shard_id: int
    killed: str
    """Name of the process."""
    writer_after: str
    """Name of the process that writes the shard at the end."""
    killed_at: float
    transfers: Sequence[Insistent]
    booked_at: Mapping[str, float]
    """When the transfers that were once in doubt were booked, by id."""
    audited: Mapping[str, Any]
    """What `hivecore audit` said of books that it found sound."""

    def silence(self) -> tuple[float, float]:
        """Give the last answer of the shard before the outage and the first success after it.

        An answer may be on its way to its caller at the moment of the kill; so it is the longest
        silence that lasted beyond that moment.
        """
        answered = sorted(
            transfer.attempts[-1].ended for transfer in self.transfers if transfer.payer_shard == self.shard_id
        )
        silences = [(before, after) for before, after in pairwise(answered) if after > self.killed_at]
        return max(silences, key=lambda silence: silence[1] - silence[0])

    @property
    def away_seconds(self) -> float:
        """How long the shard answered nobody."""
        last, first = self.silence()
        return first - last

    def to_json(self) -> dict[str, Any]:
        """Give all figures."""
        _, first = self.silence()
        in_doubt = [transfer for transfer in self.transfers if transfer.was_in_doubt]
        return {
            "standbys": self.standbys,
            "killed": self.killed,
            "writer_after": self.writer_after,
            "away_seconds": round(self.away_seconds, 3),
            "away_after_kill_seconds": round(first - self.killed_at, 3),
            "transfers": len(self.transfers),
            "crossings": sum(transfer.payer_shard != transfer.payee_shard for transfer in self.transfers),
            "outcomes": dict(Counter(_name(transfer.outcome) for transfer in self.transfers)),
            "attempts": sum(len(transfer.attempts) for transfer in self.transfers),
            "retries": sum(len(transfer.attempts) - 1 for transfer in self.transfers),
            "retried_after": dict(
                Counter(
                    _name(attempt.outcome) for transfer in self.transfers for attempt in transfer.attempts[:-1]
                ).most_common()
            ),
            "unknown": len(in_doubt),
            "unknown_resolved": dict(Counter(map(self._resolution, in_doubt))),
            "longest_until_definite_seconds": round(
                max(transfer.attempts[-1].ended - transfer.attempts[0].began for transfer in self.transfers), 3
            ),
            "other_shards_before": Latencies.of(self._elsewhere(lambda call: call.ended < self.killed_at)).to_json(),
            "other_shards_meanwhile": Latencies.of(
                self._elsewhere(lambda call: self.killed_at <= call.began <= first)
            ).to_json(),
            "audit": {name: self.audited[name] for name in ("is_clean", "transfers", "crossings", "returns")},
        }

    def _resolution(self, transfer: Insistent) -> str:
        """Tell whether a transfer in doubt had been posted before its id was sent again."""
        if transfer.outcome.kind != POSTED:
            return OTHERWISE
        doubt = next(place for place, each in enumerate(transfer.attempts) if each.outcome.kind == UNKNOWN)
        had_been = self.booked_at[transfer.transfer_id] < transfer.attempts[doubt + 1].began
        return HAD_BEEN_POSTED if had_been else POSTED_BY_REPEATING

    def _elsewhere(self, counts: Callable[[Attempt], bool]) -> list[Attempt]:
        """List calls that the killed ledger has nothing to do with."""
        return [
            attempt
            for transfer in self.transfers
            if self.shard_id not in {transfer.payer_shard, transfer.payee_shard}
            for attempt in transfer.attempts
            if counts(attempt)
        ]


def write(outages: Sequence[Outage], conditions: Mapping[str, Any], file: Path) -> None:
    """Write the JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"conditions": dict(conditions), "runs": [outage.to_json() for outage in outages]}
    file.write_text(json.dumps(content, indent=2) + "\n")


def show(outages: Sequence[Outage], conditions: Mapping[str, Any], console: Console) -> None:
    """Print one table, a column for each run, and what it must be read with."""
    found = [outage.to_json() for outage in outages]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for run in found:
        standbys = run["standbys"]
        table.add_column(f"{standbys or 'no'} standby{'s' if standbys > 1 else ''}", justify="right")
    for title, figure in _LINES.items():
        table.add_row(title, *(figure(run) for run in found))
    console.print(table)
    for name, value in conditions.items():
        text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
        console.print(f"{name}: {text}", highlight=False, soft_wrap=True)


def _name(outcome: Any) -> str:
    return f"{outcome.kind} {outcome.reason}".strip()


def _counts(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _milliseconds(latencies: Mapping[str, Any]) -> str:
    if not latencies["calls"]:
        return "no calls"
    return f"p50 {latencies['p50_ms']:,}  p99 {latencies['p99_ms']:,}  longest {latencies['longest_ms']:,} ms"


_LINES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "killed": lambda run: str(run["killed"]),
    "the shard was away": lambda run: f"{run['away_seconds']:.2f} s",
    "its writer afterwards": lambda run: str(run["writer_after"]),
    "transfers": lambda run: f"{run['transfers']:,}",
    "of them crossings": lambda run: f"{run['crossings']:,}",
    "outcomes": lambda run: _counts(run["outcomes"]),
    "sent again": lambda run: f"{run['retries']:,}",
    "sent again after": lambda run: _counts(run["retried_after"]),
    "outcome once unknown": lambda run: f"{run['unknown']:,}",
    "which turned out": lambda run: _counts(run["unknown_resolved"]),
    "longest until definite": lambda run: f"{run['longest_until_definite_seconds']:.2f} s",
    "calls between other shards before": lambda run: _milliseconds(run["other_shards_before"]),
    "calls between other shards meanwhile": lambda run: _milliseconds(run["other_shards_meanwhile"]),
    "audit": lambda run: "clean" if run["audit"]["is_clean"] else "NOT clean",
}
