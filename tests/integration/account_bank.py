"""A bank of a control database and a few shards, with its account and ledger processes, for tests."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hivecore.account.v1 import account_pb2 as pb
from hivecore.account.v1 import account_pb2_grpc
from hivecore.ledger.v1 import ledger_pb2

from services.account import records, store
from services.account.books import Books
from services.account.database import Database
from services.account.lifecycle import Lifecycle
from services.account.moves import Moves
from services.account.moving import Mover
from services.account.opening import AccountWanted, CustomerWanted
from services.account.product_store import ProductStore
from services.account.records import Records
from services.account.store import ControlStore, ShardPlan
from services.account.territory import Territory
from services.chassis import ports, status
from services.chassis.clients import LedgerClient
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli import channels
from services.domain import chart

CZK, EUR = 203, 978
SECONDS = 30
"""Longer than anything takes here."""

EMPTY_CONTROL = (
    "WITH a AS (DELETE FROM control.slot), b AS (DELETE FROM control.partner_bank), "
    "c AS (UPDATE control.bank SET directory_version = 0, currencies = '{}') SELECT 1"
)
EMPTY_SHARDS = "DELETE FROM control.shard"
EMPTY_RECORDS = (
    "WITH a AS (DELETE FROM account.claim), b AS (DELETE FROM account.slot_serial) DELETE FROM account.account"
)
EMPTY_CUSTOMERS = "DELETE FROM account.customer"
SHARDS = (1, 2, 3)


class Crash(Exception):
    """The process is gone."""


class CrashAt:
    """Lets an opening do so many parts of its steps, then nothing any more."""

    def __init__(self, parts_left: int) -> None:
        self.parts_left = parts_left
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        self.parts_left -= 1
        if self.parts_left < 0:
            raise Crash(step)


class Stores:
    """All databases of a bank, opened as an account process opens them."""

    def __init__(self, control: ControlStore, shards: dict[int, Records], databases: dict[int, Database]) -> None:
        self.control = control
        self.shards = shards
        self._databases = databases

    @property
    def products(self) -> ProductStore:
        return ProductStore(self._databases[0])

    def mover(self, territory: Territory, books: Books) -> Mover:
        moves = {shard_id: Moves(self._databases[shard_id]) for shard_id in self.shards}
        return Mover(self.products, territory, moves, books)

    async def territory(self) -> Territory:
        return Territory(self.control, self.shards, await self.control.directory())

    def records(self, shard_id: int, kind: type[Records]) -> Records:
        """Give the records of a shard with a behaviour of their own."""
        return kind(self._databases[shard_id])

    async def empty(self) -> None:
        """Forget everything."""
        for sql in (EMPTY_CONTROL, EMPTY_SHARDS):
            await self.ask(0, sql)
        for shard_id in self.shards:
            for sql in (EMPTY_RECORDS, EMPTY_CUSTOMERS):
                await self.ask(shard_id, sql)

    async def half_open(self) -> list[int]:
        found: list[int] = []
        for shard in self.shards.values():
            found += await shard.stale_customers(-1.0, 10_000)
            found += await shard.stale_accounts(-1.0, 10_000)
        return found

    async def ask(self, shard_id: int, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask a shard's database; 0 is the control database."""
        async with self._databases[shard_id].connection() as connection:
            return await connection.fetch(sql, *arguments)


@asynccontextmanager
async def made_databases(postgres: EmbeddedPostgres, name: str) -> AsyncIterator[tuple[str, dict[int, str]]]:
    """Make a control database and one for each shard; yields their DSNs."""
    names = {shard_id: f"{name}_{shard_id}" for shard_id in (0, *SHARDS)}
    for database in names.values():
        await postgres.ensure_database(database)
    dsns = {shard_id: postgres.dsn(database) for shard_id, database in names.items()}
    yield dsns.pop(0), dsns
    for database in names.values():
        await postgres.drop_database(database)


@asynccontextmanager
async def opened_stores(control_dsn: str, shard_dsns: dict[int, str]) -> AsyncIterator[Stores]:
    databases = {0: Database(control_dsn, "control", store.MIGRATIONS)}
    for shard_id, dsn in shard_dsns.items():
        databases[shard_id] = Database(dsn, f"shard {shard_id}", records.MIGRATIONS)
    for database in databases.values():
        await database.open()
    shards = {shard_id: Records(databases[shard_id]) for shard_id in shard_dsns}
    yield Stores(ControlStore(databases[0]), shards, databases)
    for database in databases.values():
        await database.close()


def plans(*, quota: int = 5_000_000, shard_ids: Sequence[int] = SHARDS) -> dict[int, ShardPlan]:
    return {shard_id: ShardPlan((f"127.0.0.1:{7100 + shard_id}",), quota) for shard_id in shard_ids}


class Bank:
    """One bank with its processes: `account`, and `ledger` for all shards."""

    def __init__(self, directory: Path, control_dsn: str, shard_dsns: dict[int, str]) -> None:
        self._directory = directory
        self.control_dsn = control_dsn
        self.shard_dsns = shard_dsns
        taken = ports.choose_free()
        self.account_address = f"127.0.0.1:{taken}"
        self.ledger_address = f"127.0.0.1:{ports.choose_free(frozenset({taken}))}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.channel = channels.channel(self.account_address)
        self.accounts = account_pb2_grpc.AccountsStub(self.channel)
        self.ledgers = {shard_id: LedgerClient(shard_id, [self.ledger_address]) for shard_id in shard_dsns}

    def start_account(self, **settings: str) -> None:
        """Start the account process; by itself it sweeps once, when it starts."""
        shards = {str(n): {"dsn": dsn, "ledgers": [self.ledger_address]} for n, dsn in self.shard_dsns.items()}
        given = {"LISTEN": self.account_address, "CONTROL_DSN": self.control_dsn, "SHARDS": json.dumps(shards)}
        self._start("account", given | {"SWEEP_SECONDS": "3600"} | settings)

    async def account_serves(self) -> None:
        """Return once the account process says that it serves; the connection of one that was killed may take the question."""
        async with asyncio.timeout(SECONDS):
            while not await self._account_says_so():
                pass

    async def _account_says_so(self) -> bool:
        request = health_pb2.HealthCheckRequest(service="hivecore.account.v1.Accounts")
        try:
            async for answer in health_pb2_grpc.HealthStub(self.channel).Watch(request, wait_for_ready=True):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return False

    def start_ledger(self) -> None:
        shards = {str(n): dsn for n, dsn in self.shard_dsns.items()}
        given = {"LISTEN": self.ledger_address, "ACCOUNT_ADDRESS": self.account_address, "SHARDS": json.dumps(shards)}
        self._start("ledger", given)

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    async def close(self) -> None:
        for ledger in self.ledgers.values():
            await ledger.close()
        await self.channel.close()
        for process in self._processes.values():
            process.terminate()
        for name, process in self._processes.items():
            assert await asyncio.to_thread(process.wait, 20) == 0, (self._directory / f"{name}.log").read_text()

    @asynccontextmanager
    async def stores(self) -> AsyncIterator[Stores]:
        async with opened_stores(self.control_dsn, self.shard_dsns) as stores:
            yield stores

    async def lifecycle(self, stores: Stores, before_part: CrashAt | None = None) -> Lifecycle:
        """Make a second account process's inside, to be crashed at will."""
        books = Books(self.ledgers)
        return Lifecycle(
            stores.control, await stores.territory(), books, stores.products, before_part=before_part or CrashAt(10**9)
        )

    def _start(self, name: str, settings: dict[str, str]) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HIVECORE_")}
        environment |= {f"HIVECORE_{key}": value for key, value in settings.items()}
        with (self._directory / f"{name}.log").open("ab") as log:
            arguments = [sys.executable, "-m", f"services.{name}"]
            self._processes[name] = subprocess.Popen(arguments, env=environment, stderr=log)


def customers(count: int, tag: str = "") -> list[CustomerWanted]:
    """Want new customers, each with a reference of its own."""
    tag = tag or os.urandom(4).hex()
    return [CustomerWanted(os.urandom(16), f"{tag}/{n}", f"Customer {n}") for n in range(count)]


def accounts(customer_numbers: Sequence[int], tag: str = "") -> list[AccountWanted]:
    """Want a new account for each of these customers, each with a reference of its own."""
    tag = tag or os.urandom(4).hex()
    return [AccountWanted(os.urandom(16), number, CZK, f"{tag}/{n}") for n, number in enumerate(customer_numbers)]


@asynccontextmanager
async def running_bank(postgres: EmbeddedPostgres, directory: Path, name: str) -> AsyncIterator[Bank]:
    """Make the databases, start the processes, wait until the account process serves."""
    async with made_databases(postgres, name) as dsns:
        bank = Bank(directory, *dsns)
        try:
            bank.start_account()
            bank.start_ledger()
            await bank.account_serves()
            yield bank
        finally:
            await bank.close()


async def open_customers(bank: Bank, wants: Sequence[CustomerWanted]) -> list[pb.Customer | str]:
    items = [pb.OpenCustomersRequest.Item(**asked_for(want)) for want in wants]
    answer = await bank.accounts.OpenCustomers(
        pb.OpenCustomersRequest(items=items), timeout=SECONDS, wait_for_ready=True
    )
    return [result.customer if result.HasField("customer") else result.error.reason for result in answer.results]


def asked_for(want: CustomerWanted | AccountWanted) -> dict[str, Any]:
    """Leave out what a product means now, which callers name, and who asks, which is the whole call's."""
    return {name: value for name, value in want._asdict().items() if name not in {"product", "opener"}}


async def open_accounts(bank: Bank, wants: Sequence[AccountWanted]) -> list[pb.Account | str]:
    items = [pb.OpenAccountsRequest.Item(**asked_for(want)) for want in wants]
    answer = await bank.accounts.OpenAccounts(pb.OpenAccountsRequest(items=items), timeout=SECONDS, wait_for_ready=True)
    return [result.account if result.HasField("account") else result.error.reason for result in answer.results]


async def new_customers(bank: Bank, count: int) -> list[int]:
    return [customer.customer_number for customer in await open_customers(bank, customers(count))]


async def books_of(bank: Bank, numbers: Sequence[int]) -> list[tuple[bool, int, int]]:
    """Ask the ledgers for found, currency and floor of accounts."""
    directory = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(), timeout=SECONDS)
    spans = {span.shard_id: range(span.first_slot, span.last_slot + 1) for span in directory.slots}
    facts: dict[int, tuple[bool, int, int]] = {}
    for shard_id in SHARDS:
        mine = [n for n in numbers if n // 10**12 in (*spans[shard_id], chart.internal_slot(shard_id))]
        request = ledger_pb2.GetBalancesRequest(shard_id=shard_id, account_numbers=mine)
        answer = await bank.ledgers[shard_id].call("GetBalances", request, deadline_seconds=SECONDS)
        facts |= dict(zip(mine, zip(answer.found, answer.currencies, answer.floors_minor, strict=True), strict=True))
    return [facts[number] for number in numbers]


async def reason_of(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), status.from_rpc_error(caught.value).reason
