"""`hivecore-load`: offers a bank a rate of operations, whether it keeps up or not, and says what callers waited.

    hivecore-load --data DIR --mix channel_app --rate 500 --seconds 30 [--processes 2] ...

Exit status 1, and no figures, when the books do not prove sound afterwards.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from rich.console import Console

from loadtest import machine, popularity, target
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed
from loadtest.bench.report import write
from loadtest.crew import CrewFailed
from loadtest.mix import MIXES
from loadtest.open_loop import report
from loadtest.open_loop.arrivals import KINDS, POISSON
from loadtest.open_loop.callers import CLIENTS, LEAN, OpenLoad, generate
from loadtest.operations import BATCH_TRANSFERS
from loadtest.postgres import PostgresFailed
from loadtest.proof import NotSound

WIDTH: Final = 120
FAILURES: Final = (BankFailed, PostgresFailed, OpeningFailed, CrewFailed, NotSound, ValueError)


def offer(asked: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Offer the load, prove the books, and give the figures. Raises NotSound and its like."""
    bank = target.chosen(asked)
    console.print(f"opening and funding {asked.accounts:,} accounts")
    by_shard = bank.prepare(asked.accounts)
    load = OpenLoad(
        access=bank.access,
        accounts_by_shard=by_shard,
        currency_code=target.CURRENCY,
        mix=MIXES[asked.mix],
        per_second=asked.rate,
        seconds=asked.seconds,
        warm_up_seconds=asked.warm_up_seconds,
        arrival=asked.arrival,
        crossing_share=asked.crossing_share,
        popularity=popularity.named(asked.popularity),
        batch_transfers=asked.batch_transfers,
        in_flight_max=asked.in_flight_max,
        deadline_seconds=asked.deadline_seconds,
        client=asked.client,
        seed=asked.seed,
    )
    console.print(f"offering {asked.rate:,.0f} operations/s for {asked.seconds:g} s")
    began = time.time() + asked.warm_up_seconds
    seen = generate(load, asked.processes)
    console.print("proving the books")
    proved = bank.prove(seen.journal, by_shard)
    if asked.hdr_log:
        report.write_histogram_log(seen, began, asked.hdr_log)
    names = ("mix", "rate", "arrival", "accounts", "popularity", "crossing_share", "batch_transfers", "processes")
    limits = ("client", "in_flight_max", "deadline_seconds", "warm_up_seconds", "seconds", "seed")
    conditions = {
        **machine.describe(),
        "load": {name: getattr(asked, name) for name in (*names, *limits)},
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }
    return report.to_json(seen, asked.seconds, conditions, proved, is_audited=bank.can_be_audited)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hivecore-load", description=(__doc__ or "").partition("\n")[0])
    target.add_options(parser)
    parser.add_argument("--mix", choices=sorted(MIXES), default="channel_app")
    parser.add_argument("--rate", type=float, default=100.0, help="operations per second, of all processes together")
    parser.add_argument("--arrival", choices=KINDS, default=POISSON)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured, after the warm-up")
    parser.add_argument("--warm-up-seconds", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--accounts", type=int, default=2_000, help="opened for this run")
    parser.add_argument("--crossing-share", type=float, default=0.0, help="of transfers, 0 to 1")
    parser.add_argument("--popularity", default="uniform", help="uniform, zipf (1.0) or zipf:EXPONENT")
    parser.add_argument("--batch-transfers", type=int, default=BATCH_TRANSFERS, help="per call, in batch and payroll")
    parser.add_argument("--in-flight-max", type=int, default=2_000, help="of one process; more are dropped and counted")
    parser.add_argument("--deadline-seconds", type=float, default=15.0, help="of each call")
    parser.add_argument("--client", choices=CLIENTS, default=LEAN, help="this kit's own, or grpc.aio's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/load.json"))
    parser.add_argument("--hdr-log", type=Path, default=Path("build/load.hlog"), help="histograms by second")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Offer a load; return 0 with figures, or 1 with a reason and none."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    asked = _parse(arguments)
    asked.output.unlink(missing_ok=True)
    console = Console(width=WIDTH, highlight=False)
    try:
        document = offer(asked, console)
    except FAILURES as error:
        console.print(f"no figures: {error}", markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no figures: the bank answered {error.code().name}: {error.details()}", markup=False)
        return 1
    report.show(document, console)
    write(document, asked.output)
    console.print(f"written to {asked.output}")
    return 0


def run() -> None:
    """Be the command `hivecore-load`."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
