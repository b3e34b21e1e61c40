"""The money rules of reversals: no more is given back than was moved, and none follows its own reversal."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_books import CZK, EUR, MemoryBooks, an_id, ask, customer_account
from memory_special import SpecialAsk, SpecialBooks, capture, columns, command, legs, place, post, refusal, reverse

from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Allowance, Flag, Kind, Leg, Original, PlaceError, Relation, Restriction

PAYER, PAYEE, THIRD, EMPTY = (customer_account(1, serial) for serial in (1, 2, 3, 4))
POSTED, REFUSED = Outcome.POSTED, Outcome.REFUSED
ORIGINAL, AMOUNT = 1, 1_000


@pytest.fixture
def books() -> SpecialBooks:
    """Give three accounts and a transfer of 10.00 between two of them."""
    books = SpecialBooks()
    for number in (PAYER, PAYEE, THIRD):
        books.open(number, 5_000)
    post(books, ask(ORIGINAL, PAYER, PAYEE, AMOUNT))
    return books


def balances(books: MemoryBooks, *numbers: int) -> list[int]:
    return [books.accounts[number].balance_minor for number in numbers]


def back(number: int, amount: int, original: int = ORIGINAL, flags: int = 0) -> SpecialAsk:
    """Ask to give back so much of the fixture's transfer."""
    return reverse(number, original, (PAYEE, PAYER, amount), flags=flags)


# One leg


def test_a_whole_reversal_undoes_a_transfer_by_new_entries(books: SpecialBooks) -> None:
    assert post(books, back(2, AMOUNT)).outcomes == [POSTED]
    assert balances(books, PAYER, PAYEE) == [5_000, 5_000]
    assert [(row.kind, row.debit_account, row.amount_minor) for row in books.transfers.values()] == [
        (Kind.ASKED, PAYER, AMOUNT),
        (Kind.ASKED, PAYEE, AMOUNT),
    ]
    assert books.relations == [(2, Relation.REVERSES, an_id(ORIGINAL), AMOUNT)]
    assert books.decisions[an_id(ORIGINAL)].outcome == POSTED


def test_a_transfer_is_reversed_in_parts_to_the_last_cent_but_not_one_more(books: SpecialBooks) -> None:
    answers = post(books, back(2, 400), back(3, 601), back(4, 599), back(5, 2), back(6, 1), back(7, 1))
    exceeds = Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert answers.refusals == [0, exceeds, 0, exceeds, 0, exceeds]
    assert balances(books, PAYER, PAYEE) == [5_000, 5_000]
    assert refusal(books, back(8, 1)) == exceeds


def test_one_reversal_gives_back_no_more_than_the_whole(books: SpecialBooks) -> None:
    assert refusal(books, back(2, AMOUNT + 1)) == Refusal.REVERSAL_EXCEEDS_ORIGINAL


def test_a_repeated_reversal_gives_its_first_outcome_and_does_nothing(books: SpecialBooks) -> None:
    answers = post(books, back(2, 600), back(2, 600))
    again = post(books, back(2, 600), back(2, 400), back(2, 600, original=9), ask(2, PAYEE, PAYER, 600))
    assert answers.outcomes == [POSTED, POSTED]
    assert again.outcomes == [POSTED, 0, 0, 0]
    assert again.errors == dict.fromkeys((1, 2, 3), PlaceError.TRANSFER_ID_REUSED)
    assert balances(books, PAYER, PAYEE) == [4_600, 5_400]


def test_a_refused_reversal_gives_nothing_back_and_leaves_the_sum_alone(books: SpecialBooks) -> None:
    books.accounts[PAYEE].restrictions = Restriction.DEBITS_FROZEN
    assert post(books, back(2, AMOUNT)).refusals == [Refusal.DEBITS_FROZEN]
    books.accounts[PAYEE].restrictions = 0
    assert post(books, back(2, AMOUNT), back(3, AMOUNT)).refusals == [Refusal.DEBITS_FROZEN, 0]


def test_a_reversal_is_a_transfer_that_can_be_reversed_itself(books: SpecialBooks) -> None:
    post(books, back(2, 600))
    assert post(books, reverse(3, 2, (PAYER, PAYEE, 600))).outcomes == [POSTED]
    assert refusal(books, reverse(4, 2, (PAYER, PAYEE, 1))) == Refusal.REVERSAL_EXCEEDS_ORIGINAL
    # What was given back and taken again still counts as given back.
    assert refusal(books, back(4, 401)) == Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert refusal(books, back(4, 400)) == 0


def test_a_capture_can_be_reversed(books: SpecialBooks) -> None:
    command(books, place(2, PAYER, 70))
    post(books, capture(3, 2, PAYER, PAYEE, 50))
    assert refusal(books, back(4, 51, original=3)) == Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert refusal(books, back(4, 50, original=3)) == 0
    assert refusal(books, reverse(4, 2, (PAYEE, PAYER, 50))) == Refusal.ORIGINAL_NOT_FOUND  # A hold moved nothing.


def test_a_reversal_finds_an_original_of_its_own_batch(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.post(draft, columns([legs(7, *CHAIN)]))
    assert list(posting.post(draft, columns([reverse(8, 7, *MIRRORED)])).outcomes) == [POSTED]
    assert posting.post(draft, columns([reverse(9, 7, *MIRRORED)])).refusals == [Refusal.REVERSAL_EXCEEDS_ORIGINAL]
    refused = posting.post(draft, columns([ask(10, EMPTY, PAYER, 10**9), reverse(11, 10, (PAYER, PAYEE, 1))]))
    assert refused.refusals == [Refusal.DEBIT_ACCOUNT_NOT_FOUND, Refusal.ORIGINAL_NOT_POSTED]


# What is not a reversal


@pytest.mark.parametrize(
    ("move", "currency"),
    [
        ((PAYER, PAYEE, 1), CZK),
        ((PAYEE, THIRD, 1), CZK),
        ((THIRD, PAYER, 1), CZK),
    ],
    ids=["the same way", "to somebody else", "from somebody else"],
)
def test_a_reversal_runs_from_the_payee_to_the_payer(
    books: SpecialBooks, move: tuple[int, int, int], currency: int
) -> None:
    assert refusal(books, reverse(2, ORIGINAL, move, currency=currency)) == Refusal.REVERSAL_MISMATCH


def test_a_reversal_in_another_currency_is_none(books: SpecialBooks) -> None:
    assert refusal(books, reverse(2, ORIGINAL, (PAYEE, PAYER, 1), currency=EUR)) == Refusal.REVERSAL_MISMATCH


def test_a_transfer_of_one_leg_is_not_reversed_in_several(books: SpecialBooks) -> None:
    halves = (PAYEE, PAYER, 500), (PAYEE, PAYER, 500)
    assert refusal(books, reverse(2, ORIGINAL, *halves)) == Refusal.REVERSAL_MISMATCH


def test_what_is_not_in_the_books_is_not_reversed(books: SpecialBooks) -> None:
    assert post(books, back(2, 1, original=99)).refusals == [Refusal.ORIGINAL_NOT_FOUND]
    assert books.relations == []


def test_what_was_refused_is_not_reversed(books: SpecialBooks) -> None:
    post(books, ask(2, PAYER, PAYEE, 9_999))
    assert refusal(books, back(3, 1, original=2)) == Refusal.ORIGINAL_NOT_POSTED
    post(books, back(4, AMOUNT + 1))
    assert refusal(books, reverse(5, 4, (PAYER, PAYEE, 1))) == Refusal.ORIGINAL_NOT_POSTED


Mend = Callable[[SpecialBooks], object]


def original(outcome: Outcome, *, payee: int = PAYEE, amount: int = AMOUNT, given_back: int = 0) -> Mend:
    """Put an original into the books from nowhere."""
    leg = Leg(PAYER, payee, amount, CZK)
    return lambda books: books.originals.update({an_id(9): Original(an_id(9), outcome, (leg,), given_back)})


def restrict(restrictions: int) -> Mend:
    return lambda books: setattr(books.accounts[PAYEE], "restrictions", restrictions)


MENDED_ONE_BY_ONE: list[tuple[Refusal, Mend]] = [
    (
        Refusal.DEBIT_ACCOUNT_NOT_FOUND,
        lambda books: books.open(PAYEE, AMOUNT - 1, currency=EUR, restrictions=Restriction.CLOSED | 1),
    ),
    (Refusal.CREDIT_ACCOUNT_NOT_FOUND, lambda books: books.open(PAYER)),
    (Refusal.ORIGINAL_NOT_FOUND, original(REFUSED, payee=THIRD)),
    (Refusal.ORIGINAL_NOT_POSTED, original(POSTED, payee=THIRD)),
    (Refusal.REVERSAL_MISMATCH, original(POSTED, given_back=1)),
    (Refusal.DEBIT_CURRENCY_MISMATCH, lambda books: setattr(books.accounts[PAYEE], "currency", CZK)),
    (Refusal.DEBIT_ACCOUNT_CLOSED, restrict(Restriction.PENDING | Restriction.DEBITS_FROZEN | Restriction.DORMANT)),
    (Refusal.DEBIT_ACCOUNT_PENDING, restrict(Restriction.DEBITS_FROZEN | Restriction.DORMANT)),
    (Refusal.DEBITS_FROZEN, restrict(Restriction.DORMANT)),
    (Refusal.DEBIT_ACCOUNT_DORMANT, restrict(Restriction.CREDITS_FROZEN)),
    (Refusal.REVERSAL_EXCEEDS_ORIGINAL, original(POSTED)),
    (Refusal.INSUFFICIENT_FUNDS, lambda books: setattr(books.accounts[PAYEE], "balance_minor", AMOUNT)),
]


@pytest.mark.parametrize("flags", [0, Flag.OVERDRAW, Flag.LIMITS_OVERRIDDEN])
def test_refusals_of_a_reversal_come_in_order_and_a_dispensation_spares_one_at_most(flags: int) -> None:
    books = SpecialBooks()
    books.cap(7, 0)
    walked = []
    for _, mend in MENDED_ONE_BY_ONE:
        walked.append(refusal(books, back(2, AMOUNT, original=9, flags=flags)))
        mend(books)
    expected = [one for one, _ in MENDED_ONE_BY_ONE]
    assert expected == sorted(expected)
    assert walked == ([*expected[:-1], 0] if flags == Flag.OVERDRAW else expected)
    assert refusal(books, back(2, AMOUNT, original=9, flags=flags)) == 0


# Funds


def test_a_reversal_takes_only_what_the_payee_has_free(books: SpecialBooks) -> None:
    post(books, ask(2, PAYEE, THIRD, 5_500))
    command(books, place(3, PAYEE, 200))
    assert refusal(books, back(4, 301)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, back(4, 300)) == 0


def test_an_overdrawing_reversal_sets_the_payees_floor_aside_and_says_so(books: SpecialBooks) -> None:
    post(books, ask(2, PAYEE, THIRD, 5_800))
    command(books, place(3, PAYEE, 200))
    assert post(books, back(4, 600), back(5, 600, flags=Flag.OVERDRAW)).refusals == [Refusal.INSUFFICIENT_FUNDS, 0]
    assert balances(books, PAYEE) == [-400]
    assert [row.flags for row in books.transfers.values()][-1] == Flag.OVERDRAW
    assert refusal(books, back(6, 401, flags=Flag.OVERDRAW)) == Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert refusal(books, ask(6, PAYEE, THIRD, 1)) == Refusal.INSUFFICIENT_FUNDS


@given(st.lists(st.tuples(st.integers(1, 700), st.booleans(), st.booleans()), max_size=12))
def test_no_order_of_reversals_gives_back_more_than_was_moved(parts: Sequence[tuple[int, bool, bool]]) -> None:
    books = SpecialBooks()
    books.open(PAYER, AMOUNT)
    books.open(PAYEE, 200)
    post(books, ask(ORIGINAL, PAYER, PAYEE, AMOUNT), ask(2, PAYEE, PAYER, 700))
    given_back, draft = 0, books.draft()
    for number, (amount, may_overdraw, ends_batch) in enumerate(parts, 3):
        room = AMOUNT - given_back
        has = draft.state(PAYEE).balance_minor
        flags = Flag.OVERDRAW if may_overdraw else 0
        (refused,) = posting.post(draft, columns([back(number, amount, flags=flags)])).refusals
        if amount > room:
            assert refused == Refusal.REVERSAL_EXCEEDS_ORIGINAL
        else:
            assert refused == (Refusal.INSUFFICIENT_FUNDS if amount > has and not may_overdraw else 0)
        given_back += 0 if refused else amount
        if ends_batch:
            books.commit(draft)
            draft = books.draft()
    books.commit(draft)
    assert given_back <= AMOUNT
    assert balances(books, PAYER, PAYEE) == [700 + given_back, 500 - given_back]
    assert sum(amount for _, _, _, amount in books.relations) == given_back


# Several legs

CHAIN = (PAYER, PAYEE, 60), (PAYEE, THIRD, 50), (PAYER, THIRD, 40)
MIRRORED = tuple((credit, debit, amount) for debit, credit, amount in reversed(CHAIN))


def test_several_legs_are_given_back_together_once(books: SpecialBooks) -> None:
    before = balances(books, PAYER, PAYEE, THIRD)
    post(books, legs(2, *CHAIN))
    assert post(books, reverse(3, 2, *MIRRORED)).outcomes == [POSTED]
    assert balances(books, PAYER, PAYEE, THIRD) == before
    assert books.relations == [(5, Relation.REVERSES, an_id(2), 150)]
    again = refusal(books, reverse(4, 2, *MIRRORED)), refusal(books, reverse(4, 2, *MIRRORED, flags=Flag.OVERDRAW))
    assert again == (Refusal.REVERSAL_EXCEEDS_ORIGINAL, Refusal.REVERSAL_EXCEEDS_ORIGINAL)


@pytest.mark.parametrize(
    "moves",
    [
        MIRRORED[:1],
        MIRRORED[:2],
        (*MIRRORED, MIRRORED[0]),
        MIRRORED[::-1],
        CHAIN,
        (*MIRRORED[:2], (PAYEE, PAYER, 59)),
        ((THIRD, PAYER, 39), *MIRRORED[1:]),
        ((THIRD, PAYER, 41), *MIRRORED[1:]),
    ],
    ids=["one leg", "all but one", "a leg more", "another order", "the same way", "less last", "less first", "more"],
)
def test_several_legs_are_given_back_whole_or_not_at_all(
    books: SpecialBooks, moves: tuple[tuple[int, int, int], ...]
) -> None:
    post(books, legs(2, *CHAIN))
    assert refusal(books, reverse(3, 2, *moves)) == Refusal.REVERSAL_MISMATCH
    assert refusal(books, reverse(3, 2, *moves, flags=Flag.OVERDRAW)) == Refusal.REVERSAL_MISMATCH


def test_two_legs_are_given_back_whole_too(books: SpecialBooks) -> None:
    post(books, legs(2, *CHAIN[:2]))
    first, second = MIRRORED[1:]
    assert refusal(books, reverse(3, 2, first, (*second[:2], second[2] - 1))) == Refusal.REVERSAL_MISMATCH
    assert refusal(books, reverse(3, 2, first, second)) == 0


def test_a_leg_that_cannot_be_given_back_undoes_the_others(books: SpecialBooks) -> None:
    post(books, legs(2, *CHAIN))
    post(books, ask(3, THIRD, PAYER, 5_041))
    before = balances(books, PAYER, PAYEE, THIRD)
    assert post(books, reverse(4, 2, *MIRRORED)).refusals == [Refusal.INSUFFICIENT_FUNDS]
    assert balances(books, PAYER, PAYEE, THIRD) == before
    assert books.relations == []
    books.accounts[PAYEE].restrictions = Restriction.CREDITS_FROZEN
    overdrawing = reverse(5, 2, *MIRRORED, flags=Flag.OVERDRAW), reverse(6, 2, *MIRRORED, flags=Flag.OVERDRAW)
    assert post(books, overdrawing[0]).refusals == [Refusal.CREDITS_FROZEN]
    books.accounts[PAYEE].restrictions = 0
    assert post(books, overdrawing[1]).outcomes == [POSTED]
    assert balances(books, THIRD) == [-41]


def test_no_leg_of_a_reversal_is_its_payers_spending(books: SpecialBooks) -> None:
    post(books, legs(2, *CHAIN))
    for account in (PAYEE, THIRD):
        books.accounts[account].allowance = Allowance(transfer_minor_max=0, day_minor_max=0, day_count_max=0)
    assert post(books, reverse(3, 2, *MIRRORED)).outcomes == [POSTED]
    assert (books.accounts[PAYEE].spent, books.accounts[THIRD].spent) == (None, None)


def test_who_passed_all_money_on_gives_it_back_once_it_is_back(books: SpecialBooks) -> None:
    books.open(EMPTY)
    post(books, legs(2, (PAYER, EMPTY, 60), (EMPTY, THIRD, 60)))
    assert post(books, reverse(3, 2, (THIRD, EMPTY, 60), (EMPTY, PAYER, 60))).outcomes == [POSTED]
    assert balances(books, EMPTY) == [0]
