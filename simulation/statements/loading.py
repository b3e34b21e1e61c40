"""What deciding a batch needs from the tables.

Never here: changes, other than giving actors numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.domain.outcomes import Outcome
from services.ledger.books import HoldState, Kind, Relation
from services.ledger.traffic import PromiseState
from simulation.statements.registry import ACCOUNT, HOLD, LIMITS, one, records, statement
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session


def last(session: "Session", table: str, column: str, value: Any, until: int | None = None) -> Row | None:
    rows = session.table(table).by(column, value)
    for row in reversed(rows):
        if until is None or row["sequence"] <= until:
            return row
    return None


def _is_counted(account: Row) -> bool:
    return account["day_minor_max"] is not None or account["day_count_max"] is not None


@statement
def load_accounts(session: "Session", numbers: Sequence[int]) -> list[Record]:
    found = []
    for number in dict.fromkeys(numbers):
        account = session.table("account").get(number)
        if account is None:
            continue
        entry = last(session, "entry", "account_number", number)
        spent = last(session, "spending", "account_number", number) if _is_counted(account) else None
        allowance = [account[limit] for limit in LIMITS]
        cap = session.table("customer_cap").get(account["customer_number"], account["currency"])
        found.append(
            account
            | {
                "version": entry["version"] if entry else 0,
                "balance_minor": entry["balance_after_minor"] if entry else 0,
                "held_minor": (entry["held_after_minor"] or 0) if entry else 0,
                "allowance": allowance if any(limit is not None for limit in allowance) else None,
                "spent": [spent["business_date"], spent["minor"], spent["count"]] if spent else None,
                "is_capped": cap is not None,
            }
        )
    return records(ACCOUNT, found)


@statement
def see_head(session: "Session") -> list[Record]:
    head = session.database.head
    return one(last_sequence=head["last_sequence"], writer_epoch=head["writer_epoch"])


@statement
def load_holds(session: "Session", hold_ids: Sequence[bytes]) -> list[Record]:
    table = session.table("hold")
    return records(HOLD, [row for row in map(table.get, dict.fromkeys(hold_ids)) if row is not None])


@statement
def load_open_holds(session: "Session", numbers: Sequence[int]) -> list[Record]:
    holds = [row for number in dict.fromkeys(numbers) for row in session.table("hold").by("account_number", number)]
    return records(HOLD, [row for row in holds if row["state"] == HoldState.OPEN])


@statement
def load_caps(session: "Session", customers: Sequence[int], currencies: Sequence[int]) -> list[Record]:
    found = []
    for customer, currency in zip(customers, currencies, strict=True):
        cap = session.table("customer_cap").get(customer, currency)
        if cap is None:
            continue
        spent = [row for row in session.table("customer_spending").by("customer_number", customer)
                 if row["currency"] == currency]  # fmt: skip
        last = spent[-1] if spent else {"business_date": None, "minor": None, "count": None}
        found.append(cap | last)
    return records(("customer_number", "currency", "day_minor_max", "business_date", "minor", "count"), found)


def return_of(session: "Session", crossing: Row | None) -> Row | None:
    return session.table("crossing_returned").get(crossing["peer_id"], crossing["number"]) if crossing else None


def crossing_of(session: "Session", sequence: int) -> Row | None:
    found = session.table("crossing_out").by("sequence", sequence)
    return found[0] if found else None


def _is_acknowledged(session: "Session", crossing: Row | None) -> bool:
    peer = session.table("peer").get(crossing["peer_id"]) if crossing else None
    return peer is not None and crossing is not None and crossing["number"] <= peer["acknowledged_through"]


@statement
def load_originals(session: "Session", transfer_ids: Sequence[bytes]) -> list[Record]:
    found: list[Row] = []
    for transfer_id in sorted(set(transfer_ids)):
        for row in session.table("transfer").by("transfer_id", transfer_id):
            if row["kind"] not in {Kind.ASKED, Kind.LANDING}:
                continue
            outcome = row["outcome"]
            crossing = crossing_of(session, row["sequence"]) if outcome == Outcome.IN_TRANSIT else None
            if return_of(session, crossing) is not None:
                outcome = Outcome.RETURNED
            elif _is_acknowledged(session, crossing):
                outcome = Outcome.POSTED
            given_back = sum(
                relation["amount_minor"]
                for relation in session.table("relation").by("target_id", transfer_id)
                if relation["relation"] == Relation.REVERSES
                and return_of(session, crossing_of(session, relation["sequence"])) is None
            )
            found.extend(
                row | leg | {"outcome": int(outcome), "reversed_minor": given_back}
                for leg in (row, *further(session, row["sequence"], row["leg_count"]))
                if not leg.get("is_fee")
            )
    names = ("transfer_id", "outcome", "debit_account", "credit_account", "amount_minor", "currency", "reversed_minor")
    return records(names, found)


def further(session: "Session", sequence: int, leg_count: int) -> list[Row]:
    legs = (session.table("further_leg").get(number) for number in range(sequence + 1, sequence + leg_count))
    return [leg for leg in legs if leg is not None]


@statement
def load_changes(session: "Session", change_ids: Sequence[bytes]) -> list[Record]:
    rows = [row for each in change_ids for row in session.table("account_change").by("change_id", each)]
    return records(("change_id", "fingerprint", "refusal"), rows)


@statement
def load_siblings(session: "Session", numbers: Sequence[int]) -> list[Record]:
    found: list[Record] = []
    for number in dict.fromkeys(numbers):
        account = session.table("account").get(number)
        if account is not None and account["customer_number"]:
            found.extend(
                Record(("account_number", "sibling"), (number, other["account_number"]))
                for other in session.table("account").by("customer_number", account["customer_number"])
                if other["currency"] == account["currency"]
            )
    return found


@statement
def put_actors(session: "Session", channels: Sequence[str], subjects: Sequence[str]) -> None:
    for channel, subject in sorted(zip(channels, subjects, strict=True)):
        known = session.table("actor").by("subject", subject)
        own = [row for name, row in session.transaction.changes if name == "actor"]  # type: ignore[union-attr]
        if not any((row["channel"], row["subject"]) == (channel, subject) for row in (*known, *own)):
            session.insert("actor", {"channel": channel, "subject": subject})


@statement
def find_actors(session: "Session", channels: Sequence[str], subjects: Sequence[str]) -> list[Record]:
    found = [
        row
        for channel, subject in zip(channels, subjects, strict=True)
        for row in session.table("actor").by("subject", subject)
        if row["channel"] == channel
    ]
    return records(("channel", "subject", "actor_id"), found)


@statement
def find_decisions(session: "Session", transfer_ids: Sequence[bytes]) -> list[Record]:
    rows = [
        row
        for each in dict.fromkeys(transfer_ids)
        for row in session.table("transfer").by("transfer_id", each)
        if row["kind"] not in REPEATING
    ]
    names = ("transfer_id", "fingerprint", "kind", "booking_time", "refusal", "outcome", "leg", *ENDED, "has_fee")
    found = [
        row
        | became(session, row)
        | ended(session, row)
        | {"leg": refused_leg(session, row), "has_fee": _has_fee(session, row)}
        for row in rows
    ]
    return records(names, found)


def became(session: "Session", row: Row) -> Row:
    """Tell outcome, refusal and home of a row, of a promise by how it ended; any other has no home but its shard, 0."""
    made = session.table("promise").get(row["transfer_id"]) if row["kind"] == Kind.PROMISED else None
    if made is None:
        return {"outcome": row["outcome"], "refusal": row["refusal"], "home_id": 0}
    return {
        "outcome": _OUTCOME_BY_STATE[made["state"]],
        "refusal": row["refusal"] or made["refusal"],
        "home_id": made["home_id"],
    }


def refused_leg(session: "Session", row: Row) -> int:
    """Tell which of several legs a transfer was refused for; -1 for none."""
    blamed = session.table("refused_leg").by("sequence", row["sequence"])
    return blamed[0]["leg"] if blamed else -1


def _has_fee(session: "Session", row: Row) -> bool:
    return any(leg["is_fee"] for leg in further(session, row["sequence"], row["leg_count"]))


REPEATING = frozenset({Kind.RETURN, Kind.HOLD_EXPIRED, Kind.KEPT, Kind.DROPPED})
"""Kinds of rows that bear the id of an earlier one."""

_OUTCOME_BY_STATE = {
    PromiseState.OPEN: Outcome.IN_TRANSIT,
    PromiseState.KEPT: Outcome.POSTED,
    PromiseState.DROPPED: Outcome.REFUSED,
}
ENDED = ("peer_id", "number", "acknowledged", "return_refusal")


def ended(session: "Session", row: Row) -> Row:
    crossing = crossing_of(session, row["sequence"]) if row["outcome"] == Outcome.IN_TRANSIT else None
    returned = return_of(session, crossing)
    return {
        "peer_id": crossing["peer_id"] if crossing else 0,
        "number": crossing["number"] if crossing else 0,
        "acknowledged": _is_acknowledged(session, crossing),
        "return_refusal": returned["refusal"] if returned else 0,
    }


@statement
def load_peers(session: "Session") -> list[Record]:
    return records(("peer_id", "sent_through", "acknowledged_through", "landed_through"), session.table("peer").rows)


@statement
def unacknowledged_crossings(session: "Session", peer_id: int, after: int, limit: int) -> list[Record]:
    found = []
    sent = [each for each in session.table("crossing_out").by("peer_id", peer_id) if each["number"] > after]
    for crossing in sorted(sent, key=lambda each: each["number"])[:limit]:
        row = session.table("transfer").get(crossing["sequence"])
        assert row is not None
        actor = session.table("actor").get(row["actor_id"]) or {"channel": "", "subject": ""}
        found.append(row | actor | {"number": crossing["number"]} | beside(session, row))
    names = (
        "number", "transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "reference",
        "value_date", "further", "metadata", "channel", "subject",
    )  # fmt: skip
    return records(names, found)


def beside(session: "Session", row: Row) -> Row:
    """Return the legs after a transfer's first and what its caller keeps with it, as arrays."""
    names = ("debit_account", "credit_account", "amount_minor", "currency", "is_fee")
    legs = further(session, row["sequence"], row["leg_count"])
    pairs = session.table("metadata").by("sequence", row["sequence"])
    return {
        "further": [[int(leg[name]) for name in names] for leg in legs],
        "metadata": sorted([pair["key"], pair["value"]] for pair in pairs),
    }
