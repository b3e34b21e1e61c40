"""A second connection of the writer's, which reads accounts for the next batch while the first one writes.

What it reads is believed only where the books end no earlier than the writer's and are of its epoch: a server
that lost its place answers, too. Whatever goes wrong here costs nothing but time: the batch loads its accounts
in its turn. Never here: writing, deciding, what the accounts are needed for.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from services.chassis import postgres, queries
from services.ledger import raw
from services.ledger.books import AccountState

SQL: Final = queries.load("services.ledger")

LOAD_SECONDS_MAX: Final = 1.0
"""As long as a batch may wait for what was begun for it; some 10 us per account are usual."""

REST_SECONDS: Final = 5.0
"""How long it is left alone after a failure."""

Loading = asyncio.Task[dict[int, AccountState] | None]


class Beside:
    """Loads accounts, one lot at a time; connects when it is first asked."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._loading: Loading | None = None
        self._rests_until = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether it is left alone for a while, because it failed."""
        return asyncio.get_running_loop().time() < self._rests_until

    def load_accounts(self, numbers: Sequence[int], last_sequence: int, epoch: int) -> Loading | None:
        """Begin to load accounts as the books have them at a sequence or later, with the writer's epoch.

        The task gives those that are in the books, or None when it failed. None at once when it is busy or rests.
        """
        if self._loading is not None and not self._loading.done():
            return None
        if self.is_resting:
            return None
        self._loading = asyncio.get_running_loop().create_task(self._load(numbers, last_sequence, epoch))
        return self._loading

    def drop(self) -> None:
        """Cut the connection without ceremony, and give up what it loads."""
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None
        self._cut()

    def _cut(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _load(self, numbers: Sequence[int], last_sequence: int, epoch: int) -> dict[int, AccountState] | None:
        try:
            async with asyncio.timeout(LOAD_SECONDS_MAX):
                if self._connection is None:
                    self._connection = await self._connect()
                # First the head: what is read after it is no older.
                seen = await self._connection.fetchrow(SQL["see_head"])
                if seen["writer_epoch"] == epoch and seen["last_sequence"] >= last_sequence:
                    return raw.states(await self._connection.fetch(SQL["load_accounts"], numbers))
        except postgres.ERRORS:  # A time-out is among them, as an OSError.
            pass
        self._cut()
        self._rests_until = asyncio.get_running_loop().time() + REST_SECONDS
        return None

    async def _connect(self) -> Any:
        connection = await postgres.connect(
            self._dsn, application="hivecore-ledger-read-ahead", statement_seconds=2 * LOAD_SECONDS_MAX, only_reads=True
        )
        await raw.speak_raw(connection)
        return connection
