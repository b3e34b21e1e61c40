"""One gRPC server, from listening to the last answer.

Health and reflection are part of it; /metrics is served beside it. It stops by SIGTERM, SIGINT, the
end of standard input (when asked to stop with its parent) or `stop()`: first health says
NOT_SERVING, then callers get `drain_seconds` to look elsewhere, then calls under way `GRACE_SECONDS` to end. Never here: what the servicers do.
"""

import asyncio
import json
import os
import signal
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.chassis import addresses, bounds, logs, metrics
from services.chassis.identity import Identity
from services.chassis.interceptors import Observed
from services.chassis.settings import ServiceSettings, SettingsError
from services.domain import limits as domain_limits
from services.transport import server as transport
from services.transport.calls import Limits

GRACE_SECONDS: Final = 20.0
"""Calls under way when the server stops get this long: more than a call without a deadline of its own
may take, less than any supervisor's patience."""

assert GRACE_SECONDS > domain_limits.DEADLINE_SECONDS_DEFAULT

_log = logs.get(__name__)


class Server:
    """A service's one door. Made inside the running event loop."""

    def __init__(
        self,
        settings: ServiceSettings,
        identity: Identity | None = None,
        *,
        names_requests: bool = False,
        limits: Limits | None = None,
        gates: Mapping[str, bounds.Gate] | None = None,
    ) -> None:
        """Describe a server; it speaks plain text without an identity.

        `names_requests`: this is the public door, where requests without a name get one. `limits`
        are other than the usual. `gates` tell, by a method's full name (`/package.Service/Method`),
        when its calls are turned away unread.
        """
        limits = limits or bounds.server_limits()
        self._server = transport.Server(limits, bounds.REFUSALS)
        metrics.CONNECTIONS.set_function(lambda: self._server.connection_count)
        metrics.HELD_BYTES.set_function(lambda: self._server.held_bytes)
        self.server: Any = Observed(self._server, names_requests=names_requests, gates=gates)
        """Servicers are added to this, before `serve`."""
        self._settings = settings
        self._context = identity.server_context() if identity is not None else None
        self._probed = transport.Server(limits, bounds.REFUSALS)
        """Answers probes in plain text, where that is asked for."""
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._address = ""

    @property
    def address(self) -> str:
        """The real host:port, once started."""
        assert self._address, "not started"
        return self._address

    async def wait_started(self) -> None:
        """Return once the server listens."""
        await self._started.wait()

    def stop(self) -> None:
        """Ask `serve` to end gracefully. Once is enough."""
        self._stopping.set()

    async def serve(
        self, service_names: Sequence[str], *, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Listen, then serve until told to stop; returns when the last call under way has ended.

        `service_names` are full names (`hivecore.ledger.v1.Ledger`) for health and reflection.
        Health says NOT_SERVING until `prepare` is through; calls are taken meanwhile. Raises what
        `prepare` raises, and `SettingsError` when the address cannot be listened on.
        """
        servicer = health.aio.HealthServicer()
        await _set_health(servicer, service_names, health_pb2.HealthCheckResponse.NOT_SERVING)
        probed: Any = Observed(self._probed)
        for server in (self.server, probed):
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflected = reflection.aio.ReflectionServicer((*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME))
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(reflected, self.server)
        with metrics.exposed(self._settings.metrics_listen) as metrics_address:
            async with self._stop_watched():
                self._listen(metrics_address)
                try:
                    if await self._prepared(prepare):
                        await _set_health(servicer, service_names, health_pb2.HealthCheckResponse.SERVING)
                    await self._stopping.wait()
                finally:
                    _log.info("stopping", address=self._address)
                    await servicer.enter_graceful_shutdown()
                    await asyncio.sleep(self._settings.drain_seconds)
                    await self._server.stop(GRACE_SECONDS)
                    await self._probed.stop(None)

    def _listen(self, metrics_address: str) -> None:
        host, _ = addresses.split(self._settings.listen)
        port = _bound(self._server, self._settings.listen, self._context)
        if self._settings.health_listen is not None:
            _bound(self._probed, self._settings.health_listen, None)
            self._probed.start()
        self._server.start()
        self._address = addresses.join(host, port)
        if self._settings.endpoint_file is not None:
            endpoint = {"grpc": self._address, "metrics": metrics_address, "pid": os.getpid()}
            _write_whole(self._settings.endpoint_file, json.dumps(endpoint))
        self._started.set()
        _log.info("listening", address=self._address, metrics=metrics_address)

    async def _prepared(self, prepare: Callable[[], Awaitable[None]] | None) -> bool:
        """Run `prepare` unless told to stop before it is through; tell whether it is."""
        if prepare is None:
            return True
        preparing = asyncio.ensure_future(prepare())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((preparing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if preparing.done():
                await preparing
            return preparing.done()
        finally:
            preparing.cancel()
            stopping.cancel()
            await asyncio.gather(preparing, stopping, return_exceptions=True)

    @asynccontextmanager
    async def _stop_watched(self) -> AsyncIterator[None]:
        """Turn signals and, when asked to, the end of standard input into `stop`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        parent = sys.stdin.fileno() if self._settings.stop_with_parent else None
        if parent is not None:
            if not stat.S_ISFIFO(os.fstat(parent).st_mode) and not stat.S_ISSOCK(os.fstat(parent).st_mode):
                raise SettingsError("HIVECORE_STOP_WITH_PARENT needs a pipe as standard input")
            loop.add_reader(parent, self._read_parent, parent)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            if parent is not None:
                loop.remove_reader(parent)

    def _read_parent(self, parent: int) -> None:
        if not os.read(parent, 4096):
            asyncio.get_running_loop().remove_reader(parent)
            self.stop()


def _bound(server: transport.Server, address: str, context: ssl.SSLContext | None) -> int:
    """Bind a server to an address and return the port. Raises `SettingsError` when that cannot be."""
    try:
        return server.bind(*addresses.split(address), context)
    except OSError as error:
        raise SettingsError(f"cannot listen on {address}: {error}") from None


async def _set_health(
    servicer: health.aio.HealthServicer,
    service_names: Sequence[str],
    serving: int,
) -> None:
    for name in ("", *service_names):
        await servicer.set(name, serving)


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
