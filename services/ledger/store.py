"""The books in PostgreSQL: one batch is one transaction, everything else reads.

`Store.write` is the only way into the append-only tables: the head advances by compare-and-swap, the
rows follow by binary COPY, the commit makes them true. The writer owns one connection for that;
readers share a pool. Never here: whether something may be written (`posting.py`) or when
(`batching.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from services.chassis import binary_copy, logs, postgres, queries
from services.domain import errors
from services.domain.outcomes import Outcome
from services.ledger import rows
from services.ledger.books import (
    AccountState,
    Actor,
    Allowance,
    Cap,
    CapKey,
    ChangeDecision,
    ChangeRow,
    Creditor,
    Crossing,
    Decision,
    Hold,
    Leg,
    Original,
    Spent,
    Watermarks,
)
from services.ledger.draft import Draft

SQL: Final = queries.load("services.ledger")

POOL_CONNECTIONS: Final = 4
"""Readers of one shard at a time; each answer is an index seek or a page."""


READ_SECONDS_MAX: Final = 10.0

_log = logs.get(__name__)


class FenceLost(Exception):
    """Another writer has the books; nothing was written."""


class IdTaken(Exception):
    """An id in the batch already means something; nothing was written."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the books stand and whose they are."""

    sequence: int
    epoch: int
    booking_time_us: int


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """A transfer as the books have it; dates in days since 1970-01-01."""

    transfer_id: bytes
    legs: tuple[Leg, ...]
    kind: int
    outcome: int
    refusal: int
    reference: str
    creditor: Creditor | None
    booking_time_us: int
    business_date: int
    value_date: int
    flags: int
    actor: Actor | None
    relation: int
    """How it refers to `target_id`; 0 when it does not."""
    target_id: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """How far the books are, as any process may read it."""

    last_sequence: int
    writer_epoch: int
    in_flight_count: int


async def _speak_raw(connection: Any) -> None:
    """Exchange ids as bytes, times as microseconds and dates as days since 1970-01-01."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda time_us: (time_us - binary_copy.MICROSECONDS_TO_2000,),
        decoder=lambda value: value[0] + binary_copy.MICROSECONDS_TO_2000,
        format="tuple",
    )
    await connection.set_type_codec(
        "date",
        schema="pg_catalog",
        encoder=lambda days: (days - binary_copy.DAYS_TO_2000,),
        decoder=lambda value: value[0] + binary_copy.DAYS_TO_2000,
        format="tuple",
    )


class Reader:
    """Answers questions about the books; any number may, writer or not."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str) -> "Reader":
        """Connect a pool."""
        pool = await postgres.create_pool(
            dsn, application="hivecore-ledger-read", size=POOL_CONNECTIONS, init=_speak_raw
        )
        return cls(pool)

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.close()

    async def _ask(self, query: str, *arguments: Any) -> list[Any]:
        """Fetch rows. Raises `Unavailable` when the database does not answer."""
        try:
            rows: list[Any] = await self._pool.fetch(SQL[query], *arguments, timeout=READ_SECONDS_MAX)
        except postgres.ERRORS as error:
            if postgres.is_connection_lost(error):
                await self._pool.expire_connections()
            _log.warning("read_failed", query=query, error=type(error).__name__)
            raise errors.Unavailable("SHARD_DATABASE_UNREACHABLE", "the shard's database does not answer") from None
        return rows

    async def balances(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the state of those of the accounts that are in the books."""
        return _states(await self._ask("load_accounts", numbers))

    async def facts(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the slow-changing facts of accounts, without their balances."""
        found = await self._ask("check_payees", numbers)
        return {
            number: AccountState(number, currency, 0, restrictions, allowance=_allowance(ceiling))
            for number, currency, restrictions, ceiling in found
        }

    async def transfer(self, transfer_id: bytes) -> TransferRecord | None:
        """Return a transfer asked for or landed here."""
        found = await self._ask("get_transfer", transfer_id)
        if not found:
            return None
        row = found[0]
        legs = [Leg(row["debit_account"], row["credit_account"], row["amount_minor"], row["currency"])]
        if row["leg_count"] > 1:
            further = await self._ask("further_legs", row["sequence"], row["leg_count"])
            legs.extend(Leg(*leg) for leg in further)
        outcome, refusal = _ended(row)
        creditor = None
        if row["bank_code"] is not None:
            creditor = Creditor(row["bank_code"], row["account"], row["creditor_name"], row["remittance_text"])
        return TransferRecord(
            row["transfer_id"],
            tuple(legs),
            row["kind"],
            outcome,
            refusal,
            row["reference"],
            creditor,
            row["booking_time"],
            row["business_date"],
            row["value_date"],
            row["flags"],
            None if row["subject"] is None else Actor(row["channel"], row["subject"]),
            row["relation"] or 0,
            row["target_id"] or b"",
        )

    async def entries(
        self, account_number: int, *, descending: bool, after_sequence: int, limit: int
    ) -> tuple[int | None, list[Any]]:
        """Return the account's currency, None when it is not in the books, and a page of its entries."""
        facts = await self._ask("account_facts", account_number)
        if not facts:
            return None, []
        query = "entries_descending" if descending else "entries_ascending"
        return facts[0]["currency"], await self._ask(query, account_number, after_sequence, limit)

    async def refused_crossings(self, peer_id: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return numbers, first to last, of a peer's crossings that were refused here, with reasons."""
        return [(number, refusal) for number, refusal in await self._ask("refused_crossings", peer_id, first, last)]

    async def due_holds(self, limit: int) -> list[bytes]:
        """Return open holds whose time has come, the oldest first."""
        return [row[0] for row in await self._ask("due_holds", limit)]

    async def hold(self, hold_id: bytes) -> Hold | None:
        """Return a hold."""
        found = await self._ask("get_hold", hold_id)
        return Hold(*found[0]) if found else None

    async def open_holds(self, account_number: int, limit: int) -> list[Hold]:
        """Return an account's open holds, those that expire first first."""
        return [Hold(*row) for row in await self._ask("open_holds", account_number, limit)]

    async def status(self) -> Status:
        """Return how far the books are."""
        return Status(*(await self._ask("shard_status"))[0])


class Store:
    """The writer's own connection."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None

    async def connect(self) -> None:
        """Connect anew, dropping a connection that may be broken."""
        self.drop()
        connection = await postgres.connect(self._dsn, application="hivecore-ledger-write")
        await _speak_raw(connection)
        self._connection = connection

    def drop(self) -> None:
        """Cut the connection without ceremony."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close(timeout=2)

    async def take_lease(self, instance: str, seconds: float) -> Head | None:
        """Become the writer if nobody else is; from then on no earlier writer can commit."""
        async with self._connection.transaction():
            if await self._connection.fetchval(SQL["take_lease"], instance, seconds) is None:
                return None
            await self._connection.execute(SQL["end_earlier_writers"])
            return Head(*await self._connection.fetchrow(SQL["next_epoch"]))

    async def load_peers(self) -> dict[int, Watermarks]:
        """Return the watermarks of all peers."""
        return {row[0]: Watermarks(*row[1:]) for row in await self._connection.fetch(SQL["load_peers"])}

    async def load_accounts(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the state of those of the accounts that are in the books."""
        return _states(await self._connection.fetch(SQL["load_accounts"], numbers))

    async def load_holds(self, hold_ids: Sequence[bytes]) -> dict[bytes, Hold]:
        """Return those of the holds that there are."""
        return {row[0]: Hold(*row) for row in await self._connection.fetch(SQL["load_holds"], hold_ids)}

    async def load_caps(self, keys: Sequence[CapKey]) -> dict[CapKey, Cap]:
        """Return those of the caps that there are, with what was spent of them."""
        customers, currencies = zip(*keys, strict=True)
        found = {}
        for customer, currency, day_max, *spent in await self._connection.fetch(
            SQL["load_caps"], customers, currencies
        ):
            found[CapKey(customer, currency)] = Cap(day_max, _spent(*spent) or Spent())
        return found

    async def load_originals(self, transfer_ids: Sequence[bytes]) -> dict[bytes, Original]:
        """Return those of the transfers that are in the books, with what reversals gave back."""
        found: dict[bytes, Original] = {}
        for row in await self._connection.fetch(SQL["load_originals"], transfer_ids):
            leg = Leg(row["debit_account"], row["credit_account"], row["amount_minor"], row["currency"])
            before = found.get(row["transfer_id"])
            if before is not None:
                found[row["transfer_id"]] = before._replace(legs=(*before.legs, leg))
                continue
            outcome = Outcome.POSTED if row["is_posted_crossing"] else row["outcome"]
            found[row["transfer_id"]] = Original(row["transfer_id"], outcome, (leg,), row["reversed_minor"])
        return found

    async def load_changes(self, change_ids: Sequence[bytes]) -> dict[bytes, ChangeDecision]:
        """Return what those of the changes' ids mean that mean something already."""
        rows = await self._connection.fetch(SQL["load_changes"], change_ids)
        return {change_id: ChangeDecision(fingerprint, refusal) for change_id, fingerprint, refusal in rows}

    async def load_siblings(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Return, for each account, those of its customer in its currency, itself included."""
        found: dict[int, list[int]] = {}
        for number, sibling in await self._connection.fetch(SQL["load_siblings"], numbers):
            found.setdefault(number, []).append(sibling)
        return found

    async def name_actors(self, actors: Sequence[Actor]) -> dict[Actor, int]:
        """Return everybody's number, giving numbers to those who have none."""
        channels, subjects = zip(*actors, strict=True)
        await self._connection.execute(SQL["put_actors"], channels, subjects)
        found = await self._connection.fetch(SQL["find_actors"], channels, subjects)
        return {Actor(channel, subject): actor_id for channel, subject, actor_id in found}

    async def find_decisions(self, transfer_ids: Sequence[bytes]) -> dict[bytes, Decision]:
        """Return what those of the ids mean that mean something already."""
        found = {}
        for row in await self._connection.fetch(SQL["find_decisions"], transfer_ids):
            outcome, refusal = _ended(row)
            found[row["transfer_id"]] = Decision(
                row["fingerprint"], row["kind"], outcome, refusal, row["booking_time"], row["peer_id"], row["number"]
            )
        return found

    async def unacknowledged_crossings(self, peer_id: int, after: int, limit: int) -> list[Crossing]:
        """Return crossings sent to a peer, in order, after a number."""
        found = await self._connection.fetch(SQL["unacknowledged_crossings"], peer_id, after, limit)
        return [Crossing(*row)._replace(further=tuple(Leg(*leg) for leg in row[8])) for row in found]

    async def write(self, head: Head, draft: Draft) -> Head:
        """Commit a draft on top of `head` and return the new one.

        Raises `FenceLost` or `IdTaken`, having written nothing. A lost connection leaves it unknown
        whether the draft was committed: ask `confirm`.
        """
        connection = self._connection
        after = Head(draft.sequence, head.epoch, draft.booking_time_us)
        try:
            async with connection.transaction():
                advanced = await connection.fetchval(
                    SQL["advance_head"], head.sequence, head.epoch, after.sequence, after.booking_time_us
                )
                if advanced is None:
                    raise FenceLost
                await self._append(draft)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "transfer_id_is_unique":
                raise
            raise IdTaken from None
        return after

    async def _append(self, draft: Draft) -> None:
        """Send a draft's rows, table by table."""
        for table, packed in rows.packed(draft):
            await self._connection.copy_to_table(
                table,
                schema_name="ledger",
                columns=rows.COLUMNS[table],
                source=binary_copy.stream(packed),
                format="binary",
            )
        if draft.peers:
            marks = draft.peers.values()
            await self._connection.execute(
                SQL["write_peers"],
                list(draft.peers),
                [mark.sent_through for mark in marks],
                [mark.acknowledged_through for mark in marks],
                [mark.landed_through for mark in marks],
            )

        if draft.holds or draft.changes or draft.altered:
            await self._update(draft)

    async def _update(self, draft: Draft) -> None:
        """Bring holds, accounts' slow facts and caps up to date, and record who changed what."""
        execute = self._connection.execute
        if draft.holds:
            await execute(SQL["write_holds"], *map(list, zip(*draft.holds.values(), strict=True)))
        if draft.altered:
            facts = [_facts(draft.touched[number]) for number in draft.altered]
            await execute(SQL["write_account_facts"], *map(list, zip(*facts, strict=True)))
        if draft.cap_changes:
            kept = [(*key, day_max) for key, day_max in draft.cap_changes.items() if day_max >= 0]
            lifted = [key for key, day_max in draft.cap_changes.items() if day_max < 0]
            if kept:
                await execute(SQL["write_caps"], *map(list, zip(*kept, strict=True)))
            if lifted:
                await execute(SQL["lift_caps"], *map(list, zip(*lifted, strict=True)))
        if draft.changes:
            values = [_change_values(row, draft.booking_time_us) for row in draft.changes]
            await self._connection.executemany(SQL["write_change"], values)

    async def confirm(self, head: Head, draft: Draft) -> Head | None:
        """Find out, on a new connection, whether a draft was committed: the new head, or None if not.

        Waits for the broken connection's transaction to end, so the answer is final. Raises
        `FenceLost` when another writer has taken the books since.
        """
        await self.connect()
        async with self._connection.transaction():
            now = Head(*await self._connection.fetchrow(SQL["lock_head"]))
        if now.epoch != head.epoch:
            raise FenceLost
        if now == Head(draft.sequence, head.epoch, draft.booking_time_us):
            return now
        assert now == head, "the head moved without its writer"
        return None


class Lease:
    """Who should write a shard; kept on a connection of its own so that a long batch cannot stop it."""

    def __init__(self, dsn: str, instance: str, seconds: float) -> None:
        self._dsn = dsn
        self._instance = instance
        self._seconds = seconds
        self._connection: Any = None

    async def renew(self) -> bool:
        """Extend the lease; False when it is somebody else's now."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await postgres.connect(self._dsn, application="hivecore-ledger-lease")
        found = await self._connection.fetchval(
            SQL["renew_lease"], self._instance, self._seconds, timeout=self._seconds
        )
        return found is not None

    async def release(self) -> None:
        """Let a standby take over at once."""
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.execute(SQL["release_lease"], self._instance, timeout=self._seconds)

    def drop(self) -> None:
        """Cut the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _states(found: Iterable[Any]) -> dict[int, AccountState]:
    states = {}
    for row in found:
        state = AccountState(*row[:8])
        state.allowance, state.is_capped, state.spent = _allowance(*row[8:12]), row[12], _spent(*row[13:])
        states[state.number] = state
    return states


def _allowance(*limits: int | None) -> Allowance | None:
    """Return an account's allowance; None when nothing is limited."""
    return Allowance(*limits) if any(limit is not None for limit in limits) else None


def _spent(date: int | None, minor: int, count: int) -> Spent | None:
    return None if date is None else Spent(date, minor, count)


def _facts(account: AccountState) -> tuple[int | None, ...]:
    return (account.number, account.restrictions, account.floor_minor, *(account.allowance or Allowance()))


def _change_values(row: ChangeRow, time_us: int) -> tuple[Any, ...]:
    asked = row.change
    return (
        row.sequence,
        asked.change_id,
        asked.account_number,
        time_us,
        asked.fingerprint,
        row.restrictions_before,
        asked.restrictions,
        row.floor_before_minor,
        asked.floor_minor,
        asked.allowance is not None,
        *(asked.allowance or Allowance()),
        asked.customer_day_minor_max,
        row.actor_id,
        row.refusal,
        asked.reason,
    )


def _ended(row: Any) -> tuple[int, int]:
    """Derive the outcome of a row of `transfer`: a crossing's follows from watermark and returns."""
    if row["outcome"] != Outcome.IN_TRANSIT:
        return row["outcome"], row["refusal"]
    if row["return_refusal"]:
        return Outcome.RETURNED, row["return_refusal"]
    return (Outcome.POSTED if row["acknowledged"] else Outcome.IN_TRANSIT), 0
