"""The simulated PostgreSQL against the real one: the same rows, answers, refusals, fences and doubts.

What a simulation has left behind is put into real databases, which must take every row, audit clean, and answer
every query alike; and the same writers do the same work on both.
"""

import asyncio
import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import ledger_databases
import pytest
from ledger_databases import MakeDatabase
from store_scenarios import (
    MOVED_ACCOUNT,
    MOVED_CUSTOMER,
    PRODUCTS,
    Scenario,
    block,
    dispute,
    doubt,
    in_simulation,
    move_accounts,
    speaking,
    write_everything,
)

from services.account import database as account_database
from services.account.product_store import ProductStore
from services.chassis import migrations
from services.domain import chart
from services.domain.products import Catalogue
from services.ledger import history, reader, sealing, store
from services.ledger.audit import audit
from services.ledger.audit_chain import prove_chains
from simulation import statements
from simulation.bank import Bank
from simulation.database import Database, Session
from simulation.plan import Plan, draw
from simulation.run import Simulation
from simulation.tables import Row, Table, definitions

SQL = {**store.SQL, **reader.SQL, **history.SQL, **account_database.SQL, **sealing.SQL}

WRITES = {
    "take_lease", "renew_lease", "release_lease", "end_earlier_writers", "next_epoch", "advance_head", "raise_own_epoch",
    "write_one_transfer", "write_small_batch", "write_small_mixed_batch",
    "begin_day", "put_actors", "write_holds", "write_account_facts", "write_caps", "lift_caps", "write_change",
    "write_peers", "add_value_sums", "write_promises", "begin_move", "lock_moves", "finish_move", "refuse_move", "put_seal",
    "put_claims", "take_account_serials", "put_customers", "put_accounts", "activate_customers", "activate_accounts",
    "discard_customers", "discard_accounts", "lock_fills", "take_serials",
}  # fmt: skip
"""Queries that change something: what they leave behind is compared."""

OF_CONTROL = {"catalogue_version", "read_products", "read_default_products"} | {
    *("read_bank", "read_shards", "read_slot_ranges", "read_partners", "slots_with_room"),
}
"""Queries of the control database, which tests of their own compare."""


def questions(tables: dict[str, list[Row]]) -> dict[str, list[tuple[Any, ...]]]:
    """Make arguments for every query that reads, out of what there is and a little that there is not."""

    def column(table: str, name: str) -> list[Any]:
        return list(dict.fromkeys(row[name] for row in tables[table]))

    numbers, ids = [*column("account", "account_number"), 97 * 97 + 1], [*column("transfer", "transfer_id"), bytes(16)]
    customers = [(row["customer_number"], row["currency"]) for row in tables["account"]]
    actors = [(row["channel"], row["subject"]) for row in tables["actor"]]
    peers = column("peer", "peer_id")
    sequences = column("transfer", "sequence")
    last = max(sequences, default=1)
    transits = [number for number in column("entry", "account_number") if chart.is_transit(number)]
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
        "see_lease": [],  # Each has its own; `dispute` says what is seen.
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
        "see_head": [()],
        "due_holds": [(1_000,)],
        "head": [()],
        "last_seal": [()],
        "sealed_through": [()],
        "seals": [(0, 3), (20, 1_000)],
        "block_transits": [(1, last), (5, 17)],
        "block_leaves": [(first, last, [*numbers, *transits], 1_000) for first in (1, 9)],
        "all_leaves": [(last,), (7,)],
    }


def questions_about_accounts(tables: dict[str, list[Row]]) -> dict[str, list[tuple[Any, ...]]]:
    """Make arguments for every query of the account service."""
    moves = [row["request_id"] for row in tables["account.product_move"]]
    customers = [row["customer_number"] for row in tables["account.customer"]] + [1]
    names = [(row["kind"], row["key"]) for row in tables["account.claim"]] + [(1, b"nobody's")]
    return {
        "find_claims": [tuple(map(list, zip(*names, strict=True)))],
        "get_customers": [(customers,)],
        "active_customers": [(customers,)],
        "get_accounts": [([row["account_number"] for row in tables["account.account"]] + [1],)],
        "stale_customers": [(-100.0, 5)],
        "stale_accounts": [(-100.0, 5)],
        "find_move": [(each,) for each in (*moves, UUID(int=1))],
        "stale_moves": [(-100.0, 1_000)],
        "moves_through": [()],
        "moves_after": [(0, 3), (2, 1_000)],
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
        if table.rows and name != "writer_lease" and "." not in name:
            await _put(connection, "ledger", table)


async def put_accounts(connection: asyncpg.Connection, database: Database) -> None:
    """Put what the account service recorded into a real database."""
    for name in ("customer", "account", "product_move", "claim", "slot_serial"):
        await _put(connection, "account", database.tables[f"account.{name}"])


async def _put(connection: asyncpg.Connection, schema: str, table: Table) -> None:
    names = list(table.definition.kinds)
    rows = [tuple(row[each] for each in names) for row in table.rows]
    await connection.copy_records_to_table(table.definition.name, schema_name=schema, columns=names, records=rows)


SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}
"""What PostgreSQL calls by a long name, and the migrations do not."""


@pytest.mark.parametrize(
    "schema",
    [
        ("ledger", "services.ledger", "migrations"),
        ("account", "services.account", "migrations/shard"),
        ("control", "services.account", "migrations/control"),
    ],
)
async def test_the_tables_have_the_columns_that_the_migrations_make(
    schema: tuple[str, str, str], database: str
) -> None:
    name, *where = schema
    connection = await asyncpg.connect(database)
    try:
        await migrations.migrate(connection, *where)
        found = await connection.fetch(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace($1)",
            name,
        )
        kinds: dict[str, dict[str, str]] = {}
        for table, column, kind in found:
            kinds.setdefault(table, {})[column] = SHORT.get(kind, kind)
        assert kinds == {table: definition.kinds for table, definition in definitions(*schema).items()}
    finally:
        await connection.close()


RECORDED = (4, 13, 20, 40)
"""Seeds in which customers and accounts are opened, or accounts are moved between products, or both."""


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
            asked = questions({name: table.rows for name, table in database.tables.items()})
            await _compare_answers(connection, database, asked)
        finally:
            await connection.close()
    report = await audit(None, dsns)
    assert report.clean, [result for result in report.results if not result.holds]
    proven = await prove_chains(dsns)
    assert proven.clean, [shard.proof.violations for shard in proven.shards]
    assert all(shard.unsealed_count == 0 for shard in proven.shards) or not simulation.bank.plan.seal_seconds


def _simulated(seed: int) -> Simulation:
    simulation = Simulation(draw(seed))
    result = simulation.run()
    assert result.error is None, result.story()
    return simulation


@pytest.mark.parametrize("seed", RECORDED)
async def test_records_of_accounts_are_sound_in_a_real_database_too(seed: int, make_database: MakeDatabase) -> None:
    simulation = await asyncio.to_thread(_simulated, seed)
    for database in simulation.bank.databases.values():
        connection = await asyncpg.connect(await make_database())
        try:
            await migrations.migrate(connection, "services.account", "migrations/shard")
            await put_accounts(connection, database)
            database.process.skew_us += time.time_ns() // 1000 - database.process.now_us()
            asked = questions_about_accounts({name: table.rows for name, table in database.tables.items()})
            await _compare_answers(connection, database, asked)
        finally:
            await connection.close()


def test_every_query_that_is_known_is_compared() -> None:
    tables: dict[str, list[Row]] = {name: [] for name in Bank(Plan(1, shards=1)).databases[1].tables}
    asked = questions(tables | {"account": [{"account_number": 1, "customer_number": 1, "currency": 203}]})
    assert asked.keys() | questions_about_accounts(tables).keys() | WRITES | OF_CONTROL == statements.known()


async def _compare_answers(
    connection: asyncpg.Connection, database: Database, asked: dict[str, list[tuple[Any, ...]]]
) -> None:
    session = Session(database, 1, None)
    for name, calls in asked.items():
        for arguments in calls:
            real = [tuple(row) for row in await connection.fetch(SQL[name], *arguments)]
            simulated = [tuple(row) for row in statements.run(session, name, arguments)]
            if name not in {"unacknowledged_crossings", "refused_crossings", "transfers", "open_holds"}:
                real, simulated = sorted(real, key=repr), sorted(simulated, key=repr)
            assert simulated == real, (name, arguments)


# The same on both


async def on_both(scenario: Scenario, database: str) -> tuple[Any, Any]:
    """Play a scenario on both and return what it says of each."""
    await ledger_databases.migrate(database)
    return await scenario(database), await asyncio.to_thread(in_simulation, scenario)


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


async def test_accounts_move_the_same_way(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await migrations.migrate(connection, "services.account", "migrations/shard")
        await connection.execute(
            "INSERT INTO account.customer (customer_number, state, external_reference, display_name) VALUES ($1, 2, '', 'S')",
            MOVED_CUSTOMER,
        )
        await connection.execute(
            "INSERT INTO account.account (account_number, customer_number, currency, state, external_reference)"
            " VALUES ($1, $2, 203, 2, '')",
            MOVED_ACCOUNT,
            MOVED_CUSTOMER,
        )
    finally:
        await connection.close()
    assert await move_accounts(database) == await asyncio.to_thread(in_simulation, move_accounts)


async def test_the_same_catalogue_is_read(database: str) -> None:
    async def read(dsn: str) -> Catalogue:
        opened = account_database.Database(dsn, "control", "migrations/control")
        await opened.open()
        store = ProductStore(opened)
        if dsn == database:
            await store.load(list(PRODUCTS.values()), {})
        catalogue = await store.current()
        await opened.close()
        return catalogue

    async def read_simulated(_: str) -> Catalogue:
        return await read("simulated 0")

    assert await read(database) == await asyncio.to_thread(in_simulation, read_simulated)
