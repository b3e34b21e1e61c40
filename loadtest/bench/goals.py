"""What was to be reached, and whether a run did: floors and aims, judged from the rows of its JSON file.

Pure. A figure that a run did not measure is said to be so, never guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import truediv
from statistics import median
from typing import Any, Final

Rows = Mapping[str, Mapping[str, Any]]

AIM: Final = "aim reached"
FLOOR: Final = "floor reached"
MISSED: Final = "MISSED"
NOT_MEASURED: Final = "not measured"

BATCH_SLACK: Final = 0.05
"""Share by which a batch may seem slower than single calls: what runs of the same, side by side, differ by."""
IN_FLIGHT: Final = (1, 16, 64, 256)
MEMORY_ACCOUNTS_MIN: Final = 200_000
"""With fewer, what does not grow with accounts (100,000 remembered ids per shard, buffers) would count as theirs."""
EVEN_TRANSFERS_MIN: Final = 500_000
"""With fewer, it would be chance how many pages have just been split."""
BANK_PARTS: Final = ("gateway", "ledger", "account", "postgres")


class NotMeasured(Exception):
    """The run has no such row or figure."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure to reach."""

    figure: str
    unit: str
    floor: float
    aim: float
    """Below the floor when less is better."""
    measure: Callable[[Rows], float]

    def judge(self, rows: Rows) -> dict[str, Any]:
        """Judge a run."""
        told = {"figure": self.figure, "unit": self.unit, "floor": self.floor, "aim": self.aim}
        try:
            value = self.measure(rows)
        except (NotMeasured, ZeroDivisionError):
            return told | {"value": None, "verdict": NOT_MEASURED}
        sign = 1 if self.aim >= self.floor else -1
        reached_aim, reached_floor = sign * value >= sign * self.aim, sign * value >= sign * self.floor
        verdict = AIM if reached_aim else FLOOR if reached_floor else MISSED
        return told | {"value": round(value, 3), "verdict": verdict}


def _row(rows: Rows, name: str) -> Mapping[str, Any]:
    if name not in rows:
        raise NotMeasured(name)
    return rows[name]


def _value(name: str, key: str) -> Callable[[Rows], float]:
    def measure(rows: Rows) -> float:
        value: float = _row(rows, name)[key]
        return value

    return measure


def _ratio(above: Callable[[Rows], float], below: Callable[[Rows], float]) -> Callable[[Rows], float]:
    return lambda rows: above(rows) / below(rows)


def _side_by_side(above: str, below: str) -> Callable[[Rows], float]:
    """Compare rows that were run in turns: the middle one of the ratios of runs right after each other.

    The best run of one may be minutes from the best of the other, and machines differ by more from minute to minute.
    """

    def measure(rows: Rows) -> float:
        ratio: float = median(map(truediv, _row(rows, above)["runs_per_s"], _row(rows, below)["runs_per_s"]))
        return ratio

    return measure


def _ledger_memory(rows: Rows) -> float:
    row = _row(rows, "calls_1000_local")
    if "ledger" not in row["memory_mb"] or int(row["accounts"]) < MEMORY_ACCOUNTS_MIN:
        raise NotMeasured("memory")
    growth = float(row["memory_mb"]["ledger"]) - float(row["ledger_mb_at_start"])
    return growth / int(row["accounts"]) * 100_000


def _table_bytes(rows: Rows) -> float:
    row = _row(rows, "calls_1000_local")
    if int(row["even_transfers"]) < EVEN_TRANSFERS_MIN:
        raise NotMeasured("table bytes")
    return float(row["table_bytes_per_even_transfer"])


def _cost_of_many_accounts(rows: Rows) -> float:
    """Compare the time of a transfer and its processor time; the worse of both counts."""
    many, few = _row(rows, "calls_1000_accounts_many"), _row(rows, "calls_1000_accounts_few")
    slower: float = few["transfers_per_s"] / many["transfers_per_s"]
    return max(slower, _processor_us(many) / _processor_us(few))


def _processor_us(row: Mapping[str, Any]) -> float:
    return sum(float(us) for part, us in row["processor_us_per_transfer"].items() if part in BANK_PARTS)


def _batch_to_single(rows: Rows) -> float:
    """Give the smallest ratio, over all numbers of transfers in flight, of one call of them to single calls."""
    return min(_side_by_side(f"call_of_{count}", f"single_{count}")(rows) for count in IN_FLIGHT)


LOCAL: Final = _value("calls_1000_local", "ratio_to_pgbench")
GOALS: Final = (
    Goal("calls of 1,000, local, against best pgbench", "times", 5.0, 10.0, LOCAL),
    Goal(
        "calls of 1,000, all crossings, against best pgbench",
        *("times", 2.0, 4.0),
        _value("calls_1000_crossing_100", "ratio_to_pgbench"),
    ),
    Goal(
        "single calls, 64 in flight, against best pgbench", "times", 0.6, 1.0, _value("single_64", "ratio_to_pgbench")
    ),
    Goal(
        "single call alone, p50, against pgbench at one client",
        *("times", 4.0, 2.5),
        _ratio(_value("single_1", "p50_ms"), _value("pgbench_1", "p50_ms")),
    ),
    Goal(
        "one hot account, calls of 1,000, against uniform",
        *("times", 0.9, 1.2),
        _side_by_side("hot_account", "calls_1000_local"),
    ),
    Goal("single calls at half the peak, open loop, p99", "ms", 30.0, 10.0, _value("open_loop_half_peak", "p99_ms")),
    Goal(
        "table and index bytes per transfer of two accounts",
        *("bytes", 450.0, 300.0),
        _table_bytes,
    ),
    Goal("ledger memory per 100,000 touched accounts", "MB", 100.0, 40.0, _ledger_memory),
    Goal("cost with many accounts against few, same work", "times", 1.5, 1.1, _cost_of_many_accounts),
    Goal("batch against single calls, least over 1 to 256 in flight", "times", 1 - BATCH_SLACK, 1.0, _batch_to_single),
)


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Judge the rows of a run against every goal."""
    by_name = {row["name"]: row for row in rows}
    return [goal.judge(by_name) for goal in GOALS]
