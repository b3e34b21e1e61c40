"""One shard's PostgreSQL as a bank should run it: three Patroni nodes and an etcd, on machines that can fail.

The settings that make the loss of an acknowledged commit impossible are here and explained in
`docs/failover.md`. Never here: faults, and what is in the databases.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import asyncpg
import yaml
from cable_room import BRIDGE_ADDRESS, NETWORK, Machine, bridge

from services.chassis import children, postgres, postgres_account, postgres_binaries, postgres_settings

SCOPE = "hivecore-shard-1"
SUPERUSER = "postgres"
REPLICATOR = "replicator"
PASSWORD = "only-inside-a-test"
ETCD_ADDRESS = "10.77.0.10"
NODE_ADDRESSES = ("10.77.0.11", "10.77.0.12", "10.77.0.13")
PORT = 5432
REST_PORT = 8008

READY_SECONDS_MAX = 120.0

CLUSTER: Mapping[str, Any] = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 4,
    "synchronous_mode": True,
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
    "maximum_lag_on_failover": 0,
    "failsafe_mode": True,
}
"""What all nodes agree on, kept in etcd."""

PARAMETERS: Mapping[str, str] = {
    **postgres_settings.DURABLE,
    "wal_level": "replica",
    "wal_log_hints": "on",
    "hot_standby": "on",
    "max_connections": "100",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_keep_size": "512MB",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "shared_buffers": "64MB",
    "jit": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "11s",
    "timezone": "UTC",
}

_http = build_opener(ProxyHandler({}))


class Cluster:
    """The nodes and what can be asked of them. Made by `opened`."""

    def __init__(self, directory: Path, etcd: Machine, nodes: Mapping[str, Machine]) -> None:
        self.directory = directory
        self.etcd = etcd
        self.nodes = nodes
        self._programs = Path(sys.executable).parent
        self._environment = {**postgres_account.ENVIRONMENT, "HOME": str(directory), "PYTHONUNBUFFERED": "1"}

    def dsn(self, database: str, *, user: str = SUPERUSER) -> str:
        """Name a database on whichever node can be written."""
        hosts = ",".join(f"{node.address}:{PORT}" for node in self.nodes.values())
        return f"postgresql://{quote(user)}:{PASSWORD}@{hosts}/{quote(database, safe='')}"

    def dsn_of(self, name: str, database: str) -> str:
        """Name a database on one node."""
        return f"postgresql://{SUPERUSER}:{PASSWORD}@{self.nodes[name].address}:{PORT}/{quote(database, safe='')}"

    def start_etcd(self) -> None:
        """Start, or start again, the store that decides who leads."""
        url = f"http://{self.etcd.address}"
        words = ["--name=etcd", f"--data-dir={self.directory / 'etcd'}", "--log-level=error"]
        words += [f"--listen-client-urls={url}:2379", f"--advertise-client-urls={url}:2379"]
        words += [f"--listen-peer-urls={url}:2380", f"--initial-advertise-peer-urls={url}:2380"]
        words += [f"--initial-cluster=etcd={url}:2380"]
        with children.open_log(self.directory / "etcd.log") as log:
            self.etcd.start(log, [self._programs / "etcd", *words], self._environment)

    def start_node(self, name: str) -> None:
        """Start Patroni on a node, which starts PostgreSQL; the second time as after a loss of power."""
        settings = self.directory / f"{name}.yml"
        settings.write_text(yaml.safe_dump(self._settings(name)))
        command = [*postgres_account.RunAs.namespace().prefix, self._programs / "patroni", settings]
        with children.open_log(self.directory / f"{name}.log") as log:
            self.nodes[name].start(log, command, self._environment)

    def _settings(self, name: str) -> dict[str, Any]:
        place = self.directory / name
        place.mkdir(mode=0o700, exist_ok=True)
        address = self.nodes[name].address
        return {
            "scope": SCOPE,
            "name": name,
            "restapi": {"listen": f"{address}:{REST_PORT}", "connect_address": f"{address}:{REST_PORT}"},
            "etcd3": {"hosts": f"{self.etcd.address}:2379"},
            "bootstrap": {
                "dcs": {
                    **CLUSTER,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": dict(PARAMETERS)},
                },
                "initdb": [
                    "data-checksums",
                    {"encoding": "UTF8"},
                    {"locale-provider": "builtin"},
                    {"locale": "C.UTF-8"},
                ],
            },
            "postgresql": {
                "listen": f"{address}:{PORT}",
                "connect_address": f"{address}:{PORT}",
                "data_dir": str(place / "data"),
                "bin_dir": str(postgres_binaries.binaries()),
                "pgpass": str(place / "pgpass"),
                "parameters": {"unix_socket_directories": str(place)},
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": PASSWORD},
                    "replication": {"username": REPLICATOR, "password": PASSWORD},
                },
                # The network is this run's own; whoever is in it is trusted.
                "pg_hba": [
                    "local all all trust",
                    f"host all all {NETWORK} trust",
                    f"host replication all {NETWORK} trust",
                ],
            },
            "watchdog": {"mode": "off"},
        }

    def members(self, *, asking: str | None = None) -> dict[str, dict[str, Any]]:
        """Give what Patroni says about all nodes; nothing when nobody answers."""
        for name in [asking] if asking else self.nodes:
            try:
                with _http.open(f"http://{self.nodes[name].address}:{REST_PORT}/cluster", timeout=1) as answer:
                    return {member["name"]: member for member in json.load(answer)["members"]}
            except (OSError, URLError, ValueError):
                continue
        return {}

    async def settled(self, replicas: int = 2, seconds: float = READY_SECONDS_MAX) -> str:
        """Wait for a leader, one synchronous replica and so many replicas that follow; give the leader."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        while True:
            found = await asyncio.to_thread(self.members)
            leaders = [name for name, member in found.items() if member["role"] == "leader"]
            following = [name for name, member in found.items() if member.get("state") == "streaming"]
            synchronous = [name for name in following if found[name]["role"] == "sync_standby"]
            if len(leaders) == 1 and synchronous and len(following) >= replicas:
                return leaders[0]
            assert loop.time() < give_up, f"the cluster does not settle: {found}"
            await asyncio.sleep(0.2)

    async def execute(self, statement: str, *, database: str = "postgres", node: str | None = None) -> list[Any]:
        """Run a statement as the superuser, on the node that can be written unless one is named."""
        if node:
            connection = await asyncpg.connect(self.dsn_of(node, database), timeout=5)
        else:
            connection = await postgres.connect(self.dsn(database), application="failover-test")
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close(timeout=2)


@contextmanager
def _machines() -> Iterator[tuple[Machine, dict[str, Machine]]]:
    with bridge():
        etcd = Machine("etcd", ETCD_ADDRESS)
        nodes = {f"node{number}": Machine(f"node{number}", at) for number, at in enumerate(NODE_ADDRESSES, start=1)}
        try:
            yield etcd, nodes
        finally:
            for machine in (*nodes.values(), etcd):
                machine.remove()


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Cluster]:
    """Run a cluster below a directory for the length of the context."""
    assert shutil.which("ip") and BRIDGE_ADDRESS
    with _machines() as (etcd, nodes):
        cluster = Cluster(directory, etcd, nodes)
        cluster.start_etcd()
        for name in nodes:
            cluster.start_node(name)
        await cluster.settled()
        yield cluster
