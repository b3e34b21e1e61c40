"""What looking back costs does not grow with an account's history: asserted on rows and pages, not on time."""

import asyncpg
from ledger_room import connected

from services.ledger import raw
from tools.bench_history import BUSY, FIRST_DAY, build, costs, explained, nodes

ENTRIES, DAYS = 20_000, 90

BOUNDS = {
    "cut of a business day": (6, 3),
    "cut of a booking time": (120, 40),
    "balance after a cut": (10, 4),
    "balance by value date": (400, 160),
    "where a period lies": (16, 4 * DAYS),
    "page of 100 entries": (1_200, 420),
}
"""Of each look-up: pages and rows that it may read at most, whatever the history."""

BIG = {"entry", "transfer"}
"""Tables that are long here; short ones may well be read through."""


async def scanned_through(looking: asyncpg.Connection, query: str, *arguments: object) -> set[str]:
    plan = await explained(looking, query, *arguments)
    found = {node["Relation Name"] for node in nodes(plan["Plan"]) if node["Node Type"] == "Seq Scan"}
    return found & BIG


async def test_each_look_up_reads_a_few_rows_and_pages_of_a_long_history(ledger_dsn: str) -> None:
    await build(ledger_dsn, ENTRIES, DAYS)
    found = {cost.what: cost for cost in await costs(ledger_dsn, DAYS, samples=20)}
    assert found.keys() == BOUNDS.keys()
    over = [
        cost
        for cost in found.values()
        if cost.buffers_max > BOUNDS[cost.what][0] or cost.rows_max > BOUNDS[cost.what][1]
    ]
    assert over == []
    async with connected(ledger_dsn) as looking:
        await raw.speak_raw(looking)
        for _ in range(8):  # Past the five plans that PostgreSQL makes before it may settle for one.
            assert not await scanned_through(looking, "state_at", BUSY, ENTRIES // 2)
            assert not await scanned_through(looking, "balance_by_value", BUSY, FIRST_DAY + DAYS // 2)
            assert not await scanned_through(looking, "entries", BUSY, 0, ENTRIES // 2, True, 100)
