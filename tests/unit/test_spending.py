"""The limits of what an account, and a customer over all accounts, may spend: no batch breaks one."""

from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_books import EUR, ask, customer_account
from memory_special import (
    HOUR,
    SpecialBooks,
    capture,
    columns,
    command,
    legs,
    overridden,
    place,
    post,
    refusal,
    reverse,
)

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import Allowance, CapKey, Flag, Leg, Spent

PAYER, SECOND, PAYEE, FAR = (*(customer_account(1, serial) for serial in (1, 2, 3)), customer_account(2, 1))
CUSTOMER, CZK, DAY = 7, 203, 24 * HOUR
POSTED, IN_TRANSIT = Outcome.POSTED, Outcome.IN_TRANSIT


@pytest.fixture
def books() -> SpecialBooks:
    """Give a customer with two accounts of 1000.00 and somebody to pay."""
    books = SpecialBooks()
    books.open(PAYER, 100_000, customer=CUSTOMER)
    books.open(SECOND, 100_000, customer=CUSTOMER)
    books.open(PAYEE, 100_000)
    return books


def allow(books: SpecialBooks, number: int = PAYER, **allowed: int) -> None:
    books.accounts[number].allowance = Allowance(**allowed)


def spent(books: SpecialBooks, number: int = PAYER) -> tuple[int, int]:
    """Tell what an account has spent on the last day that it spent anything."""
    counted = books.accounts[number].spent
    return (0, 0) if counted is None else (counted.minor, counted.times)


def spent_by_customer(books: SpecialBooks) -> tuple[int, int]:
    counted = books.caps[CapKey(CUSTOMER, CZK)].spent
    return counted.minor, counted.times


# One limit at a time


def test_a_debit_up_to_the_transfer_limit_is_posted_as_often_as_one_likes(books: SpecialBooks) -> None:
    allow(books, transfer_minor_max=500)
    answers = post(books, *(ask(n, PAYER, PAYEE, 500) for n in range(1, 6)), ask(6, PAYER, PAYEE, 501))
    assert answers.refusals == [0] * 5 + [Refusal.TRANSFER_LIMIT]
    assert books.accounts[PAYER].spent is None  # Nothing is counted for it.


def test_an_account_spends_the_days_amount_to_the_last_cent(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000)
    answers = post(
        books,
        ask(1, PAYER, PAYEE, 999),
        ask(2, PAYER, PAYEE, 2),
        ask(3, PAYER, PAYEE, 1),
        ask(4, PAYER, PAYEE, 1),
    )
    assert answers.refusals == [0, Refusal.DAY_AMOUNT_LIMIT, 0, Refusal.DAY_AMOUNT_LIMIT]
    assert spent(books) == (1_000, 2)


def test_an_account_pays_as_often_as_the_day_allows(books: SpecialBooks) -> None:
    allow(books, day_count_max=2)
    answers = post(books, *(ask(n, PAYER, PAYEE, 1) for n in range(1, 5)))
    assert answers.refusals == [0, 0, Refusal.DAY_COUNT_LIMIT, Refusal.DAY_COUNT_LIMIT]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ({"transfer_minor_max": 0}, Refusal.TRANSFER_LIMIT),
        ({"day_minor_max": 0}, Refusal.DAY_AMOUNT_LIMIT),
        ({"day_count_max": 0}, Refusal.DAY_COUNT_LIMIT),
        ({"transfer_minor_max": 0, "day_minor_max": 0, "day_count_max": 0}, Refusal.TRANSFER_LIMIT),
        ({"day_minor_max": 0, "day_count_max": 0}, Refusal.DAY_AMOUNT_LIMIT),
    ],
)
def test_a_limit_of_nothing_is_a_limit(books: SpecialBooks, allowed: dict[str, int], expected: Refusal) -> None:
    allow(books, **allowed)
    assert refusal(books, ask(1, PAYER, PAYEE, 1)) == expected
    assert refusal(books, ask(1, PAYEE, PAYER, 1)) == 0


def test_a_cap_of_nothing_is_a_cap(books: SpecialBooks) -> None:
    books.cap(CUSTOMER, 0)
    assert refusal(books, ask(1, PAYER, PAYEE, 1)) == Refusal.CUSTOMER_DAY_LIMIT


def test_a_customer_spends_the_cap_over_all_accounts_of_its_currency(books: SpecialBooks) -> None:
    books.cap(CUSTOMER, 1_000)
    in_euro, payee_in_euro = (
        books.open(customer_account(1, n), 5_000, customer=n, currency=EUR) for n in (CUSTOMER, 8)
    )
    answers = post(
        books,
        ask(1, PAYER, PAYEE, 600),
        ask(2, SECOND, PAYEE, 401),
        ask(3, SECOND, PAYEE, 400),
        ask(4, PAYER, PAYEE, 1),
        ask(5, PAYEE, PAYER, 5_000),
        ask(6, in_euro, payee_in_euro, 5_000, EUR),
    )
    assert answers.refusals == [0, Refusal.CUSTOMER_DAY_LIMIT, 0, Refusal.CUSTOMER_DAY_LIMIT, 0, 0]
    assert spent_by_customer(books) == (1_000, 2)


def test_a_transfer_between_a_customers_own_accounts_counts_for_the_cap_too(books: SpecialBooks) -> None:
    books.cap(CUSTOMER, 1_000)
    assert post(books, ask(1, PAYER, SECOND, 700), ask(2, SECOND, PAYER, 700)).refusals == [
        0,
        Refusal.CUSTOMER_DAY_LIMIT,
    ]


def test_a_crossing_counts_as_any_debit_does_and_still_does_when_it_is_returned(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000)
    books.cap(CUSTOMER, 1_000)
    assert post(books, ask(1, PAYER, FAR, 1_000, peer_id=2)).outcomes == [IN_TRANSIT]
    assert refusal(books, ask(2, PAYER, FAR, 1, peer_id=2)) == Refusal.DAY_AMOUNT_LIMIT
    draft = books.draft()
    posting.acknowledge(draft, 2, 1, [(books.sent[2][0], Refusal.CREDIT_ACCOUNT_CLOSED)])
    books.commit(draft)
    assert refusal(books, ask(2, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT
    assert (spent(books), spent_by_customer(books)) == ((1_000, 1), (1_000, 1))


def test_what_an_account_may_hold_limits_credits_only(books: SpecialBooks) -> None:
    allow(books, PAYEE, balance_minor_max=100_100)
    answers = post(books, ask(1, PAYER, PAYEE, 101), ask(2, PAYER, PAYEE, 100), ask(3, PAYER, PAYEE, 1))
    assert answers.refusals == [Refusal.CREDIT_BALANCE_LIMIT, 0, Refusal.CREDIT_BALANCE_LIMIT]
    assert post(books, ask(4, PAYEE, PAYER, 100_100)).outcomes == [POSTED]


def test_neither_refusals_nor_credits_nor_repeats_count(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000, day_count_max=3)
    books.cap(CUSTOMER, 1_000)
    paid = ask(1, PAYER, PAYEE, 400)
    post(books, paid, paid, ask(2, PAYER, PAYEE, 601), ask(3, PAYEE, PAYER, 9_000), ask(4, PAYER, 5, 1))
    post(books, paid)
    assert (spent(books), spent_by_customer(books)) == ((400, 1), (400, 1))


def test_a_reversal_is_not_its_payers_spending(books: SpecialBooks) -> None:
    allow(books, PAYEE, transfer_minor_max=1, day_minor_max=1, day_count_max=1)
    post(books, ask(1, PAYER, PAYEE, 400))
    assert post(books, reverse(2, 1, (PAYEE, PAYER, 400)), ask(3, PAYEE, PAYER, 1)).refusals == [0, 0]
    assert spent(books, PAYEE) == (1, 1)


def test_the_reversal_of_a_debit_does_not_give_back_what_may_be_spent(books: SpecialBooks) -> None:
    allow(books, day_minor_max=400)
    post(books, ask(1, PAYER, PAYEE, 400))
    assert post(books, reverse(2, 1, (PAYEE, PAYER, 400))).outcomes == [POSTED]
    assert refusal(books, ask(3, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT


def test_no_sum_on_the_way_leaves_int64(books: SpecialBooks) -> None:
    allow(books, day_minor_max=limits.BALANCE_MINOR_MAX)
    today = books.draft().business_date
    books.accounts[PAYER].spent = Spent(today, limits.BALANCE_MINOR_MAX, 1)
    books.accounts[PAYER].floor_minor = -limits.BALANCE_MINOR_MAX
    assert refusal(books, ask(1, PAYER, PAYEE, limits.AMOUNT_MINOR_MAX)) == Refusal.DAY_AMOUNT_LIMIT
    assert limits.BALANCE_MINOR_MAX + limits.AMOUNT_MINOR_MAX <= limits.INT64_MAX


# Days


def test_every_business_day_starts_anew(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000, day_count_max=1)
    books.cap(CUSTOMER, 1_000)
    for day in range(3):
        assert post(books, ask(2 * day, PAYER, PAYEE, 1_000)).outcomes == [POSTED]
        refused = ask(2 * day + 1, PAYER, PAYEE, 1), ask(100 + day, SECOND, PAYEE, 1)
        assert post(books, *refused).refusals == [Refusal.DAY_AMOUNT_LIMIT, Refusal.CUSTOMER_DAY_LIMIT]
        assert (spent(books), spent_by_customer(books)) == ((1_000, 1), (1_000, 1))
        books.wait(DAY)


def test_a_day_ends_with_its_last_microsecond(books: SpecialBooks) -> None:
    allow(books, day_count_max=1)
    tomorrow_us = (books.draft().business_date + 1) * DAY * 1_000_000
    books.time_us = tomorrow_us - 3
    assert post(books, ask(1, PAYER, PAYEE, 1)).booking_times_us == [tomorrow_us - 2]
    assert post(books, ask(2, PAYER, PAYEE, 1)).refusals == [Refusal.DAY_COUNT_LIMIT]
    assert post(books, ask(3, PAYER, PAYEE, 1)).booking_times_us == [tomorrow_us]
    assert spent(books) == (1, 1)


def test_a_value_date_does_not_move_what_is_spent_to_another_day(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000)
    today = books.draft().business_date
    asked = [ask(n, PAYER, PAYEE, 600, value_date=today + days) for n, days in enumerate((1, 2, -1))]
    assert post(books, *asked).refusals == [0, Refusal.DAY_AMOUNT_LIMIT, Refusal.DAY_AMOUNT_LIMIT]


# Dispensations


def test_an_override_passes_every_limit_and_counts_all_the_same(books: SpecialBooks) -> None:
    allow(books, transfer_minor_max=100, day_minor_max=100, day_count_max=1)
    books.cap(CUSTOMER, 100)
    answers = post(
        books,
        overridden(ask(1, PAYER, PAYEE, 500)),
        overridden(ask(2, PAYER, PAYEE, 500)),
        overridden(ask(3, PAYER, FAR, 500, peer_id=2)),
        ask(4, PAYER, PAYEE, 1),
        ask(5, SECOND, PAYEE, 1),
    )
    assert answers.refusals == [0, 0, 0, Refusal.DAY_AMOUNT_LIMIT, Refusal.CUSTOMER_DAY_LIMIT]
    assert (spent(books), spent_by_customer(books)) == ((1_500, 3), (1_500, 3))
    assert [row.flags for row in books.transfers.values()][:4] == [Flag.LIMITS_OVERRIDDEN] * 3 + [0]


def test_an_override_passes_no_other_rule(books: SpecialBooks) -> None:
    assert refusal(books, overridden(ask(1, PAYER, PAYEE, 100_001))) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, overridden(ask(1, PAYER, 5, 1))) == Refusal.CREDIT_ACCOUNT_NOT_FOUND
    books.accounts[PAYER].restrictions = 1
    assert refusal(books, overridden(ask(1, PAYER, PAYEE, 1))) == Refusal.DEBITS_FROZEN
    allow(books, PAYEE, balance_minor_max=0)
    assert refusal(books, overridden(ask(1, SECOND, PAYEE, 1))) == Refusal.CREDIT_BALANCE_LIMIT


def test_a_hold_is_placed_and_captured_under_an_override(books: SpecialBooks) -> None:
    allow(books, transfer_minor_max=100, day_minor_max=100)
    assert refusal(books, place(1, PAYER, 500)) == Refusal.TRANSFER_LIMIT
    assert command(books, place(1, PAYER, 500, flags=Flag.LIMITS_OVERRIDDEN)).outcomes == [POSTED]
    assert post(books, capture(2, 1, PAYER, PAYEE, 500)).outcomes == [POSTED]
    assert spent(books) == (500, 1)


# Several legs


def test_every_leg_counts_for_its_own_payer(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000, day_count_max=2)
    allow(books, SECOND, day_minor_max=1_000)
    books.cap(CUSTOMER, 1_500)
    moves = (PAYER, PAYEE, 300), (PAYER, SECOND, 700), (SECOND, PAYEE, 500), (PAYEE, PAYER, 9)
    assert post(books, legs(1, *moves)).outcomes == [POSTED]
    assert (spent(books), spent(books, SECOND), spent_by_customer(books)) == ((1_000, 2), (500, 1), (1_500, 3))


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        (((PAYER, PAYEE, 501), (PAYER, PAYEE, 1)), Refusal.TRANSFER_LIMIT),
        (((PAYER, PAYEE, 1), (PAYER, PAYEE, 501)), Refusal.TRANSFER_LIMIT),
        (((PAYER, PAYEE, 500), (PAYER, PAYEE, 401)), Refusal.DAY_AMOUNT_LIMIT),
        (((PAYER, PAYEE, 1), (PAYER, PAYEE, 1), (PAYER, PAYEE, 1)), Refusal.DAY_COUNT_LIMIT),
        (((PAYER, PAYEE, 500), (SECOND, PAYEE, 450), (SECOND, PAYEE, 1)), Refusal.CUSTOMER_DAY_LIMIT),
        (((PAYER, SECOND, 500), (PAYER, 5, 400)), Refusal.CREDIT_ACCOUNT_NOT_FOUND),
    ],
    ids=["first leg", "second leg", "amount of both", "count of all", "cap of all", "another reason"],
)
def test_what_legs_counted_is_undone_together(
    books: SpecialBooks, moves: tuple[tuple[int, int, int], ...], expected: Refusal
) -> None:
    allow(books, transfer_minor_max=500, day_minor_max=1_000, day_count_max=3)
    books.cap(CUSTOMER, 1_050)
    answers = post(books, ask(1, PAYER, PAYEE, 100), legs(2, *moves), ask(3, PAYER, PAYEE, 10))
    assert answers.refusals == [0, expected, 0]
    assert (spent(books), spent_by_customer(books)) == ((110, 2), (110, 2))
    assert books.accounts[PAYER].balance_minor == 99_890


def test_refused_legs_alone_leave_no_row_of_spending(books: SpecialBooks) -> None:
    allow(books, day_minor_max=1_000)
    books.cap(CUSTOMER, 1_000)
    draft = books.draft()
    posting.post(draft, columns([legs(1, (PAYER, PAYEE, 900), (SECOND, PAYEE, 101))]))
    assert (draft.spenders, draft.caps, draft.entries) == (set(), {}, [])


def test_undoing_legs_leaves_what_others_counted_in_the_batch_and_remembers_none_of_it(books: SpecialBooks) -> None:
    strangers = [books.open(customer_account(1, serial), 10, customer=serial) for serial in range(100, 150)]
    for number in (PAYER, *strangers):
        allow(books, number, day_minor_max=1_000)
    for customer in (CUSTOMER, *range(100, 150)):
        books.cap(customer, 1_000)
    draft = books.draft()
    debits = [ask(number, stranger, PAYEE, 1) for number, stranger in enumerate(strangers)]
    posting.post(draft, columns([*debits, ask(50, PAYER, PAYEE, 100)]))
    counted = dict(draft.caps), set(draft.spenders)
    saved = draft.save((PAYER, SECOND, PAYEE))
    assert (saved.caps.keys(), saved.spenders) == ({CapKey(CUSTOMER, CZK)}, {PAYER})
    refused = legs(51, (PAYER, PAYEE, 50), (strangers[0], PAYEE, 1), (PAYER, PAYEE, 900))
    assert posting.post(draft, columns([refused])).refusals == [Refusal.DAY_AMOUNT_LIMIT]
    assert (draft.caps, draft.spenders) == counted


def test_legs_under_an_override_are_counted_but_not_limited(books: SpecialBooks) -> None:
    allow(books, transfer_minor_max=10, day_minor_max=10, day_count_max=1)
    books.cap(CUSTOMER, 10)
    asked = legs(1, (PAYER, PAYEE, 500), (PAYER, PAYEE, 600))
    assert refusal(books, asked) == Refusal.TRANSFER_LIMIT
    assert post(books, overridden(asked)).outcomes == [POSTED]
    assert (spent(books), spent_by_customer(books)) == ((1_100, 2), (1_100, 2))


# Whatever comes


class Limits(NamedTuple):
    """What a brute-force sum must never exceed."""

    transfer: int
    amount: int
    count: int
    customer: int


def allowed(asked: tuple[Leg, ...], paid: list[Leg], most: Limits) -> bool:
    """Tell whether legs fit below all limits on top of what is paid, by adding everything up again."""
    for place_of_leg, leg in enumerate(asked):
        so_far = [*paid, *asked[:place_of_leg], leg]
        own = [one.amount_minor for one in so_far if one.debit_account == leg.debit_account]
        if leg.debit_account == PAYEE:
            continue
        of_customer = sum(one.amount_minor for one in so_far if one.debit_account != PAYEE)
        if leg.amount_minor > most.transfer or sum(own) > most.amount or len(own) > most.count:
            return False
        if of_customer > most.customer:
            return False
    return True


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    most=st.builds(Limits, st.integers(20, 60), st.integers(0, 3_000), st.integers(0, 90), st.integers(0, 5_000)),
    batches=st.integers(1, 3),
)
def test_a_thousand_racing_debits_never_break_a_limit(seed: int, most: Limits, batches: int) -> None:
    chance = Random(seed)
    books = SpecialBooks()
    allowance = Allowance(None, most.transfer, most.amount, most.count)
    for number in (PAYER, SECOND):
        books.open(number, 10**9, customer=CUSTOMER, allowance=allowance)
    books.open(PAYEE, 10**9)
    books.cap(CUSTOMER, most.customer)
    sides = [(PAYER, PAYEE), (SECOND, PAYEE), (PAYER, SECOND), (PAYEE, PAYER)]
    asked = [
        legs(n, *((*chance.choice(sides), chance.randint(1, 60)) for _ in range(chance.choice((1, 1, 1, 2, 3)))))
        for n in range(1_000)
    ]
    size = -(-len(asked) // batches)
    refusals = [one for start in range(0, 1_000, size) for one in post(books, *asked[start : start + size]).refusals]
    paid: list[Leg] = []
    for one, refused in zip(asked, refusals, strict=True):
        assert allowed(one.legs, paid, most) == (not refused)
        if not refused:
            paid += one.legs
    for number in (PAYER, SECOND):
        own = [leg.amount_minor for leg in paid if leg.debit_account == number]
        assert spent(books, number) == (sum(own), len(own))
        assert sum(own) <= most.amount
        assert len(own) <= most.count
    assert sum(leg.amount_minor for leg in paid if leg.debit_account != PAYEE) <= most.customer
