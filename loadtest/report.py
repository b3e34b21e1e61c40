"""What a benchmark says at its end: one table for people, one JSON file for machines.

Never here: measuring, and deciding whether there may be a figure at all (`baseline.py`).
"""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from hdrh.histogram import HdrHistogram
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import processor
from loadtest.client import KINDS, POSTED, Outcome

PACKAGES: Final = ("hivecore", "grpcio", "protobuf", "asyncpg", "uvloop")
TITLES: Final = (
    *("in\nflight", "transfers\nper s", "times\npgbench", "p50\nms", "p99\nms", "p99.9\nms"),
    *("refused,\nreturned", "in\ntransit", "\nerrors", "\nunknown"),
)
OTHERS_SHARE_MAX: Final = 0.1
"""When others use more than this of the machine, the report says so."""

GAP: Final = (0, 0, 0, 1)
"""Between the columns of a table."""

PARTS: Final = ("gateway", "ledger", "account", "postgres", "generator")


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure."""

    name: str
    transfers_per_s: float
    """Of pgbench: transactions."""
    latencies: HdrHistogram
    """Microseconds per call or transaction."""
    in_flight: int
    """Calls, or clients of pgbench, at the same time."""
    transfers_per_call: int = 1
    crossing_share: float = 0.0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of all transfers sent, warm-up included."""
    processor_us: Mapping[str, float] = field(default_factory=dict)
    """Processor time per transfer by part."""
    others_share: float = 0.0
    """Share of the machine's processors that was used by neither the bank nor its load, 0 to 1."""

    def counts(self) -> dict[str, int]:
        """Count the transfers sent by kind of outcome."""
        counts = dict.fromkeys(KINDS, 0)
        for outcome, count in self.outcomes.items():
            counts[outcome.kind] += count
        return counts

    def reasons(self) -> dict[str, int]:
        """Count what was not posted by kind and reason."""
        return {
            f"{outcome.kind}:{outcome.reason}": count
            for outcome, count in sorted(self.outcomes.items())
            if outcome.kind != POSTED
        }

    def latency_ms(self, percentile: float) -> float:
        """Give a percentile of the latencies in milliseconds."""
        microseconds: float = self.latencies.get_value_at_percentile(percentile)
        return round(microseconds / 1000, 3)


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run of the benchmark found."""

    rows: Sequence[Row]
    pgbench_per_s: float
    """What ratios are made to."""
    conditions: Mapping[str, Any]
    acknowledged_checked: int
    """Acknowledged transfers that were asked for by id afterwards, and found."""

    def to_json(self) -> dict[str, Any]:
        """Give the content of the JSON file. There is a report only when the audit was clean."""
        return {
            "audit": "clean",
            "acknowledged_checked": self.acknowledged_checked,
            "conditions": dict(self.conditions),
            "rows": [self._row_json(row) for row in self.rows],
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        return {
            "name": row.name,
            "transfers_per_s": round(row.transfers_per_s, 1),
            "ratio_to_pgbench": round(row.transfers_per_s / self.pgbench_per_s, 3),
            "p50_ms": row.latency_ms(50),
            "p99_ms": row.latency_ms(99),
            "p999_ms": row.latency_ms(99.9),
            "in_flight": row.in_flight,
            "transfers_per_call": row.transfers_per_call,
            "crossing_share": row.crossing_share,
            "outcomes": row.counts(),
            "reasons": row.reasons(),
            "others_share": round(row.others_share, 3),
            "processor_us_per_transfer": {part: round(us, 1) for part, us in row.processor_us.items()},
        }

    def write(self, file: Path) -> None:
        """Write the JSON file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.to_json(), indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print the table, what it must be read with, and what was not posted."""
        table = Table(box=box.SIMPLE, pad_edge=False, padding=GAP)
        table.add_column("", no_wrap=True)
        for title in TITLES:
            table.add_column(title, justify="right", no_wrap=True)
        for row in self.rows:
            counts = row.counts()
            table.add_row(
                row.name,
                str(row.in_flight),
                f"{row.transfers_per_s:,.0f}",
                f"{row.transfers_per_s / self.pgbench_per_s:.2f}",
                *(f"{row.latency_ms(percentile):.2f}" for percentile in (50, 99, 99.9)),
                *(f"{counts['refused'] + counts['returned']:,}", f"{counts['in_transit']:,}"),
                *(f"{counts['error']:,}", f"{counts['unknown']:,}"),
            )
        console.print(table)
        self._show_processor_time(console)
        for row in self.rows:
            if row.others_share > OTHERS_SHARE_MAX:
                share = f"{row.others_share:.0%}"
                console.print(
                    f"{row.name}: not a quiet machine, others used {share} of its processors", highlight=False
                )
            for reason, count in row.reasons().items():
                console.print(f"{row.name}: {count:,} {reason}", highlight=False)
        for name, value in self.conditions.items():
            text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
            console.print(f"{name}: {text}", highlight=False, soft_wrap=True)
        console.print(
            f"audit: clean; {self.acknowledged_checked:,} acknowledged transfers asked for by id, all found",
            highlight=False,
        )

    def _show_processor_time(self, console: Console) -> None:
        measured = [row for row in self.rows if row.processor_us]
        if not measured:
            return
        table = Table(box=box.SIMPLE, pad_edge=False, padding=GAP)
        table.add_column("processor us per transfer", no_wrap=True)
        for part in (*PARTS, "all"):
            table.add_column(part, justify="right", no_wrap=True)
        for row in measured:
            each = [f"{row.processor_us[part]:,.1f}" if part in row.processor_us else "" for part in PARTS]
            table.add_row(row.name, *each, f"{sum(row.processor_us.values()):,.1f}")
        console.print(table)


def machine() -> dict[str, Any]:
    """Describe the machine and the Python, for the conditions of a figure."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": processor.model() or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }
