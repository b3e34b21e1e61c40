"""What few of the ledger's messages have: actors, wishes, relations; and the bounds of what all have."""

from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from memory_books import CZK
from test_wire import FAR, NOWHERE, A, B, C, a_fee, asked, further_leg, read

from services.domain import errors, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger import wire
from services.ledger.books import Actor, Leg, PlaceError, Relation, Special
from services.ledger.reader import TransferRecord

LAST_DAY = 2_932_896
"""9999-12-31 in days since 1970-01-01."""
HOLD, ORIGINAL = b"h" * 16, b"o" * 16
ANNA, IVAN = ledger_pb2.Actor(channel="app", subject="anna"), ledger_pb2.Actor(channel="web", subject="ivan")


def special(**given: Any) -> ledger_pb2.Special:
    return ledger_pb2.Special(**given)


def test_who_asks_is_read_for_each_transfer() -> None:
    assert read(asked()).actors is None
    assert read(asked(actors=[ANNA])).actors == [Actor("app", "anna")] * 2
    assert read(asked(actors=[ANNA, IVAN], actor_places=[1, 0])).actors == [Actor("web", "ivan"), Actor("app", "anna")]


@pytest.mark.parametrize("places", [[0], [0, 1, 0], [0, 2], [-1, 0]])
def test_who_asks_is_one_of_those_named_for_each_transfer(places: list[int]) -> None:
    with pytest.raises(errors.Malformed) as refused:
        read(asked(actors=[ANNA, IVAN], actor_places=places))
    assert (refused.value.reason, refused.value.field) == ("COLUMNS_INVALID", "actor_places")


def test_nobody_has_a_name_that_the_books_cannot_take() -> None:
    with pytest.raises(errors.Malformed):
        read(asked(actors=[ledger_pb2.Actor(channel="app", subject="an\0na")]))


def test_wishes_are_read_as_they_are_given_and_none_is_added() -> None:
    every_flag = [special(place=1, original_id=ORIGINAL, flags=7)]
    assert read(asked(specials=every_flag)).specials == {1: Special(None, ORIGINAL, 7, None)}
    capture = [special(hold_id=HOLD, fee_minor_max=limits.BALANCE_MINOR_MAX)]
    assert read(asked(specials=capture)).specials == {0: Special(HOLD, None, 0, limits.BALANCE_MINOR_MAX)}


@pytest.mark.parametrize(
    ("reason", "wish"),
    [
        ("PLACE_INVALID", special(place=2, flags=1)),
        ("SPECIAL_INVALID", special(flags=2)),
        ("SPECIAL_INVALID", special(hold_id=HOLD, flags=2)),
        ("SPECIAL_INVALID", special(flags=8)),
        ("SPECIAL_INVALID", special(flags=-1, original_id=ORIGINAL)),
        ("SPECIAL_INVALID", special(hold_id=HOLD, original_id=ORIGINAL)),
        ("AMOUNT_INVALID", special(fee_minor_max=limits.BALANCE_MINOR_MAX + 1)),
    ],
)
def test_wishes_that_no_gateway_sends_are_refused(reason: str, wish: ledger_pb2.Special) -> None:
    with pytest.raises(errors.Malformed) as refused:
        read(asked(specials=[wish]))
    assert refused.value.reason == reason


def test_the_bounds_of_amounts_and_dates_are_taken() -> None:
    transfers = read(asked(amounts_minor=[1, limits.AMOUNT_MINOR_MAX], value_dates=[1, LAST_DAY]))
    assert (transfers.amounts_minor, transfers.value_dates) == ([1, limits.AMOUNT_MINOR_MAX], [1, LAST_DAY])
    with pytest.raises(errors.Malformed, match="value_dates"):
        read(asked(value_dates=[0, LAST_DAY + 1]))


def test_a_page_holds_from_one_row_to_the_most() -> None:
    assert [wire.page_limit(limit) for limit in (1, limits.PAGE_SIZE_MAX)] == [1, limits.PAGE_SIZE_MAX]
    for limit in (0, limits.PAGE_SIZE_MAX + 1):
        with pytest.raises(errors.Malformed, match="limit"):
            wire.page_limit(limit)


def test_a_reversal_spans_the_shards_of_all_its_legs_the_first_too() -> None:
    legs: Any = {"debit_accounts": [FAR, A], "further_legs": [further_leg(0, A, B)]}
    reversal = read(asked(**legs, credit_accounts=[A, B], specials=[special(original_id=ORIGINAL)]))
    assert (reversal.errors, reversal.spans) == ({0: PlaceError.UNDECIDED}, {0: ((2, 1), (1, 1))})


def test_a_capture_that_crosses_and_bears_a_fee_is_a_crossing() -> None:
    capture = read(asked(credit_accounts=[FAR, B], further_legs=[a_fee()], specials=[special(hold_id=HOLD)]))
    assert (capture.peers, capture.errors, capture.spans) == ([2, 0], {}, {})


def test_whether_a_payee_exists_is_for_the_shards_to_say_when_there_are_several() -> None:
    spanning = read(asked(credit_accounts=[NOWHERE, NOWHERE], further_legs=[further_leg(0, A, FAR)]))
    assert spanning.payee_refusals == {1: Refusal.CREDIT_ACCOUNT_NOT_FOUND}


def test_the_fingerprint_of_a_wish_never_changes() -> None:
    # As that of a body, it stands in the books for ever.
    wishes = [special(hold_id=HOLD, flags=5, fee_minor_max=7), special(place=1, original_id=ORIGINAL, flags=2)]
    assert read(asked(specials=wishes)).fingerprints == [1938856433540845830, -6991654331849143837]
    assert [wire.fingerprint(body) for body in (b"", b"body")] == [-5426141060434712860, 4632776558058876652]


@pytest.mark.parametrize(
    ("relation", "hold_id", "original_id"),
    [
        (0, b"", b""),
        (Relation.HOLD, HOLD, b""),
        (Relation.CAPTURES, HOLD, b""),
        (Relation.REVERSES, b"", HOLD),
    ],
)
def test_a_transfer_is_written_with_what_it_refers_to(relation: int, hold_id: bytes, original_id: bytes) -> None:
    legs = (Leg(A, C, 100, CZK),)
    known = TransferRecord(b"1" * 16, legs, 1, Outcome.POSTED, 0, "", None, 5, 1, 1, 0, None, relation, HOLD, 0, 0, ())
    written = wire.record(known)
    assert (written.hold_id, written.original_id) == (hold_id, original_id)


def test_a_row_of_the_trail_is_written_whole() -> None:
    numbers = {
        "sequence": 1,
        "kind": 3,
        "debit_account": 4,
        "credit_account": 5,
        "amount_minor": 6,
        "currency": 7,
        "outcome": 1,
        "refusal": 8,
        "flags": 2,
        "leg_count": 9,
    }
    texts = {"id": b"i" * 16, "words": "rent"}
    row = wire.trail_row({**numbers, **texts, "time": 2, "channel": "app", "subject": "anna"})
    assert row == ledger_pb2.ListTrailResponse.Row(**numbers, **texts, time_us=2, actor=ANNA)
