"""Bugs in money between shards: watermarks, order, returns.

Each docstring says what is wrong.
"""

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors
from services.domain.outcomes import Refusal
from services.ledger import crossings, posting, rules, service
from services.ledger.crossings import Courier, Couriers
from services.ledger.draft import Draft
from services.ledger.reader import Reader
from simulation.planted.bug import Patches, bug


@bug("crossing")
def forget_the_watermark() -> Patches:
    """Landing does not move the watermark."""
    land = posting.land

    def forgetful(draft: Draft, sent: Any) -> None:
        before = draft.watermarks(sent.peer_id).landed_through
        land(draft, sent)
        draft.own_watermarks(sent.peer_id).landed_through = before

    yield patch.object(posting, "land", forgetful)


@bug("crossing", "lossy")
def land_twice() -> Patches:
    """Crossings that have landed already land again under new numbers."""
    land = posting.land

    def forgetful(draft: Draft, sent: Any) -> None:
        expected = draft.watermarks(sent.peer_id).landed_through + 1
        if sent.first_number < expected:
            sent = replace(
                sent,
                first_number=expected,
                transfer_ids=[bytes([each[0] ^ 1]) + each[1:] for each in sent.transfer_ids],
            )
        land(draft, sent)

    yield patch.object(posting, "land", forgetful)


@bug("crossing", "kill ledger")
def land_out_of_order() -> Patches:
    """Crossings land although some before them are missing."""
    land = posting.land

    def hasty(draft: Draft, sent: Any) -> None:
        marks = draft.own_watermarks(sent.peer_id)
        marks.landed_through = max(marks.landed_through, sent.first_number - 1)
        land(draft, sent)

    def recover(self: Couriers, load: Any) -> Any:
        return _recover_late(self, load)

    yield patch.object(posting, "land", hasty)
    yield patch.object(Couriers, "recover", recover)


async def _recover_late(couriers: Couriers, load: Any) -> None:
    """Take up crossings from the tables, but not the first."""
    for peer_id, marks in list(couriers._peers.items()):
        page = await load(peer_id, marks.acknowledged_through, 1_000)
        if page[1:]:
            couriers.of(peer_id).take(page[1:])


@bug("crossing")
def acknowledge_before_landing() -> Patches:
    """A peer says that crossings have landed before it has written them."""
    land = service.LedgerService.LandCrossings
    running: list[Any] = []

    async def early(self: Any, request: Any, context: Any) -> Any:
        self._shard(request.shard_id).writer  # noqa: B018 - raises where this is not the writer
        running.append(asyncio.create_task(land(self, request, context)))
        last = request.first_number + len(request.credit_accounts) - 1
        return ledger_pb2.LandCrossingsResponse(landed_through=last)

    yield patch.object(service.LedgerService, "LandCrossings", early)


@bug("crossing", shards=2, weights={"crossing": 1.0}, faults=("lossy", "kill ledger"), fault_seconds=0.2)
def lost_answer_is_landing() -> Patches:
    """A courier takes a lost answer for a yes."""
    run = Courier.run

    class Believer:
        def __init__(self, peer: Any) -> None:
            self._peer = peer

        async def call(self, method: str, request: Any, **more: Any) -> Any:
            try:
                return await self._peer.call(method, request, **more)
            except errors.OutcomeUnknown:
                last = request.first_number + len(request.credit_accounts) - 1
                return ledger_pb2.LandCrossingsResponse(landed_through=last)

    async def believing(self: Courier, writer: Any) -> None:
        client = self._client
        self._client = lambda peer_id: Believer(client(peer_id))
        await run(self, writer)

    yield patch.object(crossings.Courier, "run", believing)
    yield patch.object(crossings, "HAND_OVER_SECONDS_MAX", 0.1)


@bug("crossing", shards=2, weights={"crossing": 2.0, "state": 1.0}, faults=("lossy", "resets"), fault_seconds=0.2)
def forget_refused_on_repeat() -> Patches:
    """Asked again, a peer does not say which crossings it refused."""

    async def none(*_: Any) -> list[Any]:
        return []

    yield patch.object(Reader, "refused_crossings", none)


@bug("crossing", "state")
def give_back_twice() -> Patches:
    """What was refused is given back twice."""
    acknowledge = posting.acknowledge

    def generous(draft: Draft, peer_id: int, landed_through: int, refused: Any) -> None:
        before = draft.watermarks(peer_id).acknowledged_through
        acknowledge(draft, peer_id, landed_through, refused)
        for crossing, _ in refused:
            if before < crossing.number:
                transit, payer = draft.transit(peer_id, crossing.currency), draft.state(crossing.debit_account)
                assert payer is not None
                draft.sequence += 1
                draft.move(transit, payer, crossing.amount_minor, draft.sequence)

    yield patch.object(posting, "acknowledge", generous)


@bug("fee", "state")
def keep_further_legs() -> Patches:
    """A return gives back the first leg only."""
    acknowledge = posting.acknowledge

    def stingy(draft: Draft, peer_id: int, landed_through: int, refused: Any) -> None:
        lonely = [(crossing._replace(further=()), reason) for crossing, reason in refused]
        acknowledge(draft, peer_id, landed_through, lonely)

    yield patch.object(posting, "acknowledge", stingy)


@bug("state", shards=2, weights={"crossing": 2.0, "state": 2.0}, faults=("slow network",), has_products=True)
def keep_the_fee() -> Patches:
    """A return gives back what was asked for, and keeps the fee."""
    acknowledge = posting.acknowledge

    def stingy(draft: Draft, peer_id: int, landed_through: int, refused: Any) -> None:
        without = [
            (crossing._replace(further=tuple(leg for leg in crossing.further if not leg.is_fee)), reason)
            for crossing, reason in refused
        ]
        acknowledge(draft, peer_id, landed_through, without)

    yield patch.object(posting, "acknowledge", stingy)


@bug("crossing", "state")
def land_on_frozen_accounts() -> Patches:
    """A landing does not ask whether the payee may be paid."""
    refusal = rules.credit_refusal

    def generous(credit: Any, *more: Any) -> int:
        found = refusal(credit, *more)
        return 0 if found in {Refusal.CREDITS_FROZEN, Refusal.CREDIT_ACCOUNT_CLOSED} else found

    yield patch.object(posting, "credit_refusal", generous)


@bug("crossing", shards=2, weights={"crossing": 1.0, "state": 2.0}, faults=("partition", "slow network"))
def close_with_money_in_flight() -> Patches:
    """An account is closed although money that left it may come back."""
    yield patch.object(Couriers, "is_in_flight", lambda *_: False)
    yield patch.object(Draft, "is_in_flight", lambda *_: False)
