"""The metrics that every process has, and the /metrics door.

The gRPC server's names are the grpc-ecosystem's, so public dashboards work. A room's own metrics live
in the room. Labels come from small closed sets; never an account, a customer or a transfer id.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from platform import python_version
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, make_wsgi_app
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from services.chassis import addresses
from services.chassis.meters import Counter, Gauge, Histogram
from services.chassis.settings import SettingsError

LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05,
    0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds: fine where calls usually end, coarse up to the longest deadline worth telling apart."""

METHOD_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")

GRPC_SERVER_STARTED: Final = Counter("grpc_server_started_total", "How many calls has the server begun?", METHOD_LABELS)
GRPC_SERVER_HANDLED: Final = Counter(
    "grpc_server_handled_total",
    "How many calls has the server ended, and with which code?",
    (*METHOD_LABELS, "grpc_code"),
)
GRPC_SERVER_HANDLING_SECONDS: Final = Histogram(
    "grpc_server_handling_seconds", "How long does a call take in the server?", METHOD_LABELS, buckets=LATENCY_BUCKETS
)
DIRECTORY_VERSION: Final = Gauge("hivecore_directory_version", "Which version of the directory does this process have?")
DIRECTORY_REFRESHES: Final = Counter(
    "hivecore_directory_refreshes_total", "How often was the directory asked for, and what came of it?", ["result"]
)
POOL_CONNECTIONS: Final = Gauge(
    "hivecore_postgres_pool_connections",
    "How many connections to a database does a pool hold, in use and idle?",
    ["pool", "state"],
)
POOL_CONNECTIONS_MAX: Final = Gauge(
    "hivecore_postgres_pool_connections_max", "How many connections may a pool hold?", ["pool"]
)
CONNECTIONS: Final = Gauge("hivecore_connections", "How many callers are connected to the process?")
HELD_BYTES: Final = Gauge("hivecore_request_bytes", "How many bytes do the requests under way take in the process?")
TURNED_AWAY_CALLS: Final = Counter(
    "hivecore_turned_away_calls_total",
    "How many calls found no place, came while every queue was full, or were ended because no request came?",
    ["cause"],
)
FILE_IN_FORCE: Final = Gauge(
    "hivecore_file_in_force",
    "Is what the file says now in force (1), or was it refused and the one before it stays (0)?",
    ["file"],
)
BUILD: Final = Gauge(
    "hivecore_build_info", "Which release of which service does this process run?", ["service", "version", "python"]
)


class _Messages(Collector):
    """Counts messages at each scrape from what is counted already: a unary call has one each way.

    So the names are there for public dashboards and a call pays nothing for them.
    """

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give both families."""
        received = CounterMetricFamily(
            "grpc_server_msg_received_total", "How many request messages has the server read?", labels=METHOD_LABELS
        )
        sent = CounterMetricFamily(
            "grpc_server_msg_sent_total", "How many response messages has the server sent?", labels=METHOD_LABELS
        )
        for family, counter in ((received, GRPC_SERVER_STARTED), (sent, GRPC_SERVER_HANDLED)):
            for sample in (sample for metric in counter.collect() for sample in metric.samples):
                if sample.name.endswith("_total") and sample.labels.get("grpc_code", "OK") == "OK":
                    family.add_metric([sample.labels[name] for name in METHOD_LABELS], sample.value)
        yield received
        yield sent


MESSAGES: Final = _Messages()
REGISTRY.register(MESSAGES)


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


def name_process(service: str) -> None:
    """Say at /metrics which service this is, of which release."""
    BUILD.labels(service, version("hivecore"), python_version()).set(1)


def watch_pool(pool: str, size_max: int, size: Callable[[], int], idle: Callable[[], int]) -> None:
    """Show a pool of connections at each scrape."""
    POOL_CONNECTIONS.labels(pool, "idle").set_function(idle)
    POOL_CONNECTIONS.labels(pool, "used").set_function(lambda: size() - idle())
    POOL_CONNECTIONS_MAX.labels(pool).set(size_max)


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
