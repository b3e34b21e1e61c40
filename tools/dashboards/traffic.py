"""A little of everything that a bank does, through its public API, so that every panel has something to show.

Not a load test: `loadtest/` measures. Never here: what the panels are.
"""

import asyncio
import random
from typing import Any, Final
from uuid import uuid4

import grpc
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc

from services.cli import channels
from services.cli.bank import Bank

CUSTOMERS: Final = 16
FUNDS_MINOR: Final = 1_000_00
BATCH: Final = 50
CALLERS: Final = 8
DEADLINE_SECONDS: Final = 20.0


class Traffic:
    """Callers that pay, look, set money aside, ask twice and are refused."""

    def __init__(self, opened: Bank, stub: Any) -> None:
        self._token = opened.token()
        self._stub = stub
        self._accounts: list[str] = []
        self._dice = random.Random(7)  # noqa: S311 - repeatable chance

    async def ask(self, method: str, request: Any, token: str | None = None) -> Any:
        """Call a method; an error is an answer."""
        metadata = (("authorization", f"Bearer {token or self._token}"),)
        try:
            return await getattr(self._stub, method)(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error

    async def open(self) -> None:
        """Open customers with money, on all shards."""
        for _ in range(CUSTOMERS):
            customer = await self.ask("OpenCustomer", bank.OpenCustomerRequest(request_id=str(uuid4())))
            account = bank.Account(customer=customer.name, currency_code="CZK")
            opened = await self.ask("OpenAccount", bank.OpenAccountRequest(request_id=str(uuid4()), account=account))
            self._accounts.append(opened.account_number)
        await self.ask(
            "PostTransfers",
            bank.PostTransfersRequest(transfers=[self._transfer("CASH", to, FUNDS_MINOR) for to in self._accounts]),
        )

    async def run(self, seconds: float) -> None:
        """Let callers work for some seconds."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._call_until(until) for _ in range(CALLERS)))

    async def _call_until(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            await self._pay_and_look()
            await self._be_refused()

    async def _pay_and_look(self) -> None:
        payer, payee = self._dice.sample(self._accounts, 2)
        one = bank.PostTransferRequest(transfer=self._transfer(payer, payee, self._dice.randint(1, 500)))
        await self.ask("PostTransfer", one)
        await self.ask("PostTransfer", one)
        pairs = [self._dice.sample(self._accounts, 2) for _ in range(BATCH)]
        many = [self._transfer(debit, credit, self._dice.randint(1, 50)) for debit, credit in pairs]
        await self.ask("PostTransfers", bank.PostTransfersRequest(transfers=many))
        await self.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{payer}/balance"))

    async def _be_refused(self) -> None:
        payer, payee = self._dice.sample(self._accounts, 2)
        too_much = self._transfer(payer, payee, 10 * CUSTOMERS * FUNDS_MINOR)
        await self.ask("PostTransfer", bank.PostTransferRequest(transfer=too_much))
        await self.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{payer}/balance"), token="none")  # noqa: S106
        if self._dice.random() < 0.2:
            hold = bank.Hold(
                hold_id=str(uuid4()),
                account=payer,
                amount_minor=5,
                currency_code="CZK",
                hold_seconds=self._dice.randint(5, 60),
            )
            await self.ask("PlaceHold", bank.PlaceHoldRequest(hold=hold))

    @staticmethod
    def _transfer(debit: str, credit: str, amount_minor: int) -> bank.Transfer:
        leg = bank.Leg(debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code="CZK")
        return bank.Transfer(transfer_id=str(uuid4()), legs=[leg])


async def run(opened: Bank, seconds: float) -> None:
    """Open customers in a bank and let callers work for some seconds."""
    async with channels.channel(opened.gateway) as channel:
        traffic = Traffic(opened, bank_pb2_grpc.BankStub(channel))
        await traffic.open()
        await traffic.run(seconds)
