"""Bugs in rules about money: floors, caps, holds, reversals.

Each docstring says what is wrong.
"""

from typing import Any
from unittest.mock import patch

from services.domain.outcomes import Refusal
from services.ledger import holds, posting, rules, specials, spending
from services.ledger.books import HoldState
from simulation.planted.bug import Patches, bug


@bug("transfer")
def ignore_the_floor() -> Patches:
    """A payer may go below its floor."""
    refusal = rules.debit_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.INSUFFICIENT_FUNDS else found

    yield patch.object(posting, "debit_refusal", generous)


@bug("cap", "transfer")
def ignore_caps() -> Patches:
    """A customer's cap is not looked at."""
    refusal = spending.spending_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.CUSTOMER_DAY_LIMIT else found

    yield patch.object(posting, "spending_refusal", generous)


@bug("hold", weights={"hold": 2.0, "limits": 1.0}, faults=())
def uncounted_holds() -> Patches:
    """What is set aside does not count for the day."""
    yield patch.object(holds, "spend", lambda *_: None)


@bug("release")
def release_twice() -> Patches:
    """A hold that was released can be released again."""
    refusal = holds.hold_refusal

    def forgetful(draft: Any, hold: Any, account_number: int) -> int:
        if hold is not None and hold.state == HoldState.RELEASED:
            return 0
        return refusal(draft, hold, account_number)

    yield patch.object(holds, "hold_refusal", forgetful)


@bug("capture")
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


@bug("capture")
def capture_after_expiry() -> Patches:
    """A hold can be captured after its time, until somebody has noticed."""
    refusal = holds.hold_refusal

    def late(draft: Any, hold: Any, account_number: int) -> int:
        found = refusal(draft, hold, account_number)
        is_open = hold is not None and hold.state == HoldState.OPEN
        return 0 if found == Refusal.HOLD_ALREADY_EXPIRED and is_open else found

    yield patch.object(holds, "hold_refusal", late)


@bug("reverse", weights={"transfer": 1.0, "reverse": 2.0}, faults=(), is_tight=False)
def reverse_too_much() -> Patches:
    """Reversals may give back more than was moved."""
    refusal = specials.reversal_refusal

    def generous(*arguments: Any) -> int:
        found = refusal(*arguments)
        return 0 if found == Refusal.REVERSAL_EXCEEDS_ORIGINAL else found

    yield patch.object(specials, "reversal_refusal", generous)
