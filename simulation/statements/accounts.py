"""What the account service asks and changes: records of accounts, moves between products, the catalogue.

Never here: the books, opening (`opening.py`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from services.account.moves import MoveState
from services.account.opening import State
from simulation.statements.registry import one, records, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session

CUSTOMER = ("customer_number", "external_reference", "display_name", "state", "create_time", "request_id", "channel",
             "subject")  # fmt: skip
ACCOUNT = ("account_number", "customer_number", "currency", "external_reference", "state", "create_time", "product_code",
            "product_version", "request_id", "channel", "subject")  # fmt: skip
_MOVE = ("request_id", "account_number", "fingerprint", "from_code", "from_version", "to_code", "to_version", "state",
         "refusal", "reason", "channel", "subject")  # fmt: skip


def time_of(time_us: int) -> datetime:
    """Give a time as the driver does."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


def _stale(session: "Session", table: str, state: int, seconds: float, limit: int) -> list[Row]:
    now = time_of(session.now_us())
    until = now - timedelta(seconds=seconds)
    rows = [row for row in session.table(table).rows if row["state"] == state]
    stale = [row for row in rows if row["create_time"] < until or row["create_time"] > now]
    return sorted(stale, key=lambda row: row["create_time"])[:limit]


@statement
def get_accounts(session: "Session", numbers: Sequence[int]) -> list[Record]:
    rows = [row for row in map(session.table("account.account").get, dict.fromkeys(numbers)) if row is not None]
    return records(ACCOUNT, rows)


@statement
def stale_customers(session: "Session", seconds: float, limit: int) -> list[Record]:
    return records(CUSTOMER, _stale(session, "account.customer", State.OPENING, seconds, limit))


@statement
def stale_accounts(session: "Session", seconds: float, limit: int) -> list[Record]:
    return records(ACCOUNT, _stale(session, "account.account", State.OPENING, seconds, limit))


@statement
def find_move(session: "Session", request_id: UUID) -> list[Record]:
    row = session.table("account.product_move").get(request_id)
    return records(_MOVE, [row] if row is not None else [])


@statement
def begin_move(
    session: "Session", request_id: UUID, number: int, fingerprint: int, code: str, version: int, *words: str
) -> None:
    moves, account = session.table("account.product_move"), session.table("account.account").get(number)
    under_way = [row for row in moves.by("account_number", number) if row["state"] == MoveState.BEGUN]
    if account is None or under_way or moves.get(request_id) is not None:
        return
    move = {
        "request_id": request_id,
        "account_number": number,
        "fingerprint": fingerprint,
        "create_time": time_of(session.now_us()),
        "from_code": account["product_code"],
        "from_version": account["product_version"],
        "to_code": code,
        "to_version": version,
    }
    session.insert("account.product_move", move | dict(zip(("reason", "channel", "subject"), words, strict=True)))


@statement
def lock_moves(_session: "Session") -> None:
    """Only the lock matters."""


@statement
def finish_move(session: "Session", request_id: UUID) -> None:
    row = session.table("account.product_move").get(request_id)
    if row is None or row["state"] != MoveState.BEGUN:
        return
    account = session.table("account.account").get(row["account_number"])
    assert account is not None
    place = moves_through(session)[0][0] + 1
    _end(session, row, state=MoveState.DONE, done_sequence=place)
    product = {"product_code": row["to_code"], "product_version": row["to_version"]}
    session.update(lambda: account.update(product))


@statement
def refuse_move(session: "Session", request_id: UUID, refusal: int) -> None:
    row = session.table("account.product_move").get(request_id)
    if row is not None and row["state"] == MoveState.BEGUN:
        _end(session, row, state=MoveState.REFUSED, refusal=refusal)


def _end(session: "Session", row: Row, **changes: Any) -> None:
    table = session.table("account.product_move")
    table.check(row | changes)

    def change() -> None:
        table.delete(row)
        row.update({name: int(value) for name, value in changes.items()})
        table.insert(row)

    session.update(change)


@statement
def stale_moves(session: "Session", seconds: float, limit: int) -> list[Record]:
    return records(_MOVE, _stale(session, "account.product_move", MoveState.BEGUN, seconds, limit))


@statement
def moves_through(session: "Session") -> list[Record]:
    done = [row["done_sequence"] for row in session.table("account.product_move").rows]
    return one(coalesce=max((each for each in done if each is not None), default=0))


@statement
def moves_after(session: "Session", sequence: int, limit: int) -> list[Record]:
    done = [row for row in session.table("account.product_move").rows if (row["done_sequence"] or 0) > sequence]
    return records(("done_sequence", "account_number"), sorted(done, key=lambda row: row["done_sequence"])[:limit])


@statement
def catalogue_version(session: "Session") -> list[Record]:
    return one(version=session.table("control.catalogue").rows[0]["version"])


@statement
def read_products(session: "Session") -> list[Record]:
    rows = sorted(session.table("control.product").rows, key=lambda row: (row["code"], row["version"]))
    return records(("body",), rows)


@statement
def read_default_products(session: "Session") -> list[Record]:
    rows = [row for row in session.table("control.default_product").rows if row["code"]]
    return records(("currency", "code"), sorted(rows, key=lambda row: row["currency"]))
