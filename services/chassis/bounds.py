"""What one caller, or all of them, can hold of a server: every bound in one place, with its reason.

Bounds on what a request says (legs, pages, texts) are in `services/domain/limits.py`, on what a channel may
ask for in `services/gateway/allowances.py`. Never here: deciding anything else about a call.
"""

import asyncio
import math
import resource
from collections.abc import Callable
from typing import Any, Final

import grpc

from services.chassis import clients, metrics, status
from services.domain import errors, limits

METADATA_BYTES_MAX: Final = 16 * 1024
"""Of one request, keys and values together: a token of 8 KiB, a request id and what tracing adds, twice over."""

STREAMS_PER_CONNECTION_MAX: Final = 2_000
"""Calls under way on one connection; beyond, a stream is refused before it begins, which gRPC clients show as
UNAVAILABLE or CANCELLED. A channel app's busiest process has about (calls per second) x (seconds per call) under
way: 2,000 are 20,000 calls per second at 100 ms. Who needs more opens more connections."""

CALLS_UNDER_WAY_MAX: Final = 5_000
"""Calls under way in one process, about 20 KiB each besides their messages. Beyond, calls are refused at their first
bytes: waiting would only make all of them late."""

WATCHES_MAX: Final = 500
"""Health watches and reflection streams, which need no token and may last: their own bound keeps calls' places free."""

REQUEST_SECONDS_MAX: Final = 10.0
"""From a call's first bytes to its whole request: 4 MiB at 3.4 Mbit/s. Who takes longer holds a place and says nothing."""

CONNECTIONS_MAX: Final = 8_000
"""Of one process. Beyond, a connection is closed before a byte of it is read, TLS included, which gRPC clients show as
UNAVAILABLE; others notice nothing. One that idles holds a descriptor and 60 to 200 KiB."""

DESCRIPTORS_KEPT: Final = 200
"""For everything but callers' connections: PostgreSQL, other services, scrapes, files that are read again."""

HANDSHAKE_MS_MAX: Final = 10_000
"""From connecting to speaking HTTP/2, TLS included."""

IDLE_MS_MAX: Final = 5 * 60 * 1000
"""A connection without calls is closed after this; clients open another when they need one."""

CONNECTION_AGE_MS_MAX: Final = 10 * 60 * 1000
"""Connections are renewed this often, so that servers started later get their share of calls."""

PING_INTERVAL_MS_MIN: Final = 2_000
"""Clients that ping more often are sent away."""

assert PING_INTERVAL_MS_MIN < clients.KEEPALIVE_MS, "our own clients must not be sent away"

PING_STRIKES_MAX: Final = 20
"""So many pings may come sooner. Beside keepalive, clients ping to measure the connection, and on a busy
machine pings arrive in bunches; a flood is still cut off."""

RETRY_SECONDS: Final = 0.5
"""What refused callers are told to wait."""

SWEEP_SECONDS: Final = 1.0
"""How often silent calls are looked for."""

SERVER_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    # Without this, gRPC begins to refuse at random between the two.
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
    ("grpc.max_connection_idle_ms", IDLE_MS_MAX),
    ("grpc.max_connection_age_ms", CONNECTION_AGE_MS_MAX),
    ("grpc.max_connection_age_grace_ms", round(limits.DEADLINE_SECONDS_MAX * 1000)),
    ("grpc.keepalive_time_ms", clients.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", clients.KEEPALIVE_ANSWER_MS),
    ("grpc.http2.ping_timeout_ms", clients.KEEPALIVE_ANSWER_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
    ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
    # A second process on the same port fails to start instead of taking half of the calls.
    ("grpc.so_reuseport", 0),
)


IsFull = Callable[[], bool]
"""Tells whether one more call of a method would be refused whatever it says."""


def connections_option() -> tuple[str, int]:
    """Bound the connections, as far as the process's descriptors go."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = CONNECTIONS_MAX if descriptors == resource.RLIM_INFINITY else descriptors - DESCRIPTORS_KEPT
    return "grpc.max_allowed_incoming_connections", max(1, min(CONNECTIONS_MAX, room))


class UnderWay:
    """The calls under way in one server, and which of them still wait for their request."""

    def __init__(
        self,
        calls_max: int = CALLS_UNDER_WAY_MAX,
        watches_max: int = WATCHES_MAX,
        request_seconds_max: float = REQUEST_SECONDS_MAX,
    ) -> None:
        self._calls_max = calls_max
        self._watches_max = watches_max
        self._request_seconds_max = request_seconds_max
        self._heard = 0
        self._watches = 0
        self._silent: dict[asyncio.Task[object], float] = {}
        """Since when (loop time) calls wait for their request."""
        self._swept_at = 0.0
        self._sweeping: asyncio.TimerHandle | None = None

    def enter(self) -> bool:
        """Count the current task's call; tell whether there was a place for it."""
        task = _current_task()
        loop = task.get_loop()
        if self._heard + len(self._silent) >= self._calls_max and not self._has_room(loop):
            return False
        self._silent[task] = loop.time()
        if self._sweeping is None:
            self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return True

    def hear(self) -> None:
        """Note that the current task's call has its request; `leave` follows."""
        self._silent.pop(_current_task(), None)
        self._heard += 1

    def is_too_silent(self) -> bool:
        """Tell whether the current task's call was ended because its request did not come."""
        since = self._silent.get(_current_task(), math.inf)
        return asyncio.get_running_loop().time() - since > self._request_seconds_max

    def leave(self) -> None:
        """Note that a call that was heard has ended."""
        self._heard -= 1

    def enter_watch(self) -> bool:
        """Count the current task's stream until the task ends; tell whether there was a place for it."""
        if self._watches >= self._watches_max:
            return False
        self._watches += 1
        _current_task().add_done_callback(self._leave_watch)
        return True

    def _leave_watch(self, _task: asyncio.Task[object]) -> None:
        self._watches -= 1

    def _has_room(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Look whether callers have gone meanwhile, but not at every call of a flood."""
        if loop.time() - self._swept_at > SWEEP_SECONDS / 100:
            self._forget_gone(loop)
        return self._heard + len(self._silent) < self._calls_max

    def _forget_gone(self, loop: asyncio.AbstractEventLoop) -> None:
        self._swept_at = loop.time()
        for task in [task for task in self._silent if task.done()]:
            del self._silent[task]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """End calls that have been silent for too long."""
        self._forget_gone(loop)
        for task, since in self._silent.items():
            if loop.time() - since > self._request_seconds_max:
                metrics.TURNED_AWAY_CALLS.labels("silent").inc()
                task.cancel()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._silent else None


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None, "gRPC runs every call in a task of its own"
    return task


def no_place(what: str) -> Any:
    """Make the handler of what found no place, `calls` or `watches`."""
    error = errors.Overloaded("TOO_MANY_CALLS", f"too many {what} are under way; nothing was done", RETRY_SECONDS)
    return _refusal(what, error)


def no_hope() -> Any:
    """Make the handler of calls whose method is full."""
    error = errors.Overloaded("QUEUE_FULL", "too much waits everywhere; the request was not read", RETRY_SECONDS)
    return _refusal("queues", error)


def _refusal(cause: str, error: errors.Overloaded) -> Any:
    """Make a handler that answers without reading the request."""
    told = status.to_status(error)
    details = ((status.DETAILS_KEY, told.SerializeToString()),)
    turned_away = metrics.TURNED_AWAY_CALLS.labels(cause)

    async def refuse(_requests: object, context: grpc.aio.ServicerContext[object, object]) -> None:
        turned_away.inc()
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, told.message, details)

    return grpc.stream_stream_rpc_method_handler(refuse)
