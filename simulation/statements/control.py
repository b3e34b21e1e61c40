"""What the account service asks of the directory in the control database.

Never here: the catalogue (`accounts.py`), changes of the directory, which `simulation/bank.py` makes as an operator would.
"""

from typing import TYPE_CHECKING

from simulation.statements.registry import one, records, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session

_SHARD = ("shard_id", "ledger_addresses", "customer_quota", "customer_count", "slot_count")


@statement
def read_bank(session: "Session") -> list[Record]:
    (bank,) = session.table("control.bank").rows
    return one(directory_version=bank["directory_version"], currencies=bank["currencies"])


@statement
def read_shards(session: "Session") -> list[Record]:
    return records(_SHARD, sorted(session.table("control.shard").rows, key=lambda row: row["shard_id"]))


@statement
def read_slot_ranges(session: "Session") -> list[Record]:
    ranges: list[Row] = []
    for row in sorted(session.table("control.slot").rows, key=lambda row: row["slot"]):
        last = ranges[-1] if ranges else None
        if last is not None and all(last[name] == value for name, value in _next(row).items()):
            last["last_slot"] = row["slot"]
        else:
            ranges.append({"first_slot": row["slot"], "last_slot": row["slot"]} | _facts(row))
    return records(("first_slot", "last_slot", "shard_id", "epoch"), ranges)


def _facts(row: Row) -> Row:
    return {"shard_id": row["shard_id"], "epoch": row["epoch"]}


def _next(row: Row) -> Row:
    """Tell what a range is like that a slot continues."""
    return {"last_slot": row["slot"] - 1} | _facts(row)


@statement
def read_partners(session: "Session") -> list[Record]:
    rows = sorted(session.table("control.partner_bank").rows, key=lambda row: row["partner_number"])
    return records(("partner_number", "bank_code", "is_ready"), rows)
