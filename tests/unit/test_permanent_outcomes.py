"""An id answers the same for ever: its first outcome to the same body, an error to another."""

import pytest
from memory_books import CZK, EUR, Ask, MemoryBooks, an_id, ask, customer_account, transfers

from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Answers, Leg, PlaceError

PAYER, PAYEE, FAR = customer_account(1, 1), customer_account(1, 2), customer_account(2, 1)


@pytest.fixture
def books() -> MemoryBooks:
    return MemoryBooks()


def post(books: MemoryBooks, *asked: Ask) -> Answers:
    """Decide transfers as one batch and commit it."""
    draft = books.draft()
    answers = posting.post(draft, transfers(asked))
    books.commit(draft)
    return answers


def balances(books: MemoryBooks) -> dict[int, int]:
    return {number: state.balance_minor for number, state in books.accounts.items()}


def test_a_repeat_gets_the_first_outcome_and_moves_nothing(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    once = ask(1, PAYER, PAYEE, 60, reference="rent")
    first = post(books, once, once)
    again = post(books, once)
    assert first.outcomes == [Outcome.POSTED] * 2
    assert (again.outcomes, again.booking_times_us) == ([Outcome.POSTED], first.booking_times_us[:1])
    assert balances(books) == {PAYER: 40, PAYEE: 60}
    assert len(books.transfers) == 1


def test_a_refused_id_stays_refused_when_the_cause_is_gone(books: MemoryBooks) -> None:
    books.add(PAYER)
    books.add(PAYEE, 100)
    answers = post(books, ask(1, PAYER, PAYEE, 60), ask(2, PAYEE, PAYER, 100), ask(1, PAYER, PAYEE, 60))
    assert answers.outcomes == [Outcome.REFUSED, Outcome.POSTED, Outcome.REFUSED]
    assert answers.refusals == [Refusal.INSUFFICIENT_FUNDS, 0, Refusal.INSUFFICIENT_FUNDS]
    assert post(books, ask(1, PAYER, PAYEE, 60)).refusals == [Refusal.INSUFFICIENT_FUNDS]


@pytest.mark.parametrize(
    "other",
    [
        ask(1, PAYER, PAYEE, 61),
        ask(1, PAYER, PAYEE, 60, reference="other"),
        ask(1, PAYER, PAYEE, 60, EUR),
        ask(1, PAYEE, PAYER, 60),
        Ask(an_id(1), (Leg(PAYER, PAYEE, 60, CZK), Leg(PAYER, PAYEE, 1, CZK))),
    ],
)
def test_an_id_with_another_body_is_an_error_and_moves_nothing(books: MemoryBooks, other: Ask) -> None:
    books.add(PAYER, 1_000)
    books.add(PAYEE, 1_000)
    answers = post(books, ask(1, PAYER, PAYEE, 60), other)
    assert answers.errors == {1: PlaceError.TRANSFER_ID_REUSED}
    assert (answers.outcomes[1], answers.booking_times_us[1]) == (0, 0)
    assert post(books, other).errors == {0: PlaceError.TRANSFER_ID_REUSED}
    assert len(books.transfers) == 1


def test_a_place_with_an_error_writes_nothing_and_leaves_its_id_free(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    draft = books.draft()
    asked = ask(1, PAYER, FAR, 60, peer_id=2, error=PlaceError.PAYEE_SHARD_UNREACHABLE)
    answers = posting.post(draft, transfers([asked]))
    assert answers.errors == {0: PlaceError.PAYEE_SHARD_UNREACHABLE}
    assert draft.is_empty()
    assert post(books, asked._replace(error=None)).outcomes == [Outcome.IN_TRANSIT]


def test_an_id_that_has_an_outcome_keeps_it_whatever_is_wrong_now(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    asked = ask(1, PAYER, FAR, 60, peer_id=2)
    post(books, asked)
    for error in PlaceError:
        answers = post(books, asked._replace(error=error, payee_refusal=Refusal.CREDIT_ACCOUNT_CLOSED))
        assert (answers.outcomes, answers.errors) == ([Outcome.IN_TRANSIT], {})
