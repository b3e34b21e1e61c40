"""The money rules of crossings: each lands once or is given back once, whatever is repeated."""

from collections.abc import Callable

import pytest
from memory_books import CZK, EUR, MemoryBooks, ask, crossings, customer_account, transfers

from services.domain import limits
from services.domain.chart import transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Kind, PlaceError, Restriction
from services.ledger.traffic import Crossing

PAYER, PAYEE = customer_account(1, 1), customer_account(2, 1)


@pytest.fixture
def payer_books() -> MemoryBooks:
    """Give shard 1, where everybody pays from."""
    books = MemoryBooks(1)
    books.add(PAYER, 1_000)
    return books


@pytest.fixture
def payee_books() -> MemoryBooks:
    """Give shard 2, where crossings land."""
    books = MemoryBooks(2)
    books.add(PAYEE)
    return books


def send(books: MemoryBooks, *amounts: int, first_id: int = 1) -> list[Crossing]:
    """Send crossings to shard 2 and return all sent so far."""
    asked = [ask(first_id + i, PAYER, PAYEE, amount, peer_id=2) for i, amount in enumerate(amounts)]
    draft = books.draft()
    assert set(posting.post(draft, transfers(asked)).outcomes) == {Outcome.IN_TRANSIT}
    books.commit(draft)
    return books.sent[2]


def land(books: MemoryBooks, sent: list[Crossing]) -> int:
    """Land crossings as one batch; tell how far they have come."""
    draft = books.draft()
    posting.land(draft, crossings(1, sent))
    books.commit(draft)
    return draft.watermarks(1).landed_through


def acknowledge(books: MemoryBooks, through: int, *refused: tuple[Crossing, int]) -> None:
    draft = books.draft()
    posting.acknowledge(draft, 2, through, refused)
    books.commit(draft)


def credited(books: MemoryBooks) -> list[int]:
    return [amount for _, amount, _ in books.entries.get(PAYEE, [])]


# Landing


def test_crossings_land_in_order_and_are_paid_from_the_transit_account(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    sent = send(payer_books, 10, 20)
    assert land(payee_books, sent) == 2
    assert credited(payee_books) == [10, 20]
    assert payee_books.accounts[transit_account(2, 1, CZK)].balance_minor == -30
    assert payer_books.accounts[transit_account(1, 2, CZK)].balance_minor == 30
    row = payee_books.transfers[1]
    assert (row.kind, row.debit_account, row.credit_account, row.transfer_id) == (
        Kind.LANDING,
        PAYER,
        PAYEE,
        sent[0].transfer_id,
    )


def test_what_has_landed_is_passed_over(payer_books: MemoryBooks, payee_books: MemoryBooks) -> None:
    sent = send(payer_books, 10, 20, 30, 40)
    assert land(payee_books, sent[:2]) == 2
    assert land(payee_books, sent[:2]) == 2
    assert land(payee_books, sent[:1]) == 2
    assert land(payee_books, sent[1:3]) == 3
    assert land(payee_books, sent) == 4
    assert credited(payee_books) == [10, 20, 30, 40]
    assert payee_books.refused == {}


def test_nothing_lands_beyond_a_gap(payer_books: MemoryBooks, payee_books: MemoryBooks) -> None:
    sent = send(payer_books, 10, 20, 30)
    draft = payee_books.draft()
    posting.land(draft, crossings(1, sent[1:]))
    assert draft.is_empty()
    assert land(payee_books, sent[:1]) == 1
    assert land(payee_books, sent[2:]) == 1
    assert land(payee_books, sent[1:]) == 3
    assert credited(payee_books) == [10, 20, 30]


def test_the_same_crossings_twice_in_one_batch_land_once(payer_books: MemoryBooks, payee_books: MemoryBooks) -> None:
    sent = send(payer_books, 10, 20, 30)
    draft = payee_books.draft()
    posting.land(draft, crossings(1, sent[:2]))
    posting.land(draft, crossings(1, sent))
    payee_books.commit(draft)
    assert credited(payee_books) == [10, 20, 30]
    assert draft.crossings_landed == [(1, 2, 1, 1), (3, 3, 3, 1)]


def test_a_dropped_landing_can_be_repeated(payer_books: MemoryBooks, payee_books: MemoryBooks) -> None:
    sent = send(payer_books, 10)
    posting.land(payee_books.draft(), crossings(1, sent))
    assert land(payee_books, sent) == 1
    assert credited(payee_books) == [10]


def test_peers_have_watermarks_of_their_own(payer_books: MemoryBooks, payee_books: MemoryBooks) -> None:
    sent = send(payer_books, 10)
    assert land(payee_books, sent) == 1
    draft = payee_books.draft()
    posting.land(draft, crossings(3, [sent[0]._replace(transfer_id=b"3" * 16)]))
    payee_books.commit(draft)
    assert credited(payee_books) == [10, 10]
    assert payee_books.accounts[transit_account(2, 3, CZK)].balance_minor == -10


def change(**facts: int) -> Callable[[MemoryBooks], None]:
    def apply(books: MemoryBooks) -> None:
        for name, value in facts.items():
            setattr(books.accounts[PAYEE], name, value)

    return apply


def forget_the_id(books: MemoryBooks) -> None:
    books.decisions.clear()


# As in test_posting.py: all is wrong at first, each row mends one thing.
MENDED_ONE_BY_ONE: list[tuple[Refusal, Callable[[MemoryBooks], None]]] = [
    (
        Refusal.CREDIT_ACCOUNT_NOT_FOUND,
        lambda books: books.add(PAYEE, limits.BALANCE_MINOR_MAX - 9, currency=EUR, restrictions=7) and None,
    ),
    (Refusal.CREDIT_CURRENCY_MISMATCH, change(currency=CZK)),
    (Refusal.CREDIT_ACCOUNT_CLOSED, change(restrictions=Restriction.CREDITS_FROZEN)),
    (Refusal.CREDITS_FROZEN, change(restrictions=Restriction.DEBITS_FROZEN)),
    (Refusal.CREDIT_BALANCE_LIMIT, change(balance_minor=limits.BALANCE_MINOR_MAX - 10)),
    (Refusal.TRANSFER_ID_TAKEN, forget_the_id),
]


def test_refusals_of_a_landing_come_in_order(payer_books: MemoryBooks) -> None:
    sent = send(payer_books, 10)
    books = MemoryBooks(2)
    books.add(customer_account(2, 2), 10)
    draft = books.draft()
    posting.post(draft, transfers([ask(1, customer_account(2, 2), customer_account(2, 3), 1)]))
    books.commit(draft)
    walked = []
    for _, mend in MENDED_ONE_BY_ONE:
        draft = books.draft()
        posting.land(draft, crossings(1, sent))
        walked.extend(refusal for _, _, refusal in draft.crossings_refused)
        mend(books)
    assert walked == [expected for expected, _ in MENDED_ONE_BY_ONE]
    assert walked == sorted(walked)
    assert land(books, sent) == 1
    assert books.accounts[PAYEE].balance_minor == limits.BALANCE_MINOR_MAX


def test_an_exhausted_transit_account_refuses_instead_of_overflowing(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    payee_books.add(
        transit_account(2, 1, CZK), 10 - limits.BALANCE_MINOR_MAX, floor=-limits.BALANCE_MINOR_MAX, restrictions=8
    )
    assert land(payee_books, send(payer_books, 10, 1)) == 2
    assert payee_books.refused == {1: {2: Refusal.CREDIT_BALANCE_LIMIT}}
    assert credited(payee_books) == [10]


def test_a_refused_crossing_stays_refused_and_does_not_hold_up_the_others(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    sent = send(payer_books, 10, 20, 30)
    sent[1] = sent[1]._replace(credit_account=customer_account(2, 9))
    assert land(payee_books, sent) == 3
    payee_books.add(customer_account(2, 9))
    assert land(payee_books, sent) == 3
    assert payee_books.refused == {1: {2: Refusal.CREDIT_ACCOUNT_NOT_FOUND}}
    assert credited(payee_books) == [10, 30]
    # Number n of a landed row has sequence first_sequence + n - first_number, refused ones included.
    assert [sequence for sequence, _, _ in payee_books.entries[PAYEE]] == [1, 3]


def test_an_id_that_means_something_on_the_payees_shard_is_not_landed(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    sent = send(payer_books, 10, 20)
    draft = payee_books.draft()
    posting.post(draft, transfers([ask(1, PAYEE, customer_account(2, 2), 1)]))
    posting.land(draft, crossings(1, sent))
    payee_books.commit(draft)
    assert payee_books.refused == {1: {1: Refusal.TRANSFER_ID_TAKEN}}
    assert credited(payee_books) == [20]


def test_the_id_of_a_landed_crossing_cannot_be_used_on_the_payees_shard(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    land(payee_books, send(payer_books, 10))
    for fingerprint in (7, 0):  # A landing has the fingerprint 0, which a body may have too.
        asked = transfers([ask(1, PAYER, PAYEE, 10)])
        asked.fingerprints = [fingerprint]
        answers = posting.post(payee_books.draft(), asked)
        assert answers.errors == {0: PlaceError.TRANSFER_ID_REUSED}


def test_the_id_of_a_refused_landing_is_still_free_on_the_payees_shard(
    payer_books: MemoryBooks, payee_books: MemoryBooks
) -> None:
    payee_books.accounts[PAYEE].restrictions = Restriction.CREDITS_FROZEN
    payee_books.add(customer_account(2, 2))
    land(payee_books, send(payer_books, 10))
    answers = posting.post(payee_books.draft(), transfers([ask(1, PAYEE, customer_account(2, 2), 1)]))
    assert (answers.errors, answers.refusals) == ({}, [Refusal.INSUFFICIENT_FUNDS])


# Acknowledging and giving back


def test_an_acknowledged_crossing_stays_with_the_payee(payer_books: MemoryBooks) -> None:
    send(payer_books, 10, 20)
    acknowledge(payer_books, 2)
    assert payer_books.peers[2].acknowledged_through == 2
    assert payer_books.accounts[PAYER].balance_minor == 970
    assert payer_books.returned == {}


def test_a_refused_crossing_is_given_back_once(payer_books: MemoryBooks) -> None:
    sent = send(payer_books, 10, 20, 30)
    refused = (sent[1], Refusal.CREDIT_ACCOUNT_CLOSED)
    for through in (2, 2, 3, 1):
        acknowledge(payer_books, through, refused)
    assert payer_books.peers[2].acknowledged_through == 3
    assert payer_books.returned == {2: {2: Refusal.CREDIT_ACCOUNT_CLOSED}}
    assert payer_books.accounts[PAYER].balance_minor == 960
    assert payer_books.accounts[transit_account(1, 2, CZK)].balance_minor == 40
    returned = payer_books.transfers[payer_books.sequence]
    assert (returned.kind, returned.transfer_id) == (Kind.RETURN, sent[1].transfer_id)
    assert (returned.debit_account, returned.credit_account) == (PAYEE, PAYER)


def test_a_word_that_comes_twice_in_one_batch_gives_back_once(payer_books: MemoryBooks) -> None:
    sent = send(payer_books, 10)
    draft = payer_books.draft()
    for _ in range(2):
        posting.acknowledge(draft, 2, 1, [(sent[0], Refusal.CREDITS_FROZEN)])
    payer_books.commit(draft)
    assert payer_books.accounts[PAYER].balance_minor == 1_000
    assert len(draft.crossings_returned) == 1


def test_an_old_word_is_passed_over(payer_books: MemoryBooks) -> None:
    sent = send(payer_books, 10, 20)
    acknowledge(payer_books, 2)
    draft = payer_books.draft()
    posting.acknowledge(draft, 2, 1, [(sent[0], Refusal.CREDITS_FROZEN)])
    assert draft.is_empty()


@pytest.mark.parametrize("restrictions", [Restriction.CLOSED, Restriction.CREDITS_FROZEN, Restriction.DEBITS_FROZEN])
def test_money_comes_back_whatever_became_of_the_payers_account(payer_books: MemoryBooks, restrictions: int) -> None:
    sent = send(payer_books, 10)
    payer_books.accounts[PAYER].restrictions = restrictions
    acknowledge(payer_books, 1, (sent[0], Refusal.CREDIT_ACCOUNT_CLOSED))
    assert payer_books.accounts[PAYER].balance_minor == 1_000


def test_what_was_never_sent_cannot_be_acknowledged(payer_books: MemoryBooks) -> None:
    send(payer_books, 10)
    with pytest.raises(AssertionError, match="never sent"):
        posting.acknowledge(payer_books.draft(), 2, 2, [])
