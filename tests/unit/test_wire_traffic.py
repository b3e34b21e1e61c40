"""What ledgers tell each other is read as it was written, and refused as a whole when no ledger writes such a thing."""

from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2
from memory_books import CZK
from test_wire import FAR, A, B, C, a_fee, asked, creditor, further_leg, read

from services.domain import errors, limits
from services.domain.outcomes import Refusal
from services.ledger import wire_traffic
from services.ledger.books import Actor, Creditor, Flag, Leg, Special
from services.ledger.promises import PromiseAsked
from services.ledger.spanning import Span, Told
from services.ledger.traffic import RoutedLeg, Verdict

ANNA, IVAN = ledger_pb2.Actor(channel="app", subject="anna"), ledger_pb2.Actor(channel="web", subject="ivan")
ID = b"p" * 16
SHARD_ID_MAX = 999
LAST_DAY = 2_932_896
"""9999-12-31 in days since 1970-01-01."""
POSTED, REFUSED = ledger_pb2.OUTCOME_POSTED, ledger_pb2.OUTCOME_REFUSED


def landing(**columns: Any) -> ledger_pb2.LandCrossingsRequest:
    """Two crossings of shard 1 to shard 2, numbered 7 and 8, except for what `columns` say."""
    usual: dict[str, Any] = {
        "shard_id": 2,
        "from_shard_id": 1,
        "first_number": 7,
        "transfer_ids": b"1" * 32,
        "debit_accounts": [A, A],
        "credit_accounts": [FAR, FAR],
        "amounts_minor": [1, 2],
        "currencies": [CZK, CZK],
        "references": ["", "x"],
        "value_dates": [20_000, 20_001],
    }
    return ledger_pb2.LandCrossingsRequest(**{**usual, **columns})


def only(*numbers: int, first_number: int = 7, **columns: Any) -> ledger_pb2.LandCrossingsRequest:
    """Decisions without crossings."""
    decisions = [decision(number) for number in numbers]
    usual = {"shard_id": 2, "from_shard_id": 1, "first_number": first_number, "decisions": decisions}
    return ledger_pb2.LandCrossingsRequest(**{**usual, **columns})


def decision(number: int, outcome: Any = POSTED, refusal: int = 0, **given: Any) -> ledger_pb2.Decision:
    usual = {"transfer_id": ID, "reference": "rent", "value_date": 20_000, "account": FAR}
    return ledger_pb2.Decision(number=number, outcome=outcome, refusal=refusal, **{**usual, **given})


def reason_of(request: ledger_pb2.LandCrossingsRequest) -> str:
    with pytest.raises(errors.Malformed) as caught:
        wire_traffic.crossings(request)
    return caught.value.reason


# Crossings


def test_crossings_are_read_with_their_numbers() -> None:
    crossings = wire_traffic.crossings(landing())
    assert (crossings.peer_id, crossings.first_number, crossings.amounts_minor) == (1, 7, [1, 2])
    assert (crossings.references, crossings.value_dates) == (["", "x"], [20_000, 20_001])
    assert (crossings.actors, crossings.decisions) == (None, [])


def test_crossings_keep_who_asked_for_each_of_them() -> None:
    crossings = wire_traffic.crossings(landing(actors=[ANNA, IVAN], actor_places=[1, 0]))
    assert crossings.actors == [Actor("web", "ivan"), Actor("app", "anna")]


@pytest.mark.parametrize("numbers", [(7,), (9,), (7, 8), (7, 10), (8, 9), (9, 10)])
def test_decisions_take_their_numbers_from_the_stream_before_among_and_after_crossings(
    numbers: tuple[int, ...],
) -> None:
    crossings = wire_traffic.crossings(landing(decisions=[decision(number) for number in numbers]))
    taken = [
        [run.number]
        if isinstance(run, Verdict)
        else list(range(run.first_number, run.first_number + len(run.transfer_ids)))
        for run in crossings.runs()
    ]
    assert [number for run in taken for number in run] == list(range(7, 9 + len(numbers)))


@pytest.mark.parametrize("numbers", [(6,), (10,), (7, 7), (8, 7), (7, 11), (6, 7), (9, 11)])
def test_decisions_whose_numbers_leave_a_gap_or_are_taken_twice_are_refused(numbers: tuple[int, ...]) -> None:
    assert reason_of(landing(decisions=[decision(number) for number in numbers])) == "CROSSINGS_INVALID"


def test_decisions_travel_without_crossings_too() -> None:
    crossings = wire_traffic.crossings(only(7, 8))
    assert (crossings.peer_id, crossings.transfer_ids) == (1, [])
    assert [verdict.number for verdict in crossings.decisions] == [7, 8]
    assert reason_of(only(7, 9)) == reason_of(only(8)) == "CROSSINGS_INVALID"
    for wrong in ({"from_shard_id": 2}, {"from_shard_id": 0}, {"from_shard_id": SHARD_ID_MAX + 1}):
        assert reason_of(only(7, **wrong)) == "CROSSINGS_INVALID"
    assert reason_of(only(0, first_number=0)) == "CROSSINGS_INVALID"


@pytest.mark.parametrize(
    "column",
    [
        {"debit_accounts": [A]},
        {"credit_accounts": [FAR]},
        {"amounts_minor": [1]},
        {"currencies": [CZK]},
        {"references": [""]},
        {"value_dates": [20_000]},
        {"actors": [ledger_pb2.Actor(channel="app")]},
        {"actor_places": [0]},
    ],
    ids=lambda column: next(iter(column)),
)
def test_decisions_without_crossings_come_without_their_columns(column: dict[str, Any]) -> None:
    assert reason_of(only(7, **column)) == "COLUMNS_INVALID"
    assert reason_of(only(7, metadata=[ledger_pb2.Metadata(place=0, pairs={"k": "v"})])) == "PLACE_INVALID"


def test_a_call_has_a_limit_of_crossings_and_decisions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CROSSINGS_PER_CALL_MAX", 3)
    assert len(wire_traffic.crossings(only(7, 8, 9)).decisions) == 3
    assert len(wire_traffic.crossings(landing(decisions=[decision(9)])).decisions) == 1
    assert reason_of(only(7, 8, 9, 10)) == "DECISIONS_TOO_MANY"
    assert reason_of(landing(decisions=[decision(9), decision(10)])) == "DECISIONS_TOO_MANY"


def test_crossings_beside_decisions_are_held_to_their_shape_all_the_same() -> None:
    assert reason_of(landing(decisions=[decision(9)], amounts_minor=[1, 0])) == "AMOUNT_INVALID"
    assert reason_of(landing(transfer_ids=b"", decisions=[])) == "COLUMNS_INVALID"


def test_a_stream_begins_with_1_and_the_highest_shard_has_one() -> None:
    first = wire_traffic.crossings(landing(first_number=1, from_shard_id=SHARD_ID_MAX))
    assert (first.first_number, first.peer_id) == (1, SHARD_ID_MAX)


@pytest.mark.parametrize(
    ("outcome", "refusal"), [(POSTED, 0), (REFUSED, Refusal.INSUFFICIENT_FUNDS), (REFUSED, Refusal.PROMISE_TIMED_OUT)]
)
def test_a_decision_is_read_whole(outcome: Any, refusal: int) -> None:
    (verdict,) = wire_traffic.crossings(only(7, decisions=[decision(7, outcome, refusal)])).decisions
    assert verdict == Verdict(7, ID, outcome, refusal, "rent", 20_000, FAR)


@pytest.mark.parametrize(
    ("reason", "broken"),
    [
        ("CROSSINGS_INVALID", decision(7, POSTED, Refusal.INSUFFICIENT_FUNDS)),
        ("CROSSINGS_INVALID", decision(7, REFUSED)),
        ("CROSSINGS_INVALID", decision(7, ledger_pb2.OUTCOME_IN_TRANSIT)),
        ("CROSSINGS_INVALID", decision(7, ledger_pb2.OUTCOME_RETURNED, Refusal.INSUFFICIENT_FUNDS)),
        ("ID_INVALID", decision(7, transfer_id=b"short")),
        ("TEXT_INVALID", decision(7, reference="\0")),
        ("DATE_INVALID", decision(7, value_date=LAST_DAY + 1)),
    ],
)
def test_what_no_home_decides_is_refused(reason: str, broken: ledger_pb2.Decision) -> None:
    assert reason_of(only(decisions=[broken])) == reason


@pytest.mark.parametrize(
    ("reason", "columns"),
    [
        ("TRANSFER_IDS_INVALID", {"transfer_ids": b"1"}),
        ("COLUMNS_INVALID", {"references": []}),
        ("COLUMNS_INVALID", {"value_dates": [20_000]}),
        ("AMOUNT_INVALID", {"amounts_minor": [1, 0]}),
        ("CURRENCY_UNKNOWN", {"currencies": [CZK, 1_000]}),
        ("SAME_ACCOUNT", {"debit_accounts": [A, FAR]}),
        ("TEXT_INVALID", {"references": ["", "\0"]}),
        ("DATE_INVALID", {"value_dates": [20_000, 3_000_000]}),
        ("CROSSINGS_INVALID", {"first_number": 0}),
        ("CROSSINGS_INVALID", {"from_shard_id": 2}),
        ("CROSSINGS_INVALID", {"from_shard_id": 0}),
        ("CROSSINGS_INVALID", {"from_shard_id": 1_000}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_broken_crossings_are_refused_as_a_whole(reason: str, columns: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as caught:
        wire_traffic.crossings(landing(**columns))
    assert caught.value.reason == reason


# Promises

PARTS = (
    RoutedLeg(0, A, FAR, 100, CZK, 1, 0),
    RoutedLeg(2, FAR, B, 7, CZK, 0, 1, is_fee=True),
    RoutedLeg(3, FAR, FAR + 1, 7, CZK, 0, 0),
)
SPAN = Span(
    ID,
    1,
    (Leg(A, FAR, 100, CZK), Leg(A, B, 5, CZK), Leg(FAR, B, 7, CZK, True), Leg(FAR, FAR + 1, 7, CZK)),
    ((1, 2), (1, 1), (2, 1), (2, 2)),
    -77,
    "rent",
    metadata=(("order", "7"),),
)


def part(**given: Any) -> ledger_pb2.PromiseTransferRequest:
    """Ask shard 2 to promise its part of `SPAN`, except for what is given."""
    request = wire_traffic.promise_request(SPAN, 2, Actor("app", "anna"))
    for name, value in given.items():
        setattr(request, name, value)
    return request


def test_a_peer_reads_the_part_that_the_home_wrote() -> None:
    request = part()
    assert wire_traffic.promise_asked(request) == PromiseAsked(1, ID, -77, PARTS, 0, "rent", (("order", "7"),))
    assert (request.shard_id, request.actor) == (2, ANNA)
    assert not wire_traffic.promise_request(SPAN, 2, None).HasField("actor")


@pytest.mark.parametrize("flags", range(8))
@pytest.mark.parametrize("original", [None, b"o" * 16])
def test_a_peer_takes_every_wish_that_the_home_may_have_taken(flags: int, original: bytes | None) -> None:
    span = Span(ID, 1, SPAN.legs, SPAN.shards, 0, special=Special(original_id=original, flags=flags))
    asked_for = wire_traffic.promise_asked(wire_traffic.promise_request(span, 2, None))
    assert asked_for.flags == flags + (Flag.GIVES_BACK if original else 0)


@pytest.mark.parametrize(
    ("reason", "field", "given"),
    [
        ("PROMISE_INVALID", "home_shard_id", {"home_shard_id": 2}),
        ("PROMISE_INVALID", "home_shard_id", {"home_shard_id": 0}),
        ("PROMISE_INVALID", "home_shard_id", {"home_shard_id": SHARD_ID_MAX + 1}),
        ("PROMISE_INVALID", "flags", {"flags": -1}),
        ("PROMISE_INVALID", "flags", {"flags": int(Flag.PASSES_ON)}),
        ("TEXT_INVALID", "references", {"reference": "\0"}),
        ("ID_INVALID", "transfer_id", {"transfer_id": b"short"}),
    ],
)
def test_a_part_that_no_home_asks_for_is_refused(reason: str, field: str, given: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as caught:
        wire_traffic.promise_asked(part(**given))
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_a_part_has_legs_of_this_shard_and_not_too_many() -> None:
    leg = ledger_pb2.PromiseTransferRequest.Leg
    here = leg(debit_account=FAR, credit_account=A, amount_minor=1, currency=CZK, pays_here=True)

    def legs_read(*legs: ledger_pb2.PromiseTransferRequest.Leg) -> int:
        request = part(home_shard_id=SHARD_ID_MAX)
        del request.legs[:]
        request.legs.extend(legs)
        return len(wire_traffic.promise_asked(request).legs)

    assert [legs_read(*[here] * count) for count in (1, limits.LEGS_PER_TRANSFER_MAX)] == [
        1,
        limits.LEGS_PER_TRANSFER_MAX,
    ]
    elsewhere = leg(debit_account=A, credit_account=B, amount_minor=1, currency=CZK)
    for broken in ([], [here] * (limits.LEGS_PER_TRANSFER_MAX + 1), [here, elsewhere]):
        with pytest.raises(errors.Malformed):
            legs_read(*broken)
    free = leg(debit_account=FAR, credit_account=A, amount_minor=0, currency=CZK, pays_here=True)
    with pytest.raises(errors.Malformed, match="amounts_minor"):
        legs_read(here, free)


# Questions


def question(**given: Any) -> ledger_pb2.AskDecisionsRequest:
    usual: dict[str, Any] = {"shard_id": 1, "from_shard_id": 2, "transfer_ids": ID + bytes(16), "accounts": [FAR, FAR]}
    return ledger_pb2.AskDecisionsRequest(**{**usual, **given})


def test_what_a_peer_asks_about_is_read_with_an_account_of_each() -> None:
    for peer_id, home_id in ((1, 2), (SHARD_ID_MAX, 1)):
        told = wire_traffic.asked_about(question(shard_id=home_id, from_shard_id=peer_id, accounts=[FAR, B]))
        assert told == [Told(ID, FAR), Told(bytes(16), B)]


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("TRANSFER_IDS_INVALID", {"transfer_ids": b"1"}),
        ("COLUMNS_INVALID", {"accounts": [FAR]}),
        ("COLUMNS_INVALID", {"transfer_ids": b"", "accounts": []}),
        ("PROMISE_INVALID", {"from_shard_id": 1}),
        ("PROMISE_INVALID", {"from_shard_id": 0}),
        ("PROMISE_INVALID", {"from_shard_id": SHARD_ID_MAX + 1}),
    ],
)
def test_a_question_that_no_peer_asks_is_refused(reason: str, given: dict[str, Any]) -> None:
    with pytest.raises(errors.Malformed) as caught:
        wire_traffic.asked_about(question(**given))
    assert caught.value.reason == reason


# Spans


def test_a_transfer_over_several_shards_is_taken_out_of_its_call_whole() -> None:
    wishes = [ledger_pb2.Special(place=1, flags=1, fee_minor_max=9)]
    fees = a_fee()
    fees.place = 1
    legs: Any = {"credit_accounts": [B, FAR], "further_legs": [further_leg(1, FAR, C), fees]}
    kept = [ledger_pb2.Metadata(place=1, pairs={"order": "7"})]
    texts: Any = {"references": ["", "rent"], "value_dates": [0, 20_000]}
    transfers = read(asked(**legs, **texts, specials=wishes, metadata=kept, creditors=[creditor(1)]))
    span = wire_traffic.span_of(transfers, 1, 1)
    assert span == Span(
        b"2" * 16,
        1,
        (Leg(A, FAR, 200, CZK), Leg(FAR, C, 5, CZK), Leg(*fees_of(fees), True)),
        ((1, 2), (2, 1), (1, 1)),
        transfers.fingerprints[1],
        "rent",
        20_000,
        Creditor("KB", "19-2000145399", "Jan", "rent"),
        Special(flags=1, fee_minor_max=9),
        (("order", "7"),),
    )


def fees_of(leg: ledger_pb2.FurtherLeg) -> tuple[int, int, int, int]:
    return leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency


def test_what_its_caller_left_out_is_empty() -> None:
    transfers = read(asked(credit_accounts=[FAR, B], further_legs=[further_leg(0, FAR, C)]))
    span = wire_traffic.span_of(transfers, 0, 1)
    assert (span.reference, span.value_date, span.creditor, span.special, span.metadata) == ("", 0, None, Special(), ())
