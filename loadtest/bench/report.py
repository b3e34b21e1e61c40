"""What the benchmark says at its end: tables for people, one JSON file for machines.

Never here: measuring, and deciding whether there may be a figure at all (`__main__.py`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.bench import goals
from loadtest.bench.costs import PARTS
from loadtest.bench.stage import DRIFT_SHARE_MAX, Found

SCHEMA: Final = "hivecore-bench-1"
OTHERS_SHARE_MAX: Final = 0.1
"""When others use more than this of the machine, the report says so."""

GAP: Final = (0, 0, 0, 1)
"""Between the columns of a table."""
MB: Final = 1e6


def to_json(found: Sequence[Found], conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Give the content of the JSON file. There is one only when every stage was proved sound."""
    best = max(rate for stage in found for rate in stage.pgbench_per_s)
    rows = [
        row.to_json(best) | (_of_stage(stage) if row.shards else {})
        for number, stage in enumerate(found)
        for row in stage.rows
        # pgbench runs again in each stage's bank; under its own name only in the first.
        if number == 0 or row.shards
    ]
    return {
        "schema": SCHEMA,
        "audit": "clean",
        "proved": {
            "acknowledged_ids_found": sum(stage.proved.acknowledged for stage in found),
            "balances_as_in_the_journal": sum(stage.proved.accounts for stage in found),
            "undecided_asked_again": sum(stage.proved.asked_again for stage in found),
        },
        "conditions": {
            **conditions,
            "postgresql": found[0].postgresql,
            "ratios": "to the best run of pgbench in any of the banks; of a row that was run several times, the best counts",
            "pgbench_per_s": [[round(rate, 1) for rate in stage.pgbench_per_s] for stage in found],
        },
        "goals": goals.judge(rows),
        "rows": rows,
    }


def _of_stage(stage: Found) -> dict[str, Any]:
    """Give what is the same in all rows of a bank."""
    return {
        "ledger_mb_at_start": round(stage.ledger_bytes_at_start / MB, 1),
        "even_transfers": stage.growth.transfers,
        "table_bytes_per_even_transfer": round(stage.growth.bytes_per_transfer, 1),
    }


def write(document: Mapping[str, Any], file: Path) -> None:
    """Write the JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the tables, what they must be read with, and what was not posted."""
    rows = document["rows"]
    _show_rates(rows, console)
    _show_costs(rows, console)
    for shards, transfers, each in sorted(
        {(row["shards"], row["even_transfers"], row["table_bytes_per_even_transfer"]) for row in rows if row["shards"]}
    ):
        console.print(
            f"bank of {shards} shards: {each:,.0f} bytes of tables and indexes per transfer, of all {transfers:,} within a "
            "shard between accounts drawn evenly; the column above is of few, and swings with the pages that split"
        )
    _show_goals(document["goals"], console)
    for row in (row for row in rows if row["offered_per_s"]):
        if len(row["runs_p99_ms"]) > 1:
            console.print(f"{row['name']}: p99 of its runs {', '.join(f'{p99:.1f}' for p99 in row['runs_p99_ms'])} ms")
        console.print(
            f"{row['name']}: began after {row['waited_seconds']:,.0f} s of rest with {row['unsealed_at_start']:,} sequences to "
            f"seal; the generator itself was up to {row['generator_late_p99_ms']:.1f} ms late (p99)"
        )
    for row in rows:
        if row["others_share"] > OTHERS_SHARE_MAX:
            share = f"{row['others_share']:.0%}"
            console.print(f"{row['name']}: not a quiet machine, others used {share} of its processors")
        for reason, count in row["reasons"].items():
            console.print(f"{row['name']}: {count:,} {reason}")
    conditions = document["conditions"]
    rates = [rate for stage in conditions["pgbench_per_s"] for rate in stage]
    if min(rates) < (1 - DRIFT_SHARE_MAX) * max(rates):
        console.print(f"the machine drifted: pgbench did from {min(rates):,.0f} to {max(rates):,.0f} per second")
    for name, value in conditions.items():
        text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
        console.print(f"{name}: {text}", soft_wrap=True)
    proved = document["proved"]
    console.print(
        f"audit: clean; {proved['acknowledged_ids_found']:,} acknowledged ids, all in the books; "
        f"{proved['balances_as_in_the_journal']:,} balances, all as in the generators' journal"
    )


def _show_rates(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    titles = ("", "in\nflight", "transfers\nper s", "times\npgbench", "p50\nms", "p99\nms", "p99.9\nms")
    table = _table((*titles, "refused,\nreturned", "in\ntransit", "\nerrors", "\nunknown", "\ndropped"))
    for row in rows:
        counts = row["outcomes"]
        table.add_row(
            row["name"],
            *(f"{row['in_flight']:,}", f"{row['transfers_per_s']:,.0f}", f"{row['ratio_to_pgbench']:.2f}"),
            *(f"{row[key]:,.2f}" for key in ("p50_ms", "p99_ms", "p999_ms")),
            *(f"{counts['refused'] + counts['returned']:,}", f"{counts['in_transit']:,}"),
            *(f"{counts['error']:,}", f"{counts['unknown']:,}", f"{row['dropped']:,}"),
        )
    console.print(table)


def _show_costs(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    titles = ("per transfer", *(f"{part}\nCPU us" for part in PARTS), "all\nCPU us", "WAL\nbytes", "tables\nbytes")
    held = tuple(f"{part}\nMB" for part in PARTS if part != "generator")
    table = _table((*titles, *held))
    for row in rows:
        us, memory = row["processor_us_per_transfer"], row["memory_mb"]
        table.add_row(
            row["name"],
            *(f"{us[part]:,.1f}" if part in us else "" for part in PARTS),
            f"{sum(us.values()):,.1f}",
            f"{row['wal_bytes_per_transfer']:,.0f}",
            f"{row['table_bytes_per_transfer']:,.0f}" if row["shards"] else "",
            *(f"{memory[part]:,.0f}" if part in memory else "" for part in PARTS if part != "generator"),
        )
    console.print(table)


def _show_goals(judged: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = _table(("what to reach", "\nunit", "at\nleast", "\naim", "this\nrun", ""))
    for goal in judged:
        value = "" if goal["value"] is None else f"{goal['value']:,.2f}"
        table.add_row(goal["figure"], goal["unit"], f"{goal['floor']:g}", f"{goal['aim']:g}", value, goal["verdict"])
    console.print(table)


def _table(titles: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=GAP)
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    return table
