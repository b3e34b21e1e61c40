"""Connections are opened as the books need them, and what errors prove is proven here."""

import asyncio

import asyncpg
import pytest

from services.chassis import postgres


async def test_connections_are_opened_as_the_books_need_them(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test", statement_seconds=1.5)
    shown = [
        await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("application_name", "jit", "statement_timeout", "TimeZone")
    ]
    await connection.close()
    assert shown == ["hivecore-test", "off", "1500ms", "UTC"]


async def test_a_pool_gives_connections_back_without_a_round_trip(database: str) -> None:
    pool = await postgres.create_pool(database, application="hivecore-test", size=2)
    async with pool.acquire() as connection:
        assert connection.get_reset_query() == ""
        assert await connection.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_constraint_that_objects_proves_that_nothing_was_committed(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test")
    await connection.execute("CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(postgres.DID_NOT_COMMIT):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1), (1)")
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    await connection.close()


async def test_a_connection_ended_by_the_server_is_lost_and_proves_nothing(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test")
    with pytest.raises(postgres.ERRORS) as told:
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(postgres.ERRORS) as later:
        await connection.execute("SELECT 1")
    for caught in (told, later):
        assert postgres.is_connection_lost(caught.value)
        assert not isinstance(caught.value, postgres.DID_NOT_COMMIT)
    await connection.close()


async def test_a_connection_that_says_that_it_is_busy_is_lost_to_its_only_user(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test")
    statement = asyncio.ensure_future(connection.execute("SELECT pg_sleep(5)"))
    await asyncio.sleep(0)
    with pytest.raises(asyncpg.InterfaceError) as caught:
        await connection.execute("ROLLBACK")
    statement.cancel()
    await asyncio.gather(statement, return_exceptions=True)
    connection.terminate()
    assert postgres.is_connection_lost(caught.value)


async def test_a_server_that_only_reads_counts_as_lost(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as caught:
        async with connection.transaction(readonly=True):
            await connection.execute("CREATE TABLE t (n int)")
    await connection.close()
    assert postgres.is_connection_lost(caught.value)
    assert isinstance(caught.value, postgres.DID_NOT_COMMIT)


async def test_a_statement_that_ran_into_its_timeout_leaves_the_connection_usable(database: str) -> None:
    connection = await postgres.connect(database, application="hivecore-test", statement_seconds=0.05)
    with pytest.raises(asyncpg.QueryCanceledError) as caught:
        await connection.execute("SELECT pg_sleep(5)")
    assert not postgres.is_connection_lost(caught.value)
    assert isinstance(caught.value, postgres.DID_NOT_COMMIT)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_server_that_is_not_there_is_an_error_of_the_driver_and_lost() -> None:
    with pytest.raises(postgres.ERRORS) as caught:
        await postgres.connect("postgresql://nobody@127.0.0.1:1/nothing", application="hivecore-test")
    assert postgres.is_connection_lost(caught.value)
