"""The charts of a bench run: one PNG, and one HTML page of the same with the table, that needs nothing else.

Drawn from the JSON document alone, so that an old run can be drawn again:

    python -m loadtest.bench.chart build/bench.json
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.bench.costs import PARTS

COLOURS: Final = {
    "gateway": "#4477aa",
    "ledger": "#228833",
    "account": "#aa3377",
    "postgres": "#ccbb44",
    "generator": "#bbbbbb",
}
INCHES_PER_ROW: Final = 0.28
STYLE: Final = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:75em;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
)
COLUMNS: Final = {
    "name": "row",
    "in_flight": "in flight",
    "transfers_per_s": "transfers/s",
    "ratio_to_pgbench": "x pgbench",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
    "wal_bytes_per_transfer": "WAL bytes",
    "table_bytes_per_transfer": "table bytes",
    "others_share": "others' share of the machine",
}


def write(document: Mapping[str, Any], beside: Path) -> tuple[Path, Path]:
    """Write the PNG and the HTML page beside the JSON file; give their paths."""
    figure = draw(document)
    picture, page = beside.with_suffix(".png"), beside.with_suffix(".html")
    figure.savefig(picture, dpi=110)
    vectors = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hivecore"}):
        figure.savefig(vectors, format="svg")
    svg = vectors.getvalue()
    page.write_text(_page(document, svg[svg.index("<svg") :]), encoding="utf-8")
    return picture, page


def draw(document: Mapping[str, Any]) -> Figure:
    """Draw rates, latencies, processor time and bytes, a row for each row."""
    rows = list(reversed(document["rows"]))
    figure = Figure(figsize=(16, 2 * (1.6 + INCHES_PER_ROW * len(rows))), layout="constrained")
    (rates, latencies), (processor, written) = figure.subplots(2, 2)
    names = [row["name"] for row in rows]
    rates.barh(names, [row["ratio_to_pgbench"] for row in rows], color=COLOURS["ledger"])
    rates.axvline(1.0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        rates.text(row["ratio_to_pgbench"], place, f" {row['transfers_per_s']:,.0f}/s", va="center", fontsize=8)
    _label(rates, "transfers per second, times pgbench", is_log=True)
    for key, mark, name in (("p50_ms", "|", "p50"), ("p99_ms", "o", "p99"), ("p999_ms", "x", "p99.9")):
        latencies.plot([row[key] for row in rows], names, mark, label=name, markersize=7)
    latencies.legend()
    _label(latencies, "latency of a call, ms", is_log=True)
    measured = [row for row in rows if row["shards"]]
    _stack(processor, measured)
    _label(processor, "processor time per transfer, us of a core", is_log=False)
    names = [row["name"] for row in measured]
    written.barh(names, [row["table_bytes_per_transfer"] for row in measured], color="#4477aa", label="tables, indexes")
    written.barh(
        names,
        [row["wal_bytes_per_transfer"] for row in measured],
        left=[row["table_bytes_per_transfer"] for row in measured],
        color="#ee8866",
        label="log",
    )
    written.legend()
    _label(written, "bytes written per transfer", is_log=False)
    figure.suptitle(_title(document))
    return figure


def _stack(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the parts of each row's processor time beside each other; single calls, dearer by far, are cut off."""
    names, left = [row["name"] for row in rows], [0.0] * len(rows)
    for part in PARTS:
        us = [row["processor_us_per_transfer"].get(part, 0.0) for row in rows]
        axes.barh(names, us, left=left, color=COLOURS[part], label=part)
        left = [before + more for before, more in zip(left, us, strict=True)]
    bulk = [total for total, row in zip(left, rows, strict=True) if row["transfers_per_call"] > 1]
    if bulk:
        axes.set_xlim(0, 1.3 * max(bulk))
    for place, total in enumerate(left):
        axes.text(min(total, axes.get_xlim()[1] * 0.93), place, f" {total:,.0f}", va="center", fontsize=8)
    axes.legend(loc="lower right")


def _label(axes: Axes, title: str, *, is_log: bool) -> None:
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    if is_log:
        axes.set_xscale("log")


def _title(document: Mapping[str, Any]) -> str:
    conditions = document["conditions"]
    return (
        f"Hivecore {conditions['packages']['hivecore']}, {conditions['began']}: {conditions['cores']} cores, "
        f"{conditions['processor']}, PostgreSQL {conditions['postgresql']['server_version']}, "
        f"fsync {conditions['postgresql']['fsync']}, audit {document['audit']}"
    )


def _page(document: Mapping[str, Any], svg: str) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in COLUMNS.values())
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(row[key]))}</td>" for key in COLUMNS) + "</tr>" for row in document["rows"]
    )
    goals = "".join(
        f"<tr><td>{escape(goal['figure'])}</td><td>{goal['floor']:g}</td><td>{goal['aim']:g}</td>"
        f"<td>{_cell(goal['value'])}</td><td>{escape(goal['unit'])}</td><td>{escape(goal['verdict'])}</td></tr>"
        for goal in document["goals"]
    )
    conditions = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in document["conditions"].items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Hivecore benchmark</title><style>{STYLE}</style>"
        f"<h1>Hivecore benchmark</h1><p>{escape(_title(document))}</p>{svg}"
        f"<h2>Rows</h2><table><tr>{head}</tr>{body}</table>"
        f"<h2>What to reach</h2><table><tr><th>figure<th>at least<th>aim<th>this run<th>unit<th></tr>{goals}</table>"
        f"<h2>Conditions</h2><table>{conditions}</table></html>\n"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    for text in sys.argv[1:]:
        for written in write(json.loads(Path(text).read_text()), Path(text)):
            print(written)  # noqa: T201
