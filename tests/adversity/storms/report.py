"""What came of a storm: kept while it lasts, shown and written when it is over."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from storms.schedule import Kind, Strike

TWO = "two faults at once"


@dataclass(slots=True)
class Record:
    """All that is known about one storm."""

    seed: int
    left_out: dict[str, str]
    """Kinds of faults that this machine cannot do, and why."""
    faults: Counter[Kind] = field(default_factory=Counter)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from the end of a fault until every shard moved money again, by kind."""
    silences: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The longest time without a transfer that the worst shard had, from before a fault to after it, by kind."""
    story: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def struck(self, strike: Strike, recovery_seconds: float, silence_seconds: float) -> None:
        """Take down a strike that the bank has recovered from."""
        self.faults.update(fault.kind for fault in strike.faults)
        name = strike.faults[0].kind.value if len(strike.faults) == 1 else TWO
        self.recoveries[name].append(recovery_seconds)
        self.silences[name].append(silence_seconds)

    def show(self, console: Console) -> None:
        """Print the tables."""
        table = Table("fault", "times", "alone", title=f"storm {self.seed}")
        for heading in ("back after, median s", "worst s", "longest silence, median s", "worst s"):
            table.add_column(heading, justify="right")
        for name in (*(kind.value for kind in Kind), TWO):
            recoveries, silences = self.recoveries.get(name, []), self.silences.get(name, [])
            times = "-" if name in self.left_out else str(self.faults.get(Kind(name), 0)) if name != TWO else ""
            table.add_row(name, times, str(len(recoveries)), *_spread(recoveries), *_spread(silences))
        console.print(table)
        for kind, why in self.left_out.items():
            console.print(f"left out: {kind}: {why}", markup=False)
        for name, value in self.figures.items():
            console.print(f"{name.replace('_', ' ')}: {value}", markup=False)
        console.print(f"violations: {len(self.violations)}")
        for violation in self.violations:
            console.print(violation, markup=False)

    def write(self, file: Path) -> None:
        """Write all of it as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "seed": self.seed,
            "faults": {kind.value: count for kind, count in self.faults.items()},
            "left_out": self.left_out,
            "recovery_seconds": {name: _figures(each) for name, each in self.recoveries.items()},
            "longest_silence_seconds": {name: _figures(each) for name, each in self.silences.items()},
            **self.figures,
            "violations": self.violations,
            "story": self.story,
        }
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _figures(seconds: list[float]) -> dict[str, float]:
    return {"count": len(seconds), "median": round(median(seconds), 3), "max": round(max(seconds), 3)}


def _spread(seconds: list[float]) -> tuple[str, str]:
    return (f"{median(seconds):.2f}", f"{max(seconds):.2f}") if seconds else ("", "")
