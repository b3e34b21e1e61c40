"""What an open loop says at its end: a table for people, JSON for machines, a histogram log for HDR tools.

Never here: measuring, and deciding whether there may be figures (`__main__.py`).
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.client import KINDS, POSTED
from loadtest.histograms import percentile_ms
from loadtest.open_loop.record import INTERVAL_SECONDS, Seen

PERCENTILES: Final = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9, "max_ms": 100.0}
LATE_MS_MAX: Final = 10.0
"""When the generator itself sends this late (p99), its figures are about itself."""
US_PER_MS: Final = 1000.0


def to_json(
    seen: Seen, seconds: float, conditions: Mapping[str, Any], proved: str, *, is_audited: bool
) -> dict[str, Any]:
    """Give the content of the JSON file. There is one only when the books proved sound, as deep as they could be seen."""
    return {
        "audit": "clean" if is_audited else "not asked for",
        "proved": proved,
        "conditions": dict(conditions),
        "offered_per_s": round(seen.due / seconds, 1),
        "done_per_s": round(seen.done / seconds, 1),
        "transfers_per_s": round(seen.posted / seconds, 1),
        "due": seen.due,
        "done": seen.done,
        "dropped": seen.dropped,
        "in_flight_max": seen.in_flight_max,
        "generator_late_p99_ms": percentile_ms(seen.late, 99),
        "all": _percentiles(seen.all_latencies()),
        "from_sending": _percentiles(seen.service),
        "operations": {
            name: {"count": histogram.get_total_count(), **_percentiles(histogram)}
            for name, histogram in sorted(seen.latencies.items())
        },
        "outcomes": _counts(seen),
        "reasons": {
            f"{operation}:{outcome.kind}:{outcome.reason}": count
            for (operation, outcome), count in sorted(seen.outcomes.items())
            if outcome.kind != POSTED
        },
    }


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the table, and what it must be read with."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("latency from when due")
    for title in ("operations", *(key.replace("_ms", " ms").replace("p999", "p99.9") for key in PERCENTILES)):
        table.add_column(title, justify="right")
    for name, figures in document["operations"].items():
        table.add_row(name, f"{figures['count']:,}", *(f"{figures[key]:,.2f}" for key in PERCENTILES))
    if len(document["operations"]) > 1:
        total = sum(figures["count"] for figures in document["operations"].values())
        table.add_row("all", f"{total:,}", *(f"{document['all'][key]:,.2f}" for key in PERCENTILES))
    served = document["from_sending"]
    table.add_row("all, from when sent", "", *(f"{served[key]:,.2f}" for key in PERCENTILES))
    console.print(table)
    console.print(
        f"offered {document['offered_per_s']:,.0f} operations/s, done {document['done_per_s']:,.0f}/s, "
        f"{document['transfers_per_s']:,.0f} transfers/s; dropped {document['dropped']:,} of {document['due']:,}; "
        f"at most {document['in_flight_max']:,} in flight"
    )
    console.print(", ".join(f"{kind} {count:,}" for kind, count in document["outcomes"].items()))
    for reason, count in document["reasons"].items():
        console.print(f"{count:,} {reason}")
    if document["generator_late_p99_ms"] > LATE_MS_MAX:
        console.print(
            f"the generator itself was late: p99 {document['generator_late_p99_ms']:.1f} ms; give it more --processes, "
            "or a machine of its own"
        )
    for name, value in document["conditions"].items():
        text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
        console.print(f"{name}: {text}", soft_wrap=True)
    console.print(f"proved: {document['proved']}")


def write_histogram_log(seen: Seen, began: float, file: Path) -> None:
    """Write one line per second and operation, with the operation as tag, for HistogramLogAnalyzer and its like.

    Times in seconds from `began` (since 1970), values in microseconds, their maximum in milliseconds.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lines:
        writer = HistogramLogWriter(lines)
        writer.output_log_format_version()
        writer.output_comment(f"[StartTime: {began:.3f} (seconds since epoch)]")
        writer.output_base_time(began * 1000)
        writer.output_legend()
        for (second, operation), histogram in sorted(seen.intervals.items()):
            start = second * INTERVAL_SECONDS
            maximum = histogram.get_max_value() / US_PER_MS
            payload = histogram.encode().decode()
            lines.write(f"Tag={operation},{start:.3f},{INTERVAL_SECONDS:.3f},{maximum:.3f},{payload}\n")


def _percentiles(histogram: HdrHistogram) -> dict[str, float]:
    return {key: percentile_ms(histogram, percentile) for key, percentile in PERCENTILES.items()}


def _counts(seen: Seen) -> dict[str, int]:
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for (_, outcome), count in seen.outcomes.items():
        counts[outcome.kind] += count
    return dict(counts)
