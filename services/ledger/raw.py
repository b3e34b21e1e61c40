"""Rows of the books as PostgreSQL gives them, read into values, and how a connection speaks of them.

Never here: queries.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from services.chassis import binary_copy
from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome
from services.ledger.books import AccountState, Allowance, Leg, Spent


async def speak_raw(connection: Any) -> None:
    """Exchange ids as bytes, times as microseconds and dates as days since 1970-01-01."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda time_us: (time_us - binary_copy.MICROSECONDS_TO_2000,),
        decoder=lambda value: value[0] + binary_copy.MICROSECONDS_TO_2000,
        format="tuple",
    )
    await connection.set_type_codec(
        "date",
        schema="pg_catalog",
        encoder=lambda days: (days - binary_copy.DAYS_TO_2000,),
        decoder=lambda value: value[0] + binary_copy.DAYS_TO_2000,
        format="tuple",
    )


def states(found: Iterable[Any]) -> dict[int, AccountState]:
    """Read accounts by number."""
    read = {}
    for number, currency, floor, restrictions, version, balance, held, customer, allowance, spent, is_capped in found:
        state = read[number] = AccountState(number, currency, floor, restrictions, version, balance, held, customer)
        if allowance is not None:
            state.allowance = Allowance(*allowance)
        if spent is not None:
            state.spent = Spent(*spent)
        state.is_capped = is_capped
    return read


def allowance(*limits: int | None) -> Allowance | None:
    """Return an account's allowance; None when nothing is limited."""
    return Allowance(*limits) if any(limit is not None for limit in limits) else None


def further_leg(columns: Sequence[int]) -> Leg:
    """Read a leg after a transfer's first."""
    debit, credit, amount_minor, currency, is_fee = columns
    return Leg(debit, credit, amount_minor, currency, bool(is_fee))


def spent(date: int | None, minor: int, count: int) -> Spent | None:
    """Return what was spent last; None when nothing ever was."""
    return None if date is None else Spent(date, minor, count)


def metadata(pairs: Iterable[Sequence[str]]) -> Metadata:
    """Read a transfer's metadata, selected in the order of the keys."""
    return tuple((key, value) for key, value in pairs)


def ended(row: Any) -> tuple[int, int]:
    """Derive the outcome of a row of `transfer`: a crossing's follows from watermark and returns."""
    if row["outcome"] != Outcome.IN_TRANSIT:
        return row["outcome"], row["refusal"]
    if row["return_refusal"]:
        return Outcome.RETURNED, row["return_refusal"]
    return (Outcome.POSTED if row["acknowledged"] else Outcome.IN_TRANSIT), 0
