"""Fees as the books take them: with the transfer or not at all, marked, outside of limits and reversals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_books import CZK, Ask, MemoryBooks, an_id, customer_account
from memory_special import (
    SpecialAsk,
    SpecialBooks,
    a_change,
    capture,
    change,
    columns,
    command,
    place,
    post,
    refusal,
    reverse,
)

from services.domain.chart import Code, internal_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Allowance, Flag, Leg, Relation, Special
from services.ledger.jobs import RehearseJob

PAYER, PAYEE, OTHER = (customer_account(1, serial) for serial in (1, 2, 3))
FAR = customer_account(2, 1)
INCOME = internal_account(1, Code.FEES, CZK)
POSTED, REFUSED = Outcome.POSTED, Outcome.REFUSED
DEEP = -(10**12)


def bank(funds: int = 1_000, floor: int = 0) -> SpecialBooks:
    books = SpecialBooks()
    books.open(INCOME, floor=DEEP)
    books.open(PAYER, funds, floor=floor)
    books.open(PAYEE)
    books.open(OTHER, 1_000)
    return books


@pytest.fixture
def books() -> SpecialBooks:
    return bank()


def fee(amount: int, payer: int = PAYER) -> Leg:
    return Leg(payer, INCOME, amount, CZK, True)


def charged(number: int, amount: int, fee_minor: int, payee: int = PAYEE, **more) -> Ask:
    return Ask(an_id(number), (Leg(PAYER, payee, amount, CZK), fee(fee_minor)), **more)


def balances(books: MemoryBooks) -> list[int]:
    return [books.accounts[number].balance_minor for number in (PAYER, PAYEE, INCOME)]


def test_a_fee_is_income_of_the_bank_and_marked_in_the_books(books: SpecialBooks) -> None:
    assert post(books, charged(1, 100, 7)).outcomes == [POSTED]
    assert balances(books) == [893, 100, 7]
    assert books.legs[1] == (Leg(PAYER, PAYEE, 100, CZK), Leg(PAYER, INCOME, 7, CZK, True))
    assert books.transfers[1].leg_count == 2


@pytest.mark.parametrize("floor", [0, -50])
def test_the_last_cent_may_go_to_amount_and_fee_together_but_not_one_more(floor: int) -> None:
    books = bank(100, floor)
    free = 100 - floor
    assert refusal(books, charged(1, free - 10, 11)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, charged(1, free, 1)) == Refusal.INSUFFICIENT_FUNDS
    assert post(books, charged(1, free - 10, 10)).refusals == [0]
    assert balances(books)[0] == floor


def test_a_refused_fee_keeps_the_whole_transfer_from_the_books(books: SpecialBooks) -> None:
    answers = post(books, charged(1, 995, 6), charged(2, 995, 5))
    assert (answers.outcomes, balances(books)) == ([REFUSED, POSTED], [0, 995, 5])
    assert books.legs[1][1].is_fee
    assert [entry[0] for entry in books.entries[INCOME]] == [4]


def test_fees_count_towards_no_limit(books: SpecialBooks) -> None:
    allowance = Allowance(transfer_minor_max=100, day_minor_max=100, day_count_max=1)
    assert change(books, a_change(1, PAYER, allowance=allowance))
    assert post(books, charged(2, 100, 50)).refusals == [0]
    assert refusal(books, charged(3, 1, 1)) == Refusal.DAY_AMOUNT_LIMIT
    spent = books.accounts[PAYER].spent
    assert spent is not None
    assert (spent.minor, spent.times) == (100, 1)


def test_several_payers_bear_each_their_fee_all_or_nothing(books: SpecialBooks) -> None:
    moves = (Leg(PAYER, PAYEE, 100, CZK), Leg(OTHER, PAYEE, 200, CZK))
    assert post(books, Ask(an_id(1), (*moves, fee(3), fee(4, OTHER)))).refusals == [0]
    assert (balances(books), books.accounts[OTHER].balance_minor) == ([897, 300, 7], 796)
    assert refusal(books, Ask(an_id(2), (*moves, fee(3), fee(597, OTHER)))) == Refusal.INSUFFICIENT_FUNDS
    assert post(books, Ask(an_id(3), (*moves, fee(3), fee(596, OTHER)))).refusals == [0]


def test_the_fee_of_a_capture_comes_from_free_funds_and_the_rest_of_the_hold_is_free(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 1_000))
    asked = capture(2, 1, PAYER, PAYEE, 990)
    too_much, enough = (SpecialAsk(charged(2, 990, minor), asked.special) for minor in (11, 10))
    assert refusal(books, too_much) == Refusal.INSUFFICIENT_FUNDS
    assert post(books, enough).refusals == [0]
    assert balances(books) == [0, 990, 10]
    assert books.relations == [(2, Relation.CAPTURES, an_id(1), 990)]


@pytest.mark.parametrize(("fee_minor", "expected"), [(100, 0), (101, Refusal.INSUFFICIENT_FUNDS)])
def test_the_fee_of_a_capture_leaves_other_holds_alone(books: SpecialBooks, fee_minor: int, expected: int) -> None:
    command(books, place(1, PAYER, 500), place(2, PAYER, 400))
    special = capture(3, 1, PAYER, PAYEE, 500).special
    assert refusal(books, SpecialAsk(charged(3, 500, fee_minor), special)) == expected


def test_a_capture_refused_for_its_fee_leaves_the_hold_open(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 1_000))
    special = capture(2, 1, PAYER, PAYEE, 1_000).special
    assert post(books, SpecialAsk(charged(2, 1_000, 1), special)).refusals == [Refusal.INSUFFICIENT_FUNDS]
    assert post(books, SpecialAsk(charged(3, 900, 100), special)).refusals == [0]


def test_a_reversal_gives_back_the_legs_that_were_asked_for_and_keeps_the_fee(books: SpecialBooks) -> None:
    post(books, charged(1, 100, 7))
    assert refusal(books, reverse(2, 1, (PAYEE, PAYER, 100), (INCOME, PAYER, 7))) == Refusal.REVERSAL_MISMATCH
    assert post(books, reverse(2, 1, (PAYEE, PAYER, 60)), reverse(3, 1, (PAYEE, PAYER, 40))).refusals == [0, 0]
    assert refusal(books, reverse(4, 1, (PAYEE, PAYER, 1))) == Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert balances(books) == [993, 0, 7]


@pytest.mark.parametrize(("agreed", "refused"), [(7, 0), (8, 0), (6, Refusal.FEE_EXCEEDS_MAXIMUM), (None, 0)])
def test_a_fee_above_what_was_agreed_to_is_refused_for_that_reason(
    books: SpecialBooks, agreed: int | None, refused: int
) -> None:
    asked = SpecialAsk(charged(1, 100, 7), Special(fee_minor_max=agreed))
    assert refusal(books, asked) == refused
    poor = SpecialAsk(charged(1, 5_000, 7), Special(fee_minor_max=agreed))
    assert refusal(books, poor) == (refused or Refusal.INSUFFICIENT_FUNDS)


def test_a_repeat_with_another_fee_gives_the_first_outcome_with_the_first_fee(books: SpecialBooks) -> None:
    asked = [columns([charged(1, 100, minor)]) for minor in (7, 9)]
    asked.append(columns([Ask(an_id(1), (Leg(PAYER, PAYEE, 100, CZK),))]))
    for one in asked:
        one.fingerprints = [5]
    for expected, one in zip([[], [0], [0]], asked, strict=True):
        draft = books.draft()
        answers = posting.post(draft, one)
        books.commit(draft)
        assert (answers.outcomes, answers.errors, answers.repeats) == ([POSTED], {}, expected)
    assert balances(books) == [893, 100, 7]


def test_a_crossing_takes_its_fee_and_gives_it_back_when_it_returns(books: SpecialBooks) -> None:
    post(books, charged(1, 100, 7, FAR, peer_id=2))
    assert balances(books) == [893, 0, 7]
    (sent,) = books.sent[2]
    draft = books.draft()
    posting.acknowledge(draft, 2, 1, [(sent, Refusal.CREDIT_ACCOUNT_CLOSED)])
    books.commit(draft)
    assert balances(books) == [1_000, 0, 0]
    assert books.legs[3][1] == Leg(INCOME, PAYER, 7, CZK, True)


async def test_a_rehearsal_judges_each_by_itself_and_writes_nothing(books: SpecialBooks) -> None:
    waived = SpecialAsk(Ask(an_id(4), (Leg(PAYER, PAYEE, 1_000, CZK),)), Special(flags=Flag.FEES_WAIVED))
    asked = [charged(1, 900, 7), charged(2, 900, 7), charged(3, 994, 7), waived]
    draft = books.draft()
    answers = RehearseJob(columns(asked), 0.0).decide(draft)
    assert answers.refusals == [0, 0, Refusal.INSUFFICIENT_FUNDS, 0]
    assert draft.is_empty()
    assert not (draft.entries or draft.decisions or draft.transfers or draft.touched)
    assert posting.post(draft, columns(asked[:1])).outcomes == [POSTED]


MOVES = st.lists(
    st.tuples(st.sampled_from([PAYER, OTHER]), st.integers(1, 400), st.integers(0, 60)), min_size=1, max_size=4
)


@given(st.lists(MOVES, max_size=6), st.integers(0, 900), st.integers(-300, 0))
def test_fees_follow_the_slow_obvious_rule(several: list[list[tuple[int, int, int]]], funds: int, floor: int) -> None:
    """Pay leg by leg, then the fees; whoever sinks below the floor on the way makes nothing of it happen."""
    books = bank(funds, floor)
    money = {PAYER: funds, OTHER: 1_000, PAYEE: 0, INCOME: 0}
    floors = {PAYER: floor, OTHER: 0}
    for number, moves in enumerate(several, start=1):
        fees: dict[int, int] = {}
        for payer, _, minor in moves:
            fees[payer] = fees.get(payer, 0) + minor
        legs = [Leg(payer, PAYEE, amount, CZK) for payer, amount, _ in moves]
        legs += [fee(minor, payer) for payer, minor in fees.items() if minor]
        after = dict(money)
        sound = True
        for leg in legs:
            after[leg.debit_account] -= leg.amount_minor
            after[leg.credit_account] += leg.amount_minor
            sound &= after[leg.debit_account] >= floors[leg.debit_account]
        (outcome,) = post(books, Ask(an_id(number), tuple(legs))).outcomes
        assert (outcome == POSTED) == sound
        money = after if sound else money
        assert {account: books.accounts[account].balance_minor for account in money} == money


OLD, NEW = Allowance(None, 100, 500, None), Allowance(9_000, 200, None, 7)


@pytest.mark.parametrize(
    ("own_floor", "own", "floor", "merged"),
    [
        (-50, OLD, -80, NEW),
        (-60, OLD, -60, NEW),
        (-50, Allowance(None, 150, 500, None), -80, Allowance(9_000, 150, None, 7)),
        (-50, Allowance(None, 100, None, 3), -80, Allowance(9_000, 200, None, 3)),
        (0, None, 0, Allowance(9_000, None, None, 7)),
    ],
)
def test_new_standard_limits_leave_what_was_set_for_the_account_alone(
    books: SpecialBooks, own_floor: int, own: Allowance | None, floor: int, merged: Allowance
) -> None:
    change(books, a_change(1, PAYER, floor=own_floor, allowance=own))
    moved = a_change(2, PAYER, floor=-80, allowance=NEW)
    change(books, moved._replace(floor_replaced_minor=-50, allowance_replaced=OLD))
    assert (books.accounts[PAYER].floor_minor, books.accounts[PAYER].allowance) == (floor, merged)
