"""Measures what keeping a bank secure and seen costs: `python -m tools.bench_security`.

Opens all banks at once and lets them take turns, round by round, so that a noisy machine hits all alike;
each is compared with the one with everything on within the same round, and the middle of all rounds
counts. No figure is shown unless every transfer was posted and every bank's audit is clean.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import machine
from loadtest.accounts import OpeningFailed
from services.chassis.children import LaunchError
from services.cli.bank import Bank
from services.cli.output import Failure
from tools.bench_security import turns, variants
from tools.bench_security.turns import Kind, NotSound, Stand, Turn
from tools.bench_security.variants import EVERYTHING, VARIANTS

PARTS: Final = ("gateway", "ledger", "postgres", "callers")
WIDTH: Final = 130

Taken = dict[str, list[Turn]]
"""A kind's turns by variant, in the order of the rounds."""


async def measure(place: Path, kinds: Sequence[Kind], rounds: int, seed: int) -> tuple[dict[str, Taken], int]:
    """Open all banks, let them take turns, prove them; give the turns by kind, and how many transfers there were."""
    allowances_file = place / "allowances.toml"
    await asyncio.to_thread(allowances_file.write_text, variants.allowances())
    taken: dict[str, Taken] = {kind.name: {variant.name: [] for variant in VARIANTS} for kind in kinds}
    async with AsyncExitStack() as stack:
        stands: dict[str, Stand] = {}
        for number, variant in enumerate(VARIANTS):
            options = variants.options(variant, place / str(number), allowances_file)
            bank = await stack.enter_async_context(Bank.open(options))
            opening = turns.opened(bank, variant.tokens, seed, tls=variant.tls)
            stands[variant.name] = await stack.enter_async_context(opening)
        for kind in kinds:
            for stand in stands.values():
                await stand.take(kind)
            for number in range(rounds):
                names = [*stands] if number % 2 == 0 else [*reversed(stands)]
                for name in names:
                    taken[kind.name][name].append(await stands[name].take(kind))
        return taken, sum([await stand.prove() for stand in stands.values()])


def compare(taken: Taken) -> list[dict[str, Any]]:
    """Set each variant beside the one with everything on: rates round by round, the middle of all; costs at their least.

    What others do on the machine makes a transfer cost more processor time and never less, so of a variant's rounds
    the cheaper quarter says what it costs by itself.
    """
    whole = taken[EVERYTHING.name]
    whole_us = _least_us(whole)
    rows = []
    for name, seen in taken.items():
        us = _least_us(seen)
        pairs = zip(seen, whole, strict=True)
        rows.append(
            {
                "bank": name,
                "transfers_per_s": round(median(turn.transfers_per_s for turn in seen), 1),
                "rate_to_everything_on": round(median(a.transfers_per_s / b.transfers_per_s for a, b in pairs), 4),
                "us_per_transfer": {part: round(us[part], 2) for part in PARTS},
                "us_less": {part: round(whole_us[part] - us[part], 2) for part in PARTS},
            }
        )
    return rows


def _least_us(seen: Sequence[Turn]) -> dict[str, float]:
    """Give the processor time of each part at the boundary of the cheaper quarter of its rounds."""
    return {part: sorted(turn.us_per_transfer[part] for turn in seen)[(len(seen) - 1) // 4] for part in PARTS}


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print a table for each kind of calls, and what it must be read with."""
    for kind, rows in document["rows"].items():
        table = Table(title=kind, title_justify="left", box=box.SIMPLE, pad_edge=False)
        table.add_column("")
        for title in (
            "transfers\nper s",
            "beside\neverything",
            *(f"{part}\nCPU us" for part in PARTS),
            "the bank's\nless us",
        ):
            table.add_column(title, justify="right")
        for row in rows:
            less = sum(us for part, us in row["us_less"].items() if part != turns.CALLERS)
            table.add_row(
                row["bank"],
                f"{row['transfers_per_s']:,.0f}",
                f"{row['rate_to_everything_on'] - 1:+.1%}",
                *(f"{row['us_per_transfer'][part]:,.1f}" for part in PARTS),
                f"{less:,.1f}",
            )
        console.print(table)
    for name, value in document["conditions"].items():
        text = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
        console.print(f"{name}: {text}", soft_wrap=True)
    console.print(f"audit: clean, of {len(VARIANTS)} banks; {document['transfers']:,} transfers sent, all in the books")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench_security", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=400, help="single ones, each turn")
    parser.add_argument("--calls-of-1000", type=int, default=2, help="calls of 1,000 transfers, each turn")
    parser.add_argument("--in-flight", type=int, default=64, help="single calls at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/bench-security.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure; return 0 with tables and a JSON file, or 1 with a reason and neither."""
    asked, console, began = _parse(arguments), Console(width=WIDTH, highlight=False), time.time()
    asked.output.unlink(missing_ok=True)
    kinds = (
        Kind(f"single calls, {asked.in_flight} in flight", 1, asked.calls, asked.in_flight),
        Kind("calls of 1,000 transfers, 2 in flight", 1_000, asked.calls_of_1000, 2),
    )
    with tempfile.TemporaryDirectory(prefix="hivecore-security-") as place:
        Path(place).chmod(0o755)  # The account that PostgreSQL runs as looks through it.
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                taken, transfers = runner.run(measure(Path(place), kinds, asked.rounds, asked.seed))
        except (NotSound, OpeningFailed, LaunchError, Failure) as error:
            console.print(f"no figures: {error}", markup=False)
            return 1
    document = {
        "audit": "clean",
        "transfers": transfers,
        "conditions": {
            **machine.describe(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "took_seconds": round(time.time() - began),
            "rounds": asked.rounds,
            "each turn": {kind.name: kind.calls for kind in kinds},
            "each bank": {"shards": 1, "gateways": 1, "accounts": turns.ACCOUNTS},
        },
        "rows": {name: compare(each) for name, each in taken.items()},
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(document, indent=2) + "\n")
    show(document, console)
    console.print(f"written to {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
