"""What a store can be asked to do, played the same on a real and on a simulated PostgreSQL.

Each scenario takes a DSN and says what it was told; `write_everything` leaves rows instead.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from memory_books import CZK, an_id, ask, cash, crossings, customer_account
from memory_special import a_change, capture, columns, increase, legs, place, release, reverse
from span_books import ask_of, span

from services.account import records
from services.account.database import Database
from services.account.moves import Move, Moves
from services.account.records import Records
from services.chassis.postgres import ERRORS
from services.domain import limits
from services.domain.identifiers import account_number, customer_number
from services.domain.outcomes import Outcome, Refusal
from services.domain.products import NONE, Reference
from services.ledger import raw, store
from services.ledger.batching import Writer
from services.ledger.books import AccountState, Actor, Allowance, Creditor, Leg
from services.ledger.changes import CREDITS_FROZEN
from services.ledger.command_jobs import BuryJob, ChangeJob, ExpireJob, HoldJob
from services.ledger.jobs import AcknowledgeJob, Job, LandJob, OpenJob, PostJob
from services.ledger.leases import Lease
from services.ledger.memory import Facts, Memory
from services.ledger.promise_jobs import DecideJob, PromiseJob, TellJob
from services.ledger.spanning import Told
from services.ledger.store import FenceLost, Head, IdTaken, Store
from services.ledger.traffic import Crossing, Crossings, Verdict
from simulation import records as simulated_records
from simulation.bank import Bank
from simulation.plan import Plan
from simulation.prices import draw_products
from simulation.tables import Row, definitions

FOREVER = float("inf")
PRODUCTS = draw_products(1)
Scenario = Callable[[str], Awaitable[Any]]
"""Something to be done to a database, and what was said of it."""
A, B, C, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(1, 3), customer_account(2, 1)
TELLER = Actor("desk", "teller")
CREDITOR = Creditor("0100", "19-1", "Žofie", "rent")
TOO_MUCH = legs(19, (A, B, 1), (A, C, 100_000))


def in_simulation(scenario: Scenario) -> Any:
    """Play a scenario on the simulated databases of a new bank; return what it said, or the rows it left."""
    bank = Bank(Plan(1, shards=1))
    simulated_records.publish(bank.control, PRODUCTS.values())
    simulated_records.put(bank.databases[1], MOVED_CUSTOMER, MOVED_ACCOUNT, 203, NONE)
    process = bank.loop.process("test")

    async def play() -> Any:
        return await process.start(scenario("simulated 1"))

    with bank.installed():
        try:
            said = bank.loop.run(play(), until=1_000)
        finally:
            bank.network.is_over = True
            bank.loop.bury()
    if said is None:
        return {name: table.rows for name, table in bank.databases[1].tables.items()}
    return said


async def rows_of(connection: asyncpg.Connection) -> dict[str, list[Row]]:
    """Read all tables of real books."""
    return {
        name: [dict(row) for row in await connection.fetch(f"SELECT * FROM ledger.{name}")] for name in definitions()
    }


async def speaking(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn)
    await raw.speak_raw(connection)
    return connection


def work() -> list[list[Callable[[], Job[Any]]]]:
    """Make batches in which every kind of row is written."""
    funds = [(cash(1), A, 5_000), (cash(1), B, 3_000)]
    sent = [
        Crossing(1, an_id(201), FAR, B, 70, CZK, "from afar", 20_000),
        Crossing(2, an_id(202), FAR, C, 70, CZK, "", 20_000),
    ]
    refused = Crossing(1, an_id(15), A, FAR, 60, CZK, "", 0)
    promised = [span(Leg(FAR, B, 40 + n, CZK), Leg(B, FAR, 25, CZK), home_id=2, number=301 + n) for n in range(3)]
    decided = span(Leg(B, FAR, 30, CZK), Leg(FAR, C, 10, CZK), number=311)
    heard = [
        Verdict(3, an_id(301), Outcome.POSTED, 0, "kept", 20_001, B),
        Verdict(4, an_id(302), Outcome.REFUSED, int(Refusal.INSUFFICIENT_FUNDS), "", 20_001, B),
        Verdict(5, an_id(309), Outcome.REFUSED, int(Refusal.PROMISE_TIMED_OUT), "", 20_001, B),
    ]
    accounts = [AccountState(cash(1), CZK, -limits.BALANCE_MINOR_MAX)]
    accounts += [AccountState(number, CZK, 0, customer_number=7) for number in (A, B, C)]
    accounts[3].allowance = Allowance(balance_minor_max=900)

    def posts(*asked: Any) -> Callable[[], Job[Any]]:
        return lambda: PostJob(columns(asked), FOREVER)

    def holds(*asked: Any) -> Callable[[], Job[Any]]:
        return lambda: HoldJob(asked, FOREVER)

    def changes(asked: Any) -> Callable[[], Job[Any]]:
        return lambda: ChangeJob(asked, TELLER, FOREVER)

    return [
        [lambda: OpenJob(accounts, FOREVER)],
        [posts(*(ask(10 + n, *each) for n, each in enumerate(funds)), ask(12, A, B, 10_000), ask(13, A, C, 901))],
        [changes(a_change(101, A, allowance=Allowance(day_minor_max=2_000, day_count_max=9), floor=-50))],
        [changes(a_change(102, B, cap=2_500)), changes(a_change(103, C, state=CREDITS_FROZEN))],
        [posts(ask(14, A, B, 250, value_date=20_003, reference="later"), legs(16, (A, B, 20), (A, C, 5), (B, A, 3)))],
        [posts(ask(15, A, FAR, 60, peer_id=2), ask(17, B, FAR, 40, peer_id=2)), holds(place(30, A, 200, seconds=5))],
        [holds(place(31, A, 300, payee=B), place(32, B, 100), increase(33, 31, A, 50), release(34, 32, B))],
        [posts(capture(35, 31, A, B, 320), reverse(36, 14, (B, A, 100)), ask(14, A, B, 250, value_date=20_003))],
        [lambda: LandJob(crossings(2, sent), FOREVER), lambda: BuryJob([an_id(77)], [A], TELLER, FOREVER)],
        [lambda: AcknowledgeJob(2, 1, [(refused, int(Refusal.CREDIT_ACCOUNT_CLOSED))])],
        [lambda one=one: PromiseJob(ask_of(one, 1), TELLER, FOREVER) for one in promised],
        [lambda: LandJob(Crossings(2, 3, [], [], [], [], [], [], [], decisions=heard), FOREVER)],
        [lambda: DecideJob(decided, (), (2,), TELLER, FOREVER)],
        [lambda: TellJob(2, [Told(an_id(312), B)], FOREVER)],
        [posts(ask(18, A, B, 1, metadata=(("order", "7/24"), ("shop", "Žižkov")), creditor=CREDITOR), TOO_MUCH)],
        [lambda: ExpireJob([an_id(30)]), changes(a_change(104, B, cap=-1)), posts(ask(77, A, B, 1))],
    ]


async def write_everything(dsn: str) -> Any:
    """Do all the work with the real writer; two days pass."""
    books = Store(dsn)
    await books.connect()
    head = await books.take_lease("the test", 60)
    assert head is not None
    clock = itertools.count(20_000 * 86_400_000_000, 20_000_000_000)
    writer = Writer(1, books, head, Memory(1, await books.load_peers()), lambda: next(clock), lambda _: None)
    running = asyncio.create_task(writer.run())
    try:
        for batch in work():
            jobs = [make() for make in batch]
            for one in jobs:
                writer.submit(one)
            await asyncio.gather(*(one.future for one in jobs))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        books.drop()
    if dsn.startswith("simulated"):
        return None
    connection = await speaking(dsn)
    try:
        return await rows_of(connection)
    finally:
        await connection.close()


async def _writer(dsn: str, instance: str, seconds: float = 60) -> tuple[Store, Head | None]:
    books = Store(dsn)
    await books.connect()
    return books, await books.take_lease(instance, seconds)


def _transfer(head: Head, number: int) -> Any:
    draft = Memory(1, {}).draft(head, head.booking_time_us + 1, Facts())
    draft.opened.append(AccountState(cash(number), CZK, 0))
    draft.sequence += 1
    return draft


async def dispute(dsn: str) -> list[str]:
    """Let two instances want the same books, and say what each was told."""
    said = []
    first, head = await _writer(dsn, "first", 0.3)
    assert head is not None
    second, nothing = await _writer(dsn, "second")
    said.append(f"second while the first lives: {nothing}")
    again = await first.take_lease("first", 0.3)
    said.append(f"first again: {again is not None and again.epoch - head.epoch}")
    lease, others = Lease(dsn, "first", 0.3), Lease(dsn, "second", 0.3)
    said.append(f"renewed: {await lease.renew()}, another's: {await others.renew()}")
    others.drop()
    before = await second.see_lease()
    await lease.renew()
    said.append(f"worth {before.seconds} s; taken as it was before: {await second.take_lease('second', 60, before[0])}")
    taken = await second.take_lease("second", 60, (await second.see_lease()).expire_time_us)
    assert again is not None
    assert taken is not None
    said.append(f"after the lease: epoch {taken.epoch - again.epoch}, sequence {taken.sequence}")
    try:
        await first.write(again, _transfer(again, 1))
    except FenceLost:
        said.append("the first is fenced off")
    said.append(f"renewed: {await lease.renew()}")
    lease.drop()
    second.drop()
    third, head = await _writer(dsn, "third")
    while head is None:
        await asyncio.sleep(0.02)
        head = await third.take_lease("third", 60)
    said.append(f"after the second's session: epoch {head.epoch - taken.epoch}")
    lease = Lease(dsn, "third", 60)
    await lease.renew()
    await lease.release()
    lease.drop()
    fourth, head = await _writer(dsn, "fourth")
    said.append(f"after a release: {head is not None}")
    for one in (first, third, fourth):
        one.drop()
    return said


async def doubt(dsn: str) -> list[str]:
    """Ask what became of commits, and write ids and keys that are taken."""
    said = []
    books, head = await _writer(dsn, "first")
    assert head is not None
    draft = _transfer(head, 1)
    now = await books.confirm(head, draft)
    said.append(f"before the commit: {now}")
    try:
        await books.write(head, draft)
    except FenceLost:
        said.append("what was sent before the question is shut out")
    await books.write(now, draft)
    after = await books.confirm(now, draft)
    said.append(f"after the commit: {after}")
    twice = _transfer(after, 1)
    try:
        await books.write(after, twice)
    except asyncpg.UniqueViolationError as error:
        said.append(f"an account twice: {type(error).__name__}")
    memory = Memory(1, {})
    for number in (1, 2):
        await memory.load([BuryJob([an_id(5)], [A], TELLER, FOREVER)], books, Facts())
        draft = Memory(1, {}).draft(after, after.booking_time_us + 1, Facts())
        BuryJob([an_id(5)], [A], TELLER, FOREVER).decide(draft)
        try:
            after = await books.write(after, draft)
        except IdTaken:
            said.append(f"the id is taken the {number}. time")
    known = await books.find_decisions([an_id(5), an_id(6)])
    said.append(f"known: {[one.refusal for one in known.values()]}")
    other, taken = await _writer(dsn, "first")
    assert taken is not None
    try:
        await books.confirm(after, draft)
    except FenceLost:
        said.append("doubt ends with another's epoch")
    books.drop()
    other.drop()
    return said


async def block(dsn: str) -> list[str]:
    """Leave a transaction open in the middle: the lease's next owner does not wait for it."""
    said = []
    silent, head = await _writer(dsn, "silent")
    assert head is not None
    connection: Any = silent._connection
    transaction = connection.transaction()
    await transaction.__aenter__()
    await connection.fetchval(store.SQL["advance_head"], head.sequence, head.epoch, 5, head.booking_time_us + 1)
    heir, nothing = await _writer(dsn, "heir")
    taken = await heir.take_lease("heir", 60, (await heir.see_lease()).expire_time_us)
    assert nothing is None
    assert taken is not None
    said.append(f"taken at {taken.sequence}")
    try:
        await transaction.__aexit__(None, None, None)
    except ERRORS:
        said.append("the silent one cannot commit")
    after = await heir.write(taken, _transfer(taken, 1))
    said.append(f"the heir writes {after.sequence}")
    for one in (silent, heir):
        one.drop()
    return said


MOVED_CUSTOMER, MOVED_ACCOUNT = customer_number(1, 1), account_number(1, 1)


async def move_accounts(dsn: str) -> list[Any]:
    """Begin, finish and refuse moves of one account, each more than once."""
    database = Database(dsn, "records", records.MIGRATIONS)
    await database.open()
    moves, kept = Moves(database), Records(database)
    said: list[Any] = []
    for number, product in enumerate((("A", 1), ("A", 2), ("B", 1)), start=1):
        wanted = Move(an_id(number), MOVED_ACCOUNT, number, NONE, Reference(*product), 1, 0, "why", "desk", "teller")
        for move in (wanted, wanted, wanted._replace(request_id=an_id(number + 10))):
            await moves.begin(move)
            said.append(await moves.find(move.request_id))
        said.append(len(await moves.stale(-100.0, 5)))
        for _ in range(2):
            if number == 2:
                await moves.refuse(wanted.request_id, 12)
            else:
                await moves.finish(wanted.request_id)
        said += [await moves.find(wanted.request_id), await moves.through(), await moves.after(0, 5)]
        said.append((await kept.accounts([MOVED_ACCOUNT]))[MOVED_ACCOUNT].product)
    await database.close()
    return said
