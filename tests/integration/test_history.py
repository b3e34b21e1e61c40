"""The past of a shard's books on real PostgreSQL: as-of balances, statements, pages, the trial balance.

What is asked is held against a list of the movements that a slow reader keeps.
"""

from collections.abc import AsyncIterator
from random import Random
from typing import NamedTuple

import asyncpg
import pytest
from ledger_room import Clock, Writing, connected, held_head, post, writing
from memory_books import CZK, DAY_US, TODAY, Ask, an_id, ask, cash, customer_account

from services.domain import chart, errors, limits
from services.domain.outcomes import Outcome
from services.ledger import history as history_module
from services.ledger.audit import audit
from services.ledger.books import Actor, HoldCommand, Kind, Leg
from services.ledger.command_jobs import HoldJob
from services.ledger.history import History
from services.ledger.reader import Reader

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
CASH = cash(1)
DAYS = 5


class Moved(NamedTuple):
    """One movement of an account, as a slow reader would note it."""

    account: int
    amount: int
    time_us: int
    day: int
    value_date: int


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def books(ledger_dsn: str, clock: Clock) -> AsyncIterator[Writing]:
    async with writing(ledger_dsn, now_us=clock) as books:
        await books.open(CASH, floor=-limits.BALANCE_MINOR_MAX)
        await books.open(A, B)
        await books.open(chart.internal_account(1, chart.Code.FEES, CZK), floor=-limits.BALANCE_MINOR_MAX)
        yield books


@pytest.fixture
async def history(ledger_dsn: str, books: Writing) -> AsyncIterator[History]:
    reader = await Reader.open(ledger_dsn)
    yield History(reader)
    await reader.close()


@pytest.fixture
async def moved(books: Writing, clock: Clock, ledger_dsn: str) -> AsyncIterator[list[Moved]]:
    """Move money for some days, much of it with other value dates and in several legs; audited at the end."""
    chance = Random(7)
    noted: list[Moved] = []
    number = 0
    for day in range(TODAY, TODAY + DAYS):
        for hour in range(1, 7):
            clock.now_us = day * DAY_US + hour * 3_600_000_000
            asked = []
            for _ in range(3):
                number += 1
                amount = chance.randrange(1, 500)
                legs = (Leg(CASH, A, amount, CZK), Leg(CASH, B, 7, CZK), Leg(B, A, 3, CZK))[: chance.choice((1, 1, 3))]
                value_date = chance.choice((0, 0, day - chance.randrange(200), day + chance.randrange(3)))
                asked.append(Ask(an_id(number), legs, f"salary {number % 4}", value_date))
                for leg in legs:
                    for account, signed in (
                        (leg.debit_account, -leg.amount_minor),
                        (leg.credit_account, leg.amount_minor),
                    ):
                        noted.append(Moved(account, signed, clock.now_us, day, value_date or day))
            answers = await post(books, *asked)
            assert answers.outcomes == [Outcome.POSTED] * 3
    yield noted
    report = await audit(None, {1: ledger_dsn})
    assert report.clean, [result for result in report.results if not result.holds]


async def test_balances_are_as_of_any_time_day_and_value_date(history: History, moved: list[Moved]) -> None:
    for account in (A, B, CASH):
        theirs = [one for one in moved if one.account == account]
        for time_us in {one.time_us + offset for one in theirs for offset in (-1, 0, 5_000_000)}:
            state = await history.state_at(account, await history.cut_of_time(time_us))
            assert state is not None
            assert state.balance_minor == sum(one.amount for one in theirs if one.time_us <= time_us)
        for day in range(TODAY - 201, TODAY + DAYS + 4):
            booked = await history.state_at(account, await history.cut_of_day(day))
            by_value = await history.state_by_value(account, day)
            assert booked is not None and by_value is not None
            assert booked.balance_minor == sum(one.amount for one in theirs if one.day <= day)
            assert by_value.balance_minor == sum(one.amount for one in theirs if one.value_date <= day)


async def test_a_balance_in_the_middle_of_a_transfer_of_several_legs_is_never_told(
    books: Writing, history: History, clock: Clock
) -> None:
    clock.now_us += 1_000_000
    await post(books, Ask(an_id(1), tuple(Leg(CASH, A, n, CZK) for n in (1, 2, 3, 4))))
    first = clock.now_us
    clock.now_us += 1_000_000
    await post(books, ask(2, CASH, A, 100))
    for time_us, balance in ((first - 1, 0), (first, 10), (clock.now_us - 1, 10), (clock.now_us, 110)):
        state = await history.state_at(A, await history.cut_of_time(time_us))
        assert state is not None
        assert state.balance_minor == balance


async def test_a_statement_opens_and_closes_where_its_entries_say(history: History, moved: list[Moved]) -> None:
    for first in range(TODAY - 1, TODAY + DAYS + 1):
        for last in range(first, TODAY + DAYS + 2):
            found = await history.statement(A, first, last)
            assert found is not None
            theirs = [one.amount for one in moved if one.account == A and first <= one.day <= last]
            assert found.opening.balance_minor == sum(
                one.amount for one in moved if one.account == A and one.day < first
            )
            assert found.closing.balance_minor == found.opening.balance_minor + sum(theirs)
            assert (found.totals.credit_count, found.totals.credit_minor) == (len(theirs), sum(theirs))
            assert found.is_final == (last < TODAY + DAYS - 1)
            page = await history.entries(A, descending=False, limit=1_000, first_date=first, last_date=last)
            assert [row["amount_minor"] for row in page.rows] == theirs
    assert await history.statement(FAR, TODAY, TODAY) is None


async def test_a_statement_that_does_not_add_up_is_never_told(
    history: History, moved: list[Moved], ledger_dsn: str
) -> None:
    change = "UPDATE ledger.entry SET amount_minor = amount_minor {} 1 WHERE account_number = $1 AND version = 5"
    async with connected(ledger_dsn) as meddler:
        await meddler.execute("SET session_replication_role = replica")
        await meddler.execute(change.format("+"), A)
        with pytest.raises(AssertionError, match="does not add up"):
            await history.statement(A, TODAY, TODAY + DAYS)
        await meddler.execute(change.format("-"), A)


async def test_a_statement_of_too_much_is_refused_before_it_is_added_up(
    history: History, moved: list[Moved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "STATEMENT_ENTRIES_MAX", 10)
    with pytest.raises(errors.Refused, match="at most 10") as refusal:
        await history.statement(A, TODAY, TODAY + DAYS)
    assert refusal.value.reason == "STATEMENT_TOO_LONG"


@pytest.mark.parametrize("descending", [True, False])
async def test_pages_show_one_cut_while_entries_arrive(
    books: Writing, history: History, moved: list[Moved], *, descending: bool
) -> None:
    whole = await history.entries(A, descending=descending, limit=1_000)
    first = await history.entries(A, descending=descending, limit=4)
    versions = [row["version"] for row in first.rows]
    page = first
    while page.has_more:
        await post(books, ask(10_000 + len(versions), CASH, A, 1))
        page = await history.entries(
            A,
            descending=descending,
            after_sequence=page.rows[-1]["sequence"],
            limit=4,
            cut_sequence=first.period.cut_sequence,
        )
        versions += [row["version"] for row in page.rows]
    assert versions == [row["version"] for row in whole.rows]


async def test_entries_name_their_holds_originals_and_payers(books: Writing, history: History, clock: Clock) -> None:
    await post(books, ask(1, CASH, A, 100))
    somebody = Actor("test", "somebody")
    placed = HoldCommand(Kind.HOLD_PLACED, an_id(50), an_id(50), A, 60, CZK, 3_600, 0, "hotel", 1, 0, somebody)
    raised = HoldCommand(Kind.HOLD_INCREASED, an_id(51), an_id(50), A, 5, CZK, 0, 0, "", 2, 0, somebody)
    freed = HoldCommand(Kind.HOLD_RELEASED, an_id(52), an_id(50), A, 0, CZK, 0, 0, "", 3, 0, somebody)
    for command in (placed, raised, freed):
        assert (await books.writer.ask(HoldJob([command], float("inf")))).outcomes == [Outcome.POSTED]
    page = await history.entries(A, descending=False, limit=10)
    from services.ledger import wire_history

    entries = wire_history.entries(page).entries
    assert [entry.hold_id for entry in entries] == [b"", an_id(50), an_id(50), an_id(50)]
    assert [entry.held_after_minor for entry in entries] == [0, 60, 65, 0]


# The trial balance


async def test_the_trial_balance_is_as_of_its_day_and_says_what_moved(
    books: Writing, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "ACCOUNTS_AT_ONCE", 2)
    fees = chart.internal_account(1, chart.Code.FEES, CZK)
    clock.now_us += 1_000_000
    await post(books, ask(1, CASH, A, 1_000), ask(2, CASH, B, 500), ask(3, A, fees, 10))
    clock.now_us += DAY_US
    await post(books, ask(4, B, fees, 7), ask(5, A, FAR, 100, peer_id=2))
    clock.now_us += DAY_US
    await post(books, ask(6, CASH, A, 1))

    async def rows(first: int, last: int) -> list[tuple[int, ...]]:
        found = await history.trial_balance(chart.own_accounts(1), first, last)
        return [(row.code, row.account_count, row.debit_minor, row.credit_minor, row.moved_minor) for row in found.rows]

    assert await rows(0, TODAY) == [(0, 2, 0, 1_490, 0), (1010, 1, 1_500, 0, -1_500), (4010, 1, 0, 10, 10)]
    assert await rows(TODAY + 1, TODAY + 1) == [
        (0, 2, 0, 1_383, 0), (1010, 1, 1_500, 0, 0), (1090, 1, 0, 100, 100), (4010, 1, 0, 17, 7)
    ]  # fmt: skip
    whole = await history.trial_balance(chart.own_accounts(1), 0, 0)
    assert (whole.transits, whole.is_final) == (((2, CZK, 100),), False)
    assert (await history.trial_balance(chart.own_accounts(1), 0, TODAY + 1)).is_final
    assert await rows(0, TODAY - 1) == []


async def test_a_trial_balance_whose_cut_is_taken_waits_for_nobody(
    books: Writing, history: History, moved: list[Moved], ledger_dsn: str
) -> None:
    async with held_head(ledger_dsn):
        found = await history.trial_balance(chart.own_accounts(1), 0, 0)
    assert sum(row.credit_minor - row.debit_minor for row in found.rows) == 0


async def test_a_trial_balance_that_does_not_add_up_is_never_told(
    history: History, moved: list[Moved], ledger_dsn: str
) -> None:
    change = (
        "UPDATE ledger.entry SET balance_after_minor = balance_after_minor {} 1 WHERE account_number = $1"
        " AND version = (SELECT max(version) FROM ledger.entry WHERE account_number = $1)"
    )
    async with connected(ledger_dsn) as meddler:
        await meddler.execute("SET session_replication_role = replica")
        await meddler.execute(change.format("+"), A)
        with pytest.raises(AssertionError, match="debits and credits differ"):
            await history.trial_balance(chart.own_accounts(1), 0, 0)
        await meddler.execute(change.format("-"), A)


# What it costs


async def plan_of(connection: asyncpg.Connection, query: str, *arguments: object) -> dict[str, object]:
    """Explain a query with the arguments it would have."""
    import json

    rows = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {history_module.SQL[query]}", *arguments)
    plan: dict[str, object] = json.loads(rows)[0]["Plan"]
    return plan


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def test_as_of_balances_are_index_seeks_and_value_dates_a_few_rows(
    history: History, moved: list[Moved], ledger_dsn: str
) -> None:
    from services.ledger import raw

    async with connected(ledger_dsn) as looking:
        await raw.speak_raw(looking)
        await looking.execute("SET enable_seqscan = off")  # So few rows are otherwise read through.
        cut = await history.cut_of_day(TODAY + 2)
        state = [n for n in nodes(await plan_of(looking, "state_at", A, cut)) if n.get("Relation Name") == "entry"]
        assert [(n["Node Type"], n["Actual Rows"]) for n in state] == [("Index Scan", 1)]
        by_value = list(nodes(await plan_of(looking, "balance_by_value", A, TODAY + 2)))
        read = {n["Node Type"] for n in by_value if n.get("Relation Name") in {"account", "day", "entry", "value_sum"}}
        assert read <= {"Index Scan", "Index Only Scan"}
        sums = [n for n in by_value if n.get("Relation Name") == "value_sum"]
        assert len(sums) == 3
        assert sum(n["Actual Rows"] for n in sums) <= 64 + 64 + (TODAY // 4096) + 1
        assert not any(n.get("Relation Name") == "value_dated" for n in by_value)
