"""Each service's role may do what its service does, and PostgreSQL refuses it the rest."""

import asyncpg
import pytest
from ledger_databases import MakeDatabase

from services.chassis import migrations, roles
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli.migrating import Migrated, migrate_bank
from services.cli.output import Failure

UPDATABLE = {"journal_head", "writer_lease", "peer", "account", "hold", "customer_cap"}
"""What of the books is as it is now; all else is history."""


class Databases:
    """A control database and a shard's, migrated, as seen by each role."""

    def __init__(self, postgres: EmbeddedPostgres, control: str, shard: str) -> None:
        self.control = control
        self.shard = shard
        self._postgres = postgres

    async def connect(self, dsn: str, user: str) -> asyncpg.Connection:
        name = dsn.rpartition("@/")[2].partition("?")[0]
        return await asyncpg.connect(self._postgres.dsn(name, user=user))

    async def tables(self, dsn: str, schema: str) -> list[str]:
        owner = await asyncpg.connect(dsn)
        try:
            rows = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
            return [row[0] for row in rows]
        finally:
            await owner.close()

    async def is_refused(self, dsn: str, user: str, statement: str) -> bool:
        connection = await self.connect(dsn, user)
        try:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                return True
            except asyncpg.RestrictViolationError:
                return False  # The trigger said no: the role itself was let through.
            finally:
                await transaction.rollback()
            return False
        finally:
            await connection.close()


@pytest.fixture
async def databases(postgres: EmbeddedPostgres, make_database: MakeDatabase) -> Databases:
    made = Databases(postgres, await make_database(), await make_database())
    await migrate_bank(made.control, {1: made.shard}, makes_roles=True)
    return made


async def test_migrating_again_does_nothing_and_keeps_the_grants(databases: Databases) -> None:
    again = await migrate_bank(databases.control, {1: databases.shard}, makes_roles=True)
    assert again == [Migrated("control", 0), Migrated("shard 1", 0)]
    assert not await databases.is_refused(databases.shard, roles.LEDGER, "SELECT FROM ledger.entry")


async def test_no_role_but_the_owner_can_change_or_delete_history(databases: Databases) -> None:
    tables = await databases.tables(databases.shard, "ledger")
    assert set(tables) > UPDATABLE
    for table in tables:
        column = "only_row" if table in {"journal_head", "writer_lease"} else None
        for role in roles.ALL:
            if table not in UPDATABLE:
                name = await _first_column(databases, table)
                update = f"UPDATE ledger.{table} SET {name} = {name}"
                assert await databases.is_refused(databases.shard, role, update), (role, table)
            elif column is not None:
                update = f"UPDATE ledger.{table} SET {column} = {column}"
                assert await databases.is_refused(databases.shard, role, update), (role, table)
            if (role, table) != (roles.LEDGER, "customer_cap"):
                assert await databases.is_refused(databases.shard, role, f"DELETE FROM ledger.{table}"), (role, table)
            assert await databases.is_refused(databases.shard, role, f"TRUNCATE ledger.{table}"), (role, table)


async def _first_column(databases: Databases, table: str) -> str:
    owner = await asyncpg.connect(databases.shard)
    try:
        return await owner.fetchval(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'ledger' AND table_name = $1 ORDER BY ordinal_position LIMIT 1",
            table,
        )
    finally:
        await owner.close()


async def test_the_ledger_reads_and_appends_everything_in_its_books(databases: Databases) -> None:
    for table in await databases.tables(databases.shard, "ledger"):
        assert not await databases.is_refused(databases.shard, roles.LEDGER, f"SELECT FROM ledger.{table} LIMIT 1")
        if table not in {"journal_head", "writer_lease"}:
            insert = f"INSERT INTO ledger.{table} SELECT * FROM ledger.{table} LIMIT 0"
            assert not await databases.is_refused(databases.shard, roles.LEDGER, insert), table


async def test_the_ledger_cannot_see_customers_nor_the_account_service_the_books(databases: Databases) -> None:
    for table in await databases.tables(databases.shard, "account"):
        assert await databases.is_refused(databases.shard, roles.LEDGER, f"SELECT FROM account.{table}"), table
        assert not await databases.is_refused(databases.shard, roles.ACCOUNT, f"SELECT FROM account.{table}"), table
    for table in await databases.tables(databases.shard, "ledger"):
        assert await databases.is_refused(databases.shard, roles.ACCOUNT, f"SELECT FROM ledger.{table}"), table
        insert = f"INSERT INTO ledger.{table} SELECT * FROM ledger.{table} LIMIT 0"
        assert await databases.is_refused(databases.shard, roles.ACCOUNT, insert), table


async def test_the_auditor_reads_everything_and_writes_nothing(databases: Databases) -> None:
    for dsn, schema in ((databases.shard, "ledger"), (databases.shard, "account"), (databases.control, "control")):
        for table in await databases.tables(dsn, schema):
            assert not await databases.is_refused(dsn, roles.AUDIT, f"SELECT FROM {schema}.{table} LIMIT 1"), table
            insert = f"INSERT INTO {schema}.{table} SELECT * FROM {schema}.{table} LIMIT 0"
            assert await databases.is_refused(dsn, roles.AUDIT, insert), table


@pytest.mark.parametrize("role", roles.ALL)
async def test_no_service_can_make_or_drop_tables(databases: Databases, role: str) -> None:
    for statement in (
        "CREATE TABLE ledger.mine ()",
        "CREATE TABLE public.mine ()",
        "DROP TABLE ledger.entry",
        "ALTER TABLE ledger.entry DISABLE TRIGGER ALL",
        "CREATE SCHEMA mine",
        "SET session_replication_role = replica",
    ):
        assert await databases.is_refused(databases.shard, role, statement), statement


async def test_a_name_that_was_claimed_is_claimed_for_ever(databases: Databases) -> None:
    assert await databases.is_refused(databases.shard, roles.ACCOUNT, "UPDATE account.claim SET number = number")
    assert await databases.is_refused(databases.shard, roles.ACCOUNT, "DELETE FROM account.claim")


async def test_a_service_that_may_not_migrate_waits_for_who_may(postgres: EmbeddedPostgres, database: str) -> None:
    owner = await asyncpg.connect(database)
    try:
        assert await migrations.missing(owner, "services.ledger") == migrations.find("services.ledger")
        await migrate_bank(None, {1: database}, makes_roles=True)
        assert await migrations.missing(owner, "services.ledger") == []
        name = await owner.fetchval("SELECT current_database()")
    finally:
        await owner.close()
    ledger = postgres.dsn(name, user=roles.LEDGER)
    await migrations.prepare(ledger, "services.ledger", application="test", applies=False)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await migrations.prepare(ledger, "services.ledger", application="test", applies=True)


async def test_what_is_in_the_way_of_migrating_is_said_with_the_databases_name(database: str) -> None:
    with pytest.raises(Failure, match=r"^shard 7: "):
        await migrate_bank(None, {7: "postgresql://nobody@127.0.0.1:1/nothing"})
