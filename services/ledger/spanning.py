"""Transfers over several shards, as their home decides them: all legs or none. Pure rules.

The home is one shard; everybody else who has an account in a leg takes part. Money between two shards
passes through the transit accounts that pair the home with each of them, so that every stream of
numbers, and every pair of transit accounts, is between the home and one other. The others promise
first (`promises.py`); the home then writes the outcome together with its own legs and with a numbered
decision for each of them. What it was never asked to decide it refuses for ever when it is asked about.

Never here: who asks whom when (`coordination.py`), messages, queues.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome, Refusal
from services.ledger import posting
from services.ledger.books import NO_LEG, AccountState, Creditor, Decision, Flag, Kind, Leg, Special, TransferRow
from services.ledger.draft import Draft
from services.ledger.rules import (
    credit_refusal,
    debit_refusal,
    first_refusal,
    payer_refusal,
    transit_refusal,
)
from services.ledger.specials import fee_refusal, relate, reversal_refusal, waits_for_original
from services.ledger.spending import spend, spending_refusal
from services.ledger.traffic import RoutedLeg, Verdict, is_spending

_OVERDRAW: Final = int(Flag.OVERDRAW)
_LIMITS_OVERRIDDEN: Final = int(Flag.LIMITS_OVERRIDDEN)
"""Plain integers, as in `rules.py`: each leg is held against them."""

Shards = tuple[int, int]
"""Of a leg's payer and payee."""


@dataclass(frozen=True, slots=True)
class Span:
    """A transfer over several shards, with what the others answered."""

    transfer_id: bytes
    home_id: int
    legs: tuple[Leg, ...]
    shards: tuple[Shards, ...]
    fingerprint: int
    reference: str = ""
    value_date: int = 0
    """Days since 1970-01-01; 0 for the business date."""
    creditor: Creditor | None = None
    special: Special = Special()  # noqa: RUF009 - an immutable value
    metadata: Metadata = ()

    @property
    def peers(self) -> list[int]:
        """The shards that take part besides the home."""
        return sorted({shard for pair in self.shards for shard in pair} - {self.home_id})

    @property
    def flags(self) -> int:
        """How its legs are judged and counted."""
        return int(self.special.flags | (Flag.GIVES_BACK if self.special.original_id is not None else 0))

    def share(self, shard_id: int) -> tuple[RoutedLeg, ...]:
        """Return the legs as one shard sees them; of the others' legs, a participant sees only its own."""
        home = self.home_id
        legs = []
        for place, (leg, pair) in enumerate(zip(self.legs, self.shards, strict=True)):
            if shard_id == home:
                payer, payee = (0 if shard == home else shard for shard in pair)
            elif shard_id in pair:
                payer, payee = (0 if shard == shard_id else home for shard in pair)
            else:
                continue
            legs.append(RoutedLeg(place, *leg[:4], payer, payee, leg.is_fee))
        return tuple(legs)

    def account_on(self, shard_id: int) -> int:
        """Name one account of a leg that lies on a shard."""
        for leg, pair in zip(self.legs, self.shards, strict=True):
            if shard_id in pair:
                return leg.debit_account if pair[0] == shard_id else leg.credit_account
        raise AssertionError("a shard takes part with an account")


@dataclass(slots=True)
class Answered:
    """What became of a transfer over several shards."""

    outcome: int = 0
    refusal: int = 0
    leg: int = NO_LEG
    booking_time_us: int = 0
    is_reused: bool = False
    """The id names something else; nothing was written."""
    numbers: dict[int, int] = field(default_factory=dict)
    """By peer: the number under which its decision travels."""


class Told(NamedTuple):
    """What is to be told of an id to a shard that has waited for it."""

    transfer_id: bytes
    account_number: int


def leg_refusal(draft: Draft, leg: RoutedLeg, flags: int, passed_minor: int = 0) -> int:
    """Tell why the sides of a leg that lie here may not pay or be paid; 0 when they may.

    `passed_minor` is what legs before it bring to its payer without being in its balance yet.
    """
    found = 0
    if not leg.debit_peer:
        payer = draft.state(leg.debit_account)
        if payer is None:
            found = Refusal.DEBIT_ACCOUNT_NOT_FOUND
        else:
            if flags & _OVERDRAW:
                found = payer_refusal(payer, leg.currency)
            else:
                found = debit_refusal(payer, leg.amount_minor - passed_minor, leg.currency)
            if not found and is_spending(leg, flags) and not flags & _LIMITS_OVERRIDDEN:
                found = spending_refusal(draft, payer, leg.amount_minor)
    if not leg.credit_peer:
        found = first_refusal(found, credit_refusal(draft.state(leg.credit_account), leg.amount_minor, leg.currency))
    for peer_id, change_minor in ((leg.debit_peer, -leg.amount_minor), (leg.credit_peer, leg.amount_minor)):
        if peer_id and not leg.passes_by:
            found = first_refusal(found, transit_refusal(draft.transit(peer_id, leg.currency), change_minor))
    return found


def sides(draft: Draft, leg: RoutedLeg) -> tuple[AccountState, AccountState]:
    """Return the two accounts of this shard between which a leg moves money."""
    debit = draft.transit(leg.debit_peer, leg.currency) if leg.debit_peer else draft.state(leg.debit_account)
    credit = draft.transit(leg.credit_peer, leg.currency) if leg.credit_peer else draft.state(leg.credit_account)
    assert debit is not None and credit is not None, "a side of a leg is not in the books"
    return debit, credit


def accounts_here(legs: Iterable[RoutedLeg]) -> set[int]:
    """Name the accounts of legs that lie on the shard whose legs they are."""
    return {leg.debit_account for leg in legs if not leg.debit_peer} | {
        leg.credit_account for leg in legs if not leg.credit_peer
    }


def transits_here(legs: Iterable[RoutedLeg]) -> set[tuple[int, int]]:
    """Name peer and currency of the transit accounts through which legs pass."""
    pairs = {(peer, leg.currency) for leg in legs for peer in (leg.debit_peer, leg.credit_peer)}
    return {pair for pair in pairs if pair[0]}


def decide(
    draft: Draft, span: Span, refusals: Sequence[tuple[int, int]], told: Iterable[int], actor_id: int = 0
) -> Answered | None:
    """Decide a transfer for ever, given the others' refusals (leg, reason): none means that all promised.

    `told` are the peers that may have promised: only they need to hear of a refusal. None for a reversal that is left
    undecided, because its original was sent off while the others were asked.
    """
    before = draft.meaning(span.transfer_id)
    if before is not None:
        return _repeated(before, span.fingerprint)
    if waits_for_original(draft, span.special):
        return None
    sequence = draft.sequence + 1
    draft.sequence = sequence
    leg, refusal = _judge(draft, span, refusals, sequence)
    value_date = span.value_date or draft.business_date
    if not refusal and value_date != draft.business_date:
        draft.note_value_date(sequence, value_date)
    outcome = Outcome.REFUSED if refusal else Outcome.POSTED
    _record(draft, span, sequence, value_date, refusal, actor_id)
    now = draft.booking_time_us
    draft.decisions[span.transfer_id] = Decision(
        span.fingerprint, Kind.ASKED, outcome, refusal, now, 0, 0, span.legs[-1].is_fee, leg
    )
    if refusal:
        draft.spans.refused_legs.append((sequence, leg))
    answered = Answered(outcome, refusal, leg, now)
    for peer_id in told if refusal else span.peers:
        verdict = Verdict(0, span.transfer_id, outcome, refusal, span.reference, value_date, span.account_on(peer_id))
        answered.numbers[peer_id] = draft.tell(peer_id, sequence, verdict)
    return answered


def _judge(draft: Draft, span: Span, refusals: Sequence[tuple[int, int]], sequence: int) -> tuple[int, int]:
    """Post the legs that lie here, if nothing speaks against any leg; else tell the first that fails, and why."""
    found = list(refusals)
    if refusal := fee_refusal(span.special, span.legs):
        found.append((0, refusal))
    if span.special.original_id is not None:
        refusal = reversal_refusal(draft, span.special.original_id, span.legs)
        if refusal:
            found.append((0, refusal))
    legs, flags = span.share(span.home_id), span.flags
    transits = (draft.transit(*pair).number for pair in transits_here(legs))
    saved = draft.save((*accounts_here(legs), *transits))
    for number, leg in enumerate(legs, sequence):
        refusal = leg_refusal(draft, leg, flags)
        if refusal:
            found.append((leg.place, refusal))
            break
        if leg.passes_by:
            continue
        debit, credit = sides(draft, leg)
        draft.move(debit, credit, leg.amount_minor, number)
        if not leg.debit_peer and is_spending(leg, flags):
            spend(draft, debit, leg.amount_minor, 1)
    if found:
        draft.undo(saved)
        return min(found)
    draft.take_routes(sequence, legs)
    return NO_LEG, 0


def _record(draft: Draft, span: Span, sequence: int, value_date: int, refusal: int, actor_id: int) -> None:
    """Write down what was decided, with all legs, also those that are none of this shard's."""
    first, *further = span.legs
    draft.transfers.append(
        TransferRow(
            sequence,
            span.transfer_id,
            first.debit_account,
            first.credit_account,
            first.amount_minor,
            span.fingerprint,
            value_date,
            first.currency,
            Kind.ASKED,
            Outcome.REFUSED if refusal else Outcome.POSTED,
            refusal,
            len(span.legs),
            span.reference,
            actor_id,
            span.special.flags,
        )
    )
    draft.take_further_legs(sequence, further)
    if span.metadata:
        draft.metadata.append((sequence, span.metadata))
    if span.creditor is not None:
        draft.creditors.append((sequence, span.creditor))
    if span.special.original_id is not None and not refusal:
        relate(draft, span.special, sequence, sum(leg.amount_minor for leg in span.legs if not leg.is_fee))


def _repeated(before: Decision, fingerprint: int) -> Answered:
    """Answer an id that has its outcome already."""
    if before.kind != Kind.BURIED and (before.kind != Kind.ASKED or before.fingerprint != fingerprint):
        return Answered(is_reused=True)
    return Answered(before.outcome, before.refusal, before.leg, before.booking_time_us)


def tell(draft: Draft, peer_id: int, asked: Iterable[Told]) -> None:
    """Give a peer a numbered decision on each id that it asks about, unless there is one already.

    Whoever takes part in a posted transfer was told so when it was posted; so an id on which a peer has
    no decision is refused to it. An id that means nothing is refused to everybody, for ever.
    """
    for transfer_id, account_number in asked:
        if draft.has_told(transfer_id, peer_id):
            continue
        before = draft.meaning(transfer_id)
        if before is None:
            posting.bury(draft, (transfer_id,), (account_number,), 0, Refusal.PROMISE_TIMED_OUT)
            refusal: int = Refusal.PROMISE_TIMED_OUT
        else:
            refusal = before.refusal or Refusal.TRANSFER_ID_TAKEN
        verdict = Verdict(0, transfer_id, Outcome.REFUSED, refusal, "", draft.business_date, account_number)
        draft.tell(peer_id, 0, verdict)
