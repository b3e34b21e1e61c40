"""How many look-ups are under way, and whether one more would be answered in time: beyond, it is refused at once.

Look-ups are bounded apart from transfers, so that neither a storm of "where is my payment?" nor a slow shard makes
all of them late or takes what transfers need. Each shard has its own count and pace, so that those who ask a silent
one keep nobody else out. They give way to transfers: the longer a shard's transfers wait, the fewer. While those that
will be read next take all the room that the shards have left, or too many are under way in all, a look-up is turned
away before it is read. Never here: what is looked up, or which calls are look-ups (`scopes.py`).
"""

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from services.domain import errors
from services.gateway import metrics
from services.gateway.coalescing import RETRY_AFTER_SECONDS_MAX, RETRY_AFTER_SECONDS_MIN
from services.transport.calls import Places

T = TypeVar("T")

ALWAYS_TAKEN: Final = 50
"""Look-ups of one shard at a time that are taken however slow it is: from them it is learned that it is quick again."""

TAKEN_BESIDE_A_FULL_QUEUE: Final = 4
"""Of one shard at a time, while its transfers have to wait as long as they may at most."""

GIVING_WAY: Final = 3
"""With this power of the room that a shard's queue has left, the room for its look-ups shrinks: where all share the same
processors, whoever waits in proportion only makes transfers wait for two thirds of what they may."""

PACE_LOOK_UPS: Final = 32
"""So many look-ups are looked back on."""

PACE_SECONDS_AT_FIRST: Final = 0.002
"""Taken for the pace of a shard of which too little was asked lately to tell: that of a busy machine."""

LEARNED_FROM: Final = ALWAYS_TAKEN // 2
"""With fewer beside it, a look-up says how long one takes, and nothing of how many are answered meanwhile."""

FORGOTTEN_SECONDS: Final = 1.0
"""A pace is no news after this: the storm in which it was learned may be over."""

SHARD_SHARE: Final = 4
"""One shard takes up a quarter of all places at most."""


class _Shard:
    """The look-ups of one shard."""

    __slots__ = ("full_metric", "learned_at", "pace_seconds", "shard_id", "under_way")

    def __init__(self, shard_id: int) -> None:
        self.shard_id = shard_id
        self.under_way = 0
        self.learned_at = -math.inf
        self.pace_seconds = PACE_SECONDS_AT_FIRST
        """Between two answers lately: what a look-up took, divided by how many were under way with it."""
        self.full_metric = metrics.DROPPED_ITEMS.labels("LookUps", str(shard_id), "queue_full")

    def wait_seconds(self) -> float:
        """Estimate how long one more takes."""
        return (self.under_way + 1) * self.pace_seconds


class LookUps:
    """The look-ups of one gateway process."""

    def __init__(
        self,
        number_max: int,
        seconds_max: float,
        now: Callable[[], float],
        fullness: Callable[[int], float] = lambda _shard_id: 0.0,
    ) -> None:
        """`now` gives seconds that only go forward; `fullness` how full a shard's queue of transfers is, from 0 to 1."""
        self._number_max = number_max
        self._seconds_max = seconds_max
        self._of_shard_max = max(ALWAYS_TAKEN, number_max // SHARD_SHARE)
        self._shards: dict[int, _Shard] = {}
        self._now = now
        self._fullness = fullness
        self.places = Places()
        """Of all that are under way, whatever and whomever they ask; the server counts."""

    def is_full(self, shard_ids: Iterable[int]) -> bool:
        """Tell whether one more would find no room at any shard; the first one that has enough ends the search."""
        if self.places.taken >= self._number_max:
            return True
        room = 0
        shard_id = 0
        for shard_id in shard_ids:
            room += self._room(self._shard(shard_id))
            if room > self.places.waiting:
                return False
        return shard_id > 0

    async def ask(self, shard_id: int, question: Callable[[int], Awaitable[T]]) -> T:
        """Put a question to a shard. Raises `Overloaded` (QUEUE_FULL) when it has too many already, or is too slow."""
        shard = self._shard(shard_id)
        if not self._room(shard):
            shard.full_metric.inc()
            seconds = min(max(shard.wait_seconds(), RETRY_AFTER_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX)
            raise errors.Overloaded("QUEUE_FULL", "too many look-ups wait for this shard", seconds)
        shard.under_way += 1
        beside, began = shard.under_way, self._now()
        try:
            return await question(shard_id)
        finally:
            shard.under_way -= 1
            if beside >= LEARNED_FROM:
                shard.learned_at = now = self._now()
                shard.pace_seconds += ((now - began) / beside - shard.pace_seconds) / PACE_LOOK_UPS

    def _shard(self, shard_id: int) -> _Shard:
        shard = self._shards.get(shard_id)
        if shard is None:
            shard = self._shards[shard_id] = _Shard(shard_id)
        return shard

    def _room(self, shard: _Shard) -> int:
        """Tell how many more a shard takes now."""
        if self._now() - shard.learned_at > FORGOTTEN_SECONDS:
            shard.pace_seconds = PACE_SECONDS_AT_FIRST
        in_time = self._seconds_max / shard.pace_seconds if shard.pace_seconds > 0 else self._of_shard_max
        left = (1 - self._fullness(shard.shard_id)) ** GIVING_WAY
        most = max(ALWAYS_TAKEN, min(self._of_shard_max, in_time)) * left
        return max(0, int(max(TAKEN_BESIDE_A_FULL_QUEUE, most)) - shard.under_way)
