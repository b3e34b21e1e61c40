"""Searches in a shard's books on real PostgreSQL: they find what a slow reader finds, page by page, at a bounded cost."""

from collections.abc import AsyncIterator
from random import Random

import ledger_databases
import pytest
from ledger_room import Clock, Writing, connected, post, writing
from memory_books import CZK, DAY_US, TODAY, Ask, an_id, ask, cash, crossings, customer_account

from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import errors, limits
from services.ledger import history as history_module
from services.ledger.books import Leg
from services.ledger.history import History, Search
from services.ledger.jobs import LandJob
from services.ledger.reader import Reader
from services.ledger.traffic import Crossing

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
CASH = cash(1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def open_accounts(books: Writing) -> None:
    await books.open(CASH, floor=-limits.BALANCE_MINOR_MAX)
    await books.open(A, B)


@pytest.fixture
async def books(ledger_dsn: str, clock: Clock) -> AsyncIterator[Writing]:
    async with writing(ledger_dsn, now_us=clock) as books:
        await open_accounts(books)
        yield books


@pytest.fixture
async def history(ledger_dsn: str, books: Writing) -> AsyncIterator[History]:
    reader = await Reader.open(ledger_dsn)
    yield History(reader)
    await reader.close()


def wanted(account: int = 0, **more) -> Search:
    fields = {
        "reference": "", "counterparty_account": 0, "amount_minor_min": 0, "amount_minor_max": 0, "first_date": 0,
        "last_date": 0, "metadata": (), "before_sequence": 0, "cut_time_us": 0,
    }  # fmt: skip
    return Search(account, **(fields | more))


async def all_found(history: History, search: Search, limit: int = 5) -> list[int]:
    """Follow the pages to the end and return the numbers of the ids."""
    numbers: list[int] = []
    before = 0
    while True:
        page = await history.search(Search(**{**_fields(search), "before_sequence": before}), limit)
        assert len(page.transfers) <= limit
        numbers += [int.from_bytes(each.transfer_id, "big") for each in page.transfers]
        before = page.next_before_sequence
        if not before:
            return numbers


def _fields(search: Search) -> dict[str, object]:
    return {name: getattr(search, name) for name in Search.__dataclass_fields__}


async def post_various(books: Writing, clock: Clock) -> list[Ask]:
    """Post transfers of every kind that a search tells apart, over three days."""
    chance = Random(3)
    asked = []
    for number in range(1, 121):
        clock.now_us = TODAY * DAY_US + number * DAY_US // 40
        payee = chance.choice((A, B))
        legs = (Leg(CASH, payee, chance.randrange(1, 1_000), CZK),)
        if not number % 7:
            legs += (Leg(payee, CASH, 1, CZK), Leg(CASH, B if payee == A else A, 2_000 + number, CZK))
        reference = chance.choice(("", "rent", "salary", f"invoice {number}"))
        pairs = chance.choice(((), (("order", str(number % 5)),), (("order", str(number % 5)), ("shop", "Brno"))))
        asked.append(Ask(an_id(number), legs, reference, metadata=pairs))
        if number == 60:
            asked[-1] = ask(60, A, B, 10**12, reference="rent")
        await post(books, asked[-1])
    return asked


@pytest.fixture
async def various(books: Writing, clock: Clock) -> list[Ask]:
    return await post_various(books, clock)


@pytest.fixture(scope="module")
async def searched(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[History, list[Ask]]]:
    """Give books with all of that, in which nobody writes any more: a search changes nothing for the next."""
    await postgres.ensure_database("searched")
    dsn, clock = postgres.dsn("searched"), Clock()
    await ledger_databases.migrate(dsn)
    async with writing(dsn, now_us=clock) as books:
        await open_accounts(books)
        asked = await post_various(books, clock)
    reader = await Reader.open(dsn)
    yield History(reader), asked
    await reader.close()
    await postgres.drop_database("searched")


def expected(asked: list[Ask], keep) -> list[int]:
    return [int.from_bytes(each.transfer_id, "big") for each in reversed(asked) if keep(each)]


def touches(each: Ask, account: int) -> bool:
    return any(account in leg[:2] for leg in each.legs)


CRITERIA = [
    ({}, lambda each: True),
    ({"reference": "rent"}, lambda each: each.reference == "rent"),
    ({"reference": "invoice 3"}, lambda each: each.reference == "invoice 3"),
    ({"reference": "nothing"}, lambda each: False),
    ({"metadata": (("order", "3"),)}, lambda each: ("order", "3") in each.metadata),
    (
        {"metadata": (("order", "3"), ("shop", "Brno"))},
        lambda each: {("order", "3"), ("shop", "Brno")} <= set(each.metadata),
    ),
    (
        {"reference": "salary", "metadata": (("shop", "Brno"),)},
        lambda each: each.reference == "salary" and ("shop", "Brno") in each.metadata,
    ),
    ({"counterparty_account": B}, lambda each: touches(each, B)),
    (
        {"amount_minor_min": 100, "amount_minor_max": 300},
        lambda each: any(100 <= leg.amount_minor <= 300 for leg in each.legs),
    ),
    ({"amount_minor_min": 2_000}, lambda each: any(leg.amount_minor >= 2_000 for leg in each.legs)),
    (
        {"first_date": TODAY + 1, "last_date": TODAY + 1},
        lambda each: 40 <= int.from_bytes(each.transfer_id, "big") < 80,
    ),
]


@pytest.mark.parametrize("window", [3, 500], ids=["small windows", "one window"])
@pytest.mark.parametrize("place", range(len(CRITERIA)))
async def test_a_search_finds_what_a_slow_reader_finds(
    searched: tuple[History, list[Ask]], place: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, various = searched
    monkeypatch.setattr(history_module, "SEARCH_PLACES_MIN", window)
    monkeypatch.setattr(history_module, "SEARCH_PLACES_MAX", 4 * window)
    criteria, keep = CRITERIA[place]
    for limit in (1, 7, 100):
        assert await all_found(history, wanted(**criteria), limit) == expected(various, keep)
    moved = [each for each in various if each.legs[0].amount_minor < 10**12]
    for account in (A, B):
        mine = expected(moved, lambda each, account=account: keep(each) and touches(each, account))
        assert await all_found(history, wanted(account, **criteria), 7) == mine


async def test_a_search_stops_at_the_time_it_was_begun(
    books: Writing, history: History, various: list[Ask], clock: Clock
) -> None:
    cut = clock.now_us
    clock.now_us += 1_000_000
    await post(books, ask(500, CASH, A, 5, reference="rent"))
    assert 500 in await all_found(history, wanted(reference="rent"))
    assert 500 not in await all_found(history, wanted(reference="rent", cut_time_us=cut))


async def test_a_landing_is_found_on_its_account_but_not_a_second_time_in_the_bank(
    books: Writing, history: History, clock: Clock
) -> None:
    sent = [Crossing(1, an_id(7), FAR, A, 10, CZK, "gift", TODAY, (), (("order", "7"),))]
    await books.writer.ask(LandJob(crossings(2, sent), float("inf")))
    for criteria in ({}, {"reference": "gift"}, {"metadata": (("order", "7"),)}, {"counterparty_account": FAR}):
        assert await all_found(history, wanted(A, **criteria)) == [7]
        assert await all_found(history, wanted(**criteria)) == []
    (entry,) = (await history.entries(A, descending=True, limit=9)).rows
    assert (entry["debit_account"], [*entry["metadata"]]) == (FAR, [["order", "7"]])


async def test_a_search_that_the_database_gives_up_says_so(
    history: History, various: list[Ask], ledger_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(ledger_dsn) as other, other.transaction():
        await other.execute("LOCK TABLE ledger.further_leg IN ACCESS EXCLUSIVE MODE")
        with monkeypatch.context() as limited:
            limited.setattr(history_module, "SEARCH_STATEMENT_MS_MAX", 50)
            with pytest.raises(errors.DeadlinePassed) as gave_up:
                await history.search(wanted(), 5)
    assert gave_up.value.reason == "QUERY_TOO_SLOW"
    assert (await history.search(wanted(), 5)).transfers
