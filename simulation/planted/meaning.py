"""Bugs in what ids mean: repeats, doubt, routing, answers.

Each docstring says what is wrong.
"""

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from services.chassis import clients
from services.domain import errors
from services.domain.outcomes import Outcome
from services.gateway import columns
from services.gateway.transfers import Posting
from services.ledger import posting, service, wire
from services.ledger.books import PlaceError
from simulation.planted.bug import Patches, bug


@bug("transfer")
def forget_refusals() -> Patches:
    """A refused id is told to be posted when it is repeated."""
    repeat = posting._repeat

    def kind(answers: Any, place: int, before: Any, *more: Any) -> None:
        repeat(answers, place, before, *more)
        if answers.outcomes[place] == Outcome.REFUSED:
            answers.outcomes[place], answers.refusals[place] = int(Outcome.POSTED), 0

    yield patch.object(posting, "_repeat", kind)


@bug("reuse")
def ignore_fingerprints() -> Patches:
    """An id that is reused for another body gets the first body's outcome."""
    repeat = posting._repeat
    yield patch.object(
        posting,
        "_repeat",
        lambda answers, place, before, _, *more: repeat(answers, place, before, before.fingerprint, *more),
    )


@bug("resets")
def retry_under_a_new_id() -> Patches:
    """The gateway tries again under a new id when an outcome is unknown."""
    carry = Posting._carry_part

    async def stubborn(self: Posting, part: Any, decided: Any, deadline: float) -> Any:
        answer = await carry(self, part, decided, deadline)
        if isinstance(answer, errors.OutcomeUnknown):
            ids = bytes(byte ^ 0x55 for byte in part.transfers.transfer_ids)
            other = replace(part, transfers=replace(part.transfers, transfer_ids=ids))
            decided.unqueued += 1
            return await carry(self, other, decided, asyncio.get_running_loop().time() + 5)
        return answer

    yield patch.object(Posting, "_carry_part", stubborn)


@bug(
    "resets",
    shards=1,
    standbys=1,
    weights={"transfer": 2.0},
    faults=("resets", "kill ledger"),
    fault_seconds=0.1,
    think_seconds=0.3,
    call_seconds=(0.05, 0.5),
)
def doubt_is_forgotten() -> Patches:
    """A client forgets that an earlier attempt may have been carried out."""
    judge = clients._Attempts.judge

    def forgetful(self: Any, failure: Any) -> None:
        try:
            judge(self, failure)
        finally:
            self._in_doubt = False

    yield patch.object(clients._Attempts, "judge", forgetful)


@bug("transfer")
def mixed_up_answers() -> Patches:
    """Callers that share a call get each other's answers."""
    cut = columns.cut

    def mixed(outcomes: Any, sizes: Any) -> Any:
        parts = cut(outcomes, sizes)
        return parts[::-1] if len(set(sizes)) == 1 else parts

    yield patch.object(columns, "cut", mixed)


@bug(
    "open",
    shards=3,
    weights={"open": 2.0, "crossing": 1.0},
    faults=("kill gateway",),
    fault_seconds=1.0,
    think_seconds=1.0,
)
def stale_directory() -> Patches:
    """A ledger does not fetch the directory that its caller knows already."""
    post = service.LedgerService.PostTransfers

    async def stale(self: Any, request: Any, context: Any) -> Any:
        request.directory_version = 0
        return await post(self, request, context)

    yield patch.object(service.LedgerService, "PostTransfers", stale)


@bug("open", shards=2, weights={"open": 1.0, "transfer": 2.0}, faults=("move slots", "kill ledger"), think_seconds=1.0)
def foreign_slots() -> Patches:
    """A ledger decides about accounts of slots that it does not have."""
    route = wire._route

    def careless(read: Any, shard_id: int, shard_by_slot: Any) -> None:
        route(read, shard_id, shard_by_slot)
        read.errors = {place: error for place, error in read.errors.items() if error != PlaceError.WRONG_SHARD}

    yield patch.object(wire, "_route", careless)
