"""A TCP (or unix socket) proxy that treats connections badly while it is told to.

Bytes that were lost never come later: a connection that lost some is cut when the fault is over, as
any real one is in the end. Never here: which connections are treated how, and when.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from storms.schedule import Kind

CHUNK_BYTES = 65_536
HOST = "127.0.0.1"

Upstream = tuple[str, int] | Path


@dataclass(frozen=True, slots=True)
class Weather:
    """How connections are treated now."""

    kind: Kind | None = None
    seconds: float = 0.0
    """Of delay."""
    caller: str = ""
    """The room whose connections are meant; all when empty."""


CALM = Weather()


class Proxy:
    """Listens at a place of its own and passes everything on to `upstream`. Used as a context manager."""

    def __init__(self, upstream: Callable[[], Upstream], caller_of: Callable[[int], str] = lambda _: "") -> None:
        """`caller_of` names the room behind a connection's port."""
        self.upstream = upstream
        self._caller_of = caller_of
        self._weather = CALM
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    def bind(self) -> str:
        """Take a port and return host:port. Connections wait there until the proxy is entered."""
        self._socket = socket.create_server((HOST, 0))
        return f"{HOST}:{self._socket.getsockname()[1]}"

    def bind_unix(self, path: Path) -> None:
        """Take a unix socket."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))

    async def __aenter__(self) -> Self:
        assert self._socket is not None
        start = asyncio.start_unix_server if self._socket.family == socket.AF_UNIX else asyncio.start_server
        self._server = await start(self._accept, sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._abort(set(self._links))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self, weather: Weather) -> None:
        """Treat connections, those that are there and those that come, like this until `calm`."""
        self._weather = weather
        for link in self._meant():
            if weather.kind is Kind.CUT:
                link.abort()
            elif weather.kind is Kind.HALF_CLOSED:
                link.half_close()

    def calm(self) -> None:
        """Treat connections well again; those that lost bytes are cut."""
        self._weather = CALM
        self._abort({link for link in self._links if link.is_spoilt})

    def divert(self, upstream: Callable[[], Upstream]) -> None:
        """Pass everything on to somewhere else from now on; connections that are there are cut."""
        self.upstream = upstream
        self._abort(set(self._links))

    def treatment(self, link: "_Link") -> Weather:
        """Give how a connection is treated now."""
        return self._weather if self._weather.caller in {"", link.caller} else CALM

    def _meant(self) -> set["_Link"]:
        return {link for link in self._links if self.treatment(link) is not CALM}

    def _abort(self, links: set["_Link"]) -> None:
        for link in links:
            link.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        caller = await asyncio.to_thread(self._caller_of, peer[1]) if isinstance(peer, tuple) else ""
        place = self.upstream()
        try:
            there = (
                await asyncio.open_unix_connection(str(place))
                if isinstance(place, Path)
                else await asyncio.open_connection(*place)
            )
        except OSError:
            return
        link = _Link(self, caller, (reader, writer), there)
        self._links.add(link)
        try:
            if self.treatment(link).kind is Kind.CUT:
                return
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(link.pump(reader, there[1], Kind.REQUESTS_LOST))
                pumps.create_task(link.pump(there[0], writer, Kind.ANSWERS_LOST))
        finally:
            self._links.discard(link)
            link.abort()


class _Link:
    """One connection of a caller, and the one to where it is going."""

    def __init__(
        self,
        proxy: Proxy,
        caller: str,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.caller = caller
        self.is_spoilt = False
        self._proxy = proxy
        self._writers = (here[1], there[1])
        self._is_half_closed = False

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def half_close(self) -> None:
        """Tell the caller that no more answers come, and go on to take its requests."""
        self.is_spoilt = self._is_half_closed = True
        with contextlib.suppress(OSError, RuntimeError):
            self._writers[0].write_eof()

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: Kind) -> None:
        """Pass bytes on in one direction until there are no more."""
        try:
            while chunk := await source.read(CHUNK_BYTES):
                weather = self._proxy.treatment(self)
                if weather.kind is Kind.DELAYED:
                    await asyncio.sleep(weather.seconds)
                if weather.kind is lost or (self._is_half_closed and sink is self._writers[0]):
                    self.is_spoilt = True
                    continue
                sink.write(chunk)
                await sink.drain()
            if sink.can_write_eof() and not (self._is_half_closed and sink is self._writers[0]):
                sink.write_eof()
        except (OSError, RuntimeError):  # Reset, or closed meanwhile: what one side knows the other learns.
            self.abort()
