"""A draft's own view of the books: of what it opened, moved and promised itself, and of what was there before."""

import pytest
from memory_books import CZK, EUR, TODAY, Ask, an_id, ask, crossings, customer_account
from memory_special import SpecialBooks, columns, legs, place, release, reverse
from span_books import SpanBooks, ask_of, span

from services.domain.outcomes import Outcome, Refusal
from services.ledger import changes, holds, posting, promises
from services.ledger.books import AccountState, Allowance, CapKey, Flag, Leg, PlaceError, Spent
from services.ledger.change_rows import Change
from services.ledger.draft import Draft
from services.ledger.traffic import Crossing, Verdict

PAYER, PAYEE, THIRD = (customer_account(1, serial) for serial in (1, 2, 3))
FAR = customer_account(2, 1)
CUSTOMER = 9
OPENED = ((71, 0), (72, 0), (73, 5), (74, 5))
"""Accounts, and whose they are."""
POOR = Refusal.INSUFFICIENT_FUNDS


@pytest.fixture
def books() -> SpecialBooks:
    books = SpecialBooks()
    for number in (PAYER, PAYEE, THIRD):
        books.open(number, 100, customer=CUSTOMER)
    return books


def change(draft: Draft, number: int, allowance: Allowance | None = None, **more: int | None) -> int:
    change_id = an_id(1_000 + len(draft.changes))
    asked = Change(change_id, number, more.get("state"), None, allowance, more.get("cap"), "", 0)
    decision = changes.change(draft, asked, 0)
    assert decision is not None
    return decision.refusal


def test_what_is_tried_aside_sees_what_the_draft_did_and_leaves_nothing(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.post(draft, columns([ask(1, PAYER, PAYEE, 80)]))
    rows, version = len(draft.transfers), draft.touched[PAYER].version
    for asked, refusal in (
        (ask(2, PAYER, PAYEE, 21), POOR),
        (ask(3, PAYEE, THIRD, 180), 0),
        (ask(4, PAYEE, THIRD, 180), 0),
        (ask(5, THIRD, PAYER, 101), POOR),
    ):
        assert posting.post(draft.aside(), columns([asked])).refusals == [refusal]
    aside = draft.aside()
    assert posting.post(aside, columns([ask(1, PAYER, PAYEE, 81)])).errors == {0: PlaceError.TRANSFER_ID_REUSED}
    assert posting.post(aside, columns([ask(6, PAYER, FAR, 1, peer_id=2)])).crossings == {0: (2, 1)}
    assert (len(draft.transfers), draft.sequence, draft.touched[PAYER].version) == (rows, 1, version)
    assert not draft.peers
    assert draft.touched[PAYER].balance_minor == 20


def test_a_draft_that_opens_or_only_hears_has_something_to_write(books: SpecialBooks) -> None:
    assert books.draft().is_empty()
    for begin in (
        lambda draft: posting.open_accounts(draft, [AccountState(77, CZK, 0)]),
        lambda draft: draft.own_watermarks(2),
        lambda draft: posting.post(draft, columns([ask(1, PAYER, PAYEE, 999)])),
    ):
        draft = books.draft()
        begin(draft)
        assert not draft.is_empty()


def test_a_transfer_is_reversed_in_the_batch_that_posted_it_leg_by_leg(books: SpecialBooks) -> None:
    draft = books.draft()
    first, second = legs(1, (PAYER, PAYEE, 10), (PAYEE, THIRD, 5)), legs(2, (PAYER, THIRD, 20), (THIRD, PAYEE, 7))
    fee = Ask(an_id(3), (Leg(PAYER, PAYEE, 1, CZK), Leg(PAYER, THIRD, 2, CZK, is_fee=True)))
    back = reverse(4, 1, (THIRD, PAYEE, 5), (PAYEE, PAYER, 10))
    posted = posting.post(draft, columns([first, second, fee, back, reverse(5, 3, (PAYEE, PAYER, 1))]))
    assert posted.refusals == [0] * 5
    assert [draft.originals[an_id(number)].reversed_minor for number in (1, 3)] == [15, 1]


def test_a_cap_is_over_the_accounts_of_one_customer_in_one_currency(books: SpecialBooks) -> None:
    books.open(501, 100, customer=CUSTOMER, currency=EUR)
    books.open(502, 100, customer=CUSTOMER + 1)
    draft = books.draft()
    assert change(draft, PAYER, cap=50) == 0
    assert [draft.state(number).is_capped for number in (PAYER, PAYEE, 501, 502)] == [True, True, False, False]


def test_accounts_of_nobody_are_not_siblings(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(number, CZK, 0, customer_number=owner) for number, owner in OPENED])
    assert [sorted(one.number for one in draft.siblings(new)) for new in draft.opened] == [
        [71],
        [72],
        [73, 74],
        [73, 74],
    ]


def test_counting_begins_with_what_is_open_and_this_accounts_own(books: SpecialBooks) -> None:
    draft = books.draft()
    commands = [place(1, PAYER, 10), place(2, PAYEE, 20), place(3, PAYER, 30), release(4, 3, PAYER)]
    assert not any(holds.command(draft, commands, [1] * 4).refusals)
    change(draft, PAYER, Allowance(day_minor_max=100))
    assert draft.touched[PAYER].spent == Spent(TODAY, 10, 1)
    change(draft, THIRD, cap=1_000)
    assert draft.caps[CapKey(CUSTOMER, CZK)].spent == Spent(TODAY, 30, 2)


def test_counting_begins_with_what_open_promises_have_set_aside() -> None:
    home, here = (customer_account(shard, 1) for shard in (1, 2))
    payee = customer_account(2, 2)
    books = SpanBooks(2)
    books.add(here, 100)
    books.add(payee, 100)
    fee = Leg(here, home, 3, CZK, is_fee=True)
    for number, moves, flags in (
        (1, [Leg(here, home, 10, CZK), fee, Leg(here, home, 5, CZK), Leg(home, payee, 9, CZK)], 0),
        (2, [Leg(payee, home, 20, CZK), Leg(home, here, 7, CZK)], 0),
        (3, [Leg(here, home, 30, CZK)], 0),
        (4, [Leg(here, home, 40, CZK)], Flag.GIVES_BACK),
    ):
        asked = ask_of(span(*moves, number=number), 2)._replace(flags=int(flags))
        assert books.promise(asked).refusal == 0
    draft = books.draft(TODAY - 1)
    promises.promise(draft, ask_of(span(Leg(here, home, 2, CZK), number=5), 2))
    books.commit(draft)
    draft = books.draft()
    promises.settle(draft, 1, Verdict(1, an_id(3), Outcome.REFUSED, POOR, "", TODAY, here))
    assert draft.promised_debits(here) == [(TODAY, 10), (TODAY, 5), (TODAY - 1, 2)]
    change(draft, here, Allowance(day_minor_max=100))
    assert draft.touched[here].spent == Spent(TODAY, 15, 2)
    change(draft, payee, Allowance(day_minor_max=100))
    assert draft.touched[payee].spent == Spent(TODAY, 20, 1)


def test_an_amount_is_not_an_account_that_may_get_its_money_back(books: SpecialBooks) -> None:
    books.open(5)
    draft = books.draft()
    asked = legs(1, (PAYER, FAR, 10), (PAYEE, THIRD, 5), peer_id=2)
    assert posting.post(draft, columns([asked])).refusals == [0]
    assert change(draft, 5, state=changes.CLOSED) == 0
    assert [draft.is_in_flight(number) for number in (PAYER, PAYEE, THIRD, 5, 10)] == [True, True, True, False, False]


def test_a_transit_account_never_stands_below_its_floor(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.land(draft, crossings(2, [Crossing(1, an_id(1), FAR, PAYEE, 50, CZK, "", TODAY)]))
    (transit,) = draft.opened
    assert transit.balance_minor == -50
    assert transit.balance_minor >= transit.floor_minor
