"""What one caller, or all of them, can hold of a server: every bound in one place, with its reason.

Bounds on what a request says (legs, pages, texts) are in `services/domain/limits.py`, on what a channel may
ask for in `services/gateway/allowances.py`. Never here: deciding anything else about a call.
"""

import math
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.chassis import clients, metrics, status
from services.domain import errors, limits
from services.transport.calls import Limits, Places, Refusal, Refusals

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

HELD_BYTES_MAX: Final = 512 * 1024 * 1024
"""Of all requests under way in one process, whole or not. Beyond, the call whose bytes these are is refused."""

REQUEST_SECONDS_MAX: Final = 10.0
"""From a call's first bytes to its whole request: 4 MiB at 3.4 Mbit/s. Who takes longer holds a place and says nothing."""

CONNECTIONS_MAX: Final = 8_000
"""Of one process. Beyond, a connection is closed before a byte of it is read, TLS included, which gRPC clients show as
UNAVAILABLE; others notice nothing. One that idles holds a descriptor and 6 KiB (measured with 2,000 in plain text)."""

DESCRIPTORS_KEPT: Final = 200
"""For everything but callers' connections: PostgreSQL, other services, scrapes, files that are read again."""

HANDSHAKE_SECONDS_MAX: Final = 10.0
"""From connecting to speaking HTTP/2, TLS included."""

IDLE_SECONDS_MAX: Final = 5 * 60.0
"""A connection without calls is closed after this; clients open another when they need one."""

CONNECTION_AGE_SECONDS_MAX: Final = 10 * 60.0
"""Connections are renewed this often, so that servers started later get their share of calls."""

PING_SECONDS_MIN: Final = 2.0
"""Clients that ping more often are sent away."""

assert PING_SECONDS_MIN < clients.KEEPALIVE_SECONDS, "our own clients must not be sent away"

PING_STRIKES_MAX: Final = 20
"""So many pings may come sooner. Beside keepalive, clients ping to measure the connection, and on a busy
machine pings arrive in bunches; a flood is still cut off."""

RETRY_SECONDS: Final = 0.5
"""What refused callers are told to wait."""

IsFull = Callable[[], bool]
"""Tells whether one more call of a method would be refused whatever it says."""


def connections_max() -> int:
    """Tell how many connections there may be, as far as the process's descriptors go."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = CONNECTIONS_MAX if descriptors == resource.RLIM_INFINITY else descriptors - DESCRIPTORS_KEPT
    return max(1, min(CONNECTIONS_MAX, room))


def server_limits() -> Limits:
    """Give the bounds of one server."""
    return Limits(
        deadline_seconds_max=limits.DEADLINE_SECONDS_MAX,
        message_bytes_max=limits.MESSAGE_BYTES_MAX,
        held_bytes_max=HELD_BYTES_MAX,
        metadata_bytes_max=METADATA_BYTES_MAX,
        streams_per_connection_max=STREAMS_PER_CONNECTION_MAX,
        calls_max=CALLS_UNDER_WAY_MAX,
        watches_max=WATCHES_MAX,
        connections_max=connections_max(),
        request_seconds_max=REQUEST_SECONDS_MAX,
        handshake_seconds_max=HANDSHAKE_SECONDS_MAX,
        idle_seconds_max=IDLE_SECONDS_MAX,
        age_seconds_max=CONNECTION_AGE_SECONDS_MAX,
        age_grace_seconds=limits.DEADLINE_SECONDS_MAX,
        silent_seconds_max=clients.KEEPALIVE_SECONDS,
        answer_seconds_max=clients.KEEPALIVE_ANSWER_SECONDS,
        ping_seconds_min=PING_SECONDS_MIN,
        ping_strikes_max=PING_STRIKES_MAX,
    )


def _refusal(cause: str, error: errors.BankError) -> Refusal:
    """Word and count a refusal that needs nothing of the call."""
    told = status.to_status(error)
    details = ((status.DETAILS_KEY, told.SerializeToString()),)
    code = status.CODE_BY_ERROR[type(error)]
    return Refusal(code, told.message, details, metrics.TURNED_AWAY_CALLS.labels(cause).inc)


REFUSALS: Final = Refusals(
    no_place_for_call=_refusal(
        "calls", errors.Overloaded("TOO_MANY_CALLS", "too many calls are under way; nothing was done", RETRY_SECONDS)
    ),
    no_place_for_watch=_refusal(
        "watches",
        errors.Overloaded("TOO_MANY_CALLS", "too many watches are under way; nothing was done", RETRY_SECONDS),
    ),
    request_late=_refusal(
        "silent", errors.DeadlinePassed("REQUEST_LATE", "the request did not come in time; nothing was done")
    ),
    out_of_memory=_refusal(
        "bytes", errors.Overloaded("TOO_MANY_CALLS", "too much is under way; nothing was done", RETRY_SECONDS)
    ),
)
"""What a server says to calls that find no place."""

NO_HOPE: Final = _refusal(
    "queues", errors.Overloaded("QUEUE_FULL", "too much waits everywhere; the request was not read", RETRY_SECONDS)
)
"""What it says to calls whose method is full."""

NO_LOOK_UP: Final = _refusal(
    "look_ups",
    errors.Overloaded("QUEUE_FULL", "too many look-ups are under way; the request was not read", RETRY_SECONDS),
)
"""The same to look-ups."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What methods have before them that are turned away together."""

    is_full: IsFull
    places: Places = field(default_factory=Places)
    """Where their calls are counted."""
    refusal: Refusal = NO_HOPE
    seconds_to_turn_max: float = math.inf
    """They are turned away, too, when one more would wait longer than this until anybody looks at it."""
    behind: Callable[[], int] = lambda: 0
    """How many of them have work to do before they wait for somebody else; those that nobody has looked at are known."""
