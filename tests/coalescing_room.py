"""A coalescer with callers before it and a ledger behind it that answers when a test says so."""

import asyncio
from collections.abc import Sequence

import pytest

from services.domain import errors
from services.domain.errors import BankError
from services.gateway.coalescing import Bounds, Coalescer

LATE = errors.OutcomeUnknown("OUTCOME_UNKNOWN", "no answer came")
FAR = 60.0


class Ledger:
    """What the coalescer sends to: every call waits until the test answers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[str], float]] = []
        self.answers: list[asyncio.Future[Sequence[str | BankError]]] = []

    async def send(self, shard_id: int, loads: list[str], deadline: float) -> Sequence[str | BankError]:
        answer: asyncio.Future[Sequence[str | BankError]] = asyncio.get_running_loop().create_future()
        self.calls.append((shard_id, loads, deadline))
        self.answers.append(answer)
        return await answer

    @property
    def loads(self) -> list[list[str]]:
        return [loads for _, loads, _ in self.calls]

    def answer(self, call: int) -> None:
        """Answer every load of a call with itself, in capitals."""
        self.answers[call].set_result([load.upper() for load in self.loads[call]])


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A coalescer, the ledger behind it and the callers before it."""

    def __init__(
        self,
        *,
        queued: int = 100,
        together: int = 10,
        full: int = 4,
        in_flight: int = 1,
        patience: float = FAR,
        few: int = 0,
    ) -> None:
        self.ledger = Ledger()
        self.coalescer: Coalescer[str, str] = Coalescer(
            "Test", self.ledger.send, Bounds(queued, together, full, in_flight, patience, few), lambda: LATE
        )

    async def answer_one(self) -> None:
        """Let the shard have answered somebody before."""
        caller = self.submit("a")
        await self.answer_all()
        await caller

    async def answer_all(self) -> None:
        """Answer every call, those that leave then included."""
        answered = -1
        while answered < len(self.ledger.answers):
            answered = len(self.ledger.answers)
            for call, answer in enumerate(self.ledger.answers):
                if not answer.done():
                    self.ledger.answer(call)
            await settled()

    def believe(self, item_seconds: float, shard: int = 1) -> None:
        """Have so long calls been seen that they are believed for a while."""
        seen = self.coalescer._shards[shard]
        seen.busy_items = 1e9
        seen.busy_seconds = item_seconds * seen.busy_items
        seen.item_seconds = item_seconds

    def submit(
        self, load: str, *, shard: int = 1, lane: int = 1, size: int = 1, seconds: float = FAR
    ) -> asyncio.Task[str]:
        deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.create_task(self.coalescer.submit(shard, lane, load, size, deadline))


async def reason_of(caller: asyncio.Task[str]) -> str:
    with pytest.raises(BankError) as raised:
        await caller
    return raised.value.reason
