"""Reversals where money crosses: buried originals, landings given back, crossings returned with their fees."""

import pytest
from memory_books import CZK, EUR, Ask, MemoryBooks, an_id, ask, crossings, customer_account
from memory_special import (
    SpecialAsk,
    SpecialBooks,
    capture,
    columns,
    command,
    increase,
    legs,
    place,
    post,
    refusal,
    release,
    reverse,
)

from services.domain.chart import transit_account
from services.domain.outcomes import Outcome, Refusal
from services.ledger import holds, posting
from services.ledger.books import Answers, Flag, HoldCommand, Kind, Leg, PlaceError, Restriction, Special
from services.ledger.specials import reversal_refusal, waits_for_original
from services.ledger.traffic import Crossing

PAYER, FEES, THIRD, PAYEE = (*(customer_account(1, serial) for serial in (1, 2, 3)), customer_account(2, 1))
POSTED, REFUSED, IN_TRANSIT = Outcome.POSTED, Outcome.REFUSED, Outcome.IN_TRANSIT
BURIED = Refusal.REVERSED_BEFORE_ARRIVAL
ORIGINAL, AMOUNT = 1, 1_000


@pytest.fixture
def here() -> SpecialBooks:
    """Give shard 1, where the payer is."""
    books = SpecialBooks(1)
    for number in (PAYER, FEES, THIRD):
        books.open(number, 5_000)
    return books


@pytest.fixture
def there() -> SpecialBooks:
    """Give shard 2, where the payee is."""
    books = SpecialBooks(2)
    books.open(PAYEE)
    return books


def balances(books: MemoryBooks, *numbers: int) -> list[int]:
    return [books.accounts[number].balance_minor for number in numbers]


def bury(books: SpecialBooks, *numbers: int) -> list[bool]:
    draft = books.draft()
    buried = posting.bury(draft, [an_id(number) for number in numbers], [PAYER] * len(numbers))
    books.commit(draft)
    return buried


def land(books: SpecialBooks, sent: list[Crossing], from_shard: int = 1) -> dict[int, int]:
    """Land crossings as one batch; give the refusals by number."""
    draft = books.draft()
    posting.land(draft, crossings(from_shard, sent))
    books.commit(draft)
    return books.refused.get(from_shard, {})


def acknowledge(books: SpecialBooks, peer_id: int, refusals: dict[int, int]) -> None:
    """Tell a shard that all it sent has landed but for these."""
    sent = books.sent[peer_id]
    draft = books.draft()
    refused = [(crossing, refusals[crossing.number]) for crossing in sent if crossing.number in refusals]
    posting.acknowledge(draft, peer_id, len(sent), refused)
    books.commit(draft)


def waits(books: SpecialBooks, original: int) -> bool:
    """Tell whether a reversal of it would have to wait."""
    return waits_for_original(books.draft(), Special(original_id=an_id(original)))


def send(books: SpecialBooks, asked: Ask | SpecialAsk) -> Crossing:
    """Send one crossing away."""
    answers = post(books, asked)
    assert answers.outcomes == [IN_TRANSIT]
    ((peer_id, _),) = answers.crossings.values()
    return books.sent[peer_id][-1]


# Burial


def test_a_buried_id_is_a_row_without_entries(here: SpecialBooks) -> None:
    assert bury(here, ORIGINAL) == [True]
    (row,) = here.transfers.values()
    assert (row.kind, row.debit_account, row.amount_minor, row.outcome, row.refusal) == (
        Kind.BURIED,
        PAYER,
        0,
        REFUSED,
        BURIED,
    )
    assert here.entries == {}


@pytest.mark.parametrize(
    "asked",
    [
        ask(ORIGINAL, PAYER, FEES, AMOUNT),
        ask(ORIGINAL, 5, 6, 9_999, EUR, reference="rent", value_date=20_001),
        ask(ORIGINAL, PAYER, PAYEE, AMOUNT, peer_id=2),
        ask(ORIGINAL, PAYER, PAYEE, AMOUNT, peer_id=2, payee_refusal=Refusal.CREDIT_ACCOUNT_CLOSED),
        ask(ORIGINAL, PAYER, PAYEE, AMOUNT, error=PlaceError.PAYEE_SHARD_UNREACHABLE),
        legs(ORIGINAL, (PAYER, FEES, 1), (FEES, PAYER, 1)),
        capture(ORIGINAL, 7, PAYER, FEES, 1),
        reverse(ORIGINAL, 8, (PAYER, FEES, 1)),
    ],
)
@pytest.mark.parametrize("is_same_draft", [True, False])
def test_a_buried_id_refuses_the_original_whatever_its_body(
    here: SpecialBooks, asked: Ask | SpecialAsk, is_same_draft: bool
) -> None:
    post(here, ask(8, FEES, PAYER, 1))
    command(here, place(7, PAYER, 1))
    draft = here.draft()
    posting.bury(draft, [an_id(ORIGINAL)], [PAYER])
    buried_us = draft.booking_time_us
    if not is_same_draft:
        here.commit(draft)
        here.wait(1)
        draft = here.draft()
    before, entries = draft.sequence, list(draft.entries)
    answers = posting.post(draft, columns([asked, asked]))
    assert answers == Answers([REFUSED] * 2, [BURIED] * 2, [buried_us] * 2, {}, {})
    assert (draft.sequence, draft.entries) == (before, entries)


@pytest.mark.parametrize(
    "asked", [place(ORIGINAL, PAYER, 1), increase(ORIGINAL, 7, PAYER, 1), release(ORIGINAL, 7, PAYER)]
)
def test_a_buried_id_names_no_command_on_a_hold(here: SpecialBooks, asked: HoldCommand) -> None:
    command(here, place(7, PAYER, 1))
    bury(here, ORIGINAL)
    draft = here.draft()
    assert holds.command(draft, [asked], [1]).errors == {0: PlaceError.TRANSFER_ID_REUSED}
    assert draft.is_empty()


def test_only_an_id_that_means_nothing_yet_is_buried(here: SpecialBooks, there: SpecialBooks) -> None:
    posted, refused = ask(1, PAYER, FEES, 1), ask(2, PAYER, FEES, 9_999)
    post(here, posted, refused)
    command(here, place(3, PAYER, 1))
    sequence = here.sequence
    assert bury(here, 1, 2, 3) == [False, False, False]
    assert here.sequence == sequence
    assert bury(here, 4, 4) == [True, False]
    assert bury(here, 4) == [False]
    assert post(here, posted, refused).outcomes == [POSTED, REFUSED]
    land(there, [send(here, ask(5, PAYER, PAYEE, 1, peer_id=2))])
    assert bury(there, 5) == [False]


def test_a_transfer_that_came_first_in_a_draft_is_not_buried(here: SpecialBooks) -> None:
    draft = here.draft()
    posting.post(draft, columns([ask(ORIGINAL, PAYER, FEES, 1)]))
    assert posting.bury(draft, [an_id(ORIGINAL)], [PAYER]) == [False]


def test_what_was_buried_is_not_reversed_later_on(here: SpecialBooks) -> None:
    bury(here, ORIGINAL)
    asked = ask(ORIGINAL, PAYER, FEES, AMOUNT)
    assert post(here, asked).refusals == [BURIED]
    assert refusal(here, reverse(2, ORIGINAL, (FEES, PAYER, AMOUNT))) == Refusal.ORIGINAL_NOT_FOUND


def test_a_landing_under_a_buried_id_is_refused_and_given_back(here: SpecialBooks, there: SpecialBooks) -> None:
    bury(there, 2)
    for number in (1, 2, 3):
        send(here, ask(number, PAYER, PAYEE, AMOUNT, peer_id=2))
    refusals = land(there, here.sent[2])
    assert refusals == {2: BURIED}
    assert balances(there, PAYEE, transit_account(2, 1, CZK)) == [2 * AMOUNT, -2 * AMOUNT]
    acknowledge(here, 2, refusals)
    assert balances(here, PAYER, transit_account(1, 2, CZK)) == [3_000, 2 * AMOUNT]
    assert here.returned == {2: {2: BURIED}}


def test_a_landing_under_a_buried_id_is_refused_for_that_first(here: SpecialBooks, there: SpecialBooks) -> None:
    bury(there, ORIGINAL)
    there.accounts[PAYEE].restrictions = Restriction.CLOSED
    assert land(there, [send(here, ask(ORIGINAL, PAYER, PAYEE, 1, peer_id=2))]) == {1: BURIED}


# Landings given back


def give_back(number: int, amount: int, flags: int = 0) -> SpecialAsk:
    return reverse(number, ORIGINAL, (PAYEE, PAYER, amount), flags=flags, peer_id=1)


@pytest.fixture
def landed(here: SpecialBooks, there: SpecialBooks) -> SpecialBooks:
    """Give shard 2 after a crossing of 10.00 from shard 1, which had a fee there."""
    crossing = send(here, legs(ORIGINAL, (PAYER, PAYEE, AMOUNT), (PAYER, FEES, 5), peer_id=2))
    assert land(there, [crossing]) == {}
    acknowledge(here, 2, {})
    return there


def test_what_landed_is_given_back_across_in_parts_and_never_more(here: SpecialBooks, landed: SpecialBooks) -> None:
    answers = post(landed, give_back(2, 400), give_back(3, 601), give_back(4, 600), give_back(5, 1))
    exceeds = Refusal.REVERSAL_EXCEEDS_ORIGINAL
    assert answers.refusals == [0, exceeds, 0, exceeds]
    assert answers.outcomes[0] == answers.outcomes[2] == IN_TRANSIT
    assert land(here, landed.sent[1], from_shard=2) == {}
    assert balances(here, PAYER, FEES) == [4_995, 5_005]
    assert balances(landed, PAYEE) == [0]


def test_a_reversal_that_came_back_may_be_asked_for_again(here: SpecialBooks, landed: SpecialBooks) -> None:
    here.accounts[PAYER].restrictions = Restriction.CREDITS_FROZEN
    post(landed, give_back(2, AMOUNT))
    assert refusal(landed, give_back(3, 1)) == Refusal.REVERSAL_EXCEEDS_ORIGINAL  # While it may still arrive.
    acknowledge(landed, 1, land(here, landed.sent[1], from_shard=2))
    assert landed.returned == {1: {1: Refusal.CREDITS_FROZEN}}
    assert balances(landed, PAYEE) == [AMOUNT]
    assert post(landed, give_back(4, AMOUNT)).outcomes == [IN_TRANSIT]


def test_an_overdrawing_reversal_crosses_too(landed: SpecialBooks) -> None:
    landed.open(customer_account(2, 2))
    post(landed, ask(9, PAYEE, customer_account(2, 2), AMOUNT))
    answers = post(landed, give_back(2, AMOUNT), give_back(3, AMOUNT, Flag.OVERDRAW))
    assert answers.refusals == [Refusal.INSUFFICIENT_FUNDS, 0]
    assert balances(landed, PAYEE) == [-AMOUNT]


def test_a_crossing_is_an_original_once_it_has_arrived_and_not_when_it_came_back(here: SpecialBooks) -> None:
    for number in (1, 2):
        send(here, ask(number, PAYER, PAYEE, 1, peer_id=2))

    assert waits(here, 1) and waits(here, 2) and not waits(here, 3)
    acknowledge(here, 2, {2: Refusal.CREDIT_ACCOUNT_CLOSED})

    def refusals() -> list[int]:
        """Ask the rule itself: the payee, who would pay, is not here."""
        return [reversal_refusal(here.draft(), an_id(number), [Leg(PAYEE, PAYER, 1, CZK)]) for number in (1, 2)]

    assert not any(waits(here, number) for number in (1, 2, 3))
    assert refusals() == [0, Refusal.ORIGINAL_NOT_POSTED]


@pytest.mark.parametrize("error", [None, PlaceError.UNDECIDED, PlaceError.PAYEE_SHARD_UNREACHABLE])
def test_a_reversal_is_not_decided_while_its_original_is_on_its_way(
    here: SpecialBooks, error: PlaceError | None
) -> None:
    send(here, legs(ORIGINAL, (PAYER, PAYEE, AMOUNT), (PAYER, FEES, 5), peer_id=2))
    back = reverse(2, ORIGINAL, (FEES, PAYER, 5), (PAYEE, PAYER, AMOUNT), error=error)
    draft = here.draft()
    answers = posting.post(draft, columns([back, ask(3, PAYER, FEES, 1)]))
    assert (answers.errors, answers.outcomes) == ({0: PlaceError.ORIGINAL_IN_TRANSIT}, [0, POSTED])
    assert (answers.refusals, answers.booking_times_us[0]) == ([0, 0], 0)
    assert [row.transfer_id for row in draft.transfers] == [an_id(3)]
    acknowledge(here, 2, {})
    assert posting.post(here.draft(), columns([back])).errors == ({} if error is None else {0: error})


def test_an_original_of_the_same_batch_is_on_its_way(here: SpecialBooks) -> None:
    draft = here.draft()
    posting.post(draft, columns([ask(ORIGINAL, PAYER, PAYEE, AMOUNT, peer_id=2)]))
    answers = posting.post(draft, columns([reverse(2, ORIGINAL, (PAYEE, PAYER, AMOUNT))]))
    assert answers.errors == {0: PlaceError.ORIGINAL_IN_TRANSIT}


def test_what_was_decided_stays_although_the_original_is_on_its_way_now(here: SpecialBooks) -> None:
    early = reverse(2, ORIGINAL, (FEES, PAYER, AMOUNT))
    assert post(here, early).refusals == [Refusal.ORIGINAL_NOT_FOUND]
    send(here, ask(ORIGINAL, PAYER, PAYEE, AMOUNT, peer_id=2))
    again = post(here, early, ask(2, PAYER, FEES, 1))
    assert (again.refusals[0], again.errors) == (Refusal.ORIGINAL_NOT_FOUND, {1: PlaceError.TRANSFER_ID_REUSED})


# Crossings returned with their further legs


def test_a_returned_crossing_gives_its_fees_back_with_it(here: SpecialBooks) -> None:
    before = balances(here, PAYER, FEES, THIRD)
    moves = (PAYER, PAYEE, AMOUNT), (PAYER, FEES, 50), (FEES, THIRD, 20)
    crossing = send(here, legs(ORIGINAL, *moves, peer_id=2))
    assert crossing.further == (Leg(PAYER, FEES, 50, CZK), Leg(FEES, THIRD, 20, CZK))
    assert balances(here, PAYER, FEES, THIRD) == [3_950, 5_030, 5_020]
    acknowledge(here, 2, {1: Refusal.CREDIT_ACCOUNT_CLOSED})
    assert balances(here, PAYER, FEES, THIRD, transit_account(1, 2, CZK)) == [*before, 0]
    row = here.transfers[4]
    assert (row.kind, row.transfer_id, row.leg_count) == (Kind.RETURN, an_id(ORIGINAL), 3)
    assert here.legs[4] == tuple(Leg(credit, debit, amount, CZK) for debit, credit, amount in moves)
    acknowledge(here, 2, {1: Refusal.CREDIT_ACCOUNT_CLOSED})
    assert balances(here, PAYER, FEES, THIRD) == before


def test_a_return_with_its_fees_is_not_refused_whatever_became_of_the_accounts(here: SpecialBooks) -> None:
    send(here, legs(ORIGINAL, (PAYER, PAYEE, AMOUNT), (PAYER, FEES, 50), peer_id=2))
    post(here, ask(2, FEES, THIRD, 5_050))
    for number in (PAYER, FEES):
        here.accounts[number].restrictions = Restriction.DEBITS_FROZEN | Restriction.CREDITS_FROZEN
    acknowledge(here, 2, {1: BURIED})
    assert balances(here, PAYER, FEES) == [5_000, -50]


def test_of_several_crossings_only_the_refused_one_comes_back_with_its_fee(here: SpecialBooks) -> None:
    for number in (1, 2, 3):
        send(here, legs(number, (PAYER, PAYEE, AMOUNT), (PAYER, FEES, number), peer_id=2))
    acknowledge(here, 2, {2: Refusal.CREDITS_FROZEN})
    assert balances(here, PAYER, FEES, transit_account(1, 2, CZK)) == [2_996, 5_004, 2_000]


def test_a_refused_fee_keeps_the_crossing_here(here: SpecialBooks) -> None:
    asked = legs(ORIGINAL, (PAYER, PAYEE, AMOUNT), (PAYER, 5, 50), peer_id=2)
    answers = post(here, asked, ask(2, PAYER, PAYEE, AMOUNT, peer_id=2))
    assert answers.refusals == [Refusal.CREDIT_ACCOUNT_NOT_FOUND, 0]
    assert answers.crossings == {1: (2, 1)}
    assert balances(here, PAYER, transit_account(1, 2, CZK)) == [4_000, AMOUNT]
