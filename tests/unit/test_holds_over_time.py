"""Holds as time passes and commands are repeated: expiry, first outcomes, limits of the day."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_books import TODAY, an_id, ask, customer_account
from memory_special import (
    HOUR,
    SpecialBooks,
    a_change,
    capture,
    change,
    command,
    expire,
    increase,
    place,
    post,
    refusal,
    release,
)

from services.domain.outcomes import Outcome, Refusal
from services.ledger import holds, posting
from services.ledger.books import Allowance, CapKey, HoldCommand, HoldState, Kind, PlaceError, Spent

PAYER, PAYEE, THIRD = (customer_account(1, serial) for serial in (1, 2, 3))
CUSTOMER = 7
HOLD, DAY = 1, 24 * HOUR
POSTED = Outcome.POSTED

Act = Callable[[SpecialBooks], object]


@pytest.fixture
def books() -> SpecialBooks:
    """Give a payer of 100.00 and two whom it may pay."""
    books = SpecialBooks()
    books.open(PAYER, 10_000, customer=CUSTOMER)
    books.open(PAYEE)
    books.open(THIRD, customer=CUSTOMER)
    return books


def held(books: SpecialBooks) -> int:
    return books.accounts[PAYER].held_minor


# Expiry


def test_a_hold_is_good_up_to_its_last_microsecond(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40, seconds=10))
    expire_time_us = books.holds[an_id(HOLD)].expire_time_us
    books.time_us = expire_time_us - 2
    assert books.draft().booking_time_us == expire_time_us - 1
    assert expire(books, HOLD) == 0
    books.time_us = expire_time_us - 2
    assert refusal(books, capture(2, HOLD, PAYER, PAYEE, 40)) == 0
    books.time_us = expire_time_us - 1
    assert refusal(books, capture(2, HOLD, PAYER, PAYEE, 40)) == Refusal.HOLD_ALREADY_EXPIRED
    assert expire(books, HOLD) == 1


def test_a_hold_is_over_by_the_clock_though_nobody_has_noticed(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40, seconds=10))
    books.wait(10)
    assert post(books, capture(2, HOLD, PAYER, PAYEE, 40)).refusals == [Refusal.HOLD_ALREADY_EXPIRED]
    late = command(books, increase(3, HOLD, PAYER, 1, seconds=HOUR), release(4, HOLD, PAYER))
    assert late.refusals == [Refusal.HOLD_ALREADY_EXPIRED] * 2
    # Its money is free once the expiry is booked, not before: entries and balances always agree.
    assert (books.holds[an_id(HOLD)].state, held(books)) == (HoldState.OPEN, 40)
    assert refusal(books, ask(5, PAYER, PAYEE, 9_961)) == Refusal.INSUFFICIENT_FUNDS
    assert expire(books, HOLD) == 1
    assert (books.holds[an_id(HOLD)].state, held(books)) == (HoldState.EXPIRED, 0)
    assert refusal(books, ask(5, PAYER, PAYEE, 10_000)) == 0


def test_only_holds_past_their_time_expire_each_with_a_row_of_its_own(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 40, seconds=10, payee=PAYEE), place(2, PAYER, 50, seconds=20), place(3, PAYER, 60))
    books.wait(20)
    assert expire(books, 3, 2, 1, 1, 99) == 2
    assert held(books) == 60
    rows = [row for row in books.transfers.values() if row.kind == Kind.HOLD_EXPIRED]
    assert [row.sequence for row in rows] == [books.sequence - 1, books.sequence]
    assert {(row.fingerprint, row.refusal, row.leg_count) for row in rows} == {(0, 0, 1)}
    assert books.holds[an_id(3)].captured_minor == 0
    assert [(row.transfer_id, row.debit_account, row.credit_account, row.amount_minor) for row in rows] == [
        (an_id(2), PAYER, 0, 50),
        (an_id(1), PAYER, PAYEE, 40),
    ]


def test_the_money_of_a_closed_accounts_hold_would_be_freed_all_the_same(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    books.accounts[PAYER].restrictions = 3
    books.wait(HOUR)
    assert expire(books, HOLD) == 1


# Repeats


def twice(books: SpecialBooks, first: HoldCommand, again: HoldCommand | None = None) -> None:
    """Send a command, then again in another batch and twice within one."""
    once = command(books, first)
    before, sequence = held(books), books.sequence
    books.wait(1)
    for answers in (command(books, again or first), command(books, first, first)):
        count = len(answers.outcomes)
        assert answers.outcomes == once.outcomes * count
        assert answers.refusals == once.refusals * count
        assert answers.booking_times_us == once.booking_times_us * count
        assert answers.errors == {}
    assert (held(books), books.sequence) == (before, sequence)


def test_a_repeated_command_gives_its_first_outcome_and_does_nothing(books: SpecialBooks) -> None:
    twice(books, place(HOLD, PAYER, 40))
    twice(books, increase(2, HOLD, PAYER, 5))
    twice(books, release(3, HOLD, PAYER))
    twice(books, place(HOLD, PAYER, 40))
    assert held(books) == 0


def test_a_refused_command_stays_refused_when_it_would_succeed_now(books: SpecialBooks) -> None:
    refused = place(HOLD, PAYER, 10_001), increase(3, 2, PAYER, 9_999), release(4, 99, PAYER)
    command(books, place(2, PAYER, 2), *refused)
    books.accounts[PAYER].balance_minor += 100_000
    answers = command(books, *refused)
    assert answers.refusals == [
        Refusal.INSUFFICIENT_FUNDS,
        Refusal.INSUFFICIENT_FUNDS,
        Refusal.HOLD_NOT_FOUND,
    ]
    assert refusal(books, capture(5, HOLD, PAYER, PAYEE, 1)) == Refusal.HOLD_NOT_FOUND


def test_a_repeated_capture_gives_its_first_outcome_and_does_nothing(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    first = post(books, capture(2, HOLD, PAYER, PAYEE, 30))
    again = post(books, capture(2, HOLD, PAYER, PAYEE, 30), capture(2, HOLD, PAYER, PAYEE, 30))
    assert again.outcomes == first.outcomes * 2
    assert books.accounts[PAYEE].balance_minor == 30
    other = post(books, capture(2, 99, PAYER, PAYEE, 30), ask(2, PAYER, PAYEE, 30))
    assert other.errors == {0: PlaceError.TRANSFER_ID_REUSED, 1: PlaceError.TRANSFER_ID_REUSED}


def test_an_id_names_one_command_only(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40), increase(2, HOLD, PAYER, 5), place(3, PAYER, 1))
    paid = ask(4, PAYER, PAYEE, 1)
    post(books, paid)
    others = [
        place(HOLD, PAYER, 41),
        place(HOLD, PAYER, 40, payee=PAYEE),
        place(HOLD, PAYER, 40, seconds=1),
        place(2, PAYER, 5),
        increase(2, HOLD, PAYER, 6),
        increase(2, 3, PAYER, 5),
        release(2, HOLD, PAYER),
        place(4, PAYER, 1),
        place(4, PAYER, 1)._replace(fingerprint=paid.fingerprint),
    ]
    answers = command(books, *others)
    assert answers.errors == dict.fromkeys(range(len(others)), PlaceError.TRANSFER_ID_REUSED)
    assert answers.outcomes == [0] * len(others)
    assert post(books, ask(HOLD, PAYER, PAYEE, 40)).errors == {0: PlaceError.TRANSFER_ID_REUSED}
    assert held(books) == 46


def test_commands_of_a_batch_are_carried_out_in_order_whatever_became_of_others(books: SpecialBooks) -> None:
    answers = command(
        books,
        increase(2, HOLD, PAYER, 5),
        place(HOLD, PAYER, 9_990),
        place(HOLD, PAYER, 1),
        increase(3, HOLD, PAYER, 11),
        increase(4, HOLD, PAYER, 10),
        release(5, HOLD, PAYER),
        release(6, HOLD, PAYER),
    )
    assert answers.refusals == [
        Refusal.HOLD_NOT_FOUND,
        0,
        0,
        Refusal.INSUFFICIENT_FUNDS,
        0,
        0,
        Refusal.HOLD_ALREADY_RELEASED,
    ]
    assert answers.errors == {2: PlaceError.TRANSFER_ID_REUSED}
    assert len({row.sequence for row in books.transfers.values()}) == 6


# Limits of the day


def spent(books: SpecialBooks) -> tuple[int, int]:
    """Tell what counts today for the payer; the customer's cap must have counted the same."""
    today = books.draft().business_date
    of_account = books.accounts[PAYER].spent or Spent()
    of_customer = books.caps[CapKey(CUSTOMER, 203)].spent
    counts = [(one.minor, one.times) if one.business_date == today else (0, 0) for one in (of_account, of_customer)]
    assert counts[0] == counts[1]
    return counts[0]


@pytest.fixture
def limited(books: SpecialBooks) -> SpecialBooks:
    """Give a payer of at most 10 debits and 10.00 a day, both of itself and of its customer."""
    books.accounts[PAYER].allowance = Allowance(day_minor_max=1_000, day_count_max=10)
    books.cap(CUSTOMER, 1_000)
    return books


def test_a_hold_counts_when_it_is_placed_and_not_again_when_captured(limited: SpecialBooks) -> None:
    command(limited, place(HOLD, PAYER, 600))
    assert spent(limited) == (600, 1)
    command(limited, increase(2, HOLD, PAYER, 400))
    assert spent(limited) == (1_000, 1)
    assert refusal(limited, ask(3, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT
    assert refusal(limited, place(3, PAYER, 1)) == Refusal.DAY_AMOUNT_LIMIT
    assert refusal(limited, increase(3, HOLD, PAYER, 1)) == Refusal.DAY_AMOUNT_LIMIT
    assert post(limited, capture(3, HOLD, PAYER, PAYEE, 1_000)).outcomes == [POSTED]
    assert spent(limited) == (1_000, 1)


@pytest.mark.parametrize(
    ("end", "counted"),
    [
        (lambda books: post(books, capture(2, HOLD, PAYER, PAYEE, 250)), (250, 1)),
        (lambda books: command(books, release(2, HOLD, PAYER)), (0, 0)),
        (lambda books: (books.wait(HOUR), expire(books, HOLD)), (0, 0)),
    ],
    ids=["captured in part", "released", "expired"],
)
def test_what_a_hold_frees_on_its_day_stops_counting(limited: SpecialBooks, end: Act, counted: tuple[int, int]) -> None:
    command(limited, place(HOLD, PAYER, 1_000))
    end(limited)
    assert limited.draft().business_date == TODAY
    assert spent(limited) == counted
    assert refusal(limited, ask(9, PAYER, PAYEE, 1_001 - counted[0])) == Refusal.DAY_AMOUNT_LIMIT
    assert refusal(limited, ask(9, PAYER, PAYEE, 1_000 - counted[0])) == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda books: post(books, capture(2, HOLD, PAYER, PAYEE, 250)),
        lambda books: command(books, release(2, HOLD, PAYER)),
        lambda books: (books.wait(DAY), expire(books, HOLD)),
    ],
    ids=["captured in part", "released", "expired"],
)
def test_what_a_hold_frees_on_a_later_day_does_not_change_that_days_sum(limited: SpecialBooks, end: Act) -> None:
    command(limited, place(HOLD, PAYER, 1_000, seconds=2 * DAY))
    limited.wait(DAY)
    post(limited, ask(8, PAYER, PAYEE, 100))
    day = limited.draft().business_date
    end(limited)
    expected = (100, 1) if limited.draft().business_date == day else (0, 0)
    assert spent(limited) == expected
    assert refusal(limited, ask(9, PAYER, PAYEE, 1_001 - expected[0])) == Refusal.DAY_AMOUNT_LIMIT


def test_an_increase_on_a_later_day_counts_for_that_day(limited: SpecialBooks) -> None:
    command(limited, place(HOLD, PAYER, 1_000, seconds=2 * DAY))
    limited.wait(DAY)
    command(limited, increase(2, HOLD, PAYER, 1_000))
    assert spent(limited) == (1_000, 0)
    assert refusal(limited, ask(3, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT


def test_counting_that_begins_counts_what_todays_open_holds_have_set_aside(books: SpecialBooks) -> None:
    command(books, place(1, PAYER, 500, seconds=9 * DAY), place(2, PAYER, 70), place(3, PAYER, 8))
    books.wait(DAY)
    command(books, place(4, PAYER, 300), place(5, PAYER, 40), release(6, 5, PAYER), place(7, PAYER, 200))
    change(books, a_change(90, PAYER, allowance=Allowance(day_minor_max=500), cap=500))
    assert spent(books) == (500, 2)
    assert refusal(books, ask(8, PAYER, PAYEE, 1)) == Refusal.DAY_AMOUNT_LIMIT
    command(books, release(8, 4, PAYER), release(9, 1, PAYER))
    assert spent(books) == (200, 1)


# Whatever happens


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 4), st.integers(1, 60), st.integers(1, 90)),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_is_done_free_money_and_counts_agree_with_a_naive_sum(acts: list[tuple[int, int, int, int]]) -> None:
    books = SpecialBooks()
    books.open(PAYER, 200, customer=CUSTOMER, allowance=Allowance(day_minor_max=10**6))
    books.open(PAYEE)
    books.cap(CUSTOMER, 10**6)
    model: dict[int, tuple[int, int]] = {}
    """Amount and end of the open holds, by number."""
    balance, counted = 200, [0, 0]
    for number, (act, hold, amount, seconds) in enumerate(acts, 100):
        expired = [one for one, (_, end) in model.items() if end <= books.draft().booking_time_us]
        room = balance - sum(aside for aside, _ in model.values())
        aside, _ = model.get(hold, (0, 0))
        is_live = hold in model and hold not in expired
        now = books.draft().booking_time_us
        if act == 0:
            is_new = an_id(hold) not in books.decisions
            command(books, place(hold, PAYER, amount, seconds=seconds))
            if is_new and amount <= room:
                model[hold] = amount, now + seconds * 1_000_000
                counted = [counted[0] + amount, counted[1] + 1]
        elif act == 1:
            command(books, increase(number, hold, PAYER, amount))
            if is_live and amount <= room:
                model[hold] = aside + amount, model[hold][1]
                counted[0] += amount
        elif act == 2:
            posted = post(books, capture(number, hold, PAYER, PAYEE, amount)).outcomes == [POSTED]
            assert posted == (is_live and amount <= aside)
            if posted:
                balance -= amount
                counted[0] -= model.pop(hold)[0] - amount
        elif act == 3:
            command(books, release(number, hold, PAYER))
            if is_live:
                counted = [counted[0] - model.pop(hold)[0], counted[1] - 1]
        elif act == 4:
            assert expire(books, *range(1, 5)) == len(expired)
            for one in expired:
                counted = [counted[0] - model.pop(one)[0], counted[1] - 1]
        else:
            books.wait(seconds)
        assert held(books) == sum(aside for aside, _ in model.values())
        assert books.accounts[PAYER].balance_minor == balance
        assert spent(books) == tuple(counted)


def test_a_batch_of_commands_that_is_not_committed_leaves_no_trace(limited: SpecialBooks) -> None:
    draft = limited.draft()
    holds.command(draft, [place(HOLD, PAYER, 40)], [1])
    posting.bury(draft, [an_id(2)], [PAYER])
    assert (limited.holds, limited.decisions, held(limited), spent(limited)) == ({}, {}, 0, (0, 0))
    assert command(limited, place(HOLD, PAYER, 50)).outcomes == [POSTED]
