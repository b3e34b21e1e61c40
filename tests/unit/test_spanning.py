"""Transfers over several shards as their home writes them: judged leg by leg, all or none, told to who takes part."""

from dataclasses import replace

import pytest
from memory_books import DAY_US, TODAY
from span_books import CZK, SpanBooks, an_id, customer_account, span

from services.domain import chart, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import spanning
from services.ledger.books import (
    NO_LEG,
    AccountState,
    Allowance,
    Creditor,
    Decision,
    Flag,
    Kind,
    Leg,
    Original,
    Relation,
    Restriction,
    Special,
    Spent,
    TransferRow,
)
from services.ledger.draft import Draft
from services.ledger.spanning import Answered, Span
from services.ledger.traffic import RoutedLeg, Verdict

HOME, PEERS = 1, (2, 3)
PAYER, B, C = (customer_account(shard, 1) for shard in (HOME, *PEERS))
SECOND = customer_account(HOME, 2)
ID = an_id(1)
NOW = TODAY * DAY_US + 1
POOR, CLOSED = Refusal.INSUFFICIENT_FUNDS, Refusal.CREDIT_ACCOUNT_CLOSED
LEGS = (Leg(PAYER, B, 60, CZK), Leg(C, B, 10, CZK), Leg(C, SECOND, 25, CZK), Leg(PAYER, SECOND, 5, CZK))
"""Out to one peer, from peer to peer, in from another, and one between accounts of the home."""


@pytest.fixture
def books() -> SpanBooks:
    books = SpanBooks(HOME)
    books.add(PAYER, 100)
    books.add(SECOND)
    return books


def decide(draft: Draft, asked: Span, *refusals: tuple[int, int], told: tuple[int, ...] = PEERS) -> Answered | None:
    return spanning.decide(draft, asked, refusals, told, 5)


def transit(peer_id: int) -> int:
    return chart.transit_account(HOME, peer_id, CZK)


def test_a_home_posts_its_own_sides_and_tells_everybody_who_takes_part(books: SpanBooks) -> None:
    draft = books.draft()
    asked = replace(span(*LEGS), reference="rent")
    assert decide(draft, asked, told=()) == Answered(Outcome.POSTED, 0, NO_LEG, NOW, numbers={2: 1, 3: 1})
    assert [(entry[0], *entry[2:5]) for entry in draft.entries] == [
        (PAYER, 1, -60, 40),
        (transit(2), 1, 60, 60),
        (transit(3), 2, -10, -10),
        (transit(2), 2, 10, 70),
        (transit(3), 3, -25, -35),
        (SECOND, 3, 25, 25),
        (PAYER, 4, -5, 35),
        (SECOND, 4, 5, 30),
    ]
    row = TransferRow(1, ID, PAYER, B, 60, 7, TODAY, CZK, Kind.ASKED, Outcome.POSTED, 0, 4, "rent", 5)
    assert draft.transfers == [row]
    assert draft.further_legs == [(2, 1, LEGS[1]), (3, 1, LEGS[2]), (4, 1, LEGS[3])]
    assert draft.spans.routes == [(1, 0, 2), (2, 3, 2), (3, 3, 0)]
    assert draft.decisions == {ID: Decision(7, Kind.ASKED, Outcome.POSTED, 0, NOW, 0, 0)}
    assert draft.spans.verdicts == [
        (peer, 1, Verdict(1, ID, Outcome.POSTED, 0, "rent", TODAY, account)) for peer, account in ((2, B), (3, C))
    ]
    assert draft.sequence == 4
    assert {account.number for account in draft.opened} == {transit(2), transit(3)}
    assert not (draft.spans.refused_legs or draft.value_dated or draft.metadata or draft.creditors or draft.relations)


def test_who_did_not_promise_is_not_told_of_a_refusal_and_nothing_is_moved(books: SpanBooks) -> None:
    books.accounts[PAYER].allowance = Allowance(day_count_max=9)
    draft = books.draft()
    asked = replace(span(*LEGS), creditor=Creditor("BIC", "IBAN", "Anna", "rent"), metadata=(("purpose", "RENT"),))
    answered = decide(draft, asked, (2, POOR), (1, CLOSED), told=(3,))
    assert answered == Answered(Outcome.REFUSED, CLOSED, 1, NOW, numbers={3: 1})
    assert draft.spans.verdicts == [(3, 1, Verdict(1, ID, Outcome.REFUSED, CLOSED, "", TODAY, C))]
    assert draft.spans.refused_legs == [(1, 1)]
    assert draft.decisions[ID] == Decision(7, Kind.ASKED, Outcome.REFUSED, CLOSED, NOW, 0, 0, leg=1)
    assert draft.transfers[0][8:11] == (Kind.ASKED, Outcome.REFUSED, CLOSED)
    assert len(draft.further_legs) == 3
    assert draft.metadata == [(1, asked.metadata)]
    assert draft.creditors == [(1, asked.creditor)]
    assert not (draft.entries or draft.spans.routes or draft.spenders)
    assert (draft.touched[PAYER].balance_minor, draft.touched[PAYER].spent) == (100, None)
    assert draft.touched[transit(2)].balance_minor == 0


@pytest.mark.parametrize(
    ("restrictions", "others", "told"),
    [
        (Restriction.CLOSED, [(3, POOR)], (CLOSED, 2)),
        (Restriction.CLOSED, [(1, POOR)], (POOR, 1)),
        (Restriction.CLOSED, [], (CLOSED, 2)),
        (Restriction.CLOSED, [(2, POOR)], (min(POOR, CLOSED), 2)),
        (0, [(2, POOR), (0, Refusal.DAY_AMOUNT_LIMIT)], (Refusal.DAY_AMOUNT_LIMIT, 0)),
    ],
)
def test_the_refusal_is_that_of_the_first_leg_that_fails_wherever_it_lies(
    books: SpanBooks, restrictions: int, others: list[tuple[int, int]], told: tuple[int, int]
) -> None:
    books.accounts[SECOND].restrictions = restrictions
    answered = decide(books.draft(), span(*LEGS), *others)
    assert (answered.refusal, answered.leg) == told


def test_legs_after_one_that_fails_at_home_are_not_judged(books: SpanBooks) -> None:
    draft = books.draft()
    assert decide(draft, span(Leg(PAYER, B, 101, CZK), Leg(PAYER, C, 999, CZK))).leg == 0
    assert draft.sequence == 2, "each leg has its sequence all the same"


def test_an_account_that_is_not_there_refuses_the_transfer_and_is_not_moved(books: SpanBooks) -> None:
    nobody = customer_account(HOME, 9)
    for legs, refusal in (
        ((Leg(PAYER, B, 1, CZK), Leg(C, nobody, 1, CZK)), Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        ((Leg(PAYER, B, 1, CZK), Leg(nobody, C, 1, CZK)), Refusal.DEBIT_ACCOUNT_NOT_FOUND),
    ):
        draft = books.draft()
        answered = decide(draft, span(*legs))
        assert (answered.refusal, answered.leg) == (refusal, 1)
        assert not draft.entries


def test_a_leg_between_accounts_of_one_peer_passes_the_home_by(books: SpanBooks) -> None:
    draft = books.draft()
    within = Leg(B, customer_account(2, 2), 7, CZK)
    assert decide(draft, span(Leg(PAYER, B, 60, CZK), within, Leg(PAYER, C, 5, CZK))).refusal == 0
    assert [entry[:3] for entry in draft.entries if entry[0] in {transit(2), transit(3)}] == [
        (transit(2), 1, 1),
        (transit(3), 1, 3),
    ]
    assert draft.spans.routes == [(1, 0, 2), (2, 2, 2), (3, 0, 3)]


def test_what_is_decided_stays_and_another_body_under_the_id_is_an_error(books: SpanBooks) -> None:
    for number, refusals in ((1, ()), (2, ((1, POOR),))):
        draft = books.draft()
        asked = span(*LEGS, number=number)
        first = decide(draft, asked, *refusals)
        sequence = draft.sequence
        again = decide(draft, asked, (0, CLOSED))
        assert again == replace(first, numbers={})
        assert decide(draft, replace(asked, fingerprint=8)) == Answered(is_reused=True)
        assert draft.sequence == sequence
    draft.decisions[ID] = Decision(0, Kind.BURIED, Outcome.REFUSED, Refusal.PROMISE_TIMED_OUT, NOW - 9, 0, 0)
    buried = Answered(Outcome.REFUSED, Refusal.PROMISE_TIMED_OUT, NO_LEG, NOW - 9)
    assert decide(draft, span(*LEGS)) == buried
    draft.decisions[ID] = Decision(7, Kind.PROMISED, Outcome.POSTED, 0, NOW, 0, 0)
    assert decide(draft, span(*LEGS)).is_reused


def test_a_value_date_is_that_of_every_entry_and_of_every_peer(books: SpanBooks) -> None:
    draft = books.draft()
    decide(draft, replace(span(*LEGS), value_date=TODAY - 3))
    assert draft.transfers[0].value_date == TODAY - 3
    assert [told.value_date for _, _, told in draft.spans.verdicts] == [TODAY - 3] * 2
    assert {noted[3] for noted in draft.value_dated} == {TODAY - 3}
    assert len(draft.value_dated) == len(draft.entries)


def test_a_refused_transfer_dates_no_entry_of_others(books: SpanBooks) -> None:
    draft = books.draft()
    decide(draft, replace(span(Leg(PAYER, B, 1, CZK), number=2), value_date=TODAY))
    decide(draft, replace(span(*LEGS), value_date=TODAY - 3), (1, POOR))
    assert not draft.value_dated


def test_fees_are_within_what_the_caller_agreed_to_and_remembered(books: SpanBooks) -> None:
    fee = Leg(PAYER, SECOND, 5, CZK, is_fee=True)
    for agreed, refusal in ((4, Refusal.FEE_EXCEEDS_MAXIMUM), (5, 0)):
        draft = books.draft()
        answered = decide(draft, replace(span(*LEGS, fee), special=Special(fee_minor_max=agreed)))
        assert (answered.refusal, answered.leg) == (refusal, 0 if refusal else NO_LEG)
        assert draft.decisions[ID].has_fee


def test_spending_is_counted_once_per_leg_at_home_but_for_fees(books: SpanBooks) -> None:
    books.accounts[PAYER].allowance = Allowance(day_minor_max=65)
    legs = (*LEGS, Leg(PAYER, SECOND, 9, CZK, is_fee=True))
    draft = books.draft()
    assert decide(draft, span(*legs)).refusal == 0
    assert draft.touched[PAYER].spent == Spent(TODAY, 65, 2)
    one_more = span(Leg(PAYER, B, 1, CZK), number=2)
    assert decide(draft, one_more, told=()).refusal == Refusal.DAY_AMOUNT_LIMIT
    assert decide(draft, replace(one_more, transfer_id=an_id(3), special=Special(flags=Flag.LIMITS_OVERRIDDEN))) == (
        Answered(Outcome.POSTED, 0, NO_LEG, NOW, numbers={2: 2})
    )
    assert draft.touched[PAYER].spent == Spent(TODAY, 66, 3)


def reversal(*moves: Leg, flags: int = 0) -> Span:
    return replace(span(*moves), special=Special(original_id=an_id(9), flags=flags))


def with_original(
    books: SpanBooks, legs: tuple[Leg, ...], given_back: int = 0, outcome: Outcome = Outcome.POSTED
) -> Draft:
    return Draft(
        HOME,
        books.sequence,
        NOW,
        TODAY,
        books.accounts.get,
        books.decisions.get,
        books.peers,
        original={an_id(9): Original(an_id(9), outcome, legs, given_back)}.get,
    )


def test_a_reversal_is_left_undecided_when_its_original_was_sent_off_meanwhile(books: SpanBooks) -> None:
    legs = (Leg(B, PAYER, 60, CZK), Leg(C, B, 10, CZK))
    draft = with_original(books, legs, outcome=Outcome.IN_TRANSIT)
    assert decide(draft, reversal(*(leg.turned() for leg in reversed(legs))), (0, POOR)) is None
    assert draft.is_empty() and not draft.decisions
    assert decide(draft, span(*LEGS)) is not None


def test_a_reversal_refers_to_its_original_and_is_nobodys_spending(books: SpanBooks) -> None:
    books.accounts[PAYER].allowance = Allowance(day_minor_max=1, day_count_max=1)
    legs = (Leg(B, PAYER, 60, CZK), Leg(C, B, 10, CZK))
    back = tuple(leg.turned() for leg in reversed(legs))
    draft = with_original(books, (legs[0]._replace(amount_minor=70), legs[1]))
    mismatch = decide(draft, reversal(*back))
    assert (mismatch.refusal, mismatch.leg) == (Refusal.REVERSAL_MISMATCH, 0)
    assert not draft.relations
    draft = with_original(books, legs)
    asked = reversal(*back)
    assert asked.flags == Flag.GIVES_BACK
    assert decide(draft, asked).refusal == 0
    assert draft.relations == [(1, Relation.REVERSES, an_id(9), 70)]
    assert draft.originals[an_id(9)].reversed_minor == 70
    assert draft.touched[PAYER].spent is None
    assert decide(draft, replace(asked, transfer_id=an_id(2))).refusal == Refusal.REVERSAL_EXCEEDS_ORIGINAL


def test_only_what_may_overdraw_goes_below_the_floor(books: SpanBooks) -> None:
    legs = (Leg(PAYER, B, 130, CZK), Leg(PAYER, C, 1, CZK))
    original = tuple(leg.turned() for leg in reversed(legs))
    assert decide(with_original(books, original), reversal(*legs)).refusal == POOR
    draft = with_original(books, original)
    assert decide(draft, reversal(*legs, flags=Flag.OVERDRAW)).refusal == 0
    assert draft.touched[PAYER].balance_minor == -31
    assert draft.transfers[0].flags == Flag.OVERDRAW
    books.accounts[PAYER].restrictions = Restriction.DEBITS_FROZEN
    frozen = decide(with_original(books, original), reversal(*legs, flags=Flag.OVERDRAW))
    assert frozen.refusal == Refusal.DEBITS_FROZEN


@pytest.mark.parametrize(
    ("leg", "refusal"),
    [
        (RoutedLeg(0, 1, B, 1, CZK, 0, 2), Refusal.DEBIT_ACCOUNT_NOT_FOUND),
        (RoutedLeg(0, B, 1, 1, CZK, 2, 0), Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (RoutedLeg(0, PAYER, 1, 101, CZK, 0, 0), Refusal.CREDIT_ACCOUNT_NOT_FOUND),
        (RoutedLeg(0, PAYER, SECOND, 101, CZK, 0, 0), POOR),
        (RoutedLeg(0, PAYER, SECOND, 100, CZK, 0, 0), 0),
        (RoutedLeg(0, B, C, 10**15, CZK, 2, 2), 0),
    ],
)
def test_only_the_sides_that_lie_here_are_judged(books: SpanBooks, leg: RoutedLeg, refusal: int) -> None:
    assert spanning.leg_refusal(books.draft(), leg, 0) == refusal


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("is_leaving", [True, False])
def test_a_transit_account_that_is_full_lets_money_pass_the_other_way_only(
    books: SpanBooks, is_full: bool, is_leaving: bool
) -> None:
    balance = limits.BALANCE_MINOR_MAX * (1 if is_full == is_leaving else -1)
    books.accounts[transit(2)] = AccountState(transit(2), CZK, -limits.BALANCE_MINOR_MAX, 0, 0, balance)
    leg = RoutedLeg(0, PAYER, B, 1, CZK, 0, 2) if is_leaving else RoutedLeg(0, B, PAYER, 1, CZK, 2, 0)
    refusal = Refusal.CREDIT_BALANCE_LIMIT if is_full else 0
    assert spanning.leg_refusal(books.draft(), leg, 0) == refusal
    passing_by = RoutedLeg(0, B, B, 1, CZK, 2, 2)
    assert spanning.leg_refusal(books.draft(), passing_by, 0) == 0


def test_a_participant_sees_only_its_own_legs_and_its_home_behind_everybody_else() -> None:
    asked = span(*LEGS, Leg(PAYER, B, 2, CZK, is_fee=True))
    assert asked.peers == [2, 3]
    assert asked.share(2) == (
        RoutedLeg(0, *LEGS[0][:4], HOME, 0),
        RoutedLeg(1, *LEGS[1][:4], HOME, 0),
        RoutedLeg(4, PAYER, B, 2, CZK, HOME, 0, is_fee=True),
    )
    assert asked.share(3) == (RoutedLeg(1, *LEGS[1][:4], 0, HOME), RoutedLeg(2, *LEGS[2][:4], 0, HOME))
    assert [leg[5:7] for leg in asked.share(HOME)] == [(0, 2), (3, 2), (3, 0), (0, 0), (0, 2)]
    assert [asked.account_on(shard) for shard in (HOME, *PEERS)] == [PAYER, B, C]
