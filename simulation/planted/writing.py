"""Bugs in writing: the fence, the commit and its doubt, memory, sequences.

Each docstring says what is wrong.
"""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from services.ledger import batching, shard
from services.ledger.ahead import Ahead
from services.ledger.batching import Writer
from services.ledger.beside import Loading
from services.ledger.draft import Draft
from services.ledger.memory import Memory
from services.ledger.store import Head
from simulation import statements
from simulation.planted.bug import Patches, bug, latent

_OVERTAKEN: dict[str, Any] = {
    "shards": 2,
    "standbys": 1,
    "weights": {"crossing": 2.0},
    "faults": ("pause ledger",),
    "fault_seconds": 0.3,
    "intentions": 200,
    "think_seconds": 0.5,
    "lease_seconds": 0.5,
}
"""A bank in which writers stand still for longer than their lease while crossings wait at them."""


@bug("pause ledger", **_OVERTAKEN, call_seconds=(2.0, 15.0), small_batch_max=64)
def skip_the_fence() -> Patches:
    """The head advances without comparing sequence and epoch."""

    def advance(session: Any, _sequence: int, _epoch: int, last_sequence: int, time_us: int) -> Any:
        head = session.database.head
        session.update(lambda: head.update(last_sequence=last_sequence, booking_time=time_us))
        return statements.one(bool=True)

    yield patch.dict(statements.RUN, advance_head=advance)
    yield patch.object(statements.writing, "advance_head", advance)
    names = ("advance_head", "write_one_transfer", "write_small_batch", "write_small_mixed_batch")
    yield patch.dict(statements.CONDITIONS, dict.fromkeys(names, lambda *_: True))


@bug("pause ledger", **_OVERTAKEN)
def no_new_epoch() -> Patches:
    """A standby takes the lease without raising the epoch."""

    def same_epoch(session: Any) -> Any:
        head = session.database.head
        return statements.records(("last_sequence", "writer_epoch", "booking_time"), [head])

    yield patch.dict(statements.RUN, next_epoch=same_epoch)


@bug("transfer", standbys=1, writers_stay_silent=True)
def wait_for_the_clock() -> Patches:
    """A lease is over when PostgreSQL's clock says so, which may be set back after it was renewed."""

    def may_take(session: Any, instance: str, *_: Any) -> bool:
        lease = session.database.lease
        return bool(lease["instance"] == instance or lease["expire_time"] < session.now_us())

    yield patch.dict(statements.CONDITIONS, take_lease=may_take)
    yield patch.object(statements.lease, "_may_take", may_take)


@bug("transfer")
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


@bug("cuts", faults=("cuts",), fault_seconds=0.2, call_seconds=(0.05, 0.5), lease_seconds=3.0)
def doubt_is_failure() -> Patches:
    """A commit whose answer got lost is taken as failed."""

    async def failed(self: Writer, draft: Draft, lost: Exception) -> Head:
        await self._insist(self._store.connect)
        return self.head

    yield patch.object(Writer, "_confirm", failed)


@bug("cuts")
def doubt_is_success() -> Patches:
    """A commit whose answer got lost is taken as done."""

    async def done(self: Writer, draft: Draft, lost: Exception) -> Head:
        await self._insist(self._store.connect)
        return Head(draft.sequence, self.head.epoch, draft.booking_time_us)

    yield patch.object(Writer, "_confirm", done)


@bug("disk full")
def cache_of_failed_commit() -> Patches:
    """Memory keeps what a batch decided although its commit failed."""
    decide = Writer._decide

    async def hasty(self: Writer, batch: Any, facts: Any) -> Any:
        draft, answers = await decide(self, batch, facts)
        self.memory.take(draft)
        return draft, answers

    yield patch.object(Writer, "_decide", hasty)


@bug("disk full")
def keep_what_stood_on_it() -> Patches:
    """What was decided on top of a batch is written although that batch was not."""
    commit = Writer._commit

    async def stubborn(self: Writer, draft: Draft) -> Head:
        made: list[Ahead] = []

        def note(*arguments: Any) -> Ahead:
            made.append(Ahead(*arguments))
            return made[-1]

        with patch.object(batching, "Ahead", note):
            try:
                return await commit(self, draft)
            finally:
                if made:
                    self._ahead = made[-1]

    yield patch.object(Writer, "_commit", stubborn)


@bug(
    shards=1,
    callers=6,
    intentions=300,
    weights={"transfer": 1.0},
    faults=("slow disk",),
    think_seconds=0.0,
    accounts_max=4,
)
def read_what_is_being_written() -> Patches:
    """What is read for the next batch takes the place of what the one before it decided."""
    take = Ahead._take_loaded

    def lacks(_: Memory, numbers: Any, __: Draft) -> list[int]:
        return list(numbers)

    def credulous(self: Ahead, loading: Loading) -> None:
        take(self, loading)
        if self._facts.states is not None and not loading.cancelled():
            self._facts.states.update(loading.result() or {})

    yield patch.object(Memory, "lacks", lacks)
    yield patch.object(Ahead, "_take_loaded", credulous)


@latent(
    "cuts",
    shards=1,
    standbys=1,
    faults=("cuts", "pause ledger", "kill ledger", "partition"),
    fault_seconds=0.05,
    lease_seconds=0.5,
    call_seconds=(0.5, 5.0),
)
def step_down_with_certainty() -> Patches:
    """A writer that loses the fence while in doubt says that nothing was written."""
    confirm = Writer._confirm

    async def certain(self: Writer, draft: Draft, lost: Exception) -> Any:
        try:
            return await confirm(self, draft, lost)
        finally:
            self._in_doubt = False

    yield patch.object(Writer, "_confirm", certain)


@bug("clock jump")
def clock_goes_back() -> Patches:
    """Booking times follow the clock, also when it goes back."""
    draft = Memory.draft

    def timed(self: Memory, head: Head, now_us: int, facts: Any) -> Draft:
        made = draft(self, replace(head, booking_time_us=0), now_us, facts)
        made.begins_day = False if head.sequence else made.begins_day
        return made

    yield patch.object(Memory, "draft", timed)


@bug("legs")
def reuse_a_sequence() -> Patches:
    """Further legs do not use up their sequences."""

    def forgetful(self: Draft, sequence: int, further: Any) -> None:
        self.further_legs.extend((number, sequence, leg) for number, leg in enumerate(further, sequence + 1))

    yield patch.object(Draft, "take_further_legs", forgetful)


@bug("transfer")
def drop_one_leg() -> Patches:
    """One credit in eleven is not written."""
    move = Draft.move

    def lossy(self: Draft, debit: Any, credit: Any, amount_minor: int, sequence: int) -> None:
        move(self, debit, credit, amount_minor, sequence)
        if sequence % 11 == 0:
            credit.version, credit.balance_minor = credit.version - 1, credit.balance_minor - amount_minor
            self.entries.pop()

    yield patch.object(Draft, "move", lossy)


@latent("cuts", standbys=0, faults=("cuts", "slow network"), fault_seconds=0.2, call_seconds=(0.5, 5.0))
def no_epoch_in_doubt() -> Patches:
    """Whoever asks about a lost answer does not shut out what is still on its way."""

    def asked(session: Any, epoch: int) -> Any:
        head = session.database.head
        names = ("last_sequence", "writer_epoch", "booking_time")
        return statements.records(names, [head] if head["writer_epoch"] == epoch else [])

    yield patch.dict(statements.RUN, raise_own_epoch=asked)
    yield patch.object(shard, "REST_SECONDS", 5.0)
