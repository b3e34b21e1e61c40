"""Whole banks of real processes to be shot at, and a record of what their callers noticed.

Never here: faults, and what callers do.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import crowd
from crowd import Crowd, Place, Storm

from services.cli.bank import Bank
from services.cli.topology import BankOptions


@contextmanager
def directory() -> Iterator[Path]:
    """Make a directory that every account can pass through, for the length of the context."""
    made = Path(tempfile.mkdtemp(prefix="hivecore-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@asynccontextmanager
async def populated(*, shards: int, standbys: int = 0, gateways: int = 1) -> AsyncIterator[tuple[Bank, Crowd]]:
    """Open a bank with customers in a directory of its own."""
    with directory() as place:
        options = BankOptions(data=place / "bank", port=0, shards=shards, standbys=standbys, gateways=gateways)
        async with Bank.open(options) as bank:
            where = Place(bank.gateway, bank.topology.account, bank.token(), bank.control_dsn, bank.shard_dsns)
            async with crowd.opened(where) as people:
                yield bank, people


class Noticed:
    """What callers noticed of one test's faults, a line for each."""

    def __init__(self, test: str, write: Callable[[str], None]) -> None:
        self._test = test
        self._write = write

    def since_mark(self, storm: Storm, *shard_ids: int) -> None:
        """Write down how long shards (all when none is named) were away and what callers were told meanwhile."""
        away = ", ".join(f"shard {shard_id} {seconds:.2f} s" for shard_id, seconds in storm.away(*shard_ids).items())
        told = ", ".join(f"{count} {problem}" for problem, count in storm.problems().most_common())
        self.say(f"away: {away}; answers without an outcome: {told or 'none'}")

    def say(self, line: str) -> None:
        """Write down one line."""
        self._write(f"{self._test}: {line}")
