"""A small batch goes over as one statement and leaves the same rows as one that is copied."""

from typing import Any

import pytest
from ledger_room import CommittedBooks, connected
from memory_books import CZK, TODAY, Ask, ask, cash, crossings, customer_account, transfers
from store_scenarios import write_everything

from services.ledger import posting, small_batches
from services.ledger.books import Leg
from services.ledger.draft import Draft
from services.ledger.store import Store
from services.ledger.traffic import Crossing
from simulation.tables import Row

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
TABLES = ("journal_head", "transfer", "entry", "crossing_out", "crossing_landed", "peer")


def _an_id(number: int) -> bytes:
    return bytes(12) + number.to_bytes(4, "big")


def _post(draft: Draft) -> None:
    asked = [ask(1, cash(1), A, 100, reference="Žofie"), ask(2, A, B, 1_000), ask(3, A, FAR, 7, peer_id=2)]
    posting.post(draft, transfers(asked))


def _post_one(draft: Draft) -> None:
    posting.post(draft, transfers([ask(4, A, B, 5, reference="alone")]))


def _refuse_one(draft: Draft) -> None:
    posting.post(draft, transfers([ask(5, A, B, 10**9)]))


def _land(draft: Draft) -> None:
    sent = [Crossing(n, _an_id(100 + n), FAR, A, 10, CZK, "gift", TODAY) for n in (1, 2)]
    posting.land(draft, crossings(2, sent))


def _acknowledge(draft: Draft) -> None:
    posting.acknowledge(draft, 2, 1, [])


async def _open_transit(store: Store, books: CommittedBooks) -> None:
    await books.open(store)
    await books.post(store, ask(9, cash(1), FAR, 1, peer_id=2))


async def _written(dsn: str, is_small: bool) -> dict[str, list[Any]]:
    store = Store(dsn)
    await store.connect()
    try:
        head = await store.take_lease("the test", 60)
        assert head is not None
        books = CommittedBooks(head)
        await _open_transit(store, books)
        for fill in (_post, _post_one, _refuse_one, _land, _acknowledge):
            draft = books.draft()
            fill(draft)
            name = small_batches.ONE if fill is _post_one else small_batches.PLAIN
            assert small_batches.statement(draft) == (name if is_small else None)
            await books.commit(store, draft)
    finally:
        await store.close()
    async with connected(dsn) as looking:
        return {table: await looking.fetch(f"SELECT * FROM ledger.{table} AS one ORDER BY one") for table in TABLES}


async def test_one_statement_leaves_the_same_rows_as_copy(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = await _written(ledger_dsns[1], is_small=True)
    monkeypatch.setattr(small_batches, "LEGS_MAX", -1)
    assert small == await _written(ledger_dsns[2], is_small=False)
    assert len(small["transfer"]) == 8


async def _with_everything(dsn: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, list[Row]], set[str]]:
    """Let a writer write every kind of row; give them, and what went over in the statement for such."""
    carried: set[str] = set()
    choose = small_batches.statement

    def chosen(draft: Draft) -> str | None:
        name = choose(draft)
        if name == small_batches.MIXED:
            parts = {**vars(draft), "refused_legs": draft.spans.refused_legs}
            carried.update(part for part in small_batches.BESIDES if parts[part])
        return name

    with monkeypatch.context() as patches:
        patches.setattr(small_batches, "statement", chosen)
        written = await write_everything(dsn)
    del written["writer_lease"]
    rows = {name: sorted(rows, key=lambda row: repr(sorted(row.items()))) for name, rows in written.items()}
    return rows, carried


async def test_so_does_the_one_for_what_only_some_transfers_have(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed, carried = await _with_everything(ledger_dsns[1], monkeypatch)
    assert carried == small_batches.BESIDES
    monkeypatch.setattr(small_batches, "LEGS_MAX", -1)
    copied, carried = await _with_everything(ledger_dsns[2], monkeypatch)
    assert not carried
    assert mixed == copied


LEGS = tuple(Leg(cash(1), A, 2, CZK) for _ in range(small_batches.LEGS_MAX + 1))
PAIRS = tuple((f"key {number}", "value") for number in range(small_batches.PAIRS_MAX + 1))


@pytest.mark.parametrize(
    ("asked", "statement"),
    [
        (ask(1, cash(1), A, 1), small_batches.ONE),
        (Ask(_an_id(1), LEGS[:-1]), small_batches.MIXED),
        (Ask(_an_id(1), LEGS), None),
        (ask(1, cash(1), A, 1, metadata=PAIRS[:-1]), small_batches.MIXED),
        (ask(1, cash(1), A, 1, metadata=PAIRS), None),
        (ask(1, cash(1), A, 1, value_date=TODAY - 1), None),
    ],
    ids=["one transfer", "legs", "many legs", "metadata", "much metadata", "value date"],
)
async def test_what_no_statement_carries_is_copied(ledger_dsn: str, asked: Ask, statement: str | None) -> None:
    store = Store(ledger_dsn)
    await store.connect()
    try:
        head = await store.take_lease("the test", 60)
        assert head is not None
        books = CommittedBooks(head)
        await books.open(store)
        draft = books.draft()
        posting.post(draft, transfers([asked]))
        assert small_batches.statement(draft) == statement
    finally:
        await store.close()


def test_whatever_else_a_draft_comes_to_hold_is_copied() -> None:
    draft = Draft(1, 0, 1, TODAY, lambda _: None, lambda _: None, {})
    assert small_batches.statement(draft) == small_batches.PLAIN
    draft.begins_day = True
    assert small_batches.statement(draft) is None
    draft.begins_day = False
    carried = small_batches.BESIDES | {"transfers", "entries", "peers", "crossings_out", "crossings_landed"}
    known_otherwise = {
        *("shard_id", "first_sequence", "sequence", "booking_time_us", "business_date"),
        *("touched", "decisions", "originals", "spans"),
    }
    for holder in (draft, draft.spans):
        names = {name for name in dir(holder) if not name.startswith("_") and not callable(getattr(holder, name))}
        assert names
        for name in names - carried - known_otherwise:
            before = getattr(holder, name)
            setattr(holder, name, [object()])
            assert small_batches.statement(draft) is None, name
            setattr(holder, name, before)
    assert small_batches.statement(draft) == small_batches.PLAIN
