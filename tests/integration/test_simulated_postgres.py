"""The simulated PostgreSQL against the real one: the same rows, answers, refusals, fences and doubts.

What a simulation has left behind is put into real databases, which must take every row, audit clean, and answer
every query alike; and the same writers do the same work on both.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import asyncpg
import ledger_databases
import pytest
from conftest import MakeDatabase
from memory_books import CZK, an_id, ask, cash, crossings, customer_account
from memory_special import a_change, capture, columns, increase, legs, place, release, reverse

from services.domain import limits
from services.domain.outcomes import Refusal
from services.ledger import raw, store
from services.ledger.audit import audit
from services.ledger.batching import Writer
from services.ledger.books import AccountState, Actor, Allowance, Crossing
from services.ledger.changes import CREDITS_FROZEN
from services.ledger.command_jobs import BuryJob, ChangeJob, ExpireJob, HoldJob
from services.ledger.jobs import AcknowledgeJob, Job, LandJob, OpenJob, PostJob
from services.ledger.memory import Memory
from services.ledger.store import FenceLost, Head, IdTaken, Lease, Store
from simulation import statements
from simulation.bank import Bank
from simulation.database import Database, Session
from simulation.plan import Plan
from simulation.run import Simulation
from simulation.tables import Row, definitions

FOREVER = float("inf")
A, B, C, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(1, 3), customer_account(2, 1)
TELLER = Actor("desk", "teller")

WRITES = {
    "take_lease", "renew_lease", "release_lease", "end_earlier_writers", "next_epoch", "advance_head", "lock_head",
    "begin_day", "put_actors", "write_holds", "write_account_facts", "write_caps", "lift_caps", "write_change",
    "write_peers", "add_value_sums",
}  # fmt: skip
"""Queries that change something: what they leave behind is compared."""


def questions(tables: dict[str, list[Row]]) -> dict[str, list[tuple[Any, ...]]]:
    """Make arguments for every query that reads, out of what there is and a little that there is not."""

    def column(table: str, name: str) -> list[Any]:
        return list(dict.fromkeys(row[name] for row in tables[table]))

    numbers, ids = [*column("account", "account_number"), 97 * 97 + 1], [*column("transfer", "transfer_id"), bytes(16)]
    customers = [(row["customer_number"], row["currency"]) for row in tables["account"]]
    actors = [(row["channel"], row["subject"]) for row in tables["actor"]]
    peers = column("peer", "peer_id")
    sequences = column("transfer", "sequence")
    return {
        "load_accounts": [(numbers,)],
        "load_holds": [(column("hold", "hold_id"),)],
        "load_open_holds": [(numbers,)],
        "load_caps": [tuple(map(list, zip(*dict.fromkeys(customers), strict=True)))],
        "load_originals": [(ids,)],
        "load_changes": [(column("account_change", "change_id"),)],
        "load_siblings": [(numbers,)],
        "find_actors": [tuple(map(list, zip(*actors, strict=True)))] if actors else [],
        "load_peers": [()],
        "find_decisions": [(ids,)],
        "unacknowledged_crossings": [(peer, after, 7) for peer in peers for after in (0, 3)],
        "refused_crossings": [(peer, 1, 1_000) for peer in peers],
        "check_payees": [(numbers,)],
        "transfers": [(ids, []), ([], sequences[::3])],
        "get_hold": [(each,) for each in column("hold", "hold_id")],
        "open_holds": [(number, 100) for number in numbers],
        "account_facts": [(number,) for number in numbers],
        "state_at": [(number, sequence) for number in numbers for sequence in sequences[::20]],
        "shard_status": [()],
        "due_holds": [(1_000,)],
    }


async def rows_of(connection: asyncpg.Connection) -> dict[str, list[Row]]:
    """Read all tables of real books."""
    return {
        name: [dict(row) for row in await connection.fetch(f"SELECT * FROM ledger.{name}")] for name in definitions()
    }


def comparable(tables: dict[str, list[Row]]) -> dict[str, list[Any]]:
    """Put rows in an order, without what is the session's own."""
    return {
        name: sorted(repr(sorted((column, _plain(value)) for column, value in row.items())) for row in rows)
        for name, rows in tables.items()
        if name != "writer_lease"
    }


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, int | Decimal) else value


async def speaking(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn)
    await raw.speak_raw(connection)
    return connection


async def put(connection: asyncpg.Connection, database: Database) -> None:
    """Put the rows of a simulated database into a real one."""
    await connection.execute("DELETE FROM ledger.journal_head")
    for name, table in database.tables.items():
        names = list(table.definition.kinds)
        if table.rows and name != "writer_lease":
            records = [tuple(row[each] for each in names) for row in table.rows]
            await connection.copy_records_to_table(name, schema_name="ledger", columns=names, records=records)


async def test_the_tables_have_the_columns_that_the_migrations_make(database: str) -> None:
    await ledger_databases.migrate(database)
    connection = await asyncpg.connect(database)
    try:
        for name, definition in definitions().items():
            rows = await connection.fetch(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'ledger' AND table_name = $1",
                name,
            )
            kinds = {row["column_name"]: row["data_type"] for row in rows}
            kinds = {each: kind.replace("timestamp with time zone", "timestamptz") for each, kind in kinds.items()}
            assert kinds == definition.kinds, name
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'")
        assert {row[0] for row in found} == set(definitions())
    finally:
        await connection.close()


@pytest.mark.parametrize("seed", [2, 8, 13, 20])
async def test_a_simulated_bank_is_sound_in_real_databases_too(seed: int, make_database: MakeDatabase) -> None:
    simulation = await asyncio.to_thread(_simulated, seed)
    dsns: dict[int, str] = {}
    for shard_id, database in simulation.bank.databases.items():
        dsns[shard_id] = dsn = await make_database()
        await ledger_databases.migrate(dsn)
        connection = await speaking(dsn)
        try:
            await put(connection, database)
            database.process.skew_us += time.time_ns() // 1000 - database.process.now_us()
            await _compare_answers(connection, database)
        finally:
            await connection.close()
    report = await audit(None, dsns)
    assert report.clean, [result for result in report.results if not result.holds]


def _simulated(seed: int) -> Simulation:
    from simulation.plan import draw

    simulation = Simulation(draw(seed))
    result = simulation.run()
    assert result.error is None, result.story()
    return simulation


async def _compare_answers(connection: asyncpg.Connection, database: Database) -> None:
    asked = questions({name: table.rows for name, table in database.tables.items()})
    assert asked.keys() | WRITES == statements.known()
    session = Session(database, 1, None)
    for name, calls in asked.items():
        for arguments in calls:
            real = [tuple(row) for row in await connection.fetch(store.SQL[name], *arguments)]
            simulated = [tuple(row) for row in statements.run(session, name, arguments)]
            if name not in {"unacknowledged_crossings", "refused_crossings", "transfers", "open_holds"}:
                real, simulated = sorted(real, key=repr), sorted(simulated, key=repr)
            assert simulated == real, (name, arguments)


# The same on both

Scenario = Callable[[str], Awaitable[Any]]


async def on_both(scenario: Scenario, database: str) -> tuple[Any, Any]:
    """Play a scenario on both and return what it says of each."""
    await ledger_databases.migrate(database)
    return await scenario(database), await asyncio.to_thread(_in_simulation, scenario)


def _in_simulation(scenario: Scenario) -> Any:
    bank = Bank(Plan(1, shards=1))
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


def work() -> list[list[Callable[[], Job[Any]]]]:
    """Make batches in which every kind of row is written."""
    funds = [(cash(1), A, 5_000), (cash(1), B, 3_000)]
    sent = [
        Crossing(1, an_id(201), FAR, B, 70, CZK, "from afar", 20_000),
        Crossing(2, an_id(202), FAR, C, 70, CZK, "", 20_000),
    ]
    refused = Crossing(1, an_id(15), A, FAR, 60, CZK, "", 0)
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


async def test_the_same_work_leaves_the_same_rows(database: str) -> None:
    real, simulated = map(comparable, await on_both(write_everything, database))
    for name, rows in real.items():
        assert simulated[name] == rows, name
    assert {name for name, rows in real.items() if not rows} <= {"external_creditor", "metadata", "customer_cap"}


async def _writer(dsn: str, instance: str, seconds: float = 60) -> tuple[Store, Head | None]:
    books = Store(dsn)
    await books.connect()
    return books, await books.take_lease(instance, seconds)


def _transfer(head: Head, number: int) -> Any:
    draft = Memory(1, {}).draft(head, head.booking_time_us + 1, _facts())
    draft.opened.append(AccountState(cash(number), CZK, 0))
    draft.sequence += 1
    return draft


def _facts() -> Any:
    from services.ledger.memory import Facts

    return Facts()


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
    while (taken := await second.take_lease("second", 60)) is None:
        await asyncio.sleep(0.02)
    assert again is not None
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
    said.append(f"before the commit: {await books.confirm(head, draft)}")
    after = await books.write(head, draft)
    said.append(f"after the commit: {await books.confirm(head, draft) == after}")
    twice = _transfer(after, 1)
    try:
        await books.write(after, twice)
    except asyncpg.UniqueViolationError as error:
        said.append(f"an account twice: {type(error).__name__}")
    memory = Memory(1, {})
    for number in (1, 2):
        await memory.load([BuryJob([an_id(5)], [A], TELLER, FOREVER)], books, _facts())
        draft = Memory(1, {}).draft(after, after.booking_time_us + 1, _facts())
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
    silent, head = await _writer(dsn, "silent", 0.2)
    assert head is not None
    connection: Any = silent._connection
    transaction = connection.transaction()
    await transaction.__aenter__()
    await connection.fetchval(store.SQL["advance_head"], head.sequence, head.epoch, 5, head.booking_time_us + 1)
    heir, taken = await _writer(dsn, "heir")
    while taken is None:
        await asyncio.sleep(0.02)
        taken = await heir.take_lease("heir", 60)
    said.append(f"taken at {taken.sequence}")
    try:
        await transaction.__aexit__(None, None, None)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        said.append("the silent one cannot commit")
    after = await heir.write(taken, _transfer(taken, 1))
    said.append(f"the heir writes {after.sequence}")
    for one in (silent, heir):
        one.drop()
    return said


@pytest.mark.parametrize("scenario", [dispute, doubt, block])
async def test_the_same_is_said(scenario: Scenario, database: str) -> None:
    real, simulated = await on_both(scenario, database)
    assert simulated == real
