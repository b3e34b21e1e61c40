"""A plain transfer fares as it would in the columns that many transfers share: it is only faster."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest
from asked_transfers import HIGHEST, LOWEST, TWINS
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2
from hypothesis import example, given
from hypothesis import strategies as st
from test_transfers import POSTED, A, Answer, B, C, Shards, _all, _directory, _none, _transfer

from services.chassis import status
from services.domain import chart, errors, identifiers
from services.domain.errors import BankError
from services.domain.outcomes import Outcome, Refusal
from services.gateway import metrics, plain, validation
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds
from services.gateway.columns import FurtherLeg, Transfers
from services.gateway.ownership import Ownership
from services.gateway.transfers import Posting

ANNA = Caller("anna", "app", frozenset(), None, 0.0)
INTERNAL = f"{chart.internal_account(1, chart.Code.CASH, 203):016d}"
ARABIC = A.translate({ord("0") + digit: 0x0660 + digit for digit in range(10)})
WITHOUT_SERIAL = next(f"{10**12 + rest:016d}" for rest in range(97) if (10**12 + rest) % 97 == 1)
SIDES = [
    A,
    B,
    C,
    INTERNAL,
    "CASH",
    "NOSTRO.AB",
    "",
    A[:-1],
    A + "0",
    A[:-1] + "x",
    "0" * 16,
    ARABIC,
    "0000000000000001",
]
IDS = [
    str(UUID(int=7)),
    str(UUID(int=2**128 - 1)),
    str(UUID(int=2**128 - 1)).upper(),
    "",
    "7",
    "x" * 36,
    "0" * 36,
    "0" * 32,
]
IDS += ["00000000-0000-0000-0000 00000000007", "0000000-00000-0000-0000-000000000007"]

messages = st.builds(
    bank_pb2.Transfer,
    transfer_id=st.sampled_from(IDS),
    legs=st.lists(
        st.builds(
            bank_pb2.Leg,
            debit_account=st.sampled_from(SIDES),
            credit_account=st.sampled_from(SIDES),
            amount_minor=st.sampled_from([5, 1, 0, -1, 10**15, 10**15 + 1, 2**63 - 1]),
            currency_code=st.sampled_from(["CZK", "EUR", "", "czk", "XXX"]),
        ),
        max_size=2,
    ),
    reference=st.sampled_from(["", "rent", "\n", "x" * 140, "x" * 141]),
    name=st.sampled_from(["", "mine"]),
    waive_fees=st.booleans(),
    metadata=st.sampled_from([{}, {"order": "7"}]),
)


@given(messages)
@example(_transfer(1, A, B))
def test_what_is_read_by_itself_reads_the_same_in_columns_and_is_sound(message: bank_pb2.Transfer) -> None:
    read = plain.read(message)
    assert read is None or (read, {}) == validation.read_transfers((message,), {}, lambda _: "transfer")


@pytest.mark.parametrize("reference", ["", "rent", "x" * 140, "úterý"])
@pytest.mark.parametrize("amount_minor", [1, 10**15])
@pytest.mark.parametrize("sides", [(A, B), (f"{LOWEST:016d}", f"{HIGHEST:016d}")])
def test_all_that_is_plain_is_read_by_itself(reference: str, amount_minor: int, sides: tuple[str, str]) -> None:
    message = _transfer(7, *sides, amount_minor)
    message.reference = reference
    assert plain.read(message) == validation.read_transfers((message,), {}, lambda _: "transfer")[0]


def _pay_from(number: str, message: bank_pb2.Transfer) -> None:
    message.legs[0].debit_account = number


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.legs.add(debit_account=A, credit_account=C, amount_minor=1, currency_code="CZK"),
        lambda it: it.metadata.update({"order": "7"}),
        lambda it: it.value_date.MergeFrom(type(it.value_date)(year=2026, month=1, day=2)),
        lambda it: setattr(it, "fee_minor_max", 0),
        lambda it: setattr(it, "override_limits", True),
        lambda it: setattr(it, "state", 1),
        lambda it: setattr(it.legs[0], "debit_account", INTERNAL),
        lambda it: setattr(it, "transfer_id", str(UUID(int=2**128 - 1)).upper()),
        lambda it: setattr(it, "transfer_id", it.transfer_id.replace("-", "+")),
        lambda it: setattr(it, "transfer_id", "g" + it.transfer_id[1:]),
        lambda it: setattr(it, "reference", "x" * 141),
        lambda it: setattr(it, "reference", "a\tb"),
        lambda it: setattr(it.legs[0], "credit_account", A),
        lambda it: setattr(it.legs[0], "credit_account", f"{int(B) + 1:016d}"),
        lambda it: setattr(it.legs[0], "debit_account", f"{int(A) + 1:016d}"),
        lambda it: setattr(it.legs[0], "debit_account", WITHOUT_SERIAL),
        lambda it: setattr(it.legs[0], "debit_account", f" {A[1:]}"),
        lambda it: setattr(it.legs[0], "debit_account", ARABIC),
        *(partial(_pay_from, twin) for twin in TWINS),
        lambda it: setattr(it.legs[0], "amount_minor", 0),
        lambda it: setattr(it.legs[0], "amount_minor", 10**15 + 1),
        lambda it: setattr(it.legs[0], "currency_code", "czk"),
        lambda it: it.legs.pop(),
    ],
)
def test_what_asks_for_more_or_is_wrong_is_left_to_the_columns(change: Callable[[bank_pb2.Transfer], object]) -> None:
    message = _transfer(7, A, B)
    assert plain.read(message) is not None
    change(message)
    assert plain.read(message) is None


def repeated(request: ledger_pb2.PostTransfersRequest) -> ledger_pb2.PostTransfersResponse:
    answer = POSTED(request)
    answer.repeats.append(0)
    return answer


def blamed(request: ledger_pb2.PostTransfersRequest) -> ledger_pb2.PostTransfersResponse:
    answer = _all(Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS)(request)
    answer.refused_legs.add(place=0, leg=1)
    return answer


class Records(Shards):
    """Ledgers that also show a record."""

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        if method != "GetTransfer":
            return await super().call(method, request, deadline_seconds=deadline_seconds)
        return ledger_pb2.TransferRecord(
            transfer_id=request.transfer_id,
            legs=[
                ledger_pb2.TransferRecord.Leg(debit_account=int(A), credit_account=int(B), amount_minor=5, currency=203)
            ],
            reference="as it was kept",
        )


async def free(*_: Any) -> dict[int, BankError]:
    return {}


async def dear(transfers: Transfers, *_: Any) -> dict[int, BankError]:
    transfers.further_legs.append(FurtherLeg(0, int(A), int(C), 3, 203, True))
    return {}


async def unpriced(*_: Any) -> dict[int, BankError]:
    return {0: errors.Unavailable("PEER_UNREACHABLE", "nobody knows the price")}


async def unanswered(*_: Any) -> dict[int, BankError]:
    raise errors.Unavailable("ACCOUNT_SERVICE_UNAVAILABLE", "nobody answers for any of the call")


Post = Callable[[Posting, bank_pb2.Transfer, float], Awaitable[Any]]


async def by_itself(posting: Posting, asked: bank_pb2.Transfer, deadline: float) -> bank_pb2.Transfer:
    return await posting.post_one(ANNA, asked, deadline)


async def in_a_call_of_one(
    posting: Posting, asked: bank_pb2.Transfer, deadline: float
) -> bank_pb2.PostTransfersResponse:
    return await posting.post_many(ANNA, [asked], deadline)


ANSWERS: list[Answer | BankError] = [
    *(_all(outcome) for outcome in (Outcome.POSTED, Outcome.IN_TRANSIT)),
    *(_all(Outcome.REFUSED, refusal) for refusal in Refusal),
    *(_none(error) for error in ledger_pb2.PlaceError.values() if error),
    *(repeated, blamed),
    errors.WrongShard("WRONG_SHARD", "not here"),
    errors.Unavailable("SHARD_UNAVAILABLE", "nobody answers"),
    errors.OutcomeUnknown("OUTCOME_UNKNOWN", "the answer got lost"),
]


@pytest.mark.parametrize("post", [by_itself, in_a_call_of_one])
@pytest.mark.parametrize("charge", [free, dear, unpriced, unanswered])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_it_fares_as_it_would_with_the_others(
    answer: Answer | BankError, charge: Callable[..., Awaitable[dict[int, BankError]]], post: Post
) -> None:
    for sides in ((A, B), (A, C), (C, A), (_unknown(), A), (A, _unknown())):
        plainly = await _fare(sides, answer, charge, post, is_plain=True)
        assert plainly == await _fare(sides, answer, charge, post, is_plain=False)


async def test_a_call_of_one_says_where_it_is_wrong() -> None:
    shards = Records(_directory(1, 1, 2, 1), answers={})
    posting = Posting(shards, Ownership(None, 1), free, Bounds(9, 9, 9, 1, 60.0))  # type: ignore[arg-type]
    response = await in_a_call_of_one(posting, _transfer(7, A, B, 0), asyncio.get_running_loop().time() + 5)
    (result,) = response.results
    error = status.from_status(result.error)
    assert isinstance(error, errors.Malformed)
    assert (error.reason, error.field) == ("AMOUNT_NOT_POSITIVE", "transfers[0].legs[0].amount_minor")


def _unknown() -> str:
    return identifiers.account_text(identifiers.account_number(8_000, 1))


async def _fare(sides: tuple[str, str], answer: Answer | BankError, charge: Any, post: Post, *, is_plain: bool) -> Any:
    """Post a transfer; give all that its caller sees of it, which shards were asked, and what was counted."""
    shards = Records(_directory(1, 1, 2, 1), _directory(2, 3, 2, 3), answers={1: answer, 2: POSTED, 3: POSTED})
    posting = Posting(shards, Ownership(None, 1), charge, Bounds(9, 9, 9, 1, 60.0))  # type: ignore[arg-type]
    asked = _transfer(7, *sides)
    asked.reference = "rent"
    read = Mock(wraps=plain.read) if is_plain else Mock(return_value=None)
    before = _counted()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(plain, "read", read)
            seen: Any = await post(posting, asked, asyncio.get_running_loop().time() + 5)
    except BankError as error:
        seen = (type(error), error.reason, str(error), getattr(error, "metadata", None))
    assert posting.behind() == 0
    read.assert_called_once_with(asked)
    return seen, [request.shard_id for request in shards.requests if request.shard_id != 1], _counted() - before


def _counted() -> Counter[tuple[str, ...]]:
    """Give what the gateway counted of transfers so far."""
    return Counter(
        {
            (sample.name, *sample.labels.values()): int(sample.value)
            for counter in (metrics.TRANSFERS, metrics.REJECTED_TRANSFERS, metrics.REROUTED_TRANSFERS)
            for sample in next(iter(counter.collect())).samples
            if sample.name.endswith("_total")
        }
    )
