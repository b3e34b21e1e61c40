"""Changes of accounts: which state may follow which, when one may be closed, from when on a limit holds."""

from itertools import product

import pytest
from memory_books import CZK, Ask, ask, customer_account
from memory_special import (
    HOUR,
    SpecialAsk,
    SpecialBooks,
    a_change,
    capture,
    change,
    columns,
    command,
    legs,
    place,
    post,
    refusal,
    release,
)

from services.domain.chart import transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import changes, posting
from services.ledger.books import Allowance, Restriction
from services.ledger.change_rows import Change, ChangeDecision
from services.ledger.changes import (
    ACTIVE,
    CLOSED,
    CREDITS_FROZEN,
    DEBITS_FROZEN,
    DORMANT,
    FOLLOWERS,
    FROZEN,
    PENDING,
)
from services.ledger.draft import Draft
from services.ledger.traffic import Crossing

PAYER, SECOND, PAYEE, FAR = (*(customer_account(1, serial) for serial in (1, 2, 3)), customer_account(2, 1))
FEES = customer_account(1, 4)
CUSTOMER, DAY = 7, 24 * HOUR
POSTED, IN_TRANSIT = Outcome.POSTED, Outcome.IN_TRANSIT
STATES = {
    "pending": PENDING,
    "active": ACTIVE,
    "debits frozen": DEBITS_FROZEN,
    "credits frozen": CREDITS_FROZEN,
    "frozen": FROZEN,
    "dormant": DORMANT,
    "closed": CLOSED,
}


@pytest.fixture
def books() -> SpecialBooks:
    """Give a customer with two accounts, one of them empty, and somebody to pay."""
    books = SpecialBooks()
    books.open(PAYER, 1_000, customer=CUSTOMER)
    books.open(SECOND, customer=CUSTOMER)
    books.open(PAYEE, 1_000)
    books.open(FEES, 1_000)
    return books


def reasons(books: SpecialBooks, *asked: Change) -> list[int]:
    """Decide changes as one batch; give their refusals, 0 for a yes."""
    decided = change(books, *asked)
    assert None not in decided
    return [one.refusal for one in decided if one is not None]


def close(number: int, account: int) -> Change:
    return a_change(number, account, state=CLOSED)


# States of life

# May the state of the row be followed by the state of the column? In the order of STATES.
TABLE = """
pending         no yes no  no  no  no  yes
active          no yes yes yes yes yes yes
debits frozen   no yes yes yes yes yes no
credits frozen  no yes yes yes yes yes no
frozen          no yes yes yes yes yes no
dormant         no yes yes yes yes yes yes
closed          no no  no  no  no  no  no
"""


def may_follow() -> dict[tuple[str, str], bool]:
    """Read the table."""
    words = [line.split() for line in TABLE.split("\n") if line]
    return {
        (" ".join(line[:-7]), after): word == "yes"
        for line in words
        for after, word in zip(STATES, line[-7:], strict=True)
    }


def test_the_table_and_the_rules_know_the_same_states() -> None:
    assert set(STATES.values()) == set(FOLLOWERS)
    assert {before for before, _ in may_follow()} == set(STATES)


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_a_state_is_followed_only_by_those_that_may_follow(before: str, after: str) -> None:
    books = SpecialBooks()
    books.open(PAYER, restrictions=STATES[before])
    may = may_follow()[before, after]
    assert may == (STATES[after] in FOLLOWERS[STATES[before]])
    (reason,) = reasons(books, a_change(1, PAYER, state=STATES[after]))
    if may:
        assert reason == 0
    else:
        assert reason == (Refusal.DEBIT_ACCOUNT_CLOSED if before == "closed" else Refusal.STATE_MAY_NOT_FOLLOW)
    assert books.accounts[PAYER].restrictions == STATES[after if may else before]


@pytest.mark.parametrize("state", STATES)
def test_limits_change_in_every_state_but_closed_and_leave_the_state_alone(state: str) -> None:
    books = SpecialBooks()
    books.open(PAYER, restrictions=STATES[state])
    asked = a_change(1, PAYER, floor=-5, allowance=Allowance(day_count_max=1))
    assert reasons(books, asked) == [Refusal.DEBIT_ACCOUNT_CLOSED if state == "closed" else 0]
    account = books.accounts[PAYER]
    assert account.restrictions == STATES[state]
    assert (account.floor_minor, account.allowance) == (
        (0, None) if state == "closed" else (-5, Allowance(day_count_max=1))
    )


@pytest.mark.parametrize(
    ("state", "of_debits", "of_credits"),
    [
        (PENDING, Refusal.DEBIT_ACCOUNT_PENDING, Refusal.CREDIT_ACCOUNT_PENDING),
        (ACTIVE, 0, 0),
        (DEBITS_FROZEN, Refusal.DEBITS_FROZEN, 0),
        (CREDITS_FROZEN, 0, Refusal.CREDITS_FROZEN),
        (FROZEN, Refusal.DEBITS_FROZEN, Refusal.CREDITS_FROZEN),
        (DORMANT, Refusal.DEBIT_ACCOUNT_DORMANT, 0),
        (CLOSED, Refusal.DEBIT_ACCOUNT_CLOSED, Refusal.CREDIT_ACCOUNT_CLOSED),
    ],
)
def test_a_state_forbids_debits_or_credits_or_both(
    books: SpecialBooks, state: int, of_debits: int, of_credits: int
) -> None:
    books.accounts[PAYER].restrictions = state
    assert refusal(books, ask(1, PAYER, PAYEE, 1)) == of_debits
    assert refusal(books, ask(1, PAYEE, PAYER, 1)) == of_credits
    assert refusal(books, place(1, PAYER, 1)) == of_debits
    assert refusal(books, legs(1, (PAYEE, FEES, 1), (PAYER, FEES, 1))) == of_debits
    assert refusal(books, legs(1, (PAYEE, FEES, 1), (FEES, PAYER, 1))) == of_credits


def test_to_callers_there_is_nothing_to_change_where_there_is_no_account(books: SpecialBooks) -> None:
    post(books, ask(1, PAYER, FAR, 1, peer_id=2))
    transit = transit_account(1, 2, CZK)
    asked = a_change(1, customer_account(1, 99), state=ACTIVE), a_change(2, transit, floor=0)
    assert reasons(books, *asked) == [Refusal.DEBIT_ACCOUNT_NOT_FOUND] * 2
    assert books.accounts[transit].restrictions == Restriction.RESERVED


# Closing


def test_only_an_empty_account_is_closed(books: SpecialBooks) -> None:
    assert reasons(books, close(1, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]
    post(books, ask(1, PAYER, PAYEE, 1_001))
    post(books, ask(2, PAYER, PAYEE, 999))
    assert reasons(books, close(2, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]
    post(books, ask(3, PAYER, PAYEE, 1))
    assert reasons(books, close(3, PAYER)) == [0]
    assert reasons(books, a_change(4, PAYER, floor=0)) == [Refusal.DEBIT_ACCOUNT_CLOSED]


def test_an_overdrawn_account_is_not_closed(books: SpecialBooks) -> None:
    books.accounts[SECOND].floor_minor = -1
    post(books, ask(1, SECOND, PAYEE, 1))
    assert reasons(books, close(1, SECOND)) == [Refusal.ACCOUNT_NOT_EMPTY]


def test_an_account_with_a_hold_on_its_overdraft_is_not_closed(books: SpecialBooks) -> None:
    books.accounts[SECOND].floor_minor = -10
    command(books, place(1, SECOND, 10))
    assert books.accounts[SECOND].balance_minor == 0
    assert reasons(books, close(1, SECOND)) == [Refusal.ACCOUNT_NOT_EMPTY]
    command(books, release(2, 1, SECOND))
    assert reasons(books, close(2, SECOND)) == [0]


def test_a_hold_whose_time_has_come_keeps_an_account_open_until_its_expiry_is_booked(books: SpecialBooks) -> None:
    books.accounts[SECOND].floor_minor = -10
    command(books, place(1, SECOND, 10, seconds=1))
    books.wait(2)
    assert reasons(books, close(1, SECOND)) == [Refusal.ACCOUNT_NOT_EMPTY]


def close_after(books: SpecialBooks, *asked: Ask | SpecialAsk, account: int = PAYER) -> tuple[Draft, int]:
    """Post transfers and close an account in the same draft; give the draft and why not."""
    draft = books.draft()
    posting.post(draft, columns(asked))
    decided = changes.change(draft, close(900 + books.sequence, account), 1)
    assert decided is not None
    return draft, decided.refusal


def acknowledge(books: SpecialBooks, through: int, *refused: tuple[Crossing, int]) -> None:
    draft = books.draft()
    posting.acknowledge(draft, 2, through, refused)
    books.commit(draft)


def test_an_account_whose_money_may_come_back_is_not_closed(books: SpecialBooks) -> None:
    draft, reason = close_after(books, ask(1, PAYER, FAR, 1_000, peer_id=2))
    assert draft.state(PAYER).balance_minor == 0
    assert reason == Refusal.ACCOUNT_NOT_EMPTY  # In the same draft,
    books.commit(draft)
    assert reasons(books, close(1, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]  # and later on.
    acknowledge(books, 1)
    assert reasons(books, close(2, PAYER)) == [0]


def test_money_that_came_back_keeps_an_account_open(books: SpecialBooks) -> None:
    post(books, ask(1, PAYER, FAR, 1_000, peer_id=2))
    acknowledge(books, 1, (books.sent[2][0], Refusal.CREDIT_ACCOUNT_CLOSED))
    assert reasons(books, close(1, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]
    assert books.accounts[PAYER].balance_minor == 1_000


@pytest.mark.parametrize("account", [PAYER, SECOND], ids=["pays the fee", "earns the fee"])
def test_both_sides_of_a_crossings_further_legs_stay_open(books: SpecialBooks, account: int) -> None:
    crossing = legs(1, (PAYEE, FAR, 1_000), (PAYER, SECOND, 1_000), (SECOND, FEES, 1_000), peer_id=2)
    draft, reason = close_after(books, crossing, account=account)
    assert draft.state(account).balance_minor == 0
    assert reason == Refusal.ACCOUNT_NOT_EMPTY
    books.commit(draft)
    assert reasons(books, close(1, account)) == [Refusal.ACCOUNT_NOT_EMPTY]
    acknowledge(books, 1)
    assert reasons(books, close(2, account)) == [0]


def test_a_capture_that_crosses_keeps_its_payer_open(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 1_000))
    draft, reason = close_after(books, capture(2, 1, PAYER, FAR, 1_000, peer_id=2))
    assert (draft.state(PAYER).balance_minor, draft.state(PAYER).held_minor) == (0, 0)
    assert reason == Refusal.ACCOUNT_NOT_EMPTY


def test_a_refused_crossing_keeps_nobody_open(books: SpecialBooks) -> None:
    refused = ask(1, PAYER, FAR, 1_000, peer_id=2, payee_refusal=Refusal.CREDIT_ACCOUNT_CLOSED)
    fees_too = legs(2, (PAYER, FAR, 500), (PAYER, FEES, 501), peer_id=2)
    others = ask(4, FEES, FAR, 1_000, peer_id=2)
    _, reason = close_after(books, refused, fees_too, ask(3, PAYER, PAYEE, 1_000), others)
    assert reason == 0


def test_nobody_pays_or_is_paid_after_closing_in_the_same_draft(books: SpecialBooks) -> None:
    draft, reason = close_after(books, ask(1, PAYER, PAYEE, 1_000))
    assert reason == 0
    late = posting.post(draft, columns([ask(2, PAYEE, PAYER, 1), ask(3, PAYER, PAYEE, 1)]))
    assert late.refusals == [Refusal.CREDIT_ACCOUNT_CLOSED, Refusal.DEBIT_ACCOUNT_CLOSED]
    books.commit(draft)


# Ids


def test_a_repeated_change_gives_its_first_answer_and_does_nothing(books: SpecialBooks) -> None:
    freeze, thaw = a_change(1, PAYER, state=FROZEN), a_change(2, PAYER, state=ACTIVE)
    assert change(books, freeze, thaw, freeze) == [ChangeDecision(freeze.fingerprint, 0)] * 1 + [
        ChangeDecision(thaw.fingerprint, 0),
        ChangeDecision(freeze.fingerprint, 0),
    ]
    sequence = books.sequence
    assert change(books, freeze) == [ChangeDecision(freeze.fingerprint, 0)]
    assert (books.accounts[PAYER].restrictions, books.sequence) == (ACTIVE, sequence)


def test_a_refused_change_stays_refused_when_it_would_succeed_now(books: SpecialBooks) -> None:
    assert reasons(books, close(1, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]
    post(books, ask(1, PAYER, PAYEE, 1_000))
    assert reasons(books, close(1, PAYER)) == [Refusal.ACCOUNT_NOT_EMPTY]
    assert books.accounts[PAYER].restrictions == ACTIVE
    assert reasons(books, close(2, PAYER)) == [0]


def test_an_id_names_one_change_only(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, floor=-5), a_change(2, PAYER, state=PENDING))
    others = a_change(1, PAYER, floor=-6), a_change(1, SECOND, floor=-5), a_change(2, PAYER, state=FROZEN)
    sequence = books.sequence
    assert change(books, *others) == [None, None, None]
    assert (books.accounts[PAYER].floor_minor, books.sequence) == (-5, sequence)


def test_a_change_and_a_transfer_may_bear_the_same_id(books: SpecialBooks) -> None:
    assert reasons(books, a_change(1, PAYER, floor=-5)) == [0]
    assert post(books, ask(1, PAYER, PAYEE, 1)).errors == {}


def test_every_change_is_recorded_with_what_it_replaced(books: SpecialBooks) -> None:
    first, second = a_change(1, PAYER, floor=-5, allowance=Allowance(9)), a_change(2, PAYER, state=FROZEN, floor=-6)
    refused, nowhere = close(3, PAYER), close(4, 99)
    draft = books.draft()
    for actor_id, one in enumerate((first, second, refused, nowhere, first), 11):
        changes.change(draft, one, actor_id)
    assert [tuple(row) for row in draft.changes] == [
        (1, first, 11, 0, ACTIVE, 0, None),
        (2, second, 12, 0, ACTIVE, -5, Allowance(9)),
        (3, refused, 13, Refusal.STATE_MAY_NOT_FOLLOW, FROZEN, -6, Allowance(9)),
        (4, nowhere, 14, Refusal.DEBIT_ACCOUNT_NOT_FOUND, 0, 0, None),
    ]
    assert draft.altered == {PAYER}


def test_a_refused_change_changes_nothing_of_what_it_asks(books: SpecialBooks) -> None:
    asked = a_change(1, PAYER, state=CLOSED, floor=-5, allowance=Allowance(day_count_max=0), cap=0)
    assert reasons(books, asked) == [Refusal.ACCOUNT_NOT_EMPTY]
    assert post(books, ask(1, PAYER, PAYEE, 1_000)).outcomes == [POSTED]
    assert books.caps == {}


def test_a_cap_needs_a_customer(books: SpecialBooks) -> None:
    books.open(FEES + 97)
    decided = change(books, a_change(1, FEES + 97, cap=100), a_change(2, PAYER, cap=100))
    assert [one.refusal for one in decided if one is not None] == [Refusal.CUSTOMER_MISSING, 0]
