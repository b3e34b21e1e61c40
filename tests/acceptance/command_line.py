"""A user of one bank by the `hivecore` command, as its own process."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.cli import channels
from services.cli.bank import Bank
from services.cli.topology import BankOptions


class Run(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


async def hivecore(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Run:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, stdout.decode(), stderr.decode())


class User:
    """Uses one bank by the command line."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    async def run(self, *arguments: str | Path) -> Run:
        """Run a command and return how it ended."""
        return await hivecore(*arguments, "--data", self.bank.places.data)

    async def get(self, *arguments: str | Path) -> Any:
        """Run a command that must succeed and return its JSON."""
        run = await self.run(*arguments, "--json")
        assert run.status == 0, run.stderr
        return run.json

    async def refused(self, *arguments: str | Path) -> str:
        """Run a command that must fail with one sentence and return that."""
        run = await self.run(*arguments)
        assert (run.status, run.stdout) == (1, ""), run
        assert len(run.stderr.splitlines()) == 1
        return run.stderr

    async def open_account(self, currency: str = "CZK") -> str:
        """Open a customer with one account, through the door: only a test that is about it does so by commands."""
        metadata = (("authorization", f"Bearer {self.bank.token()}"),)
        async with channels.channel(self.bank.gateway) as channel:
            door: Any = bank_pb2_grpc.BankStub(channel)
            asked = bank_pb2.OpenCustomerRequest(request_id=str(uuid4()), customer=bank_pb2.Customer())
            customer = await door.OpenCustomer(asked, metadata=metadata, timeout=20)
            wanted = bank_pb2.Account(customer=customer.name, currency_code=currency)
            opening = bank_pb2.OpenAccountRequest(request_id=str(uuid4()), account=wanted)
            return str((await door.OpenAccount(opening, metadata=metadata, timeout=20)).account_number)

    async def transfer(self, debit: str, credit: str, amount: str, *more: str) -> Any:
        """Move money that must move."""
        return await self.get(
            "transfer", "--from", debit, "--to", credit, "--amount", amount, "--currency", "CZK", *more
        )

    async def balance_minor(self, number: str) -> int:
        """Read a balance."""
        balance: int = (await self.get("balance", number))["balance_minor"]
        return balance


@asynccontextmanager
async def open_bank(data: Path) -> AsyncIterator[User]:
    async with Bank.open(BankOptions(data=data, shards=4, port=0)) as bank:
        yield User(bank)
