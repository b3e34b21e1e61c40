"""The gRPC server's metrics and the /metrics door.

Names follow the grpc-ecosystem set, so public dashboards work. A room's own metrics live in the
room. Labels come from small closed sets; never an account, a customer or a transfer id.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import Counter, Histogram, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from services.chassis import addresses
from services.chassis.settings import SettingsError

LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
    0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds: fine where calls usually end, coarse up to the longest deadline worth telling apart."""

_METHOD: Final = ("grpc_type", "grpc_service", "grpc_method")

GRPC_SERVER_STARTED: Final = Counter("grpc_server_started_total", "How many calls has the server begun?", _METHOD)
GRPC_SERVER_HANDLED: Final = Counter(
    "grpc_server_handled_total", "How many calls has the server ended, and with which code?", (*_METHOD, "grpc_code")
)
GRPC_SERVER_HANDLING_SECONDS: Final = Histogram(
    "grpc_server_handling_seconds", "How long does a call take in the server?", _METHOD, buckets=LATENCY_BUCKETS
)


STOP_POLL_SECONDS: Final = 0.1
"""How long the /metrics thread may take to notice that it should end."""


class _Door(ThreadingWSGIServer):
    """Answers scrapes on threads of its own, so that a slow scraper delays nobody."""

    daemon_threads = True


class _DoorV6(_Door):
    address_family = socket.AF_INET6


class _SilentHandler(WSGIRequestHandler):
    """Scrapes are no news."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def exposed(listen: str) -> Iterator[str]:
    """Serve /metrics on `listen` (port 0 = choose) meanwhile; yields the real host:port.

    `server.Server` does this; a service has no need to. Raises `SettingsError` when it cannot.
    """
    host, port = addresses.split(listen)
    kind = _DoorV6 if ":" in host else _Door
    try:
        httpd = make_server(host, port, make_wsgi_app(), kind, handler_class=_SilentHandler)
    except OSError as error:
        raise SettingsError(f"cannot serve /metrics on {listen}: {error}") from None
    thread = threading.Thread(target=httpd.serve_forever, args=(STOP_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    try:
        yield addresses.join(host, httpd.server_port)
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
