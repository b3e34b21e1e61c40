"""Sends the calls of one phase and looks after their answers.

A call has no task of its own, which would cost the generator a part of the machine that it shares with the bank. Never
here: what is in a call, and when it is due (`offering.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Final, TypeAlias

from loadtest.client import ERROR, UNKNOWN, Outcome
from loadtest.journal import ASK_AGAIN
from loadtest.lean_client import LeanClient
from loadtest.overload.report import Answered, Phase
from loadtest.workload import Payment

METHOD: Final = "PostTransfers"
REST_STEP_SECONDS: Final = 0.005
"""How often answers are looked at when nothing is due any more; when they came is noted before."""

Post: TypeAlias = Callable[[bytes, int], Awaitable[list[Outcome]]]
"""Sends a request of so many transfers."""
Drawn: TypeAlias = tuple[str, Sequence[Payment]]
"""A call's transfers: how their ids begin, and what is paid."""
UnderWay: TypeAlias = asyncio.Future[Any]
"""A call that has been sent; its door says what came of it."""


class Door:
    """Sends requests over the connections of lean clients in turns, or as `post` does where there are none."""

    def __init__(self, clients: Sequence[LeanClient], post: Post) -> None:
        self.post = post
        self._clients = clients
        self._turns = cycle(clients)

    def begin(self, request: bytes, count: int) -> UnderWay:
        """Send a request of so many transfers."""
        client = next(self._turns, None)
        if client is None:
            return asyncio.ensure_future(self.post(request, count))
        begun = client.begin(METHOD, request)
        # Whoever has to connect first waits for that in a task.
        return begun if begun is not None else asyncio.ensure_future(client.post_many(request, count))

    def told(self, under_way: UnderWay, count: int) -> list[Outcome]:
        """Tell what became of a request that has been answered, or will not be."""
        if isinstance(under_way, asyncio.Task):
            outcomes: list[Outcome] = under_way.result()
            return outcomes
        return self._clients[0].told(METHOD, under_way, count)


@dataclass(slots=True)
class _Call:
    """One call, sent once or again."""

    drawn: Drawn
    request: bytes
    due: float
    """Seconds from the phase's start."""
    began: float = 0.0
    """When it was sent last, by the monotonic clock."""
    attempts: int = 0
    left_a_doubt: bool = False


class Sending:
    """The calls of one phase. Made when it begins."""

    def __init__(self, door: Door, phase: Phase, retries: int) -> None:
        """Begin; a call that is refused as a whole will be sent again at once, up to `retries` times."""
        self.begin = time.monotonic()
        self.told: list[tuple[Drawn, Sequence[Outcome]]] = []
        """Calls of which something is or may be in the books."""
        self.undecided: list[Drawn] = []
        """Calls that left a doubt."""
        self._door = door
        self._phase = phase
        self._retries = retries
        self._under_way: set[UnderWay] = set()
        self._come: list[tuple[_Call, UnderWay, float]] = []
        """Answers that nobody has looked at, and when they came."""

    @property
    def in_flight(self) -> int:
        """Tell how many calls are not answered."""
        return len(self._under_way)

    def send(self, drawn: Drawn, request: bytes, due: float) -> None:
        """Send a call that is due now."""
        self._send(_Call(drawn, request, due))

    def look_at_answers(self) -> None:
        """Note what has come since, and send again what is to be."""
        come, self._come = self._come, []
        for call, under_way, ended in come:
            self._take(call, self._door.told(under_way, len(call.drawn[1])), ended)

    async def rest(self) -> None:
        """Await all answers."""
        while self._under_way or self._come:
            await asyncio.sleep(REST_STEP_SECONDS)
            self.look_at_answers()

    def _send(self, call: _Call) -> None:
        call.attempts += 1
        self._phase.attempts += 1
        call.began = time.monotonic()
        under_way = self._door.begin(call.request, len(call.drawn[1]))
        self._under_way.add(under_way)
        under_way.add_done_callback(partial(self._has_come, call))

    def _has_come(self, call: _Call, under_way: UnderWay) -> None:
        self._under_way.discard(under_way)
        self._come.append((call, under_way, time.monotonic()))

    def _take(self, call: _Call, outcomes: list[Outcome], ended: float) -> None:
        phase, at = self._phase, ended - self.begin
        late_seconds = 0.0 if call.attempts > 1 else call.began - self.begin - call.due
        phase.answered.append(Answered(call.due, at, late_seconds, ended - call.began, outcomes))
        first = outcomes[0]
        # As a rule all are alike, which is seen in a tenth of the time.
        kinds = {first.kind} if outcomes.count(first) == len(outcomes) else {outcome.kind for outcome in outcomes}
        call.left_a_doubt |= UNKNOWN in kinds
        if kinds == {ERROR} and call.attempts <= self._retries and not phase.is_late(at):
            self._send(call)
        elif call.left_a_doubt and kinds & ASK_AGAIN:
            # An error says nothing of an earlier attempt.
            self.undecided.append(call.drawn)
        elif kinds != {ERROR}:
            self.told.append((call.drawn, outcomes))
