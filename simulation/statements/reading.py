"""What readers ask: any process, at any time.

Never here: changes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.ledger.books import HoldState, Kind
from simulation.statements.loading import ENDED, REPEATING, became, beside, ended, last, refused_leg
from simulation.statements.registry import HOLD, one, records, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session


@statement
def due_holds(session: "Session", limit: int) -> list[Record]:
    now = session.now_us()
    due = [row for row in session.table("hold").rows if row["state"] == HoldState.OPEN and row["expire_time"] <= now]
    return records(("hold_id",), sorted(due, key=lambda row: row["expire_time"])[:limit])


@statement
def refused_crossings(session: "Session", peer_id: int, first: int, last: int) -> list[Record]:
    rows = [row for row in session.table("crossing_refused").by("peer_id", peer_id) if first <= row["number"] <= last]
    return records(("number", "refusal"), sorted(rows, key=lambda row: row["number"]))


@statement
def check_payees(session: "Session", numbers: Sequence[int]) -> list[Record]:
    rows = [row for row in map(session.table("account").get, dict.fromkeys(numbers)) if row is not None]
    return records(("account_number", "currency", "restrictions", "balance_minor_max"), rows)


@statement
def transfers(session: "Session", ids: Sequence[bytes], sequences: Sequence[int]) -> list[Record]:
    table = session.table("transfer")
    rows = [row for each in ids for row in table.by("transfer_id", each)]
    rows = [row for row in rows if row["kind"] not in REPEATING]
    rows += [row for row in map(table.get, sequences) if row is not None]
    found = []
    for row in sorted(rows, key=lambda row: -row["sequence"]):
        actor = session.table("actor").get(row["actor_id"]) or {"channel": None, "subject": None}
        links = session.table("relation").by("sequence", row["sequence"])
        link = {name: links[0][name] if links else None for name in ("relation", "target_id")}
        texts = ("bank_code", "account", "creditor_name", "remittance_text")
        creditor = session.table("external_creditor").get(row["sequence"]) or dict.fromkeys(texts)
        found.append(
            row
            | actor
            | link
            | creditor
            | became(session, row)
            | ended(session, row)
            | beside(session, row)
            | {"refused_leg": refused_leg(session, row)}
        )
    names = (
        "sequence", "transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "kind", "outcome",
        "refusal", "refused_leg", "home_id", "reference", "booking_time", "business_date", "value_date", "flags", "channel", "subject",
        "relation", "target_id", "bank_code", "account", "creditor_name", "remittance_text", *ENDED, "further",
        "metadata",
    )  # fmt: skip
    return records(names, found)


@statement
def get_hold(session: "Session", hold_id: bytes) -> list[Record]:
    hold = session.table("hold").get(hold_id)
    return _with_reference(session, [hold]) if hold is not None else []


@statement
def open_holds(session: "Session", number: int, limit: int) -> list[Record]:
    rows = [row for row in session.table("hold").by("account_number", number) if row["state"] == HoldState.OPEN]
    return _with_reference(session, sorted(rows, key=lambda row: (row["expire_time"], row["hold_id"]))[:limit])


def _with_reference(session: "Session", holds: Sequence[Row]) -> list[Record]:
    found = []
    for hold in holds:
        placed = [row for row in session.table("transfer").by("transfer_id", hold["hold_id"])
                  if row["kind"] == Kind.HOLD_PLACED]  # fmt: skip
        found.append(hold | {"reference": placed[0]["reference"]})
    return records((*HOLD, "reference"), found)


@statement
def state_at(session: "Session", number: int, sequence: int) -> list[Record]:
    account = session.table("account").get(number)
    if account is None:
        return []
    entry = last(session, "entry", "account_number", number, sequence)
    return one(
        currency=account["currency"],
        version=entry["version"] if entry is not None else 0,
        balance_minor=entry["balance_after_minor"] if entry is not None else 0,
        held_minor=(entry["held_after_minor"] or 0) if entry is not None else 0,
    )


@statement
def shard_status(session: "Session") -> list[Record]:
    head = session.database.head
    in_flight = sum(row["sent_through"] - row["acknowledged_through"] for row in session.table("peer").rows)
    promises = sum(row["state"] == 1 for row in session.table("promise").rows)
    return one(
        last_sequence=head["last_sequence"],
        writer_epoch=head["writer_epoch"],
        in_flight_count=in_flight,
        promise_count=promises,
    )
