"""Plain numbered migrations, each in one transaction, each applied once per database.

`migrations/0001_name.sql` of a package, each number once, never edited after release: a checksum kept
in the database notices. Several hands may each have a number of their own and land in any order: a
database gets what it lacks, by number, so files must not need each other unless one came earlier.
Numbers not known here are another release's and are left alone. A file must not commit by itself.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Final

import asyncpg

from services.chassis import queries

_SQL: Final = queries.load(__package__)
_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class MigrationError(Exception):
    """The files and the database disagree; nobody but a person can say who is right."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    script: str

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return f"{self.number:04d}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        """SHA-256 of the script, in hexadecimal."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def find(package: str, directory: str = "migrations") -> list[Migration]:
    """List the migrations of a package by number. Raises `MigrationError` for a bad file name or a number used twice."""
    found = []
    for file in resources.files(package).joinpath(directory).iterdir():
        if file.name.endswith(".sql"):
            match = _FILE_NAME.fullmatch(file.name)
            if match is None:
                raise MigrationError(f"{package}: {file.name} is not NNNN_name.sql")
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    for before, migration in pairwise(found):
        if before.number == migration.number:
            raise MigrationError(f"{package}: {before.file_name} and {migration.file_name} have one number")
    return found


async def migrate(connection: asyncpg.Connection, package: str, directory: str = "migrations") -> int:
    """Apply what the database does not have yet and return how many that were.

    Safe to call from several processes at once. Raises `MigrationError` when a file was changed
    after it had been applied; a migration that fails leaves those before it in place.
    """
    applied_count = 0
    for migration in find(package, directory):
        async with connection.transaction():
            await connection.execute(_SQL["lock_migrations"])
            await connection.execute(_SQL["create_schema_migration"])
            checksum = await connection.fetchval(_SQL["applied_checksum"], package, migration.number)
            if checksum is None:
                await _apply(connection, package, migration)
                applied_count += 1
            elif checksum != migration.checksum:
                raise MigrationError(f"{package}: {migration.file_name} was changed after it had been applied")
    return applied_count


async def _apply(connection: asyncpg.Connection, package: str, migration: Migration) -> None:
    await connection.execute(migration.script)
    if not connection.is_in_transaction():
        raise MigrationError(f"{package}: {migration.file_name} ends its own transaction")
    await connection.execute(_SQL["record_migration"], package, migration.number, migration.name, migration.checksum)
