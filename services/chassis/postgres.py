"""Connections to PostgreSQL, opened one way everywhere, and what its errors prove.

Connections keep no session state (SET LOCAL and transaction-level locks only), so they are given
back to a pool without the usual reset round trip. Never here: SQL, retrying.
"""

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncpg
from asyncpg.transaction import Transaction

from services.chassis import metrics, postgres_hosts
from services.chassis.postgres_hosts import Host

CONNECT_SECONDS_MAX: Final = 5.0
STATEMENT_SECONDS_DEFAULT: Final = 30.0
ANSWER_SECONDS: Final = 5.0
"""How much longer than the server may take for a statement its answer is waited for: a connection whose other
end is gone and never said so would be waited for without end."""
KEEPALIVE_IDLE_SECONDS: Final = 5
KEEPALIVE_INTERVAL_SECONDS: Final = 2
KEEPALIVE_PROBES: Final = 3
"""A peer that vanished without a word is noticed after 5 + 3 * 2 seconds."""
VANISHED_MS: Final = 1000 * (KEEPALIVE_IDLE_SECONDS + KEEPALIVE_PROBES * KEEPALIVE_INTERVAL_SECONDS)
"""So soon also when something was sent to it that it does not acknowledge, which no keepalive sees."""

SQLSTATE_WARNING: Final = "01000"

DID_NOT_COMMIT: Final[tuple[type[Exception], ...]] = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InFailedSQLTransactionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.RaiseError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
)
"""Answers of the server that prove that the transaction they ended was not committed, even when
COMMIT itself got them. Absent on purpose: AdminShutdownError, which may come while a commit that is
already durable waits for a replica, and everything that means a broken connection."""


ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""Everything that the driver may raise about a server, a connection or a statement."""


class NotReplicated(ConnectionError):
    """The server stopped waiting for its replica: what was committed is on one machine only, so nobody may be told.

    Counts as a lost connection: whoever wants to know commits something else, and that waits again.
    """


class Connection(asyncpg.Connection):
    """A connection that resets nothing on release, notices a vanished peer, and never ends a wait for a replica.

    The driver would ask the server to cancel the statement of a caller who went away. A commit that
    waits for a replica would stop waiting then, and everybody could see what one machine alone has:
    such a connection is cut instead, and the server goes on.
    """

    def __init__(self, protocol: Any, transport: Any, loop: Any, *arguments: Any) -> None:
        super().__init__(protocol, transport, loop, *arguments)
        self._event_loop = loop
        self._is_warned = False
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_MS)

    def get_reset_query(self) -> str:
        """Reset nothing: no session state is ever set."""
        return ""

    def transaction(
        self, *, isolation: Any = None, readonly: bool = False, deferrable: bool = False
    ) -> "CancellableTransaction":
        """Begin a transaction whose end never hides that its task was told to stop."""
        self._check_open()  # type: ignore[attr-defined]  # as the driver's own does
        return CancellableTransaction(self, isolation, readonly, deferrable)

    def expect_replicated(self) -> None:
        """Raise NotReplicated if the server has ever warned: a cancelled wait for a replica is no more than a warning."""
        if self._is_warned:
            raise NotReplicated("the server may not have waited for its replica")

    def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
        self._is_warned |= fields.get("C") == SQLSTATE_WARNING
        super()._process_log_message(fields, last_query)  # type: ignore[misc]  # private, and the only place that every one passes

    def _cancel_current_command(self, *_: Any) -> None:
        self._event_loop.call_soon(self.terminate)


class CancellableTransaction(Transaction):
    """Lets a cancellation through: the connection is cut then, and taking the transaction back fails.

    The driver's error would otherwise take the cancellation's place, and whoever goes on after errors of
    the database would go on for ever.
    """

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        """End the transaction."""
        try:
            await super().__aexit__(kind, error, trace)
        except ERRORS:
            if not isinstance(error, asyncio.CancelledError):
                raise


class ReadingConnection(Connection):
    """A connection that only reads: what its caller does not wait for any longer is cancelled on the server."""

    def _cancel_current_command(self, *waiters: Any) -> None:
        super(Connection, self)._cancel_current_command(*waiters)  # type: ignore[misc]


def _arguments(application: str, statement_seconds: float, *, only_reads: bool) -> dict[str, Any]:
    return {
        "connection_class": ReadingConnection if only_reads else Connection,
        "timeout": CONNECT_SECONDS_MAX,
        "command_timeout": statement_seconds + ANSWER_SECONDS if statement_seconds else None,
        "target_session_attrs": "read-write",
        "server_settings": {
            "application_name": application,
            "jit": "off",
            "statement_timeout": str(round(statement_seconds * 1000)),
            "TimeZone": "UTC",
        },
    }


async def connect(
    dsn: str,
    *,
    application: str,
    statement_seconds: float = STATEMENT_SECONDS_DEFAULT,
    only_reads: bool = False,
) -> Connection:
    """Open one connection to a server that can be written; `statement_seconds` 0 means no limit.

    Where the DSN names several hosts, they are asked side by side.
    """
    connection: Connection = await _connect(dsn, **_arguments(application, statement_seconds, only_reads=only_reads))
    return connection


async def _connect(dsn: str, **arguments: Any) -> Any:
    hosts = postgres_hosts.hosts_of(dsn)
    if len(hosts) < 2:
        return await asyncpg.connect(dsn, **arguments)

    async def ask(host: Host) -> asyncpg.Connection:
        return await asyncpg.connect(dsn, host=host.name, port=host.port, **arguments)

    return await postgres_hosts.first(hosts, ask, asyncpg.Connection.terminate)


async def create_pool(
    dsn: str,
    *,
    application: str,
    name: str | None = None,
    size: int,
    statement_seconds: float = STATEMENT_SECONDS_DEFAULT,
    only_reads: bool = False,
    init: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> asyncpg.Pool:
    """Open a pool of up to `size` connections, one of them at once; `init` prepares each new one.

    `name` is what it is called at /metrics: which database, and what for.
    """
    arguments = _arguments(application, statement_seconds, only_reads=only_reads) | {"connect": _connect, "init": init}
    pool: asyncpg.Pool = await asyncpg.create_pool(dsn, min_size=1, max_size=size, **arguments)
    metrics.watch_pool(name or application, size, pool.get_size, pool.get_idle_size)
    return pool


def is_connection_lost(error: BaseException) -> bool:
    """Tell whether an error means that the connection is of no more use: drop it, open another.

    True also when the server now only reads (a demoted primary), and when a statement ran out of
    time here: whether it was carried out is unknown. Of a pool, expire all connections then. Also
    when its only user is told that it is busy: the driver says that after a COPY that was cut off.
    """
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "another operation is in progress" in str(error)
    return isinstance(error, _LOST) and not isinstance(error, asyncpg.QueryCanceledError)


_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
)
