"""What the account service opens customers and accounts with: names, serials, records, room on the shards.

Whoever would wait in PostgreSQL for a row of somebody else's transaction waits here for a lock over all such rows
(`registry.LOCKS`). Never here: reading records (`accounts.py`), the directory (`control.py`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from services.account.opening import State
from simulation.statements.accounts import ACCOUNT, CUSTOMER, time_of
from simulation.statements.registry import one, records, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session

_NAME = ("kind", "key", "number", "fingerprint")
_PUT_CUSTOMER = ("customer_number", "external_reference", "display_name", "request_id", "channel", "subject")
_PUT_ACCOUNT = ("account_number", "customer_number", "currency", "external_reference", "product_code", "product_version",
                "request_id", "channel", "subject")  # fmt: skip


def _rows(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> list[Row]:
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


# Names.


@statement
def find_claims(session: "Session", *columns: Sequence[Any]) -> list[Record]:
    claims = session.table("account.claim")
    found = (claims.get(int(kind), key) for kind, key in zip(*columns, strict=True))
    return records(_NAME, [row for row in found if row is not None])


@statement
def put_claims(session: "Session", *columns: Sequence[Any]) -> list[Record]:
    claims, free = session.table("account.claim"), 0
    for row in _rows((*_NAME, "slot"), columns):
        if claims.get(int(row["kind"]), row["key"]) is None:
            session.insert("account.claim", row)
            free += 1
    return one(count=free)


@statement
def take_account_serials(session: "Session", slots: Sequence[int], counts: Sequence[int]) -> list[Record]:
    table, last = session.table("account.slot_serial"), []
    for slot, count in sorted(zip(slots, counts, strict=True)):
        row = table.get(slot)
        given = {"slot": slot, "last_serial": count + (row["last_serial"] if row is not None else 0)}
        table.check(given)
        if row is None:
            session.insert("account.slot_serial", given)
        else:
            _set(session, row, last_serial=given["last_serial"])
        last.append(given)
    return records(("slot", "last_serial"), last)


def _set(session: "Session", row: Row, **values: int) -> None:
    session.update(lambda: row.update({name: int(value) for name, value in values.items()}))


# Records.


@statement
def put_customers(session: "Session", *columns: Sequence[Any]) -> list[Record]:
    return records(CUSTOMER, _put(session, "account.customer", _rows(_PUT_CUSTOMER, columns)))


@statement
def put_accounts(session: "Session", *columns: Sequence[Any]) -> list[Record]:
    rows, customers = _rows(_PUT_ACCOUNT, columns), session.table("account.customer")
    if any(customers.get(row["customer_number"]) is None for row in rows):
        raise asyncpg.ForeignKeyViolationError("an account is no customer's")
    return records(ACCOUNT, _put(session, "account.account", rows))


def _put(session: "Session", name: str, rows: list[Row]) -> list[Row]:
    table = session.table(name)
    (key,) = table.definition.uniques[0].columns
    new = {"create_time": time_of(session.now_us())}
    return [session.insert(name, row | new) for row in rows if table.get(row[key]) is None]


@statement
def get_customers(session: "Session", numbers: Sequence[int]) -> list[Record]:
    return records(CUSTOMER, _there(session, "account.customer", numbers))


@statement
def active_customers(session: "Session", numbers: Sequence[int]) -> list[Record]:
    rows = _there(session, "account.customer", numbers)
    return records(("customer_number",), [row for row in rows if row["state"] == State.ACTIVE])


def _there(session: "Session", name: str, numbers: Sequence[int]) -> list[Row]:
    return [row for row in map(session.table(name).get, dict.fromkeys(numbers)) if row is not None]


def _half_open(session: "Session", name: str, numbers: Sequence[int]) -> list[Row]:
    return [row for row in _there(session, name, numbers) if row["state"] == State.OPENING]


@statement
def activate_customers(session: "Session", numbers: Sequence[int]) -> None:
    for row in _half_open(session, "account.customer", numbers):
        _set(session, row, state=State.ACTIVE)


@statement
def activate_accounts(session: "Session", numbers: Sequence[int]) -> None:
    for row in _half_open(session, "account.account", numbers):
        _set(session, row, state=State.ACTIVE)


@statement
def discard_customers(session: "Session", numbers: Sequence[int]) -> None:
    _discard(session, "account.customer", numbers)


@statement
def discard_accounts(session: "Session", numbers: Sequence[int]) -> None:
    _discard(session, "account.account", numbers)


def _discard(session: "Session", name: str, numbers: Sequence[int]) -> None:
    for row in _half_open(session, name, numbers):
        session.update(lambda row=row: session.table(name).delete(row))  # type: ignore[misc]


# Room on the shards.


@statement
def lock_fills(session: "Session") -> list[Record]:
    shards = [row for row in session.table("control.shard").rows if row["slot_count"] > 0]
    names = ("shard_id", "customer_quota", "customer_count", "slot_count")
    return records(names, sorted(shards, key=lambda row: row["shard_id"]))


@statement
def slots_with_room(session: "Session", *asked: Sequence[int]) -> list[Record]:
    found: list[Row] = []
    for shard_id, capacity, count in zip(*asked, strict=True):
        slots = session.table("control.slot").by("shard_id", shard_id)
        room = [row for row in slots if row["last_serial"] < capacity]
        found += sorted(room, key=lambda row: row["slot"])[:count]
    return records(("shard_id", "slot", "last_serial"), sorted(found, key=lambda row: row["slot"]))


@statement
def take_serials(session: "Session", slots: Sequence[int], counts: Sequence[int]) -> None:
    table, shards = session.table("control.slot"), session.table("control.shard")

    def take(slot: int, count: int) -> None:
        row = table.get(slot)
        assert row is not None, "a slot is never given up"
        row["last_serial"] += count
        shard = shards.get(row["shard_id"])
        assert shard is not None
        shard["customer_count"] += count

    for slot, count in zip(slots, counts, strict=True):
        session.update(lambda slot=slot, count=count: take(slot, count))  # type: ignore[misc]
