"""What each query of the ledger's `queries.sql` answers and changes, on tables in memory.

One short function per query, of the same name. A query that is not here is an error that says so, and tests
compare every one with the real one. Never here: when it runs, or what becomes of it (`database.py`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from services.chassis import queries
from services.domain.outcomes import Outcome
from services.ledger.books import HoldState, Kind, Relation
from simulation.tables import Record, Row

if TYPE_CHECKING:
    from simulation.database import Session

_NAMES = {sql: name for name, sql in queries.load("services.ledger").items()}
_RUN: dict[str, Callable[..., Any]] = {}

LOCKS = {
    "take_lease": "lease",
    "renew_lease": "lease",
    "release_lease": "lease",
    "next_epoch": "head",
    "advance_head": "head",
    "lock_head": "head",
}
"""Row locks that statements take, until their transaction ends."""

_ACCOUNT = ("account_number", "currency", "floor_minor", "restrictions", "version", "balance_minor", "held_minor",
            "customer_number", "balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max", "is_capped",
            "spent_date", "spent_minor", "spent_count")  # fmt: skip
_HOLD = ("hold_id", "account_number", "currency", "amount_minor", "expire_time", "payee_account", "place_date", "state",
         "captured_minor")  # fmt: skip
_LIMITS = ("balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max")


def name_of(query: str) -> str:
    """Tell which query of `queries.sql` a text is."""
    return _NAMES[query]


def run(session: "Session", name: str, arguments: Sequence[Any]) -> list[Record]:
    """Answer a query."""
    if name not in _RUN:
        raise NotImplementedError(f"the simulated PostgreSQL does not know {name!r} yet: teach it in statements.py")
    answer: list[Record] | None = _RUN[name](session, *arguments)
    return answer or []


def known() -> frozenset[str]:
    """Name all queries that are known."""
    return frozenset(_RUN)


def _statement(function: Callable[..., Any]) -> Callable[..., Any]:
    _RUN[function.__name__] = function
    return function


def _records(names: Sequence[str], rows: Sequence[Row]) -> list[Record]:
    return [Record(tuple(names), [row[name] for name in names]) for row in rows]


def _one(**values: Any) -> list[Record]:
    return [Record(tuple(values), values.values())]


# The lease and the head.


def _may_take(session: "Session", instance: str, *_: Any) -> bool:
    lease = session.database.lease
    holder = session.database.sessions.get(lease["session_pid"])
    is_gone = holder is None or holder.start != lease["session_start"]
    return bool(lease["instance"] == instance or lease["expire_time"] < session.now_us() or is_gone)


def _is_own(session: "Session", instance: str, *_: Any) -> bool:
    return bool(session.database.lease["instance"] == instance)


def _has_not_moved(session: "Session", sequence: int, epoch: int, *_: Any) -> bool:
    head = session.database.head
    return (head["last_sequence"], head["writer_epoch"]) == (sequence, epoch)


CONDITIONS: dict[str, Callable[..., bool]] = {
    "take_lease": _may_take,
    "renew_lease": _is_own,
    "release_lease": _is_own,
    "advance_head": _has_not_moved,
}
"""What must hold for a locking statement to find its row; asked again once it has the lock."""


@_statement
def take_lease(session: "Session", instance: str, seconds: float) -> list[Record]:
    if not _may_take(session, instance):
        return []
    return _extend(session, instance, seconds)


@_statement
def renew_lease(session: "Session", instance: str, seconds: float) -> list[Record]:
    return _extend(session, instance, seconds) if _is_own(session, instance) else []


def _extend(session: "Session", instance: str, seconds: float) -> list[Record]:
    fresh = {
        "instance": instance,
        "expire_time": session.now_us() + round(seconds * 1_000_000),
        "session_pid": session.pid,
        "session_start": session.start,
    }
    session.update(lambda: session.database.lease.update(fresh))
    return _one(bool=True)


@_statement
def release_lease(session: "Session", instance: str) -> None:
    if _is_own(session, instance):
        session.update(lambda: session.database.lease.update(expire_time=0))


@_statement
def end_earlier_writers(session: "Session") -> None:
    for other in list(session.database.sessions.values()):
        if other is not session and other.transaction is not None and other.transaction.wrote_head:
            other.end()


@_statement
def next_epoch(session: "Session") -> list[Record]:
    head = session.database.head
    epoch = head["writer_epoch"] + 1
    session.update(lambda: head.update(writer_epoch=epoch))
    return _one(last_sequence=head["last_sequence"], writer_epoch=epoch, booking_time=head["booking_time"])


@_statement
def advance_head(session: "Session", sequence: int, epoch: int, last_sequence: int, time_us: int) -> list[Record]:
    if not _has_not_moved(session, sequence, epoch):
        return []
    head = session.database.head
    session.update(lambda: head.update(last_sequence=last_sequence, booking_time=time_us))
    return _one(bool=True)


@_statement
def lock_head(session: "Session") -> list[Record]:
    return _records(("last_sequence", "writer_epoch", "booking_time"), [session.database.head])


# What a batch needs.


def _last(session: "Session", table: str, column: str, value: Any, until: int | None = None) -> Row | None:
    rows = session.table(table).by(column, value)
    for row in reversed(rows):
        if until is None or row["sequence"] <= until:
            return row
    return None


def _is_counted(account: Row) -> bool:
    return account["day_minor_max"] is not None or account["day_count_max"] is not None


@_statement
def load_accounts(session: "Session", numbers: Sequence[int]) -> list[Record]:
    found = []
    for number in numbers:
        account = session.table("account").get(number)
        if account is None:
            continue
        entry = _last(session, "entry", "account_number", number)
        spent = _last(session, "spending", "account_number", number) if _is_counted(account) else None
        cap = session.table("customer_cap").get(account["customer_number"], account["currency"])
        found.append(
            account
            | {
                "version": entry["version"] if entry else 0,
                "balance_minor": entry["balance_after_minor"] if entry else 0,
                "held_minor": entry["held_after_minor"] if entry else 0,
                "is_capped": cap is not None,
                "spent_date": spent["business_date"] if spent else None,
                "spent_minor": spent["minor"] if spent else None,
                "spent_count": spent["count"] if spent else None,
            }
        )
    return _records(_ACCOUNT, found)


@_statement
def load_holds(session: "Session", hold_ids: Sequence[bytes]) -> list[Record]:
    table = session.table("hold")
    return _records(_HOLD, [row for row in map(table.get, dict.fromkeys(hold_ids)) if row is not None])


@_statement
def load_open_holds(session: "Session", numbers: Sequence[int]) -> list[Record]:
    holds = [row for number in dict.fromkeys(numbers) for row in session.table("hold").by("account_number", number)]
    return _records(_HOLD, [row for row in holds if row["state"] == HoldState.OPEN])


@_statement
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
    return _records(("customer_number", "currency", "day_minor_max", "business_date", "minor", "count"), found)


def _return_of(session: "Session", crossing: Row | None) -> Row | None:
    return session.table("crossing_returned").get(crossing["peer_id"], crossing["number"]) if crossing else None


def _crossing_of(session: "Session", sequence: int) -> Row | None:
    found = session.table("crossing_out").by("sequence", sequence)
    return found[0] if found else None


def _is_acknowledged(session: "Session", crossing: Row | None) -> bool:
    peer = session.table("peer").get(crossing["peer_id"]) if crossing else None
    return peer is not None and crossing is not None and crossing["number"] <= peer["acknowledged_through"]


@_statement
def load_originals(session: "Session", transfer_ids: Sequence[bytes]) -> list[Record]:
    found: list[Row] = []
    for transfer_id in sorted(set(transfer_ids)):
        for row in session.table("transfer").by("transfer_id", transfer_id):
            if row["kind"] not in {Kind.ASKED, Kind.LANDING}:
                continue
            crossing = _crossing_of(session, row["sequence"]) if row["outcome"] == Outcome.IN_TRANSIT else None
            arrived = _is_acknowledged(session, crossing) and _return_of(session, crossing) is None
            given_back = sum(
                relation["amount_minor"]
                for relation in session.table("relation").by("target_id", transfer_id)
                if relation["relation"] == Relation.REVERSES
                and _return_of(session, _crossing_of(session, relation["sequence"])) is None
            )
            found.extend(
                row | leg | {"is_posted_crossing": arrived, "reversed_minor": given_back}
                for leg in (row, *_further(session, row["sequence"], row["leg_count"]))
            )
    names = ("transfer_id", "outcome", "is_posted_crossing", "debit_account", "credit_account", "amount_minor",
             "currency", "reversed_minor")  # fmt: skip
    return _records(names, found)


def _further(session: "Session", sequence: int, leg_count: int) -> list[Row]:
    legs = (session.table("further_leg").get(number) for number in range(sequence + 1, sequence + leg_count))
    return [leg for leg in legs if leg is not None]


@_statement
def load_changes(session: "Session", change_ids: Sequence[bytes]) -> list[Record]:
    rows = [row for each in change_ids for row in session.table("account_change").by("change_id", each)]
    return _records(("change_id", "fingerprint", "refusal"), rows)


@_statement
def load_siblings(session: "Session", numbers: Sequence[int]) -> list[Record]:
    found = []
    for number in dict.fromkeys(numbers):
        account = session.table("account").get(number)
        if account is not None and account["customer_number"]:
            found.extend(
                Record(("account_number", "sibling"), (number, other["account_number"]))
                for other in session.table("account").by("customer_number", account["customer_number"])
                if other["currency"] == account["currency"]
            )
    return found


@_statement
def put_actors(session: "Session", channels: Sequence[str], subjects: Sequence[str]) -> None:
    for channel, subject in sorted(zip(channels, subjects, strict=True)):
        known = session.table("actor").by("subject", subject)
        own = [row for name, row in session.transaction.changes if name == "actor"]  # type: ignore[union-attr]
        if not any((row["channel"], row["subject"]) == (channel, subject) for row in (*known, *own)):
            session.insert("actor", {"channel": channel, "subject": subject})


@_statement
def find_actors(session: "Session", channels: Sequence[str], subjects: Sequence[str]) -> list[Record]:
    found = [
        row
        for channel, subject in zip(channels, subjects, strict=True)
        for row in session.table("actor").by("subject", subject)
        if row["channel"] == channel
    ]
    return _records(("channel", "subject", "actor_id"), found)


@_statement
def find_decisions(session: "Session", transfer_ids: Sequence[bytes]) -> list[Record]:
    rows = [
        row
        for each in dict.fromkeys(transfer_ids)
        for row in session.table("transfer").by("transfer_id", each)
        if row["kind"] not in {Kind.RETURN, Kind.HOLD_EXPIRED}
    ]
    names = ("transfer_id", "fingerprint", "kind", "booking_time", "refusal", "outcome", *_ENDED)
    return _records(names, [row | _ended(session, row) for row in rows])


_ENDED = ("peer_id", "number", "acknowledged", "return_refusal")


def _ended(session: "Session", row: Row) -> Row:
    crossing = _crossing_of(session, row["sequence"]) if row["outcome"] == Outcome.IN_TRANSIT else None
    returned = _return_of(session, crossing)
    return {
        "peer_id": crossing["peer_id"] if crossing else 0,
        "number": crossing["number"] if crossing else 0,
        "acknowledged": _is_acknowledged(session, crossing),
        "return_refusal": returned["refusal"] if returned else 0,
    }


@_statement
def load_peers(session: "Session") -> list[Record]:
    return _records(("peer_id", "sent_through", "acknowledged_through", "landed_through"), session.table("peer").rows)


@_statement
def unacknowledged_crossings(session: "Session", peer_id: int, after: int, limit: int) -> list[Record]:
    found = []
    for number in range(after + 1, after + limit + 1):
        crossing = session.table("crossing_out").get(peer_id, number)
        if crossing is None:
            break
        row = session.table("transfer").get(crossing["sequence"])
        assert row is not None
        legs = _further(session, row["sequence"], row["leg_count"])
        names = ("debit_account", "credit_account", "amount_minor", "currency")
        found.append(row | {"number": number, "further": [[leg[name] for name in names] for leg in legs]})
    return _records(
        ("number", "transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "reference",
         "value_date", "further"),
        found,
    )  # fmt: skip


# What a batch writes besides COPY.


@_statement
def begin_day(session: "Session", business_date: int, first_sequence: int) -> None:
    session.insert("day", {"business_date": business_date, "first_sequence": first_sequence})


def _put(session: "Session", name: str, key: tuple[Any, ...], fresh: Row, changing: Sequence[str]) -> None:
    """Insert a row, or change some columns of the one that is there."""
    table = session.table(name)
    known = table.get(*key)
    if known is None:
        session.insert(name, fresh)
        return
    changes = {column: fresh[column] for column in changing}
    table.check(known | changes)
    session.update(lambda: known.update(changes))


@_statement
def write_holds(session: "Session", *columns: Sequence[Any]) -> None:
    for values in zip(*columns, strict=True):
        hold = dict(zip(_HOLD, values, strict=True))
        _put(session, "hold", (hold["hold_id"],), hold, ("amount_minor", "expire_time", "state", "captured_minor"))


@_statement
def write_account_facts(session: "Session", *columns: Sequence[Any]) -> None:
    names = ("restrictions", "floor_minor", *_LIMITS)
    for number, *values in zip(*columns, strict=True):
        changes = dict(zip(names, values, strict=True))
        account = session.table("account").get(number)
        if account is None:  # Opened by this very transaction.
            account = next(row for name, row in session.transaction.changes  # type: ignore[union-attr]
                           if name == "account" and row["account_number"] == number)  # fmt: skip
        session.table("account").check(account | changes)
        session.update(lambda account=account, changes=changes: account.update(changes))  # type: ignore[misc]


@_statement
def write_caps(session: "Session", *columns: Sequence[Any]) -> None:
    for customer, currency, day_max in zip(*columns, strict=True):
        cap = {"customer_number": customer, "currency": currency, "day_minor_max": day_max}
        _put(session, "customer_cap", (customer, currency), cap, ("day_minor_max",))


@_statement
def lift_caps(session: "Session", customers: Sequence[int], currencies: Sequence[int]) -> None:
    table = session.table("customer_cap")
    for key in zip(customers, currencies, strict=True):
        cap = table.get(*key)
        if cap is not None:
            session.update(lambda cap=cap: table.delete(cap))  # type: ignore[misc]


@_statement
def write_change(session: "Session", *values: Any) -> None:
    names = (
        "sequence", "change_id", "account_number", "change_time", "fingerprint", "restrictions_before", "restrictions",
        "floor_before_minor", "floor_minor", "sets_allowance", *_LIMITS, "customer_day_minor_max", "actor_id", "refusal",
        "reason", "balance_before_minor_max", "transfer_before_minor_max", "day_before_minor_max",
        "day_before_count_max",
    )  # fmt: skip
    session.insert("account_change", dict(zip(names, values, strict=True)))


@_statement
def write_peers(session: "Session", *columns: Sequence[Any]) -> None:
    names = ("peer_id", "sent_through", "acknowledged_through", "landed_through")
    for values in zip(*columns, strict=True):
        _put(session, "peer", (values[0],), dict(zip(names, values, strict=True)), names[1:])


# What readers ask.


@_statement
def due_holds(session: "Session", limit: int) -> list[Record]:
    now = session.now_us()
    due = [row for row in session.table("hold").rows if row["state"] == HoldState.OPEN and row["expire_time"] <= now]
    return _records(("hold_id",), sorted(due, key=lambda row: row["expire_time"])[:limit])


@_statement
def refused_crossings(session: "Session", peer_id: int, first: int, last: int) -> list[Record]:
    rows = [row for row in session.table("crossing_refused").by("peer_id", peer_id) if first <= row["number"] <= last]
    return _records(("number", "refusal"), sorted(rows, key=lambda row: row["number"]))


@_statement
def check_payees(session: "Session", numbers: Sequence[int]) -> list[Record]:
    rows = [row for row in map(session.table("account").get, dict.fromkeys(numbers)) if row is not None]
    return _records(("account_number", "currency", "restrictions", "balance_minor_max"), rows)


@_statement
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
        found.append(row | actor | link | (creditor or dict.fromkeys(texts)) | _ended(session, row)
                     | {"amount_minor": row["amount_minor"], "sequence": row["sequence"]})  # fmt: skip
    names = (
        "sequence", "transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "kind", "outcome",
        "refusal", "leg_count", "reference", "booking_time", "business_date", "value_date", "flags", "channel",
        "subject", "relation", "target_id", "bank_code", "account", "creditor_name", "remittance_text", *_ENDED,
    )  # fmt: skip
    return _records(names, found)


@_statement
def further_legs(session: "Session", sequence: int, leg_count: int) -> list[Record]:
    names = ("debit_account", "credit_account", "amount_minor", "currency")
    return _records(names, _further(session, sequence, leg_count))


@_statement
def get_hold(session: "Session", hold_id: bytes) -> list[Record]:
    hold = session.table("hold").get(hold_id)
    return _with_reference(session, [hold]) if hold is not None else []


@_statement
def open_holds(session: "Session", number: int, limit: int) -> list[Record]:
    rows = [row for row in session.table("hold").by("account_number", number) if row["state"] == HoldState.OPEN]
    return _with_reference(session, sorted(rows, key=lambda row: (row["expire_time"], row["hold_id"]))[:limit])


def _with_reference(session: "Session", holds: Sequence[Row]) -> list[Record]:
    found = []
    for hold in holds:
        placed = [row for row in session.table("transfer").by("transfer_id", hold["hold_id"])
                  if row["kind"] == Kind.HOLD_PLACED]  # fmt: skip
        found.append(hold | {"reference": placed[0]["reference"]})
    return _records((*_HOLD, "reference"), found)


@_statement
def account_facts(session: "Session", number: int) -> list[Record]:
    account = session.table("account").get(number)
    return _one(currency=account["currency"]) if account is not None else []


@_statement
def state_at(session: "Session", number: int, sequence: int) -> list[Record]:
    entry = _last(session, "entry", "account_number", number, sequence)
    return _records(("version", "balance_after_minor", "held_after_minor"), [entry] if entry is not None else [])


@_statement
def shard_status(session: "Session") -> list[Record]:
    head = session.database.head
    in_flight = sum(row["sent_through"] - row["acknowledged_through"] for row in session.table("peer").rows)
    return _one(
        last_sequence=head["last_sequence"], writer_epoch=head["writer_epoch"], in_flight_count=in_flight
    )
