"""A small batch as one statement: one round trip instead of five, when there is nothing out of the ordinary.

Most batches of a bank that takes calls of one transfer are small, and what they cost is round trips, not
rows. Such a batch goes over as columns (`write_small_batch` in `queries.sql`): the head is advanced by the
same compare-and-swap, and its rows are appended only if it was. Beyond a hundred rows or so COPY is cheaper.
Never here: a connection, large batches or unusual ones (`rows.py`).
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from services.ledger.draft import Draft

TRANSFERS_MAX: Final = 64
"""About where COPY's cost per row makes up for its round trips."""

_PLAIN: Final = frozenset({"transfers", "entries", "peers", "crossings_out", "crossings_landed"})
"""What goes over in the statement."""

_NOT_WRITTEN: Final = frozenset(
    {"shard_id", "first_sequence", "sequence", "booking_time_us", "business_date", "touched", "decisions"}
)


def fits(draft: Draft) -> bool:
    """Tell whether a draft is small, and the statement carries everything in it.

    Whatever a draft may come to hold is asked about: what is not known here is not carried.
    """
    return len(draft.transfers) <= TRANSFERS_MAX and not any(
        name not in _PLAIN and name not in _NOT_WRITTEN and not name.startswith("_") and _holds_something(value)
        for name, value in vars(draft).items()
    )


def _holds_something(value: Any) -> bool:
    """Tell whether a collection, or any of those that a dataclass keeps together, is not empty."""
    if is_dataclass(value):
        return any(_holds_something(getattr(value, field.name)) for field in fields(value))
    return bool(value)


def columns(draft: Draft) -> list[Sequence[Any]]:
    """Return a draft's rows column by column, in the order of the statement's parameters."""
    marks = draft.peers.values()
    return [
        *_turned(draft.transfers, 15),
        *_turned(draft.entries, 6),
        *_turned(draft.crossings_out, 3),
        *_turned(draft.crossings_landed, 4),
        list(draft.peers),
        [mark.sent_through for mark in marks],
        [mark.acknowledged_through for mark in marks],
        [mark.landed_through for mark in marks],
    ]


def _turned(rows: Sequence[Sequence[Any]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else ((),) * width
