"""Ledgers for tests: one writer on one database, or a whole bank of shards in this process.

The shards of a `Bank` call each other's doors as gRPC would, through lines that a test can cut, slow
down or listen to. What is written is real PostgreSQL throughout.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from hivecore.ledger.v1 import ledger_pb2
from memory_books import CZK, DAY_US, TODAY, Ask, an_id, ask, cash, customer_account, transfers

from services.domain import errors, limits
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.ledger import posting
from services.ledger.audit import audit
from services.ledger.batching import Writer
from services.ledger.books import AccountState, Answers, Decision
from services.ledger.draft import Draft
from services.ledger.jobs import OpenJob, PostJob
from services.ledger.memory import Memory
from services.ledger.service import LedgerService
from services.ledger.shard import Shard
from services.ledger.store import Head, Store
from services.ledger.traffic import Watermarks

FOREVER = float("inf")
PATIENCE_SECONDS = 20.0
LEASE_SECONDS = 3.0
DEADLINE_SECONDS = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; it is asked again and again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Look at a database, or meddle with it."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held_head(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Keep the writer of a database waiting: it cannot advance the head meanwhile."""
    async with connected(dsn) as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM ledger.journal_head FOR UPDATE")
        yield connection


class Clock:
    """A ledger's clock that the test moves."""

    def __init__(self) -> None:
        self.now_us = TODAY * DAY_US

    def __call__(self) -> int:
        return self.now_us


class Writing:
    """One writer at work on one database."""

    def __init__(self, writer: Writer, store: Store, running: "asyncio.Task[None]", drafts: list[Draft]) -> None:
        self.writer = writer
        self.store = store
        self.running = running
        self.drafts = drafts
        """All that was committed, in order."""

    async def open(self, *accounts: int, currency: int = CZK, floor: int = 0) -> None:
        """Open accounts."""
        job = OpenJob([AccountState(account, currency, floor) for account in accounts], FOREVER)
        assert all(await self.writer.ask(job))


@asynccontextmanager
async def writing(
    dsn: str,
    *,
    shard_id: int = 1,
    store: Store | None = None,
    instance: str = "the test",
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> AsyncIterator[Writing]:
    """Take the books and write them; whoever wrote them before has lost them."""
    store = store or Store(dsn)
    await store.connect()
    head = await store.take_lease(instance, 60)
    assert head is not None
    drafts: list[Draft] = []
    memory = Memory(shard_id, await store.load_peers())
    writer = Writer(shard_id, store, head, memory, now_us, drafts.append)
    running = asyncio.create_task(writer.run())
    try:
        yield Writing(writer, store, running, drafts)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.drop()


async def prepare(books: Writing) -> None:
    """Open cash and two customers' accounts."""
    await books.open(cash(1), floor=-limits.BALANCE_MINOR_MAX)
    await books.open(customer_account(1, 1), customer_account(1, 2))


def job(*asked: Ask, seconds: float | None = None) -> PostJob:
    """Make the job of a call; without `seconds` its caller waits for ever."""
    deadline = FOREVER if seconds is None else asyncio.get_running_loop().time() + seconds
    return PostJob(transfers(asked), deadline)


class Watched(PostJob):
    """A call that tells how often it was decided."""

    decided = 0

    def decide(self, draft: Draft) -> Answers:
        """Decide, and count that."""
        self.decided += 1
        return super().decide(draft)


def watched(*asked: Ask) -> Watched:
    """Make the job of a call whose caller waits for ever, and which tells how often it was decided."""
    return Watched(transfers(asked), FOREVER)


async def post(books: Writing, *asked: Ask, seconds: float | None = None) -> Answers:
    """Ask a writer for transfers as one call."""
    return await books.writer.ask(job(*asked, seconds=seconds))


async def taken(one: PostJob) -> None:
    """Wait until a batch has a job in it."""
    await until(lambda: one.started)


async def count(looking: asyncpg.Connection, table: str = "transfer") -> int:
    """Count rows."""
    found: int = await looking.fetchval(f"SELECT count(*) FROM ledger.{table}")
    return found


async def balance(looking: asyncpg.Connection, account: int) -> int:
    """Sum up an account's entries."""
    query = "SELECT coalesce(sum(amount_minor), 0)::bigint FROM ledger.entry WHERE account_number = $1"
    found: int = await looking.fetchval(query, account)
    return found


class CommittedBooks:
    """The committed books as a writer knows them, for tests of the store itself.

    Every batch is booked a second after the one before.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.accounts: dict[int, AccountState] = {}
        self.known: dict[bytes, Decision] = {}
        self.peers: dict[int, Watermarks] = {}
        self.time_us = TODAY * DAY_US

    def draft(self) -> Draft:
        """Begin a batch."""
        self.time_us += 1_000_000
        return Draft(1, self.head.sequence, self.time_us, TODAY, self.accounts.get, self.known.get, self.peers)

    async def open(self, store: Store) -> None:
        """Open cash and two customers' accounts."""
        draft = self.draft()
        accounts = [cash(1), customer_account(1, 1), customer_account(1, 2)]
        floors = (-1_000_000, 0, -50)
        openings = [AccountState(*opening) for opening in zip(accounts, [CZK] * 3, floors, strict=True)]
        posting.open_accounts(draft, openings)
        await self.commit(store, draft)

    async def commit(self, store: Store, draft: Draft) -> None:
        """Write a batch and take it in."""
        self.head = await store.write(self.head, draft)
        self.accounts.update(draft.touched)
        self.known.update(draft.decisions)
        self.peers.update(draft.peers)

    async def post(self, store: Store, *asked: Ask) -> None:
        """Write transfers."""
        draft = self.draft()
        posting.post(draft, transfers(asked))
        await self.commit(store, draft)


class Call:
    """What a servicer sees of a call."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def time_remaining(self) -> float:
        return self._end - time.monotonic()


Listener = Callable[[str, Any, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Gets the method, the request and what would carry it out; answers in its place."""


class Line:
    """The way to one shard's ledger, for its peers and for the test."""

    def __init__(self, bank: "Bank", shard_id: int) -> None:
        self._bank = bank
        self.shard_id = shard_id
        self.is_cut = False
        self.calls: list[str] = []
        """Methods that peers called, in order."""
        self.listener: Listener | None = None

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        """Call as a peer."""
        self.calls.append(method)
        if self.is_cut:
            raise errors.Unavailable("PEER_UNREACHABLE", "the line is cut")
        if self.listener is not None:
            return await self.listener(method, request, lambda: self._carry(method, request, deadline_seconds))
        return await self._carry(method, request, deadline_seconds)

    async def _carry(self, method: str, request: Any, seconds: float) -> Any:
        if self.shard_id not in self._bank.shards:
            raise errors.Unavailable("PEER_UNREACHABLE", "the shard is down")
        return await getattr(self._bank.service, method)(request, Call(seconds))


class Bank:
    """Shards with their writers, couriers and doors; each has its own database."""

    def __init__(self, dsns: Mapping[int, str]) -> None:
        self.dsns = dict(dsns)
        self.shards: dict[int, Shard] = {}
        self.lines = {shard_id: Line(self, shard_id) for shard_id in dsns}
        slots = tuple(SlotRange(100 * n, 100 * n + 99, n, 1) for n in dsns)
        self.directory = Directory(1, tuple(ShardFacts(n, (), 1, 0) for n in dsns), slots, {}, (CZK,))
        self.service = LedgerService(self.shards, lambda: self.directory, self._refresh)
        self._running: dict[int, asyncio.Task[None]] = {}

    async def _refresh(self, _: int) -> Directory:
        return self.directory

    async def start(self, shard_id: int) -> Shard:
        """Start a shard's ledger and wait until it writes."""
        shard = Shard(shard_id, self.dsns[shard_id], "the test", LEASE_SECONDS, self.lines.__getitem__)
        self._running[shard_id] = asyncio.create_task(shard.run())
        await until(lambda: shard.is_writer)
        self.shards[shard_id] = shard
        return shard

    async def stop(self, shard_id: int) -> None:
        """Stop a shard's ledger in whatever it does."""
        del self.shards[shard_id]
        running = self._running.pop(shard_id)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def open(self, *accounts: int, shard_id: int, floor: int = 0) -> None:
        """Open accounts."""
        request = ledger_pb2.OpenAccountsRequest(
            shard_id=shard_id,
            account_numbers=accounts,
            currencies=[CZK] * len(accounts),
            floors_minor=[floor] * len(accounts),
        )
        response = await self.service.OpenAccounts(request, Call(DEADLINE_SECONDS))
        assert set(response.results) == {ledger_pb2.OpenAccountsResponse.RESULT_OPEN}

    async def post(self, shard_id: int, *asked: Ask, seconds: float = DEADLINE_SECONDS) -> Any:
        """Ask a shard for transfers of one leg."""
        request = ledger_pb2.PostTransfersRequest(
            shard_id=shard_id,
            transfer_ids=b"".join(one.transfer_id for one in asked),
            debit_accounts=[one.legs[0].debit_account for one in asked],
            credit_accounts=[one.legs[0].credit_account for one in asked],
            amounts_minor=[one.legs[0].amount_minor for one in asked],
            currencies=[one.legs[0].currency for one in asked],
            references=[one.reference for one in asked],
            metadata=[
                ledger_pb2.Metadata(place=place, pairs=dict(one.metadata))
                for place, one in enumerate(asked)
                if one.metadata
            ],
        )
        return await self.service.PostTransfers(request, Call(seconds))

    async def outcomes(
        self, *asked: Ask, shard_id: int = 1, seconds: float = DEADLINE_SECONDS
    ) -> list[tuple[int, int]]:
        """Ask a shard for transfers that all get an outcome; tell it and its reason."""
        response = await self.post(shard_id, *asked, seconds=seconds)
        assert not any(response.errors)
        return list(zip(response.outcomes, response.refusals, strict=True))

    async def recorded(self, number: int, shard_id: int = 1) -> tuple[int, int]:
        """Look up what became of the transfer whose id `number` stands for."""
        record = await self.transfer(shard_id, an_id(number))
        return record.outcome, record.refusal

    async def until_recorded(self, number: int, expected: int) -> None:
        """Wait until a transfer of shard 1 has an outcome, without asking for it again."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.recorded(number))[0] != expected:
                await asyncio.sleep(0.005)

    async def until_acknowledged(self) -> None:
        """Wait until shard 1 has written down that all its crossings have landed."""
        async with connected(self.dsns[1]) as looking, asyncio.timeout(PATIENCE_SECONDS):
            while await looking.fetchval("SELECT acknowledged_through < sent_through FROM ledger.peer"):
                await asyncio.sleep(0.005)

    async def transfer(self, shard_id: int, transfer_id: bytes) -> Any:
        """Look a transfer up."""
        request = ledger_pb2.GetTransferRequest(shard_id=shard_id, transfer_id=transfer_id)
        return await self.service.GetTransfer(request, Call(DEADLINE_SECONDS))

    async def balances(self, shard_id: int, accounts: Sequence[int]) -> list[int]:
        """Look balances up."""
        request = ledger_pb2.GetBalancesRequest(shard_id=shard_id, account_numbers=accounts)
        return list((await self.service.GetBalances(request, Call(DEADLINE_SECONDS))).balances_minor)

    async def restrict(self, shard_id: int, account: int, restrictions: int) -> None:
        """Restrict an account in its table; a writer that holds it in memory does not see it."""
        async with connected(self.dsns[shard_id]) as connection:
            await connection.execute(
                "UPDATE ledger.account SET restrictions = $2 WHERE account_number = $1", account, restrictions
            )

    async def until_settled(self) -> None:
        """Wait until no promise waits for its decision any more."""
        for dsn in self.dsns.values():
            async with connected(dsn) as looking, asyncio.timeout(PATIENCE_SECONDS):
                while await looking.fetchval("SELECT count(*) FROM ledger.promise WHERE state = 1"):
                    await asyncio.sleep(0.005)

    async def prove(self, *, at_rest: bool = True) -> None:
        """Audit the books; at rest, nothing may be under way, though the last word may still be being written."""
        for dsn in self.dsns.values() if at_rest else ():
            async with connected(dsn) as looking, asyncio.timeout(PATIENCE_SECONDS):
                while await looking.fetchval("SELECT bool_or(acknowledged_through < sent_through) FROM ledger.peer"):
                    await asyncio.sleep(0.005)
        report = await audit(None, self.dsns, in_flight_seconds_max=0 if at_rest else None)
        assert report.clean, [result for result in report.results if not result.holds]


@asynccontextmanager
async def open_bank(dsns: Mapping[int, str], customers: int = 3, balance: int = 1_000) -> AsyncIterator[Bank]:
    """Open a bank whose customers have money; prove its books when the test is done with it."""
    bank = Bank(dsns)
    try:
        for shard_id in bank.dsns:
            await bank.start(shard_id)
            await bank.open(cash(shard_id), shard_id=shard_id, floor=-limits.BALANCE_MINOR_MAX)
            accounts = [customer_account(shard_id, serial) for serial in range(1, customers + 1)]
            await bank.open(*accounts, shard_id=shard_id)
            first_id = 1_000_000 * shard_id
            funding = [ask(first_id + i, cash(shard_id), account, balance) for i, account in enumerate(accounts)]
            assert set((await bank.post(shard_id, *funding)).outcomes) == {ledger_pb2.OUTCOME_POSTED}
        yield bank
        await bank.prove(at_rest=False)
    finally:
        for shard_id in list(bank.shards):
            await bank.stop(shard_id)
