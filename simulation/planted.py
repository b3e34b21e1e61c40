"""Bugs that are planted to prove that the simulation finds them, armed one at a time and only here.

Each replaces something at a seam of the services; the services themselves have no switches. Never here: real bugs
(`docs/reliability.md` lists those that were found).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors
from services.domain.outcomes import Outcome, Refusal
from services.gateway import columns
from services.gateway.transfers import Posting
from services.ledger import crossings, holds, posting, service, specials, wire
from services.ledger.batching import Writer
from services.ledger.books import HoldState, PlaceError
from services.ledger.crossings import Courier, Couriers
from services.ledger.draft import Draft
from services.ledger.memory import Memory
from services.ledger.store import Head
from simulation import statements

Patches = Iterator[Any]


@dataclass(frozen=True)
class Bug:
    """A bug and how it is armed."""

    name: str
    arm: Callable[[], Patches]

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Have the bug meanwhile."""
        with ExitStack() as stack:
            for each in self.arm():
                stack.enter_context(each)
            yield


BUGS: list[Bug] = []


def _bug(arm: Callable[[], Patches]) -> Callable[[], Patches]:
    BUGS.append(Bug((arm.__doc__ or "").rstrip("."), arm))
    return arm


# The store and the writer.


@_bug
def skip_the_fence() -> Patches:
    """The head advances without comparing sequence and epoch."""

    def advance(session: Any, _sequence: int, _epoch: int, last_sequence: int, time_us: int) -> Any:
        head = session.database.head
        session.update(lambda: head.update(last_sequence=last_sequence, booking_time=time_us))
        return statements._one(bool=True)

    yield patch.dict(statements._RUN, advance_head=advance)
    yield patch.dict(statements.CONDITIONS, advance_head=lambda *_: True)


@_bug
def no_new_epoch() -> Patches:
    """A standby takes the lease without raising the epoch."""

    def same_epoch(session: Any) -> Any:
        head = session.database.head
        return statements._records(("last_sequence", "writer_epoch", "booking_time"), [head])

    yield patch.dict(statements._RUN, next_epoch=same_epoch)


@_bug
def answer_before_commit() -> Patches:
    """Callers are answered before the commit."""
    decide = Writer._decide

    async def early(self: Writer, batch: Any, facts: Any) -> Any:
        draft, answers = await decide(self, batch, facts)
        for job, answer in zip(batch, answers, strict=True):
            if not job.future.done():
                job.future.set_result(answer)
        return draft, answers

    yield patch.object(Writer, "_decide", early)


@_bug
def doubt_is_failure() -> Patches:
    """A commit whose answer got lost is taken as failed."""

    async def failed(self: Writer, draft: Draft, lost: Exception) -> None:
        await self._insist(self._store.connect)

    yield patch.object(Writer, "_confirm", failed)


@_bug
def doubt_is_success() -> Patches:
    """A commit whose answer got lost is taken as done."""

    async def done(self: Writer, draft: Draft, lost: Exception) -> Head:
        await self._insist(self._store.connect)
        return Head(draft.sequence, self.head.epoch, draft.booking_time_us)

    yield patch.object(Writer, "_confirm", done)


@_bug
def cache_of_failed_commit() -> Patches:
    """Memory keeps what a batch decided although its commit failed."""
    decide = Writer._decide

    async def hasty(self: Writer, batch: Any, facts: Any) -> Any:
        draft, answers = await decide(self, batch, facts)
        self.memory.take(draft)
        return draft, answers

    yield patch.object(Writer, "_decide", hasty)


@_bug
def step_down_with_certainty() -> Patches:
    """A writer that loses the fence while in doubt says that nothing was written."""
    confirm = Writer._confirm

    async def certain(self: Writer, draft: Draft, lost: Exception) -> Any:
        try:
            return await confirm(self, draft, lost)
        finally:
            self._in_doubt = False

    yield patch.object(Writer, "_confirm", certain)


@_bug
def clock_goes_back() -> Patches:
    """Booking times follow the clock, also when it goes back."""
    draft = Memory.draft

    def timed(self: Memory, head: Head, now_us: int, facts: Any) -> Draft:
        made = draft(self, replace(head, booking_time_us=0), now_us, facts)
        made.begins_day = False if head.sequence else made.begins_day
        return made

    yield patch.object(Memory, "draft", timed)


@_bug
def reuse_a_sequence() -> Patches:
    """Further legs do not use up their sequences."""

    def forgetful(self: Draft, sequence: int, further: Any) -> None:
        self.further_legs.extend((number, sequence, leg) for number, leg in enumerate(further, sequence + 1))

    yield patch.object(Draft, "take_further_legs", forgetful)


@_bug
def drop_one_leg() -> Patches:
    """One credit in eleven is not written."""
    move = Draft.move

    def lossy(self: Draft, debit: Any, credit: Any, amount_minor: int, sequence: int) -> None:
        move(self, debit, credit, amount_minor, sequence)
        if sequence % 11 == 0:
            credit.version, credit.balance_minor = credit.version - 1, credit.balance_minor - amount_minor
            self.entries.pop()

    yield patch.object(Draft, "move", lossy)


# Ids and outcomes.


@_bug
def forget_refusals() -> Patches:
    """A refused id is told to be posted when it is repeated."""
    repeat = posting._repeat

    def kind(answers: Any, place: int, before: Any, fingerprint: int) -> None:
        repeat(answers, place, before, fingerprint)
        if answers.outcomes[place] == Outcome.REFUSED:
            answers.outcomes[place], answers.refusals[place] = int(Outcome.POSTED), 0

    yield patch.object(posting, "_repeat", kind)


@_bug
def ignore_fingerprints() -> Patches:
    """An id that is reused for another body gets the first body's outcome."""
    repeat = posting._repeat
    yield patch.object(
        posting, "_repeat", lambda answers, place, before, _: repeat(answers, place, before, before.fingerprint)
    )


@_bug
def retry_under_a_new_id() -> Patches:
    """The gateway tries again under a new id when an outcome is unknown."""
    carry = Posting._carry_part

    async def stubborn(self: Posting, part: Any, deadline: float) -> Any:
        answer = await carry(self, part, deadline)
        if isinstance(answer, errors.OutcomeUnknown):
            ids = bytes(byte ^ 0x55 for byte in part.transfers.transfer_ids)
            other = replace(part, transfers=replace(part.transfers, transfer_ids=ids))
            return await carry(self, other, asyncio.get_running_loop().time() + 5)
        return answer

    yield patch.object(Posting, "_carry_part", stubborn)


@_bug
def doubt_is_forgotten() -> Patches:
    """A client forgets that an earlier attempt may have been carried out."""
    from services.chassis import clients

    judge = clients._Attempts.judge

    def forgetful(self: Any, failure: Any) -> None:
        try:
            judge(self, failure)
        finally:
            self._in_doubt = False

    yield patch.object(clients._Attempts, "judge", forgetful)


@_bug
def mixed_up_answers() -> Patches:
    """Callers that share a call get each other's answers."""
    cut = columns.cut

    def mixed(outcomes: Any, sizes: Any) -> Any:
        parts = cut(outcomes, sizes)
        return parts[::-1] if len(set(sizes)) == 1 else parts

    yield patch.object(columns, "cut", mixed)


@_bug
def stale_directory() -> Patches:
    """A ledger does not fetch the directory that its caller knows already."""
    post = service.LedgerService.PostTransfers

    async def stale(self: Any, request: Any, context: Any) -> Any:
        request.directory_version = 0
        return await post(self, request, context)

    yield patch.object(service.LedgerService, "PostTransfers", stale)


@_bug
def foreign_slots() -> Patches:
    """A ledger decides about accounts of slots that it does not have."""
    route = wire._route

    def careless(read: Any, shard_id: int, shard_by_slot: Any) -> None:
        route(read, shard_id, shard_by_slot)
        read.errors = {place: error for place, error in read.errors.items() if error != PlaceError.WRONG_SHARD}

    yield patch.object(wire, "_route", careless)


# Rules.


@_bug
def ignore_the_floor() -> Patches:
    """A payer may go below its floor."""
    refusal = posting.debit_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.INSUFFICIENT_FUNDS else found

    yield patch.object(posting, "debit_refusal", generous)


@_bug
def ignore_caps() -> Patches:
    """A customer's cap is not looked at."""
    refusal = posting.spending_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.CUSTOMER_DAY_LIMIT else found

    yield patch.object(posting, "spending_refusal", generous)


@_bug
def uncounted_holds() -> Patches:
    """What is set aside does not count for the day."""
    yield patch.object(holds, "spend", lambda *_: None)


@_bug
def release_twice() -> Patches:
    """A hold that was released can be released again."""
    refusal = holds.hold_refusal

    def forgetful(draft: Any, hold: Any, account_number: int) -> int:
        if hold is not None and hold.state == HoldState.RELEASED:
            return 0
        return refusal(draft, hold, account_number)

    yield patch.object(holds, "hold_refusal", forgetful)


@_bug
def capture_more_than_held() -> Patches:
    """More can be captured than is held."""
    refusal = holds.capture_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.CAPTURE_EXCEEDS_HOLD else found

    def capture(draft: Any, hold_id: bytes, account: Any, amount_minor: int) -> None:
        held = draft.hold(hold_id).amount_minor
        taken(draft, hold_id, account, min(held, amount_minor))

    taken = holds.capture
    yield patch.object(specials, "capture_refusal", generous)
    yield patch.object(specials, "capture", capture)


@_bug
def capture_after_expiry() -> Patches:
    """A hold can be captured after its time, until somebody has noticed."""
    refusal = holds.hold_refusal

    def late(draft: Any, hold: Any, account_number: int) -> int:
        found = refusal(draft, hold, account_number)
        is_open = hold is not None and hold.state == HoldState.OPEN
        return 0 if found == Refusal.HOLD_ALREADY_EXPIRED and is_open else found

    yield patch.object(holds, "hold_refusal", late)


@_bug
def reverse_too_much() -> Patches:
    """Reversals may give back more than was moved."""
    refusal = specials.reversal_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.REVERSAL_EXCEEDS_ORIGINAL else found

    yield patch.object(specials, "reversal_refusal", generous)


# Crossings.


@_bug
def forget_the_watermark() -> Patches:
    """Landing does not move the watermark."""
    land = posting.land

    def forgetful(draft: Draft, sent: Any) -> None:
        before = draft.watermarks(sent.peer_id).landed_through
        land(draft, sent)
        draft.own_watermarks(sent.peer_id).landed_through = before

    yield patch.object(posting, "land", forgetful)


@_bug
def land_twice() -> Patches:
    """Crossings that have landed already land again under new numbers."""
    land = posting.land

    def forgetful(draft: Draft, sent: Any) -> None:
        expected = draft.watermarks(sent.peer_id).landed_through + 1
        if sent.first_number < expected:
            sent = replace(sent, first_number=expected, transfer_ids=[bytes([each[0] ^ 1]) + each[1:] for each in sent.transfer_ids])
        land(draft, sent)

    yield patch.object(posting, "land", forgetful)


@_bug
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


@_bug
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


@_bug
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


@_bug
def forget_refused_on_repeat() -> Patches:
    """Asked again, a peer does not say which crossings it refused."""

    async def none(*_: Any) -> list[Any]:
        return []

    from services.ledger.reader import Reader

    yield patch.object(Reader, "refused_crossings", none)


@_bug
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


@_bug
def keep_further_legs() -> Patches:
    """A return gives back the first leg only."""
    acknowledge = posting.acknowledge

    def stingy(draft: Draft, peer_id: int, landed_through: int, refused: Any) -> None:
        lonely = [(crossing._replace(further=()), reason) for crossing, reason in refused]
        acknowledge(draft, peer_id, landed_through, lonely)

    yield patch.object(posting, "acknowledge", stingy)


@_bug
def land_on_frozen_accounts() -> Patches:
    """A landing does not ask whether the payee may be paid."""
    refusal = posting.credit_refusal

    def generous(credit: Any, *more: Any) -> int:
        found = refusal(credit, *more)
        return 0 if found in {Refusal.CREDITS_FROZEN, Refusal.CREDIT_ACCOUNT_CLOSED} else found

    yield patch.object(posting, "credit_refusal", generous)


@_bug
def close_with_money_in_flight() -> Patches:
    """An account is closed although money that left it may come back."""
    yield patch.object(Couriers, "is_in_flight", lambda *_: False)
    yield patch.object(Draft, "is_in_flight", lambda *_: False)
