"""Builds an account with a long history through the ledger's own writer and measures what looking back costs.

`python -m tools.bench_history --entries 1000000`: every transfer is decided by the writer and appended as
always, each with another value date than its day; the audit must find the books sound before a figure is
printed. Times are PostgreSQL's own (EXPLAIN ANALYZE), for moments drawn at random over the whole history: each
moment is looked up several times and its quickest counts, so what remains is what the moment costs and not what
else the machine did. Pages are the same on any machine.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Final

import asyncpg

from services.chassis import migrations, postgres
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import chart, limits
from services.domain.identifiers import account_number
from services.ledger import history, raw
from services.ledger.audit import audit
from services.ledger.batching import Writer
from services.ledger.books import AccountState, Transfers
from services.ledger.history import History, Search
from services.ledger.jobs import OpenJob, PostJob
from services.ledger.memory import Memory
from services.ledger.reader import Reader
from services.ledger.store import Store

DAY_US: Final = 86_400_000_000
FIRST_DAY: Final = 20_000
BATCHES_PER_DAY: Final = 4
CZK: Final = 203
CASH: Final = chart.internal_account(1, chart.Code.CASH, CZK)
BUSY: Final = account_number(0, 1)
"""The account with the long history: every transfer credits it."""
SAMPLES: Final = 200
REPETITIONS: Final = 3
GOAL_MS: Final = 2.0
"""In the database, for every moment; a page of entries is measured beside it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of look-up cost in the database, over all moments; of a moment's times the least."""

    what: str
    median_ms: float
    p99_ms: float
    worst_ms: float
    worst_try_ms: float
    """Of all repetitions of all moments: with whatever else the machine did."""
    buffers_median: int
    """Pages of 8 KiB that one look-up read, from memory or from disk."""
    buffers_max: int
    rows_max: int
    """Rows that the scans of one look-up gave."""

    @classmethod
    def of(cls, what: str, moments: Sequence[Sequence[dict[str, Any]]]) -> "Cost":
        """Sum up the plans of each moment's repetitions."""
        times = [[plan["Execution Time"] for plan in plans] for plans in moments]
        least = sorted(map(min, times))
        buffers = sorted(min(_buffers(plan["Plan"]) for plan in plans) for plans in moments)
        middle, p99 = len(least) // 2, len(least) * 99 // 100
        return cls(
            what,
            least[middle],
            least[p99],
            least[-1],
            max(map(max, times)),
            buffers[middle],
            buffers[-1],
            max(_rows(plans[0]["Plan"]) for plans in moments),
        )


async def build(dsn: str, entries: int, days: int) -> None:
    """Post `entries` transfers to one account, spread over `days`, through a writer."""
    chance = Random(1)
    now = [FIRST_DAY * DAY_US]
    store = Store(dsn)
    await store.connect()
    head = await store.take_lease("bench", 3_600)
    assert head is not None
    memory = Memory(1, await store.load_peers())
    writer = Writer(1, store, head, memory, lambda: now[0], lambda _draft: None)
    running = asyncio.create_task(writer.run())
    try:
        openings = [AccountState(CASH, CZK, -limits.BALANCE_MINOR_MAX), AccountState(BUSY, CZK, 0)]
        opened: list[bool] = await writer.ask(OpenJob(openings, float("inf")))
        assert all(opened)
        batches = days * BATCHES_PER_DAY
        done = 0
        for batch in range(batches):
            day = FIRST_DAY + batch // BATCHES_PER_DAY
            now[0] = day * DAY_US + (batch % BATCHES_PER_DAY + 1) * DAY_US // (BATCHES_PER_DAY + 2)
            upto = entries * (batch + 1) // batches
            for first in range(done, upto, limits.BATCH_TRANSFERS_MAX):
                count = min(limits.BATCH_TRANSFERS_MAX, upto - first)
                answers = await writer.ask(PostJob(_transfers(chance, first, count, day), float("inf")))
                assert set(answers.outcomes) == {1}
            done = upto
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


def _transfers(chance: Random, first: int, count: int, day: int) -> Transfers:
    """Make salaries, each with a value date of its own and every tenth with metadata and a reference."""
    numbers = range(first, first + count)
    return Transfers(
        [chance.randbytes(16) for _ in numbers],
        [CASH] * count,
        [BUSY] * count,
        [chance.randrange(1, 100_000) for _ in numbers],
        [CZK] * count,
        list(numbers),
        [f"invoice {number}" if not number % 10 else "" for number in numbers],
        [day + (chance.randrange(1, 4) if number % 2 else -chance.randrange(1, 30)) for number in numbers],
        metadata={
            place: (("batch", str(number // 1_000)), ("order", str(number)))
            for place, number in enumerate(numbers)
            if not number % 10
        },
    )


async def costs(dsn: str, days: int, samples: int = SAMPLES) -> list[Cost]:
    """Measure each kind of look-up at random moments of the history."""
    chance = Random(2)
    connection = await asyncpg.connect(dsn)
    try:
        await raw.speak_raw(connection)
        await connection.execute("VACUUM (ANALYZE)")
        last = await connection.fetchval("SELECT last_sequence FROM ledger.journal_head")

        def day() -> int:
            return FIRST_DAY + chance.randrange(-3, days + 3)

        asked: dict[str, tuple[str, Callable[[], Sequence[Any]]]] = {
            "cut of a business day": ("day_cut", lambda: (day(),)),
            "cut of a booking time": ("time_cut", lambda: (day() * DAY_US + chance.randrange(DAY_US),)),
            "balance after a cut": ("state_at", lambda: (BUSY, chance.randrange(last))),
            "balance by value date": ("balance_by_value", lambda: (BUSY, day())),
            "where a period lies": ("period", lambda: (BUSY, *sorted((day(), day())), 0)),
            "page of 100 entries": ("entries", lambda: (BUSY, 0, chance.randrange(last), True, 100)),
        }
        found = []
        for what, (query, arguments) in asked.items():
            moments = [
                [await explained(connection, query, *values) for _ in range(REPETITIONS)]
                for values in [arguments() for _ in range(samples)]
            ]
            found.append(Cost.of(what, moments))
        return found
    finally:
        await connection.close()


async def explained(connection: asyncpg.Connection, query: str, *arguments: Any) -> dict[str, Any]:
    """Carry out a query of the past under EXPLAIN, which looks at the clock before and after it only."""
    options = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
    text = await connection.fetchval(f"EXPLAIN ({options}) {history.SQL[query]}", *arguments)
    plan: dict[str, Any] = json.loads(text)[0]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes, from the top."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def _buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _rows(plan: dict[str, Any]) -> int:
    """Count the rows that scans of tables gave, and those that they threw away."""
    scans = [node for node in nodes(plan) if "Relation Name" in node]
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in scans
    )


async def _whole_statements(dsn: str, days: int) -> list[tuple[str, float, str]]:
    """Time what a caller waits for: a statement of everything and searches, without the network."""
    reader = await Reader.open(dsn)
    asked = Search(BUSY, "", 0, 0, 0, 0, 0, (), 0, 0)
    bank = Search(0, "", 0, 0, 0, 0, 0, (), 0, 0)
    rare = {"amount_minor_min": 10**9}
    searches = {
        "search: an account, anything, first page": asked,
        "search: an account, an amount that nothing has (10,000 places)": _changed(asked, **rare),
        "search: the bank, by reference": _changed(bank, reference="invoice 500"),
        "search: the bank, by metadata": _changed(bank, metadata=(("order", "500"),)),
        "search: an account, by metadata that 100 have": _changed(asked, metadata=(("batch", "0"),)),
    }
    found = []
    try:
        looking = History(reader)
        started = perf_counter()
        statement = await looking.statement(BUSY, FIRST_DAY, FIRST_DAY + days)
        assert statement is not None
        text = f"{statement.totals.entry_count} entries added up and checked"
        found.append(("statement of the whole history", (perf_counter() - started) * 1_000, text))
        for what, search in searches.items():
            started = perf_counter()
            page = await looking.search(search, 25)
            found.append((what, (perf_counter() - started) * 1_000, f"{len(page.transfers)} found"))
    finally:
        await reader.close()
    return found


def _changed(search: Search, **changes: Any) -> Search:
    return Search(**{name: changes.get(name, getattr(search, name)) for name in Search.__dataclass_fields__})


def _print(found: Sequence[Cost]) -> None:
    print(
        f"in the database, ms: least of {REPETITIONS} for each of {SAMPLES} moments; the worst of all tries; pages of 8 KiB"
    )
    print(f"{'look-up':<28}{'median':>9}{'p99':>9}{'worst':>9}{'any try':>9}{'pages':>8}{'most':>7}{'rows':>7}")
    for cost in found:
        times = (cost.median_ms, cost.p99_ms, cost.worst_ms, cost.worst_try_ms)
        counts = f"{cost.buffers_median:>8}{cost.buffers_max:>7}{cost.rows_max:>7}"
        print(f"{cost.what:<28}{''.join(f'{time:>9.3f}' for time in times)}{counts}")
    over = [cost.what for cost in found if cost.worst_ms > GOAL_MS]
    print(f"over {GOAL_MS:g} ms: {', '.join(over) or 'nothing'}")


async def main(entries: int, days: int) -> int:
    """Build, audit, measure, print; 1 when the books are not sound."""
    with tempfile.TemporaryDirectory(prefix="hivecore-history-") as place:
        await asyncio.to_thread(Path(place).chmod, 0o755)
        async with EmbeddedPostgres(Path(place)) as server:
            await server.ensure_database("history")
            dsn = server.dsn("history")
            connection = await postgres.connect(dsn, application="bench")
            await migrations.migrate(connection, "services.ledger")
            await connection.close()
            started = perf_counter()
            await build(dsn, entries, days)
            print(
                f"{entries:,} entries by as many transfers over {days} days, built in {perf_counter() - started:.0f} s"
            )
            report = await audit(None, {1: dsn})
            if not report.clean:
                print("the books are NOT sound", *(line for r in report.results for line in r.evidence), sep="\n")
                return 1
            print(f"the books are sound, audited in {report.seconds:.0f} s")
            _print(await costs(dsn, days))
            for what, milliseconds, text in await _whole_statements(dsn, days):
                print(f"{what:<66}{milliseconds:>9.1f} ms   {text}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=730)
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.entries, options.days)))
