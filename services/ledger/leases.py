"""Who should write a shard: a lease that its holder renews and that standbys wait for.

A lease is over when it was given back, when its holder's session is gone, or when a standby has seen it unchanged for
as long as it is worth, by the standby's own monotonic clock. No wall clock is asked: one that is set back would keep a
silent holder's lease for hours, one that is set forward would take the lease from a holder that is well. Never here:
that only one can write, which is the fence's doing (`store.py`).
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from services.chassis import postgres, queries

SQL: Final = queries.load("services.ledger")


class Seen(NamedTuple):
    """A lease as somebody saw it."""

    expire_time_us: int
    """Another one after each renewal, and that is all that a standby reads from it."""
    seconds: float | None
    """How long it is worth unrenewed; None when a release wrote it that did not say so."""


class Patience:
    """How long a standby has seen the same lease. `clock` is monotonic, in seconds; `seconds` serves where none are said."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._seen: Seen | None = None
        self._since = 0.0

    def see(self, lease: Seen) -> None:
        """Take note of an answer: the lease was like that before now."""
        if lease != self._seen:
            self._seen, self._since = lease, self._clock()

    @property
    def over(self) -> int | None:
        """The expire time of the lease that will have lasted too long if it is still there when asked; else None.

        Counted from an answer to a question, so never for more than the lease has really been there.
        """
        if self._seen is None or self._clock() - self._since < (self._seen.seconds or self._seconds):
            return None
        return self._seen.expire_time_us


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
