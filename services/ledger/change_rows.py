"""Changes of accounts' slow facts as values: asked for, as they stand in the books, as remembered.

Never here: which change may be made (`changes.py`).
"""

from typing import NamedTuple

from services.ledger.books import Allowance


class Change(NamedTuple):
    """One change asked for; None leaves a fact as it is."""

    change_id: bytes
    account_number: int
    restrictions: int | None
    floor_minor: int | None
    allowance: Allowance | None
    customer_day_minor_max: int | None
    """A cap over all of the customer's accounts of this currency; -1 lifts it."""
    reason: str
    fingerprint: int
    floor_replaced_minor: int = 0
    allowance_replaced: Allowance | None = None
    """Given: each of the five limits is changed only where it is as these two say."""


class ChangeRow(NamedTuple):
    """A change as it stands in the books, with what it replaced."""

    sequence: int
    change: Change
    actor_id: int
    refusal: int
    restrictions_before: int
    floor_before_minor: int
    allowance_before: Allowance | None


class ChangeDecision(NamedTuple):
    """What a change id means, for ever."""

    fingerprint: int
    refusal: int
