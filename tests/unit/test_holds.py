"""The money rules of holds: what is set aside cannot be spent, and ends exactly once."""

from collections.abc import Callable

import pytest
from memory_books import CZK, EUR, an_id, ask, customer_account
from memory_special import (
    HOUR,
    SpecialAsk,
    SpecialBooks,
    capture,
    columns,
    command,
    expire,
    free,
    increase,
    place,
    post,
    refusal,
    release,
)

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import holds, posting
from services.ledger.books import Allowance, HoldCommand, HoldState, Kind, Relation, Restriction

PAYER, PAYEE, THIRD, FAR = (*(customer_account(1, serial) for serial in (1, 2, 3)), customer_account(2, 1))
NOBODY = customer_account(1, 9)
CUSTOMER = 7
HOLD, DAY = 1, 24 * HOUR
FROZEN = Restriction.DEBITS_FROZEN | Restriction.CREDITS_FROZEN
POSTED, REFUSED, IN_TRANSIT = Outcome.POSTED, Outcome.REFUSED, Outcome.IN_TRANSIT

Mend = Callable[[SpecialBooks], object]
Asked = HoldCommand | SpecialAsk


@pytest.fixture
def books() -> SpecialBooks:
    """Give a payer of 100.00 and two whom it may pay."""
    books = SpecialBooks()
    books.open(PAYER, 10_000, customer=CUSTOMER)
    books.open(PAYEE)
    books.open(THIRD)
    return books


def payer(books: SpecialBooks) -> tuple[int, int]:
    """Tell the payer's balance and what is held of it."""
    return books.accounts[PAYER].balance_minor, books.accounts[PAYER].held_minor


def state(books: SpecialBooks, number: int = HOLD) -> int:
    return books.holds[an_id(number)].state


# Placing and increasing


def test_a_placed_hold_is_in_the_balance_but_cannot_be_spent(books: SpecialBooks) -> None:
    assert command(books, place(HOLD, PAYER, 4_000, payee=PAYEE, reference="hotel")).outcomes == [POSTED]
    assert payer(books) == (10_000, 4_000)
    assert refusal(books, ask(2, PAYER, PAYEE, 6_001)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, ask(2, PAYER, PAYEE, 6_000)) == 0
    row = books.transfers[1]
    assert (row.kind, row.outcome, row.amount_minor, row.reference) == (Kind.HOLD_PLACED, POSTED, 4_000, "hotel")
    assert books.entries[PAYER] == [(1, 0, 10_000)]


def test_the_last_cent_can_be_set_aside_but_not_one_more(books: SpecialBooks) -> None:
    assert refusal(books, place(HOLD, PAYER, 10_001)) == Refusal.INSUFFICIENT_FUNDS
    assert command(books, place(HOLD, PAYER, 9_999)).outcomes == [POSTED]
    assert refusal(books, increase(2, HOLD, PAYER, 2)) == Refusal.INSUFFICIENT_FUNDS
    assert command(books, increase(2, HOLD, PAYER, 1)).outcomes == [POSTED]
    assert free(books.accounts[PAYER]) == 0
    assert command(books, place(3, PAYER, 1)).refusals == [Refusal.INSUFFICIENT_FUNDS]


def test_a_hold_may_use_an_overdraft_down_to_the_floor(books: SpecialBooks) -> None:
    books.accounts[PAYER].floor_minor = -50
    assert refusal(books, place(HOLD, PAYER, 10_051)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, place(HOLD, PAYER, 10_050)) == 0


def restrict(number: int, restrictions: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "restrictions", restrictions)


def balance(number: int, amount: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "balance_minor", amount)


def in_crowns(number: int) -> Mend:
    return lambda books: setattr(books.accounts[number], "currency", CZK)


def allow(**allowed: int | None) -> Mend:
    return lambda books: setattr(
        books.accounts[PAYER], "allowance", books.accounts[PAYER].allowance._replace(**allowed)
    )


def add_payer(books: SpecialBooks) -> None:
    """Open a payer that nothing may be taken from, for every reason there is."""
    nothing = Allowance(transfer_minor_max=99, day_minor_max=99, day_count_max=0)
    everything = Restriction.CLOSED | Restriction.PENDING | FROZEN | Restriction.DORMANT
    books.open(PAYER, 0, customer=CUSTOMER, allowance=nothing, currency=EUR, restrictions=everything)
    books.cap(CUSTOMER, 99, EUR)
    books.cap(CUSTOMER, 99)


def hold_of(account: int, hold_state: int = HoldState.OPEN, amount: int = 40, payee: int = 0) -> Mend:
    """Put a hold into the books from nowhere."""

    def put(books: SpecialBooks) -> None:
        draft = books.draft()
        donor = SpecialBooks()
        donor.open(account, amount)
        placed = donor.draft()
        holds.command(placed, [place(HOLD, account, amount, payee=payee)], [1])
        books.holds[an_id(HOLD)] = placed.hold(an_id(HOLD))._replace(
            state=hold_state, expire_time_us=draft.booking_time_us + 1
        )

    return put


def past_its_time(books: SpecialBooks) -> None:
    hold = books.holds[an_id(HOLD)]
    books.holds[an_id(HOLD)] = hold._replace(state=HoldState.OPEN, expire_time_us=books.draft().booking_time_us)


OF_THE_HOLD: list[tuple[Refusal, Mend]] = [
    (Refusal.HOLD_NOT_FOUND, hold_of(THIRD)),
    (Refusal.HOLD_NOT_FOUND, hold_of(PAYER, HoldState.CAPTURED)),
    (Refusal.HOLD_ALREADY_CAPTURED, hold_of(PAYER, HoldState.RELEASED)),
    (Refusal.HOLD_ALREADY_RELEASED, hold_of(PAYER, HoldState.EXPIRED)),
    (Refusal.HOLD_ALREADY_EXPIRED, past_its_time),
    (Refusal.HOLD_ALREADY_EXPIRED, hold_of(PAYER, payee=THIRD)),
]
OF_THE_PAYER: list[tuple[Refusal, Mend]] = [
    (Refusal.DEBIT_CURRENCY_MISMATCH, in_crowns(PAYER)),
    (Refusal.DEBIT_ACCOUNT_CLOSED, restrict(PAYER, Restriction.PENDING | FROZEN | Restriction.DORMANT)),
    (Refusal.DEBIT_ACCOUNT_PENDING, restrict(PAYER, FROZEN | Restriction.DORMANT)),
    (Refusal.DEBITS_FROZEN, restrict(PAYER, Restriction.CREDITS_FROZEN | Restriction.DORMANT)),
    (Refusal.DEBIT_ACCOUNT_DORMANT, restrict(PAYER, Restriction.CREDITS_FROZEN)),
]
OF_THE_FUNDS: list[tuple[Refusal, Mend]] = [
    (Refusal.INSUFFICIENT_FUNDS, balance(PAYER, 100)),
    (Refusal.TRANSFER_LIMIT, allow(transfer_minor_max=100)),
    (Refusal.DAY_AMOUNT_LIMIT, allow(day_minor_max=100)),
    (Refusal.DAY_COUNT_LIMIT, allow(day_count_max=1)),
    (Refusal.CUSTOMER_DAY_LIMIT, lambda books: books.cap(CUSTOMER, 100)),
]
UNKNOWN: tuple[Refusal, Mend] = (Refusal.DEBIT_ACCOUNT_NOT_FOUND, add_payer)


def walk(asked: Asked, rows: list[tuple[Refusal, Mend]]) -> None:
    """Mend one thing after the other: the refusals must come in the rows' order, then a yes."""
    books = SpecialBooks()
    books.open(THIRD)
    walked = []
    for _, mend in rows:
        walked.append(refusal(books, asked))
        mend(books)
    assert walked == [expected for expected, _ in rows] == sorted(walked)
    assert refusal(books, asked) == 0


def test_refusals_to_place_come_in_the_order_of_a_debits() -> None:
    walk(place(2, PAYER, 100), [UNKNOWN, *OF_THE_PAYER, *OF_THE_FUNDS])


def test_refusals_to_increase_come_in_order() -> None:
    walk(increase(2, HOLD, PAYER, 100), [UNKNOWN, *OF_THE_HOLD, *OF_THE_PAYER, *OF_THE_FUNDS])


def test_a_release_is_refused_only_for_the_holds_own_sake() -> None:
    # The payer stays closed, frozen and without funds: its money is given free all the same.
    walk(release(2, HOLD, PAYER), [UNKNOWN, *OF_THE_HOLD])


def test_refusals_to_capture_come_in_order_and_none_is_for_want_of_funds() -> None:
    everything = Restriction.CLOSED | FROZEN
    payee: list[tuple[Refusal, Mend]] = [
        (
            Refusal.CREDIT_ACCOUNT_NOT_FOUND,
            lambda books: books.open(PAYEE, limits.BALANCE_MINOR_MAX - 49, currency=EUR, restrictions=everything),
        ),
        (Refusal.CREDIT_CURRENCY_MISMATCH, in_crowns(PAYEE)),
        (Refusal.CREDIT_ACCOUNT_CLOSED, restrict(PAYEE, Restriction.PENDING | FROZEN)),
        (Refusal.CREDIT_ACCOUNT_PENDING, restrict(PAYEE, FROZEN)),
        (Refusal.CREDITS_FROZEN, restrict(PAYEE, 0)),
        (Refusal.HOLD_PAYEE_MISMATCH, hold_of(PAYER, amount=49, payee=PAYEE)),
        (Refusal.CAPTURE_EXCEEDS_HOLD, hold_of(PAYER, amount=50, payee=PAYEE)),
        (Refusal.CREDIT_BALANCE_LIMIT, balance(PAYEE, limits.BALANCE_MINOR_MAX - 50)),
    ]
    rows = sorted([UNKNOWN, *OF_THE_HOLD, *OF_THE_PAYER, *payee], key=lambda row: row[0])
    walk(capture(2, HOLD, PAYER, PAYEE, 50), rows)


def test_an_increase_keeps_the_time_or_sets_it_anew_from_now_on(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 10, seconds=HOUR))
    placed = books.holds[an_id(HOLD)]
    command(books, increase(2, HOLD, PAYER, 5))
    assert books.holds[an_id(HOLD)] == placed._replace(amount_minor=15)
    books.wait(HOUR // 2)
    command(books, increase(3, HOLD, PAYER, 5, seconds=HOUR))
    expire_time_us = books.time_us + HOUR * 1_000_000
    assert books.holds[an_id(HOLD)] == placed._replace(amount_minor=20, expire_time_us=expire_time_us)
    assert payer(books) == (10_000, 20)


# The end: captured, released, expired


@pytest.mark.parametrize("amount", [4_000, 3_999, 1])
def test_a_capture_takes_its_amount_and_frees_the_rest(books: SpecialBooks, amount: int) -> None:
    command(books, place(HOLD, PAYER, 4_000))
    assert post(books, capture(2, HOLD, PAYER, PAYEE, amount)).outcomes == [POSTED]
    assert payer(books) == (10_000 - amount, 0)
    assert books.accounts[PAYEE].balance_minor == amount
    hold = books.holds[an_id(HOLD)]
    assert (hold.state, hold.amount_minor, hold.captured_minor) == (HoldState.CAPTURED, 4_000, amount)
    assert books.relations == [(2, Relation.CAPTURES, an_id(HOLD), amount)]


def test_a_capture_pays_what_was_set_aside_when_nothing_else_is_left(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 4_000))
    post(books, ask(2, PAYER, THIRD, 6_000))
    books.accounts[PAYER].floor_minor = 0
    assert refusal(books, ask(3, PAYER, PAYEE, 1)) == Refusal.INSUFFICIENT_FUNDS
    assert refusal(books, capture(3, HOLD, PAYER, PAYEE, 4_001)) == Refusal.CAPTURE_EXCEEDS_HOLD
    assert post(books, capture(3, HOLD, PAYER, PAYEE, 4_000)).outcomes == [POSTED]
    assert payer(books) == (0, 0)


def test_a_release_frees_everything_with_its_increases(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 10), increase(2, HOLD, PAYER, 5), release(3, HOLD, PAYER))
    assert payer(books) == (10_000, 0)
    assert state(books) == HoldState.RELEASED
    assert [(sequence, amount) for sequence, _, _, amount in books.relations] == [(2, 5), (3, 0)]


def test_a_release_bears_the_currency_of_its_hold(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 10), release(2, HOLD, PAYER), release(3, 99, PAYER))
    assert [row.currency for row in books.transfers.values()] == [CZK, CZK, 0]


def test_a_hold_of_a_frozen_account_is_released_but_not_captured(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 10))
    restrict(PAYER, FROZEN)(books)
    assert post(books, capture(2, HOLD, PAYER, PAYEE, 10)).refusals == [Refusal.DEBITS_FROZEN]
    assert command(books, release(3, HOLD, PAYER)).outcomes == [POSTED]


def end_captured(books: SpecialBooks) -> None:
    post(books, capture(50, HOLD, PAYER, PAYEE, 10))


def end_released(books: SpecialBooks) -> None:
    command(books, release(50, HOLD, PAYER))


def end_expired(books: SpecialBooks) -> None:
    books.wait(HOUR)
    assert expire(books, HOLD) == 1


def end_unnoticed(books: SpecialBooks) -> None:
    books.wait(HOUR)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (end_captured, Refusal.HOLD_ALREADY_CAPTURED),
        (end_released, Refusal.HOLD_ALREADY_RELEASED),
        (end_expired, Refusal.HOLD_ALREADY_EXPIRED),
        (end_unnoticed, Refusal.HOLD_ALREADY_EXPIRED),
    ],
)
@pytest.mark.parametrize(
    "asked", [capture(60, HOLD, PAYER, PAYEE, 10), increase(60, HOLD, PAYER, 1), release(60, HOLD, PAYER)]
)
def test_a_hold_ends_exactly_once_and_each_end_has_a_reason_of_its_own(
    books: SpecialBooks, end: Mend, reason: Refusal, asked: Asked
) -> None:
    command(books, place(HOLD, PAYER, 40))
    end(books)
    before = payer(books), books.holds[an_id(HOLD)]
    answers = command(books, asked) if isinstance(asked, HoldCommand) else post(books, asked)
    assert (answers.outcomes, answers.refusals) == ([REFUSED], [reason])
    assert (payer(books), books.holds[an_id(HOLD)]) == before


@pytest.mark.parametrize("end", [end_captured, end_released, end_expired])
def test_an_ended_hold_does_not_expire(books: SpecialBooks, end: Mend) -> None:
    command(books, place(HOLD, PAYER, 40))
    end(books)
    books.wait(DAY)
    before = books.sequence
    assert expire(books, HOLD, HOLD, 99) == 0
    assert books.sequence == before


def test_of_two_captures_in_a_batch_the_first_one_wins(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    both = post(books, capture(2, HOLD, PAYER, PAYEE, 30), capture(3, HOLD, PAYER, PAYEE, 10))
    assert both.refusals == [0, Refusal.HOLD_ALREADY_CAPTURED]
    assert payer(books) == (9_970, 0)


def test_a_capture_and_a_release_in_a_batch_do_not_both_succeed(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    draft = books.draft()
    holds.command(draft, [release(2, HOLD, PAYER)], [1])
    assert posting.post(draft, columns([capture(3, HOLD, PAYER, PAYEE, 40)])).refusals == [
        Refusal.HOLD_ALREADY_RELEASED
    ]
    books.commit(draft)
    assert payer(books) == (10_000, 0)


# Whose hold, for whom


def test_nobody_uses_a_hold_of_another_account(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    books.accounts[THIRD].balance_minor = 1_000
    for asked in (
        capture(2, HOLD, THIRD, PAYEE, 10),
        increase(2, HOLD, THIRD, 1),
        release(2, HOLD, THIRD),
        capture(2, 99, PAYER, PAYEE, 10),
    ):
        assert refusal(books, asked) == Refusal.HOLD_NOT_FOUND


def test_a_hold_for_one_payee_pays_nobody_else(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40, payee=PAYEE), place(2, PAYER, 40, payee=FAR))
    assert refusal(books, capture(3, HOLD, PAYER, THIRD, 40)) == Refusal.HOLD_PAYEE_MISMATCH
    assert refusal(books, capture(3, HOLD, PAYER, FAR, 40, peer_id=2)) == Refusal.HOLD_PAYEE_MISMATCH
    assert refusal(books, capture(3, 2, PAYER, PAYEE, 40)) == Refusal.HOLD_PAYEE_MISMATCH
    answers = post(books, capture(3, HOLD, PAYER, PAYEE, 40), capture(4, 2, PAYER, FAR, 40, peer_id=2))
    assert answers.outcomes == [POSTED, IN_TRANSIT]


def test_what_a_crossing_captured_comes_back_free_when_it_is_returned(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40))
    assert post(books, capture(2, HOLD, PAYER, FAR, 30, peer_id=2)).crossings == {0: (2, 1)}
    assert payer(books) == (9_970, 0)
    draft = books.draft()
    posting.acknowledge(draft, 2, 1, [(books.sent[2][0], Refusal.CREDIT_ACCOUNT_CLOSED)])
    books.commit(draft)
    assert payer(books) == (10_000, 0)
    assert state(books) == HoldState.CAPTURED


def test_a_refused_capture_leaves_the_hold_open(books: SpecialBooks) -> None:
    command(books, place(HOLD, PAYER, 40, payee=PAYEE))
    refused = post(
        books,
        capture(2, HOLD, PAYER, PAYEE, 41),
        capture(3, HOLD, PAYER, THIRD, 40),
        capture(4, HOLD, PAYER, NOBODY, 40),
        capture(5, HOLD, PAYER, PAYEE, 40, currency=EUR),
        capture(6, HOLD, PAYER, PAYEE, 40, peer_id=2, payee_refusal=Refusal.CREDIT_ACCOUNT_CLOSED),
    )
    assert set(refused.outcomes) == {REFUSED}
    assert books.relations == []
    assert payer(books) == (10_000, 40)
    assert post(books, capture(7, HOLD, PAYER, PAYEE, 40)).outcomes == [POSTED]
