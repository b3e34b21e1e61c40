"""A channel: connections to a name's addresses, opened when first needed, and calls over them in turn.

Never here: repeating calls, or deciding which name to ask.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Self

from services.transport.calling import CallError, ClientConnection, Patience, unavailable
from services.transport.fields import Metadata

__all__ = ["CallError", "Channel", "Patience"]

LOOK_SECONDS: Final = 1.0
"""How often connections are looked at."""

BY_NAME: Final = "dns:///"
"""Before a name whose addresses come and go: it is looked up again now and then."""

LOOK_UP_SECONDS: Final = 10.0


async def look_up(host: str, port: int) -> dict[tuple[Any, ...], int]:
    """Give the addresses of a name, and the family of each. Raises OSError."""
    known = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return {address: family for family, _, _, _, address in known}


class Channel:
    """Connections to what an address stands for: host:port, or dns:///name:port for all that a name has."""

    def __init__(self, address: str, patience: Patience, context: ssl.SSLContext | None = None) -> None:
        """Speak plain text without a context."""
        host, _, port = address.removeprefix(BY_NAME).rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._authority = f"{host}:{port}"
        self._patience = patience
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._looks_up = address.startswith(BY_NAME)
        self._looked_up_at = -LOOK_UP_SECONDS
        self._connections: dict[tuple[Any, ...], ClientConnection] = {}
        self._leaving: set[ClientConnection] = set()
        """Those that begin no more calls, while some are under way."""
        self._turn = count()
        self._connecting: asyncio.Task[None] | None = None
        self._pause_seconds = 0.0
        """From the last failed attempt to the next."""
        self._pause_until = 0.0
        self._looking: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Give the channel."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        *,
        _registered_method: bool = False,
    ) -> Callable[..., Any]:
        """Give what calls a method, as the stubs that protoc makes ask for it."""

        async def call(request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> Any:  # noqa: ASYNC109
            octets = request if request_serializer is None else request_serializer(request)
            answer = await self.call(method, octets, timeout, metadata or ())
            return answer if response_deserializer is None else response_deserializer(answer)

        return call

    def unary_stream(self, method: str, *_: object, **__: object) -> Callable[..., Any]:
        """Give what fails: nobody here listens to streams."""

        def call(*_: object, **__: object) -> Any:
            raise NotImplementedError(f"{method} is a stream")

        return call

    stream_unary = stream_stream = unary_stream

    async def call(self, path: str, message: bytes, seconds: float | None, metadata: Metadata) -> bytes:
        """Call a method over one of the connections and return the answer's message. Raises CallError.

        Without a connection one is waited for, for as long as connecting may take.
        """
        connection = self._choose()
        if connection is None:
            patience = self._patience.connect_seconds_max
            if await self.is_ready(patience if seconds is None else min(seconds, patience)):
                connection = self._choose()
            if connection is None:
                raise unavailable(f"{self._authority} does not answer", was_taken=False)
        return await connection.call(path, message, self._authority, seconds, metadata)

    async def is_ready(self, seconds: float) -> bool:
        """Tell whether a call can be sent, waiting a little for a connection; not after a failed attempt."""
        if self._choose() is not None:
            return True
        if self._is_closed or (self._connecting is None and self._loop.time() < self._pause_until):
            return False
        self._connect()
        connecting = self._connecting
        if connecting is not None:
            await asyncio.wait((connecting,), timeout=seconds)
        return self._choose() is not None

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        for connection in (*self._connections.values(), *self._leaving):
            connection.close()
        if self._looking is not None:
            self._looking.cancel()

    def retire(self) -> None:
        """Close once the calls under way have ended; begin no others."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._connections.values()):
            connection.retire()

    def _choose(self) -> ClientConnection | None:
        """Give the connection whose turn it is."""
        open_ones = [each for each in self._connections.values() if each.is_open]
        if self._looks_up and open_ones and self._loop.time() - self._looked_up_at > LOOK_UP_SECONDS:
            self._connect()
        if len(open_ones) > 1:
            open_ones = [each for each in open_ones if each.has_room] or open_ones
            return open_ones[next(self._turn) % len(open_ones)]
        return open_ones[0] if open_ones else None

    def _connect(self) -> None:
        """Begin to connect to every address that has no connection, unless that is under way."""
        if self._connecting is None and not self._is_closed:
            self._connecting = self._loop.create_task(self._connect_all())
            self._connecting.add_done_callback(self._connected)

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        self._connecting = None
        if not connecting.cancelled() and (error := connecting.exception()) is not None:
            self._loop.call_exception_handler({"message": "connecting failed", "exception": error})

    async def _connect_all(self) -> None:
        """Return as soon as one connection is open, or none could be."""
        self._looked_up_at = self._loop.time()
        attempts: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.timeout(self._patience.connect_seconds_max):
                known = await look_up(self._host, self._port)
                missing = {address: family for address, family in known.items() if address not in self._connections}
                attempts = {
                    self._loop.create_task(self._attempt(family, address)) for address, family in missing.items()
                }
                waiting = set(attempts)
                while waiting and not any(each.is_open for each in self._connections.values()):
                    _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except (TimeoutError, OSError):
            pass
        except asyncio.CancelledError:
            for attempt in attempts:
                attempt.cancel()
            raise
        if any(each.is_open for each in self._connections.values()):
            self._pause_seconds = 0.0
            return
        for attempt in attempts:
            attempt.cancel()
        patience = self._patience
        self._pause_seconds = min(max(2 * self._pause_seconds, patience.retry_seconds_min), patience.retry_seconds_max)
        self._pause_until = self._loop.time() + self._pause_seconds

    async def _attempt(self, family: int, address: tuple[Any, ...]) -> None:
        """Connect to one address and wait until the peer has introduced itself."""
        connection = ClientConnection(self._patience, self._gone)
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(self._patience.connect_seconds_max):
                connected.setblocking(False)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.sock_connect(connected, address)
                await self._loop.create_connection(
                    lambda: connection,
                    sock=connected,
                    ssl=self._context,
                    server_hostname=self._host if self._context is not None else None,
                )
                await connection.ready
        except (OSError, TimeoutError):
            connected.close()
            connection.abort()
            return
        except asyncio.CancelledError:
            connected.close()
            connection.abort()
            raise
        if connection.is_open and not self._is_closed:
            self._connections[address] = connection
            if self._looking is None:
                self._look()
        else:
            connection.abort()

    def _gone(self, connection: ClientConnection) -> None:
        """Forget a connection that takes no more calls."""
        for address, known in list(self._connections.items()):
            if known is connection:
                del self._connections[address]
                self._looked_up_at = -LOOK_UP_SECONDS
        if connection.is_closing:
            self._leaving.discard(connection)
        else:
            self._leaving.add(connection)

    def _look(self) -> None:
        now = self._loop.time()
        looked_at = (*self._connections.values(), *self._leaving)
        for connection in looked_at:
            connection.look(now, self._patience.silent_seconds_max, self._patience.answer_seconds_max)
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look) if looked_at else None
