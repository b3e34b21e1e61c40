"""What readers ask: any process, at any time.

Never here: changes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.ledger.books import HoldState, Kind
from simulation.statements.loading import ENDED, ended, further, last
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
def get_transfer(session: "Session", transfer_id: bytes) -> list[Record]:
    found = []
    for row in session.table("transfer").by("transfer_id", transfer_id):
        if row["kind"] in {Kind.RETURN, Kind.HOLD_EXPIRED}:
            continue
        actor = session.table("actor").get(row["actor_id"]) or {"channel": None, "subject": None}
        links = session.table("relation").by("sequence", row["sequence"])
        link = links[0] if links else {"relation": None, "target_id": None}
        creditor = session.table("external_creditor").get(row["sequence"])
        texts = ("bank_code", "account", "creditor_name", "remittance_text")
        found.append(row | actor | link | (creditor or dict.fromkeys(texts)) | ended(session, row)
                     | {"amount_minor": row["amount_minor"], "sequence": row["sequence"]})  # fmt: skip
    names = (
        "sequence", "transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "kind", "outcome",
        "refusal", "leg_count", "reference", "booking_time", "business_date", "value_date", "flags", "channel",
        "subject", "relation", "target_id", "bank_code", "account", "creditor_name", "remittance_text", *ENDED,
    )  # fmt: skip
    return records(names, found)


@statement
def further_legs(session: "Session", sequence: int, leg_count: int) -> list[Record]:
    names = ("debit_account", "credit_account", "amount_minor", "currency")
    return records(names, further(session, sequence, leg_count))


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
def account_facts(session: "Session", number: int) -> list[Record]:
    account = session.table("account").get(number)
    return one(currency=account["currency"]) if account is not None else []


@statement
def state_at(session: "Session", number: int, sequence: int) -> list[Record]:
    entry = last(session, "entry", "account_number", number, sequence)
    return records(("version", "balance_after_minor", "held_after_minor"), [entry] if entry is not None else [])


@statement
def shard_status(session: "Session") -> list[Record]:
    head = session.database.head
    in_flight = sum(row["sent_through"] - row["acknowledged_through"] for row in session.table("peer").rows)
    return one(last_sequence=head["last_sequence"], writer_epoch=head["writer_epoch"], in_flight_count=in_flight)
