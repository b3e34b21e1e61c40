"""Holds: money set aside, then captured, released or expired, exactly once. Pure rules.

Placing is pessimistic: what is held is no longer available, so a capture within the hold cannot fail
for want of funds. A hold expires by the ledger's own clock: from its expire time on it is over,
whether or not anybody has noticed. Never here: timers, I/O.
"""

from collections.abc import Sequence

from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import (
    AccountState,
    Answers,
    Decision,
    Flag,
    Hold,
    HoldCommand,
    HoldState,
    Kind,
    Leg,
    PlaceError,
    Relation,
    TransferRow,
)
from services.ledger.draft import Draft
from services.ledger.rules import debit_refusal, first_refusal
from services.ledger.spending import spend, spending_refusal

_OVER = {
    HoldState.CAPTURED: Refusal.HOLD_ALREADY_CAPTURED,
    HoldState.RELEASED: Refusal.HOLD_ALREADY_RELEASED,
    HoldState.EXPIRED: Refusal.HOLD_ALREADY_EXPIRED,
}


def hold_refusal(draft: Draft, hold: Hold | None, account_number: int) -> int:
    """Tell why a hold of an account can no longer be changed; 0 when it can."""
    if hold is None or hold.account_number != account_number:
        return Refusal.HOLD_NOT_FOUND
    if hold.state != HoldState.OPEN:
        return _OVER[HoldState(hold.state)]
    if hold.expire_time_us <= draft.booking_time_us:
        return Refusal.HOLD_ALREADY_EXPIRED
    return 0


def capture_refusal(draft: Draft, hold_id: bytes, leg: Leg) -> int:
    """Tell why a leg may not capture a hold; 0 when it may."""
    hold = draft.hold(hold_id)
    refusal = hold_refusal(draft, hold, leg.debit_account)
    if refusal:
        return refusal
    assert hold is not None
    if hold.payee_account not in {0, leg.credit_account}:
        return Refusal.HOLD_PAYEE_MISMATCH
    if leg.amount_minor > hold.amount_minor:
        return Refusal.CAPTURE_EXCEEDS_HOLD
    return 0


def capture(draft: Draft, hold_id: bytes, account: AccountState, amount_minor: int) -> None:
    """Use a hold up: the leg that follows takes the amount, the rest is free again."""
    hold = draft.hold(hold_id)
    assert hold is not None
    account.held_minor -= hold.amount_minor
    draft.holds[hold_id] = hold._replace(state=HoldState.CAPTURED, captured_minor=amount_minor)
    _uncount(draft, account, hold, hold.amount_minor - amount_minor, 0)


def command(draft: Draft, commands: Sequence[HoldCommand], actor_ids: Sequence[int]) -> Answers:
    """Place, increase and release holds in order; each command has an outcome for ever."""
    count = len(commands)
    answers = Answers([0] * count, [0] * count, [0] * count, {}, {})
    for place, (asked, actor_id) in enumerate(zip(commands, actor_ids, strict=True)):
        before = draft.meaning(asked.command_id)
        if before is None:
            refusal = _CARRY_OUT[Kind(asked.kind)](draft, asked)
            before = _record(draft, asked, refusal, actor_id)
        elif before.kind != asked.kind or before.fingerprint != asked.fingerprint:
            answers.errors[place] = PlaceError.TRANSFER_ID_REUSED
            continue
        answers.outcomes[place] = before.outcome
        answers.refusals[place] = before.refusal
        answers.booking_times_us[place] = before.booking_time_us
    return answers


def expire(draft: Draft, hold_ids: Sequence[bytes]) -> int:
    """Free the money of those of the holds that are still open past their time; return how many were."""
    expired = 0
    for hold_id in hold_ids:
        hold = draft.hold(hold_id)
        if hold is None or hold.state != HoldState.OPEN or hold.expire_time_us > draft.booking_time_us:
            continue
        account = draft.state(hold.account_number)
        assert account is not None, "a hold lies on an account that is not in the books"
        draft.sequence += 1
        _free(draft, account, hold, HoldState.EXPIRED)
        draft.transfers.append(
            TransferRow(
                draft.sequence,
                hold_id,
                hold.account_number,
                hold.payee_account,
                hold.amount_minor,
                0,
                draft.business_date,
                hold.currency,
                Kind.HOLD_EXPIRED,
                Outcome.POSTED,
                0,
                1,
                "",
            )
        )
        expired += 1
    return expired


def _place(draft: Draft, asked: HoldCommand) -> int:
    account = draft.state(asked.account_number)
    refusal = _funds_refusal(draft, account, asked)
    if refusal:
        return refusal
    assert account is not None
    draft.sequence += 1
    expire_time_us = draft.booking_time_us + asked.seconds * 1_000_000
    draft.holds[asked.hold_id] = Hold(
        asked.hold_id,
        asked.account_number,
        asked.currency,
        asked.amount_minor,
        expire_time_us,
        asked.payee_account,
        draft.business_date,
        HoldState.OPEN,
        0,
    )
    draft.set_aside(account, asked.amount_minor, draft.sequence)
    spend(draft, account, asked.amount_minor, 1)
    return 0


def _increase(draft: Draft, asked: HoldCommand) -> int:
    hold, account = draft.hold(asked.hold_id), draft.state(asked.account_number)
    refusal = first_refusal(_funds_refusal(draft, account, asked), hold_refusal(draft, hold, asked.account_number))
    if refusal:
        return refusal
    assert account is not None
    assert hold is not None
    draft.sequence += 1
    expire_time_us = draft.booking_time_us + asked.seconds * 1_000_000 if asked.seconds else hold.expire_time_us
    draft.holds[asked.hold_id] = hold._replace(
        amount_minor=hold.amount_minor + asked.amount_minor, expire_time_us=expire_time_us
    )
    draft.set_aside(account, asked.amount_minor, draft.sequence)
    spend(draft, account, asked.amount_minor, 0)
    return 0


def _release(draft: Draft, asked: HoldCommand) -> int:
    hold, account = draft.hold(asked.hold_id), draft.state(asked.account_number)
    if account is None:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    refusal = hold_refusal(draft, hold, asked.account_number)
    if refusal:
        return refusal
    assert hold is not None
    draft.sequence += 1
    _free(draft, account, hold, HoldState.RELEASED)
    return 0


_CARRY_OUT = {Kind.HOLD_PLACED: _place, Kind.HOLD_INCREASED: _increase, Kind.HOLD_RELEASED: _release}


def _funds_refusal(draft: Draft, account: AccountState | None, asked: HoldCommand) -> int:
    """Tell why an amount may not be set aside: as if it were debited now."""
    if account is None:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    refusal = debit_refusal(account, asked.amount_minor, asked.currency)
    if not refusal and not asked.flags & Flag.LIMITS_OVERRIDDEN:
        refusal = spending_refusal(draft, account, asked.amount_minor)
    return refusal


def _free(draft: Draft, account: AccountState, hold: Hold, state: HoldState) -> None:
    """End an open hold without a capture."""
    draft.set_aside(account, -hold.amount_minor, draft.sequence)
    draft.holds[hold.hold_id] = hold._replace(state=state)
    _uncount(draft, account, hold, hold.amount_minor, 1)


def _uncount(draft: Draft, account: AccountState, hold: Hold, amount_minor: int, count: int) -> None:
    """Let what a hold of today frees no longer count as spent today."""
    if hold.place_date == draft.business_date:
        spend(draft, account, -amount_minor, -count)


def _record(draft: Draft, asked: HoldCommand, refusal: int, actor_id: int) -> Decision:
    """Give a command its outcome, for ever."""
    if refusal:
        draft.sequence += 1
    hold = draft.hold(asked.hold_id)
    draft.transfers.append(
        TransferRow(
            draft.sequence,
            asked.command_id,
            asked.account_number,
            asked.payee_account,
            asked.amount_minor,
            asked.fingerprint,
            draft.business_date,
            asked.currency or (hold.currency if hold is not None else 0),  # A release names none.
            asked.kind,
            Outcome.REFUSED if refusal else Outcome.POSTED,
            refusal,
            1,
            asked.reference,
            actor_id,
            asked.flags,
        )
    )
    if asked.kind != Kind.HOLD_PLACED:
        draft.relations.append((draft.sequence, Relation.HOLD, asked.hold_id, asked.amount_minor))
    outcome = Outcome.REFUSED if refusal else Outcome.POSTED
    decision = Decision(asked.fingerprint, asked.kind, outcome, refusal, draft.booking_time_us, 0, 0)
    draft.decisions[asked.command_id] = decision
    return decision
