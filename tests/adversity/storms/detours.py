"""Proxies between every pair of a bank's processes that talk to each other, and the settings that lead through them.

Connections are named `caller>callee`: `callers>gateway`, `gateway>ledger-1`, `ledger>ledger-1` (the
other shards' ledgers), `account>ledger-1`, `gateway>account`, `ledger>account`, `ledger-1>postgres`,
`account>postgres`. Never here: what is done to them.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from services.chassis import roles
from services.cli import topology
from services.cli.topology import Places, Shape
from storms.proxy import HOST, Proxy, Upstream

POSTGRES_PORT = 5432
"""The number in the name of a proxy's socket."""


class Detours:
    """All proxies of one bank; `settings` is for its options. Used as a context manager around the bank."""

    def __init__(self, places: Places, shape: Shape, standbys: int, gateways: int) -> None:
        self._places = places
        self.pids: Callable[[], Mapping[str, int | None]] = dict
        """The bank's processes, once there are some."""
        self._proxies: dict[str, Proxy] = {}
        self.connections: dict[str, tuple[Proxy, str]] = {}
        """By name: the proxy and, where it is shared, whose connections."""
        self._stack = AsyncExitStack()
        ledgers = {each: topology.ledger_names(each, standbys) for each in shape.shard_ids}
        doors = topology.gateway_names(gateways)
        at = {name: self._tcp(name, name) for name in (*doors, *(name for names in ledgers.values() for name in names))}
        self.gateways = [at[name] for name in doors]
        self.settings = self._settings(shape, ledgers, at)
        self.connections |= {f"callers>{name}": (self._proxies[name], "") for name in doors}
        for names in ledgers.values():
            for name in names:
                callers = ("gateway", "ledger", "account")
                self.connections |= {f"{caller}>{name}": (self._proxies[name], caller) for caller in callers}

    async def __aenter__(self) -> Self:
        for proxy in self._proxies.values():
            await self._stack.enter_async_context(proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def account_proxies(self) -> tuple[Proxy, ...]:
        """Give those between the account service and all who ask it for the directory."""
        return tuple(self._proxies[f"{room}>account"] for room in ("gateway", "ledger"))

    def place_of(self, name: str) -> Upstream:
        """Say where a process really listens."""
        ports = json.loads(self._places.ports_file.read_text())
        if name == "postgres":
            return self._places.postgres / "sockets" / f".s.PGSQL.{ports[name]}"
        return HOST, ports[name]

    def _settings(
        self, shape: Shape, ledgers: Mapping[int, tuple[str, ...]], at: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        told = {
            room: {"HIVECORE_ACCOUNT_ADDRESS": self._named(f"{room}>account", "account")}
            for room in ("gateway", "ledger")
        }
        for shard_id, names in ledgers.items():
            for name in names:
                dsn = self._dsn(name, topology.shard_database(shard_id), roles.LEDGER)
                told[name] = {"HIVECORE_SHARDS": json.dumps({str(shard_id): dsn})}
        shards = {
            str(shard_id): {
                "dsn": self._dsn("account", topology.shard_database(shard_id), roles.ACCOUNT),
                "ledgers": [at[name] for name in names],
                "customer_quota": shape.customer_quota,
            }
            for shard_id, names in ledgers.items()
        }
        control = self._dsn("account", topology.CONTROL_DATABASE, roles.ACCOUNT)
        told["account"] = {"HIVECORE_SHARDS": json.dumps(shards), "HIVECORE_CONTROL_DSN": control}
        return told

    def _named(self, name: str, callee: str) -> str:
        address = self._tcp(name, callee)
        self.connections[name] = (self._proxies[name], "")
        return address

    def _tcp(self, name: str, callee: str) -> str:
        self._proxies[name] = Proxy(lambda: self.place_of(callee), self._room_behind)
        return self._proxies[name].bind()

    def _dsn(self, caller: str, database: str, user: str) -> str:
        name = f"{caller}>postgres"
        directory = self._places.data.parent / "detours" / caller
        if name not in self._proxies:
            directory.mkdir(parents=True)
            self._proxies[name] = Proxy(lambda: self.place_of("postgres"))
            self._proxies[name].bind_unix(directory / f".s.PGSQL.{POSTGRES_PORT}")
            self.connections[name] = (self._proxies[name], "")
        return f"postgresql://{user}@/{database}?host={directory}&port={POSTGRES_PORT}"

    def _room_behind(self, port: int) -> str:
        """Say which room of the bank has a connection from this port; nothing when none has it any more."""
        inode = _inode_of(port)
        for name, pid in self.pids().items():
            if inode and pid is not None and _holds(pid, inode):
                return name.partition("-")[0]
        return ""


def _inode_of(port: int) -> str:
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted):
            return fields[9]
    return ""


def _holds(pid: int, inode: str) -> bool:
    try:
        return any(str(each.readlink()) == f"socket:[{inode}]" for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
