"""Two shards on real PostgreSQL, each with its real writer, made to forget, to fail and to be replaced.

A synchronous face over its own event loop, because Hypothesis drives it. Connections are cut by
ending the server's process for them, at points that the test chooses.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import ledger_databases
import pytest
import uvloop
from bank_faces import Changing, Deciding, Expiring, Holding, Inquiry, Landing, Opening, Promising, Seen, Word, Work
from bank_requests import CUSTOMER
from bank_writing import HOUR
from memory_books import CZK, DAY_US, SECOND_US, TODAY, an_id, crossings, transfers

from services.domain import errors, limits
from services.domain.metadata import Metadata
from services.ledger import posting
from services.ledger.audit import audit
from services.ledger.batching import Writer
from services.ledger.books import ENGINE, AccountState, Cap, CapKey, Decision
from services.ledger.change_rows import Change
from services.ledger.command_jobs import ChangeJob, ExpireJob, HoldJob
from services.ledger.draft import Draft
from services.ledger.jobs import AcknowledgeJob, Job, LandJob, OpenJob, PostJob
from services.ledger.memory import Memory
from services.ledger.promise_jobs import DecideJob, PromiseJob, TellJob
from services.ledger.reader import Reader
from services.ledger.spending import of_day
from services.ledger.store import FenceLost, Head, Store
from services.ledger.traffic import Crossing, Watermarks

CUTS = ("connecting", "loading", "finding", "before", "begun", "appended", "answering")
"""Where a connection may be cut: while connecting anew, reading, and all the way through a transaction."""

ANSWER_SECONDS_MAX = 5.0
INT64_BALANCE = limits.BALANCE_MINOR_MAX


class FrailStore(Store):
    """A store whose connection is cut at the points listed, each time one is reached."""

    def __init__(self, dsn: str, cutter: asyncpg.Connection) -> None:
        super().__init__(dsn)
        self.cuts: list[str] = []
        self._cutter = cutter

    async def _cut_if(self, point: str) -> bool:
        if point not in self.cuts:
            return False
        self.cuts.remove(point)
        await self._cutter.execute("SELECT pg_terminate_backend($1)", self._connection.get_server_pid())
        while not self._connection.is_closed():
            await asyncio.sleep(0)
        return True

    async def connect(self) -> None:
        await super().connect()
        await self._cut_if("connecting")

    async def load_accounts(self, numbers: Sequence[int]) -> Any:
        await self._cut_if("loading")
        return await super().load_accounts(numbers)

    async def find_decisions(self, transfer_ids: Sequence[bytes]) -> Any:
        await self._cut_if("finding")
        return await super().find_decisions(transfer_ids)

    async def write(self, head: Head, draft: Draft) -> Head:
        await self._cut_if("before")
        after = await super().write(head, draft)
        if await self._cut_if("answering"):
            raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT got lost")
        return after

    async def _append(self, draft: Draft) -> None:
        await self._cut_if("begun")
        await super()._append(draft)
        await self._cut_if("appended")


@dataclass
class View:
    """The books of a shard, looked at once."""

    accounts: dict[int, Seen] = field(default_factory=dict)
    peers: dict[int, Watermarks] = field(default_factory=dict)
    meanings: dict[bytes, Decision] = field(default_factory=dict)
    metadata: dict[bytes, Metadata] = field(default_factory=dict)
    value_dates: dict[bytes, int] = field(default_factory=dict)
    caps: dict[CapKey, Cap] = field(default_factory=dict)
    open_promises: list[tuple[bytes, int]] = field(default_factory=list)
    sent: dict[int, list[Crossing]] = field(default_factory=dict)
    refused: dict[int, dict[int, int]] = field(default_factory=dict)
    returned: dict[int, dict[int, int]] = field(default_factory=dict)


class _Shard:
    """One database, the writer that has it, and those who look."""

    def __init__(self, shard_id: int, dsn: str, clock: "Clock") -> None:
        self.shard_id = shard_id
        self.clock = clock
        self.dsn = dsn
        self.view: View | None = None

    async def open(self) -> None:
        self.test = await asyncpg.connect(self.dsn)
        self.looker = Store(self.dsn)
        await self.looker.connect()
        self.reader = await Reader.open(self.dsn)

    async def close(self) -> None:
        await self.test.close()
        await self.looker.close()
        await self.reader.close()

    async def empty(self) -> None:
        await ledger_databases.empty(self.dsn)
        self.view = None

    async def begin_writing(self) -> None:
        self.store, head = await self.take_books()
        memory = Memory(self.shard_id, await self.store.load_peers(), promises=await self.store.load_open_promises())
        self.writer = Writer(self.shard_id, self.store, head, memory, self.clock, lambda _: None)
        self.running = asyncio.create_task(self.writer.run())

    async def stop_writing(self) -> BaseException | None:
        """Stop the writer in whatever it does and tell what had stopped it before."""
        self.running.cancel()
        (ended,) = await asyncio.gather(self.running, return_exceptions=True)
        self.store.drop()
        return ended if isinstance(ended, BaseException) else None

    async def take_books(self) -> tuple[FrailStore, Head]:
        store = FrailStore(self.dsn, self.test)
        await store.connect()
        head = await store.take_lease("the test", 60)
        assert head is not None
        return store, head

    async def look(self) -> View:
        """Read everything, unless nothing happened since."""
        if self.view is not None:
            return self.view
        self.view = view = View()
        for row in await self.test.fetch(
            "SELECT account_number, currency, floor_minor, restrictions FROM ledger.account"
        ):
            view.accounts[row[0]] = Seen(*row[1:], [])
        for row in await self.test.fetch(
            "SELECT account_number, amount_minor, balance_after_minor, held_after_minor FROM ledger.entry"
            " ORDER BY account_number, version"
        ):
            view.accounts[row[0]].history.append((row[1], row[2]))
            view.accounts[row[0]].held = row[3] or 0
        for account in (await self.looker.load_accounts(list(view.accounts))).values():
            view.accounts[account.number].spent = of_day(account.spent, self.clock.today)[1:]
        view.caps = await self.looker.load_caps([CapKey(CUSTOMER, CZK)])
        for row in await self.test.fetch(
            "SELECT transfer_id, value_date - date '1970-01-01'"
            " FROM ledger.transfer WHERE kind IN (1, 2, 10) AND refusal = 0"
        ):
            view.value_dates[row[0].bytes] = row[1]
        view.peers = await self.looker.load_peers()
        ids = [row[0].bytes for row in await self.test.fetch("SELECT transfer_id FROM ledger.transfer WHERE kind <> 3")]
        view.meanings = await self.looker.find_decisions(ids)
        for row in await self.test.fetch(
            "SELECT transfer_id, key, value FROM ledger.metadata JOIN ledger.transfer USING (sequence) ORDER BY sequence, key"
        ):
            pairs = view.metadata.get(row[0].bytes, ())
            view.metadata[row[0].bytes] = pairs if (row[1], row[2]) in pairs else (*pairs, (row[1], row[2]))
        promises = await self.looker.load_open_promises()
        view.open_promises = [(promise.transfer_id, promise.home_id) for promise in promises]
        for peer_id in view.peers:
            view.sent[peer_id] = await self.looker.unacknowledged_crossings(peer_id, 0, 1_000_000)
            view.refused[peer_id] = dict(await self.reader.refused_crossings(peer_id, 1, 1_000_000))
        for row in await self.test.fetch("SELECT peer_id, number, refusal FROM ledger.crossing_returned"):
            view.returned.setdefault(row[0], {})[row[1]] = row[2]
        return view


class Clock:
    """The time by which the ledgers book, in microseconds since 1970-01-01 UTC: it stands but for a moment at each look."""

    def __init__(self) -> None:
        self.time_us = TODAY * DAY_US

    def __call__(self) -> int:
        self.time_us += 1
        return self.time_us

    @property
    def today(self) -> int:
        """The business day."""
        return self.time_us // DAY_US


class StoreBank:
    """Shards whose books are in PostgreSQL."""

    def __init__(self, dsns: dict[int, str]) -> None:
        self._loop = uvloop.new_event_loop()
        self._clock = Clock()
        self._shards = {shard_id: _Shard(shard_id, dsn, self._clock) for shard_id, dsn in dsns.items()}
        self._do(self._all("open"))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _all(self, method: str) -> None:
        for shard in self._shards.values():
            await getattr(shard, method)()

    def close(self) -> None:
        """Let go of the databases."""
        self._do(self._all("close"))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def begin(self) -> None:
        """Begin with empty books, on the first day."""
        self._clock.time_us = TODAY * DAY_US
        self._do(self._all("empty"))
        self._do(self._all("begin_writing"))

    def end(self) -> None:
        """Stop writing and prove the books."""
        self._do(self._all("stop_writing"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "BALANCE_MINOR_MAX", INT64_BALANCE)
            report = self._do(audit(None, {shard_id: shard.dsn for shard_id, shard in self._shards.items()}))
        assert report.clean, [result for result in report.results if not result.holds]

    def run(self, shard: int, work: Sequence[Work], fate: str) -> list[Any] | None:
        """Do work as one batch; `fate` is "committed", "forgotten", "replaced", or cuts, comma separated."""
        self._shards[shard].view = None
        return self._do(self._run(self._shards[shard], work, fate))

    async def _run(self, shard: _Shard, work: Sequence[Work], fate: str) -> list[Any] | None:
        if fate == "forgotten":
            await shard.stop_writing()
            await shard.begin_writing()
        if fate == "replaced":
            (await shard.take_books())[0].drop()
        shard.store.cuts = [cut for cut in fate.split(",") if cut in CUTS]
        jobs = [_job(one) for one in work]
        for job in jobs:
            shard.writer.submit(job)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        shard.store.cuts = []
        if fate != "replaced":
            assert not any(isinstance(answer, BaseException) for answer in answers), answers
            return answers
        ended = await shard.stop_writing()
        await shard.begin_writing()
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if not failed:
            return answers  # There was nothing to write.
        assert isinstance(ended, FenceLost)
        assert len(failed) == len(answers)
        assert all(isinstance(one, errors.Unavailable) and one.reason == "NOT_THE_WRITER" for one in failed)
        return None

    def run_in_a_row(self, shard: int, works: Sequence[Sequence[Work]], cuts: Sequence[str]) -> list[list[Any]]:
        """Do each work as one batch that arrives while the one before it is being written."""
        self._shards[shard].view = None
        return self._do(self._run_in_a_row(self._shards[shard], works, cuts))

    async def _run_in_a_row(
        self, shard: _Shard, works: Sequence[Sequence[Work]], cuts: Sequence[str]
    ) -> list[list[Any]]:
        shard.store.cuts = list(cuts)
        answers = []
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            for work in works:
                jobs = [_job(one) for one in work]
                for job in jobs:
                    shard.writer.submit(job)
                answers.append(asyncio.gather(*(job.future for job in jobs)))
                while not all(job.started for job in jobs):
                    await asyncio.sleep(0)
            found = [await each for each in answers]
        shard.store.cuts = []
        return found

    def wait(self, hours: int) -> None:
        """Let time pass, on all shards."""
        self._clock.time_us += hours * HOUR * SECOND_US
        for shard in self._shards.values():
            shard.view = None

    def cap(self, shard: int, customer: int, number: int, day_max: int) -> None:
        """Cap a customer, as the door does."""
        change = Change(an_id(10**6), number, None, None, None, day_max, "a cap", 0)
        decision = self.run(shard, [Changing(change)], "committed")
        assert decision is not None and not decision[0].refusal

    def capped(self, shard: int, customer: int) -> int:
        return of_day(self._look(shard).caps[CapKey(customer, CZK)].spent, self._clock.today).minor

    def value_dates(self, shard: int) -> dict[bytes, int]:
        return self._look(shard).value_dates

    def payee_refusal(self, shard: int, number: int, currency: int) -> int:
        facts = self._do(self._shards[shard].reader.facts([number]))
        return posting.credit_refusal(facts.get(number), 0, currency)

    def _look(self, shard: int) -> View:
        view: View = self._do(self._shards[shard].look())
        return view

    def accounts(self, shard: int) -> dict[int, Seen]:
        return dict(self._look(shard).accounts)

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[int, int]:
        meaning = self._look(shard).meanings[transfer_id]
        return meaning.outcome, meaning.refusal

    def metadata(self, shard: int) -> dict[bytes, Metadata]:
        return self._look(shard).metadata

    def open_promises(self, shard: int) -> list[tuple[bytes, int]]:
        return self._look(shard).open_promises

    def watermarks(self, shard: int) -> dict[int, Watermarks]:
        return self._look(shard).peers

    def sent(self, shard: int, peer_id: int) -> list[Crossing]:
        return self._look(shard).sent.get(peer_id, [])

    def refused(self, shard: int, peer_id: int) -> dict[int, int]:
        return self._look(shard).refused.get(peer_id, {})

    def returned(self, shard: int, peer_id: int) -> dict[int, int]:
        return self._look(shard).returned.get(peer_id, {})


def _job(work: Work) -> Job[Any]:
    """Make the job that the door would make."""
    forever = float("inf")
    match work:
        case Changing(change):
            return ChangeJob(change, ENGINE, forever)
        case Expiring(hold_ids):
            return ExpireJob(hold_ids)
        case tuple():
            return PostJob(transfers(work), forever)
        case Promising(_, asked):
            return PromiseJob(asked, ENGINE, forever)
        case Deciding(_, span, refusals, told):
            return DecideJob(span, refusals, told, ENGINE, forever)
        case Inquiry(peer_id, asked):
            return TellJob(peer_id, [asked], forever)
        case Landing(peer_id, sent):
            return LandJob(crossings(peer_id, sent), forever)
        case Word(peer_id, through, refused):
            return AcknowledgeJob(peer_id, through, refused)
        case Opening(number, currency, floor, allowance, customer):
            opening = AccountState(number, currency, floor, customer_number=customer, allowance=allowance)
            return OpenJob([opening], forever)
        case Holding(command):
            return HoldJob([command], forever)
