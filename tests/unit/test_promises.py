"""What a shard promises to a transfer's home: set aside, counted, written down, kept or dropped exactly once."""

import pytest
from memory_books import DAY_US, TODAY
from span_books import CZK, SpanBooks, an_id, ask_of, customer_account, span

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import promises
from services.ledger.books import NO_LEG, Allowance, Decision, Flag, Kind, Leg, Spent, TransferRow
from services.ledger.promises import PromiseAnswer, PromiseAsked
from services.ledger.spanning import Told, tell
from services.ledger.traffic import Promise, PromiseState, Verdict

HOME, HERE, OTHER = 1, 2, 3
AWAY, PAYER, FAR = (customer_account(shard, 1) for shard in (HOME, HERE, OTHER))
PAYEE = customer_account(HERE, 2)
ID = an_id(1)
ELSEWHERE = Leg(AWAY, FAR, 1, CZK)
"""A leg that does not touch this shard."""
OUT, IN = Leg(PAYER, AWAY, 60, CZK), Leg(FAR, PAYEE, 25, CZK)
METADATA = (("purpose", "RENT"),)
POOR = Refusal.INSUFFICIENT_FUNDS


@pytest.fixture
def books() -> SpanBooks:
    books = SpanBooks(HERE)
    books.add(PAYER, 100)
    books.add(PAYEE)
    return books


def asked(*legs: Leg, number: int = 1, fingerprint: int = 7, flags: int = 0, home_id: int = HOME) -> PromiseAsked:
    part = ask_of(span(*legs, home_id=home_id, number=number, fingerprint=fingerprint), HERE)
    return part._replace(flags=flags)


def verdict(refusal: int = 0, *, number: int = 1, of: int = 1, value_date: int = TODAY) -> Verdict:
    outcome = Outcome.REFUSED if refusal else Outcome.POSTED
    return Verdict(number, an_id(of), outcome, refusal, "", value_date, PAYER)


def settle(books: SpanBooks, told: Verdict, day: int = TODAY) -> None:
    draft = books.draft(day)
    promises.settle(draft, HOME, told)
    books.commit(draft)


def state(books: SpanBooks, number: int = PAYER) -> tuple[int, int, int]:
    account = books.accounts[number]
    return account.balance_minor, account.held_minor, account.promised_minor


def test_a_promise_sets_debits_aside_and_expects_credits(books: SpanBooks) -> None:
    assert books.promise(asked(OUT, IN)) == PromiseAnswer(0, NO_LEG)
    assert state(books) == (100, 60, 0)
    assert state(books, PAYEE) == (0, 0, 25)
    settle(books, verdict())
    assert state(books) == (40, 0, 0)
    assert state(books, PAYEE) == (25, 0, 0)
    assert books.transit(HOME) == 35


def test_a_dropped_promise_leaves_the_accounts_as_they_were(books: SpanBooks) -> None:
    books.promise(asked(OUT, IN))
    settle(books, verdict(POOR))
    assert state(books) == (100, 0, 0)
    assert state(books, PAYEE) == (0, 0, 0)
    assert books.transit(HOME) == 0
    assert books.state_of(ID) is PromiseState.DROPPED


def test_every_step_of_a_promise_is_a_row_of_the_journal_with_an_entry_for_each_leg(books: SpanBooks) -> None:
    draft = books.draft()
    part = asked(ELSEWHERE, IN, OUT)._replace(reference="rent", metadata=METADATA)
    promises.promise(draft, part, 5)
    row = TransferRow(1, ID, FAR, PAYEE, 25, 7, TODAY, CZK, Kind.PROMISED, Outcome.POSTED, 0, 2, "rent", 5)
    assert draft.transfers == [row]
    assert draft.further_legs == [(2, 1, OUT)]
    assert draft.entries == [(PAYER, 1, 2, 0, 100, 60)]
    assert draft.spans.routes == [(1, HOME, 0), (2, 0, HOME)]
    assert draft.metadata == [(1, METADATA)]
    assert draft.sequence == 2
    made = draft.spans.promises[ID]
    assert made == Promise(
        ID, HOME, 1, draft.booking_time_us, TODAY, 7, 0, 5, "rent", part.legs, METADATA, PromiseState.OPEN
    )
    assert draft.decisions == {
        ID: Decision(7, Kind.PROMISED, Outcome.IN_TRANSIT, 0, draft.booking_time_us, 0, 0),
    }
    books.commit(draft)

    kept, dropped = books.draft(), books.draft()
    promises.settle(kept, HOME, verdict(value_date=TODAY + 2))
    assert kept.transfers == [row._replace(sequence=3, kind=Kind.KEPT, value_date=TODAY + 2)]
    assert kept.further_legs == [(4, 3, OUT)]
    assert [entry[:4] for entry in kept.entries][1] == (PAYEE, 1, 3, 25)
    assert [entry[:4] for entry in kept.entries][2] == (PAYER, 2, 4, -60)
    assert [noted[1:] for noted in kept.value_dated] == [
        (4, 60, TODAY + 2),
        (4, -60, TODAY + 2),
        (3, 25, TODAY + 2),
        (3, -25, TODAY + 2),
    ]
    assert kept.spans.routes == [(3, HOME, 0), (4, 0, HOME)]
    assert kept.metadata == [(3, METADATA)]
    assert kept.sequence == 4
    assert kept.spans.promises[ID] == made._replace(state=PromiseState.KEPT, resolve_sequence=3)
    assert kept.decisions[ID].outcome == Outcome.POSTED
    assert kept.spans.verdicts_landed == [(HOME, 3, verdict(value_date=TODAY + 2))]

    promises.settle(dropped, HOME, verdict(POOR))
    freed = TransferRow(3, ID, PAYER, AWAY, 60, 7, TODAY, CZK, Kind.DROPPED, Outcome.POSTED, 0, 1, "rent", 5)
    assert dropped.transfers == [freed]
    assert dropped.entries == [(PAYER, 2, 3, 0, 100, 0)]
    assert dropped.spans.routes == [(3, 0, HOME)]
    assert not dropped.further_legs
    assert not dropped.metadata
    assert dropped.sequence == 3
    assert dropped.spans.promises[ID] == made._replace(state=PromiseState.DROPPED, refusal=POOR, resolve_sequence=3)
    assert dropped.decisions[ID][1:4] == (Kind.PROMISED, Outcome.REFUSED, POOR)
    assert dropped.spans.verdicts_landed == [(HOME, 3, verdict(POOR))]


def test_a_kept_promise_of_today_bears_no_value_date_of_its_own(books: SpanBooks) -> None:
    books.promise(asked(OUT))
    draft = books.draft()
    promises.settle(draft, HOME, verdict())
    assert not draft.value_dated


def test_a_drop_without_anything_set_aside_still_has_its_row(books: SpanBooks) -> None:
    books.promise(asked(IN, IN))
    draft = books.draft()
    promises.settle(draft, HOME, verdict(POOR))
    assert [(row.sequence, row.debit_account, row.leg_count) for row in draft.transfers] == [(3, FAR, 1)]
    assert not draft.entries
    assert draft.touched[PAYEE].promised_minor == 0


def test_a_leg_pays_with_what_legs_before_it_bring_and_sets_aside_the_rest(books: SpanBooks) -> None:
    legs = (Leg(AWAY, PAYEE, 50, CZK), Leg(PAYEE, PAYER, 30, CZK), Leg(PAYEE, FAR, 40, CZK), Leg(PAYER, FAR, 100, CZK))
    poor = books.promise(asked(*legs))
    assert poor == PromiseAnswer(POOR, 2)
    books.accounts[PAYEE].balance_minor = 20
    assert books.promise(asked(*legs)).refusal == 0
    assert books.open.get(ID).flags == Flag.PASSES_ON
    assert state(books, PAYEE) == (20, 20, 50)
    assert state(books, PAYER) == (100, 70, 30)
    twin = books.clone()
    settle(books, verdict())
    assert (state(books, PAYER), state(books, PAYEE)) == ((30, 0, 0), (0, 0, 0))
    draft = twin.draft()
    promises.settle(draft, HOME, verdict(POOR))
    assert [(entry[0], entry[2], entry[5]) for entry in draft.entries] == [(PAYEE, 6, 20), (PAYEE, 7, 0), (PAYER, 8, 0)]
    assert draft.transfers[0].leg_count == len(legs)


def test_what_one_leg_sets_aside_brings_nothing_to_the_next(books: SpanBooks) -> None:
    legs = (OUT, Leg(PAYER, AWAY, 40, CZK))
    assert books.promise(asked(*legs)).refusal == 0
    assert state(books) == (100, 100, 0)
    assert promises.brought(asked(*legs).legs) == [0, 0]


def test_a_promise_that_set_everything_aside_frees_everything(books: SpanBooks) -> None:
    """As earlier releases promised: without the flag, what legs before bring was set aside all the same."""
    legs = (Leg(AWAY, PAYER, 50, CZK), Leg(PAYER, AWAY, 80, CZK))
    part = asked(*legs)
    made = Promise(ID, HOME, 1, 1, TODAY, 7, 0, 5, "", part.legs, (), PromiseState.OPEN)
    books.open.take({ID: made})
    books.accounts[PAYER].held_minor, books.accounts[PAYER].promised_minor = 80, 50
    twin = books.clone()
    settle(books, verdict())
    assert state(books) == (70, 0, 0)
    draft = twin.draft()
    promises.settle(draft, HOME, verdict(POOR))
    assert draft.entries == [(PAYER, 1, 1, 0, 100, 0)]
    assert draft.transfers[0].leg_count == 1


def test_a_refused_promise_names_the_leg_of_the_whole_transfer_and_leaves_nothing(books: SpanBooks) -> None:
    draft = books.draft()
    answer = promises.promise(draft, asked(ELSEWHERE, IN, OUT, OUT))
    assert answer == PromiseAnswer(POOR, 3)
    assert draft.sequence == draft.first_sequence
    assert not (draft.entries or draft.transfers or draft.spans.promises or draft.decisions)
    assert draft.touched[PAYER].held_minor == draft.touched[PAYEE].promised_minor == 0


@pytest.mark.parametrize("fee_minor", [0, 14, 16])
def test_what_is_promised_at_one_fee_is_neither_promised_nor_refused_at_another(
    books: SpanBooks, fee_minor: int
) -> None:
    fee = Leg(PAYER, AWAY, 15, CZK, is_fee=True)
    assert books.promise(asked(OUT, fee)) == PromiseAnswer(0)
    before = state(books)
    now = (OUT, fee._replace(amount_minor=fee_minor)) if fee_minor else (OUT,)
    assert books.promise(asked(*now)) == PromiseAnswer(0, stands_otherwise=True)
    assert books.promise(asked(OUT, fee)) == PromiseAnswer(0)
    assert state(books) == before
    settle(books, verdict())
    assert state(books) == (100 - 60 - 15, 0, 0)


@pytest.mark.parametrize("day", [TODAY, TODAY + 1], ids=["the same day", "the day after"])
def test_what_is_promised_is_spent_until_it_is_dropped_on_the_same_day(books: SpanBooks, day: int) -> None:
    books.accounts[PAYER].allowance = Allowance(day_minor_max=70, day_count_max=9)
    fee = Leg(PAYER, AWAY, 15, CZK, is_fee=True)
    assert books.promise(asked(OUT, fee)).refusal == 0
    assert books.accounts[PAYER].spent == Spent(TODAY, 60, 1)
    assert books.promise(asked(Leg(PAYER, AWAY, 11, CZK), number=2)).refusal == Refusal.DAY_AMOUNT_LIMIT
    settle(books, verdict(POOR), day)
    assert books.accounts[PAYER].spent == (Spent(TODAY, 0, 0) if day == TODAY else Spent(TODAY, 60, 1))
    assert books.accounts[PAYER].held_minor == 0


def test_what_is_kept_was_counted_when_it_was_promised(books: SpanBooks) -> None:
    books.accounts[PAYER].allowance = Allowance(day_count_max=1)
    books.promise(asked(OUT))
    settle(books, verdict())
    assert books.accounts[PAYER].spent == Spent(TODAY, 60, 1)


def test_giving_back_is_not_spending(books: SpanBooks) -> None:
    books.accounts[PAYER].allowance = Allowance(day_minor_max=10)
    assert books.promise(asked(OUT, flags=Flag.GIVES_BACK)).refusal == 0
    settle(books, verdict(POOR))
    assert books.accounts[PAYER].spent is None


def test_promised_credits_count_for_the_largest_balance(books: SpanBooks) -> None:
    books.accounts[PAYEE].allowance = Allowance(balance_minor_max=100)
    assert books.promise(asked(Leg(AWAY, PAYEE, 60, CZK))).refusal == 0
    assert books.promise(asked(Leg(AWAY, PAYEE, 41, CZK), number=2)) == PromiseAnswer(Refusal.CREDIT_BALANCE_LIMIT, 0)
    assert books.promise(asked(Leg(AWAY, PAYEE, 40, CZK), number=3)).refusal == 0


def test_one_account_cannot_be_promised_more_than_its_balance_could_take(books: SpanBooks) -> None:
    books.accounts[PAYEE].promised_minor = limits.PROMISED_MINOR_MAX - 60
    assert books.promise(asked(Leg(AWAY, PAYEE, 60, CZK))).refusal == 0
    one_more = asked(OUT, Leg(AWAY, PAYEE, 1, CZK), number=2)
    assert books.promise(one_more) == PromiseAnswer(Refusal.CREDIT_BALANCE_LIMIT, 1)
    assert books.promise(asked(OUT, number=3)).refusal == 0, "what leaves is not limited by it"


TAKEN = PromiseAnswer(Refusal.TRANSFER_ID_TAKEN, 1)


def test_asking_again_is_answered_alike_whatever_became_of_it(books: SpanBooks) -> None:
    part, other = asked(ELSEWHERE, OUT), asked(ELSEWHERE, OUT, fingerprint=8)
    of_another_home = asked(ELSEWHERE._replace(debit_account=FAR, credit_account=FAR), OUT, home_id=OTHER)
    books.promise(part)
    for _ in range(2):
        draft = books.draft()
        assert promises.promise(draft, part) == PromiseAnswer(0)
        assert promises.promise(draft, other) == promises.promise(draft, of_another_home) == TAKEN
        assert draft.is_empty()
    for told, answer in ((verdict(), PromiseAnswer(0)), (verdict(POOR), PromiseAnswer(POOR, 1))):
        twin = books.clone()
        draft = twin.draft()
        promises.settle(draft, HOME, told)
        assert promises.promise(draft, part) == answer
        assert promises.promise(draft, other) == TAKEN
        twin.commit(draft)
        assert twin.promise(part) == answer
        assert twin.promise(other) == TAKEN


def test_an_id_that_means_a_transfer_of_this_shard_is_taken(books: SpanBooks) -> None:
    books.decisions[ID] = Decision(7, Kind.ASKED, Outcome.POSTED, 0, TODAY * DAY_US, 0, 0)
    assert books.promise(asked(ELSEWHERE, OUT)) == TAKEN


def test_what_was_refused_before_it_was_asked_for_is_never_promised(books: SpanBooks) -> None:
    draft = books.draft()
    promises.settle(draft, HOME, verdict(Refusal.PROMISE_TIMED_OUT))
    (row,) = draft.transfers
    assert (row.sequence, row.transfer_id, row.debit_account, row.kind) == (1, ID, PAYER, Kind.BURIED)
    assert (row.outcome, row.refusal, row.actor_id) == (Outcome.REFUSED, Refusal.PROMISE_TIMED_OUT, 0)
    assert draft.spans.verdicts_landed == [(HOME, 1, verdict(Refusal.PROMISE_TIMED_OUT))]
    books.commit(draft)
    assert books.promise(asked(ELSEWHERE, OUT)) == PromiseAnswer(Refusal.PROMISE_TIMED_OUT, 1)


def test_decisions_land_in_the_order_of_their_numbers_and_once(books: SpanBooks) -> None:
    books.promise(asked(OUT))
    draft = books.draft()
    promises.settle(draft, HOME, verdict(number=2))
    assert draft.is_empty()
    promises.settle(draft, HOME, verdict())
    promises.settle(draft, HOME, verdict())
    assert draft.watermarks(HOME).landed_through == 1
    assert [landed[1] for landed in draft.spans.verdicts_landed] == [2]


def test_another_shard_cannot_decide_what_its_home_was_promised(books: SpanBooks) -> None:
    books.promise(asked(OUT))
    draft = books.draft()
    promises.settle(draft, OTHER, verdict(POOR))
    assert draft.spans.verdicts_landed == [(OTHER, 0, verdict(POOR))]
    assert draft.watermarks(OTHER).landed_through == 1
    assert not draft.entries
    books.commit(draft)
    assert books.state_of(ID) is PromiseState.OPEN


def test_a_home_tells_each_peer_once_and_refuses_what_it_never_decided() -> None:
    home = SpanBooks(HOME)
    draft = home.draft()
    tell(draft, HERE, [Told(ID, PAYER), Told(ID, PAYER)])
    timed_out = Verdict(1, ID, Outcome.REFUSED, Refusal.PROMISE_TIMED_OUT, "", TODAY, PAYER)
    assert draft.spans.verdicts == [(HERE, 0, timed_out)]
    (row,) = draft.transfers
    assert (row.debit_account, row.kind, row.refusal, row.actor_id) == (PAYER, Kind.BURIED, timed_out.refusal, 0)
    home.commit(draft)
    home.decisions[an_id(2)] = Decision(7, Kind.ASKED, Outcome.POSTED, 0, 1, 0, 0)
    home.decisions[an_id(3)] = Decision(7, Kind.ASKED, Outcome.REFUSED, POOR, 1, 0, 0)
    draft = home.draft()
    tell(draft, HERE, [Told(an_id(number), PAYER) for number in (1, 2, 3)])
    tell(draft, OTHER, [Told(ID, FAR)])
    assert [(peer, told.number, told.transfer_id, told.refusal) for peer, _, told in draft.spans.verdicts] == [
        (HERE, 2, an_id(2), Refusal.TRANSFER_ID_TAKEN),
        (HERE, 3, an_id(3), POOR),
        (OTHER, 1, ID, Refusal.PROMISE_TIMED_OUT),
    ]
    assert not draft.transfers
