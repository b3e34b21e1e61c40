"""What a draft writes down of transfers: every column of their rows, value dates, metadata, which leg was refused."""

import pytest
from memory_books import CZK, TODAY, Ask, MemoryBooks, an_id, ask, cash, crossings, customer_account, transfers
from memory_special import SpecialAsk, SpecialBooks, columns, place, release

from services.domain.chart import Code, internal_account, transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import holds, posting
from services.ledger.books import (
    AccountState,
    Allowance,
    Answers,
    Cap,
    CapKey,
    Decision,
    Flag,
    Kind,
    Leg,
    PlaceError,
    Special,
    Spent,
    TransferRow,
)
from services.ledger.draft import Draft
from services.ledger.traffic import Crossing

PAYER, PAYEE, THIRD = (customer_account(1, serial) for serial in (1, 2, 3))
FAR = customer_account(2, 1)
INCOME = internal_account(1, Code.FEES, CZK)
POSTED, REFUSED = Outcome.POSTED, Outcome.REFUSED
POOR = Refusal.INSUFFICIENT_FUNDS
METADATA = (("purpose", "RENT"),)


@pytest.fixture
def books() -> SpecialBooks:
    books = SpecialBooks()
    for number in (PAYER, PAYEE, THIRD, INCOME):
        books.open(number, 100)
    books.open(cash(1), floor=-(10**12))
    return books


def post(books: MemoryBooks, *asked: Ask | SpecialAsk) -> tuple[Draft, Answers]:
    draft = books.draft()
    return draft, posting.post(draft, columns(asked))


def legs_of(number: int, *moves: tuple[int, int, int], **more) -> Ask:
    return Ask(an_id(number), tuple(Leg(*move, CZK) for move in moves), **more)


def row_of(one: Ask, sequence: int, kind: Kind = Kind.ASKED, outcome: Outcome = POSTED, **more: int) -> TransferRow:
    first = one.legs[0]
    row = TransferRow(
        sequence, one.transfer_id, *first[:3], one.fingerprint, TODAY, CZK, kind, outcome, 0, len(one.legs), ""
    )
    return row._replace(**more)


def test_a_transfer_is_one_row_and_its_id_means_what_became_of_it(books: SpecialBooks) -> None:
    plain, poor, far = ask(1, PAYER, PAYEE, 10), ask(2, PAYER, PAYEE, 999), ask(3, PAYER, FAR, 5, peer_id=2)
    lost = ask(4, PAYER, FAR, 999, peer_id=2)
    draft, answers = post(books, plain, poor, far, lost)
    now = draft.booking_time_us
    assert draft.transfers == [
        row_of(plain, 1),
        row_of(poor, 2, outcome=REFUSED, refusal=POOR),
        row_of(far, 3, outcome=Outcome.IN_TRANSIT),
        row_of(lost, 4, outcome=REFUSED, refusal=POOR),
    ]
    assert [draft.decisions[one.transfer_id][1:] for one in (plain, poor, far, lost)] == [
        (Kind.ASKED, POSTED, 0, now, 0, 0, False, -1),
        (Kind.ASKED, REFUSED, POOR, now, 0, 0, False, -1),
        (Kind.ASKED, Outcome.IN_TRANSIT, 0, now, 2, 1, False, -1),
        (Kind.ASKED, REFUSED, POOR, now, 0, 0, False, -1),
    ]
    assert answers.booking_times_us == [now] * 4
    assert not draft.value_dated


def test_a_place_that_is_not_decided_has_no_outcome_and_no_time(books: SpecialBooks) -> None:
    draft, answers = post(books, ask(1, PAYER, PAYEE, 10, error=PlaceError.PAYEE_SHARD_UNREACHABLE))
    assert (answers.outcomes, answers.refusals, answers.booking_times_us) == ([0], [0], [0])
    assert draft.is_empty()


def test_entries_of_another_value_date_are_noted_and_no_others(books: SpecialBooks) -> None:
    draft, _ = post(
        books,
        legs_of(1, (PAYER, PAYEE, 10)),
        legs_of(2, (PAYER, PAYEE, 20), (PAYEE, THIRD, 30), value_date=TODAY - 1),
        legs_of(3, (PAYER, PAYEE, 1), value_date=TODAY),
        legs_of(4, (PAYER, PAYEE, 999), value_date=TODAY - 2),
    )
    assert sorted(draft.value_dated) == sorted(
        [
            (PAYER, 2, -20, TODAY - 1),
            (PAYEE, 2, 20, TODAY - 1),
            (PAYEE, 3, -30, TODAY - 1),
            (THIRD, 3, 30, TODAY - 1),
        ]
    )
    assert [row.value_date for row in draft.transfers] == [TODAY, TODAY - 1, TODAY, TODAY - 2]


def test_metadata_is_kept_with_what_is_posted_and_with_what_is_refused(books: SpecialBooks) -> None:
    draft, _ = post(
        books,
        ask(1, PAYER, PAYEE, 1),
        ask(2, PAYER, PAYEE, 1, metadata=METADATA),
        ask(3, PAYER, PAYEE, 999, metadata=METADATA),
    )
    assert draft.metadata == [(2, METADATA), (3, METADATA)]


def test_of_several_legs_the_first_that_was_refused_is_told_and_told_again(books: SpecialBooks) -> None:
    asked = (
        legs_of(1, (PAYER, PAYEE, 999), (PAYEE, THIRD, 1)),
        legs_of(2, (PAYER, PAYEE, 10), (PAYEE, THIRD, 20), (THIRD, PAYER, 999)),
        legs_of(3, (PAYER, 5, 10), (PAYEE, THIRD, 1)),
        ask(4, PAYER, PAYEE, 999),
        Ask(an_id(5), (Leg(PAYER, PAYEE, 999, CZK), Leg(PAYER, INCOME, 1, CZK, is_fee=True))),
        legs_of(6, (PAYER, PAYEE, 10), (PAYEE, THIRD, 20)),
    )
    draft, answers = post(books, *asked)
    assert answers.refused_legs == {0: 0, 1: 2, 2: 0}
    assert draft.spans.refused_legs == [(1, 0), (3, 2), (6, 0)]
    assert [draft.decisions[one.transfer_id].leg for one in asked] == [0, 2, 0, -1, -1, -1]
    again = posting.post(draft, columns(asked))
    assert again.refused_legs == answers.refused_legs
    assert again.refusals == answers.refusals


def test_limits_hold_for_every_leg_unless_they_are_overridden(books: SpecialBooks) -> None:
    for number in (PAYER, PAYEE):
        books.accounts[number].allowance = Allowance(transfer_minor_max=10)
    for moves in (legs_of(1, (PAYER, THIRD, 10), (PAYEE, THIRD, 11)), ask(1, PAYER, THIRD, 11)):
        for special, refusal in (
            (Special(flags=Flag.FEES_WAIVED), Refusal.TRANSFER_LIMIT),
            (Special(fee_minor_max=0), Refusal.TRANSFER_LIMIT),
            (Special(flags=Flag.LIMITS_OVERRIDDEN), 0),
        ):
            draft, answers = post(books, SpecialAsk(moves, special))
            assert answers.refusals == [refusal]
            assert draft.transfers[0].flags == special.flags


def test_a_buried_id_has_a_row_that_moves_nothing(books: SpecialBooks) -> None:
    draft, _ = post(books, ask(1, PAYER, PAYEE, 10))
    assert posting.bury(draft, [an_id(1), an_id(2), an_id(3)], [PAYER, PAYEE, THIRD], 5) == [False, True, True]
    early = Refusal.REVERSED_BEFORE_ARRIVAL
    assert draft.transfers[1:] == [
        TransferRow(sequence, an_id(sequence), account, 0, 0, 0, TODAY, 0, Kind.BURIED, REFUSED, early, 1, "", 5)
        for sequence, account in ((2, PAYEE), (3, THIRD))
    ]
    now = draft.booking_time_us
    assert draft.decisions[an_id(2)] == Decision(0, Kind.BURIED, REFUSED, early, now, 0, 0)
    posting.bury(draft, [an_id(4)], [PAYER])
    assert draft.transfers[-1].actor_id == 0


def test_a_command_about_a_hold_is_a_row_whatever_became_of_it(books: SpecialBooks) -> None:
    draft = books.draft()
    commands = [place(1, PAYER, 60, payee=PAYEE, reference="hotel"), place(2, PAYER, 41), release(3, 1, PAYER)]
    answers = holds.command(draft, [*commands, place(1, PAYER, 61)], [5, 6, 7, 8])
    now = draft.booking_time_us
    assert answers.errors == {3: PlaceError.TRANSFER_ID_REUSED}
    assert answers.outcomes == [POSTED, REFUSED, POSTED, 0]
    assert answers.refusals == [0, POOR, 0, 0]
    assert answers.booking_times_us == [now, now, now, 0]
    placed, poor, released = (one.fingerprint for one in commands)
    assert draft.transfers == [
        TransferRow(1, an_id(1), PAYER, PAYEE, 60, placed, TODAY, CZK, Kind.HOLD_PLACED, POSTED, 0, 1, "hotel", 5),
        TransferRow(2, an_id(2), PAYER, 0, 41, poor, TODAY, CZK, Kind.HOLD_PLACED, REFUSED, POOR, 1, "", 6),
        TransferRow(3, an_id(3), PAYER, 0, 0, released, TODAY, CZK, Kind.HOLD_RELEASED, POSTED, 0, 1, "", 7),
    ]
    assert draft.sequence == 3
    assert [draft.decisions[an_id(number)] for number in (1, 2)] == [
        Decision(placed, Kind.HOLD_PLACED, POSTED, 0, now, 0, 0),
        Decision(poor, Kind.HOLD_PLACED, REFUSED, POOR, now, 0, 0),
    ]


def a_crossing(number: int, amount: int = 10, **more) -> Crossing:
    crossing = Crossing(number, an_id(number), FAR, PAYEE, amount, CZK, "rent", TODAY)
    return crossing._replace(**more)


def test_a_landing_is_a_row_with_what_its_payers_shard_told(books: SpecialBooks) -> None:
    draft = books.draft()
    sent = crossings(2, [a_crossing(1), a_crossing(2, value_date=TODAY - 1, metadata=METADATA), a_crossing(3)])
    posting.land(draft, sent)
    row = TransferRow(1, an_id(1), FAR, PAYEE, 10, 0, TODAY, CZK, Kind.LANDING, POSTED, 0, 1, "rent", 0)
    assert draft.transfers == [
        row,
        row._replace(sequence=2, transfer_id=an_id(2), value_date=TODAY - 1),
        row._replace(sequence=3, transfer_id=an_id(3)),
    ]
    transit = transit_account(1, 2, CZK)
    assert sorted(draft.value_dated) == sorted([(PAYEE, 2, 10, TODAY - 1), (transit, 2, -10, TODAY - 1)])
    assert draft.metadata == [(2, METADATA)]
    assert draft.decisions[an_id(2)] == Decision(0, Kind.LANDING, POSTED, 0, draft.booking_time_us, 0, 0)
    assert draft.crossings_landed == [(1, 3, 1, 2)]
    books.commit(draft)
    again = books.draft()
    posting.land(again, sent)
    assert again.is_empty()
    assert not again.crossings_landed


def test_a_landing_is_recorded_under_who_asked_for_it(books: SpecialBooks) -> None:
    draft = books.draft()
    sent = crossings(2, [a_crossing(1), a_crossing(2)])
    sent.actor_ids = [7, 8]
    posting.land(draft, sent)
    assert [row.actor_id for row in draft.transfers] == [7, 8]


def test_a_return_is_a_row_of_its_own_that_turns_every_leg(books: SpecialBooks) -> None:
    draft = books.draft()
    further = (Leg(PAYER, INCOME, 2, CZK, is_fee=True), Leg(PAYEE, PAYER, 3, CZK))
    asked = Ask(an_id(1), (Leg(PAYER, FAR, 10, CZK), *further), peer_id=2)
    posting.post(draft, transfers([asked]))
    books.commit(draft)
    draft = books.draft()
    left = Crossing(1, an_id(1), PAYER, FAR, 10, CZK, "rent", TODAY, further)
    posting.acknowledge(draft, 2, 1, [(left, Refusal.CREDIT_ACCOUNT_CLOSED)])
    assert draft.transfers == [
        TransferRow(4, an_id(1), FAR, PAYER, 10, 0, TODAY, CZK, Kind.RETURN, POSTED, 0, 3, "rent", 0)
    ]
    assert draft.further_legs == [(5, 4, further[0].turned()), (6, 4, further[1].turned())]
    assert draft.sequence == 6
    assert draft.crossings_returned == [(1, 4, 2, Refusal.CREDIT_ACCOUNT_CLOSED)]
    assert [draft.touched[number].balance_minor for number in (PAYER, PAYEE, INCOME)] == [100] * 3
    books.commit(draft)
    again = books.draft()
    posting.acknowledge(again, 2, 1, [])
    assert again.is_empty(), "what is acknowledged already need not be written"


@pytest.mark.parametrize(("day_minor_max", "is_capped"), [(5, True), (0, True), (-1, False), (None, False)])
def test_an_account_is_opened_under_its_customers_cap(
    books: SpecialBooks, day_minor_max: int | None, is_capped: bool
) -> None:
    if day_minor_max is not None:
        books.caps[CapKey(9, CZK)] = Cap(day_minor_max, Spent())
    draft = books.draft()
    new = AccountState(77, CZK, 0, customer_number=9)
    assert posting.open_accounts(draft, [new]) == [True]
    assert draft.touched[77].is_capped is is_capped
    assert not draft.altered


def test_an_account_that_is_opened_with_an_allowance_has_facts_to_write(books: SpecialBooks) -> None:
    draft = books.draft()
    posting.open_accounts(draft, [AccountState(77, CZK, 0, allowance=Allowance(day_count_max=1))])
    assert draft.altered == {77}
