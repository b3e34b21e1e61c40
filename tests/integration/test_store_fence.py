"""What keeps the books whole in PostgreSQL: the fence, permanent ids, the lease, and rules no code path can skip."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from ledger_room import CommittedBooks, connected, until
from memory_books import CZK, TODAY, Ask, an_id, ask, cash, crossings, customer_account, transfers

from services.domain.outcomes import Refusal
from services.ledger import posting
from services.ledger.books import Creditor, Leg
from services.ledger.leases import Lease, Patience
from services.ledger.reader import Reader
from services.ledger.store import FenceLost, Head, IdTaken, Store
from services.ledger.traffic import Crossing

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)

FILLED = {
    "transfer",
    "further_leg",
    "external_creditor",
    "entry",
    "crossing_out",
    "crossing_returned",
    "crossing_landed",
    "crossing_refused",
}
APPEND_ONLY = FILLED | {
    "metadata",
    "relation",
    "actor",
    "day",
    "value_dated",
    "spending",
    "customer_spending",
    "account_change",
    "leg_route",
    "decision_out",
    "decision_landed",
    "refused_leg",
    "seal",
}


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


# The fence


async def test_a_batch_on_an_old_head_is_not_written(store: Store, reader: Reader, books: CommittedBooks) -> None:
    stale = CommittedBooks(books.head)
    stale.accounts = books.accounts
    await books.post(store, ask(1, cash(1), A, 1))
    with pytest.raises(FenceLost):
        await stale.post(store, ask(2, cash(1), A, 1))
    assert await reader.transfer(an_id(2)) is None
    assert (await reader.status()).last_sequence == 1


async def test_whoever_took_the_books_last_writes_them(dsn: str, store: Store, books: CommittedBooks) -> None:
    other = Store(dsn)
    await other.connect()
    try:
        head = await other.take_lease("the test", 60)
        assert head == Head(0, 2, books.head.booking_time_us)
        with pytest.raises(FenceLost):
            await books.post(store, ask(1, cash(1), A, 1))
        books.head = head
        await books.post(other, ask(1, cash(1), A, 1))
    finally:
        await other.close()


async def test_a_writer_stuck_in_a_transaction_does_not_hold_up_the_next_one(dsn: str, store: Store) -> None:
    async with connected(dsn) as stuck:
        transaction = stuck.transaction()
        await transaction.start()
        await stuck.execute("UPDATE ledger.journal_head SET last_sequence = 99")
        async with asyncio.timeout(5):
            assert await store.take_lease("the test", 60) == Head(0, 1, 0)
        await until(stuck.is_closed)


async def test_an_id_is_written_once(store: Store, reader: Reader, books: CommittedBooks) -> None:
    await books.post(store, ask(1, cash(1), A, 1))
    books.known.clear()
    before = books.head
    with pytest.raises(IdTaken):
        await books.post(store, ask(2, cash(1), A, 1), ask(1, cash(1), A, 1))
    assert await reader.transfer(an_id(2)) is None
    assert (await reader.status()).last_sequence == before.sequence
    draft = books.draft()
    posting.land(draft, crossings(2, [Crossing(1, an_id(1), FAR, B, 1, CZK, "", TODAY)]))
    with pytest.raises(IdTaken):
        await books.commit(store, draft)
    await books.post(store, ask(2, cash(1), A, 1))


async def test_doubt_is_resolved_by_asking(dsn: str, store: Store, books: CommittedBooks) -> None:
    before, draft = books.head, books.draft()
    posting.post(draft, transfers([ask(1, cash(1), A, 1)]))
    asked = await store.confirm(before, draft)
    assert asked == replace(before, epoch=before.epoch + 1)
    after = await store.write(asked, draft)
    assert await store.confirm(asked, draft) == replace(after, epoch=after.epoch + 1)
    async with connected(dsn) as connection:
        await connection.execute("UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1")
    with pytest.raises(FenceLost):
        await store.confirm(replace(after, epoch=after.epoch + 1), draft)


async def test_what_was_sent_before_the_doubt_was_resolved_cannot_be_written_after(
    dsn: str, store: Store, books: CommittedBooks
) -> None:
    before, draft = books.head, books.draft()
    posting.post(draft, transfers([ask(1, cash(1), A, 1)]))
    late = Store(dsn)
    await late.connect()
    try:
        now = await store.confirm(before, draft)
        with pytest.raises(FenceLost):
            await late.write(before, draft)
    finally:
        late.drop()
    await store.write(now, draft)


async def test_doubt_waits_for_the_broken_connections_transaction(
    dsn: str, store: Store, books: CommittedBooks
) -> None:
    draft = books.draft()
    posting.post(draft, transfers([ask(1, cash(1), A, 1)]))
    after = Head(draft.sequence, books.head.epoch, draft.booking_time_us)
    async with connected(dsn) as lingering:
        transaction = lingering.transaction()
        await transaction.start()
        await lingering.execute(
            "UPDATE ledger.journal_head SET last_sequence = $1, booking_time = 'epoch'::timestamptz + $2 * interval '1 us'",
            after.sequence,
            after.booking_time_us,
        )
        asking = asyncio.create_task(store.confirm(books.head, draft))
        async with connected(dsn) as watching:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            async with asyncio.timeout(5):
                while not await watching.fetchval(waiting):
                    assert not asking.done()
        await transaction.commit()
        assert await asking == replace(after, epoch=after.epoch + 1)


# The lease


async def test_a_lease_is_held_by_one_until_it_ends(dsn: str, store: Store) -> None:
    assert await store.take_lease("first", 0.3) == Head(0, 1, 0)
    assert await store.take_lease("second", 60) is None
    patience, began = Patience(time.monotonic, 60), time.monotonic()
    async with asyncio.timeout(5):
        while (head := await store.take_lease("second", 60, patience.over)) is None:
            patience.see(await store.see_lease())
            await asyncio.sleep(0.01)
    assert time.monotonic() - began >= 0.3
    assert head == Head(0, 2, 0)
    assert await store.take_lease("first", 60, patience.over) is None


@pytest.mark.parametrize("seconds", [-7_200, 7_200])
async def test_no_clock_of_the_database_ends_a_lease_or_keeps_it(dsn: str, store: Store, seconds: float) -> None:
    assert await store.take_lease("first", 3) is not None
    lease = Lease(dsn, "first", 3)
    try:
        async with connected(dsn) as connection:
            await connection.execute(
                "UPDATE ledger.writer_lease SET expire_time = expire_time + make_interval(secs => $1)", seconds
            )
        seen = await store.see_lease()
        assert await store.take_lease("second", 3) is None
        assert await lease.renew()
        assert await store.take_lease("second", 3, seen.expire_time_us) is None  # It was renewed since.
        seen = await store.see_lease()
        assert await store.take_lease("second", 3, seen.expire_time_us) == Head(0, 2, 0)
        assert not await lease.renew()
    finally:
        lease.drop()


async def test_a_lease_given_back_is_free_at_once(dsn: str, store: Store) -> None:
    assert await store.take_lease("first", 60) is not None
    lease, stranger = Lease(dsn, "first", 60), Lease(dsn, "stranger", 60)
    try:
        assert await lease.renew()
        assert not await stranger.renew()
        await stranger.release()
        assert await store.take_lease("second", 60) is None
        await lease.release()
        assert await store.take_lease("second", 60) is not None
        assert not await lease.renew()
    finally:
        lease.drop()
        stranger.drop()


async def test_of_many_that_reach_for_the_lease_one_gets_it(dsn: str) -> None:
    stores = [Store(dsn) for _ in range(5)]
    try:
        for store in stores:
            await store.connect()
        heads = await asyncio.gather(*(store.take_lease(f"instance {n}", 60) for n, store in enumerate(stores)))
        assert sorted(heads, key=str) == sorted([None] * 4 + [Head(0, 1, 0)], key=str)
    finally:
        for store in stores:
            await store.close()


# What PostgreSQL says again


@pytest.fixture
async def filled(store: Store, books: CommittedBooks, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Give books with a row in every table."""
    two_legs = Ask(an_id(2), (Leg(cash(1), A, 1, CZK), Leg(cash(1), B, 1, CZK)), creditor=Creditor("KB", "1", "", ""))
    await books.post(store, ask(1, cash(1), A, 100), two_legs, *(ask(n, A, FAR, 1, peer_id=2) for n in (3, 4)))
    draft = books.draft()
    sent = await store.unacknowledged_crossings(2, 0, 9)
    posting.acknowledge(draft, 2, 1, [(sent[0], Refusal.CREDITS_FROZEN)])
    landing = [Crossing(n, an_id(10 + n), FAR, to, 1, CZK, "", TODAY) for n, to in ((1, A), (2, FAR + 97))]
    posting.land(draft, crossings(2, landing))
    await books.commit(store, draft)
    async with connected(dsn) as connection:
        yield connection


async def test_what_is_written_stays_as_it_is(filled: asyncpg.Connection) -> None:
    for table in sorted(APPEND_ONLY):
        assert (await filled.fetchval(f"SELECT count(*) FROM ledger.{table}") > 0) == (table in FILLED)
        column = await filled.fetchval(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = 1", f"ledger.{table}"
        )
        for statement in (
            f"UPDATE ledger.{table} SET {column} = {column}",
            f"UPDATE ledger.{table} SET {column} = {column} WHERE false",
            f"DELETE FROM ledger.{table}",
            f"TRUNCATE ledger.{table}",
        ):
            with pytest.raises(asyncpg.RestrictViolationError, match=f"ledger.{table} is append-only"):
                await filled.execute(statement)


async def test_only_facts_sums_promises_watermarks_head_and_lease_may_change(filled: asyncpg.Connection) -> None:
    tables = {row[0] for row in await filled.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'")}
    may_change = {"account", "customer_cap", "hold", "journal_head", "peer", "promise", "value_sum", "writer_lease"}
    assert tables - APPEND_ONLY == may_change


ENTRY = "INSERT INTO ledger.entry VALUES"
TRANSFER = (
    "INSERT INTO ledger.transfer (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint, "
    "booking_time, business_date, value_date, currency, kind, outcome, refusal, leg_count, reference) "
    "SELECT 1000, gen_random_uuid(), {debit}, {credit}, {amount}, 0, now(), now(), now(), 203, {kind}, {outcome}, "
    "{refusal}, {legs}, ''"
)


def transfer_row(**columns: int) -> str:
    usual = {"debit": A, "credit": B, "amount": 1, "kind": 1, "outcome": 1, "refusal": 0, "legs": 1}
    return TRANSFER.format(**{**usual, **columns})


BREAKING = [
    f"{ENTRY} ({A}, 2, 1, 0, 0, 0)",
    f"{ENTRY} ({A}, 0, 1000, 0, 0, 0)",
    f"{ENTRY} ({A}, 99, 1000, 0, 0, -1)",
    transfer_row(credit=A),
    transfer_row(amount=0),
    transfer_row(amount=10**15 + 1),
    transfer_row(kind=12),
    transfer_row(outcome=4),
    transfer_row(outcome=2),
    transfer_row(refusal=10),
    transfer_row(outcome=3, kind=2),
    f"INSERT INTO ledger.account VALUES ({A + 1}, 0, now(), 203)",
    f"INSERT INTO ledger.account VALUES ({A}, 0, now(), 203)",
    f"INSERT INTO ledger.account VALUES ({FAR}, 1, now(), 203)",
    "INSERT INTO ledger.crossing_out VALUES (1, 1000, 2)",
    "INSERT INTO ledger.crossing_landed VALUES (5, 4, 1000, 2)",
    "INSERT INTO ledger.crossing_refused VALUES (9, 2, 0)",
    "INSERT INTO ledger.crossing_returned VALUES (1, 1000, 2, 20)",
    "UPDATE ledger.peer SET acknowledged_through = sent_through + 1",
    "INSERT INTO ledger.journal_head VALUES (true, 0, 0, now())",
    "INSERT INTO ledger.journal_head VALUES (false, 0, 0, now())",
    "INSERT INTO ledger.writer_lease VALUES (false, '', now())",
]


async def test_what_breaks_the_books_is_refused_by_postgresql_too(filled: asyncpg.Connection) -> None:
    accepted = []
    for statement in [*BREAKING, transfer_row()]:
        try:
            async with filled.transaction():
                await filled.execute(statement)
        except asyncpg.IntegrityConstraintViolationError:
            continue
        accepted.append(statement)
    # The row that the refused ones vary is a good one.
    assert accepted == [transfer_row()]
