"""Concurrent calls share one call to a ledger, so that a shard's cost is paid per batch.

Each shard has lanes. What arrives while nothing of its lane is under way leaves at once; what arrives
meanwhile leaves together, in the order of arrival, when the call under way is answered or when enough
of it waits to fill a call of its own. There is no timer: an idle bank sends a single transfer alone.
Lanes keep what waits for a peer shard from holding up what does not. Every wait is bounded: a queue that
is full, or so long that it would be waited in for more than `wait_seconds_max`, refuses at once, unless no more
than a few loads are unanswered. Whom it would answer too late it refuses, too, and a caller's deadline answers
that caller even when a call to the ledger hangs. A ledger that is slow gets fewer calls at a time: what is under way
is waited for as well.

Never here: what is carried, or which errors are worth another attempt.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Generic, TypeVar

from services.chassis import requests, tracing
from services.domain import errors
from services.gateway import metrics

Load = TypeVar("Load")
Answer = TypeVar("Answer")

RETRY_AFTER_SECONDS_MIN: Final = 0.05
RETRY_AFTER_SECONDS_MAX: Final = 5.0

CALL_SECONDS_WANTED: Final = 0.2
"""Longer calls are made fewer at a time, and each with as many items as take half of it: what is under way is waited for, too."""
SLOWER_CALLS: Final = 2
FASTER_CALLS: Final = 8
ITEM_CALLS: Final = 8
STALL_FACTOR: Final = 4
"""So many calls are looked back on: trouble is believed sooner than that it is over. What is under way is believed to take at
most so many times as long as before: one stall of the machine refuses nobody, a slow shard is known after a few calls."""
CALLS_IN_FLIGHT_MIN: Final = 2
"""However slow a ledger is: one is under way while the next one waits there."""

READ_PATIENCE: Final = 1.5
"""Who was let in and read is refused only when the queue has become so much longer than whoever comes may find it:
the work is done, and thrown away it would be done again. And whoever brings much may find as much."""

FEW_LOADS: Final = 4
"""Unanswered by a shard, the one that comes among them: what two callers bring, in two lanes each. However much it is, and
however long the shard may take, they are no overload."""

Send = Callable[[int, list[Load], float], Awaitable[Sequence[Answer | errors.BankError]]]
"""Carries loads to a shard by a deadline (loop time): one answer or error for each."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait and travel, for each shard."""

    queued_items_max: int
    """Items that wait for a call slot of one shard; beyond, callers are refused at once, unless theirs are few loads."""
    call_items_max: int
    """Items put together into one call; a single larger load still travels, alone."""
    full_call_items: int
    """Items that are worth a call of their own while others are under way; so many may always wait."""
    calls_in_flight_max: int
    """Calls of one lane at the same time."""
    wait_seconds_max: float
    """How long items may wait for a call slot, as estimated when they come."""
    few_loads: int = FEW_LOADS
    """Loads, those that come and those under way, that are never too many."""


class _Parcel(Generic[Load, Answer]):
    """One caller's load, waiting or under way."""

    __slots__ = ("deadline", "is_sent", "load", "origin", "request_id", "size", "waiter")

    def __init__(self, load: Load, size: int, deadline: float, waiter: "asyncio.Future[Answer | Exception]") -> None:
        self.load = load
        self.size = size
        self.deadline = deadline
        self.waiter = waiter
        self.is_sent = False
        self.request_id = requests.current()
        self.origin = tracing.origin()

    def settle(self, answer: Answer | Exception) -> None:
        if not self.waiter.done():
            self.waiter.set_result(answer)


class _Lane(Generic[Load, Answer]):
    """What waits in one lane of one shard."""

    __slots__ = ("calls_in_flight", "is_woken", "waiting", "waiting_items")

    def __init__(self) -> None:
        # Ordered, because callers that give up leave from the middle.
        self.waiting: OrderedDict[_Parcel[Load, Answer], None] = OrderedDict()
        self.waiting_items = 0
        self.calls_in_flight = 0
        self.is_woken = False


class _Shard(Generic[Load, Answer]):
    """The lanes of one shard, what waits in all of them, and its metrics, bound once."""

    def __init__(self, shard_id: int, method: str) -> None:
        labels = (method, str(shard_id))
        self.shard_id = shard_id
        self.lanes: dict[int, _Lane[Load, Answer]] = {}
        self.queued_items = 0
        self.loads = 0
        """Waiting or under way."""
        self.call_seconds = RETRY_AFTER_SECONDS_MIN
        self.item_seconds = 0.0
        """What one item takes of calls that have enough of them; 0 until there was such a call."""
        self.busy_seconds = self.busy_items = 0.0
        """What the last of those calls took together, one after the other, and their items."""
        self.answered_at = 0.0
        """When the last of them was answered."""
        self.items_under_way = 0
        self.queued_metric = metrics.QUEUED_ITEMS.labels(*labels)
        self.queued_metric.set_function(lambda: self.queued_items)
        self.items_metric = metrics.SHARED_CALL_ITEMS.labels(*labels)
        self.seconds_metric = metrics.SHARED_CALL_SECONDS.labels(*labels)
        self.full_metric = metrics.DROPPED_ITEMS.labels(*labels, "queue_full")
        self.deadline_metric = metrics.DROPPED_ITEMS.labels(*labels, "deadline")
        self.gone_metric = metrics.DROPPED_ITEMS.labels(*labels, "caller_gone")


class Coalescer(Generic[Load, Answer]):
    """Lets concurrent loads share calls of one method. Made inside the running event loop."""

    def __init__(
        self, method: str, send: Send[Load, Answer], bounds: Bounds, late: Callable[[], errors.BankError]
    ) -> None:
        """`late` makes the error of a caller whose deadline comes while its call is under way."""
        self._method = method
        self._send = send
        self._bounds = bounds
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._shards: dict[int, _Shard[Load, Answer]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, shard_id: int, lane_id: int, load: Load, size: int, deadline: float) -> Answer:
        """Carry a load of `size` items to a shard and return its own answer, by `deadline` (loop time).

        Raises what the ledger raised for the call it shared or for this load alone; `Overloaded`
        (QUEUE_FULL: no room, too long a queue, or no hope of an answer in time) or `DeadlinePassed` when nothing was
        sent; `late` when it was sent and the deadline came first.
        """
        shard = self._shards.get(shard_id)
        if shard is None:
            shard = self._shards[shard_id] = _Shard(shard_id, self._method)
        if deadline <= self._loop.time():
            shard.deadline_metric.inc(size)
            raise _passed()
        if self._is_full(shard, size, deadline - self._loop.time()):
            shard.full_metric.inc(size)
            raise self._overloaded(shard)
        lane = shard.lanes.get(lane_id)
        if lane is None:
            lane = shard.lanes[lane_id] = _Lane()
        parcel: _Parcel[Load, Answer] = _Parcel(load, size, deadline, self._loop.create_future())
        lane.waiting[parcel] = None
        lane.waiting_items += size
        shard.queued_items += size
        shard.loads += 1
        self._wake(shard, lane)
        timer = self._loop.call_at(deadline, self._expire, parcel)
        try:
            answer = await parcel.waiter
        finally:
            timer.cancel()
            if not parcel.is_sent:
                del lane.waiting[parcel]
                lane.waiting_items -= size
                shard.queued_items -= size
                shard.loads -= 1
                gave_up = not parcel.waiter.done() or parcel.waiter.cancelled()
                (shard.gone_metric if gave_up else shard.deadline_metric).inc(size)
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)  # Shared by the callers of one call: no tail of theirs.
        return answer

    def is_full(self, shard_ids: Iterable[int], coming_items: float = 0.0) -> bool:
        """Tell whether each of the bank's shards refuses whatever comes; the first that does not ends the search.

        `coming_items` will be in the queues before, of all shards alike.
        """
        shards = self._shards
        coming = coming_items / max(1, len(shards))
        for shard_id in shard_ids:
            shard = shards.get(shard_id)
            if shard is None or not self._is_full(shard, 1, coming=coming):
                return False
        return bool(shards)

    def fullness(self, shard_id: int) -> float:
        """Tell how full a shard's queue is: what waits takes this part of the time that it may; from 0 to 1."""
        shard = self._shards.get(shard_id)
        if shard is None:
            return 0.0
        return min(1.0, shard.queued_items * shard.item_seconds / self._bounds.wait_seconds_max)

    async def close(self) -> None:
        """Give up the calls under way; their callers get `late`."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _wake(self, shard: _Shard[Load, Answer], lane: _Lane[Load, Answer]) -> None:
        """Let what waits leave, once everything that arrives in this turn of the loop is there."""
        if not lane.is_woken and self._may_depart(shard, lane):
            lane.is_woken = True
            self._loop.call_soon(self._depart, shard, lane)

    def _may_depart(self, shard: _Shard[Load, Answer], lane: _Lane[Load, Answer]) -> bool:
        """Tell whether the lane is idle, or enough waits in it and it has room for one more call."""
        calls = lane.calls_in_flight
        return not calls or (
            lane.waiting_items >= self._bounds.full_call_items and calls < self._calls_in_flight_max(shard)
        )

    def _calls_in_flight_max(self, shard: _Shard[Load, Answer]) -> int:
        """Tell how many calls of one lane a shard gets at a time, by how long they took lately."""
        usual = self._bounds.calls_in_flight_max
        if shard.call_seconds <= CALL_SECONDS_WANTED:
            return usual
        return min(usual, max(CALLS_IN_FLIGHT_MIN, int(usual * CALL_SECONDS_WANTED / shard.call_seconds)))

    def _call_items_max(self, shard: _Shard[Load, Answer]) -> float:
        """Tell how many items may share a call: no more than take a part of the time that calls may take together."""
        bounds = self._bounds
        if not shard.item_seconds:
            return bounds.call_items_max
        in_time = CALL_SECONDS_WANTED / CALLS_IN_FLIGHT_MIN / shard.item_seconds
        return min(bounds.call_items_max, max(bounds.full_call_items, in_time))

    def _depart(self, shard: _Shard[Load, Answer], lane: _Lane[Load, Answer]) -> None:
        """Send what waits, as far as it may leave now."""
        lane.is_woken = False
        while lane.waiting and self._may_depart(shard, lane):
            parcels = self._load_up(shard, lane)
            if not parcels:
                return
            lane.calls_in_flight += 1
            shard.items_under_way += sum([parcel.size for parcel in parcels])
            call = self._loop.create_task(self._carry(shard, lane, parcels))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _load_up(self, shard: _Shard[Load, Answer], lane: _Lane[Load, Answer]) -> list[_Parcel[Load, Answer]]:
        """Take the next parcels that travel together, leaving those whose callers no longer wait."""
        parcels: list[_Parcel[Load, Answer]] = []
        size = 0
        size_max = self._call_items_max(shard)
        now = self._loop.time()
        for parcel in lane.waiting:
            if parcel.waiter.done() or parcel.deadline <= now:
                continue
            if parcels and size + parcel.size > size_max:
                break
            parcels.append(parcel)
            size += parcel.size
        for parcel in parcels:
            del lane.waiting[parcel]
            parcel.is_sent = True
        lane.waiting_items -= size
        shard.queued_items -= size
        return parcels

    async def _carry(
        self, shard: _Shard[Load, Answer], lane: _Lane[Load, Answer], parcels: list[_Parcel[Load, Answer]]
    ) -> None:
        """Make one call and hand out its answers; whatever it raises is every caller's answer."""
        began = perf_counter()
        answers: Sequence[Answer | Exception] = ()
        try:
            requests.become(parcel.request_id for parcel in parcels)
            with tracing.span(self._method, (parcel.origin for parcel in parcels)):
                answers = await self._send(
                    shard.shard_id, [parcel.load for parcel in parcels], max(parcel.deadline for parcel in parcels)
                )
            assert len(answers) == len(parcels)
        except asyncio.CancelledError:
            answers = [self._late() for _ in parcels]
            raise
        except Exception as error:  # noqa: BLE001
            answers = [error] * len(parcels)
        finally:
            for parcel, answer in zip(parcels, answers, strict=True):
                parcel.settle(answer)
            seconds = perf_counter() - began
            size = sum([parcel.size for parcel in parcels])
            self._learn(shard, size, began, seconds)
            shard.seconds_metric.observe(seconds)
            shard.items_metric.observe(size)
            shard.items_under_way -= size
            shard.loads -= len(parcels)
            lane.calls_in_flight -= 1
            self._wake(shard, lane)

    def _learn(self, shard: _Shard[Load, Answer], size: int, began: float, seconds: float) -> None:
        """Note how long a call took, and its items: from when the ledger was done with the call before it.

        Calls are often answered several at a time, the first of them after the time of all: only sums tell.
        """
        shard.call_seconds += (seconds - shard.call_seconds) / (
            SLOWER_CALLS if seconds > shard.call_seconds else FASTER_CALLS
        )
        ended, usual = began + seconds, shard.item_seconds
        elapsed = ended - max(began, shard.answered_at)
        if size < self._bounds.full_call_items and elapsed >= usual * size:
            return  # A call costs something, too.
        shard.answered_at = ended
        if usual:
            elapsed = min(elapsed, STALL_FACTOR * usual * shard.items_under_way)
        kept = 1 - 1 / ITEM_CALLS
        shard.busy_seconds = shard.busy_seconds * kept + elapsed
        shard.busy_items = shard.busy_items * kept + size
        shard.item_seconds = shard.busy_seconds / shard.busy_items

    def _expire(self, parcel: _Parcel[Load, Answer]) -> None:
        parcel.settle(self._late() if parcel.is_sent else _passed())

    def _is_full(
        self, shard: _Shard[Load, Answer], size: int, seconds: float | None = None, coming: float = 0.0
    ) -> bool:
        """Tell whether a load of so many items has no room, or no hope of an answer within so many seconds.

        Without `seconds` it is one that comes, and has not been read.
        """
        bounds = self._bounds
        queued = shard.queued_items + coming
        is_one_of_few = seconds is not None and shard.loads < bounds.few_loads
        if queued and queued + size > bounds.queued_items_max and not is_one_of_few:
            return True
        if queued < bounds.full_call_items:
            return False
        # It would wait until nobody wants its answer, in the way of those that can still be answered.
        wait_seconds = queued * shard.item_seconds
        if seconds is None:
            return wait_seconds > bounds.wait_seconds_max
        if wait_seconds + shard.call_seconds > seconds:
            return True
        patience = max(READ_PATIENCE * bounds.wait_seconds_max, size * shard.item_seconds)
        return wait_seconds > patience and not is_one_of_few

    def _overloaded(self, shard: _Shard[Load, Answer]) -> errors.Overloaded:
        """Refuse, with the time that the calls ahead will roughly take as the retry hint."""
        seconds = shard.queued_items * shard.item_seconds + shard.call_seconds
        seconds = min(max(seconds, RETRY_AFTER_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX)
        return errors.Overloaded("QUEUE_FULL", "too much waits for this shard; nothing was sent", seconds)


def _passed() -> errors.DeadlinePassed:
    return errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came before anything was sent")
