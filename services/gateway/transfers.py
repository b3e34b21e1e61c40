"""Posting: from transfers as callers sent them to the outcome of each.

Validate, check ownership, split by shard, carry each part to its ledger with what others send there,
join the answers. A part that fails leaves the others alone. Never here: how any of these is done.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeAlias

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis import logs
from services.chassis.bounds import RETRY_SECONDS
from services.chassis.directory_cache import DirectoryCache
from services.domain import errors, identifiers, limits
from services.domain.directory import Directory
from services.domain.outcomes import Outcome
from services.gateway import (
    authentication,
    columns,
    commands,
    metrics,
    peers,
    plain,
    routing,
    validation,
    wire,
    wire_records,
)
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds, Coalescer
from services.gateway.columns import FEES_WAIVED, LIMITS_OVERRIDDEN, Actor, Outcomes, Transfers
from services.gateway.decided import Decided, result
from services.gateway.ownership import Ownership
from services.gateway.peers import Shards
from services.gateway.routing import Part
from services.gateway.statuses import Statuses
from services.transport.calls import Places

SLICE_TRANSFERS: Final = 500
"""Read or worded without letting other calls in between: about a millisecond when all are in order."""

_log = logs.get(__name__)

_TRANSFERS_BY_OUTCOME = {outcome.value: metrics.TRANSFERS.labels(outcome.name) for outcome in Outcome}
Charge: TypeAlias = Callable[[Transfers, Collection[int], float], Awaitable[dict[int, errors.BankError]]]
"""Adds the fee legs of transfers that are not refused, by a deadline; tells which cannot be priced."""

FEW_CALLS: Final = 4
"""Under way, the one that comes among them: a few callers who wait for their answers, however much each of them brings, are no
overload."""

ITEM_BYTES: Final = 100
"""Of a request, for one transfer of one leg."""

_DONE = frozenset({Outcome.POSTED, Outcome.IN_TRANSIT})


class Posting:
    """Posts transfers. Made inside the running event loop."""

    def __init__(self, directory: DirectoryCache, ownership: Ownership, charge: Charge, bounds: Bounds) -> None:
        self._directory = directory
        self._shards = Shards(directory)
        self._ownership = ownership
        self._charge = charge
        self.places = Places()
        """Of calls; the server counts."""
        self._aside = 0
        """Calls that wait in queues, or for the account service, and need nothing of this process meanwhile."""
        self._coalescer: Coalescer[Transfers, Outcomes] = Coalescer(
            "PostTransfers", self._send, bounds, peers.outcome_unknown
        )

    def fullness(self, shard_id: int) -> float:
        """Tell how full the queue of transfers for a shard is, from 0 to 1."""
        return self._coalescer.fullness(shard_id)

    def is_full(self, coming_items: float = 0.0) -> bool:
        """Tell whether every shard refuses whatever comes after so many items; a few calls are never too many."""
        return self.places.taken >= FEW_CALLS and self._coalescer.is_full(
            self._directory.current.shard_ids, coming_items
        )

    def takes_no_more(self) -> bool:
        """Tell whether every shard would refuse one more, once those are in the queues that are read next.

        How many they bring is told by their bytes: how many the last calls brought says nothing of another channel's.
        """
        return self.is_full(self.places.waiting_bytes / ITEM_BYTES)

    def behind(self) -> int:
        """Tell how many calls there is work to do for."""
        return self.places.taken - self._aside

    async def post_one(self, caller: Caller, asked: bank_pb2.Transfer, deadline: float) -> bank_pb2.Transfer:
        """Post one transfer by `deadline` (loop time). Raises `BankError`, also when it is refused."""
        transfers = plain.read(asked)
        if transfers is None:
            transfers, faults = await self.read((asked,), lambda _: "transfer")
            return await self.post_read(caller, asked, transfers, faults.get(0), deadline)
        told = await self._post_plain(caller, transfers, deadline)
        if isinstance(told, Decided):
            return await self._shown(asked, told, deadline)
        return await self._done(transfers, told, deadline) or plain.posted(
            asked, told.outcomes[0], told.booking_times_us[0], caller
        )

    async def capture(self, caller: Caller, request: bank_pb2.CaptureHoldRequest, deadline: float) -> bank_pb2.Transfer:
        """Post a transfer out of a hold; otherwise as `post_one`."""
        transfers, faults = await self.read((request.transfer,), lambda _: "transfer")
        fault = commands.capture_fault(request, transfers, faults.get(0))
        return await self.post_read(caller, request.transfer, transfers, fault, deadline)

    async def post_read(
        self,
        caller: Caller,
        asked: bank_pb2.Transfer,
        transfers: Transfers,
        fault: errors.BankError | None,
        deadline: float,
    ) -> bank_pb2.Transfer:
        """Post one transfer that has been read, unless it has a fault; of `asked` only the texts are shown again."""
        decided = await self._post(caller, transfers, {0: fault} if fault is not None else {}, deadline)
        return await self._shown(asked, decided, deadline)

    async def _post_plain(self, caller: Caller, transfers: Transfers, deadline: float) -> Outcomes | Decided:
        """Post a plain transfer without the columns that many share; what turns out to be more, or fails, is `Decided`."""
        faults: dict[int, errors.BankError] = {}
        await self.prepare(caller, transfers, faults, deadline)
        told = None if faults or transfers.further_legs else await self._carry_plain(transfers, deadline)
        if told is None:
            return await self._post_prepared(transfers, faults, deadline)
        if isinstance(told, errors.BankError):
            _count_rejected(told)
            return Decided([0], [0], [0], {0: told})
        _TRANSFERS_BY_OUTCOME[told.outcomes[0]].inc()
        return told

    async def _carry_plain(self, transfers: Transfers, deadline: float) -> Outcomes | errors.BankError | None:
        """Carry a plain transfer to its shard; None when the directory leads it nowhere, or to a shard that has it not."""
        shard_by_slot = self._directory.current.shard_by_slot
        home = shard_by_slot[transfers.debit_accounts[0] // 10**12]
        payee = shard_by_slot[transfers.credit_accounts[0] // 10**12]
        if not home or not payee:
            return None
        self._aside += 1
        try:
            answer = await self._coalescer.submit(home, payee, transfers, 1, deadline)
        except errors.WrongShard:
            return None
        except errors.BankError as error:
            return error
        finally:
            self._aside -= 1
        if not answer.errors or not answer.errors[0]:
            return answer
        if answer.errors[0] == ledger_pb2.PLACE_ERROR_WRONG_SHARD:
            return None
        return wire.place_error(answer.errors[0], transfers.transfer_ids)

    async def _shown(self, asked: bank_pb2.Transfer, decided: Decided, deadline: float) -> bank_pb2.Transfer:
        """Write the one transfer of a call with its outcome. Raises `BankError` when it is not done."""
        if decided.errors:
            raise decided.errors[0]
        transfers = decided.parts[0].transfers
        return await self._done(transfers, decided, deadline) or wire.posted_transfer(
            asked, transfers, decided.outcomes[0], decided.booking_times_us[0]
        )

    async def _done(self, transfers: Transfers, told: Decided | Outcomes, deadline: float) -> bank_pb2.Transfer | None:
        """Raise a refusal; give the record of what had its outcome before, None of what has it now."""
        outcome = told.outcomes[0]
        if logs.shows_calls():
            _log.debug(
                "transfer_decided",
                transfer_id=identifiers.uuid_text(transfers.transfer_ids[:16]),
                outcome=Outcome(outcome).name,
            )
        if outcome not in _DONE:
            leg = told.refused_legs.get(0)
            raise wire.refusal_error(transfers.transfer_ids, outcome, told.refusals[0], leg)
        if 0 not in told.repeats:
            return None
        # The fee may have been another when it was posted; only the books know.
        record = await self._shards.call(
            transfers.debit_accounts[0],
            "GetTransfer",
            ledger_pb2.GetTransferRequest(transfer_id=transfers.transfer_ids),
            deadline,
        )
        record.outcome = outcome
        return wire_records.transfer(record)

    async def post_many(
        self, caller: Caller, asked: Sequence[bank_pb2.Transfer], deadline: float
    ) -> bank_pb2.PostTransfersResponse:
        """Post transfers, each on its own, by `deadline` (loop time). Raises `Overloaded` when none would be taken."""
        if self.is_full():
            # Since its first bytes came; one answer costs less than one for each of thousands.
            raise errors.Overloaded("QUEUE_FULL", "too much waits everywhere; nothing was sent", RETRY_SECONDS)
        validation.check_count(len(asked), limits.TRANSFERS_PER_CALL_MAX, "TRANSFERS_COUNT_INVALID", "transfers")
        alone = plain.read(asked[0]) if len(asked) == 1 else None
        if alone is not None:
            decided = await self._post_plain(caller, alone, deadline)
        else:
            transfers, faults = await self.read(asked, lambda place: f"transfers[{place}]")
            if len(transfers.further_legs) > limits.LEGS_PER_CALL_MAX:
                raise errors.Malformed("LEGS_TOO_MANY", "transfers", f"at most {limits.LEGS_PER_CALL_MAX} legs a call")
            decided = await self._post(caller, transfers, faults, deadline)
        results = list(map(result, decided.outcomes, decided.refusals))
        for place, leg in decided.refused_legs.items():
            results[place] = bank_pb2.TransferResult(
                state=results[place].state, reason=results[place].reason, refused_leg=leg
            )
        if isinstance(decided, Outcomes):
            return bank_pb2.PostTransfersResponse(results=results)
        statuses = Statuses()
        for count, (place, error) in enumerate(decided.errors.items(), start=1):
            results[place] = bank_pb2.TransferResult(error=statuses.of(error))
            if not count % SLICE_TRANSFERS:
                await asyncio.sleep(0)
        return bank_pb2.PostTransfersResponse(results=results)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._coalescer.close()

    async def _post(
        self, caller: Caller, transfers: Transfers, faults: dict[int, errors.BankError], deadline: float
    ) -> Decided:
        """Post what has been read; `faults` are the places that must not be."""
        await self.prepare(caller, transfers, faults, deadline)
        return await self._post_prepared(transfers, faults, deadline)

    async def _post_prepared(
        self, transfers: Transfers, faults: dict[int, errors.BankError], deadline: float
    ) -> Decided:
        """Post what has its fees."""
        count = len(transfers)
        decided = Decided([0] * count, [0] * count, [0] * count, faults)
        if len(faults) < count:
            await self._decide(transfers, decided, deadline)
        assert decided.outcomes.count(0) == len(decided.errors), "each place has an outcome or an error"
        for outcome, times in Counter(decided.outcomes).items():
            if outcome:
                _TRANSFERS_BY_OUTCOME[outcome].inc(times)
        for error in decided.errors.values():
            _count_rejected(error)
        return decided

    async def prepare(
        self, caller: Caller, transfers: Transfers, faults: dict[int, errors.BankError], deadline: float
    ) -> None:
        """Let those through that the caller may ask for, and add their fees; add the others to `faults`."""
        transfers.actors = [Actor(caller.channel, caller.subject)]
        if transfers.specials:
            faults |= _dispensation_faults(caller, transfers)
        self._aside += 1
        try:
            if caller.customer_number is not None and len(faults) < len(transfers):
                faults |= await self._ownership.transfer_faults(caller, transfers, faults, deadline)
            if len(faults) < len(transfers):
                faults |= await self._charge(transfers, faults, deadline)
        finally:
            self._aside -= 1

    async def read(
        self, asked: Sequence[bank_pb2.Transfer], path: Callable[[int], str]
    ) -> tuple[Transfers, dict[int, errors.BankError]]:
        """Read transfers slice by slice, so that a call of thousands does not hold up the others."""
        partners = self._directory.current.partner_numbers
        if len(asked) <= SLICE_TRANSFERS:
            return validation.read_transfers(asked, partners, path)
        parts: list[Transfers] = []
        faults: dict[int, errors.BankError] = {}
        for first in range(0, len(asked), SLICE_TRANSFERS):

            def path_of(place: int, first: int = first) -> str:
                return path(first + place)

            part, found = validation.read_transfers(asked[first : first + SLICE_TRANSFERS], partners, path_of)
            parts.append(part)
            faults |= {first + place: fault for place, fault in found.items()}
            await asyncio.sleep(0)
        return columns.join(parts), faults

    async def _decide(self, transfers: Transfers, decided: Decided, deadline: float) -> None:
        """Carry transfers to their shards; those that an old directory led astray, once more."""
        directory = self._directory.current
        astray = await self._carry(transfers, directory, None, decided, deadline)
        if not astray:
            return
        metrics.REROUTED_TRANSFERS.inc(len(astray))
        try:
            directory = await self._directory.refresh(directory.version + 1)
            astray = await self._carry(transfers, directory, astray, decided, deadline)
        except errors.BankError as error:
            decided.errors |= dict.fromkeys(astray, error)
        else:
            decided.errors |= dict.fromkeys(astray, peers.directory_changing())

    async def _carry(
        self,
        transfers: Transfers,
        directory: Directory,
        places: Sequence[int] | None,
        decided: Decided,
        deadline: float,
    ) -> list[int]:
        """Carry transfers to the shards that the directory names; return those that are not there."""
        decided.parts, unroutable = routing.split(transfers, directory, decided.errors, places)
        decided.errors |= unroutable
        decided.unqueued = len(decided.parts)
        try:
            if len(decided.parts) == 1:
                answers = [await self._carry_part(decided.parts[0], decided, deadline)]
            else:
                answers = await asyncio.gather(*(self._carry_part(part, decided, deadline) for part in decided.parts))
        finally:
            self._aside -= bool(decided.parts) and not decided.unqueued
        astray: list[int] = []
        for part, answer in zip(decided.parts, answers, strict=True):
            if isinstance(answer, errors.WrongShard):
                astray += part.places
            elif isinstance(answer, errors.BankError):
                decided.errors |= dict.fromkeys(part.places, answer)
            else:
                astray += decided.take(part, answer)
        return astray

    async def _carry_part(self, part: Part, decided: Decided, deadline: float) -> Outcomes | errors.BankError:
        size = len(part.transfers) + len(part.transfers.further_legs)
        decided.unqueued -= 1
        self._aside += not decided.unqueued
        try:
            return await self._coalescer.submit(part.shard_id, part.lane, part.transfers, size, deadline)
        except errors.BankError as error:
            return error

    async def _send(self, shard_id: int, parts: list[Transfers], deadline: float) -> list[Outcomes]:
        """Carry the parts of several calls to their shard together."""
        request = wire.post_request(shard_id, columns.join(parts), self._directory.current.version)
        ledger = self._directory.ledger(shard_id)
        try:
            response: ledger_pb2.PostTransfersResponse = await ledger.call(
                "PostTransfers", request, deadline_seconds=peers.seconds_until(deadline)
            )
        except errors.Malformed as error:
            raise AssertionError(f"a ledger finds what was validated here malformed: {error}") from error
        return columns.cut(wire.outcomes(response), [len(part) for part in parts])


def _count_rejected(error: errors.BankError) -> None:
    metrics.REJECTED_TRANSFERS.labels(type(error).__name__).inc()


def _dispensation_faults(caller: Caller, transfers: Transfers) -> dict[int, errors.BankError]:
    """Tell, by place, what the caller may not override."""
    faults: dict[int, errors.BankError] = {}
    for flag, dispensation in ((LIMITS_OVERRIDDEN, "override_limits"), (FEES_WAIVED, "waive_fees")):
        places = [place for place, special in transfers.specials.items() if special.flags & flag]
        try:
            if places:
                authentication.check_dispensation(caller, dispensation)
        except errors.Forbidden as error:
            faults = dict.fromkeys(places, error) | faults
    return faults
