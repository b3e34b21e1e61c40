"""Brings the databases of a bank to this release: schemas first, then what each role may do with them.

Done by the owner of the schemas, before the services start. Never here: what is in a schema, which
role may do what (`migrations/` and `grants*.sql` of the rooms).
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from services.account import records, store
from services.chassis import migrations, postgres, roles
from services.chassis.migrations import MigrationError
from services.cli.output import Failure

APPLICATION: Final = "hivecore-migrate"

DATABASES_AT_ONCE: Final = 8

_IN_THE_WAY: Final[tuple[type[Exception], ...]] = (*postgres.ERRORS, MigrationError)


class Schema(NamedTuple):
    """One room's tables in a database, and the file that says what the roles may do with them."""

    package: str
    migrations: str
    grants: str


CONTROL: Final = (Schema("services.account", store.MIGRATIONS, "grants_control.sql"),)

SHARD: Final = (
    Schema("services.ledger", "migrations", "grants.sql"),
    Schema("services.account", records.MIGRATIONS, "grants_shard.sql"),
)


class Migrated(NamedTuple):
    """What was done in one database."""

    database: str
    applied_count: int


async def migrate_bank(
    control_dsn: str | None, shard_dsns: Mapping[int, str], *, makes_roles: bool = False
) -> list[Migrated]:
    """Migrate and grant in all databases; safe to repeat and beside running services of the release before.

    Makes the roles first if asked to, which needs CREATEROLE. Raises `Failure` with what is in the way.
    """
    wanted: list[tuple[str, str, tuple[Schema, ...]]] = [("control", control_dsn, CONTROL)] if control_dsn else []
    wanted += [(f"shard {shard_id}", dsn, SHARD) for shard_id, dsn in sorted(shard_dsns.items())]
    if makes_roles and wanted:
        name, dsn, _ = wanted[0]
        await _migrate(name, dsn, (), makes_roles=True)
    turns = asyncio.Semaphore(DATABASES_AT_ONCE)

    async def in_turn(name: str, dsn: str, schemas: tuple[Schema, ...]) -> Migrated:
        async with turns:
            return await _migrate(name, dsn, schemas)

    return await asyncio.gather(*(in_turn(*each) for each in wanted))


async def _migrate(name: str, dsn: str, schemas: tuple[Schema, ...], *, makes_roles: bool = False) -> Migrated:
    applied_count = 0
    try:
        connection = await postgres.connect(dsn, application=APPLICATION, statement_seconds=0)
        try:
            if makes_roles:
                await roles.ensure(connection)
            # All together, so that a service that waits for its tables may use them once it sees any.
            async with connection.transaction():
                for schema in schemas:
                    applied_count += await migrations.migrate(connection, schema.package, schema.migrations)
                    await roles.grant(connection, schema.package, schema.grants)
        finally:
            await connection.close()
    except _IN_THE_WAY as error:
        raise Failure(f"{name}: {' '.join(str(error).split()) or type(error).__name__}") from error
    return Migrated(name, applied_count)
