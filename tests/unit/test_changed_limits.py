"""Changed limits: in force from the next transfer of the same batch, a cap on all of a customer's accounts."""

import pytest
from memory_books import CZK, EUR, ask, customer_account
from memory_special import HOUR, SpecialBooks, a_change, change, columns, command, place, post, refusal, release

from services.domain.outcomes import Refusal
from services.ledger import changes, holds, posting
from services.ledger.books import AccountState, Allowance, Cap, CapKey, Spent
from services.ledger.change_rows import Change

PAYER, SECOND, PAYEE, THIRD = (customer_account(1, serial) for serial in (1, 2, 3, 4))
CUSTOMER, DAY = 7, 24 * HOUR
KEY = CapKey(CUSTOMER, CZK)


@pytest.fixture
def books() -> SpecialBooks:
    """Give a customer with two accounts, and somebody to pay."""
    books = SpecialBooks()
    books.open(PAYER, 1_000, customer=CUSTOMER)
    books.open(SECOND, 1_000, customer=CUSTOMER)
    books.open(PAYEE)
    return books


def around(books: SpecialBooks, *, change: Change, debit: int = PAYER, credit: int = PAYEE, amount: int) -> list[int]:
    """Decide the same transfer before and after a change of one draft; give both refusals."""
    draft = books.draft()
    refusals = posting.post(draft, columns([ask(1_000 + books.sequence, debit, credit, amount)])).refusals
    decided = changes.change(draft, change, 1)
    assert decided is not None
    assert decided.refusal == 0
    refusals += posting.post(draft, columns([ask(2_000 + books.sequence, debit, credit, amount)])).refusals
    books.commit(draft)
    return refusals


def test_a_lower_floor_is_in_force_from_the_next_transfer_on(books: SpecialBooks) -> None:
    lower = a_change(1, PAYER, floor=-500)
    assert around(books, change=lower, amount=1_500) == [Refusal.INSUFFICIENT_FUNDS, 0]
    assert books.accounts[PAYER].balance_minor == -500


def test_a_raised_floor_is_in_force_from_the_next_transfer_on(books: SpecialBooks) -> None:
    books.accounts[PAYER].floor_minor = -1_000
    higher = a_change(1, PAYER, floor=-999)
    assert around(books, change=higher, amount=1_000) == [0, Refusal.INSUFFICIENT_FUNDS]
    assert refusal(books, ask(1, PAYER, PAYEE, 999)) == 0


def test_a_floor_above_the_balance_only_forbids_to_go_lower(books: SpecialBooks) -> None:
    books.accounts[PAYER].floor_minor = -1_000
    post(books, ask(1, PAYER, PAYEE, 1_500))
    assert around(books, change=a_change(1, PAYER, floor=0), amount=1) == [0, Refusal.INSUFFICIENT_FUNDS]
    assert refusal(books, ask(2, PAYEE, PAYER, 1)) == 0


@pytest.mark.parametrize(
    ("allowance", "expected"),
    [
        (Allowance(transfer_minor_max=99), Refusal.TRANSFER_LIMIT),
        (Allowance(day_minor_max=99), Refusal.DAY_AMOUNT_LIMIT),
        (Allowance(day_count_max=0), Refusal.DAY_COUNT_LIMIT),
    ],
)
def test_a_limit_is_in_force_from_the_next_transfer_on_and_so_is_its_end(
    books: SpecialBooks, allowance: Allowance, expected: Refusal
) -> None:
    assert around(books, change=a_change(1, PAYER, allowance=allowance), amount=100) == [0, expected]
    assert around(books, change=a_change(2, PAYER, allowance=Allowance()), amount=100) == [expected, 0]
    assert books.accounts[PAYER].allowance is None


def test_a_limit_of_the_balance_is_in_force_from_the_next_credit_on(books: SpecialBooks) -> None:
    less = a_change(1, PAYEE, allowance=Allowance(balance_minor_max=150))
    assert around(books, change=less, amount=100) == [0, Refusal.CREDIT_BALANCE_LIMIT]


def test_a_new_allowance_replaces_the_old_one_whole(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, allowance=Allowance(transfer_minor_max=1)))
    change(books, a_change(2, PAYER, allowance=Allowance(day_minor_max=500)))
    assert books.accounts[PAYER].allowance == Allowance(day_minor_max=500)
    change(books, a_change(3, PAYER, floor=-1))
    assert books.accounts[PAYER].allowance == Allowance(day_minor_max=500)


# Counting begins and ends


def test_what_was_spent_before_a_limit_was_set_does_not_count(books: SpecialBooks) -> None:
    set_it = a_change(1, PAYER, allowance=Allowance(day_minor_max=100))
    assert around(books, change=set_it, amount=100) == [0, 0]
    assert refusal(books, ask(1, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT


def test_another_limit_goes_on_with_what_was_counted(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, allowance=Allowance(day_minor_max=100)))
    raise_it = a_change(2, PAYER, allowance=Allowance(day_minor_max=150, day_count_max=9))
    assert around(books, change=raise_it, amount=100) == [0, Refusal.DAY_AMOUNT_LIMIT]
    assert refusal(books, ask(1, PAYER, PAYEE, 50)) == 0
    lower_it = a_change(3, PAYER, allowance=Allowance(day_minor_max=50))
    assert around(books, change=lower_it, amount=1) == [0, Refusal.DAY_AMOUNT_LIMIT]


def test_counting_that_ended_and_begins_again_begins_anew(books: SpecialBooks) -> None:
    limit = Allowance(day_minor_max=100)
    change(books, a_change(1, PAYER, allowance=limit))
    post(books, ask(1, PAYER, PAYEE, 100))
    command(books, place(2, SECOND, 30))
    change(books, a_change(2, PAYER, allowance=Allowance(transfer_minor_max=500)))
    command(books, place(3, PAYER, 40))
    post(books, ask(4, PAYER, PAYEE, 200))
    change(books, a_change(3, PAYER, allowance=limit))
    today = books.draft().business_date
    assert books.accounts[PAYER].spent == Spent(today, 40, 1)
    command(books, release(5, 3, PAYER))
    assert books.accounts[PAYER].spent == Spent(today, 0, 0)


def test_a_hold_of_the_same_draft_counts_when_counting_begins(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 30), place(2, PAYER, 5))
    draft = books.draft()
    holds.command(draft, [place(3, PAYER, 40), release(4, 2, PAYER)], [1, 1])
    changes.change(draft, a_change(1, PAYER, allowance=Allowance(day_minor_max=100), cap=200), 1)
    books.commit(draft)
    today = draft.business_date
    assert books.accounts[PAYER].spent == Spent(today, 70, 2)
    assert books.caps[KEY] == Cap(200, Spent(today, 70, 2))


# Caps


def test_a_cap_set_on_one_account_reaches_its_siblings_at_once(books: SpecialBooks) -> None:
    set_it = a_change(1, PAYER, cap=100)
    assert around(books, change=set_it, debit=SECOND, amount=100) == [0, 0]
    assert refusal(books, ask(1, SECOND, PAYEE, 1)) == Refusal.CUSTOMER_DAY_LIMIT
    assert refusal(books, ask(1, PAYER, PAYEE, 1)) == Refusal.CUSTOMER_DAY_LIMIT
    assert books.caps == {KEY: Cap(100, Spent(books.draft().business_date, 100, 1))}


def test_a_cap_lifted_by_one_account_is_lifted_from_its_siblings_at_once(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, cap=99))
    lift = a_change(2, SECOND, cap=-1)
    assert around(books, change=lift, amount=100) == [Refusal.CUSTOMER_DAY_LIMIT, 0]
    assert not any(account.is_capped for account in books.accounts.values())
    assert books.caps[KEY].day_minor_max == -1


def test_a_cap_reaches_neither_another_customer_nor_another_currency(books: SpecialBooks) -> None:
    in_euro = books.open(THIRD, 1_000, customer=CUSTOMER, currency=EUR)
    other = books.open(customer_account(1, 5), 1_000, customer=8)
    change(books, a_change(1, PAYER, cap=0))
    capped = {number for number, account in books.accounts.items() if account.is_capped}
    assert capped == {PAYER, SECOND}
    assert refusal(books, ask(1, other, PAYEE, 1)) == 0
    assert refusal(books, place(1, in_euro, 1, currency=EUR)) == 0


def test_a_moved_cap_goes_on_with_what_was_counted(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, cap=100))
    post(books, ask(1, PAYER, PAYEE, 60), ask(2, SECOND, PAYEE, 40))
    change(books, a_change(2, SECOND, cap=150))
    assert refusal(books, ask(3, PAYER, PAYEE, 51)) == Refusal.CUSTOMER_DAY_LIMIT
    assert refusal(books, ask(3, PAYER, PAYEE, 50)) == 0
    change(books, a_change(3, SECOND, cap=10))
    assert refusal(books, ask(3, PAYER, PAYEE, 1)) == Refusal.CUSTOMER_DAY_LIMIT


def test_a_cap_lifted_and_set_in_one_draft_begins_anew_with_the_open_holds_of_all_siblings(
    books: SpecialBooks,
) -> None:
    change(books, a_change(1, PAYER, cap=100))
    command(books, place(1, SECOND, 30), place(2, PAYER, 20))
    post(books, ask(3, PAYER, PAYEE, 50))
    assert change(books, a_change(2, PAYER, cap=-1), a_change(3, PAYER, cap=60)) != [None, None]
    assert books.caps[KEY] == Cap(60, Spent(books.draft().business_date, 50, 2))
    assert all(books.accounts[number].is_capped for number in (PAYER, SECOND))
    command(books, release(4, 1, SECOND), release(5, 2, PAYER))
    assert books.caps[KEY].spent[1:] == (0, 0)


def test_lifting_a_cap_that_is_not_there_is_no_change_of_caps(books: SpecialBooks) -> None:
    draft = books.draft()
    decided = changes.change(draft, a_change(1, PAYER, cap=-1), 1)
    assert decided is not None
    assert decided.refusal == 0
    assert (draft.caps, draft.cap_changes) == ({}, {})


@pytest.mark.parametrize("is_same_draft", [True, False])
def test_an_account_opened_under_a_cap_is_under_it_too(books: SpecialBooks, is_same_draft: bool) -> None:
    draft = books.draft()
    changes.change(draft, a_change(1, PAYER, cap=100), 1)
    if not is_same_draft:
        books.commit(draft)
        draft = books.draft()
    posting.open_accounts(draft, [AccountState(THIRD, CZK, -500, customer_number=CUSTOMER)])
    refusals = posting.post(draft, columns([ask(1, THIRD, PAYEE, 70), ask(2, PAYER, PAYEE, 31)])).refusals
    books.commit(draft)
    assert refusals == [0, Refusal.CUSTOMER_DAY_LIMIT]


def test_a_cap_reaches_a_sibling_opened_earlier_in_the_same_draft(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(THIRD, CZK, -500, customer_number=CUSTOMER)])
    changes.change(draft, a_change(1, PAYER, cap=100), 1)
    assert posting.post(draft, columns([ask(1, THIRD, PAYEE, 101)])).refusals == [Refusal.CUSTOMER_DAY_LIMIT]
    changes.change(draft, a_change(2, PAYER, cap=-1), 1)
    assert posting.post(draft, columns([ask(2, THIRD, PAYEE, 101)])).refusals == [0]
    posting.open_accounts(draft, [AccountState(customer_account(1, 6), CZK, 0, customer_number=CUSTOMER)])
    books.commit(draft)
    assert not any(account.is_capped for account in books.accounts.values())


def test_a_refused_transfer_of_several_legs_forgets_no_change_before_it(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(THIRD, CZK, -500, customer_number=CUSTOMER)])
    changes.change(draft, a_change(1, THIRD, floor=-600, allowance=Allowance(day_minor_max=550), cap=560), 1)
    read = columns([ask(1, THIRD, PAYEE, 500), ask(2, THIRD, PAYEE, 1), ask(3, THIRD, PAYEE, 51)])
    read.further_legs[1] = [ask(2, THIRD, 5, 1).legs[0]]
    assert posting.post(draft, read).refusals == [0, Refusal.CREDIT_ACCOUNT_NOT_FOUND, Refusal.DAY_AMOUNT_LIMIT]
    changes.change(draft, a_change(2, THIRD, floor=-650), 1)
    books.commit(draft)
    account = books.accounts[THIRD]
    assert (account.floor_minor, account.balance_minor, account.is_capped) == (-650, -500, True)
    assert account.spent is not None
    assert account.spent[1:] == books.caps[KEY].spent[1:] == (500, 1)


def test_every_business_day_a_cap_starts_anew_whatever_was_changed_before(books: SpecialBooks) -> None:
    change(books, a_change(1, PAYER, cap=100))
    post(books, ask(1, PAYER, PAYEE, 100))
    books.wait(DAY)
    change(books, a_change(2, SECOND, cap=90))
    assert post(books, ask(2, SECOND, PAYEE, 90), ask(3, PAYER, PAYEE, 1)).refusals == [0, Refusal.CUSTOMER_DAY_LIMIT]
