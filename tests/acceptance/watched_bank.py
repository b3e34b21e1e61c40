"""A bank of four shards with a real Prometheus over it, and what breaks in it. Not a test itself."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc
from small_bank import leg, post

from services.cli import channels, topology
from services.cli.bank import Bank
from services.cli.topology import BankOptions
from tools import prometheus
from tools.prometheus import Prometheus

Report = Callable[[str, str, float], None]
"""Takes down what came of something broken: what it was, what came, after how many seconds."""

PATIENCE_SECONDS = 120.0


class WatchedBank:
    """Four shards, a customer with money on each, and Prometheus looking every second."""

    def __init__(self, opened: Bank, stub: Any, server: Prometheus) -> None:
        self.bank = opened
        self.prometheus = server
        self.accounts: dict[int, str] = {}
        self._stub = stub
        self._token = opened.token()

    async def ask(self, method: str, request: Any, seconds: float = 20) -> Any:
        metadata = (("authorization", f"Bearer {self._token}"),)
        return await getattr(self._stub, method)(request, metadata=metadata, timeout=seconds)

    async def fill(self) -> None:
        """Open customers until every shard has one with an account of 1,000.00 CZK."""
        while len(self.accounts) < len(self.bank.shape.shard_ids):
            customer = await self.ask("OpenCustomer", bank.OpenCustomerRequest(request_id=str(uuid4())))
            account = bank.Account(customer=customer.name, currency_code="CZK")
            opened = await self.ask("OpenAccount", bank.OpenAccountRequest(request_id=str(uuid4()), account=account))
            number = opened.account_number
            self.accounts.setdefault(int(number[:4]) * len(self.bank.shape.shard_ids) // 9_000 + 1, number)
            await self.ask("PostTransfer", post(leg("CASH", number, 1_000_00)))

    async def pay(self, debit: int, credit: int, seconds: float = 20) -> None:
        """Move a cent between two shards' customers; an answer that does not come in time is no matter."""
        try:
            await self.ask("PostTransfer", post(leg(self.accounts[debit], self.accounts[credit])), seconds)
        except grpc.aio.AioRpcError as error:
            assert error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}  # noqa: PT017

    async def until_fires(self, name: str, **labels: str) -> float:
        """Wait until an alert fires and tell after how many seconds."""
        return await self._until(lambda firing: any(labels.items() <= each.items() for each in firing.get(name, [])))

    async def until_silent(self, *names: str) -> float:
        """Wait until alerts do not fire any more and tell after how many seconds."""
        return await self._until(lambda firing: not firing.keys() & set(names))

    async def _until(self, condition: Callable[[dict[str, list[dict[str, str]]]], bool]) -> float:
        began = perf_counter()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(await self.prometheus.firing()):
                await asyncio.sleep(0.2)
        return perf_counter() - began

    async def until_measured(self, expression: str) -> None:
        """Wait until an expression gives something."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self.prometheus.query(expression):
                await asyncio.sleep(0.2)

    async def meddle(self, shard_id: int, *statements: str) -> None:
        """Do what no ledger can: to a session that plays the replica, triggers do not apply."""
        connection = await asyncpg.connect(self.bank.shard_dsns[shard_id])
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def stopped(self, name: str) -> AsyncIterator[None]:
        """Stop a process as if its machine stood still."""
        pid = self.bank.kill(name, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def closed_database(self, shard_id: int) -> AsyncIterator[None]:
        """Let a shard's database take no connection, and end those it has."""
        name = topology.shard_database(shard_id)
        connection = await asyncpg.connect(self.bank.control_dsn)
        try:
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            yield
        finally:
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await connection.close()


@asynccontextmanager
async def opened() -> AsyncIterator[WatchedBank]:
    """Open the bank and its Prometheus in a directory of their own."""
    with tempfile.TemporaryDirectory(prefix="hivecore-test-") as name:
        place = Path(name)
        os.chmod(place, 0o755)  # noqa: PTH101 - nothing else waits on this loop yet
        settings = {"ledger": {"HIVECORE_LOOK_SECONDS": "0.5"}}
        options = BankOptions(data=place / "bank", shards=4, port=0, settings=settings)
        async with (
            Bank.open(options) as running,
            channels.channel(running.gateway) as channel,
            prometheus.running(running.places.prometheus_targets_file, place, interval_seconds=1) as server,
        ):
            watched = WatchedBank(running, bank_pb2_grpc.BankStub(channel), server)
            await watched.fill()
            yield watched
