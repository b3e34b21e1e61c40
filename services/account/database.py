"""One database through a pool of connections; a database that does not answer becomes `Unavailable`.

The two stores stand on it: `store.py` and `records.py`. Never here: which queries there are.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import asyncpg

from services.chassis import logs, migrations, postgres, queries
from services.domain import errors

SQL: Final = queries.load("services.account")
APPLICATION: Final = "hivecore-account"

POOL_CONNECTIONS: Final = 8
"""Statements of one process in one database at a time; they are short, and the cores are few."""

ACQUIRE_SECONDS_MAX: Final = 10.0
"""A caller that waits longer for a free connection is told to come back."""

_log = logs.get(__name__)

_NOTHING_WRITTEN: Final = (
    asyncpg.CannotConnectNowError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.SerializationError,
    asyncpg.TooManyConnectionsError,
)


class Database:
    """One database; `name` says in errors which it is."""

    def __init__(self, dsn: str, name: str, migrations_directory: str, *, migrates: bool = True) -> None:
        self._dsn = dsn
        self._name = name
        self._migrations_directory = migrations_directory
        self._migrates = migrates
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Wait for the database and its schema, however long that takes, and open a pool."""
        await migrations.prepare(
            self._dsn, __package__, self._migrations_directory, application=APPLICATION, applies=self._migrates
        )
        self._pool = await postgres.create_pool(
            self._dsn, application=APPLICATION, name=self._name, size=POOL_CONNECTIONS
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """Borrow a connection. Raises `Unavailable` when it does not answer, or not for its replica."""
        if self._pool is None:
            raise self._unavailable()
        try:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS_MAX) as connection:
                yield connection
                cast("postgres.Connection", connection).expect_replicated()
        except _NOTHING_WRITTEN as error:
            raise self._unavailable() from error
        except Exception as error:
            if not postgres.is_connection_lost(error):
                raise
            await self._pool.expire_connections()
            raise self._unavailable() from error

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one named query and return its rows."""
        async with self.connection() as connection:
            return await connection.fetch(SQL[query], *arguments)

    async def fetch_value(self, query: str, *arguments: Any) -> Any:
        """Run one named query and return the first value of its first row."""
        async with self.connection() as connection:
            return await connection.fetchval(SQL[query], *arguments)

    async def execute(self, query: str, *arguments: Any) -> None:
        """Run one named query that returns nothing."""
        async with self.connection() as connection:
            await connection.execute(SQL[query], *arguments)

    def _unavailable(self) -> errors.Unavailable:
        return errors.Unavailable("DATABASE_UNREACHABLE", f"{self._name} does not answer", {"database": self._name})
