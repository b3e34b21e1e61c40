"""Lets the callers of one bank work for a turn and reads what it took: time, and processor time by process.

Never here: whose turn it is (`__main__.py`), or which banks there are (`variants.py`).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from loadtest import accounts
from loadtest.client import DONE, Access, Client, Outcome
from loadtest.processor import Reading, Usage
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Workload, transfer_id
from services.cli import tokens
from services.cli.auditing import audit_bank
from services.cli.bank import Bank

CURRENCY: Final = "CZK"
ACCOUNTS: Final = 500
CALLERS: Final = "callers"
"""This process."""


class NotSound(Exception):
    """There are no figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a turn's transfers are sent."""

    name: str
    transfers_per_call: int
    calls: int
    """Of one turn."""
    in_flight: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn took."""

    transfers_per_s: float
    us_per_transfer: dict[str, float]
    """Processor time by process."""


class Stand:
    """An open bank and its callers. Made by `opened`."""

    def __init__(self, bank: Bank, clients: list[Client], numbers: list[str], chance: Random) -> None:
        self._bank = bank
        self._clients = clients
        self._workload = Workload([numbers], crossing_share=0.0, chance=chance)
        self._chance = chance
        self._stencil = Stencil(CURRENCY)
        self._sent = len(numbers)

    async def take(self, kind: Kind) -> Turn:
        """Send a turn's calls. Raises `NotSound` when a transfer is not posted."""
        requests = [self._request(kind.transfers_per_call) for _ in range(kind.calls)]
        waiting, turn, bad = iter(requests), count(), list[Outcome]()

        async def caller() -> None:
            for request in waiting:
                client = self._clients[next(turn) % len(self._clients)]
                if kind.transfers_per_call == 1:
                    outcomes = await client.post_one(request)
                else:
                    outcomes = await client.post_many(request, kind.transfers_per_call)
                bad.extend(outcome for outcome in outcomes if outcome != DONE)

        parts = {name.partition("-")[0]: (pid,) for name, pid in self._bank.processes.items() if pid}
        begin = Reading.now(parts, CALLERS)
        async with asyncio.TaskGroup() as callers:
            for _ in range(kind.in_flight):
                callers.create_task(caller())
        end = Reading.now(parts, CALLERS)
        if bad:
            raise NotSound(f"{len(bad)} transfers were not posted: {bad[0]}")
        transfers = kind.calls * kind.transfers_per_call
        self._sent += transfers
        return Turn(transfers / (end.at - begin.at), dict(Usage.between(begin, end, transfers).us_per_transfer))

    async def prove(self) -> int:
        """Audit the books and give how many transfers are in them. Raises `NotSound` unless they are those sent."""
        report = await audit_bank(self._bank.control_dsn, self._bank.shard_dsns, None)
        if not report.clean:
            raise NotSound(f"the audit of {self._bank.places.data} is not clean")
        if report.totals.transfers != self._sent:
            raise NotSound(f"{self._sent:,} transfers were sent, and {report.totals.transfers:,} are in the books")
        return self._sent

    def _request(self, transfers: int) -> bytes:
        milliseconds, bits = time.time_ns() // 1_000_000, self._chance.getrandbits
        return self._stencil.write(
            (transfer_id(milliseconds, bits(ID_CHANCE_BITS)), *payment) for payment in self._workload.draw(transfers)
        )


@asynccontextmanager
async def opened(bank: Bank, tokens_shown: int, seed: int, *, tls: bool) -> AsyncIterator[Stand]:
    """Connect to a bank that was just opened, and fund accounts. Raises what `loadtest.accounts` does."""
    authority = bank.places.certificates.authority_file.read_bytes() if tls else None
    minted = [tokens.mint(bank.secret(), subject=f"caller {number}") for number in range(tokens_shown)]
    async with AsyncExitStack() as stack:
        accesses = [Access(bank.gateway, token, authority) for token in minted]
        numbers = await accounts.open_accounts(accesses[0], ACCOUNTS, CURRENCY)
        clients = [await stack.enter_async_context(Client(access)) for access in accesses]
        yield Stand(bank, clients, numbers, Random(seed))  # noqa: S311 - who pays whom is no secret
