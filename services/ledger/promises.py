"""Promises: one shard's part of a transfer that another shard, its home, decides. Pure rules.

A promised debit is set aside, as by a hold, and counts for limits and caps from then on; what legs
before it bring to its payer need not be set aside, because all are kept or none is. A promised credit keeps the account open and counts for its largest balance; what is frozen later does not break
it. So whatever the home decides can be written: each promise is kept or dropped exactly once, when
the home's decision lands under its number. A decision on something that was never promised is
remembered, so that a promise which comes too late is not made.

Never here: what the home decides (`spanning.py`), I/O, a clock.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

from services.domain import limits
from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import NO_LEG, AccountState, Decision, Flag, Kind, TransferRow
from services.ledger.draft import Draft
from services.ledger.spanning import accounts_here, leg_refusal, sides
from services.ledger.spending import spend
from services.ledger.traffic import Promise, PromiseState, RoutedLeg, Verdict, is_spending


class PromiseAsked(NamedTuple):
    """What a home asks this shard to promise."""

    home_id: int
    transfer_id: bytes
    fingerprint: int
    legs: tuple[RoutedLeg, ...]
    flags: int
    reference: str
    metadata: Metadata = ()


class PromiseAnswer(NamedTuple):
    """Whether it is promised; if not, which leg of the whole transfer is to blame, and why."""

    refusal: int
    place: int = NO_LEG
    stands_otherwise: bool = False
    """It is promised, but at other fees than are asked for now: neither a promise of these nor a refusal."""


def promise(draft: Draft, asked: PromiseAsked, actor_id: int = 0) -> PromiseAnswer:
    """Promise a part, or tell why not. Asking again gives the same answer once it is promised.

    At other fees than it was promised at, it is neither: what was promised may still be decided, by who asked then.
    """
    known = _known(draft, asked)
    if known is not None:
        return known
    passed_on = brought(asked.legs)
    first, flags = draft.sequence + 1, int(asked.flags | (Flag.PASSES_ON if any(passed_on) else 0))
    saved = draft.save(accounts_here(asked.legs))
    for number, (leg, passed_minor) in enumerate(zip(asked.legs, passed_on, strict=True), first):
        refusal = leg_refusal(draft, leg, flags, passed_minor) or _promised_too_much(draft, leg)
        if refusal:
            draft.undo(saved)
            return PromiseAnswer(refusal, leg.place)
        if not leg.debit_peer:
            payer = _account(draft, leg.debit_account)
            draft.set_aside(payer, leg.amount_minor - passed_minor, number)
            if is_spending(leg, flags):
                spend(draft, payer, leg.amount_minor, 1)
        if not leg.credit_peer:
            _account(draft, leg.credit_account).promised_minor += leg.amount_minor
    made = Promise(
        asked.transfer_id,
        asked.home_id,
        first,
        draft.booking_time_us,
        draft.business_date,
        asked.fingerprint,
        flags,
        actor_id,
        asked.reference,
        asked.legs,
        asked.metadata,
        PromiseState.OPEN,
    )
    draft.spans.promises[asked.transfer_id] = made
    _record(draft, made, Kind.PROMISED, made.legs, draft.business_date)
    _remember(draft, made, Outcome.IN_TRANSIT, 0)
    return PromiseAnswer(0)


def brought(legs: Sequence[RoutedLeg]) -> list[int]:
    """Tell of each leg how much of it, in minor units, its payer has from legs before it that nobody used yet."""
    left: dict[int, int] = {}
    found = []
    for leg in legs:
        passed_minor = 0
        if not leg.debit_peer:
            passed_minor = min(left.get(leg.debit_account, 0), leg.amount_minor)
            left[leg.debit_account] = left.get(leg.debit_account, 0) - passed_minor
        if not leg.credit_peer:
            left[leg.credit_account] = left.get(leg.credit_account, 0) + leg.amount_minor
        found.append(passed_minor)
    return found


def _set_asides(made: Promise) -> Iterator[tuple[RoutedLeg, int]]:
    """Yield the legs of a promise, each with what it set aside."""
    passed_on = brought(made.legs) if made.flags & Flag.PASSES_ON else repeat(0)
    return ((leg, leg.amount_minor - passed_minor) for leg, passed_minor in zip(made.legs, passed_on, strict=False))


def _known(draft: Draft, asked: PromiseAsked) -> PromiseAnswer | None:
    """Answer for an id that means something here; None when it does not."""
    taken = PromiseAnswer(Refusal.TRANSFER_ID_TAKEN, asked.legs[0].place)
    made = draft.promise(asked.transfer_id)
    if made is not None and (made.home_id, made.fingerprint) != (asked.home_id, asked.fingerprint):
        return taken
    before = draft.meaning(asked.transfer_id)
    if made is not None and made.state == PromiseState.OPEN:
        return PromiseAnswer(0, stands_otherwise=_fees(made.legs) != _fees(asked.legs))
    if before is None:
        return None
    if before.kind == Kind.BURIED or (before.kind == Kind.PROMISED and before.fingerprint == asked.fingerprint):
        return PromiseAnswer(before.refusal, asked.legs[0].place if before.refusal else NO_LEG)
    return taken


def _fees(legs: Sequence[RoutedLeg]) -> list[tuple[int, int]]:
    """List who pays which fee. It is no part of what the caller says, and so of no fingerprint: prices may change."""
    return [(leg.debit_account, leg.amount_minor) for leg in legs if leg.is_fee]


def _promised_too_much(draft: Draft, leg: RoutedLeg) -> int:
    if leg.credit_peer:
        return 0
    promised = _account(draft, leg.credit_account).promised_minor + leg.amount_minor
    return Refusal.CREDIT_BALANCE_LIMIT if promised > limits.PROMISED_MINOR_MAX else 0


def _account(draft: Draft, number: int) -> AccountState:
    state = draft.state(number)
    assert state is not None, "a promise concerns an account that is not in the books"
    return state


def settle(draft: Draft, peer_id: int, verdict: Verdict) -> None:
    """Land a home's decision: keep or drop the promise. One that has landed is passed over, a gap not crossed."""
    if verdict.number != draft.watermarks(peer_id).landed_through + 1:
        return
    draft.own_watermarks(peer_id).landed_through = verdict.number
    made = draft.promise(verdict.transfer_id)
    sequence = 0
    if made is not None and made.state == PromiseState.OPEN and made.home_id == peer_id:
        sequence = draft.sequence + 1
        if verdict.outcome == Outcome.POSTED:
            _keep(draft, made, verdict)
        else:
            _drop(draft, made, verdict)
    else:
        assert verdict.outcome == Outcome.REFUSED, "a home posted what was not promised"
        if posting.bury(draft, (verdict.transfer_id,), (verdict.account_number,), 0, verdict.refusal)[0]:
            sequence = draft.sequence
    draft.spans.verdicts_landed.append((peer_id, sequence, verdict))


def _keep(draft: Draft, made: Promise, verdict: Verdict) -> None:
    """Post what was promised; nothing can speak against it any more."""
    first = draft.sequence + 1
    for number, (leg, aside_minor) in enumerate(_set_asides(made), first):
        debit, credit = sides(draft, leg)
        if not leg.debit_peer:
            debit.held_minor -= aside_minor
        if not leg.credit_peer:
            credit.promised_minor -= leg.amount_minor
        draft.move(debit, credit, leg.amount_minor, number)
    if verdict.value_date != draft.business_date:
        draft.note_value_date(first, verdict.value_date)
    _resolve(draft, made, PromiseState.KEPT, 0, first)
    _record(draft, made, Kind.KEPT, made.legs, verdict.value_date)
    _remember(draft, made, Outcome.POSTED, 0)


def _drop(draft: Draft, made: Promise, verdict: Verdict) -> None:
    """Free what was set aside; what it spent today no longer counts."""
    first = draft.sequence + 1
    # What was set aside can be told from the legs alone only where all of them are written down.
    passes_on = made.flags & Flag.PASSES_ON
    freed = [(leg, aside_minor) for leg, aside_minor in _set_asides(made) if passes_on or not leg.debit_peer]
    for number, (leg, aside_minor) in enumerate(freed, first):
        if leg.debit_peer:
            continue
        payer = _account(draft, leg.debit_account)
        draft.set_aside(payer, -aside_minor, number)
        if made.business_date == draft.business_date and made.counts(leg):
            spend(draft, payer, -leg.amount_minor, -1)
    for leg in made.legs:
        if not leg.credit_peer:
            _account(draft, leg.credit_account).promised_minor -= leg.amount_minor
    _resolve(draft, made, PromiseState.DROPPED, verdict.refusal, first)
    _record(draft, made, Kind.DROPPED, [leg for leg, _ in freed] or made.legs[:1], draft.business_date)
    _remember(draft, made, Outcome.REFUSED, verdict.refusal)


def _resolve(draft: Draft, made: Promise, state: PromiseState, refusal: int, sequence: int) -> None:
    draft.spans.promises[made.transfer_id] = made._replace(state=state, refusal=refusal, resolve_sequence=sequence)


def _record(draft: Draft, made: Promise, kind: Kind, legs: Sequence[RoutedLeg], value_date: int) -> None:
    """Write a step of a promise's life into the journal, under the sequences from the next one on."""
    draft.sequence += 1
    first, sequence = legs[0], draft.sequence
    draft.transfers.append(
        TransferRow(
            sequence,
            made.transfer_id,
            first.debit_account,
            first.credit_account,
            first.amount_minor,
            made.fingerprint,
            value_date,
            first.currency,
            kind,
            Outcome.POSTED,
            0,
            len(legs),
            made.reference,
            made.actor_id,
            made.flags,
        )
    )
    if made.metadata and kind != Kind.DROPPED:  # With the promise it outlives a restart, with what is kept it is found.
        draft.metadata.append((sequence, made.metadata))
    draft.take_routes(sequence, legs)
    draft.take_further_legs(sequence, [leg.leg for leg in legs[1:]])


def _remember(draft: Draft, made: Promise, outcome: Outcome, refusal: int) -> None:
    now = draft.booking_time_us
    draft.decisions[made.transfer_id] = Decision(made.fingerprint, Kind.PROMISED, outcome, refusal, now, 0, 0)
