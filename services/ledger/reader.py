"""Answers questions about the books as they are now: any process may, writer or not, on the primary only.

Never here: writing, deciding on what was read, the past (`history.py`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from services.chassis import logs, postgres, queries
from services.domain import errors
from services.domain.metadata import Metadata
from services.ledger import raw
from services.ledger.books import NO_LEG, AccountState, Actor, Creditor, Hold, Leg

SQL: Final = queries.load("services.ledger", "reader.sql")
_LOAD_ACCOUNTS: Final = queries.load(__package__)["load_accounts"]
"""As the writer loads them."""

POOL_CONNECTIONS: Final = 4
"""Readers of one shard at a time; each answer is an index seek or a page."""

READ_SECONDS_MAX: Final = 10.0

_log = logs.get(__name__)


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
    peer_id: int
    """Peer of a crossing; 0 when there is none."""
    number: int
    """Number of a crossing at that peer."""
    metadata: Metadata
    refused_leg: int = NO_LEG
    """Which of several legs was refused; -1 for none."""
    home_id: int = 0
    """The shard that decided it, of a part that was promised here."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far the books are, as any process may read it."""

    last_sequence: int
    writer_epoch: int
    in_flight_count: int
    promise_count: int
    """Promises that wait for their decisions."""


def _record(row: Any) -> TransferRecord:
    first = Leg(row["debit_account"], row["credit_account"], row["amount_minor"], row["currency"])
    outcome, refusal = raw.ended(row)
    creditor = None
    if row["bank_code"] is not None:
        creditor = Creditor(row["bank_code"], row["account"], row["creditor_name"], row["remittance_text"])
    return TransferRecord(
        row["transfer_id"],
        (first, *map(raw.further_leg, row["further"])),
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
        row["peer_id"],
        row["number"],
        raw.metadata(row["metadata"]),
        row["refused_leg"],
        row["home_id"],
    )


class Reader:
    """Answers questions about the books; any number may, writer or not."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str, name: str = "readers") -> "Reader":
        """Connect a pool; `name` is what /metrics calls it."""
        pool = await postgres.create_pool(
            dsn,
            application="hivecore-ledger-read",
            name=name,
            size=POOL_CONNECTIONS,
            only_reads=True,
            init=raw.speak_raw,
        )
        return cls(pool)

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.close()

    async def _ask(self, query: str, *arguments: Any) -> list[Any]:
        """Fetch rows. Raises `Unavailable` when the database does not answer."""
        return await self.fetch(SQL[query], *arguments)

    async def fetch(self, sql: str, *arguments: Any, seconds: float = READ_SECONDS_MAX) -> list[Any]:
        """Fetch the rows of a query of this room. Raises `Unavailable` when the database does not answer in time."""
        async with self._answering():
            rows: list[Any] = await self._pool.fetch(sql, *arguments, timeout=seconds)
        return rows

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; raises as `fetch`, and `DeadlinePassed` (QUERY_TOO_SLOW) when PostgreSQL gives up."""
        async with self._answering(), self._pool.acquire(timeout=READ_SECONDS_MAX) as connection:
            yield connection

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        try:
            yield
        except asyncpg.QueryCanceledError:
            raise errors.DeadlinePassed("QUERY_TOO_SLOW", "the database gave the question up; ask for less") from None
        except postgres.ERRORS as error:
            if postgres.is_connection_lost(error):
                await self._pool.expire_connections()
            _log.warning("read_failed", error=type(error).__name__)
            raise errors.Unavailable("SHARD_DATABASE_UNREACHABLE", "the shard's database does not answer") from None

    async def balances(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the state of those of the accounts that are in the books."""
        return raw.states(await self.fetch(_LOAD_ACCOUNTS, numbers))

    async def facts(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return the slow-changing facts of accounts, without their balances."""
        found = await self._ask("check_payees", numbers)
        return {
            number: AccountState(number, currency, 0, restrictions, allowance=raw.allowance(ceiling))
            for number, currency, restrictions, ceiling in found
        }

    async def transfer(self, transfer_id: bytes) -> TransferRecord | None:
        """Return a transfer asked for or landed here."""
        found = await self._ask("transfers", [transfer_id], [])
        return _record(found[0]) if found else None

    async def refused_crossings(self, peer_id: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return numbers, first to last, of a peer's crossings that were refused here, with reasons."""
        return [(number, refusal) for number, refusal in await self._ask("refused_crossings", peer_id, first, last)]

    async def transfers_at(self, sequences: Sequence[int]) -> list[TransferRecord]:
        """Return the transfers that stand at sequences, newest first."""
        return [_record(row) for row in await self._ask("transfers", [], sequences)]

    async def trail(
        self,
        stretch: tuple[int, int],
        account_number: int,
        subject: str,
        channel: str,
        times_us: tuple[int, int],
        limit: int,
    ) -> list[Any]:
        """Return who asked for what after one sequence, up to another, within times; 0 and empty texts leave nothing out."""
        return await self._ask("list_trail", *stretch, account_number, subject, channel, *times_us, limit)

    async def transfer_after(self, sequence: int) -> int | None:
        """Return the sequence of the first transfer after a sequence."""
        found: int | None = (await self._ask("transfer_after", sequence))[0][0]
        return found

    async def due_holds(self, limit: int) -> list[bytes]:
        """Return open holds whose time has come, the oldest first."""
        return [row[0] for row in await self._ask("due_holds", limit)]

    async def hold(self, hold_id: bytes) -> tuple[Hold, str] | None:
        """Return a hold and the words it was placed with."""
        found = await self._ask("get_hold", hold_id)
        return (Hold(*found[0][:-1]), found[0][-1]) if found else None

    async def open_holds(self, account_number: int, limit: int) -> list[tuple[Hold, str]]:
        """Return an account's open holds with the words they were placed with, those that expire first first."""
        return [(Hold(*row[:-1]), row[-1]) for row in await self._ask("open_holds", account_number, limit)]

    async def status(self) -> Status:
        """Return how far the books are."""
        return Status(*(await self._ask("shard_status"))[0])
