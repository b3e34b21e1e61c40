"""Connections to PostgreSQL, opened one way everywhere, and what its errors prove.

Connections keep no session state (SET LOCAL and transaction-level locks only), so they are given
back to a pool without the usual reset round trip. Never here: SQL, retrying.
"""

import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncpg

from services.chassis import metrics

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


class Connection(asyncpg.Connection):
    """A connection that resets nothing on release and notices a vanished peer."""

    def __init__(self, protocol: Any, transport: Any, loop: Any, *arguments: Any) -> None:
        super().__init__(protocol, transport, loop, *arguments)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_MS)

    def get_reset_query(self) -> str:
        """Reset nothing: no session state is ever set."""
        return ""


def _arguments(application: str, statement_seconds: float) -> dict[str, Any]:
    return {
        "connection_class": Connection,
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
    dsn: str, *, application: str, statement_seconds: float = STATEMENT_SECONDS_DEFAULT
) -> asyncpg.Connection:
    """Open one connection to a server that can be written; `statement_seconds` 0 means no limit."""
    return await asyncpg.connect(dsn, **_arguments(application, statement_seconds))


async def create_pool(
    dsn: str,
    *,
    application: str,
    name: str | None = None,
    size: int,
    statement_seconds: float = STATEMENT_SECONDS_DEFAULT,
    init: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> asyncpg.Pool:
    """Open a pool of up to `size` connections, one of them at once; `init` prepares each new one.

    `name` is what it is called at /metrics: which database, and what for.
    """
    pool = await asyncpg.create_pool(
        dsn, min_size=1, max_size=size, init=init, **_arguments(application, statement_seconds)
    )
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
