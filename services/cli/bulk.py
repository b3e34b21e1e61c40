"""Many requests in few calls: several calls in flight, and what has no definite outcome is asked again.

Safe because each item carries its own id: repeating an item that was done gives its first outcome.
A lane is a row of items whose order matters; lanes run beside each other. Never here: what an item
is, or how it is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Final, Generic, TypeVar

from services.domain import errors, limits

ITEMS_PER_CALL: Final = 4_000
"""Half of what a call may carry: the next batch is on its way while this one commits."""

BYTES_PER_CALL: Final = limits.MESSAGE_BYTES_MAX // 2
"""Room for what the transport adds, and for an answer longer than its question."""

LANES: Final = 4
"""Calls in flight; enough to keep a gateway and a few shards busy from one client."""

PATIENCE_SECONDS: Final = 60.0
"""How long nothing at all may be decided before the rest is given up; a writer's failover takes a few."""

BACKOFF_SECONDS_MIN: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 2.0

NOT_DECIDED_YET: Final = (
    errors.Unavailable,
    errors.Overloaded,
    errors.WrongShard,
    errors.OutcomeUnknown,
    errors.DeadlinePassed,
)
"""Circumstances that pass: the same request, sent again, finds its outcome."""

_chance = SystemRandom()

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Done(Generic[Value_co]):
    """The definite yes."""

    value: Value_co


@dataclass(frozen=True, slots=True)
class No:
    """The definite no: it is not done, and asking again cannot change that."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """No definite outcome: not done, or done and not known. Asking again is safe."""

    reason: str
    message: str
    retry_after_seconds: float = 0.0


@dataclass(slots=True)
class _Progress:
    """When something was decided last, in the loop's seconds, and whether waiting was given up."""

    decided_at: float
    given_up: bool = False


def deal(items: Sequence[Item], key: Callable[[Item], object], lanes: int = LANES) -> list[list[Item]]:
    """Deal items to lanes: those of one key stay together and in order, and lanes are about equally long."""
    dealt: list[list[Item]] = [[] for _ in range(lanes)]
    lane_by_key: dict[object, list[Item]] = {}
    for item in items:
        lane = lane_by_key.get(name := key(item))
        if lane is None:
            lane = lane_by_key[name] = min(dealt, key=len)
        lane.append(item)
    return [lane for lane in dealt if lane]


def cut(lane: Sequence[Item], weigh: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    """Cut a lane into calls of at most `ITEMS_PER_CALL` items and `BYTES_PER_CALL` bytes, one item at least."""
    start = weight_bytes = 0
    for place, item in enumerate(lane):
        item_bytes = weigh(item)
        if place > start and (place - start == ITEMS_PER_CALL or weight_bytes + item_bytes > BYTES_PER_CALL):
            yield lane[start:place]
            start, weight_bytes = place, 0
        weight_bytes += item_bytes
    if lane:
        yield lane[start:]


async def settle(
    lanes: Sequence[Sequence[Item]],
    send: Callable[[Sequence[Item]], Awaitable[Sequence[Done[Value] | No | Undecided]]],
    record: Callable[[Item, Done[Value] | No | Undecided], None],
    *,
    weigh: Callable[[Item], int],
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Send all items and record one answer for each, exactly once; `weigh` tells an item's bytes on the wire.

    `Undecided` is recorded only when nothing was decided for `patience_seconds`. A `BankError` of a
    call that waiting cannot mend (a token, a malformed call) ends everything and is raised.
    """
    progress = _Progress(asyncio.get_running_loop().time())

    async def run_lane(lane: Sequence[Item]) -> None:
        for items in cut(lane, weigh):
            await _settle_call(items, send, record, progress, patience_seconds)

    try:
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(run_lane(lane))
    except ExceptionGroup as failures:
        bugs = [failure for failure in failures.exceptions if not isinstance(failure, errors.BankError)]
        raise (bugs or failures.exceptions)[0] from None


async def _settle_call(
    items: Sequence[Item],
    send: Callable[[Sequence[Item]], Awaitable[Sequence[Done[Value] | No | Undecided]]],
    record: Callable[[Item, Done[Value] | No | Undecided], None],
    progress: _Progress,
    patience_seconds: float,
) -> None:
    """Send one call's items until each has a definite outcome or patience ends."""
    loop = asyncio.get_running_loop()
    answer: Done[Value] | No | Undecided = Undecided("NOT_SENT", "not sent: the bank stopped answering before")
    pending = [(item, answer) for item in items]
    backoff_seconds = BACKOFF_SECONDS_MIN
    while pending and not progress.given_up:
        answers = await _send([item for item, _ in pending], send)
        undecided: list[tuple[Item, Done[Value] | No | Undecided]] = []
        wait_seconds = 0.0
        for (item, _), answer in zip(pending, answers, strict=True):
            if isinstance(answer, Undecided):
                undecided.append((item, answer))
                wait_seconds = max(wait_seconds, answer.retry_after_seconds)
            else:
                record(item, answer)
        if len(undecided) < len(pending):
            progress.decided_at = loop.time()
            backoff_seconds = BACKOFF_SECONDS_MIN
        pending = undecided
        if not pending:
            return
        if loop.time() - progress.decided_at > patience_seconds:
            progress.given_up = True
            break
        await asyncio.sleep(max(wait_seconds, _chance.uniform(backoff_seconds / 2, backoff_seconds)))
        backoff_seconds = min(backoff_seconds * 2, BACKOFF_SECONDS_MAX)
    for item, answer in pending:
        record(item, answer)


async def _send(
    items: Sequence[Item], send: Callable[[Sequence[Item]], Awaitable[Sequence[Done[Value] | No | Undecided]]]
) -> Sequence[Done[Value] | No | Undecided]:
    """Send one call; a circumstance that passes is the answer of every item."""
    try:
        return await send(items)
    except NOT_DECIDED_YET as error:
        retry_after_seconds = error.retry_after_seconds if isinstance(error, errors.Overloaded) else 0.0
        return [Undecided(error.reason, error.message, retry_after_seconds)] * len(items)
