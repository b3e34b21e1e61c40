"""From transfers as callers sent them to one answer each, whatever the shards say."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis import status
from services.domain import chart, errors, identifiers
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.errors import BankError
from services.domain.outcomes import Outcome, Refusal
from services.gateway import scopes, statuses
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds
from services.gateway.ownership import Ownership
from services.gateway.transfers import SLICE_TRANSFERS, Posting

CZK = 203
NOBODY_SPECIAL = Caller("teller", "test", frozenset(), None, 0.0)
Answer = Callable[[ledger_pb2.PostTransfersRequest], ledger_pb2.PostTransfersResponse]


def _directory(version: int, *homes: int) -> Directory:
    """Put slots 0, 1, 2 ... on the shards given."""
    slots = tuple(SlotRange(slot, slot, shard_id, 1) for slot, shard_id in enumerate(homes))
    shards = tuple(ShardFacts(shard_id, ("127.0.0.1:1",), 10, 0) for shard_id in (1, 2, 3))
    return Directory(version, shards, slots, {"AB": 7}, (CZK,))


class Shards:
    """The directory, old and new, and a ledger for each shard that answers as told."""

    def __init__(self, *directories: Directory, answers: Mapping[int, Answer | BankError]) -> None:
        self.current = directories[0]
        self.refreshes: list[int] = []
        self.requests: list[ledger_pb2.PostTransfersRequest] = []
        self._newer = list(directories[1:])
        self._answers = answers

    async def refresh(self, at_least: int) -> Directory:
        self.refreshes.append(at_least)
        if not self._newer:
            raise errors.Unavailable("PEER_UNREACHABLE", "no account service")
        self.current = self._newer.pop(0)
        return self.current

    def ledger(self, shard_id: int) -> "Shards":
        return self

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        assert method == "PostTransfers"
        assert 0 < deadline_seconds < 10
        self.requests.append(request)
        answer = self._answers[request.shard_id]
        if isinstance(answer, BankError):
            raise answer
        return answer(request)


def _all(outcome: Outcome, refusal: int = 0) -> Answer:
    def answer(request: ledger_pb2.PostTransfersRequest) -> ledger_pb2.PostTransfersResponse:
        count = len(request.debit_accounts)
        return ledger_pb2.PostTransfersResponse(
            outcomes=[outcome] * count,  # type: ignore[list-item]
            refusals=[refusal] * count,
            booking_times_us=[1_000_001] * count,
        )

    return answer


def _none(*place_errors: int) -> Answer:
    """Answer with these errors, and POSTED where there is none."""

    def answer(request: ledger_pb2.PostTransfersRequest) -> ledger_pb2.PostTransfersResponse:
        count = len(place_errors)
        assert len(request.debit_accounts) == count
        return ledger_pb2.PostTransfersResponse(
            outcomes=[0 if error else 1 for error in place_errors],  # type: ignore[misc]
            refusals=[0] * count,
            booking_times_us=[0] * count,
            errors=place_errors,  # type: ignore[arg-type]
        )

    return answer


POSTED = _all(Outcome.POSTED)


async def free_of_charge(*_: Any) -> dict[int, BankError]:
    return {}


def _posting(shards: Shards) -> Posting:
    return Posting(shards, Ownership(None, 1), free_of_charge, Bounds(1000, 1000, 1000, 1, 60.0))  # type: ignore[arg-type]


def _account(slot: int, serial: int = 1) -> str:
    return identifiers.account_text(identifiers.account_number(slot, serial))


def _transfer(number: int, debit: str, credit: str, amount_minor: int = 5) -> bank_pb2.Transfer:
    leg = bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code="CZK")
    return bank_pb2.Transfer(transfer_id=str(UUID(int=number)), legs=[leg])


def _deadline() -> float:
    return asyncio.get_running_loop().time() + 5


async def _many(shards: Shards, *asked: bank_pb2.Transfer) -> list[tuple[int, str]]:
    """Post in one call and return the state of each, with the reason or the error's reason."""
    response = await _posting(shards).post_many(NOBODY_SPECIAL, asked, _deadline())
    answers = []
    for result in response.results:
        error = status.from_status(result.error) if result.HasField("error") else None
        answers.append((result.state, error.reason if error else result.reason))
    return answers


async def _one(shards: Shards, asked: bank_pb2.Transfer) -> bank_pb2.Transfer:
    return await _posting(shards).post_one(NOBODY_SPECIAL, asked, _deadline())


A, B, C = _account(0), _account(1), _account(2)


async def test_a_call_is_split_over_shards_and_answered_in_its_order() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: POSTED, 2: _all(Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS)})
    answers = await _many(shards, _transfer(1, A, B), _transfer(2, B, A), _transfer(3, A, B))
    assert answers == [(1, ""), (2, "INSUFFICIENT_FUNDS"), (1, "")]
    assert sorted((request.shard_id, len(request.debit_accounts)) for request in shards.requests) == [(1, 2), (2, 1)]
    assert all(request.directory_version == 1 for request in shards.requests)


async def test_a_few_calls_are_let_in_however_much_those_before_them_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(_directory(1), answers={1: POSTED})
    posting = _posting(shards)
    monkeypatch.setattr(posting._coalescer, "is_full", lambda *_: True)
    posting.places.taken = 3
    assert not posting.takes_no_more()
    await posting.post_many(NOBODY_SPECIAL, [_transfer(1, A, B)], _deadline())
    posting.places.taken = 4
    assert posting.takes_no_more()
    with pytest.raises(errors.Overloaded):
        await posting.post_many(NOBODY_SPECIAL, [_transfer(2, A, B)], _deadline())


async def test_a_shard_that_fails_leaves_the_others_alone() -> None:
    for error in (
        errors.Unavailable("SHARD_UNAVAILABLE", "nobody answers"),
        errors.OutcomeUnknown("OUTCOME_UNKNOWN", "the answer got lost"),
        errors.Overloaded("QUEUE_FULL", "too much", 0.5),
    ):
        shards = Shards(_directory(1, 1, 2), answers={1: error, 2: POSTED})
        answers = await _many(shards, _transfer(1, A, B), _transfer(2, B, A), _transfer(3, A, B))
        assert answers == [(0, error.reason), (1, ""), (0, error.reason)]


async def test_what_an_old_directory_led_astray_is_routed_once_more() -> None:
    lost = _none(ledger_pb2.PLACE_ERROR_WRONG_SHARD, 0)
    shards = Shards(_directory(1, 1, 2, 1), _directory(2, 3, 2, 1), answers={1: lost, 2: POSTED, 3: POSTED})
    answers = await _many(shards, _transfer(1, A, B), _transfer(2, B, A), _transfer(3, C, B))
    assert answers == [(1, "")] * 3
    assert shards.refreshes == [2]
    assert [(request.shard_id, len(request.debit_accounts)) for request in shards.requests[-1:]] == [(3, 1)]


async def test_a_ledger_that_no_longer_has_the_shard_at_all_is_astray_too() -> None:
    shards = Shards(
        _directory(1, 1, 2),
        _directory(2, 2, 2),
        answers={1: errors.WrongShard("WRONG_SHARD", "not here"), 2: POSTED},
    )
    posted = await _one(shards, _transfer(1, "CASH", A))
    assert posted.state == bank_pb2.Transfer.POSTED
    assert posted.legs[0].debit_account == f"{chart.internal_account(2, chart.Code.CASH, CZK):016d}"


async def test_what_is_astray_twice_is_to_be_sent_again_later() -> None:
    lost = _none(ledger_pb2.PLACE_ERROR_WRONG_SHARD)
    shards = Shards(_directory(1, 1, 2), _directory(2, 3, 2), answers={1: lost, 3: lost})
    with pytest.raises(errors.Unavailable) as raised:
        await _one(shards, _transfer(1, A, B))
    assert raised.value.reason == "DIRECTORY_CHANGING"


async def test_without_a_newer_directory_only_what_is_astray_fails() -> None:
    lost = _none(ledger_pb2.PLACE_ERROR_WRONG_SHARD, 0)
    shards = Shards(_directory(1, 1, 1, 2), answers={1: lost})
    assert await _many(shards, _transfer(1, A, B), _transfer(2, B, A)) == [(0, "PEER_UNREACHABLE"), (1, "")]


async def test_each_place_of_a_shards_answer_has_its_own_error() -> None:
    told = _none(
        ledger_pb2.PLACE_ERROR_TRANSFER_ID_REUSED,
        0,
        ledger_pb2.PLACE_ERROR_PAYEE_SHARD_UNREACHABLE,
        ledger_pb2.PLACE_ERROR_UNDECIDED,
    )
    shards = Shards(_directory(1, 1, 2), answers={1: told})
    answers = await _many(shards, *(_transfer(number, A, B) for number in range(4)))
    assert answers == [
        (0, "TRANSFER_ID_REUSED"),
        (1, ""),
        (0, "PAYEE_SHARD_UNREACHABLE"),
        (0, "TRANSFER_UNDECIDED"),
    ]


@pytest.mark.parametrize("outcome", [Outcome.POSTED, Outcome.IN_TRANSIT])
async def test_a_transfer_that_is_done_or_on_its_way_is_returned(outcome: Outcome) -> None:
    posted = await _one(Shards(_directory(1, 1, 2), answers={1: _all(outcome)}), _transfer(9, A, B))
    assert (posted.state, posted.transfer_id) == (outcome, str(UUID(int=9)))
    assert posted.name == f"accounts/{A}/transfers/{UUID(int=9)}"
    assert (posted.booking_time.seconds, posted.booking_time.nanos) == (1, 1000)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.RETURNED])
@pytest.mark.parametrize("refusal", list(Refusal))
async def test_a_transfer_that_is_refused_or_returned_is_an_error(outcome: Outcome, refusal: Refusal) -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: _all(outcome, refusal)})
    with pytest.raises(BankError) as raised:
        await _one(shards, _transfer(9, A, B))
    unknown = refusal.name.endswith("_NOT_FOUND")
    assert type(raised.value) is (errors.NotFound if unknown else errors.Refused)
    assert raised.value.reason == refusal.name
    assert raised.value.metadata == {"transfer_id": str(UUID(int=9)), "state": outcome.name}
    assert await _many(shards, _transfer(9, A, B)) == [(outcome, refusal.name)]


async def test_everybody_is_named_to_the_ledger_and_shown_again() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: POSTED})
    posting = _posting(shards)
    anna = Caller("anna", "app", frozenset(), None, 0.0)
    callers = [anna, anna, NOBODY_SPECIAL]
    posted = await asyncio.gather(
        *(posting.post_one(caller, _transfer(number, A, B), _deadline()) for number, caller in enumerate(callers))
    )
    assert [(each.actor, each.channel) for each in posted] == [("anna", "app")] * 2 + [("teller", "test")]
    (request,) = shards.requests
    assert [(actor.subject, actor.channel) for actor in request.actors] == [("anna", "app"), ("teller", "test")]
    assert list(request.actor_places) == [0, 0, 1]


async def test_limits_are_overridden_only_by_whoever_may() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: POSTED})
    asked = [_transfer(number, A, B) for number in range(3)]
    asked[1].override_limits = True
    assert await _many(shards, *asked) == [(1, ""), (0, "SCOPE_MISSING"), (1, "")]
    granted = Caller("boss", "desk", frozenset({scopes.LIMITS_OVERRIDE}), None, 0.0)
    response = await _posting(shards).post_many(granted, asked, _deadline())
    assert [result.state for result in response.results] == [1, 1, 1]
    assert [(special.place, special.flags) for special in shards.requests[-1].specials] == [(1, 1)]
    with pytest.raises(errors.Forbidden):
        await _one(shards, asked[1])


async def test_a_capture_names_its_hold() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: POSTED})
    hold = UUID(int=77)
    request = bank_pb2.CaptureHoldRequest(name=f"accounts/{A}/holds/{hold}", transfer=_transfer(1, A, B))
    captured = await _posting(shards).capture(NOBODY_SPECIAL, request, _deadline())
    assert captured.captured_hold == request.name
    (special,) = shards.requests[0].specials
    assert (special.place, special.hold_id, special.original_id, special.flags) == (0, hold.bytes, b"", 0)


async def test_a_bug_in_a_ledgers_answer_is_no_polite_answer() -> None:
    shards = Shards(_directory(1, 1), answers={1: lambda _: ledger_pb2.PostTransfersResponse()})
    with pytest.raises(AssertionError):
        await _one(shards, _transfer(1, A, _account(0, 2)))


async def test_a_ledger_that_finds_a_request_malformed_is_a_bug_and_does_not_blame_the_callers() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: errors.Malformed("COLUMNS_INVALID", "transfer_ids", "too long")})
    with pytest.raises(AssertionError):
        await _one(shards, _transfer(1, A, B))


async def test_places_are_right_however_a_long_call_is_sliced() -> None:
    shards = Shards(_directory(1, 1, 2), answers={1: POSTED})
    count = 2 * SLICE_TRANSFERS + 3
    bad = {0, SLICE_TRANSFERS - 1, SLICE_TRANSFERS, count - 1}
    asked = [_transfer(number, A, B, 0 if number in bad else 1) for number in range(count)]
    response = await Posting(shards, Ownership(None, 1), free_of_charge, Bounds(2000, 2000, 1, 1, 60.0)).post_many(  # type: ignore[arg-type]
        NOBODY_SPECIAL, asked, _deadline()
    )
    assert {place for place, result in enumerate(response.results) if result.HasField("error")} == bad
    for place in bad:
        error = status.from_status(response.results[place].error)
        assert isinstance(error, errors.Malformed)
        assert error.field == f"transfers[{place}].legs[0].amount_minor"
    assert list(shards.requests[0].amounts_minor) == [1] * (count - len(bad))


def test_the_violations_of_one_answer_are_bounded_but_every_place_keeps_its_first() -> None:
    further = [errors.Malformed("AMOUNT_NOT_POSITIVE", "b", "at least 1")] * 10
    said = statuses.Statuses()
    told = [
        status.from_status(said.of(errors.Malformed("UUID_INVALID", f"a{place}", "not a UUID", further)))
        for place in range(statuses.FURTHER_VIOLATIONS_MAX // 10 + 2)
    ]
    lengths = [len(error.further) for error in told if isinstance(error, errors.Malformed)]
    assert lengths == [10] * (statuses.FURTHER_VIOLATIONS_MAX // 10) + [0, 0]
    assert [error.field for error in told if isinstance(error, errors.Malformed)][-1] == f"a{len(told) - 1}"
