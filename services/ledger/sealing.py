"""Seals the journal from the side: block after block of what was committed, each on top of the last.

Only the writer's process seals, on a connection of its own, in pieces of a few milliseconds and never for longer
than a share of the time, so that sealing falls behind under a storm and catches up after it; how far is at /metrics. Two
that seal at once do no harm: a sequence has one block, and both would write the same. Never here: how a
hash is made (`chain.py`), who proves it (`audit_chain.py`).
"""

import time
from typing import Final

import asyncpg

from services.chassis import logs, postgres, queries
from services.domain import chart, limits
from services.ledger import chain, metrics
from services.ledger.pacing import Pace

SQL: Final = queries.load("services.ledger", "chain.sql")

SEAL_SECONDS_DEFAULT: Final = 5.0

BLOCK_SEQUENCES_MAX: Final = 4_096
"""Sequences of one block: some 130 KiB of digests, and what an inserted row makes one look through."""

PIECE_SEQUENCES_MAX: Final = 256
"""Sequences digested by one statement, some 6 ms of PostgreSQL; as cheap for each as a whole block at once."""

SEAL_SHARE_MAX: Final = 0.1
"""Of the time that sealing may take while there is more to seal."""

STATEMENT_SECONDS_MAX: Final = 30.0

TELL_SECONDS: Final = 60.0
"""How often the last hash is logged while it moves: a log that lies elsewhere keeps it from being rewritten."""

_log = logs.get(__name__)


class Sealer:
    """Seals one shard's journal; looks every so many seconds whether there is more."""

    def __init__(
        self,
        shard_id: int,
        dsn: str,
        seconds: float = SEAL_SECONDS_DEFAULT,
        block_sequences_max: int = BLOCK_SEQUENCES_MAX,
    ) -> None:
        self.shard_id = shard_id
        self._dsn = dsn
        self._seconds = seconds
        self._block_sequences_max = block_sequences_max
        self._connection: asyncpg.Connection | None = None
        self._pace = Pace(SEAL_SHARE_MAX, metrics.SEAL_SECONDS.labels(str(shard_id)).inc)
        self._told_at = 0.0
        self._unsealed = metrics.UNSEALED_SEQUENCES.labels(str(shard_id))
        self._sealed = metrics.SEALED_SEQUENCES.labels(str(shard_id))

    async def run(self) -> None:
        """Seal for ever; a database that does not answer is asked again later."""
        try:
            while True:
                try:
                    is_behind = await self.seal_block()
                except postgres.ERRORS as error:
                    _log.warning("journal_not_sealed", shard=self.shard_id, error=type(error).__name__)
                    self._drop()
                    is_behind = False
                await self._pace.rest(0.0 if is_behind else self._seconds)
        finally:
            self._drop()

    async def seal_block(self) -> bool:
        """Seal the next block, if there is anything to seal; tell whether there is more than that.

        Rests between its pieces, and holds no snapshot meanwhile: what is sealed never changes, and a snapshot would keep
        the old versions of the writer's head from being cleaned. Raises what the driver raises when the database cannot be asked.
        """
        connection = await self._connected()
        head = await connection.fetchval(SQL["head"])
        last = await connection.fetchrow(SQL["last_seal"])
        sealed_through, previous_hash = last or (0, chain.GENESIS)
        self._unsealed.set(max(0, head - sealed_through))
        if head <= sealed_through:
            return False
        end = min(head, sealed_through + self._block_sequences_max)
        seal = await self._block(connection, sealed_through + 1, end, previous_hash)
        is_new = await connection.fetchval(SQL["put_seal"], *seal)
        if is_new:
            self._sealed.inc(end - sealed_through)
            self._unsealed.set(head - end)
            self._tell(seal)
        return bool(head > end)

    async def _block(self, connection: asyncpg.Connection, first: int, last: int, previous_hash: bytes) -> chain.Seal:
        with self._pace.working():
            pairs = await connection.fetch(SQL["block_transits"], first, last)
        transits = [chart.transit_account(self.shard_id, *pair) for pair in pairs]
        leaves: list[bytes] = []
        row_count = 0
        for piece_first in range(first, last + 1, PIECE_SEQUENCES_MAX):
            if leaves:
                await self._pace.rest()
            piece_last = min(last, piece_first + PIECE_SEQUENCES_MAX - 1)
            with self._pace.working():
                piece = (piece_first, piece_last, transits, limits.CROSSINGS_PER_CALL_MAX)
                row = await connection.fetchrow(SQL["block_leaves"], *piece)
            assert row is not None
            leaves.append(row["leaves"])
            row_count += row["row_count"]
        return chain.seal(first, last, row_count, previous_hash, b"".join(leaves))

    def _tell(self, seal: chain.Seal) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            _log.info("sealed", shard=self.shard_id, sequence=seal.last_sequence, hash=seal.hash.hex())

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await postgres.connect(
                self._dsn, application="hivecore-ledger-seal", statement_seconds=STATEMENT_SECONDS_MAX
            )
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
