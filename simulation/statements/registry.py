"""The queries that are known, by name, and what they have in common.

Never here: the queries.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from services.chassis import queries
from services.ledger import history, reader, sealing
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session

_NAMES = {
    sql: name
    for name, sql in (
        *queries.load("services.ledger").items(),
        *reader.SQL.items(),
        *history.SQL.items(),
        *queries.load("services.account").items(),
        *sealing.SQL.items(),
    )
}
RUN: dict[str, Callable[..., Any]] = {}

CONDITIONS: dict[str, Callable[..., bool]] = {}
"""What must hold for a locking statement to find its row; asked again once it has the lock."""

LOCKS = {
    "take_lease": "lease",
    "renew_lease": "lease",
    "release_lease": "lease",
    "next_epoch": "head",
    "advance_head": "head",
    "raise_own_epoch": "head",
    "write_one_transfer": "head",
    "write_small_batch": "head",
    "write_small_mixed_batch": "head",
    "begin_move": "moves under way",
    "lock_moves": "moves",
    "refuse_move": "moves",
    "put_seal": "seal",
    "put_claims": "claims",
    "take_account_serials": "serials",
    "put_customers": "records",
    "put_accounts": "records",
    "activate_customers": "records",
    "activate_accounts": "records",
    "discard_customers": "records",
    "discard_accounts": "records",
    "lock_fills": "fills",
}
"""Row locks that statements take, until their transaction ends."""

ACCOUNT = ("account_number", "currency", "floor_minor", "restrictions", "version", "balance_minor", "held_minor",
           "customer_number", "allowance", "spent", "is_capped")  # fmt: skip
HOLD = ("hold_id", "account_number", "currency", "amount_minor", "expire_time", "payee_account", "place_date", "state",
         "captured_minor")  # fmt: skip
LIMITS = ("balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max")


def name_of(query: str) -> str:
    """Tell which query a text is."""
    return _NAMES[query]


def run(session: "Session", name: str, arguments: Sequence[Any]) -> list[Record]:
    """Answer a query."""
    if name not in RUN:
        raise NotImplementedError(
            f"the simulated PostgreSQL does not know {name!r} yet: teach it in simulation/statements/"
        )
    answer: list[Record] | None = RUN[name](session, *arguments)
    return answer or []


def known() -> frozenset[str]:
    """Name all queries that are known."""
    return frozenset(RUN)


def statement(function: Callable[..., Any]) -> Callable[..., Any]:
    RUN[function.__name__] = function
    return function


def records(names: Sequence[str], rows: Sequence[Row]) -> list[Record]:
    return [Record(tuple(names), [row[name] for name in names]) for row in rows]


def one(**values: Any) -> list[Record]:
    return [Record(tuple(values), values.values())]
