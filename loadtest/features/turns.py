"""Lets groups of payers pay in turns, and reads what each turn cost.

Never here: which groups there are (`groups.py`), whether a figure may be shown (`__main__.py`).
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2

from loadtest import accounts, bank
from loadtest.accounts import FUNDING_MINOR
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import Access, Client
from loadtest.features import groups
from loadtest.features.groups import GROUPS, PLAIN, PLENTY, Group
from loadtest.postgres import Server
from loadtest.processor import Reading, Usage, seconds_by_part
from loadtest.target import CURRENCY

TRANSFERS_PER_CALL: Final = 1_000
CALLS_AT_ONCE: Final = 2
CHANGES_AT_ONCE: Final = 32
UNPRICED: Final = "none of it, before the bank has a fee"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to measure."""

    accounts: int
    """Of each group."""
    calls: int
    """Of a turn."""
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transfer of one turn cost."""

    per_s: float
    us_by_part: Mapping[str, float]
    """Processor microseconds; those of PostgreSQL without the session that seals."""
    log_bytes: float
    table_bytes: float
    others_share: float
    """Of the machine's processors, used by neither the bank nor its load meanwhile, 0 to 1."""


@dataclass(slots=True)
class Sealing:
    """What sealing the journal took beside all turns."""

    sequences: int = 0
    seconds: float = 0.0
    """Of processor time of PostgreSQL."""


@dataclass(slots=True)
class Measuring:
    """A bank of one shard, and what was measured in it."""

    opened: OpenBank
    access: Access
    server: Server
    sizes: Sizes
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    """By group, in the order of the rounds."""
    sealing: Sealing = field(default_factory=Sealing)
    transfer_ids: list[bytes] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    """What each account must hold, in minor units."""

    async def run(self) -> None:
        """Take all turns. Raises BankFailed, PostgresFailed, OpeningFailed and grpc.aio.AioRpcError."""
        chance = Random(self.sizes.seed)  # noqa: S311 - which accounts pay is no secret
        async with Client(self.access) as client:
            payers = {PLAIN.name: await self._open(client, PLAIN)}
            await self._pay(client, self._calls(PLAIN, payers[PLAIN.name], CALLS_AT_ONCE, chance))
            for _ in range(self.sizes.rounds):
                await self._turn(client, UNPRICED, self._calls(PLAIN, payers[PLAIN.name], self.sizes.calls, chance))
            for group in GROUPS[1:]:
                payers[group.name] = await self._open(client, group)
                await self._pay(client, self._calls(group, payers[group.name], CALLS_AT_ONCE, chance))
            self.server.checkpoint()
            with self._seals():
                for _ in range(self.sizes.rounds):
                    for group in chance.sample(GROUPS, len(GROUPS)):
                        calls = self._calls(group, payers[group.name], self.sizes.calls, chance)
                        await self._turn(client, group.name, calls)

    def require_sound(self) -> None:
        """Audit the books; look in them for every id, and for what every account must hold. Raises BankFailed."""
        status, said, complaint = bank.hivecore("audit", "--json", "--data", str(self.opened.data))
        if status != 0 or not json.loads(said)["is_clean"]:
            raise BankFailed(f"the audit is not clean: {complaint}")
        missing = self.server.not_posted({0: self.transfer_ids})
        if missing:
            raise BankFailed(f"{len(missing)} transfers that were told to be posted are not in the books: {missing[0]}")
        held = self.server.balances()
        wrong = [number for number, minor in self.balances.items() if held.get(number) != minor]
        if wrong:
            raise BankFailed(f"{len(wrong)} accounts do not hold what their transfers left them: {wrong[0]}")

    async def _open(self, client: Client, group: Group) -> list[str]:
        code = f"GROUP-{GROUPS.index(group)}" if group.is_limited or group.fee_minor else ""
        if code:
            request = bank_pb2.LoadProductsRequest(products=[groups.product(group, code, CURRENCY)])
            await client.call(client.stub.LoadProducts, request)
        numbers = await accounts.open_accounts(self.access, self.sizes.accounts, CURRENCY, product_code=code)
        self.balances |= dict.fromkeys(numbers, FUNDING_MINOR)
        if group.is_capped:
            await _cap(client, numbers)
        return numbers

    def _calls(
        self, group: Group, payers: Sequence[str], count: int, chance: Random
    ) -> list[bank_pb2.PostTransfersRequest]:
        """Make the requests beforehand: the generator shares the machine."""
        calls = []
        for _ in range(count):
            request = bank_pb2.PostTransfersRequest()
            for number in range(TRANSFERS_PER_CALL):
                minted = uuid4()
                debit, credit = chance.sample(payers, 2)
                leg = bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=1, currency_code=CURRENCY)
                transfer = request.transfers.add(transfer_id=str(minted), legs=[leg])
                for dress in group.dress:
                    dress(transfer, number)
                self.transfer_ids.append(minted.bytes)
                self.balances[debit] -= 1 + group.fee_minor
                self.balances[credit] += 1
            calls.append(request)
        return calls

    async def _pay(self, client: Client, calls: Sequence[bank_pb2.PostTransfersRequest]) -> None:
        waiting = iter(calls)

        async def caller() -> None:
            for request in waiting:
                answer = await client.call(client.stub.PostTransfers, request)
                bad = [result for result in answer.results if result.state != bank_pb2.Transfer.POSTED]
                if bad:
                    raise BankFailed(f"{len(bad)} transfers were not posted: {bad[0]}")

        await asyncio.gather(*(caller() for _ in range(CALLS_AT_ONCE)))

    async def _turn(self, client: Client, name: str, calls: Sequence[bank_pb2.PostTransfersRequest]) -> None:
        transfers = len(calls) * TRANSFERS_PER_CALL
        parts = {**self.opened.pids_by_part, "sealing": (self._sealer()[0],)}
        logged, stored = self.server.wal_bytes(), self.server.table_bytes()
        begin, began = Reading.now(parts, "generator"), time.perf_counter()
        await self._pay(client, calls)
        seconds, usage = time.perf_counter() - began, Usage.between(begin, Reading.now(parts, "generator"), transfers)
        us = dict(usage.us_per_transfer)
        if us:
            us["postgres"] -= us.pop("sealing")
        self.turns.setdefault(name, []).append(
            Turn(
                transfers / seconds,
                us,
                (self.server.wal_bytes() - logged) / transfers,
                (self.server.table_bytes() - stored) / transfers,
                usage.others_share,
            )
        )

    @contextmanager
    def _seals(self) -> Iterator[None]:
        """Measure sealing meanwhile."""
        pid, began = self._sealer()
        before = seconds_by_part({}, {"sealing": (pid,)})
        yield
        ended = self._sealer()[1]
        after = seconds_by_part({}, {"sealing": (pid,)})
        self.sealing = Sealing(ended - began, after.get("sealing", 0.0) - before.get("sealing", 0.0))

    def _sealer(self) -> tuple[int, int]:
        """Give the process of the session that seals, and the last sequence that it has sealed."""
        pid, sealed_through = self.server.ask("sealing", self.opened.shard_dsns[0])[0]
        return int(pid or 0), int(sealed_through)


async def _cap(client: Client, numbers: Sequence[str]) -> None:
    waiting = iter(numbers)

    async def ask() -> None:
        for number in waiting:
            request = bank_pb2.ChangeAccountLimitsRequest(
                name=f"accounts/{number}",
                request_id=str(uuid4()),
                customer_day_minor_max=PLENTY,
                reason="to measure what a cap costs",
            )
            await client.call(client.stub.ChangeAccountLimits, request)

    await asyncio.gather(*(ask() for _ in range(CHANGES_AT_ONCE)))
