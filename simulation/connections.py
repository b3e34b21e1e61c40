"""asyncpg's face to the simulated PostgreSQL: connections that break before or after the server has heard.

Never here: what the server does (`database.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from simulation import statements
from simulation.database import Database, Session
from simulation.loop import PROCESS, Process

KEEPALIVE_SECONDS = 11.0
"""When a connection to somebody who vanished is given up, on both sides."""


class Connection:
    """asyncpg's face to a session."""

    def __init__(self, database: Database, owner: Process) -> None:
        self._database = database
        self._network = database.network
        self._owner = owner
        self._session: Session | None = None
        self._is_closed = False
        self.is_in_transaction = False
        self._waiting: asyncio.Future[Any] | None = None
        self._given_up: asyncio.Future[Any] | None = None

    @classmethod
    async def open(cls, database: Database) -> "Connection":
        """Connect from the process that runs now."""
        owner = PROCESS.get()
        connection = cls(database, owner)
        network = database.network
        if network.is_over:
            raise ConnectionRefusedError("it is over")
        reached = network.passes(owner, database.process) and network.passes(database.process, owner)
        opened: asyncio.Future[None] = network.loop.create_future()

        def arrive() -> None:
            if not reached or opened.done():
                return
            if database.is_up:
                connection._session = database.admit(connection)
                owner.call(network.delay(), connection._settle, opened, None)
            else:
                owner.call(network.delay(), connection._settle, opened, ConnectionRefusedError("no server"))

        database.process.call(network.delay(), arrive)
        try:
            async with asyncio.timeout(5.0):
                await opened
        except BaseException:
            connection.terminate()
            raise
        owner.on_death.append(connection._hang_up)
        return connection

    @staticmethod
    def _settle(future: "asyncio.Future[Any]", answer: Any) -> None:
        if future.done():
            return
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    async def _ask(self, name: str, *arguments: Any) -> Any:
        network, database, session = self._network, self._database, self._session
        if network.is_over:
            self._is_closed = True
        if self._is_closed or session is None:
            raise asyncpg.InterfaceError("connection is closed")
        if self._waiting is not None:
            raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
        if self._given_up is not None:
            await self._wait_for_cancellation(self._given_up)
        self.is_in_transaction = name not in {"COMMIT", "ROLLBACK"} and (self.is_in_transaction or name == "BEGIN")
        waiting = self._waiting = network.loop.create_future()

        def reply(answer: Any) -> None:
            if network.passes(database.process, self._owner):
                self._owner.call(network.delay(), self._settle, waiting, answer)
            else:
                self._owner.call(KEEPALIVE_SECONDS, self.cut)

        if network.happens(database.troubles.cut):
            reaches = network.happens(0.5)
            network.story.fault(
                f"a connection is cut {'after' if reaches else 'before'} a statement", self._owner.name, name
            )
            seconds = 0.0
            if reaches:
                seconds = network.delay()
                database.process.call(seconds, session.receive, name, arguments, lambda _: None)
            self.cut(seconds)
        elif network.passes(self._owner, database.process):
            database.process.call(network.delay(), session.receive, name, arguments, reply)
        else:
            self._owner.call(KEEPALIVE_SECONDS, self.cut)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._given_up = waiting
            if network.passes(self._owner, database.process):
                database.process.call(network.delay(), session.cancel, reply)
            raise
        finally:
            self._waiting = None

    async def _wait_for_cancellation(self, given_up: "asyncio.Future[Any]") -> None:
        """See a statement through that nobody waits for any more, as asyncpg does before the next one."""
        await asyncio.wait([given_up])
        given_up.exception()
        self._given_up = None
        if self._is_closed:
            raise asyncpg.InterfaceError("connection is closed")

    def cut(self, under_way: float = 0.0) -> None:
        """Break the connection: this side knows at once, the server a little after what is under way to it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._hang_up(under_way)
        for waiting in (self._waiting, self._given_up):
            if waiting is not None:
                self._settle(waiting, asyncpg.ConnectionDoesNotExistError("connection was closed in the middle"))
                waiting.exception()

    def terminate(self) -> None:
        """Drop the connection."""
        if not self._is_closed:
            self._is_closed = True
            self._hang_up()

    def _hang_up(self, under_way: float = 0.0) -> None:
        session = self._session
        if session is None or not session.is_open:
            return
        network, process = self._network, self._database.process
        heard = network.passes(self._owner, process)
        seconds = max(network.delay(), 2 * network.weather.delay_seconds) + 0.001 if heard else KEEPALIVE_SECONDS
        process.call(max(seconds, under_way + 0.001), session.end)

    def server_ended(self) -> None:
        """Learn that the session is gone."""
        if not self._is_closed and self._network.passes(self._database.process, self._owner):
            self._owner.call(self._network.delay(), self.cut)
        elif not self._is_closed:
            self._owner.call(KEEPALIVE_SECONDS, self.cut)

    # asyncpg's names.

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        async with asyncio.timeout(timeout):
            return await self._ask(statements.name_of(query), *arguments)

    async def fetchrow(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        rows = await self.fetch(query, *arguments, timeout=timeout)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        rows = await self.fetch(query, *arguments, timeout=timeout)
        return rows[0][0] if rows else None

    async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:
        await self.fetch(query, *arguments, timeout=timeout)
        return ""

    async def executemany(self, query: str, arguments: Iterable[Sequence[Any]]) -> None:
        for each in arguments:
            await self.fetch(query, *each)

    async def copy_to_table(
        self, table: str, *, schema_name: str, columns: list[str], source: AsyncIterator[bytes], format: str
    ) -> str:
        assert (schema_name, format) == ("ledger", "binary")
        stream = b"".join([chunk async for chunk in source])
        await self._ask("COPY", table, tuple(columns), stream)
        return ""

    async def set_type_codec(self, *_: Any, **__: Any) -> None:
        """Nothing to do: ids are bytes, times microseconds and dates days here."""

    def expect_replicated(self) -> None:
        """The simulated server has no replica to wait for."""

    def is_closed(self) -> bool:
        return self._is_closed

    def get_server_pid(self) -> int:
        assert self._session is not None
        return self._session.pid

    async def close(self, *, timeout: float | None = None) -> None:
        self.terminate()

    def transaction(self, **_: Any) -> "_Transaction":
        return _Transaction(self)


class _Transaction:
    """`async with connection.transaction()`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        await self._connection._ask("BEGIN")

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        await self._connection._ask("COMMIT" if kind is None else "ROLLBACK")


class Pool:
    """asyncpg's pool, as far as readers use it: connections that are opened when needed and kept."""

    def __init__(self, database: Database, size: int) -> None:
        self._database = database
        self._free: list[Connection] = []
        self._room = asyncio.Semaphore(size)

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        async with asyncio.timeout(timeout), self._room:
            connection = await self._connected()
            try:
                return await connection.fetch(query, *arguments)
            finally:
                self._free.append(connection)

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Connection]:
        """Lend a connection."""
        async with asyncio.timeout(timeout):
            await self._room.acquire()
        try:
            connection = await self._connected()
            try:
                yield connection
            finally:
                if connection.is_in_transaction and not connection.is_closed():
                    # Its user was stopped between two statements: the driver takes back what that leaves open.
                    await asyncio.shield(asyncio.create_task(self._reset(connection)))
                else:
                    self._free.append(connection)
        finally:
            self._room.release()

    async def _reset(self, connection: Connection) -> None:
        try:
            await connection._ask("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
        self._free.append(connection)

    async def _connected(self) -> Connection:
        while self._free and self._free[-1].is_closed():
            self._free.pop()
        return self._free.pop() if self._free else await Connection.open(self._database)

    async def warm(self) -> None:
        """Open the first connection at once, as asyncpg does."""
        self._free.append(await Connection.open(self._database))

    async def expire_connections(self) -> None:
        for connection in self._free:
            connection.terminate()
        self._free.clear()

    async def close(self) -> None:
        await self.expire_connections()
