"""A small batch goes over as one statement and leaves the same rows as one that is copied."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from ledger_room import CommittedBooks, connected
from memory_books import CZK, TODAY, Ask, ask, cash, crossings, customer_account, transfers

from services.ledger import posting, small_batches
from services.ledger.books import Leg
from services.ledger.draft import Draft
from services.ledger.store import Store
from services.ledger.traffic import Crossing

A, B, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)
TABLES = ("journal_head", "transfer", "entry", "crossing_out", "crossing_landed", "peer")


def _an_id(number: int) -> bytes:
    return bytes(12) + number.to_bytes(4, "big")


def _post(draft: Draft) -> None:
    asked = [ask(1, cash(1), A, 100, reference="Žofie"), ask(2, A, B, 1_000), ask(3, A, FAR, 7, peer_id=2)]
    posting.post(draft, transfers(asked))


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
        for fill in (_post, _land, _acknowledge):
            draft = books.draft()
            fill(draft)
            assert small_batches.fits(draft) == is_small
            await books.commit(store, draft)
    finally:
        await store.close()
    async with connected(dsn) as looking:
        return {table: await looking.fetch(f"SELECT * FROM ledger.{table} AS one ORDER BY one") for table in TABLES}


async def test_one_statement_leaves_the_same_rows_as_copy(
    ledger_dsns: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = await _written(ledger_dsns[1], is_small=True)
    monkeypatch.setattr(small_batches, "TRANSFERS_MAX", -1)
    assert small == await _written(ledger_dsns[2], is_small=False)
    assert len(small["transfer"]) == 6


@pytest.mark.parametrize(
    "asked",
    [
        Ask(_an_id(1), (Leg(cash(1), A, 2, CZK), Leg(A, B, 1, CZK))),
        ask(1, cash(1), A, 1, value_date=TODAY - 1),
        ask(1, cash(1), A, 1, metadata=(("key", "value"),)),
    ],
    ids=["legs", "value date", "metadata"],
)
async def test_what_the_statement_does_not_carry_is_copied(ledger_dsn: str, asked: Ask) -> None:
    store = Store(ledger_dsn)
    await store.connect()
    try:
        head = await store.take_lease("the test", 60)
        assert head is not None
        books = CommittedBooks(head)
        await books.open(store)
        draft = books.draft()
        posting.post(draft, transfers([asked]))
        assert not small_batches.fits(draft)
    finally:
        await store.close()


@dataclass
class Rows:
    """Something that a draft may keep together."""

    kept: list[int] = field(default_factory=list)


def test_whatever_else_a_draft_comes_to_hold_is_copied() -> None:
    draft = Draft(1, 0, 1, TODAY, lambda _: None, lambda _: None, {})
    assert small_batches.fits(draft)
    draft.begins_day = True
    assert not small_batches.fits(draft)
    draft.begins_day = False
    draft.something_new = Rows()  # type: ignore[attr-defined]
    assert small_batches.fits(draft)
    draft.something_new.kept.append(1)  # type: ignore[attr-defined]
    assert not small_batches.fits(draft)
    draft.something_new = object()  # type: ignore[attr-defined]
    assert not small_batches.fits(draft)
