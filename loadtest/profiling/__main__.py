"""The profile as a program: opens a bank, loads it, and shows where the time goes.

python -m loadtest.profiling [--load singles|batches|crossings] [--seconds 15] [--output build/profile]
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import bank, closed_loop, machine, target
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import POSTED
from loadtest.closed_loop import Load
from loadtest.crew import CrewFailed
from loadtest.postgres import PostgresFailed, Server, find_programs
from loadtest.processor import seconds_by_part
from loadtest.profiling import waits
from loadtest.profiling.flames import Flames
from loadtest.proof import NotSound
from loadtest.target import CURRENCY

LOADS: Final[dict[str, dict[str, Any]]] = {
    "singles": {"transfers_per_call": 1, "in_flight": 64, "crossing_share": 0.0},
    "batches": {"transfers_per_call": 1_000, "in_flight": 4, "crossing_share": 0.0},
    "crossings": {"transfers_per_call": 1_000, "in_flight": 4, "crossing_share": 1.0},
}
WARM_UP_SECONDS: Final = 2.0
SHOWN_MAX: Final = 12
FAILURES: Final = (BankFailed, PostgresFailed, OpeningFailed, CrewFailed, NotSound, FileNotFoundError)


def profile(asked: argparse.Namespace, open_bank: OpenBank, console: Console) -> dict[str, Any]:
    """Load a bank and look at all of its processes meanwhile; prove its books afterwards."""
    found = target.on_this_machine(open_bank.data)
    server = Server(find_programs(), open_bank.dsn, open_bank.shard_dsns)
    console.print(f"opening and funding {asked.accounts:,} accounts")
    by_shard = found.prepare(asked.accounts)
    load = Load(
        access=found.access,
        accounts_by_shard=by_shard,
        currency_code=CURRENCY,
        warm_up_seconds=WARM_UP_SECONDS,
        seconds=float(asked.seconds),
        seed=1,
        **LOADS[asked.load],
    )
    flames = Flames(asked.output, asked.seconds)
    samplers: list[waits.Sampler] = []
    processor: list[dict[str, float]] = []
    pids = {name: pid for name, pid in open_bank.pids.items() if name != "postgres"}
    looked = threading.Event()

    def at_edges() -> None:
        processor.append(seconds_by_part({name: (pid,) for name, pid in open_bank.pids.items()}, {}))
        if not looked.is_set():
            looked.set()
            waits.reset(server)
            flames.start(pids)
            samplers.append(waits.Sampler(server, asked.seconds))

    console.print(f"{asked.load} for {asked.seconds} s, watched")
    measured = closed_loop.generate(load, 1, at_edges)
    pictures = flames.finish()
    seen = samplers[0].finish()
    dearest = waits.statements(server)
    proved = found.prove(measured.journal, by_shard)
    begin, end = processor
    return {
        "load": {"name": asked.load, "seconds": asked.seconds, **LOADS[asked.load]},
        "transfers_per_s_while_watched": round(measured.posted / asked.seconds, 1),
        "outcomes": {kind: count for (kind, _), count in measured.outcomes.items() if kind != POSTED},
        "cores_used": {name: round((end[name] - begin[name]) / asked.seconds, 3) for name in end},
        "pictures": pictures,
        "waits": [{"process": who, "wait": what, "samples": count} for (who, what), count in seen.most_common()],
        "statements": [
            {name: getattr(each, name) for name in ("database", "calls", "milliseconds", "rows", "wal_bytes", "text")}
            for each in dearest
        ],
        "proved": proved,
        "conditions": machine.describe(),
    }


def show(document: dict[str, Any], console: Console) -> None:
    """Print what the flame graphs do not say."""
    table = _table("process", "cores used", "flame graph")
    for name, cores in document["cores_used"].items():
        table.add_row(name, f"{cores:.2f}", document["pictures"].get(name, ""))
    console.print(table)
    samples = Counter({(each["process"], each["wait"]): each["samples"] for each in document["waits"]})
    table = _table("PostgreSQL process", "seen", "waits for")
    for (who, what), count in samples.most_common(SHOWN_MAX):
        table.add_row(who, f"{count / max(1, samples.total()):.0%}", what)
    console.print(table)
    table = _table("database", "calls", "ms in all", "WAL bytes", "statement")
    for each in document["statements"][:SHOWN_MAX]:
        numbers = (f"{each['calls']:,}", f"{each['milliseconds']:,.0f}", f"{each['wal_bytes']:,}")
        table.add_row(each["database"], *numbers, each["text"][:80])
    console.print(table)
    console.print(f"{document['transfers_per_s_while_watched']:,.0f} transfers/s while watched; watching costs some")
    console.print(f"proved: {document['proved']}")


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in {"cores used", "seen", "calls", "ms in all"} else "left")
    return table


def main(arguments: Sequence[str]) -> int:
    """Profile a new bank; return 0 with pictures and tables, or 1 with a reason."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    parser = argparse.ArgumentParser(prog="python -m loadtest.profiling", description="Profile a bank under load.")
    parser.add_argument("--load", choices=sorted(LOADS), default="batches")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("build/profile"))
    asked = parser.parse_args(arguments)
    console = Console(width=140, highlight=False)
    with tempfile.TemporaryDirectory(prefix="hivecore-profile-") as place:
        # Root's PostgreSQL runs as another account, which must be able to pass through.
        Path(place).chmod(0o755)
        try:
            with bank.opened(Path(place) / "bank", shards=asked.shards) as open_bank:
                document = profile(asked, open_bank, console)
        except FAILURES as error:
            console.print(f"no profile: {error}", markup=False)
            return 1
        except grpc.aio.AioRpcError as error:
            console.print(f"no profile: the bank answered {error.code().name}: {error.details()}", markup=False)
            return 1
    show(document, console)
    file = asked.output / "profile.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"written to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
