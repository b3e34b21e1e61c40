"""A small batch as one statement: one round trip instead of five to nine.

Most batches of a bank that takes calls of one transfer are small, and what they cost is round trips, not
rows. Such a batch goes over as columns: the head is advanced by the same compare-and-swap, and its rows are
appended only if it was. There are three statements in `queries.sql`, since every table that one names costs
it time, with or without rows, and one transfer alone goes over as plain values. Beyond a hundred rows or so COPY is
cheaper. Never here: a connection, large batches or unusual ones (`rows.py`).
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, Final

from services.ledger import rows
from services.ledger.draft import Draft

LEGS_MAX: Final = 64
"""About where COPY's cost per row makes up for its round trips."""

PAIRS_MAX: Final = 256
"""Pairs of metadata: one transfer may have many."""

ONE: Final = "write_one_transfer"
PLAIN: Final = "write_small_batch"
MIXED: Final = "write_small_mixed_batch"

_PLAIN: Final = frozenset({"transfers", "entries", "peers", "crossings_out", "crossings_landed"})
"""What goes over in the last two."""

BESIDES: Final = frozenset(
    {"further_legs", "metadata", "creditors", "relations", "spenders", "caps", "refused_legs", "holds"}
)
"""What goes over in the last one only."""

_ENTRIES: Final = 2
"""Of a transfer between two accounts."""

_NOT_WRITTEN: Final = frozenset(
    {"shard_id", "first_sequence", "sequence", "booking_time_us", "business_date", "touched", "decisions", "originals"}
)


def _parts() -> dict[str, str]:
    """Find whatever a draft may hold that is to be written: names, and how to get there."""
    draft = Draft(0, 0, 0, 0, lambda _: None, lambda _: None, {})
    held = (name for name in dir(draft) if not name.startswith("_") and not callable(getattr(draft, name)))
    own = set(held) - _NOT_WRITTEN
    inner = {name: fields(getattr(draft, name)) for name in own if is_dataclass(getattr(draft, name))}
    parts = {name: name for name in own - inner.keys()}
    return parts | {field.name: f"{name}.{field.name}" for name, found in inner.items() for field in found}


_PARTS: Final = _parts()
_not_plain: Final = attrgetter(*(path for name, path in _PARTS.items() if name not in _PLAIN))
_not_mixed: Final = attrgetter(*(path for name, path in _PARTS.items() if name not in _PLAIN | BESIDES))


def statement(draft: Draft) -> str | None:
    """Name the statement that carries everything in a draft; None when it is not small, or none does.

    Whatever a draft may come to hold is asked about: what is not known here is not carried.
    """
    if len(draft.transfers) + len(draft.further_legs) > LEGS_MAX:
        return None
    if not any(_not_plain(draft)):
        return ONE if _is_one_transfer(draft) else PLAIN
    if not any(_not_mixed(draft)) and _pairs(draft) <= PAIRS_MAX:
        return MIXED
    return None


def _is_one_transfer(draft: Draft) -> bool:
    """Tell whether a plain draft is one transfer between two accounts of its shard."""
    return (
        len(draft.transfers) == 1
        and len(draft.entries) == _ENTRIES
        and not (draft.peers or draft.crossings_out or draft.crossings_landed)
    )


def _pairs(draft: Draft) -> int:
    return sum(len(pairs) for _, pairs in draft.metadata)


def arguments(draft: Draft, name: str) -> Sequence[Any]:
    """Return what a draft gives a statement after the head and the business date."""
    if name == ONE:
        (transfer,), (payer, payee) = draft.transfers, draft.entries
        return *transfer, *payer[:-1], payer[-1] or None, *payee[:-1], payee[-1] or None
    if name == PLAIN:
        return _columns(draft)
    return *_columns(draft), *_columns_besides(draft)


def _columns(draft: Draft) -> list[Sequence[Any]]:
    """Return the rows that all batches may have column by column, in the order of the parameters."""
    marks = draft.peers.values()
    *entries, helds = _turned(draft.entries, 6)
    return [
        *_turned(draft.transfers, 15),
        *entries,
        [held or None for held in helds],
        *_turned(draft.crossings_out, 3),
        *_turned(draft.crossings_landed, 4),
        list(draft.peers),
        [mark.sent_through for mark in marks],
        [mark.acknowledged_through for mark in marks],
        [mark.landed_through for mark in marks],
    ]


def _columns_besides(draft: Draft) -> list[Sequence[Any]]:
    """Return the rows that only the last statement carries, in the order of its further parameters."""
    return [
        *_turned([(sequence, first, *leg) for sequence, first, leg in draft.further_legs], 7),
        *_turned([(sequence, *pair) for sequence, pairs in draft.metadata for pair in pairs], 3),
        *_turned([(sequence, *creditor) for sequence, creditor in draft.creditors], 5),
        *_turned(draft.relations, 4),
        *_turned(rows.spending(draft), 5),
        *_turned(rows.customer_spending(draft), 6),
        *_turned(draft.spans.refused_legs, 2),
        *_turned(list(draft.holds.values()), 9),
    ]


def _turned(rows_: Sequence[Sequence[Any]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows_, strict=True)) if rows_ else ((),) * width
