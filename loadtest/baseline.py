"""The baseline benchmark: the bank beside pgbench, in one run, on one machine, on one PostgreSQL.

    python -m loadtest.baseline --data DIR [--gateway HOST:PORT --token-file F] [--accounts N] ...

Everything goes through the public gateway with authentication, validation and metrics on. After the
load the bank is audited; when the audit is not clean, or an acknowledged transfer is not in the books,
there is no figure. `make bench-baseline` opens a bank for it and closes it (`bank.py`).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from rich.console import Console

from loadtest import accounts, bank, report
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import Access
from loadtest.generator import GeneratorFailed, Load, generate
from loadtest.pgbench import Pgbench, PgbenchFailed, find_programs
from loadtest.processor import Reading, Usage
from loadtest.proof import NotSound, require_sound
from loadtest.report import Report, Row

CURRENCY: Final = "CZK"
TRANSFERS_PER_CALL: Final = 1_000
CALLS_OF_MANY: Final = (2, 4)
"""Calls of 1,000 in flight: the better one counts."""


@dataclass(slots=True)
class Run:
    """One run of the benchmark."""

    arguments: argparse.Namespace
    bank: OpenBank
    access: Access
    console: Console
    accounts_by_shard: list[list[str]] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Tell how far it is."""
        self.console.print(text, highlight=False)

    def pgbench_rows(self, pgbench: Pgbench) -> Iterator[Row]:
        """Measure pgbench: its best of several numbers of clients, then one client."""
        asked = self.arguments
        self.say(f"pgbench: scale {asked.pgbench_scale}")
        with pgbench.database(asked.pgbench_scale) as dsn:
            rows = [self._pgbench_row(pgbench, dsn, "pgbench_best", clients) for clients in asked.pgbench_clients]
            yield max(rows, key=lambda row: row.transfers_per_s)
            yield self._pgbench_row(pgbench, dsn, "pgbench_1", 1)

    def bank_rows(self) -> Iterator[Row]:
        """Measure the bank."""
        yield self._bank_row("single_1", 1, 1, self.arguments.single_crossing_share)
        yield self._bank_row("single_64", 1, 64, self.arguments.single_crossing_share)
        for name, share in (("calls_1000_local", 0.0), ("calls_1000_crossing_100", 1.0)):
            rows = [self._bank_row(name, TRANSFERS_PER_CALL, calls, share) for calls in CALLS_OF_MANY]
            yield max(rows, key=lambda row: row.transfers_per_s)

    async def prepare(self) -> None:
        """Open and fund the accounts."""
        self.say(f"opening {self.arguments.accounts:,} accounts")
        numbers = await accounts.open_accounts(
            self.access,
            self.arguments.accounts,
            CURRENCY,
            lambda count, seconds: self.say(f"  {count:,} opened and funded after {seconds:.1f} s"),
        )
        self.accounts_by_shard = await accounts.by_shard(self.bank.account, numbers)

    def _pgbench_row(self, pgbench: Pgbench, dsn: str, name: str, clients: int) -> Row:
        seconds = max(1, round(self.arguments.seconds))
        begin = self._reading()
        result = pgbench.run(dsn, clients, seconds)
        usage = Usage.between(begin, self._reading(), result.transactions_per_s * seconds)
        self.say(f"  {clients} clients: {result.transactions_per_s:,.0f} transactions/s")
        # This process also read pgbench's logs, so its own time tells nothing.
        processor_us = {part: us for part, us in usage.us_per_transfer.items() if part == "postgres"}
        return Row(
            name,
            result.transactions_per_s,
            result.latencies,
            clients,
            processor_us=processor_us,
            others_share=usage.others_share,
        )

    def _bank_row(self, name: str, transfers_per_call: int, in_flight: int, crossing_share: float) -> Row:
        load = Load(
            access=self.access,
            accounts_by_shard=self.accounts_by_shard,
            currency_code=CURRENCY,
            crossing_share=crossing_share,
            transfers_per_call=transfers_per_call,
            in_flight=in_flight,
            warm_up_seconds=self.arguments.warm_up_seconds,
            seconds=self.arguments.seconds,
            seed=self.arguments.seed,
        )
        readings: list[Reading] = []
        measured = generate(load, self.arguments.generators, lambda: readings.append(self._reading()))
        begin, end = readings
        usage = Usage.between(begin, end, measured.posted)
        self.acknowledged += measured.acknowledged
        per_s = measured.posted / load.seconds
        self.say(f"{name}: {in_flight} calls in flight: {per_s:,.0f} transfers/s")
        return Row(
            name,
            per_s,
            measured.latencies,
            in_flight,
            transfers_per_call,
            crossing_share,
            measured.outcomes,
            usage.us_per_transfer,
            usage.others_share,
        )

    def _reading(self) -> Reading:
        return Reading.now({**self.bank.pids_by_part, "generator": (os.getpid(),)})


def measure(run: Run) -> Report:
    """Measure everything, then prove that the bank is sound. Raises NotSound when it is not."""
    pgbench = Pgbench(run.arguments.postgres_programs or find_programs(), run.arguments.dsn or run.bank.dsn)
    settings = pgbench.server_settings()
    rows = list(run.pgbench_rows(pgbench))
    asyncio.run(run.prepare())
    rows += run.bank_rows()
    run.say("auditing")
    require_sound(run.bank.data, run.access, run.acknowledged)
    asked = run.arguments
    conditions = {
        **report.machine(),
        "postgresql": settings,
        "accounts": asked.accounts,
        "shards": len(run.accounts_by_shard),
        "mix": {
            "popularity": "uniform",
            "single_crossing_share": asked.single_crossing_share,
            "currency": CURRENCY,
            "legs": 1,
        },
        "seconds": {"measured": asked.seconds, "warm_up": asked.warm_up_seconds},
        "pgbench": {"script": "TPC-B", "protocol": "prepared", "scale": asked.pgbench_scale},
        "generators": asked.generators,
        "seed": asked.seed,
    }
    return Report(rows, rows[0].transfers_per_s, conditions, len(run.acknowledged))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.baseline", description="Measure a bank beside pgbench.")
    parser.add_argument("--data", type=Path, required=True, help="data directory of the open bank")
    parser.add_argument("--gateway", help="host:port, if not the one of --data")
    parser.add_argument("--token-file", type=Path, help="bearer token; minted with `hivecore token` when not given")
    parser.add_argument("--dsn", help="PostgreSQL for pgbench, if not the bank's")
    parser.add_argument("--postgres-programs", type=Path, help="directory of pgbench; the wheel's when not given")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, for each row")
    parser.add_argument("--warm-up-seconds", type=float, default=2.0, help="before them")
    parser.add_argument("--pgbench-scale", type=int, default=50)
    parser.add_argument("--pgbench-clients", type=_numbers, default=[8, 16, 32], help="comma separated; best counts")
    parser.add_argument("--single-crossing-share", type=float, default=0.0, help="of single calls, 0 to 1")
    parser.add_argument("--generators", type=int, default=1, help="client processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/baseline.json"))
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; return 0 with a table and a JSON file, or 1 with a reason and neither."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    asked = _parse(arguments)
    asked.output.unlink(missing_ok=True)
    console = Console(width=120)
    try:
        open_bank = bank.find(asked.data)
        token = asked.token_file.read_text().strip() if asked.token_file else bank.mint_token(asked.data)
        run = Run(asked, open_bank, Access(asked.gateway or open_bank.gateway, token), console)
        found = measure(run)
    except (BankFailed, PgbenchFailed, OpeningFailed, GeneratorFailed, NotSound) as error:
        console.print(f"no figures: {error}", highlight=False, markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no figures: the bank answered {error.code().name}: {error.details()}", highlight=False)
        return 1
    found.show(console)
    found.write(asked.output)
    console.print(f"written to {asked.output}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
