"""A small open bank, and how its tests talk to it. Not a test itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status import rpc_status
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc

from services.cli import channels, tokens
from services.cli.bank import Bank
from services.cli.topology import BankOptions
from services.domain import chart, identifiers

FUNDS_MINOR = 1_000_00
GATEWAY = {"HIVECORE_JWT_CLOCK_SKEW_SECONDS": "0"}


@dataclass
class Told:
    """What a caller is told when a call fails."""

    code: StatusCode
    reason: str
    violations: list[tuple[str, str]]
    metadata: dict[str, str]


def read_status(status: status_pb2.Status) -> Told:
    """Read an error; every one has exactly one ErrorInfo of this bank, and each kind of detail once."""
    kinds = [detail.TypeName() for detail in status.details]
    assert len(set(kinds)) == len(kinds)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, request):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    assert info.domain == "hivecore"
    code = next(code for code in StatusCode if code.value[0] == status.code)
    violations = [(each.field, each.reason) for each in request.field_violations]
    assert bool(violations) == (code is StatusCode.INVALID_ARGUMENT)
    return Told(code, info.reason, violations, dict(info.metadata))


class World:
    """A small bank: two customers on shard 1, one on shard 2, each with an account of 1,000.00 CZK."""

    def __init__(self, opened: Bank, stub: Any) -> None:
        self.bank = opened
        self.stub = stub
        self.token = opened.token()
        self.customers: list[bank.Customer] = []
        self.accounts: list[str] = []
        self.before: list[Any] = []
        """The books before the test, or after what the test wrote on purpose."""

    async def ask(self, method: str, request: Any, token: str | None = None) -> Any:
        token = self.token if token is None else token
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return await getattr(self.stub, method)(request, metadata=metadata, timeout=20)

    async def told(self, method: str, request: Any, token: str | None = None) -> Told:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.ask(method, request, token)
        status = rpc_status.from_call(failed.value)
        assert status is not None
        return read_status(status)

    async def fill(self) -> None:
        """Open the customers, put them where they belong and fund their accounts."""
        for _ in range(4):
            request = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer())
            self.customers.append(await self.ask("OpenCustomer", request))
        self.customers.sort(key=lambda customer: customer.customer_number)
        for customer in self.customers:
            self.accounts.append(await self.open_account(customer, "CZK"))
        self.mine, self.neighbour, self.far, _ = self.accounts
        self.euros = await self.open_account(self.customers[0], "EUR")
        assert self.home(self.mine) == self.home(self.neighbour) != self.home(self.far)
        legs = [leg("CASH", account, FUNDS_MINOR) for account in self.accounts]
        for each in legs:
            await self.ask("PostTransfer", post(each))

    async def open_account(self, customer: bank.Customer, currency_code: str) -> str:
        account = bank.Account(customer=customer.name, currency_code=currency_code)
        opened = await self.ask("OpenAccount", bank.OpenAccountRequest(request_id=str(uuid4()), account=account))
        return str(opened.account_number)

    @staticmethod
    def home(account: str) -> bool:
        return int(account[:4]) < 4500

    def mint(self, *scopes: str, **claims: Any) -> str:
        return tokens.mint(self.bank.secret(), subject="somebody", scopes=scopes or tokens.SCOPES, **claims)

    def limited(self) -> str:
        """Mint the token of the first customer."""
        return self.mint(customer=self.customers[0].customer_number)

    async def until_settled(self) -> None:
        """Wait until nothing is on its way between shards."""
        while True:
            shards = (await self.ask("ListShards", bank.ListShardsRequest())).shards
            if not any(each.promises_open_count or each.crossings_in_flight_count for each in shards):
                return
            await asyncio.sleep(0.05)

    async def books(self) -> list[Any]:
        """Return the balances and versions of all accounts, the bank's own cash included."""
        own = [f"{chart.internal_account(shard, chart.Code.CASH, 203):016d}" for shard in (1, 2)]
        names = [f"accounts/{account}/balance" for account in (*self.accounts, self.euros, *own)]
        return [await self.ask("GetBalance", bank.GetBalanceRequest(name=name)) for name in names]


def leg(debit: str, credit: str, amount_minor: int = 1, currency_code: str = "CZK") -> bank.Leg:
    return bank.Leg(debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=currency_code)


def post(*legs: bank.Leg, **changes: Any) -> bank.PostTransferRequest:
    transfer = bank.Transfer(**({"transfer_id": str(uuid4()), "legs": legs} | changes))
    return bank.PostTransferRequest(transfer=transfer)


def absent(account: str) -> str:
    """Return a right number in the account's slot that nobody has."""
    return f"{identifiers.account_number(int(account[:4]), identifiers.ACCOUNT_SERIAL_MAX):016d}"


@asynccontextmanager
async def running(data: Path, *, allowances: Path | None = None, **gateway: str) -> AsyncIterator[Bank]:
    """Open a bank of two shards in an empty directory, its gateway with further settings."""
    options = BankOptions(data=data, shards=2, port=0, allowances=allowances, settings={"gateway": GATEWAY | gateway})
    async with Bank.open(options) as opened:
        yield opened


@asynccontextmanager
async def moved_in(opened: Bank) -> AsyncIterator[World]:
    """Let customers of a file's own move into a bank, whoever else is there."""
    async with channels.channel(opened.gateway) as channel:
        world = World(opened, bank_pb2_grpc.BankStub(channel))
        await world.fill()
        yield world


@asynccontextmanager
async def opened(data: Path, *, allowances: Path | None = None, **gateway: str) -> AsyncIterator[World]:
    """Open a small bank in an empty directory, its gateway with further settings."""
    async with running(data, allowances=allowances, **gateway) as opened_bank, moved_in(opened_bank) as world:
        yield world
