"""The simulated PostgreSQL against the real one: the same rows, answers, refusals, fences and doubts.

What a simulation has left behind is put into real databases, which must take every row, audit clean, and answer
every query alike; and the same writers do the same work on both.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import asyncpg
import ledger_databases
import pytest
from ledger_databases import MakeDatabase
from store_scenarios import block, dispute, doubt, speaking, write_everything

from services.ledger import history, store
from services.ledger.audit import audit
from simulation import statements
from simulation.bank import Bank
from simulation.database import Database, Session
from simulation.plan import Plan, draw
from simulation.run import Simulation
from simulation.tables import Row, definitions

SQL = {**store.SQL, **history.SQL}

WRITES = {
    "take_lease", "renew_lease", "release_lease", "end_earlier_writers", "next_epoch", "advance_head", "raise_own_epoch", "write_small_batch",
    "write_small_mixed_batch",
    "begin_day", "put_actors", "write_holds", "write_account_facts", "write_caps", "lift_caps", "write_change",
    "write_peers", "add_value_sums", "write_promises",
}  # fmt: skip
"""Queries that change something: what they leave behind is compared."""

SQL = {**store.SQL, **history.SQL}


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
        "load_open_promises": [()],
        "unacknowledged_decisions": [(peer, after, 5) for peer in peers for after in (0, 3)],
        "load_told": [(ids, [peer] * len(ids)) for peer in peers],
        "find_decisions": [(ids,)],
        "unacknowledged_crossings": [(peer, after, 7) for peer in peers for after in (0, 3)],
        "refused_crossings": [(peer, 1, 1_000) for peer in peers],
        "check_payees": [(numbers,)],
        "transfers": [(ids, []), ([], sequences[::3])],
        "get_hold": [(each,) for each in column("hold", "hold_id")],
        "open_holds": [(number, 100) for number in numbers],
        "state_at": [(number, sequence) for number in numbers for sequence in sequences[::20]],
        "shard_status": [()],
        "due_holds": [(1_000,)],
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
            real = [tuple(row) for row in await connection.fetch(SQL[name], *arguments)]
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


async def test_the_same_work_leaves_the_same_rows(database: str) -> None:
    real, simulated = map(comparable, await on_both(write_everything, database))
    for name, rows in real.items():
        assert simulated[name] == rows, name
    assert all(any(f"('state', {state})" in row for row in real["promise"]) for state in (1, 2, 3))
    assert {name for name, rows in real.items() if not rows} <= {
        "external_creditor",
        "metadata",
        "customer_cap",
        "seal",
    }


@pytest.mark.parametrize("scenario", [dispute, doubt, block])
async def test_the_same_is_said(scenario: Scenario, database: str) -> None:
    real, simulated = await on_both(scenario, database)
    assert simulated == real
