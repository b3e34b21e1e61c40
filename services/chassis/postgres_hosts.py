"""Which of several hosts of one database is the one that can be written: they are asked side by side.

The driver asks them one after the other within one limit of time, so a host that vanished without a
word keeps the next from being asked at all. Here each has the whole limit, the next is asked as soon
as the one before has answered or been silent for a moment, and while one is silent the others are
asked again: one of them may be promoted meanwhile. Never here: what an attempt is (`postgres.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

PORT_DEFAULT: Final = 5432

HEAD_START_SECONDS: Final = 0.25
"""How long a silent host is waited for before the next is asked too."""

AGAIN_SECONDS: Final = 0.5
"""A host that refused is asked again after this long, for as long as another one is silent."""

T = TypeVar("T")


class Host(NamedTuple):
    """Where a server may be: a name or address, or a directory of sockets, and its port."""

    name: str
    port: int


def hosts_of(dsn: str) -> list[Host]:
    """Give the hosts that a DSN names, in its order; none when it names none. Raises ValueError for a bad port."""
    parts = urlsplit(dsn)
    named = parts.netloc.rpartition("@")[2]
    if named:
        places = [urlsplit(f"//{place}") for place in named.split(",")]
        return [Host(place.hostname or "", place.port or PORT_DEFAULT) for place in places]
    query = parse_qs(parts.query)
    names = query.get("host", [""])[0]
    if not names:
        return []
    split_names = names.split(",")
    ports = [int(port or PORT_DEFAULT) for port in query.get("port", [str(PORT_DEFAULT)])[0].split(",")]
    if len(ports) == 1:
        ports *= len(split_names)
    return [Host(*place) for place in zip(split_names, ports, strict=True)]


async def first(hosts: Sequence[Host], ask: Callable[[Host], Awaitable[T]], discard: Callable[[T], None]) -> T:
    """Give what the first host gives that does not raise; what others give later goes to `discard`.

    Each is asked once at least; when all have refused, raises the refusal of the first of them. `ask`
    has a limit of time of its own.
    """
    refusals: dict[Host, Exception] = {}
    attempts: dict[asyncio.Task[T], Host] = {}

    def begin(host: Host, seconds: float) -> None:
        attempts[asyncio.create_task(_after(seconds, ask, host))] = host

    to_ask = list(dict.fromkeys(hosts))
    host_count = len(to_ask)
    try:
        while len(refusals) < host_count:
            if to_ask:
                begin(to_ask.pop(0), 0)
            patience = HEAD_START_SECONDS if to_ask else None
            done, _ = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                refusal = attempt.exception()
                if refusal is None:
                    del attempts[attempt]
                    return attempt.result()
                if not isinstance(refusal, Exception):
                    raise refusal
                host = attempts.pop(attempt)
                refusals[host] = refusal
                begin(host, AGAIN_SECONDS)
    finally:
        await _end(attempts, discard)
    raise refusals[hosts[0]]


async def _after(seconds: float, ask: Callable[[Host], Awaitable[T]], host: Host) -> T:
    if seconds:
        await asyncio.sleep(seconds)
    return await ask(host)


async def _end(attempts: dict[asyncio.Task[T], Host], discard: Callable[[T], None]) -> None:
    """Cancel what is still under way; who succeeded all the same is discarded."""
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            discard(outcome)
