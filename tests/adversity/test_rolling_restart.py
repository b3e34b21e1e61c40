"""Every process of the bank is asked to stop in turn, as a release does, and no caller sees an error.

Two gateways, a standby for each shard; callers spread their calls over both gateways and never send
anything twice. What was posted is held against the books afterwards.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from banks import Noticed, populated
from crowd import CURRENCY, Crowd
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.chassis import children, status
from services.cli import channels, top, topology
from services.cli.bank import Bank
from services.domain.outcomes import Outcome
from services.ledger.audit import audit
from services.ledger.audit_report import Acknowledged

SHARDS = 2
CALLERS_OF_A_KIND = 4
ENOUGH = 30
"""Answers that every kind of call gets before the next process is stopped."""

METHODS = ("PostTransfer", "GetBalance", "ListEntries", "PlaceHold", "ReleaseHold", "OpenCustomer", "OpenAccount")

DEADLINE_SECONDS = 10.0

SERVICE = "hivecore.gateway.v1.Bank"

SERVICE_CONFIG = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": SERVICE}}
"""What the README tells channel apps to set: they leave a gateway when its health says that it stops."""


@pytest.fixture
async def bank_and_crowd() -> AsyncIterator[tuple[Bank, Crowd]]:
    """Run a bank that can lose any one process."""
    async with populated(shards=SHARDS, standbys=1, gateways=2) as both:
        yield both


class Customers:
    """Callers of every kind, each sending one call after the other, each call once."""

    def __init__(self, bank: Bank, crowd: Crowd) -> None:
        addresses = ",".join(bank.topology.gateways)
        options = {**dict(channels.CHANNEL_OPTIONS), "grpc.service_config": json.dumps(SERVICE_CONFIG)}
        self._channel = grpc.aio.insecure_channel(f"ipv4:{addresses}", options=tuple(options.items()))
        self._stub = bank_pb2_grpc.BankStub(self._channel)
        self._metadata = (("authorization", f"Bearer {bank.token()}"),)
        self._crowd = crowd
        self._stopping = False
        self.seconds: dict[str, list[float]] = {method: [] for method in METHODS}
        """How long calls took, by method."""
        self.failures: Counter[tuple[str, str]] = Counter()
        self.posted: list[str] = []
        """Ids of the transfers that were acknowledged."""

    async def _ask(self, method: str, request: Any) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as failure:
            self.failures[method, f"{failure.code().name} {status.from_rpc_error(failure).reason}"] += 1
            return None
        finally:
            self.seconds[method].append(loop.time() - began)

    async def _pay(self, number: int) -> None:
        """Pay somebody on another shard."""
        payer = self._crowd.accounts[1 + number % SHARDS][number % 20]
        payee = self._crowd.accounts[1 + (number + 1) % SHARDS][number % 20]
        leg = bank_pb2.Leg(debit_account=payer, credit_account=payee, amount_minor=1, currency_code=CURRENCY)
        transfer = bank_pb2.Transfer(transfer_id=str(uuid4()), legs=[leg])
        answer = await self._ask("PostTransfer", bank_pb2.PostTransferRequest(transfer=transfer))
        if answer is not None:
            self.posted.append(answer.transfer_id)

    async def _look(self, number: int) -> None:
        account = self._crowd.accounts[1 + number % SHARDS][number % 20]
        await self._ask("GetBalance", bank_pb2.GetBalanceRequest(name=f"accounts/{account}/balance"))

    async def _list(self, number: int) -> None:
        account = self._crowd.accounts[1 + number % SHARDS][number % 20]
        await self._ask("ListEntries", bank_pb2.ListEntriesRequest(parent=f"accounts/{account}", page_size=5))

    async def _set_aside(self, number: int) -> None:
        """Place a hold and release it."""
        account = self._crowd.accounts[1 + number % SHARDS][number % 20]
        wanted = bank_pb2.Hold(hold_id=str(uuid4()), account=account, amount_minor=1, currency_code=CURRENCY)
        hold = await self._ask("PlaceHold", bank_pb2.PlaceHoldRequest(hold=wanted))
        if hold is not None:
            await self._ask("ReleaseHold", bank_pb2.ReleaseHoldRequest(name=hold.name, request_id=str(uuid4())))

    async def _move_in(self, number: int) -> None:
        """Open a customer and an account."""
        opened = await self._ask(
            "OpenCustomer", bank_pb2.OpenCustomerRequest(request_id=str(uuid4()), customer=bank_pb2.Customer())
        )
        if opened is not None:
            account = bank_pb2.Account(customer=opened.name, currency_code=CURRENCY)
            await self._ask("OpenAccount", bank_pb2.OpenAccountRequest(request_id=str(uuid4()), account=account))

    async def work(self, during: Callable[["Customers"], Coroutine[Any, Any, None]]) -> None:
        """Let everybody call until `during` is through."""
        numbers = count()
        async with asyncio.TaskGroup() as callers:

            async def repeat(kind: Callable[[int], Coroutine[Any, Any, None]]) -> None:
                while not self._stopping:
                    await kind(next(numbers))

            for kind in (self._pay, self._look, self._list, self._set_aside, self._move_in):
                for _ in range(CALLERS_OF_A_KIND):
                    callers.create_task(repeat(kind))
            try:
                await during(self)
            finally:
                self._stopping = True
        await self._channel.close()

    async def more(self, calls: int) -> None:
        """Wait until every kind of call has been answered so many more times."""
        enough = {method: len(times) + calls for method, times in self.seconds.items()}
        in_time = await children.until(lambda: all(len(self.seconds[each]) >= enough[each] for each in METHODS), 60)
        assert in_time, f"{ {each: len(times) for each, times in self.seconds.items()} } calls, {self.failures}"


async def _found_again(bank: Bank, name: str) -> None:
    """Wait until callers use a new gateway, as a release does: their channels come back after a pause of seconds."""
    while True:
        seen = (await top.read({name: bank.topology.metrics[name]}))[name]
        if seen is not None and seen.total("grpc_server_handled_total", grpc_service=SERVICE):
            return
        await asyncio.sleep(children.POLL_SECONDS)


async def test_a_rolling_restart_of_the_whole_bank_costs_nobody_a_call(
    bank_and_crowd: tuple[Bank, Crowd], noticed: Noticed
) -> None:
    bank, crowd = bank_and_crowd
    ledgers = [name for shard_id in range(1, SHARDS + 1) for name in topology.ledger_names(shard_id, 1)]
    gateways = topology.gateway_names(2)
    names = [*gateways, "account", *ledgers]
    calm: dict[str, int] = {}

    async def restart(customers: Customers) -> None:
        await customers.more(ENOUGH)
        calm.update({method: len(times) for method, times in customers.seconds.items()})
        for name in names:
            pid = bank.kill(name, signal.SIGTERM)
            await bank.wait_replaced(name, pid)
            if name in gateways:
                await _found_again(bank, name)
            await customers.more(ENOUGH)

    customers = Customers(bank, crowd)
    await customers.work(restart)
    for method, times in sorted(customers.seconds.items()):
        before, during = p99_ms(times[: calm[method]]), p99_ms(times[calm[method] :])
        noticed.say(f"{method}: {len(times)} calls, p99 {before:.0f} ms before and {during:.0f} ms during the restart")
    assert customers.failures == Counter()
    assert dict(bank.deaths) == {"postgres": 0} | dict.fromkeys(names, 1)
    acknowledged = [Acknowledged(UUID(each).bytes, Outcome.POSTED, 0) for each in customers.posted]
    report = await audit(bank.control_dsn, bank.shard_dsns, acknowledged=acknowledged)
    assert report.clean, "\n".join(line for result in report.results for line in result.evidence)


def p99_ms(seconds: list[float]) -> float:
    """Give the 99th percentile in milliseconds."""
    return 1000 * sorted(seconds)[len(seconds) * 99 // 100]
