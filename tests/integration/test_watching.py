"""What the watch over a shard's books shows: nothing while they are sound, each damage once it is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from ledger_room import PATIENCE_SECONDS, Bank, Writing, connected, open_bank, post, prepare, writing
from memory_books import CZK, ask, cash, customer_account
from prometheus_client import REGISTRY

from services.ledger import watching
from services.ledger.watching import Sums, Watch

LOOK_SECONDS = 0.02
FIRST, SECOND = (customer_account(1, serial) for serial in (1, 2))


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watch look more often than a bank would, also on a busy machine."""
    monkeypatch.setattr(watching, "LOOK_SHARE_MAX", 0.8)
    monkeypatch.setattr(watching, "SWEEP_SHARE_MAX", 0.8)


def shown(name: str, **labels: str) -> float | None:
    """Read a gauge of shard 1."""
    return REGISTRY.get_sample_value(f"hivecore_ledger_{name}", {"shard": "1", **labels})


def gap() -> float | None:
    return shown("conservation_gap_minor_units", currency="CZK")


async def until_shown(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def watched(dsn: str, sequence: int = 0, look_seconds: float = LOOK_SECONDS) -> AsyncIterator[Watch]:
    """Watch over a database's books as its writer's process does."""
    watch = Watch(1, dsn, look_seconds)
    running = asyncio.create_task(watch.run(sequence))
    try:
        yield watch
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def meddling(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Do what no ledger can: to a session that plays the replica, triggers do not apply."""
    async with connected(dsn) as connection:
        await connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
async def books(ledger_dsn: str) -> AsyncIterator[Writing]:
    """Books in which two customers have 1,000 minor units each.

    Entries lie where they were appended, as in a bank, which never deletes any: what tests before this one
    deleted may have been vacuumed, and new entries would fill that room, which the watch does not look at.
    """
    async with meddling(ledger_dsn) as connection:
        await connection.execute("TRUNCATE ledger.entry")
    async with writing(ledger_dsn) as books:
        await prepare(books)
        await post(books, ask(1, cash(1), FIRST, 1_000), ask(2, cash(1), SECOND, 1_000))
        yield books


CHANGE_BALANCE = (
    "UPDATE ledger.entry SET balance_after_minor = balance_after_minor + $2 WHERE account_number = $1 "
    "AND sequence = (SELECT max(sequence) FROM ledger.entry WHERE account_number = $1)"
)


async def test_sound_books_show_no_gap_while_money_moves(books: Writing, ledger_dsn: str) -> None:
    async with watched(ledger_dsn):
        for number in range(10, 60):
            await post(books, ask(number, FIRST, SECOND, 1), ask(number + 100, SECOND, FIRST, 1))
        await until_shown(lambda: shown("checked_sequence") == books.writer.head.sequence)
        await until_shown(lambda: shown("accounts") == 3)
        assert gap() == 0
        assert shown("unbalanced_legs") == 0
        assert shown("last_sequence") == books.writer.head.sequence


async def test_a_changed_balance_is_a_gap_until_it_is_repaired(books: Writing, ledger_dsn: str) -> None:
    async with watched(ledger_dsn), meddling(ledger_dsn) as connection:
        await until_shown(lambda: gap() == 0)
        await connection.execute(CHANGE_BALANCE, FIRST, 7)
        await until_shown(lambda: gap() == 7)
        await connection.execute(CHANGE_BALANCE, FIRST, -7)
        await until_shown(lambda: gap() == 0)


async def test_money_out_of_nowhere_is_a_gap(books: Writing, ledger_dsn: str) -> None:
    async with watched(ledger_dsn), meddling(ledger_dsn) as connection:
        await connection.execute("INSERT INTO ledger.entry VALUES ($1, 2, 5, 500, 1500, 0)", FIRST)
        # The sequence is not written yet: it counts from the batch on that reaches it.
        await post(books, *(ask(number, SECOND, cash(1), 1) for number in range(10, 20)))
        await until_shown(lambda: gap() == 500)


MISCOUNT = """
CREATE FUNCTION ledger.miscount() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.amount_minor := NEW.amount_minor - 3; RETURN NEW; END';
CREATE TRIGGER miscount BEFORE INSERT ON ledger.entry FOR EACH ROW WHEN (NEW.amount_minor < 0)
    EXECUTE FUNCTION ledger.miscount();
"""


async def test_a_new_leg_that_does_not_add_up_is_seen_without_waiting_for_a_sweep(
    books: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_sweep(_self: Watch, _connection: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Watch, "_sweep", no_sweep)
    async with watched(ledger_dsn, books.writer.head.sequence), meddling(ledger_dsn) as connection:
        await until_shown(lambda: shown("unbalanced_legs") == 0)
        await connection.execute(MISCOUNT)
        try:
            await post(books, ask(30, FIRST, SECOND, 100))
        finally:
            await connection.execute("DROP FUNCTION ledger.miscount CASCADE")
        await until_shown(lambda: shown("unbalanced_legs") == 1)
        assert gap() == -3
        await connection.execute("UPDATE ledger.entry SET amount_minor = -100 WHERE amount_minor = -103")
        await until_shown(lambda: shown("unbalanced_legs") == 0)


async def test_pages_read_at_different_moments_add_up_while_money_moves_between_them(
    books: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "ACCOUNTS_PER_PAGE", 1)
    seen: list[float | None] = []
    async with watched(ledger_dsn):
        for number in range(100, 160):
            await post(books, ask(number, FIRST, SECOND, 5), ask(number + 100, SECOND, cash(1), 2))
            seen.append(gap())
        await until_shown(lambda: shown("accounts") == 3)
        assert set(seen) <= {None, 0.0}
        assert gap() == 0


async def test_more_new_entries_than_a_piece_takes_are_checked_in_several(
    books: Writing, ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGES_LOOKED_BACK", 1)
    monkeypatch.setattr(watching, "PAGES_PER_PIECE", 2)
    for first in range(1_000, 3_000, 500):
        await post(books, *(ask(number, cash(1), FIRST, 1) for number in range(first, first + 500)))
    async with watched(ledger_dsn) as watch:
        await until_shown(lambda: shown("checked_sequence") is not None)
        watch._checked, watch._page = 1, 1
        await until_shown(lambda: watch._checked == books.writer.head.sequence)
        assert shown("unbalanced_legs") == 0


async def test_a_crossing_is_under_way_for_as_long_as_its_peer_is_away(ledger_dsns: dict[int, str]) -> None:
    async with open_bank({n: ledger_dsns[n] for n in (1, 2)}) as bank:
        await _leave_in_flight(bank)
        async with watched(bank.dsns[1]):
            await until_shown(lambda: shown("crossings_in_flight", peer="2") == 1)
            assert shown("crossings_in_flight_minor_units", peer="2", currency="CZK") == 40
            await until_shown(lambda: (shown("crossings_oldest_age_seconds", peer="2") or 0) > 0)
            bank.lines[2].is_cut = False
            await until_shown(lambda: shown("crossings_in_flight", peer="2") == 0)
            assert shown("crossings_oldest_age_seconds", peer="2") == 0
            assert shown("crossings_in_flight_minor_units", peer="2", currency="CZK") is None


async def _leave_in_flight(bank: Bank) -> None:
    """Let a crossing be debited whose payee's shard is cut off before it lands."""

    async def cut(method: str, request: Any, carry: Callable[[], Awaitable[Any]]) -> Any:
        if method == "CheckPayees":
            bank.lines[2].is_cut = True
        return await carry()

    bank.lines[2].listener = cut
    await bank.post(1, ask(7, FIRST, customer_account(2, 1), 40), seconds=0.3)
    bank.lines[2].listener = None


async def test_open_and_overdue_holds_are_counted(books: Writing, ledger_dsn: str) -> None:
    async with meddling(ledger_dsn) as connection, watched(ledger_dsn):
        await until_shown(lambda: shown("overdue_holds") == 0)
        await connection.execute(
            "INSERT INTO ledger.hold SELECT gen_random_uuid(), $1, 25, 0, 0, clock_timestamp() + age, current_date, $2, 1"
            " FROM unnest(ARRAY['1 hour', '-1 hour']::interval[]) AS age",
            FIRST,
            CZK,
        )
        await until_shown(lambda: shown("open_holds", currency="CZK") == 2)
        assert shown("open_holds_minor_units", currency="CZK") == 50
        assert shown("overdue_holds") == 1


async def test_who_does_not_write_any_more_shows_nothing(books: Writing, ledger_dsn: str) -> None:
    async with watched(ledger_dsn):
        await until_shown(lambda: gap() == 0)
    assert gap() is None
    assert shown("last_sequence") is None


async def test_a_lost_connection_is_replaced(books: Writing, ledger_dsn: str) -> None:
    async with watched(ledger_dsn), connected(ledger_dsn) as connection:
        await until_shown(lambda: gap() == 0)
        ended = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1",
            "hivecore-ledger-watch",
        )
        assert ended
        before = shown("last_look_timestamp_seconds") or 0
        await until_shown(lambda: (shown("last_look_timestamp_seconds") or 0) > before)


def test_a_leg_that_a_sweep_has_counted_is_not_counted_twice() -> None:
    sums = Sums(swept_minor={CZK: 5}, swept_through=10, legs_minor={10: {CZK: 5}, 11: {CZK: -2}})
    assert sums.gaps_minor() == {CZK: 3}


async def test_what_a_batch_took_and_moved_is_measured(books: Writing) -> None:
    names = ("queue_wait_seconds_count", "commit_seconds_count", "write_seconds_count", "decide_seconds_count")
    before = {name: shown(name) or 0 for name in names}
    moved = shown("posted_minor_units_total", currency="CZK") or 0
    await post(books, ask(50, FIRST, SECOND, 30), ask(51, SECOND, FIRST, 12))
    assert {name: (shown(name) or 0) - before[name] for name in names} == dict.fromkeys(names, 1)
    assert (shown("posted_minor_units_total", currency="CZK") or 0) - moved == 42
    assert 0 < books.store.commit_seconds < PATIENCE_SECONDS
