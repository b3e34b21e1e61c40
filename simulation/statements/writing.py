"""What a batch changes besides the rows it copies: days, holds, slow facts, caps, changes, watermarks.

Never here: whether it commits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulation.statements.lease import advance_head
from simulation.statements.registry import HOLD, LIMITS, one, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session


_TRANSFER = ("sequence", "transfer_id", "debit_account", "credit_account", "amount_minor", "fingerprint", "value_date",
             "currency", "kind", "outcome", "refusal", "leg_count", "reference", "actor_id", "flags")  # fmt: skip
_ENTRY = ("account_number", "version", "sequence", "amount_minor", "balance_after_minor", "held_after_minor")
_SENT = ("number", "sequence", "peer_id")
_LANDED = ("first_number", "last_number", "first_sequence", "peer_id")
_ALWAYS = (("transfer", _TRANSFER), ("entry", _ENTRY), ("crossing_out", _SENT), ("crossing_landed", _LANDED))
_WATERMARKS = 4
_BESIDES = (
    ("further_leg", ("sequence", "transfer_sequence", "debit_account", "credit_account", "amount_minor", "currency",
                     "is_fee")),
    ("metadata", ("sequence", "key", "value")),
    ("external_creditor", ("sequence", "bank_code", "account", "creditor_name", "remittance_text")),
    ("relation", ("sequence", "relation", "target_id", "amount_minor")),
    ("spending", ("account_number", "sequence", "minor", "count", "business_date")),
    ("customer_spending", ("customer_number", "sequence", "minor", "count", "business_date", "currency")),
    ("refused_leg", ("sequence", "leg")),
)  # fmt: skip


@statement
def write_small_batch(
    session: "Session", sequence: int, epoch: int, last_sequence: int, time_us: int, business_date: int, *columns: Any
) -> list[Record]:
    if not advance_head(session, sequence, epoch, last_sequence, time_us):
        return []
    rest = _insert(session, _ALWAYS, columns, {"booking_time": time_us, "business_date": business_date})
    write_peers(session, *rest)
    return one(bool=True)


@statement
def write_one_transfer(
    session: "Session", sequence: int, epoch: int, last_sequence: int, time_us: int, business_date: int, *values: Any
) -> list[Record]:
    transfer, entries = values[: len(_TRANSFER)], values[len(_TRANSFER) :]
    assert len(entries) == 2 * len(_ENTRY)
    sides = zip(entries[: len(_ENTRY)], entries[len(_ENTRY) :], strict=True)
    nothing = [()] * (len(_SENT) + len(_LANDED) + _WATERMARKS)
    columns = (*((value,) for value in transfer), *sides, *nothing)
    answer: list[Record] = write_small_batch(session, sequence, epoch, last_sequence, time_us, business_date, *columns)
    return answer


@statement
def write_small_mixed_batch(
    session: "Session", sequence: int, epoch: int, last_sequence: int, time_us: int, business_date: int, *columns: Any
) -> list[Record]:
    always = sum(len(names) for _, names in _ALWAYS) + _WATERMARKS
    answer: list[Record] = write_small_batch(
        session, sequence, epoch, last_sequence, time_us, business_date, *columns[:always]
    )
    if answer:
        write_holds(session, *_insert(session, _BESIDES, columns[always:], {}))
    return answer


def _insert(
    session: "Session", tables: Sequence[tuple[str, Sequence[str]]], columns: Sequence[Any], of_transfers: Row
) -> Sequence[Any]:
    """Insert the rows of several tables, given one after the other as columns; return the columns that are left."""
    for name, names in tables:
        for values in zip(*columns[: len(names)], strict=True):
            row = dict(zip(names, values, strict=True))
            session.insert(name, row | of_transfers if name == "transfer" else row)
        columns = columns[len(names) :]
    return columns


@statement
def begin_day(session: "Session", business_date: int, first_sequence: int) -> None:
    session.insert("day", {"business_date": business_date, "first_sequence": first_sequence})


def put(session: "Session", name: str, key: tuple[Any, ...], fresh: Row, changing: Sequence[str]) -> None:
    """Insert a row, or change some columns of the one that is there."""
    table = session.table(name)
    known = table.get(*key)
    if known is None:
        session.insert(name, fresh)
        return
    changes = {column: fresh[column] for column in changing}
    table.check(known | changes)
    session.update(lambda: known.update(changes))


@statement
def write_holds(session: "Session", *columns: Sequence[Any]) -> None:
    for values in zip(*columns, strict=True):
        hold = dict(zip(HOLD, values, strict=True))
        put(session, "hold", (hold["hold_id"],), hold, ("amount_minor", "expire_time", "state", "captured_minor"))


@statement
def write_account_facts(session: "Session", *columns: Sequence[Any]) -> None:
    names = ("restrictions", "floor_minor", *LIMITS)
    for number, *values in zip(*columns, strict=True):
        changes = dict(zip(names, values, strict=True))
        account = session.table("account").get(number)
        if account is None:  # Opened by this very transaction.
            account = next(row for name, row in session.transaction.changes  # type: ignore[union-attr]
                           if name == "account" and row["account_number"] == number)  # fmt: skip
        session.table("account").check(account | changes)
        session.update(lambda account=account, changes=changes: account.update(changes))  # type: ignore[misc]


@statement
def write_caps(session: "Session", *columns: Sequence[Any]) -> None:
    for customer, currency, day_max in zip(*columns, strict=True):
        cap = {"customer_number": customer, "currency": currency, "day_minor_max": day_max}
        put(session, "customer_cap", (customer, currency), cap, ("day_minor_max",))


@statement
def lift_caps(session: "Session", customers: Sequence[int], currencies: Sequence[int]) -> None:
    table = session.table("customer_cap")
    for key in zip(customers, currencies, strict=True):
        cap = table.get(*key)
        if cap is not None:
            session.update(lambda cap=cap: table.delete(cap))  # type: ignore[misc]


@statement
def add_value_sums(session: "Session", *columns: Sequence[Any]) -> None:
    table = session.table("value_sum")
    for number, first_day, width, amount in zip(*columns, strict=True):
        known = table.get(number, width, first_day)
        if known is None:
            row = {"account_number": number, "first_day": first_day, "width_days": width, "amount_minor": amount}
            session.insert("value_sum", row)
        else:
            total = known["amount_minor"] + amount
            session.update(lambda known=known, total=total: known.update(amount_minor=total))  # type: ignore[misc]


@statement
def write_change(session: "Session", *values: Any) -> None:
    names = (
        "sequence", "change_id", "account_number", "change_time", "fingerprint", "restrictions_before", "restrictions",
        "floor_before_minor", "floor_minor", "sets_allowance", *LIMITS, "customer_day_minor_max", "actor_id", "refusal",
        "reason", "balance_before_minor_max", "transfer_before_minor_max", "day_before_minor_max",
        "day_before_count_max",
    )  # fmt: skip
    session.insert("account_change", dict(zip(names, values, strict=True)))


@statement
def write_peers(session: "Session", *columns: Sequence[Any]) -> None:
    names = ("peer_id", "sent_through", "acknowledged_through", "landed_through")
    for values in zip(*columns, strict=True):
        put(session, "peer", (values[0],), dict(zip(names, values, strict=True)), names[1:])
