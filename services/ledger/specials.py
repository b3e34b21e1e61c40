"""Transfers that are more than a movement of the payer's free funds: captures, reversals, dispensations.

Pure rules. Never here: the life of a hold (`holds.py`).
"""

from collections.abc import Sequence

from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import AccountState, Flag, Leg, Relation, Special
from services.ledger.draft import Draft
from services.ledger.holds import capture, capture_refusal
from services.ledger.rules import first_refusal, payer_refusal
from services.ledger.spending import spend, spending_refusal


def special_refusal(draft: Draft, special: Special, debit: AccountState, legs: Sequence[Leg]) -> int:
    """Tell why a capture, a reversal or a transfer with a dispensation may not be paid; 0 when it may.

    A hold has its funds set aside and was counted when it was placed; a reversal gives back what is
    not the payer's own spending.
    """
    amount = legs[0].amount_minor
    found = first_refusal(payer_refusal(debit, legs[0].currency), fee_refusal(special, legs))
    if special.hold_id is not None:
        return first_refusal(found, capture_refusal(draft, special.hold_id, legs[0]))
    if special.original_id is not None:
        found = first_refusal(found, reversal_refusal(draft, special.original_id, legs))
    elif not special.flags & Flag.LIMITS_OVERRIDDEN:
        found = first_refusal(found, spending_refusal(draft, debit, amount))
    if not special.flags & Flag.OVERDRAW and debit.balance_minor - debit.held_minor - amount < debit.floor_minor:
        found = first_refusal(found, Refusal.INSUFFICIENT_FUNDS)
    return found


def fee_refusal(special: Special, legs: Sequence[Leg]) -> int:
    """Tell whether fee legs take more than the caller agreed to."""
    agreed = special.fee_minor_max
    if agreed is not None and sum(leg.amount_minor for leg in legs if leg.is_fee) > agreed:
        return Refusal.FEE_EXCEEDS_MAXIMUM
    return 0


def waits_for_original(draft: Draft, special: Special) -> bool:
    """Tell whether it reverses what is on its way yet: what came of that must be known before a reversal is decided."""
    original = draft.original(special.original_id) if special.original_id is not None else None
    return original is not None and original.outcome == Outcome.IN_TRANSIT


def reversal_refusal(draft: Draft, original_id: bytes, legs: Sequence[Leg]) -> int:
    """Tell why a transfer may not be reversed like this; 0 when it may."""
    original = draft.original(original_id)
    if original is None:
        return Refusal.ORIGINAL_NOT_FOUND
    if original.outcome != Outcome.POSTED:
        return Refusal.ORIGINAL_NOT_POSTED
    mirrored = [leg.turned() for leg in reversed(original.legs)]
    if len(legs) != len(mirrored) or any(
        leg[:2] != twin[:2] or leg.currency != twin.currency for leg, twin in zip(legs, mirrored, strict=True)
    ):
        return Refusal.REVERSAL_MISMATCH
    if len(legs) > 1 and list(legs) != mirrored:
        return Refusal.REVERSAL_MISMATCH
    whole = sum(leg.amount_minor for leg in mirrored)
    if original.reversed_minor + sum(leg.amount_minor for leg in legs) > whole:
        return Refusal.REVERSAL_EXCEEDS_ORIGINAL
    return 0


def post_special(
    draft: Draft, special: Special, debit: AccountState, credit: AccountState, amount: int, sequence: int
) -> None:
    """Post a single leg under a dispensation, past every rule."""
    if special.hold_id is not None:
        capture(draft, special.hold_id, debit, amount)
    elif special.original_id is None:
        spend(draft, debit, amount, 1)
    draft.move(debit, credit, amount, sequence)


def relate(draft: Draft, special: Special, sequence: int, amount_minor: int) -> None:
    """Record what a posted capture or reversal, of so much in all its legs, refers to."""
    if special.hold_id is not None:
        draft.relations.append((sequence, Relation.CAPTURES, special.hold_id, amount_minor))
    if special.original_id is not None:
        draft.relations.append((sequence, Relation.REVERSES, special.original_id, amount_minor))
        original = draft.original(special.original_id)
        assert original is not None
        draft.originals[special.original_id] = original._replace(reversed_minor=original.reversed_minor + amount_minor)
