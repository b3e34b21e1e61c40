"""Callers of a shard that has no fault, at a steady pace, and how they fare: before a fault and during it.

Never here: faults.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from crowd import Crowd

PER_SECOND = 20

DEADLINE_SECONDS = 10.0
"""Long: how slow it was is measured; what takes longer was held up by the fault."""


class Neighbours:
    """Attempts at transfers within one shard. Made by `at_work`."""

    def __init__(self, people: Crowd, shard_id: int) -> None:
        self._people = people
        self._shard_id = shard_id
        self._seconds: dict[str, list[float]] = {}
        self._problems: dict[str, list[str]] = {}
        self.enter("before")

    def enter(self, phase: str) -> None:
        """Count what begins from now on under another name."""
        self._phase = phase
        self._seconds.setdefault(phase, [])
        self._problems.setdefault(phase, [])

    def attempts(self, phase: str) -> int:
        """Count a phase's attempts."""
        return len(self._seconds[phase])

    def problems(self, phase: str) -> list[str]:
        """Give the answers without an outcome."""
        return self._problems[phase]

    def describe(self, phase: str) -> str:
        """Put a phase into words."""
        ordered = sorted(self._seconds[phase])
        p50, p99 = (ordered[ceil(len(ordered) * part) - 1] * 1000 for part in (0.5, 0.99))
        problems = self._problems[phase]
        return f"{phase} {len(ordered)} calls, {len(problems)} without an outcome, p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    async def _pay(self) -> None:
        people = self._people
        payer, payee = people.chance.sample(people.accounts[self._shard_id], 2)
        wish = people.wish(self._shard_id, [(payer, payee, 1)])
        phase = self._phase
        people.journal.asking([wish])
        began = asyncio.get_running_loop().time()
        (answer,) = await people.door.post([wish.transfer], DEADLINE_SECONDS)
        self._seconds[phase].append(asyncio.get_running_loop().time() - began)
        people.journal.answered(wish, answer)
        if not answer.is_definite:
            self._problems[phase].append(answer.problem)
            await people.settle([wish])

    async def _work(self, calls: asyncio.TaskGroup) -> None:
        while True:
            calls.create_task(self._pay())
            await asyncio.sleep(1 / PER_SECOND)


@asynccontextmanager
async def at_work(people: Crowd, shard_id: int) -> AsyncIterator[Neighbours]:
    """Let them call for the length of the context, then wait for their outcomes."""
    neighbours = Neighbours(people, shard_id)
    async with asyncio.TaskGroup() as calls:
        work = calls.create_task(neighbours._work(calls))
        try:
            yield neighbours
        finally:
            work.cancel()
