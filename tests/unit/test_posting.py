"""The money rules of transfers and openings: who may pay whom, and in which order refusals come."""

from collections.abc import Callable

import pytest
from memory_books import CZK, EUR, Ask, MemoryBooks, an_id, ask, cash, customer_account, transfers

from services.domain import limits
from services.domain.chart import transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting, rules
from services.ledger.books import AccountState, Allowance, Answers, Creditor, Kind, Leg, Restriction

PAYER, PAYEE, THIRD, FAR = (
    customer_account(1, 1),
    customer_account(1, 2),
    customer_account(1, 3),
    customer_account(2, 1),
)
FROZEN = Restriction.DEBITS_FROZEN | Restriction.CREDITS_FROZEN
PENDING = FROZEN | Restriction.DORMANT | Restriction.PENDING
EVERYTHING = PENDING | Restriction.CLOSED
LITTLE = Allowance(transfer_minor_max=99, day_minor_max=99, day_count_max=0)


@pytest.fixture
def books() -> MemoryBooks:
    return MemoryBooks()


def post(books: MemoryBooks, *asked: Ask) -> Answers:
    """Decide transfers as one batch and commit it."""
    draft = books.draft()
    answers = posting.post(draft, transfers(asked))
    books.commit(draft)
    return answers


def refusal(books: MemoryBooks, asked: Ask) -> int:
    """Decide a transfer and forget it again; 0 when it is posted or in transit."""
    (decided,) = posting.post(books.draft(), transfers([asked])).refusals
    return decided


def balances(books: MemoryBooks) -> dict[int, int]:
    return {number: state.balance_minor for number, state in books.accounts.items()}


Mend = Callable[[MemoryBooks], None]


def restrict(number: int, restrictions: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "restrictions", restrictions)


def in_crowns(number: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "currency", CZK)


def balance(number: int, amount: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "balance_minor", amount)


def allow(allowance: Allowance | None) -> Mend:
    return lambda books: setattr(books.accounts[PAYER], "allowance", allowance)


def add_payer(books: MemoryBooks) -> None:
    books.add(PAYER, 99, currency=EUR, restrictions=EVERYTHING)
    books.accounts[PAYER].allowance = LITTLE


def add_payee(books: MemoryBooks) -> None:
    books.add(PAYEE, limits.BALANCE_MINOR_MAX - 99, currency=EUR, restrictions=EVERYTHING)


# Everything that can be wrong is wrong in the first row; each row mends one thing. The refusal that
# comes out must walk down the enum: that walk is the precedence, and it is part of the API.
MENDED_ONE_BY_ONE: list[tuple[Refusal, Mend]] = [
    (Refusal.DEBIT_ACCOUNT_NOT_FOUND, add_payer),
    (Refusal.CREDIT_ACCOUNT_NOT_FOUND, add_payee),
    (Refusal.DEBIT_CURRENCY_MISMATCH, in_crowns(PAYER)),
    (Refusal.CREDIT_CURRENCY_MISMATCH, in_crowns(PAYEE)),
    (Refusal.DEBIT_ACCOUNT_CLOSED, restrict(PAYER, PENDING)),
    (Refusal.DEBIT_ACCOUNT_PENDING, restrict(PAYER, FROZEN | Restriction.DORMANT)),
    (Refusal.CREDIT_ACCOUNT_CLOSED, restrict(PAYEE, PENDING)),
    (Refusal.CREDIT_ACCOUNT_PENDING, restrict(PAYEE, FROZEN | Restriction.DORMANT)),
    (Refusal.DEBITS_FROZEN, restrict(PAYER, Restriction.CREDITS_FROZEN | Restriction.DORMANT)),
    (Refusal.DEBIT_ACCOUNT_DORMANT, restrict(PAYER, Restriction.CREDITS_FROZEN)),
    (Refusal.CREDITS_FROZEN, restrict(PAYEE, Restriction.DEBITS_FROZEN | Restriction.DORMANT)),
    (Refusal.INSUFFICIENT_FUNDS, balance(PAYER, 100)),
    (Refusal.TRANSFER_LIMIT, allow(LITTLE._replace(transfer_minor_max=100))),
    (Refusal.DAY_AMOUNT_LIMIT, allow(LITTLE._replace(transfer_minor_max=100, day_minor_max=100))),
    (Refusal.DAY_COUNT_LIMIT, allow(None)),
    (Refusal.CREDIT_BALANCE_LIMIT, balance(PAYEE, limits.BALANCE_MINOR_MAX - 100)),
]


OF_SPECIAL_THINGS = {
    Refusal.REVERSED_BEFORE_ARRIVAL,
    Refusal.PROMISE_TIMED_OUT,
    Refusal.HOLD_NOT_FOUND,
    Refusal.HOLD_ALREADY_CAPTURED,
    Refusal.HOLD_ALREADY_RELEASED,
    Refusal.HOLD_ALREADY_EXPIRED,
    Refusal.ORIGINAL_NOT_FOUND,
    Refusal.ORIGINAL_NOT_POSTED,
    Refusal.REVERSAL_MISMATCH,
    Refusal.HOLD_PAYEE_MISMATCH,
    Refusal.CAPTURE_EXCEEDS_HOLD,
    Refusal.REVERSAL_EXCEEDS_ORIGINAL,
    Refusal.FEE_EXCEEDS_MAXIMUM,
    Refusal.CUSTOMER_DAY_LIMIT,
    Refusal.CUSTOMER_MISSING,
    Refusal.STATE_MAY_NOT_FOLLOW,
    Refusal.ACCOUNT_NOT_EMPTY,
    Refusal.TRANSFER_ID_TAKEN,
}
"""Reasons that a plain transfer asked for here is never given: of holds, reversals, fees, caps, changes, returns."""


def test_the_walk_shows_every_refusal_of_a_transfer_in_order() -> None:
    assert [row[0] for row in MENDED_ONE_BY_ONE] == [one for one in Refusal if one not in OF_SPECIAL_THINGS]
    assert list(Refusal) == sorted(Refusal)


def test_refusals_within_a_shard_come_in_order(books: MemoryBooks) -> None:
    asked = ask(1, PAYER, PAYEE, 100)
    walked = []
    for _, mend in MENDED_ONE_BY_ONE:
        walked.append(refusal(books, asked))
        mend(books)
    assert walked == [expected for expected, _ in MENDED_ONE_BY_ONE]
    assert refusal(books, asked) == 0


def test_refusals_of_a_crossing_come_in_the_same_order(books: MemoryBooks) -> None:
    # The payee's shard says beforehand what speaks against the payee, except for its balance limit.
    walked = []
    for _, mend in MENDED_ONE_BY_ONE[:-1]:
        payee = books.accounts.get(PAYEE)
        beforehand = rules.credit_refusal(payee, 0, CZK)
        walked.append(refusal(books, ask(1, PAYER, FAR, 100, peer_id=2, payee_refusal=beforehand)))
        mend(books)
    assert walked == [expected for expected, _ in MENDED_ONE_BY_ONE[:-1]]
    assert post(books, ask(1, PAYER, FAR, 100, peer_id=2)).outcomes == [Outcome.IN_TRANSIT]


def test_the_last_cent_can_be_spent_but_not_one_more(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    assert refusal(books, ask(1, PAYER, PAYEE, 101)) == Refusal.INSUFFICIENT_FUNDS
    assert post(books, ask(2, PAYER, PAYEE, 100)).outcomes == [Outcome.POSTED]
    assert refusal(books, ask(3, PAYER, PAYEE, 1)) == Refusal.INSUFFICIENT_FUNDS
    assert balances(books) == {PAYER: 0, PAYEE: 100}


def test_held_money_is_not_available_even_though_it_is_in_the_balance(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    books.accounts[PAYER].held_minor = 40
    assert refusal(books, ask(1, PAYER, PAYEE, 61)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, ask(1, PAYER, PAYEE, 60)) == 0


def test_an_overdraft_goes_down_to_the_floor_but_not_below(books: MemoryBooks) -> None:
    books.add(PAYER, 10, floor=-50)
    books.add(PAYEE)
    assert refusal(books, ask(1, PAYER, PAYEE, 61)) == Refusal.INSUFFICIENT_FUNDS
    assert post(books, ask(1, PAYER, PAYEE, 60)).outcomes == [Outcome.POSTED]
    assert balances(books)[PAYER] == -50


def test_an_account_can_be_filled_to_the_limit_but_not_above(books: MemoryBooks) -> None:
    books.add(PAYER, 10, floor=-limits.BALANCE_MINOR_MAX)
    books.add(PAYEE, limits.BALANCE_MINOR_MAX - limits.AMOUNT_MINOR_MAX)
    answers = post(books, ask(1, PAYER, PAYEE, limits.AMOUNT_MINOR_MAX), ask(2, PAYER, PAYEE, 1))
    assert answers.refusals == [0, Refusal.CREDIT_BALANCE_LIMIT]
    assert balances(books)[PAYEE] == limits.BALANCE_MINOR_MAX


def test_the_banks_own_account_can_be_debited_to_the_limit_but_not_below(books: MemoryBooks) -> None:
    books.add(cash(1), -limits.BALANCE_MINOR_MAX + limits.AMOUNT_MINOR_MAX, floor=-limits.BALANCE_MINOR_MAX)
    books.add(PAYEE)
    answers = post(books, ask(1, cash(1), PAYEE, limits.AMOUNT_MINOR_MAX), ask(2, cash(1), PAYEE, 1))
    assert answers.refusals == [0, Refusal.INSUFFICIENT_FUNDS]
    assert balances(books)[cash(1)] == -limits.BALANCE_MINOR_MAX


def test_no_sum_on_the_way_leaves_int64(books: MemoryBooks) -> None:
    books.add(PAYER, limits.BALANCE_MINOR_MAX)
    books.add(PAYEE, limits.BALANCE_MINOR_MAX)
    assert refusal(books, ask(1, PAYER, PAYEE, limits.AMOUNT_MINOR_MAX)) == Refusal.CREDIT_BALANCE_LIMIT
    assert limits.BALANCE_MINOR_MAX + limits.AMOUNT_MINOR_MAX <= limits.INT64_MAX


def test_a_posted_leg_is_two_entries_of_opposite_sign_with_the_balances_after_them(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE, 7)
    post(books, ask(1, PAYER, PAYEE, 30, reference="rent", value_date=20_003))
    assert books.entries == {PAYER: [(1, -30, 70)], PAYEE: [(1, 30, 37)]}
    row = books.transfers[1]
    assert (row.reference, row.value_date, row.kind, row.outcome, row.leg_count) == ("rent", 20_003, Kind.ASKED, 1, 1)


def test_a_transfer_without_a_value_date_gets_the_business_date(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    post(books, ask(1, PAYER, PAYEE, 1), ask(2, PAYER, PAYEE, 1, value_date=19_999))
    assert [row.value_date for row in books.transfers.values()] == [20_000, 19_999]


def test_a_refusal_is_written_without_entries(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    post(books, ask(1, PAYER, PAYEE, 30))
    assert not books.entries
    assert (books.transfers[1].outcome, books.transfers[1].refusal) == (
        Outcome.REFUSED,
        Refusal.CREDIT_ACCOUNT_NOT_FOUND,
    )


def test_transfers_of_a_batch_see_those_before_them(books: MemoryBooks) -> None:
    books.add(PAYER, 10)
    books.add(PAYEE)
    books.add(THIRD)
    answers = post(books, ask(1, PAYEE, THIRD, 10), ask(2, PAYER, PAYEE, 10), ask(3, PAYEE, THIRD, 10))
    assert answers.refusals == [Refusal.INSUFFICIENT_FUNDS, 0, 0]
    assert balances(books) == {PAYER: 0, PAYEE: 0, THIRD: 10}


def test_a_batch_that_is_not_committed_leaves_no_trace(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    draft = books.draft()
    posting.post(draft, transfers([ask(1, PAYER, PAYEE, 60), ask(2, PAYER, FAR, 40, peer_id=2)]))
    posting.open_accounts(draft, [AccountState(THIRD, CZK, 0)])
    assert balances(books) == {PAYER: 100, PAYEE: 0}
    assert (books.decisions, books.peers) == ({}, {})
    assert post(books, ask(1, PAYER, PAYEE, 100)).outcomes == [Outcome.POSTED]


# Several legs


def legs(number: int, *moves: tuple[int, int, int], **more) -> Ask:
    return Ask(an_id(number), tuple(Leg(*move, CZK) for move in moves), **more)


def test_several_legs_are_posted_together_each_with_a_sequence_of_its_own(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    books.add(THIRD)
    # The second leg spends what the first one brought.
    post(books, legs(1, (PAYER, PAYEE, 60), (PAYEE, THIRD, 60), (PAYER, THIRD, 40)), ask(2, THIRD, PAYER, 100))
    assert books.entries == {
        PAYER: [(1, -60, 40), (3, -40, 0), (4, 100, 100)],
        PAYEE: [(1, 60, 60), (2, -60, 0)],
        THIRD: [(2, 60, 60), (3, 40, 100), (4, -100, 0)],
    }
    assert (books.transfers[1].leg_count, sorted(books.transfers)) == (3, [1, 4])


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        (((PAYER, PAYEE, 60), (PAYER, THIRD, 41)), Refusal.INSUFFICIENT_FUNDS),
        (((PAYER, PAYEE, 60), (PAYEE, THIRD, 60), (FAR, PAYER, 1)), Refusal.DEBIT_ACCOUNT_NOT_FOUND),
        (((PAYER, PAYEE, 60), (PAYEE, THIRD, 60), (PAYER, FAR, 1)), Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (((FAR, PAYEE, 60), (PAYER, THIRD, 1)), Refusal.DEBIT_ACCOUNT_NOT_FOUND),
        (((PAYER, PAYEE, 101), (FAR, THIRD, 1)), Refusal.INSUFFICIENT_FUNDS),
    ],
    ids=["last leg", "payer unknown", "payee unknown", "first leg", "the first leg that fails gives the reason"],
)
def test_one_refused_leg_undoes_all(books: MemoryBooks, moves: tuple[tuple[int, int, int], ...], expected: int) -> None:
    books.add(PAYER, 95)
    books.add(PAYEE, 5)
    books.add(THIRD)
    answers = post(books, ask(1, PAYEE, PAYER, 5), legs(2, *moves), ask(3, PAYER, PAYEE, 5))
    assert answers.refusals == [0, expected, 0]
    assert balances(books) == {PAYER: 95, PAYEE: 5, THIRD: 0}
    assert {number: len(history) for number, history in books.entries.items()} == {PAYER: 2, PAYEE: 2}
    assert sorted(books.transfers) == [1, 2, 2 + len(moves)]


def test_all_legs_of_a_refused_transfer_are_kept_for_the_record(books: MemoryBooks) -> None:
    draft = books.draft()
    posting.post(draft, transfers([legs(1, (PAYER, PAYEE, 60), (PAYEE, THIRD, 60))]))
    assert draft.further_legs == [(2, 1, Leg(PAYEE, THIRD, 60, CZK))]
    assert draft.transfers[0].leg_count == 2


def test_who_is_paid_at_another_bank_is_kept_with_the_transfer(books: MemoryBooks) -> None:
    creditor = Creditor("KB", "CZ6508000000192000145399", "Jan Novák", "invoice 7")
    draft = books.draft()
    posting.post(draft, transfers([ask(1, PAYER, PAYEE, 1), ask(2, PAYER, PAYEE, 1, creditor=creditor)]))
    assert draft.creditors == [(2, creditor)]


# Crossings that leave


def test_crossings_to_a_peer_are_numbered_without_gaps(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    near, far = customer_account(2, 9), customer_account(3, 9)
    first = post(
        books,
        ask(1, PAYER, near, 10, peer_id=2),
        ask(2, PAYER, near, 91, peer_id=2),
        ask(3, PAYER, far, 10, peer_id=3),
        ask(4, PAYER, near, 10, peer_id=2, payee_refusal=Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        ask(5, PAYER, PAYEE, 10),
        ask(6, PAYER, near, 10, peer_id=2),
        ask(1, PAYER, near, 10, peer_id=2),
    )
    assert first.crossings == {0: (2, 1), 2: (3, 1), 5: (2, 2), 6: (2, 1)}
    posting.post(books.draft(), transfers([ask(7, PAYER, near, 1, peer_id=2)]))  # Dropped, so its number is free.
    assert post(books, ask(8, PAYER, near, 10, peer_id=2)).crossings == {0: (2, 3)}
    assert {peer_id: marks.sent_through for peer_id, marks in books.peers.items()} == {2: 3, 3: 1}
    assert balances(books)[transit_account(1, 2, CZK)] == 30
    assert balances(books)[transit_account(1, 3, CZK)] == 10


def test_a_transit_account_is_opened_once_for_each_peer_and_currency(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(THIRD, 100, currency=EUR)
    draft = books.draft()
    asked = [ask(n, PAYER, FAR, 1, peer_id=2) for n in (1, 2)] + [ask(3, THIRD, FAR, 1, EUR, peer_id=2)]
    posting.post(draft, transfers(asked))
    assert [state.number for state in draft.opened] == [transit_account(1, 2, CZK), transit_account(1, 2, EUR)]
    books.commit(draft)
    draft = books.draft()
    posting.post(draft, transfers([ask(4, PAYER, FAR, 1, peer_id=2)]))
    assert draft.opened == []


def test_to_callers_there_is_no_transit_account(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(PAYEE)
    transit = transit_account(1, 2, CZK)
    post(books, ask(1, PAYER, FAR, 50, peer_id=2))
    assert refusal(books, ask(2, transit, PAYER, 1)) == Refusal.DEBIT_ACCOUNT_NOT_FOUND
    assert refusal(books, ask(2, PAYER, transit, 1)) == Refusal.CREDIT_ACCOUNT_NOT_FOUND
    assert refusal(books, legs(2, (PAYER, PAYEE, 1), (transit, PAYER, 1))) == Refusal.DEBIT_ACCOUNT_NOT_FOUND
    assert rules.credit_refusal(books.accounts[transit], 0, CZK) == Refusal.CREDIT_ACCOUNT_NOT_FOUND


def test_a_full_transit_account_refuses_instead_of_overflowing(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    books.add(transit_account(1, 2, CZK), limits.BALANCE_MINOR_MAX - 10, restrictions=Restriction.RESERVED)
    assert refusal(books, ask(1, PAYER, FAR, 11, peer_id=2)) == Refusal.CREDIT_BALANCE_LIMIT
    assert post(books, ask(2, PAYER, FAR, 10, peer_id=2)).outcomes == [Outcome.IN_TRANSIT]


# Opening


def test_an_account_is_opened_once_and_its_facts_do_not_change(books: MemoryBooks) -> None:
    draft = books.draft()
    openings = [AccountState(PAYER, CZK, 0), AccountState(PAYEE, CZK, -5), AccountState(PAYER, EUR, 0)]
    assert posting.open_accounts(draft, openings) == [True, True, False]
    assert [state.number for state in draft.opened] == [PAYER, PAYEE]
    books.commit(draft)
    draft = books.draft()
    openings = [AccountState(PAYER, CZK, 0), AccountState(PAYEE, CZK, 0), AccountState(PAYEE, CZK, -5)]
    assert posting.open_accounts(draft, openings) == [True, False, True]
    assert draft.is_empty()


def test_an_account_opened_in_a_batch_can_be_used_in_it(books: MemoryBooks) -> None:
    books.add(PAYER, 100)
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(PAYEE, CZK, 0)])
    assert posting.post(draft, transfers([ask(1, PAYER, PAYEE, 100)])).outcomes == [Outcome.POSTED]
    books.commit(draft)
    assert balances(books) == {PAYER: 0, PAYEE: 100}
