"""The simulated PostgreSQL against the real one: the directory, where customers are placed, and how records are opened.

Never here: the ledger's tables (`test_simulated_postgres.py`).
"""

import asyncio
from contextvars import copy_context
from typing import Any

import asyncpg
from memory_books import an_id
from store_scenarios import Scenario, in_simulation

from services.account import database as account_database
from services.account import records
from services.account.opening import AccountWanted, Claim, CustomerWanted, Opener
from services.account.placing import Kind
from services.account.records import Records
from services.account.store import ControlStore
from services.domain.identifiers import account_number, customer_number
from simulation.bank import Bank
from simulation.loop import PROCESS
from simulation.plan import Plan

OPENER = Opener("desk", "teller")
SLOT = 3
OWNERS = [customer_number(SLOT, serial) for serial in (1, 2, 3)]
NUMBERS = [account_number(SLOT, serial) for serial in (1, 2, 3)]


async def _put_directory(opened: account_database.Database, bank: Bank) -> None:
    """Put the directory of a simulated bank into a real database."""
    async with opened.connection() as connection:
        for name in ("shard", "slot"):
            for row in bank.control.tables[f"control.{name}"].rows:
                columns, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
                await connection.execute(f"INSERT INTO control.{name} ({columns}) VALUES ({places})", *row.values())
        await connection.execute("UPDATE control.bank SET directory_version = $1", bank.directory_version)


def _played(bank: Bank, scenario: Scenario) -> Any:
    """Play a scenario on a simulated bank's control database."""
    process = bank.loop.process("test")

    async def play() -> Any:
        return await process.start(scenario("simulated 0"))

    with bank.installed():
        try:
            return bank.loop.run(play(), until=1_000)
        finally:
            bank.network.is_over = True
            bank.loop.bury()


async def test_the_same_directory_is_read(database: str) -> None:
    bank = Bank(Plan(1, shards=2))

    def assign() -> None:
        PROCESS.set(bank.loop.root)
        for slot, shard_id in ((120, 2), (260, 2), (120, 1), (121, 2)):
            bank.assign(slot, shard_id)

    copy_context().run(assign)

    async def read(dsn: str) -> tuple[Any, ...]:
        opened = account_database.Database(dsn, "control", "migrations/control")
        await opened.open()
        store = ControlStore(opened)
        if dsn == database:
            await _put_directory(opened, bank)
        said = (await store.directory(), await store.directory_version(), await store.shards(), await store.partners())
        await opened.close()
        return said

    assert await read(database) == await asyncio.to_thread(_played, bank, read)


async def test_customers_are_placed_the_same_way(database: str) -> None:
    bank = Bank(Plan(1, shards=2, customer_quota=60))

    async def place(dsn: str) -> list[Any]:
        opened = account_database.Database(dsn, "control", "migrations/control")
        await opened.open()
        if dsn == database:
            await _put_directory(opened, bank)
        store = ControlStore(opened)
        said: list[Any] = [await store.reserve_customers(count) for count in (1, 3, 17)]
        at_once = await asyncio.gather(*(store.reserve_customers(5) for _ in range(4)))
        said.append(sorted(number for numbers in at_once for number in numbers))
        said += [await store.reserve_customers(200), await store.reserve_customers(1), await store.shards()]
        await opened.close()
        return said

    assert await place(database) == await asyncio.to_thread(_played, bank, place)


async def _open_everything(dsn: str) -> list[Any]:
    """Take every step of openings, each more than once; say what was told, without times."""
    opened = account_database.Database(dsn, "records", records.MIGRATIONS)
    await opened.open()
    kept = Records(opened)
    said: list[Any] = [await kept.reserve_accounts(slots) for slots in ([3, 3, 120], [120, 3], [4])]
    at_once = await asyncio.gather(*(kept.reserve_accounts([5, 6]) for _ in range(4)))
    said.append(sorted(number for numbers in at_once for number in numbers))
    name, other = (Kind.CUSTOMER_REQUEST, an_id(1)), (Kind.ACCOUNT_REFERENCE, b"mine")
    claimed = ({name: Claim(97, 1)}, {name: Claim(98, 2), other: Claim(98, 0)}, {other: Claim(99, 0)})
    said += [await kept.claim(claims, dict.fromkeys(claims, SLOT)) for claims in claimed]
    rivals = [{(Kind.ACCOUNT_REQUEST, an_id(7)): Claim(number, 1)} for number in NUMBERS]
    told = await asyncio.gather(*(kept.claim(claims, dict.fromkeys(claims, SLOT)) for claims in rivals))
    said.append(len({str(each) for each in told}))
    said.append(await kept.find_claims([name, other, (Kind.CUSTOMER_REFERENCE, b"")]))
    customers = {number: CustomerWanted(an_id(number), "", "Somebody", OPENER) for number in OWNERS}
    parts = [{number: customers[number] for number in numbers} for numbers in (OWNERS[:1], OWNERS, OWNERS)]
    said += [_timeless(await kept.put_customers(part)) for part in parts]
    said += [await kept.active_customers(OWNERS), len(await kept.stale_customers(-100.0, 9))]
    for _ in range(2):
        await kept.activate_customers(OWNERS[:1])
        await kept.discard_customers(OWNERS[:2])
    said += [_timeless(await kept.customers(OWNERS)), await kept.active_customers(OWNERS)]
    accounts = {number: AccountWanted(an_id(number), OWNERS[0], 203, "mine", opener=OPENER) for number in NUMBERS}
    for numbers in (NUMBERS[:2], NUMBERS):
        said.append(_timeless(await kept.put_accounts({number: accounts[number] for number in numbers})))
    try:
        await kept.put_accounts({account_number(SLOT, 9): accounts[NUMBERS[0]]._replace(customer_number=OWNERS[1])})
    except asyncpg.ForeignKeyViolationError:
        said.append("no such customer")
    said.append(len(await kept.stale_accounts(-100.0, 2)))
    for _ in range(2):
        await kept.activate_accounts(NUMBERS[:1])
        await kept.discard_accounts(NUMBERS[:2])
    said += [_timeless(await kept.accounts(NUMBERS)), len(await kept.stale_accounts(-100.0, 9))]
    said.append(len(await kept.stale_accounts(100.0, 9)))
    await opened.close()
    return said


def _timeless(found: dict[int, Any]) -> dict[int, Any]:
    return {number: record._replace(create_time_us=0) for number, record in sorted(found.items())}


async def test_records_are_opened_the_same_way(database: str) -> None:
    assert await _open_everything(database) == await asyncio.to_thread(in_simulation, _open_everything)


async def test_what_was_left_half_open_before_the_clock_was_set_back_is_found(database: str) -> None:
    opened = account_database.Database(database, "records", records.MIGRATIONS)
    await opened.open()
    kept = Records(opened)
    await kept.put_customers({OWNERS[0]: CustomerWanted(an_id(1), "", "", OPENER)})
    assert not await kept.stale_customers(60.0, 9)
    async with opened.connection() as connection:
        await connection.execute("UPDATE account.customer SET create_time = now() + interval '2 hours'")
    assert list(await kept.stale_customers(60.0, 9)) == OWNERS[:1]
    await opened.close()
