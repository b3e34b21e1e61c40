"""Plain numbered migrations, each in one transaction, each applied once per database.

`migrations/0001_name.sql` of a package, each number once, never edited after release: a checksum kept
in the database notices. Several hands may each have a number of their own and land in any order: a
database gets what it lacks, by number, so files must not need each other unless one came earlier.
Numbers not known here are another release's and are left alone. A file must not commit by itself.

A process applies them itself, or waits until somebody who may has done so. Never here: what a role may do.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Final

import asyncpg

from services.chassis import logs, postgres, queries

RETRY_SECONDS: Final = 0.5
"""Pause before asking again for a database or a schema that is not there yet."""

_log = logs.get(__name__)

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
                raise _changed(package, migration)
    return applied_count


async def missing(connection: asyncpg.Connection, package: str, directory: str = "migrations") -> list[Migration]:
    """List what the database does not have yet, by number. Raises `MigrationError` as `migrate` does."""
    applied: dict[int, str] = {}
    if await connection.fetchval(_SQL["knows_migrations"]):
        rows = await connection.fetch(_SQL["applied_checksums"], package)
        applied = {row["number"]: row["checksum"] for row in rows}
    wanted = find(package, directory)
    for migration in wanted:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise _changed(package, migration)
    return [migration for migration in wanted if migration.number not in applied]


async def prepare(
    dsn: str, package: str, directory: str = "migrations", *, application: str, applies: bool = True
) -> None:
    """Wait, however long that takes, for a database and its schema: apply what is missing, or wait for who does."""
    while True:
        try:
            connection = await postgres.connect(dsn, application=application, statement_seconds=0)
            try:
                if await _is_ready(connection, package, directory, applies=applies):
                    return
            finally:
                connection.terminate()
        except postgres.ERRORS as error:
            if isinstance(error, asyncpg.SyntaxOrAccessError) and not isinstance(
                error, asyncpg.InvalidCatalogNameError
            ):
                raise
            _log.warning("database_unreachable", package=package, error=type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS)


async def _is_ready(connection: asyncpg.Connection, package: str, directory: str, *, applies: bool) -> bool:
    if applies:
        await migrate(connection, package, directory)
        return True
    lacking = await missing(connection, package, directory)
    if lacking:
        _log.warning("schema_not_ready", package=package, missing=lacking[0].file_name)
    return not lacking


async def _apply(connection: asyncpg.Connection, package: str, migration: Migration) -> None:
    await connection.execute(migration.script)
    if not connection.is_in_transaction():
        raise MigrationError(f"{package}: {migration.file_name} ends its own transaction")
    await connection.execute(_SQL["record_migration"], package, migration.number, migration.name, migration.checksum)


def _changed(package: str, migration: Migration) -> MigrationError:
    return MigrationError(f"{package}: {migration.file_name} was changed after it had been applied")
