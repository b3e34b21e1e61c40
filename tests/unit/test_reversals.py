"""The money rules of reversals: no more is given back than was moved, and none follows its own reversal."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_books import CZK, EUR, Ask, MemoryBooks, an_id, ask, crossings, customer_account
from memory_special import SpecialAsk, SpecialBooks, capture, columns, command, legs, place, post, refusal, reverse

from services.domain.chart import transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Crossing, Flag, Kind, Leg, PlaceError, Relation, Restriction

PAYER, PAYEE, THIRD, FAR = (*(customer_account(1, serial) for serial in (1, 2, 3)), customer_account(2, 1))
POSTED, REFUSED, IN_TRANSIT = Outcome.POSTED, Outcome.REFUSED, Outcome.IN_TRANSIT
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


def test_refusals_of_a_reversal_come_in_order() -> None:
    books = SpecialBooks()
    books.open(PAYER, 5_000)
    asked = back(50, AMOUNT)
    walked = [refusal(books, asked)]
    books.open(PAYEE, 0, restrictions=Restriction.CLOSED | Restriction.DEBITS_FROZEN, currency=EUR)
    walked.append(refusal(books, asked))
    books.transfers, books.legs = {1: _row(REFUSED)}, {1: (Leg(PAYER, THIRD, AMOUNT, CZK),)}
    walked.append(refusal(books, asked))
    books.transfers = {1: _row(POSTED)}
    walked.append(refusal(books, asked))
    books.legs = {1: (Leg(PAYER, PAYEE, AMOUNT - 1, CZK),)}
    walked.append(refusal(books, asked))
    books.accounts[PAYEE].currency = CZK
    walked.append(refusal(books, asked))
    books.accounts[PAYEE].restrictions = Restriction.DEBITS_FROZEN
    walked.append(refusal(books, asked))
    books.accounts[PAYEE].restrictions = 0
    walked.append(refusal(books, asked))
    books.legs = {1: (Leg(PAYER, PAYEE, AMOUNT, CZK),)}
    walked.append(refusal(books, asked))
    books.accounts[PAYEE].balance_minor = AMOUNT
    assert walked == [
        Refusal.DEBIT_ACCOUNT_NOT_FOUND,
        Refusal.ORIGINAL_NOT_FOUND,
        Refusal.ORIGINAL_NOT_POSTED,
        Refusal.REVERSAL_MISMATCH,
        Refusal.DEBIT_CURRENCY_MISMATCH,
        Refusal.DEBIT_ACCOUNT_CLOSED,
        Refusal.DEBITS_FROZEN,
        Refusal.REVERSAL_EXCEEDS_ORIGINAL,
        Refusal.INSUFFICIENT_FUNDS,
    ]
    assert walked == sorted(walked)
    assert refusal(books, asked) == 0
