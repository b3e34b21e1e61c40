"""Moves of accounts between products, as one shard keeps them: begun, done, refused, and in which order.

Never here: what a move does (`moving.py`).
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID

from services.account.database import SQL, Database
from services.domain.products import Reference


class MoveState(IntEnum):
    """Where a move is; all but BEGUN are for ever."""

    BEGUN = 1
    DONE = 2
    REFUSED = 3


class Move(NamedTuple):
    """One account's move from a version of a product to another; `request_id` is 16 bytes."""

    request_id: bytes
    account_number: int
    fingerprint: int
    before: Reference
    after: Reference
    state: int
    refusal: int
    """The books' refusal code; 0 when there is none."""
    reason: str
    channel: str
    subject: str


class Moves:
    """Reads and writes moves of one shard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, request_id: bytes) -> Move | None:
        """Return a move by its request id."""
        rows = await self._database.fetch("find_move", UUID(bytes=request_id))
        return _move(rows[0]) if rows else None

    async def begin(self, move: Move) -> None:
        """Begin a move from whatever the account has now, unless its id is known or another is under way."""
        await self._database.execute(
            "begin_move",
            UUID(bytes=move.request_id),
            move.account_number,
            move.fingerprint,
            *move.after,
            move.reason,
            move.channel,
            move.subject,
        )

    async def finish(self, request_id: bytes) -> None:
        """Give the account its new product, and the move its place in the order of moves."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SQL["lock_moves"])
            await connection.execute(SQL["finish_move"], UUID(bytes=request_id))

    async def refuse(self, request_id: bytes, refusal: int) -> None:
        """End a move that the books refused."""
        await self._database.execute("refuse_move", UUID(bytes=request_id), refusal)

    async def stale(self, older_than_seconds: float, limit: int) -> list[Move]:
        """Return moves begun long ago that have not ended, the oldest first."""
        return [_move(row) for row in await self._database.fetch("stale_moves", older_than_seconds, limit)]

    async def through(self) -> int:
        """Tell the place of the last move done."""
        through: int = await self._database.fetch_value("moves_through")
        return through

    async def after(self, sequence: int, limit: int) -> Sequence[tuple[int, int]]:
        """Return places and accounts of moves done after a place, in order."""
        return [(row[0], row[1]) for row in await self._database.fetch("moves_after", sequence, limit)]


def _move(row: Any) -> Move:
    return Move(
        row["request_id"].bytes,
        row["account_number"],
        row["fingerprint"],
        Reference(row["from_code"], row["from_version"]),
        Reference(row["to_code"], row["to_version"]),
        row["state"],
        row["refusal"],
        row["reason"],
        row["channel"],
        row["subject"],
    )
