"""The ledger's door: `hivecore.ledger.v1.Ledger` for the shards of this process.

Reads what was asked, hands it to the shard's writer or reader, writes the answer. Never here: rules
about money, SQL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.domain import chart, errors, limits
from services.domain.directory import Directory
from services.domain.identifiers import uuid_text
from services.domain.outcomes import Outcome
from services.ledger import rules, trail, wire, wire_commands, wire_history, wire_traffic
from services.ledger.batching import QUEUE_RETRY_SECONDS
from services.ledger.books import Actor, Answers, PlaceError, Transfers
from services.ledger.command_jobs import BuryJob, ChangeJob, HoldJob
from services.ledger.coordinator import has_room
from services.ledger.history import History
from services.ledger.jobs import LandJob, OpenJob, PostJob, RehearseJob
from services.ledger.promise_jobs import PromiseJob, RehearsePromiseJob
from services.ledger.reader import TransferRecord
from services.ledger.shard import Shard
from services.ledger.spanning import Answered, Span

ANSWER_SECONDS: Final = 0.1
"""Left of the deadline when crossings still in transit are answered as such."""

ACCOUNTS_PER_CALL_MAX: Final = limits.OPENINGS_PER_CALL_MAX


class LedgerService(ledger_pb2_grpc.LedgerServicer):
    """Serves the shards given; `directory` gives the copy at hand, `refresh` one of a version at least."""

    def __init__(
        self,
        shards: Mapping[int, Shard],
        directory: Callable[[], Directory],
        refresh: Callable[[int], Awaitable[Directory]],
    ) -> None:
        self._shards = shards
        self._directory = directory
        self._refresh = refresh

    async def PostTransfers(
        self, request: ledger_pb2.PostTransfersRequest, context: Any
    ) -> ledger_pb2.PostTransfersResponse:
        """Decide transfers."""
        shard = self._shard(request.shard_id)
        writer, couriers = shard.writer, shard.couriers
        deadline = _deadline(context)
        transfers = await self._read(shard, request, deadline)
        answers = await writer.ask(PostJob(transfers, deadline))
        if answers.errors and PlaceError.ORIGINAL_IN_TRANSIT in answers.errors.values():
            # What a peer had said of it may have been written in passing with that batch, after the decisions.
            answers = await writer.ask(PostJob(transfers, deadline))
        if answers.crossings:
            await couriers.complete(answers, deadline - ANSWER_SECONDS)
        if transfers.spans:
            await self._decide_spans(shard, transfers, answers, shard.coordinator.decide, deadline - ANSWER_SECONDS)
        return wire.answered(answers)

    async def RehearseTransfers(
        self, request: ledger_pb2.PostTransfersRequest, context: Any
    ) -> ledger_pb2.PostTransfersResponse:
        """Tell what would be decided now."""
        shard = self._shard(request.shard_id)
        deadline = _deadline(context)
        transfers = await self._read(shard, request, deadline)
        transfers.actors = None  # Whoever only asks is not written down.
        answers = await shard.writer.ask(RehearseJob(transfers, deadline))
        if transfers.spans:
            await self._decide_spans(shard, transfers, answers, shard.coordinator.rehearse, deadline - ANSWER_SECONDS)
        return wire.answered(answers)

    async def _read(self, shard: Shard, request: ledger_pb2.PostTransfersRequest, deadline: float) -> Transfers:
        """Read transfers by a directory that is new enough, and hear what the payees' shards say of them."""
        directory = self._directory()
        if request.directory_version > directory.version:
            directory = await self._refresh(request.directory_version)
        transfers = wire.transfers(request, directory.shard_by_slot)
        if transfers.peers is not None:
            await self._check_payees(shard, transfers, deadline)
        return transfers

    @staticmethod
    async def _decide_spans(
        shard: Shard,
        transfers: Transfers,
        answers: Answers,
        decide_one: Callable[[Span, Actor | None, float], Awaitable[Answered | None]],
        deadline: float,
    ) -> None:
        """Have those of the transfers over several shards decided, or judged, whose ids mean nothing yet."""
        places = [place for place in transfers.spans if answers.errors.get(place) == PlaceError.UNDECIDED]

        async def decide(place: int) -> Answered | None:
            actor = None if transfers.actors is None else transfers.actors[place]
            return await decide_one(wire_traffic.span_of(transfers, place, shard.shard_id), actor, deadline)

        # One that fails leaves the others alone: their callers may send the same ids again.
        for place, answered in zip(
            places, await asyncio.gather(*map(decide, places), return_exceptions=True), strict=True
        ):
            if isinstance(answered, BaseException):
                if not isinstance(answered, errors.BankError):
                    raise answered
                if isinstance(answered, errors.OutcomeUnknown):
                    answers.errors[place] = PlaceError.OUTCOME_UNKNOWN
                continue
            if answered is None:
                continue
            if answered.is_reused:
                answers.errors[place] = PlaceError.TRANSFER_ID_REUSED
                continue
            del answers.errors[place]
            answers.outcomes[place], answers.refusals[place] = answered.outcome, answered.refusal
            answers.booking_times_us[place] = answered.booking_time_us
            if answered.leg >= 0:
                answers.refused_legs[place] = answered.leg

    async def PromiseTransfer(
        self, request: ledger_pb2.PromiseTransferRequest, context: Any
    ) -> ledger_pb2.PromiseTransferResponse:
        """Promise a part of a transfer that another shard decides."""
        return await self._promise(request, PromiseJob, _deadline(context))

    async def RehearsePromise(
        self, request: ledger_pb2.PromiseTransferRequest, context: Any
    ) -> ledger_pb2.PromiseTransferResponse:
        """Tell whether a part would be promised."""
        return await self._promise(request, RehearsePromiseJob, _deadline(context))

    async def _promise(
        self, request: ledger_pb2.PromiseTransferRequest, job: type[PromiseJob], deadline: float
    ) -> ledger_pb2.PromiseTransferResponse:
        writer = self._shard(request.shard_id).writer
        asked = wire_traffic.promise_asked(request)
        if not has_room(writer, len(asked.legs)):
            raise errors.Overloaded("PROMISES_FULL", "too many promises are open", QUEUE_RETRY_SECONDS)
        answer = await writer.ask(job(asked, wire.actor(request.actor), deadline))
        if answer.stands_otherwise:
            raise errors.Unavailable(
                "PROMISED_OTHERWISE", "an earlier attempt at this id was promised at other fees and is not decided yet"
            )
        return ledger_pb2.PromiseTransferResponse(refusal=answer.refusal, place=max(answer.place, 0))

    async def AskDecisions(
        self, request: ledger_pb2.AskDecisionsRequest, context: Any
    ) -> ledger_pb2.AskDecisionsResponse:
        """See to it that a peer hears about its promises."""
        asked = wire_traffic.asked_about(request)
        coordinator = self._shard(request.shard_id).coordinator
        count = await coordinator.tell(request.from_shard_id, asked, _deadline(context))
        return ledger_pb2.AskDecisionsResponse(decided_count=count)

    async def _check_payees(self, shard: Shard, transfers: Transfers, deadline: float) -> None:
        """Ask the peers about the payees, each peer once, before anybody is debited."""
        assert transfers.peers is not None
        places_by_peer: dict[int, list[int]] = {}
        for place, peer_id in enumerate(transfers.peers):
            if peer_id and place not in transfers.errors:
                places_by_peer.setdefault(peer_id, []).append(place)
        await asyncio.gather(
            *(
                self._check_peers_payees(shard, peer_id, places, transfers, deadline)
                for peer_id, places in places_by_peer.items()
            )
        )

    @staticmethod
    async def _check_peers_payees(
        shard: Shard, peer_id: int, places: list[int], transfers: Transfers, deadline: float
    ) -> None:
        if shard.couriers.is_full(peer_id):
            transfers.errors.update(dict.fromkeys(places, PlaceError.PAYEE_SHARD_UNREACHABLE))
            return
        payees = [(transfers.credit_accounts[place], transfers.currencies[place]) for place in places]
        seconds = (deadline - asyncio.get_running_loop().time()) / 2
        try:
            refusals = await shard.payees.ask(peer_id, payees, seconds)
        except errors.BankError:
            transfers.errors.update(dict.fromkeys(places, PlaceError.PAYEE_SHARD_UNREACHABLE))
            return
        for place, payee in zip(places, payees, strict=True):
            if payee in refusals:
                transfers.payee_refusals[place] = refusals[payee]

    async def LandCrossings(
        self, request: ledger_pb2.LandCrossingsRequest, context: Any
    ) -> ledger_pb2.LandCrossingsResponse:
        """Land a peer's crossings."""
        shard = self._shard(request.shard_id)
        crossings = wire_traffic.crossings(request)
        landed = await shard.writer.ask(LandJob(crossings, _deadline(context)))
        refused = landed.refused
        if landed.repeated:
            refused = await shard.reader.refused_crossings(crossings.peer_id, crossings.first_number, landed.through)
        return ledger_pb2.LandCrossingsResponse(
            landed_through=landed.through,
            refused_numbers=[number for number, _ in refused],
            refusals=[refusal for _, refusal in refused],
        )

    async def OpenAccounts(
        self, request: ledger_pb2.OpenAccountsRequest, context: Any
    ) -> ledger_pb2.OpenAccountsResponse:
        """Put accounts into the books."""
        openings = wire_commands.openings(request)
        results = await self._shard(request.shard_id).writer.ask(OpenJob(openings, _deadline(context)))
        result = ledger_pb2.OpenAccountsResponse
        return result(results=[result.RESULT_OPEN if opened else result.RESULT_CONFLICT for opened in results])

    async def CommandHolds(
        self, request: ledger_pb2.CommandHoldsRequest, context: Any
    ) -> ledger_pb2.PostTransfersResponse:
        """Place, increase and release holds."""
        commands = wire_commands.hold_commands(request)
        answers = await self._shard(request.shard_id).writer.ask(HoldJob(commands, _deadline(context)))
        return wire.answered(answers)

    async def GetHold(self, request: ledger_pb2.GetHoldRequest, context: Any) -> ledger_pb2.Hold:
        """Return a hold."""
        shard = self._shard(request.shard_id)
        found = await shard.reader.hold(wire.one_id(request.hold_id, "hold_id"))
        if found is None:
            text = uuid_text(request.hold_id)
            raise errors.NotFound("HOLD_NOT_FOUND", f"no hold {text} on this shard", {"hold_id": text})
        return wire_commands.hold(*found)

    async def ListHolds(self, request: ledger_pb2.ListHoldsRequest, context: Any) -> ledger_pb2.ListHoldsResponse:
        """List an account's open holds."""
        limit = wire.page_limit(request.limit)
        found = await self._shard(request.shard_id).reader.open_holds(request.account_number, limit)
        return ledger_pb2.ListHoldsResponse(holds=[wire_commands.hold(*each) for each in found])

    async def ChangeAccount(
        self, request: ledger_pb2.ChangeAccountRequest, context: Any
    ) -> ledger_pb2.ChangeAccountResponse:
        """Change an account's slow facts."""
        job = ChangeJob(wire_commands.change(request), wire.actor(request.actor), _deadline(context))
        decision = await self._shard(request.shard_id).writer.ask(job)
        if decision is None:
            return ledger_pb2.ChangeAccountResponse(is_reused=True)
        return ledger_pb2.ChangeAccountResponse(refusal=decision.refusal)

    async def BuryTransfer(
        self, request: ledger_pb2.BuryTransferRequest, context: Any
    ) -> ledger_pb2.BuryTransferResponse:
        """Refuse an id beforehand."""
        transfer_id = wire.one_id(request.transfer_id, "transfer_id")
        if not 0 < request.account_number < 10**16:
            raise errors.Malformed("ACCOUNT_NUMBER_INVALID", "account_number", "an account number has 16 digits")
        job = BuryJob([transfer_id], [request.account_number], wire.actor(request.actor), _deadline(context))
        (buried,) = await self._shard(request.shard_id).writer.ask(job)
        return ledger_pb2.BuryTransferResponse(buried=buried)

    async def CheckPayees(self, request: ledger_pb2.CheckPayeesRequest, context: Any) -> ledger_pb2.CheckPayeesResponse:
        """Say whether accounts may be credited; the books may change until they are."""
        numbers = request.account_numbers
        if not 1 <= len(numbers) == len(request.currencies) <= ACCOUNTS_PER_CALL_MAX:
            raise errors.Malformed("COLUMNS_INVALID", "account_numbers", "columns differ in length, or are too long")
        shard = self._shard(request.shard_id)
        payees = list(zip(numbers, request.currencies, strict=True))
        # A yes may come from memory, for a return covers what it missed; only the books say no.
        vouched = shard.writer.memory.may_be_credited if shard.is_writer else _not_known
        doubtful = [payee for payee in payees if not vouched(*payee)]
        refusals: dict[tuple[int, int], int] = {}
        if doubtful:
            facts = await shard.reader.facts([number for number, _ in doubtful])
            refusals = {payee: rules.credit_refusal(facts.get(payee[0]), 0, payee[1]) for payee in doubtful}
        return ledger_pb2.CheckPayeesResponse(refusals=[refusals.get(payee, 0) for payee in payees])

    async def GetTransfer(self, request: ledger_pb2.GetTransferRequest, context: Any) -> ledger_pb2.TransferRecord:
        """Return a transfer."""
        shard = self._shard(request.shard_id)
        transfer = await shard.reader.transfer(wire.one_id(request.transfer_id, "transfer_id"))
        if transfer is None:
            text = uuid_text(request.transfer_id)
            raise errors.NotFound("TRANSFER_NOT_FOUND", f"no transfer {text} on this shard", {"transfer_id": text})
        return wire.record(_as_told(shard, transfer))

    async def GetBalances(self, request: ledger_pb2.GetBalancesRequest, context: Any) -> ledger_pb2.GetBalancesResponse:
        """Return the state of accounts."""
        numbers = list(request.account_numbers)
        if len(numbers) > ACCOUNTS_PER_CALL_MAX:
            raise errors.Malformed("COLUMNS_INVALID", "account_numbers", f"at most {ACCOUNTS_PER_CALL_MAX} accounts")
        states = await self._shard(request.shard_id).reader.balances(numbers)
        return wire.balances(numbers, states)

    async def ListEntries(self, request: ledger_pb2.ListEntriesRequest, context: Any) -> ledger_pb2.ListEntriesResponse:
        """List a page of an account's entries."""
        page = await self._history(request.shard_id).entries(
            request.account_number,
            descending=request.descending,
            after_sequence=max(0, request.after_sequence),
            limit=wire.page_limit(request.limit),
            cut_sequence=max(0, request.cut_sequence),
            first_date=request.first_date,
            last_date=request.last_date,
        )
        return wire_history.entries(page)

    async def GetPastBalance(self, request: ledger_pb2.GetPastBalanceRequest, context: Any) -> ledger_pb2.PastBalance:
        """Return what an account held at a moment of the past."""
        history, number = self._history(request.shard_id), request.account_number
        match request.WhichOneof("moment"):
            case "booking_time_us":
                state = await history.state_at(number, await history.cut_of_time(request.booking_time_us))
            case "value_date":
                state = await history.state_by_value(number, request.value_date)
            case "business_date":
                state = await history.state_at(number, await history.cut_of_day(request.business_date))
            case _:
                raise errors.Malformed("MOMENT_MISSING", "moment", "a time, a value date or a business date")
        return wire_history.past_balance(state)

    async def GetStatement(self, request: ledger_pb2.GetStatementRequest, context: Any) -> ledger_pb2.Statement:
        """Return the frame of a statement."""
        if not 0 < request.first_date <= request.last_date:
            raise errors.Malformed("PERIOD_INVALID", "last_date", "the last day comes before the first")
        history = self._history(request.shard_id)
        return wire_history.statement(
            await history.statement(request.account_number, request.first_date, request.last_date)
        )

    async def SearchTransfers(
        self, request: ledger_pb2.SearchTransfersRequest, context: Any
    ) -> ledger_pb2.SearchTransfersResponse:
        """Find transfers."""
        wanted, limit = wire_history.search(request)
        shard = self._shard(request.shard_id)
        found = await History(shard.reader).search(wanted, limit)
        return ledger_pb2.SearchTransfersResponse(
            transfers=[wire.record(_as_told(shard, transfer)) for transfer in found.transfers],
            next_before_sequence=found.next_before_sequence,
        )

    async def ListTrail(self, request: ledger_pb2.ListTrailRequest, context: Any) -> ledger_pb2.ListTrailResponse:
        """List who asked for what."""
        return await trail.page(self._shard(request.shard_id).reader, request)

    async def GetTrialBalance(
        self, request: ledger_pb2.GetTrialBalanceRequest, context: Any
    ) -> ledger_pb2.TrialBalance:
        """Sum all balances."""
        own_accounts = chart.own_accounts(request.shard_id)
        history = self._history(request.shard_id)
        return wire_history.trial_balance(
            await history.trial_balance(own_accounts, request.first_date, request.last_date)
        )

    async def GetShardStatus(self, request: ledger_pb2.GetShardStatusRequest, context: Any) -> ledger_pb2.ShardStatus:
        """Return who writes a shard and how far its books are."""
        shard = self._shard(request.shard_id)
        status = await shard.reader.status()
        return ledger_pb2.ShardStatus(
            is_writer=shard.is_writer,
            instance=shard.instance,
            writer_epoch=status.writer_epoch,
            last_sequence=status.last_sequence,
            crossings_in_flight_count=status.in_flight_count,
            queued_count=shard.writer.queued_count if shard.is_writer else 0,
            promises_open_count=status.promise_count,
        )

    def _history(self, shard_id: int) -> History:
        return History(self._shard(shard_id).reader)

    def _shard(self, shard_id: int) -> Shard:
        shard = self._shards.get(shard_id)
        if shard is None:
            raise errors.WrongShard(
                "WRONG_SHARD", f"this ledger does not serve shard {shard_id}", {"shard_id": str(shard_id)}
            )
        return shard


def _as_told(shard: Shard, transfer: TransferRecord) -> TransferRecord:
    """Let whoever was told POSTED read POSTED, although the acknowledgement is still to be written."""
    if transfer.outcome == Outcome.IN_TRANSIT and transfer.peer_id and shard.is_writer:
        outcome, refusal = shard.couriers.became(transfer.peer_id, transfer.number)
        return replace(transfer, outcome=outcome, refusal=refusal)
    return transfer


def _not_known(_number: int, _currency: int) -> bool:
    """Vouch for nobody."""
    return False


def _deadline(context: Any) -> float:
    """Tell the loop time of a call's deadline; the server gives every call one."""
    deadline: float = asyncio.get_running_loop().time() + context.time_remaining()
    return deadline
