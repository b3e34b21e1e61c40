"""The comparison as a program: opens a bank of its own, measures, audits, and only then prints.

python -m loadtest.features --data DIR [--accounts 1000] [--calls 8] [--rounds 5] [--output build/features.json]
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import bank, machine
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed
from loadtest.features.groups import GROUPS, PLAIN
from loadtest.features.turns import CALLS_AT_ONCE, TRANSFERS_PER_CALL, UNPRICED, Measuring, Sizes, Turn
from loadtest.postgres import PostgresFailed, Server, find_programs

PARTS: Final = ("gateway", "ledger", "postgres")
FAILURES: Final = (BankFailed, OpeningFailed, PostgresFailed)


def measure(data: Path, sizes: Sizes) -> dict[str, Any]:
    """Measure in a new bank, closed and removed afterwards. Raises what `FAILURES` names, and grpc.aio.AioRpcError."""
    with bank.opened(data, shards=1) as opened:
        measuring = Measuring(opened, bank.access(data), Server(find_programs(), opened.dsn, opened.shard_dsns), sizes)
        asyncio.run(measuring.run())
        measuring.require_sound()
    bank.remove(data)
    return {
        "groups": {name: _middle(measuring.turns[name]) for name in (UNPRICED, *(group.name for group in GROUPS))},
        "sealing_us_per_sequence": round(measuring.sealing.seconds * 1e6 / max(1, measuring.sealing.sequences), 2),
        "proved": f"audit clean; {len(measuring.transfer_ids):,} ids and {len(measuring.balances):,} balances, all in the books",
        "conditions": {
            "shards": 1,
            "accounts_of_a_group": sizes.accounts,
            "transfers_of_a_turn": sizes.calls * TRANSFERS_PER_CALL,
            "calls_in_flight": CALLS_AT_ONCE,
            "rounds": sizes.rounds,
            **machine.describe(),
        },
    }


def _middle(turns: Sequence[Turn]) -> dict[str, Any]:
    """Give the middle of a group's rounds, figure by figure."""
    parts = [part for part in PARTS if part in turns[0].us_by_part]
    us = {part: median(turn.us_by_part[part] for turn in turns) for part in parts}
    return {
        "transfers_per_s": round(median(turn.per_s for turn in turns)),
        "processor_us": {part: round(each, 1) for part, each in us.items()},
        "log_bytes": round(median(turn.log_bytes for turn in turns)),
        "table_bytes": round(median(turn.table_bytes for turn in turns)),
        "others_share": round(median(turn.others_share for turn in turns), 2),
    }


def show(document: dict[str, Any], console: Console) -> None:
    """Print the table, what it must be read with, and what has no row of its own."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("a transfer with")
    for title in ("per s", *(f"{part} us" for part in PARTS), "sum us", "more", "log B", "table B", "others"):
        table.add_column(title, justify="right")
    base = _sum(document["groups"][PLAIN.name])
    for name, group in document["groups"].items():
        us = (f"{group['processor_us'].get(part, 0.0):.1f}" for part in PARTS)
        more = "" if name in {PLAIN.name, UNPRICED} or not base else f"{_sum(group) / base - 1:+.0%}"
        size = (f"{group['log_bytes']:,}", f"{group['table_bytes']:,}", f"{group['others_share']:.0%}")
        table.add_row(name, f"{group['transfers_per_s']:,}", *us, f"{_sum(group):.1f}", more, *size)
    console.print(table)
    console.print(f"us: processor time per transfer, middle of the rounds; more: than {PLAIN.name!r}")
    console.print(f"{UNPRICED!r}: in rounds of its own, before the others")
    console.print(
        f"sealing, beside all turns and in none: {document['sealing_us_per_sequence']} us per leg, PostgreSQL"
    )
    for name, value in document["conditions"].items():
        console.print(f"{name}: {value}", soft_wrap=True)
    console.print(document["proved"])


def _sum(group: dict[str, Any]) -> float:
    return float(sum(group["processor_us"].values()))


def main(arguments: Sequence[str]) -> int:
    """Measure; return 0 with a table and a JSON file, or 1 with a reason."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.features", description="What each feature costs.")
    parser.add_argument("--data", type=Path, required=True, help="directory for a bank of its own; removed afterwards")
    parser.add_argument("--accounts", type=int, default=1_000, help="of each group")
    parser.add_argument("--calls", type=int, default=8, help="of 1,000 transfers, each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/features.json"))
    asked = parser.parse_args(arguments)
    console = Console(width=140, highlight=False)
    try:
        document = measure(asked.data, Sizes(asked.accounts, asked.calls, asked.rounds, asked.seed))
    except FAILURES as error:
        console.print(f"no figures: {error}", markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no figures: the bank answered {error.code().name}: {error.details()}", markup=False)
        return 1
    show(document, console)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"written to {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
