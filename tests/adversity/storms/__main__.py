"""`make storm`: a whole bank, callers that insist, faults by seed, and proof.

    python -m storms --seconds 60 --seed 1

Exit status 1 when anything that must hold does not; the bank's directory, with the callers' journal
and all logs, is then kept and named.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import crowd
import uvloop
from crowd import Crowd, Place, Storm
from rich.console import Console

from services.chassis import children
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli import topology
from services.cli.bank import Bank
from services.cli.topology import BankOptions, Places
from storms import clocks, disks
from storms.clocks import Clocks
from storms.detours import Detours
from storms.disks import Disk
from storms.paper import PaperJournal
from storms.report import Record
from storms.schedule import DISK, Kind, Strike, Targets, schedule
from storms.striking import Striker

STANDBYS = 1
GATEWAYS = 2
BACK_TRANSFERS = 10
"""So many of each shard's payers get their outcome before a bank counts as back."""
BACK_SECONDS_MAX = 60.0
LONGEST_STRIKE_SECONDS = 120.0

AHEAD = "SELECT extract(epoch FROM booking_time - clock_timestamp())::float8 FROM ledger.journal_head"
"""Books stay where a clock that ran ahead has put them until the time has caught up."""


class Run:
    """One storm over one bank."""

    def __init__(
        self, place: Path, shards: int, record: Record, seconds: float, library: str | None, *, mounts: bool
    ) -> None:
        self._place = place
        self._places = Places(place / "bank")
        self._shards = shards
        self._record = record
        self._seconds = seconds
        self._mounts = mounts
        self._library = library

    async def run(self) -> None:
        """Open the bank, let it storm, and prove the books. Raises what is wrong."""
        disk_by_kind = await self._make_disks() if self._mounts else {}
        names = [name for shard in range(1, self._shards + 1) for name in topology.ledger_names(shard, STANDBYS)]
        times = Clocks(self._place / "clocks", [*names, "account"])
        shape = topology.shape_of(BankOptions(data=self._places.data, shards=self._shards), None)
        async with Detours(self._places, shape, STANDBYS, GATEWAYS) as detours:
            settings = detours.settings
            for name in (*names, "account") if self._library else ():
                settings[name] = settings[name] | times.environment(name, self._library or "")
            async with self._opened(settings) as bank:
                detours.pids = lambda: bank.processes
                where = Place(
                    f"ipv4:{','.join(detours.gateways)}",
                    bank.topology.account,
                    bank.token(),
                    bank.control_dsn,
                    bank.shard_dsns,
                )
                journal = PaperJournal(self._place / "journal.jsonl")
                async with crowd.opened(where, journal) as people:
                    striker = Striker(bank, people, detours, times, disk_by_kind)
                    await self._storm(bank, people, striker, self._targets(bank, detours, names))
                    self._record.figures["clock_jumps_seen_seconds"] = [round(each) for each in striker.jumps_seen]
                    await self._prove(bank, people, journal)

    async def _storm(self, bank: Bank, people: Crowd, striker: Striker, targets: Targets) -> None:
        loop = asyncio.get_running_loop()
        async with people.storm(self._seconds + LONGEST_STRIKE_SECONDS + crowd.PATIENCE_SECONDS) as storm:
            await storm.everywhere(BACK_TRANSFERS)
            began = loop.time()
            for strike in schedule(self._record.seed, targets):
                self._say(f"strikes: {strike.faults}")
                storm.mark()
                async with asyncio.TaskGroup() as faults:
                    for fault in strike.faults:
                        faults.create_task(striker.strike(fault))
                seconds = await self._back(bank, storm, strike)
                self._record.struck(strike, seconds, max(storm.away().values()))
                if loop.time() - began > self._seconds:
                    break
                await asyncio.sleep(strike.rest_seconds)
            self._record.figures["storm_seconds"] = round(loop.time() - began, 1)

    async def _back(self, bank: Bank, storm: Storm, strike: Strike) -> float:
        """Wait until every shard moves money and all processes run, and say how long that took."""
        loop = asyncio.get_running_loop()
        ended = loop.time()
        try:
            async with asyncio.timeout(BACK_SECONDS_MAX):
                await storm.everywhere(BACK_TRANSFERS)
                seconds = loop.time() - ended
                await children.until(lambda: all(pid is not None for pid in bank.processes.values()))
        except TimeoutError:
            raise AssertionError(f"not back {BACK_SECONDS_MAX:.0f} s after {strike}: {bank.processes}") from None
        self._say(f"back after {seconds:.2f} s")
        return seconds

    async def _prove(self, bank: Bank, people: Crowd, journal: PaperJournal) -> None:
        figures = self._record.figures
        wishes = journal.wishes.values()
        figures["transfers"] = len(wishes)
        figures["attempts"] = sum(wish.attempts for wish in wishes)
        figures["transfers_in_doubt_for_a_while"] = journal.doubted()
        figures["answers_without_an_outcome"] = dict(journal.problems.most_common())
        figures["deaths"] = dict(bank.deaths)
        figures["books_ahead_of_time_seconds"] = {
            shard_id: round(await _ahead(dsn)) for shard_id, dsn in bank.shard_dsns.items()
        }
        report = await people.expect_sound_books()
        figures["transfers_given_up"] = sum(wish.is_given_up for wish in journal.wishes.values())
        figures["journal_lines"] = journal.expect_same_on_paper()
        figures["audited_transfers"] = report.totals.transfers

    @asynccontextmanager
    async def _opened(self, settings: dict[str, dict[str, str]]) -> AsyncIterator[Bank]:
        options = BankOptions(
            data=self._places.data,
            port=0,
            shards=self._shards,
            standbys=STANDBYS,
            gateways=GATEWAYS,
            settings=settings,
        )
        async with Bank.open(options, say=self._say) as bank:
            yield bank

    async def _make_disks(self) -> dict[Kind, Disk]:
        """Make the cluster on a disk of its own with its log on another."""
        data, log = Disk(self._places.postgres), Disk(self._place / "log-disk")
        data.mount()
        async with EmbeddedPostgres(self._places.postgres) as postgres:
            cluster = postgres.data
        disks.move_log(cluster, log)
        return {Kind.DATA_FULL: data, Kind.LOG_FULL: log}

    def _targets(self, bank: Bank, detours: Detours, ledgers: Sequence[str]) -> Targets:
        left_out = {
            **({} if self._mounts else dict.fromkeys(DISK)),
            **({} if self._library else {Kind.CLOCK_JUMP: None}),
        }
        return Targets(
            processes=list(bank.processes),
            ledgers=ledgers,
            shards=range(1, self._shards + 1),
            connections=list(detours.connections),
            kinds=frozenset(Kind) - left_out.keys(),
        )

    def _say(self, line: str) -> None:
        stamp = asyncio.get_running_loop().time()
        self._record.story.append(f"{stamp:.2f} {line}")


async def _ahead(dsn: str) -> float:
    connection = await asyncpg.connect(dsn)
    try:
        return max(0.0, await connection.fetchval(AHEAD))
    finally:
        await connection.close()


def main(arguments: Sequence[str]) -> int:
    """Let it storm; return 0 when all that must hold holds."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    asked = _parse(arguments)
    refusal = None if asked.in_own_namespace else disks.enter_namespace("storms", list(arguments))
    left_out = {kind.value: refusal for kind in sorted(DISK)} if refusal else {}
    console = Console(width=120, highlight=False)
    place = Path(tempfile.mkdtemp(prefix="hivecore-storm-"))
    place.chmod(0o755)
    library = clocks.library(place / "clocks")
    if library is None:
        left_out[Kind.CLOCK_JUMP.value] = clocks.MISSING
    record = Record(asked.seed, left_out)
    run = Run(place, asked.shards, record, asked.seconds, library, mounts=refusal is None)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run.run())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a violation
        record.violations.append("".join(traceback.format_exception(error)))
        kept = Path(f"{place}-kept")
        shutil.copytree(place, kept, ignore=shutil.ignore_patterns("detours", "postgres", "log-disk"))
        console.print(f"journal and logs are kept in {kept}")
    finally:
        record.show(console)
        record.write(asked.output)
        disks.remove(place)
        clocks.sweep()
    return 1 if record.violations else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m storms", description="Let faults strike a whole bank.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults; opening and proof come on top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("build/storm.json"))
    parser.add_argument(disks.INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
