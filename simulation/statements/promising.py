"""What transfers over several shards need and change: promises, and decisions on them.

Never here: whether it commits.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.ledger.traffic import PromiseState
from simulation.statements.loading import beside
from simulation.statements.registry import records, statement
from simulation.statements.writing import put
from simulation.tables import Record

if TYPE_CHECKING:
    from simulation.database import Session

MICROSECONDS_PER_DAY = 86_400_000_000


@statement
def load_open_promises(session: "Session") -> list[Record]:
    found = []
    for promise in sorted(session.table("promise").rows, key=lambda row: row["sequence"]):
        if promise["state"] != PromiseState.OPEN:
            continue
        row = session.table("transfer").get(promise["sequence"])
        assert row is not None
        kept = beside(session, row)
        first = [row[name] for name in ("debit_account", "credit_account", "amount_minor", "currency")]
        legs = []
        for sequence, leg in enumerate(([*first, 0], *kept["further"]), row["sequence"]):
            route = session.table("leg_route").get(sequence) or {"debit_peer": 0, "credit_peer": 0}
            legs.append([*leg[:4], route["debit_peer"], route["credit_peer"], leg[4]])
        found.append(row | promise | {"legs": legs, "metadata": kept["metadata"]})
    names = (
        "transfer_id", "home_id", "sequence", "booking_time", "business_date", "fingerprint", "flags", "actor_id",
        "reference", "legs", "metadata", "state",
    )  # fmt: skip
    return records(names, found)


@statement
def unacknowledged_decisions(session: "Session", peer_id: int, after: int, limit: int) -> list[Record]:
    rows = [row for row in session.table("decision_out").by("peer_id", peer_id) if row["number"] > after]
    today = session.database.head["booking_time"] // MICROSECONDS_PER_DAY
    found = []
    for row in sorted(rows, key=lambda row: row["number"])[:limit]:
        said = session.table("transfer").get(row["sequence"]) or {"reference": "", "value_date": today}
        found.append(row | {name: said[name] for name in ("reference", "value_date")})
    names = ("number", "transfer_id", "outcome", "refusal", "reference", "value_date", "account_number")
    return records(names, found)


@statement
def load_told(session: "Session", transfer_ids: Sequence[bytes], peer_ids: Sequence[int]) -> list[Record]:
    wanted = set(zip(transfer_ids, peer_ids, strict=True))
    rows = [
        row for each in dict.fromkeys(transfer_ids) for row in session.table("decision_out").by("transfer_id", each)
    ]
    return records(("transfer_id", "peer_id"), [row for row in rows if (row["transfer_id"], row["peer_id"]) in wanted])


@statement
def write_promises(session: "Session", *columns: Sequence[Any]) -> None:
    names = ("transfer_id", "home_id", "sequence", "state", "refusal", "resolve_sequence")
    for values in zip(*columns, strict=True):
        promise = dict(zip(names, values, strict=True))
        put(session, "promise", (promise["transfer_id"],), promise, names[3:])
