"""The books in PostgreSQL: what is written is read back, what must not be written is not."""

from collections.abc import AsyncIterator

import pytest
from ledger_room import CommittedBooks, connected
from memory_books import CZK, TODAY, Ask, an_id, ask, cash, crossings, customer_account

from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import chart, errors
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import AccountState, Creditor, Kind, Leg, Restriction
from services.ledger.history import History
from services.ledger.reader import Reader
from services.ledger.store import Head, Store
from services.ledger.traffic import Crossing, Watermarks

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
TRANSIT = chart.transit_account(1, 2, CZK)


@pytest.fixture
def dsn(ledger_dsn: str) -> str:
    return ledger_dsn


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[Store]:
    store = Store(dsn)
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
async def reader(dsn: str) -> AsyncIterator[Reader]:
    reader = await Reader.open(dsn)
    yield reader
    await reader.close()


@pytest.fixture
async def books(store: Store) -> CommittedBooks:
    """Take the books and open cash and two customers' accounts."""
    head = await store.take_lease("the test", 60)
    assert head == Head(0, 1, 0)
    books = CommittedBooks(head)
    await books.open(store)
    return books


# What is written is read back


async def test_a_transfer_is_read_back_as_it_was_asked(store: Store, reader: Reader, books: CommittedBooks) -> None:
    creditor = Creditor("KB", "CZ6508000000192000145399", "Žofie Nováková", "invoice 7\nthanks")
    legs = (Leg(cash(1), A, 100, CZK), Leg(A, B, 60, CZK))
    await books.post(
        store,
        Ask(an_id(1), legs, "nájem", 19_999, creditor=creditor),
        ask(2, A, B, 41),
        ask(3, cash(1), B, 1),
    )
    record = await reader.transfer(an_id(1))
    assert record is not None
    assert (record.legs, record.reference, record.creditor) == (legs, "nájem", creditor)
    assert (record.kind, record.outcome, record.refusal) == (Kind.ASKED, Outcome.POSTED, 0)
    assert (record.booking_time_us, record.business_date, record.value_date) == (books.time_us, TODAY, 19_999)
    refused = await reader.transfer(an_id(2))
    assert refused is not None
    assert (refused.outcome, refused.refusal, refused.creditor) == (Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS, None)
    assert refused.legs == (Leg(A, B, 41, CZK),)
    assert await reader.transfer(an_id(9)) is None


async def test_a_fee_is_read_back_as_one(store: Store, reader: Reader, books: CommittedBooks) -> None:
    legs = (Leg(cash(1), A, 100, CZK), Leg(cash(1), B, 3, CZK, True))
    await books.post(store, Ask(an_id(1), legs), ask(2, cash(1), A, 1))
    record = await reader.transfer(an_id(1))
    assert record is not None
    assert record.legs == legs
    found = await store.find_decisions([an_id(1), an_id(2)])
    assert [found[an_id(number)].has_fee for number in (1, 2)] == [True, False]
    originals = await store.load_originals([an_id(1)])
    assert originals[an_id(1)].legs == legs[:1]
    page = await History(reader).entries(B, descending=True, limit=9)
    assert [row["is_fee"] for row in page.rows] == [True]


async def test_an_accounts_state_is_its_last_entry(store: Store, reader: Reader, books: CommittedBooks) -> None:
    await books.post(store, ask(1, cash(1), A, 100), ask(2, A, B, 30))
    expected = {number: state for number, state in books.accounts.items() if number in {A, B}}
    for found in (await reader.balances([A, B, FAR]), await store.load_accounts([B, FAR, A])):
        assert {number: _facts(state) for number, state in found.items()} == {
            number: _facts(state) for number, state in expected.items()
        }
    assert _facts(expected[A]) == (A, CZK, 0, 0, 2, 70, 0)


def _facts(state: AccountState) -> tuple[int, ...]:
    return (
        state.number,
        state.currency,
        state.floor_minor,
        state.restrictions,
        state.version,
        state.balance_minor,
        state.held_minor,
    )


async def test_a_page_of_entries_names_both_sides_of_each_leg(
    store: Store, reader: Reader, books: CommittedBooks
) -> None:
    await books.post(
        store,
        ask(1, cash(1), A, 100),
        Ask(an_id(2), (Leg(A, B, 10, CZK), Leg(cash(1), A, 7, CZK)), "two legs"),
        ask(3, A, FAR, 5, peer_id=2),
    )
    page = await History(reader).entries(A, descending=False, limit=10)
    rows = page.rows
    assert (page.period.currency, page.has_more) == (CZK, False)
    assert [(row["version"], row["amount_minor"], row["balance_after_minor"]) for row in rows] == [
        (1, 100, 100),
        (2, -10, 90),
        (3, 7, 97),
        (4, -5, 92),
    ]
    sides = [(row["debit_account"], row["credit_account"], row["transfer_id"], row["reference"]) for row in rows]
    assert sides == [
        (cash(1), A, an_id(1), ""),
        (A, B, an_id(2), "two legs"),
        (cash(1), A, an_id(2), "two legs"),
        (A, FAR, an_id(3), ""),
    ]
    assert [row["payer_account"] for row in rows] == [cash(1), A, A, A]


async def test_pages_of_entries_follow_each_other_in_either_order(
    store: Store, reader: Reader, books: CommittedBooks
) -> None:
    await books.post(store, *(ask(n, cash(1), A, n) for n in range(1, 8)))

    history = History(reader)

    async def page(after: int, *, descending: bool) -> list[int]:
        sequence = sequences[after - 1] if after else 0
        found = await history.entries(A, descending=descending, after_sequence=sequence, limit=3)
        assert found.has_more == (len(found.rows) == 3)
        return [row["version"] for row in found.rows]

    everything = (await history.entries(A, descending=False, limit=10)).rows
    sequences = [row["sequence"] for row in everything]
    assert [await page(after, descending=False) for after in (0, 3, 6, 7)] == [[1, 2, 3], [4, 5, 6], [7], []]
    assert [await page(after, descending=True) for after in (0, 5, 2, 1)] == [[7, 6, 5], [4, 3, 2], [1], []]
    some = await history.entries(A, descending=False, after_sequence=sequences[1], cut_sequence=sequences[4], limit=10)
    assert [row["version"] for row in some.rows] == [3, 4, 5]


async def test_entries_of_an_account_that_is_not_there_have_no_currency(reader: Reader) -> None:
    page = await History(reader).entries(A, descending=True, limit=10)
    assert (page.period.currency, page.rows, page.has_more) == (None, [], False)


async def test_the_outcome_of_a_crossing_follows_from_watermark_and_returns(
    store: Store, reader: Reader, books: CommittedBooks
) -> None:
    await books.post(store, ask(1, cash(1), A, 100), *(ask(n, A, FAR, 10, peer_id=2) for n in (2, 3, 4)))
    sent = await store.unacknowledged_crossings(2, 0, 10)
    assert sent == [Crossing(n, an_id(n + 1), A, FAR, 10, CZK, "", TODAY) for n in (1, 2, 3)]
    assert (await reader.status()).in_flight_count == 3
    draft = books.draft()
    posting.acknowledge(draft, 2, 2, [(sent[1], Refusal.CREDIT_ACCOUNT_CLOSED)])
    await books.commit(store, draft)
    expected = {
        an_id(2): (Outcome.POSTED, 0),
        an_id(3): (Outcome.RETURNED, Refusal.CREDIT_ACCOUNT_CLOSED),
        an_id(4): (Outcome.IN_TRANSIT, 0),
    }
    found = await store.find_decisions([an_id(n) for n in range(9)])
    assert {key: (found[key].outcome, found[key].refusal) for key in expected} == expected
    assert (found[an_id(4)].peer_id, found[an_id(4)].number) == (2, 3)
    for transfer_id, outcome in expected.items():
        record = await reader.transfer(transfer_id)
        assert record is not None
        assert (record.outcome, record.refusal) == outcome
    assert (await reader.balances([A]))[A].balance_minor == 80
    assert await store.unacknowledged_crossings(2, 1, 1) == sent[1:2]
    assert await store.load_peers() == {2: Watermarks(3, 2, 0)}
    assert (await reader.status()).in_flight_count == 1


async def test_what_travels_with_a_crossing_is_there_after_a_restart(
    store: Store, reader: Reader, books: CommittedBooks
) -> None:
    pairs = (("Z", "2"), ("a", "1"), ("order", "č. 7"))
    further = (Leg(A, cash(1), 3, CZK), Leg(A, B, 4, CZK))
    await books.post(store, ask(1, cash(1), A, 100))
    await books.post(store, Ask(an_id(2), (Leg(A, FAR, 10, CZK), *further), peer_id=2, metadata=pairs))
    assert await store.unacknowledged_crossings(2, 0, 10) == [
        Crossing(1, an_id(2), A, FAR, 10, CZK, "", TODAY, further, pairs)
    ]
    record = await reader.transfer(an_id(2))
    assert record is not None
    assert (record.legs, record.metadata) == ((Leg(A, FAR, 10, CZK), *further), pairs)


async def test_landings_are_read_back_with_what_was_refused(
    store: Store, reader: Reader, books: CommittedBooks
) -> None:
    sent = [Crossing(n, an_id(n), FAR, to, 10, CZK, "gift", TODAY) for n, to in ((1, A), (2, FAR + 97), (3, B))]
    draft = books.draft()
    posting.land(draft, crossings(2, sent))
    await books.commit(store, draft)
    assert await reader.refused_crossings(2, 1, 3) == [(2, Refusal.CREDIT_ACCOUNT_NOT_FOUND)]
    assert await reader.refused_crossings(2, 3, 9) == []
    record = await reader.transfer(an_id(3))
    assert record is not None
    assert (record.kind, record.outcome, record.legs) == (Kind.LANDING, Outcome.POSTED, (Leg(FAR, B, 10, CZK),))
    assert (await reader.balances([TRANSIT]))[TRANSIT].balance_minor == -20
    assert await store.load_peers() == {2: Watermarks(0, 0, 3)}


async def test_facts_of_payees_are_read_without_balances(dsn: str, reader: Reader, books: CommittedBooks) -> None:
    async with connected(dsn) as connection:
        await connection.execute("UPDATE ledger.account SET restrictions = 4 WHERE account_number = $1", B)
    facts = await reader.facts([A, B, FAR])
    assert {number: (state.currency, state.restrictions) for number, state in facts.items()} == {
        A: (CZK, 0),
        B: (CZK, Restriction.CLOSED),
    }


async def test_the_largest_values_fit(store: Store, reader: Reader, books: CommittedBooks) -> None:
    rich = customer_account(1, 9)
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(rich, 999, -9 * 10**18)])
    await books.commit(store, draft)
    assert _facts((await reader.balances([rich]))[rich]) == (rich, 999, -9 * 10**18, 0, 0, 0, 0)


async def test_a_reader_without_its_database_says_unavailable(
    dsn: str, reader: Reader, postgres: EmbeddedPostgres
) -> None:
    async with connected(postgres.dsn("postgres")) as connection, connected(dsn) as inside:
        name = await inside.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        try:
            for _ in range(2):
                with pytest.raises(errors.Unavailable, match="does not answer"):
                    await reader.balances([A])
        finally:
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert await reader.balances([A]) == {}
