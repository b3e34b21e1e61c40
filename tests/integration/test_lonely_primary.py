"""A server whose replica is gone: what it has on one machine only is acknowledged to nobody and shown to nobody.

The replica that it waits for does not exist, so every commit waits until the test lets it go.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import ledger_databases
import pytest

from services.account import records
from services.account.database import Database
from services.chassis import children, postgres
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import errors
from services.ledger.store import Store

DATABASE = "lonely"

WAIT_SECONDS_MAX = 60
"""For a commit to begin to wait."""


class Lonely:
    """The server, and an operator who looks at it without waiting himself."""

    def __init__(self, dsn: str, operator: asyncpg.Connection) -> None:
        self.dsn = dsn
        self._operator = operator

    async def wait_for(self, replica: str) -> None:
        """Let commits wait for a replica of this name; for none when it is empty."""
        await self._operator.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{replica}'")
        await self._operator.execute("SELECT pg_reload_conf()")
        while await self._operator.fetchval("SHOW synchronous_standby_names") != replica:
            await asyncio.sleep(children.POLL_SECONDS)
        if replica:
            await self._see_one_wait()

    async def _see_one_wait(self) -> None:
        """Commit until it waits: sessions hear of a setting before the server's process that makes commits wait."""
        probe = await asyncpg.connect(self.dsn)
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                commit = asyncio.create_task(probe.execute("SELECT pg_logical_emit_message(true, 'probe', '')"))
                while not commit.done() and not await self._sessions():
                    await asyncio.sleep(children.POLL_SECONDS)
                if not commit.done():
                    await self.cancel()
                    await commit
                    break
        await probe.close()

    async def _sessions(self) -> list[int]:
        rows = await self._operator.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return [row["pid"] for row in rows]

    async def waiting(self) -> list[int]:
        """Wait until commits wait; give their sessions."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not (sessions := await self._sessions()):
                await asyncio.sleep(children.POLL_SECONDS)
        return sessions

    async def cancel(self) -> None:
        """Cancel what waits, as an operator might who takes it for stuck."""
        for pid in await self.waiting():
            await self._operator.execute("SELECT pg_cancel_backend($1)", pid)

    async def count(self) -> int:
        """Count the rows that everybody can see."""
        return await self._operator.fetchval("SELECT count(*) FROM t")


@pytest.fixture
async def lonely(place: Path) -> AsyncIterator[Lonely]:
    async with EmbeddedPostgres(place) as server:
        await server.ensure_database(DATABASE)
        dsn = server.dsn(DATABASE)
        await ledger_databases.migrate(dsn)
        operator = await asyncpg.connect(dsn, server_settings={"synchronous_commit": "local"})
        await operator.execute("CREATE TABLE t (n int)")
        made = Lonely(dsn, operator)
        await made.wait_for("nobody")
        yield made
        operator.terminate()


async def test_a_commit_whose_wait_was_cancelled_is_in_doubt(lonely: Lonely) -> None:
    connection = await postgres.connect(lonely.dsn, application="hivecore-test", statement_seconds=0.1)
    statement = asyncio.create_task(connection.execute("INSERT INTO t VALUES (1)"))
    await lonely.waiting()
    await lonely.cancel()
    assert await statement == "INSERT 0 1"  # So says the server, of what no replica has.
    with pytest.raises(postgres.NotReplicated) as caught:
        connection.expect_replicated()
    assert postgres.is_connection_lost(caught.value)
    assert not isinstance(caught.value, postgres.DID_NOT_COMMIT)
    connection.terminate()


async def test_a_caller_who_goes_away_does_not_end_the_wait(lonely: Lonely) -> None:
    connection = await postgres.connect(lonely.dsn, application="hivecore-test")
    statement = asyncio.create_task(connection.execute("INSERT INTO t VALUES (1)"))
    (waiting,) = await lonely.waiting()
    statement.cancel()
    await asyncio.gather(statement, return_exceptions=True)
    assert await children.until(connection.is_closed, 5)
    # Whoever waits after it has seen all that a cancel request could have done meanwhile.
    other = await postgres.connect(lonely.dsn, application="hivecore-test")
    later = asyncio.create_task(other.execute("INSERT INTO t VALUES (2)"))
    while len(sessions := await lonely.waiting()) < 2:
        await asyncio.sleep(children.POLL_SECONDS)
    assert waiting in sessions
    assert await lonely.count() == 0
    await lonely.wait_for("")
    await later
    other.expect_replicated()
    await other.close()
    # Each session shows its own once it has heard that it need not wait, the one that nobody waits for any more, too.
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while await lonely.count() != 2:
            await asyncio.sleep(children.POLL_SECONDS)


async def test_a_read_that_nobody_waits_for_is_cancelled_on_the_server(lonely: Lonely) -> None:
    connection = await postgres.connect(lonely.dsn, application="hivecore-test", only_reads=True)
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_the_ledger_does_not_take_a_cancelled_wait_for_an_answer(lonely: Lonely) -> None:
    store = Store(lonely.dsn)
    await store.connect()
    taking = asyncio.create_task(store.take_lease("ledger-test", 3))
    await lonely.waiting()
    await lonely.cancel()
    with pytest.raises(postgres.NotReplicated):
        await taking
    store.drop()


async def test_the_account_service_does_not_take_a_cancelled_wait_for_an_answer(lonely: Lonely) -> None:
    await lonely.wait_for("")
    database = Database(lonely.dsn, "shard 1", records.MIGRATIONS)
    await database.open()
    await lonely.wait_for("nobody")

    async def insert() -> None:
        async with database.connection() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")

    inserting = asyncio.create_task(insert())
    await lonely.waiting()
    await lonely.cancel()
    with pytest.raises(errors.Unavailable):
        await inserting
    await lonely.wait_for("")
    await insert()
    await database.close()
