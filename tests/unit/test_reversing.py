"""An original that nobody knows is buried before anybody is told so."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors, identifiers
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership
from services.gateway.reading import Books
from services.gateway.reversing import Reversals
from services.gateway.transfers import Posting

CZK = 203
TELLER = Caller("teller", "desk", frozenset(), None, 0.0)
PAYER, PAYEE, OTHER = (identifiers.account_number(slot, serial) for slot, serial in ((0, 1), (1, 1), (0, 2)))
ORIGINAL = UUID(int=7)
POSTED, IN_TRANSIT = ledger_pb2.OUTCOME_POSTED, ledger_pb2.OUTCOME_IN_TRANSIT
ASKED, LANDED, PLACED, BURIED = 1, 2, 4, 8


def _record(debit: int, credit: int, kind: int = ASKED, outcome: Any = POSTED) -> ledger_pb2.TransferRecord:
    leg = ledger_pb2.TransferRecord.Leg(debit_account=debit, credit_account=credit, amount_minor=100, currency=CZK)
    return ledger_pb2.TransferRecord(transfer_id=ORIGINAL.bytes, legs=[leg], outcome=outcome, kind=kind)


class Shards:
    """Two shards; the payer's knows what it is told to know, from the look on that `known` says."""

    def __init__(
        self,
        known: ledger_pb2.TransferRecord | None = None,
        *,
        from_look: int = 1,
        landed: ledger_pb2.TransferRecord | None = None,
        told: int = 0,
    ) -> None:
        shards = tuple(ShardFacts(shard_id, ("127.0.0.1:1",), 10, 0) for shard_id in (1, 2))
        self.current = Directory(1, shards, (SlotRange(0, 0, 1, 1), SlotRange(1, 1, 2, 1)), {}, (CZK,))
        self.calls: list[str] = []
        self.posted: list[ledger_pb2.PostTransfersRequest] = []
        self._known = known
        self._from_look = from_look
        self._landed = landed
        self._told = told
        """What a ledger says in place of an outcome."""

    def ledger(self, shard_id: int) -> "Shards":
        return self

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        self.calls.append(f"{method} on {request.shard_id}")
        if method == "PostTransfers":
            self.posted.append(request)
            if self._told:
                return ledger_pb2.PostTransfersResponse(
                    outcomes=[0], refusals=[0], booking_times_us=[0], errors=[self._told]
                )
            return ledger_pb2.PostTransfersResponse(outcomes=[POSTED], refusals=[0], booking_times_us=[1])
        if request.shard_id == 2:
            if self._landed is None:
                raise errors.NotFound("TRANSFER_NOT_FOUND", "no such transfer")
            return self._landed
        is_known = self._known is not None and sum("GetTransfer" in call for call in self.calls) >= self._from_look
        if method == "BuryTransfer":
            assert request.transfer_id == ORIGINAL.bytes
            return ledger_pb2.BuryTransferResponse(buried=self._known is None)
        if not is_known:
            raise errors.NotFound("TRANSFER_NOT_FOUND", "no such transfer")
        return self._known


async def free_of_charge(*_: Any) -> dict[int, errors.BankError]:
    return {}


async def _reverse(shards: Shards) -> bank_pb2.Transfer:
    posting = Posting(shards, Ownership(None, 1), free_of_charge, Bounds(9, 9, 9, 1, 60.0))  # type: ignore[arg-type]
    name = f"accounts/{PAYER:016d}/transfers/{ORIGINAL}"
    request = bank_pb2.ReverseTransferRequest(name=name, transfer_id=str(UUID(int=8)))
    deadline = asyncio.get_running_loop().time() + 5
    books = Books(shards, LookUps(99, 9.0, lambda: 0.0), None, None, Bounds(9, 9, 9, 1, 60.0))  # type: ignore[arg-type]
    return await Reversals(shards, books, posting).reverse(TELLER, request, deadline)  # type: ignore[arg-type]


async def test_a_known_original_is_given_back_from_the_payees_shard() -> None:
    shards = Shards(_record(PAYER, PAYEE))
    reversal = await _reverse(shards)
    assert shards.calls == ["GetTransfer on 1", "PostTransfers on 2"]
    assert reversal.reversed_transfer == f"accounts/{PAYER:016d}/transfers/{ORIGINAL}"
    (special,) = shards.posted[0].specials
    assert (special.original_id, special.hold_id) == (ORIGINAL.bytes, b"")


async def test_a_crossing_that_has_landed_is_posted_though_the_payers_shard_has_not_noted_so() -> None:
    shards = Shards(_record(PAYER, PAYEE, outcome=IN_TRANSIT), landed=_record(PAYER, PAYEE, LANDED))
    assert (await _reverse(shards)).state == bank_pb2.Transfer.POSTED
    assert shards.calls == ["GetTransfer on 1", "GetTransfer on 2", "PostTransfers on 2"]


async def test_a_crossing_with_further_legs_waits_for_the_payers_shard_which_decides_about_it() -> None:
    def crossing(outcome: Any) -> ledger_pb2.TransferRecord:
        known = _record(PAYER, PAYEE, outcome=outcome)
        known.legs.append(_record(PAYER, OTHER).legs[0])
        return known

    told = ledger_pb2.PLACE_ERROR_ORIGINAL_IN_TRANSIT
    shards = Shards(crossing(IN_TRANSIT), landed=_record(PAYER, PAYEE, LANDED), told=told)
    with pytest.raises(errors.Unavailable) as raised:
        await _reverse(shards)
    assert raised.value.reason == "ORIGINAL_IN_TRANSIT"
    assert shards.calls == ["GetTransfer on 1", "GetTransfer on 2", "PostTransfers on 1"]
    shards = Shards(crossing(POSTED))
    assert (await _reverse(shards)).state == bank_pb2.Transfer.POSTED
    assert shards.calls == ["GetTransfer on 1", "PostTransfers on 1"]


@pytest.mark.parametrize("there", [None, _record(OTHER, PAYEE, LANDED), _record(PAYER, PAYEE)])
async def test_a_crossing_that_has_not_landed_is_not_given_back_yet(there: ledger_pb2.TransferRecord | None) -> None:
    shards = Shards(_record(PAYER, PAYEE, outcome=IN_TRANSIT), landed=there)
    with pytest.raises(errors.Unavailable) as raised:
        await _reverse(shards)
    assert raised.value.reason == "ORIGINAL_IN_TRANSIT"
    assert shards.calls == ["GetTransfer on 1", "GetTransfer on 2"]


async def test_an_original_that_nobody_knows_is_buried() -> None:
    shards = Shards()
    with pytest.raises(errors.NotFound) as raised:
        await _reverse(shards)
    assert raised.value.reason == "ORIGINAL_NOT_FOUND"
    assert shards.calls == ["GetTransfer on 1", "BuryTransfer on 1"]


async def test_an_original_that_came_meanwhile_is_looked_up_again() -> None:
    shards = Shards(_record(PAYER, PAYEE), from_look=2)
    assert (await _reverse(shards)).state == bank_pb2.Transfer.POSTED
    assert shards.calls == ["GetTransfer on 1", "BuryTransfer on 1", "GetTransfer on 1", "PostTransfers on 2"]


@pytest.mark.parametrize(
    "known",
    [_record(OTHER, PAYEE), _record(PAYEE, PAYER, LANDED), _record(PAYER, PAYEE, PLACED), _record(PAYER, 0, BURIED)],
    ids=["another's", "the payee's side", "a hold", "buried before"],
)
async def test_what_is_no_transfer_of_the_payer_is_not_found_and_not_buried(known: ledger_pb2.TransferRecord) -> None:
    shards = Shards(known)
    with pytest.raises(errors.NotFound) as raised:
        await _reverse(shards)
    assert raised.value.reason == "ORIGINAL_NOT_FOUND"
    assert shards.calls == ["GetTransfer on 1"]
