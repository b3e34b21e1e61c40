"""A bank put together out of the rooms that ship, on a simulated ground.

Every host runs what its `__main__` would run, without settings and sockets; what is below them is replaced at the
seams that `installed` names. Never here: what is asked of the bank (`callers.py`), what happens to it
(`faults.py`).
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import structlog
from hivecore.gateway.v1 import bank_pb2_grpc
from hivecore.ledger.v1 import ledger_pb2_grpc

from services.account import placing
from services.chassis import clients, interceptors, migrations, postgres
from services.chassis.directory_cache import DirectoryCache
from services.chassis.watched import Unwatched
from services.domain import errors
from services.domain.identifiers import CUSTOMER_SERIAL_MAX
from services.gateway import coalescing, scopes
from services.gateway.allowances import Allowances
from services.gateway.authentication import Caller
from services.gateway.cataloguing import Cataloguing
from services.gateway.coalescing import Bounds
from services.gateway.customers import Customers
from services.gateway.holding import Holds
from services.gateway.managing import Management
from services.gateway.metering import Metering
from services.gateway.ownership import Ownership
from services.gateway.pages import PageTokens
from services.gateway.peers import AccountService
from services.gateway.products import Products
from services.gateway.reading import Books
from services.gateway.reversing import Reversals
from services.gateway.service import BankService
from services.gateway.transfers import Posting
from services.ledger import ahead, batching, crossings, memory, pacing, sealing, shard, small_batches, store
from services.ledger.service import LedgerService
from services.ledger.shard import Shard
from simulation.account_service import ACCOUNT_SERVICE, ACCOUNT_SERVICES, AccountHost
from simulation.connections import Connection, Pool
from simulation.database import CONTROL, Database
from simulation.hosts import Host
from simulation.loop import EPOCH_US, PROCESS, Process, SimulationLoop
from simulation.network import Network, SimulatedServer
from simulation.plan import Plan
from simulation.prices import CZK, EUR
from simulation.story import Story

BOUNDS = Bounds(
    queued_items_max=8_000, call_items_max=2_000, full_call_items=250, calls_in_flight_max=4, wait_seconds_max=0.5
)
SLOTS_PER_SHARD = 50
HOME_SLOTS = 5
"""Slots of each shard, before all others, that keep names; customers who are opened by callers are placed there first."""


class LedgerHost(Host):
    """`python -m services.ledger` for one shard."""

    def __init__(self, bank: "Bank", shard_id: int, letter: str) -> None:
        super().__init__(bank, f"ledger-{shard_id}{letter}")
        self.shard_id = shard_id
        self.address = f"{self.name}:1"
        self.shard: Shard | None = None
        self.directory: DirectoryCache | None = None

    async def main(self, process: Process) -> None:
        bank = self.bank
        self.directory = directory = DirectoryCache(ACCOUNT_SERVICE)
        self.shard = Shard(
            self.shard_id,
            f"simulated {self.shard_id}",
            process.name,
            bank.plan.lease_seconds,
            directory.ledger,
            seal_seconds=bank.plan.seal_seconds,
        )
        service = LedgerService({self.shard_id: self.shard}, lambda: directory.current, directory.refresh)
        ledger_pb2_grpc.add_LedgerServicer_to_server(service, SimulatedServer(bank.network, process, self.address).door)
        await directory.start()
        running = asyncio.create_task(self.shard.run())
        self.tasks.append(running)
        await running

    async def stop(self) -> None:
        """SIGTERM: the lease is given back."""
        process = self.process
        assert process is not None
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks, timeout=5.0)
        if process.is_alive:
            process.kill()


class Authenticator:
    """Lets everybody in: tokens are not what is simulated."""

    def caller_of(self, metadata: Any) -> Caller:
        """Tell who calls."""
        return Caller("simulation", "test", frozenset(scopes.SCOPE_BY_CALL.values()) | frozenset(
            scopes.SCOPE_BY_DISPENSATION.values()), None, float("inf"))  # fmt: skip


class GatewayHost(Host):
    """`python -m services.gateway`."""

    def __init__(self, bank: "Bank", number: int) -> None:
        super().__init__(bank, f"gateway-{number}")
        self.address = f"{self.name}:1"
        self.account_service = ACCOUNT_SERVICES[(number - 1) % len(bank.account_services)]
        self.directory: DirectoryCache | None = None

    async def main(self, process: Process) -> None:
        self.directory = directory = DirectoryCache(ACCOUNT_SERVICE)
        rooms: dict[str, Any] = {
            "authenticator": Authenticator(),
            "metering": Metering(Unwatched(Allowances()), lambda: 0.0),
            "directory": directory,
            "account_service": AccountService(self.account_service),
            "page_tokens": PageTokens(bytes(32)),
            "accounts_max": 1_000,
            "bounds": BOUNDS,
            "charge": _free,
        }
        if self.bank.plan.has_products:
            products = Products(directory, rooms["account_service"], accounts_max=self.bank.plan.accounts_max)
            rooms |= {"products_": products, "charge": products.charge}
        for name, kind in _ROOMS:
            rooms[name] = _made(kind, rooms)
            rooms["restrictions"] = getattr(rooms.get("books"), "restrictions", None)
        service = _made(BankService, rooms)
        server = SimulatedServer(self.bank.network, process, self.address, names_requests=True)
        bank_pb2_grpc.add_BankServicer_to_server(service, server.door)
        await (products.start() if self.bank.plan.has_products else directory.start())


_ROOMS: tuple[tuple[str, Any], ...] = (
    ("ownership", Ownership),
    ("posting", Posting),
    ("books", Books),
    ("customers_", Customers),
    ("customers", Customers),
    ("holds", Holds),
    ("reversals", Reversals),
    ("management", Management),
    ("cataloguing", Cataloguing),
)
"""Rooms of the gateway that callers here enter; the others may be missing."""


def _made(kind: Any, rooms: dict[str, Any]) -> Any:
    """Make a room out of those that there are, by the names that it asks for them."""
    return kind(**{name: rooms.get(name) for name in signature(kind).parameters})


class Bank:
    """All hosts and databases of one simulation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = Random(f"bank {plan.seed}")
        self.loop = SimulationLoop(Random(f"order {plan.seed}"))  # type: ignore[abstract]  # what nobody calls is not there
        self.loop.epoch_us = EPOCH_US + plan.start_us
        self.story = Story(self.loop)
        self.network = Network(self.loop, Random(f"network {plan.seed}"), self.story)
        self.shard_ids = tuple(range(1, plan.shards + 1))
        self.databases = {shard_id: Database(self.network, shard_id) for shard_id in self.shard_ids}
        self.control = Database(self.network, CONTROL)
        letters = "abc"[: 1 + plan.standbys]
        self.ledgers = [LedgerHost(self, shard_id, letter) for shard_id in self.shard_ids for letter in letters]
        self.account_services = [AccountHost(self, each) for each in ACCOUNT_SERVICES[: 1 + plan.has_openings]]
        self.crash_midway = 0.0
        """How often an account service dies before a step of an opening."""
        self.gateways = [GatewayHost(self, number) for number in range(1, plan.gateways + 1)]
        shards, slots = (self.control.tables[f"control.{name}"] for name in ("shard", "slot"))
        for shard_id in self.shard_ids:
            own = [*range((shard_id - 1) * HOME_SLOTS, shard_id * HOME_SLOTS)]
            own += range(shard_id * 100, shard_id * 100 + SLOTS_PER_SHARD)
            row = {"shard_id": shard_id, "ledger_addresses": self.addresses(shard_id), "slot_count": len(own)}
            shards.insert(shards.complete(row | {"customer_quota": plan.customer_quota}))
            for slot in own:
                slots.insert(slots.complete({"slot": slot, "shard_id": shard_id}))
        if plan.has_openings:
            self.control.tables["control.bank"].rows[0]["currencies"] = [CZK, EUR]

    def addresses(self, shard_id: int) -> list[str]:
        """Tell where a shard's ledgers are."""
        return [ledger.address for ledger in self.ledgers if ledger.shard_id == shard_id]

    @property
    def directory_version(self) -> int:
        """The directory's version."""
        version: int = self.control.tables["control.bank"].rows[0]["directory_version"]
        return version

    @property
    def hosts(self) -> list[Host]:
        """All hosts that run services."""
        return [*self.ledgers, *self.gateways, *self.account_services]

    def assign(self, slot: int, shard_id: int) -> None:
        """Give a slot to a shard: a new version of the directory."""
        tables = self.control.tables
        version = tables["control.bank"].rows[0]["directory_version"] = self.directory_version + 1
        slots, shards = tables["control.slot"], tables["control.shard"]
        before = slots.get(slot)
        if before is not None:
            shards.keys[0][(before["shard_id"],)]["slot_count"] -= 1
            slots.delete(before)
        full = {"last_serial": CUSTOMER_SERIAL_MAX}  # Callers' customers are placed where no slot moves.
        slots.insert(slots.complete({"slot": slot, "shard_id": shard_id, "epoch": version} | full))
        shards.keys[0][(shard_id,)]["slot_count"] += 1
        self.story.tell("directory", version=version, slot=slot, shard=shard_id)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put this bank's time, chance, network and databases where production has the real ones."""
        loop, databases = self.loop, self.databases | {CONTROL: self.control}
        chance = Random(f"services {self.plan.seed}")

        async def connect(dsn: str, **_: Any) -> Connection:
            return await Connection.open(databases[int(dsn.split()[1])])

        async def create_pool(dsn: str, *, size: int, **_: Any) -> Pool:
            pool = Pool(databases[int(dsn.split()[1])], size)
            await pool.warm()
            return pool

        async def prepare(dsn: str, *_: Any, **__: Any) -> None:
            (await Connection.open(databases[int(dsn.split()[1])])).terminate()

        seams = [
            (clients, "Channel", self.network.channel),
            (clients, "_chance", chance),
            (placing, "CUSTOMER_SLOTS", range(len(self.shard_ids) * HOME_SLOTS)),
            (crossings, "random", chance),
            (postgres, "connect", connect),
            (postgres, "create_pool", create_pool),
            (migrations, "prepare", prepare),
            (shard, "Watch", _NoWatch),
            (shard, "now_us", lambda: PROCESS.get().now_us()),
            (shard, "time", SimpleNamespace(monotonic=loop.time)),
            (shard, "Sealer", partial(sealing.Sealer, block_sequences_max=self.plan.seal_block_max)),
            (sealing, "time", SimpleNamespace(monotonic=loop.time)),
            (sealing, "PIECE_SEQUENCES_MAX", max(1, self.plan.seal_block_max // 3)),
            (memory, "IDS_MAX", self.plan.ids_max),
            (memory, "ACCOUNTS_MAX", self.plan.accounts_max),
            (ahead, "LOADING_WEIGHT_MIN", 1),
            (small_batches, "LEGS_MAX", self.plan.small_batch_max or -1),
            *((module, "perf_counter", loop.time) for module in (batching, coalescing, interceptors, pacing, store)),
        ]
        patches = [patch.object(module, name, value) for module, name, value in seams]
        logging = structlog.get_config()
        for each in patches:
            each.start()
        structlog.configure(
            processors=[self._log], logger_factory=structlog.ReturnLoggerFactory(), wrapper_class=structlog.BoundLogger
        )
        try:
            yield
        finally:
            structlog.configure(**logging)
            for each in patches:
                each.stop()

    def _log(self, _logger: Any, level: str, event: Any) -> Any:
        """Put what services log into the story; what they call a bug ends it."""
        error = _raised() if level in {"exception", "error"} or event.get("exc_info") else None
        self.story.log(_logger, level, event)
        if error is not None and event_is_a_bug(self.story.lines[-1]):
            self.loop.fail(error)
        raise structlog.DropEvent


async def _free(*_: Any) -> dict[int, errors.BankError]:
    """Charge nothing, as every gateway does of a bank without fees, and without asking for any."""
    return {}


class _NoWatch:
    """Looks at nothing: metrics are not what is simulated."""

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self, _sequence: int) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


def event_is_a_bug(line: str) -> bool:
    """Tell whether a service logged what only a bug can cause."""
    return "writer_failed" in line or "call_failed" in line


def _raised() -> BaseException | None:
    return sys.exc_info()[1]
