"""Bugs in transfers over several shards: promises, decisions, who is told.

Each docstring says what is wrong.
"""

from typing import Any
from unittest.mock import patch

from services.domain import errors
from services.domain.outcomes import Refusal
from services.ledger import changes, posting, promises, spanning, specials
from services.ledger.batching import Writer
from services.ledger.coordination import Coordination
from services.ledger.coordinator import Coordinator, Inquirer
from services.ledger.memory import OpenPromises
from services.ledger.promise_jobs import DecideJob
from services.ledger.spanning import Span
from services.ledger.store import Store
from simulation.planted.bug import Patches, bug


@bug("span")
def decide_before_all_promised() -> Patches:
    """A home decides when the first has promised."""
    yield patch.object(Coordination, "_missing", lambda _: ())


@bug("span", "kill ledger")
def forget_promises() -> Patches:
    """A restart does not take up promises."""

    async def none(_: Store) -> list[Any]:
        return []

    yield patch.object(Store, "load_open_promises", none)


@bug("span")
def drop_twice() -> Patches:
    """What a dropped promise had set aside is freed twice."""
    drop = promises._drop

    def generous(draft: Any, made: Any, verdict: Any) -> None:
        drop(draft, made, verdict)
        for leg in made.legs:
            if not leg.debit_peer:
                draft.set_aside(draft.state(leg.debit_account), -leg.amount_minor, draft.sequence)

    yield patch.object(promises, "_drop", generous)


@bug("span", "crash postgres")
def answer_before_decided() -> Patches:
    """A home answers before its decision is in the books."""
    decide = Writer._decide

    async def early(self: Writer, batch: Any, facts: Any) -> Any:
        draft, answers = await decide(self, batch, facts)
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(job, DecideJob) and not job.future.done():
                job.future.set_result(answer)
        return draft, answers

    yield patch.object(Writer, "_decide", early)


@bug("span", shards=2, weights={"span": 2.0}, faults=("slow disk",), fault_seconds=0.2, call_seconds=(0.05, 0.5))
def doubt_is_undecided() -> Patches:
    """A home whose commit may still be written says that nothing is decided."""
    decide = Coordinator.decide

    async def certain(self: Coordinator, *asked: Any) -> Any:
        try:
            return await decide(self, *asked)
        except errors.OutcomeUnknown:
            return None

    yield patch.object(Coordinator, "decide", certain)


@bug("span", shards=2, weights={"span": 2.0, "limits": 1.0}, faults=(), is_tight=False)
def uncounted_promises() -> Patches:
    """What is promised does not count for the day."""
    yield patch.object(promises, "spend", lambda *_: None)


@bug("span", shards=3, weights={"span": 2.0, "state": 1.0}, faults=("lossy", "slow network"), think_seconds=0.0)
def close_on_a_promise() -> Patches:
    """An account is closed although a credit to it is promised."""
    refusal = changes.change_refusal

    def careless(account: Any, *more: Any) -> int:
        if account is None:
            return refusal(account, *more)
        promised, account.promised_minor = account.promised_minor, 0
        try:
            return refusal(account, *more)
        finally:
            account.promised_minor = promised

    yield patch.object(changes, "change_refusal", careless)


@bug("undo", shards=2, weights={"span": 2.0, "undo": 2.0}, faults=(), is_tight=False)
def giving_back_is_spending() -> Patches:
    """What a reversal over several shards gives back counts as its payers' own spending."""
    yield patch.object(Span, "flags", property(lambda self: int(self.special.flags)))


@bug("undo", shards=3, weights={"span": 2.0, "undo": 2.0}, faults=(), is_tight=False)
def reverse_twice() -> Patches:
    """A reversal over several shards does not look at those before it."""
    refusal = specials.reversal_refusal

    def generous(draft: Any, original_id: bytes, legs: Any) -> int:
        found = refusal(draft, original_id, legs)
        return 0 if found == Refusal.REVERSAL_EXCEEDS_ORIGINAL else found

    yield patch.object(spanning, "reversal_refusal", generous)


@bug("undo", shards=2, weights={"fee": 2.0, "undo": 4.0}, faults=("lossy",), is_tight=False)
def refuse_what_is_on_its_way() -> Patches:
    """A reversal is refused for ever while its payer's shard has yet to hear that the original arrived."""
    for room in (posting, spanning):
        yield patch.object(room, "waits_for_original", lambda *_: False)


@bug("span", shards=2, weights={"span": 2.0}, faults=("kill ledger",), fault_seconds=0.1, intentions=80,
     call_seconds=(0.05, 0.5))  # fmt: skip
def never_ask() -> Patches:
    """Nobody asks what became of an old promise."""

    async def idle(_: Inquirer) -> None:
        return None

    yield patch.object(Inquirer, "run", idle)


@bug(
    "span",
    shards=2,
    weights={"span": 2.0},
    faults=("kill ledger", "clock jump"),
    fault_seconds=0.1,
    intentions=80,
    call_seconds=(0.05, 0.5),
    has_products=False,
)
def trust_the_clock() -> Patches:
    """How long a promise has waited is told by the wall clock alone, which may be set back."""
    yield patch.object(OpenPromises, "made_through", lambda *_: [])


@bug("span")
def tell_one_only() -> Patches:
    """A home tells its decision to one participant only."""
    decide = spanning.decide

    def curt(draft: Any, span: Any, refusals: Any, told: Any, *more: Any) -> Any:
        before = len(draft.spans.verdicts)
        answered = decide(draft, span, refusals, told, *more)
        if answered is None:
            return None
        for peer_id, _, _ in draft.spans.verdicts[before + 1 :]:
            draft.own_watermarks(peer_id).sent_through -= 1
            answered.numbers.pop(peer_id)
        del draft.spans.verdicts[before + 1 :]
        return answered

    yield patch.object(spanning, "decide", curt)
