"""The books in PostgreSQL: one batch is one transaction, everything else reads.

`Store.write` is the only way into the append-only tables: the head advances by compare-and-swap, the
rows follow by binary COPY, the commit makes them true. The writer owns one connection for that;
readers share a pool. Never here: whether something may be written (`posting.py`) or when
(`batching.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import asyncpg

from services.chassis import binary_copy, postgres, queries
from services.ledger import raw, rows, small_batches, value_dates
from services.ledger.beside import Beside
from services.ledger.books import (
    AccountState,
    Actor,
    Allowance,
    Cap,
    CapKey,
    Decision,
    Hold,
    Leg,
    Original,
    Spent,
)
from services.ledger.change_rows import ChangeDecision, ChangeRow
from services.ledger.draft import Draft
from services.ledger.leases import Seen
from services.ledger.traffic import Crossing, Promise, RoutedLeg, Verdict, Watermarks

SQL: Final = queries.load("services.ledger")


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


class Store:
    """The writer's own connection, and one that reads beside it."""

    def __init__(self, dsn: str) -> None:
        self.beside = Beside(dsn)
        self._dsn = dsn
        self._connection: Any = None
        self.commit_seconds = 0.0
        """How long the last COMMIT took."""

    async def connect(self) -> None:
        """Connect anew, dropping a connection that may be broken."""
        self.drop()
        connection = await postgres.connect(self._dsn, application="hivecore-ledger-write")
        await raw.speak_raw(connection)
        self._connection = connection

    def drop(self) -> None:
        """Cut the connections without ceremony."""
        self.beside.drop()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connections."""
        self.beside.drop()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close(timeout=2)

    async def take_lease(self, instance: str, seconds: float, waited_for: int | None = None) -> Head | None:
        """Become the writer if nobody else is; from then on no earlier writer can commit.

        `waited_for` is what `Patience` calls over.
        """
        async with self._connection.transaction():
            if await self._connection.fetchval(SQL["take_lease"], instance, seconds, waited_for) is None:
                return None
            await self._connection.execute(SQL["end_earlier_writers"])
            head = Head(*await self._connection.fetchrow(SQL["next_epoch"]))
        self._connection.expect_replicated()
        return head

    async def see_lease(self) -> Seen:
        """Return the lease as it is."""
        return Seen(*await self._connection.fetchrow(SQL["see_lease"]))

    async def load_peers(self) -> dict[int, Watermarks]:
        """Return the watermarks of all peers."""
        return {row[0]: Watermarks(*row[1:]) for row in await self._connection.fetch(SQL["load_peers"])}

    async def load_accounts(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the state of those of the accounts that are in the books."""
        return raw.states(await self._connection.fetch(SQL["load_accounts"], numbers))

    async def load_holds(self, hold_ids: Sequence[bytes]) -> dict[bytes, Hold]:
        """Return those of the holds that there are."""
        return {row[0]: Hold(*row) for row in await self._connection.fetch(SQL["load_holds"], hold_ids)}

    async def load_open_holds(self, numbers: Sequence[int]) -> dict[int, list[Hold]]:
        """Return the open holds of accounts, by account."""
        found: dict[int, list[Hold]] = {}
        for row in await self._connection.fetch(SQL["load_open_holds"], numbers):
            hold = Hold(*row)
            found.setdefault(hold.account_number, []).append(hold)
        return found

    async def load_caps(self, keys: Sequence[CapKey]) -> dict[CapKey, Cap]:
        """Return those of the caps that there are, with what was spent of them."""
        customers, currencies = zip(*keys, strict=True)
        found = {}
        for customer, currency, day_max, *spent in await self._connection.fetch(
            SQL["load_caps"], customers, currencies
        ):
            found[CapKey(customer, currency)] = Cap(day_max, raw.spent(*spent) or Spent())
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
            found[row["transfer_id"]] = Original(row["transfer_id"], row["outcome"], (leg,), row["reversed_minor"])
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
            outcome, refusal = raw.ended(row)
            found[row["transfer_id"]] = Decision(
                row["fingerprint"],
                row["kind"],
                outcome,
                refusal,
                row["booking_time"],
                row["peer_id"],
                row["number"],
                row["has_fee"],
                row["leg"],
            )
        return found

    async def load_open_promises(self) -> list[Promise]:
        """Return all open promises, in the order in which they were made."""
        found = []
        for *facts, legs, pairs, state in await self._connection.fetch(SQL["load_open_promises"]):
            routed = tuple(RoutedLeg(place, *leg) for place, leg in enumerate(legs))
            transfer_id, home_id, sequence, time_us, day, fingerprint, flags, actor_id, reference = facts
            found.append(
                Promise(
                    transfer_id,
                    home_id,
                    sequence,
                    time_us,
                    day,
                    fingerprint,
                    flags,
                    actor_id,
                    reference,
                    routed,
                    raw.metadata(pairs),
                    state,
                )
            )
        return found

    async def load_told(self, keys: Sequence[tuple[bytes, int]]) -> set[tuple[bytes, int]]:
        """Return those of (transfer id, peer) for which a decision is numbered."""
        ids, peers = zip(*keys, strict=True)
        return {(row[0], row[1]) for row in await self._connection.fetch(SQL["load_told"], ids, peers)}

    async def unacknowledged_crossings(self, peer_id: int, after: int, limit: int) -> list[Crossing]:
        """Return crossings sent to a peer and decisions among them, in order, after a number."""
        crossings = await self._connection.fetch(SQL["unacknowledged_crossings"], peer_id, after, limit)
        decisions = await self._connection.fetch(SQL["unacknowledged_decisions"], peer_id, after, limit)
        found = [
            Crossing(*row[:8])._replace(
                further=tuple(map(raw.further_leg, row[8])),
                metadata=raw.metadata(row[9]),
                actor=Actor(row[10], row[11]),
            )
            for row in crossings
        ]
        found += [Crossing.of_verdict(Verdict(*row)) for row in decisions]
        return sorted(found, key=lambda crossing: crossing.number)[:limit]

    async def write(self, head: Head, draft: Draft) -> Head:
        """Commit a draft on top of `head` and return the new one.

        Raises `FenceLost` or `IdTaken`, having written nothing. A lost connection, or a server that stopped
        waiting for its replica, leaves it unknown whether the draft was committed: ask `confirm`.
        """
        after = Head(draft.sequence, head.epoch, draft.booking_time_us)
        advance = (head.sequence, head.epoch, after.sequence, after.booking_time_us)
        try:
            small = small_batches.statement(draft)
            if small is not None:
                began = await self._write_small(draft, advance, small)
            else:
                began = await self._write_large(draft, advance)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "transfer_id_is_unique":
                raise
            raise IdTaken from None
        self._connection.expect_replicated()
        self.commit_seconds = perf_counter() - began
        return after

    async def _write_small(self, draft: Draft, advance: tuple[int, ...], statement: str) -> float:
        """Write and commit a draft with one statement; return when that began."""
        began = perf_counter()
        arguments = small_batches.arguments(draft, statement)
        if await self._connection.fetchval(SQL[statement], *advance, draft.business_date, *arguments) is None:
            raise FenceLost
        return began

    async def _write_large(self, draft: Draft, advance: tuple[int, ...]) -> float:
        """Write a draft table by table and commit it; return when the commit began."""
        connection = self._connection
        async with connection.transaction():
            if await connection.fetchval(SQL["advance_head"], *advance) is None:
                raise FenceLost
            if draft.begins_day:
                await connection.execute(SQL["begin_day"], draft.business_date, draft.first_sequence + 1)
            await self._append(draft)
            return perf_counter()

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
        if draft.value_dated:
            sums = value_dates.sums(draft.value_dated, draft.business_date)
            await self._connection.execute(SQL["add_value_sums"], *map(list, zip(*sums, strict=True)))
        if draft.peers:
            marks = draft.peers.values()
            await self._connection.execute(
                SQL["write_peers"],
                list(draft.peers),
                [mark.sent_through for mark in marks],
                [mark.acknowledged_through for mark in marks],
                [mark.landed_through for mark in marks],
            )

        if draft.spans.promises:
            values = [
                (p.transfer_id, p.home_id, p.sequence, p.state, p.refusal, p.resolve_sequence)
                for p in draft.spans.promises.values()
            ]
            await self._connection.execute(SQL["write_promises"], *map(list, zip(*values, strict=True)))
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

    async def confirm(self, head: Head, draft: Draft) -> Head:
        """Find out, on a new connection, whether a draft was committed: the new head has its booking time if so.

        Waits for the broken connection's transaction to end and raises the epoch, so that what was sent and
        has not arrived cannot be written any more: the answer is final. Raises `FenceLost` when another
        writer has taken the books since, or when the answer to an earlier `confirm` got lost.
        """
        await self.connect()
        row = await self._connection.fetchrow(SQL["raise_own_epoch"], head.epoch)
        self._connection.expect_replicated()
        if row is None:
            raise FenceLost
        now = Head(*row)
        assert (now.sequence, now.booking_time_us) in {
            (head.sequence, head.booking_time_us),
            (draft.sequence, draft.booking_time_us),
        }, "the head moved without its writer"
        return now


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
        *(row.allowance_before or Allowance()),
    )
