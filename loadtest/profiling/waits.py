"""What PostgreSQL does under load: its dearest statements, and what its sessions wait for.

Statements come from pg_stat_statements, waits from sampling pg_stat_activity. Never here: judging them.
"""

import csv
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.postgres import PostgresFailed, Server

SQL: Final = Path(__file__).with_name("sql")
SAMPLE_SECONDS: Final = 0.05
RUNNING: Final = "running on a processor"


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of statement, over all databases."""

    database: str
    calls: int
    milliseconds: float
    rows: int
    wal_bytes: int
    text: str


def reset(server: Server) -> None:
    """Begin to count statements anew. Raises PostgresFailed."""
    server.run("psql", *_options("reset"), server.control_dsn)


def statements(server: Server) -> list[Statement]:
    """Tell the statements that took longest in all. Raises PostgresFailed."""
    rows = csv.reader(server.run("psql", *_options("statements"), server.control_dsn).splitlines())
    return [
        Statement(database, int(calls), float(milliseconds), int(count), int(wal_bytes), " ".join(text.split()))
        for database, calls, milliseconds, count, wal_bytes, text in rows
    ]


class Sampler:
    """Looks again and again at what every session waits for."""

    def __init__(self, server: Server, seconds: float) -> None:
        """Begin to look."""
        count = max(1, round(seconds / SAMPLE_SECONDS))
        question = (SQL / "waits.sql").read_text().replace("\\watch", f"\\watch i={SAMPLE_SECONDS} c={count}")
        command = [str(server.programs / "psql"), *_options(None), "--file=-", server.control_dsn]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
        )
        assert self._process.stdin is not None
        self._process.stdin.write(question)
        self._process.stdin.close()
        self._process.stdin = None

    def finish(self) -> Counter[tuple[str, str]]:
        """Stop looking; give how often each kind of process was seen in each wait. Raises PostgresFailed."""
        said, complaint = self._process.communicate()
        if self._process.returncode != 0:
            raise PostgresFailed(f"psql failed:\n{complaint.strip()}")
        seen: Counter[tuple[str, str]] = Counter()
        for row in csv.reader(line for line in said.splitlines() if line):
            if len(row) == 3:
                seen[row[0], row[1] or RUNNING] += int(row[2])
        return seen


def _options(question: str | None) -> tuple[str, ...]:
    common = ("--no-psqlrc", "--quiet", "--tuples-only", "--csv", "--set=ON_ERROR_STOP=1")
    return (*common, f"--file={SQL / question}.sql") if question else common
