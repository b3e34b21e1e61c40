"""The benchmark as a program: opens its banks, measures, proves, and only then shows figures.

    python -m loadtest.bench [--quick] [--output build/bench.json] ...

Exit status 1, and no figures, when the audit is not clean, an acknowledged id is not in the books, a
balance differs from the generators' own journal, or anything else failed.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
from rich.console import Console

from loadtest import bank, machine
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed
from loadtest.bench import chart, report
from loadtest.bench.scenarios import QUICK, Sizes, Stage, stages
from loadtest.bench.stage import CURRENCY, Found, Settings, carry_out
from loadtest.crew import CrewFailed
from loadtest.postgres import PostgresFailed, Server, find_programs
from loadtest.proof import NotSound

WIDTH: Final = 150
FAILURES: Final = (BankFailed, PostgresFailed, OpeningFailed, CrewFailed, NotSound)


def measure(stage: Stage, settings: Settings, asked: argparse.Namespace) -> Found:
    """Open a bank for one stage, measure in it, prove it, close it and remove it."""
    data = asked.data.resolve() / stage.name.replace(" ", "-")
    settings.say(f"a bank of {stage.name}")
    bank.remove(data)
    with bank.opened(data, shards=stage.shards) as open_bank:
        programs = asked.postgres_programs or find_programs()
        server = Server(programs, open_bank.dsn, open_bank.shard_dsns)
        found = carry_out(stage.steps, settings, open_bank, server, bank.access(data))
    if not asked.keep:
        bank.remove(data)
    return found


def conditions(asked: argparse.Namespace, sizes: Sizes, began: float) -> dict[str, Any]:
    """Say what the figures must be read with."""
    return {
        **machine.describe(),
        "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "took_seconds": round(time.time() - began),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "on": "authentication, validation, limits, audit trail, metrics",
        "mix": {"legs": 1, "currency": CURRENCY, "accounts_per_customer": 1},
        "accounts": sizes.accounts,
        "seconds": {"measured": sizes.seconds, "warm_up": sizes.warm_up_seconds, "steady": sizes.steady_seconds},
        "pgbench": {"script": "TPC-B", "protocol": "prepared", "scale": sizes.pgbench_scale},
        "generators": asked.generators,
        "seed": asked.seed,
        "is_quick": sizes.is_short,
    }


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description="Measure a bank beside pgbench.")
    parser.add_argument("--quick", action="store_true", help="fewer rows and accounts, under 3 minutes")
    parser.add_argument("--data", type=Path, default=Path("build/bench"), help="where banks are opened, and removed")
    parser.add_argument("--keep", action="store_true", help="do not remove the banks afterwards")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="the charts go beside it")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="measure these rows only")
    parser.add_argument("--accounts", type=int, help="of the banks, but for the row of few and that of many")
    parser.add_argument("--accounts-few", type=int, help="of the row calls_1000_accounts_few")
    parser.add_argument("--accounts-many", type=int, help="of the row calls_1000_accounts_many")
    parser.add_argument("--seconds", type=float, help="measured, for each row")
    parser.add_argument("--warm-up-seconds", type=float, help="before them")
    parser.add_argument("--steady-seconds", type=float, help="of the steady open loop, warm-up and measured")
    parser.add_argument("--rest-seconds-max", type=float, help="how long it waits before, at most, until all is sealed")
    parser.add_argument("--pgbench-scale", type=int, help="50 when not given")
    parser.add_argument("--pgbench-clients", type=_numbers, help="comma separated; the best counts")
    parser.add_argument("--postgres-programs", type=Path, help="directory of pgbench; the wheel's when not given")
    parser.add_argument("--generators", type=int, default=1, help="client processes")
    parser.add_argument("--seed", type=int, default=1, help="of who pays whom")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _sizes(asked: argparse.Namespace) -> Sizes:
    names = (
        "accounts",
        "accounts_few",
        "accounts_many",
        "seconds",
        "warm_up_seconds",
        "steady_seconds",
        "rest_seconds_max",
        "pgbench_scale",
        "pgbench_clients",
    )
    given = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    return replace(QUICK if asked.quick else Sizes(), **given)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; return 0 with tables, a JSON file and charts, or 1 with a reason and none of them."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    asked = _parse(arguments)
    asked.output.unlink(missing_ok=True)
    console = Console(width=WIDTH, highlight=False)
    sizes, began = _sizes(asked), time.time()
    settings = Settings(
        sizes, asked.generators, asked.seed, lambda text: console.print(f"{time.time() - began:5.0f} s  {text}")
    )
    try:
        found: list[Found] = []
        for stage in stages(sizes, asked.only):
            found.append(measure(stage, settings, asked))
            # Looked for once: the best number of clients is the server's, not the bank's.
            settings = replace(settings, sizes=replace(sizes, pgbench_clients=(found[0].pgbench_clients,)))
    except FAILURES as error:
        console.print(f"no figures: {error}", markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no figures: the bank answered {error.code().name}: {error.details()}", markup=False)
        return 1
    document = report.to_json(found, conditions(asked, sizes, began))
    report.show(document, console)
    report.write(document, asked.output)
    picture, page = chart.write(document, asked.output)
    console.print(f"written to {asked.output}, {picture} and {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
