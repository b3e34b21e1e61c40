"""pgbench's TPC-B on the PostgreSQL that the bank uses: what the figures of the bank stand beside.

It gets a database of its own, which is dropped afterwards, and the server as it is: nothing is tuned
for it or against it. Prepared protocol, since the bank prepares its statements too.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hdrh.histogram import HdrHistogram

from loadtest.histograms import new_histogram
from loadtest.postgres import PostgresFailed, Server

DATABASE: Final = "hivecore_pgbench"

LATENCY_COLUMN: Final = 2
"""Of pgbench's log: client, transaction, microseconds, ..."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run of pgbench."""

    transactions_per_s: float
    """Without the time to connect."""
    latencies: HdrHistogram
    """Microseconds per transaction."""


@contextmanager
def database(server: Server, scale: int) -> Iterator[str]:
    """Fill a new database with 100,000 accounts per `scale` for the length of the context; give its DSN.

    Raises PostgresFailed.
    """
    dsn, replaced = re.subn(r"^(postgres(?:ql)?://[^/]*)/[^?]+", rf"\1/{DATABASE}", server.control_dsn)
    if not replaced:
        raise PostgresFailed("pgbench needs a DSN of the form postgresql://.../database")
    drop = ("dropdb", "--if-exists", "--force", f"--maintenance-db={server.control_dsn}", DATABASE)
    server.run(*drop)
    server.run("createdb", f"--maintenance-db={server.control_dsn}", DATABASE)
    try:
        server.run("pgbench", "--initialize", "--quiet", f"--scale={scale}", dsn)
        yield dsn
    finally:
        server.run(*drop)


def run(server: Server, dsn: str, clients: int, seconds: int) -> Result:
    """Run TPC-B with `clients` connections for `seconds`. Raises PostgresFailed."""
    threads = min(clients, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="hivecore-pgbench-") as directory:
        said = server.run(
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
        raise PostgresFailed(f"pgbench gives no figure:\n{said}")
    return Result(float(match[1]), latencies)


def _read_logs(files: Sequence[Path]) -> HdrHistogram:
    histogram = new_histogram()
    for file in files:
        with file.open() as lines:
            for line in lines:
                histogram.record_value(int(line.split(maxsplit=LATENCY_COLUMN + 1)[LATENCY_COLUMN]))
    return histogram
