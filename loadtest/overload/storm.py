"""A storm of look-ups from a process of its own: so many a second, or as many as are answered, over a few connections.

It keeps to HTTP/2: no more calls are under way on a connection than the server takes. What is due while there is no room
for it is dropped and counted, so that what was offered is what was sent. Never here: transfers (`offering.py`), what a call
is on the wire (`loadtest/flood.py`), and what is made of the figures (`report.py`).
"""

import asyncio
import itertools
import math
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, TypeAlias
from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2

from loadtest.client import Access
from loadtest.crew import Crew
from loadtest.flood import Calls, Flood, read
from loadtest.lean_client import failure_of, headers_of

BALANCE: Final = "GetBalance"
STATUS: Final = "GetTransfer"
STATEMENT: Final = "ListEntries"
MIX: Final = {STATUS: 50, BALANCE: 30, STATEMENT: 20}
"""Customers who look whether their money has come: how often each is asked, relative to the others."""

REQUEST_NAME: Final = "x-request-id"
STATEMENT_PAGE: Final = 25
CONNECTIONS: Final = 32
"""Of each process, in turns: a server reads a few calls of each at a time."""
DIFFERENT: Final = 2_048
"""Look-ups that are written beforehand, and asked again and again."""
VOLLEY: Final = 128
"""Look-ups that are sent together on one connection at most."""
STEP_SECONDS: Final = 0.002
"""What becomes due within it is sent together."""
GRACE_SECONDS: Final = 1.0
"""After the last deadline: what is not answered then never will be."""
REST_STEP_SECONDS: Final = 0.005

LookUp: TypeAlias = tuple[str, bytes]
"""A method and its request."""


def draw(
    count: int, weights: Mapping[str, int], accounts: Sequence[str], paid: Sequence[tuple[str, str]], chance: Random
) -> list[LookUp]:
    """Draw look-ups: of accounts, and of what became of transfers in the books, given as payer and id."""
    methods = chance.choices(list(weights), list(weights.values()), k=count)
    return [_ask(method, chance.choice(accounts), chance.choice(paid)) for method in methods]


def _ask(method: str, account: str, paid: tuple[str, str]) -> LookUp:
    request: Any
    if method == BALANCE:
        request = bank_pb2.GetBalanceRequest(name=f"accounts/{account}/balance")
    elif method == STATEMENT:
        request = bank_pb2.ListEntriesRequest(parent=f"accounts/{account}", page_size=STATEMENT_PAGE)
    else:
        payer, transfer_id = paid
        request = bank_pb2.GetTransferRequest(name=f"accounts/{payer}/transfers/{transfer_id}")
    return method, request.SerializeToString()


@dataclass(frozen=True, slots=True)
class StormLoad:
    """What one process is to ask, and for how long."""

    access: Access
    look_ups: Sequence[LookUp]
    per_second: float
    """Of all processes together; infinity for as many as there is room for."""
    seconds: float
    deadline_seconds: float
    """Of each call."""
    has_names: bool = True
    """Whether each call names its request, as channels do, so that no two calls' headers are the same."""
    in_flight_max: float = math.inf
    """Calls under way of one process, where the server takes more."""
    connections: int = CONNECTIONS
    number: int = 0
    processes: int = 1


@dataclass(slots=True)
class StormSeen:
    """What one process, or all together, saw."""

    due: int = 0
    sent: int = 0
    seconds_by_reason: dict[str, "array[float]"] = field(default_factory=dict)
    """How long calls took, by why they were refused; empty for those that were answered."""
    reset: int = 0
    """Calls that the server ended without a word."""
    unanswered: int = 0
    steps: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds from one look at what is due to the next: so late are calls at most."""

    def add(self, other: "StormSeen") -> None:
        """Count in what another process saw."""
        self.due += other.due
        self.sent += other.sent
        self.reset += other.reset
        self.unanswered += other.unanswered
        self.steps += other.steps
        for reason, seconds in other.seconds_by_reason.items():
            self.seconds_by_reason.setdefault(reason, array("d")).extend(seconds)


def generate(load: StormLoad, processes: int, at_begin: Callable[[], None] = lambda: None) -> StormSeen:
    """Let a storm loose from several processes; return what all saw. Raises crew.CrewFailed."""
    parts = [replace(load, number=number, processes=processes) for number in range(processes)]
    with Crew(Storm, parts) as crew:
        total = StormSeen()
        for seen in crew.run((0.0,), at_begin):
            total.add(seen)
        return total


class Storm:
    """The storm of one process."""

    def __init__(self, load: StormLoad) -> None:
        self._load = load
        self._calls = Calls([(self._headers(method), request) for method, request in load.look_ups])
        self._stack = ExitStack()
        self._floods: list[Flood] = []
        self._turns = itertools.cycle(self._floods)
        self._end = math.inf
        self._seen = StormSeen()

    async def connect(self) -> None:
        """Connect, and hear how much the server takes. Raises OSError."""
        loop = asyncio.get_running_loop()
        host, _, port = self._load.access.gateway.rpartition(":")
        goes_on = (lambda: None) if self._is_paced else self._send_without_pause
        for _ in range(self._load.connections):
            _, flood = await loop.create_connection(
                lambda: Flood(self._load.deadline_seconds, goes_on), host, int(port)
            )
            self._stack.callback(flood.close)
            await flood.greeted.wait()
            self._floods.append(flood)
        self._turns = itertools.cycle(self._floods)

    async def run(self, begin: float) -> None:
        """Ask from `begin` (of the monotonic clock) on until the time is over, then await what is under way."""
        load, seen = self._load, self._seen
        with self._stack:
            await asyncio.sleep(begin - time.monotonic())
            self._end = begin + load.seconds
            before = begin
            while (now := time.monotonic()) < self._end:
                if self._is_paced:
                    due = max(0, int((now - begin) * load.per_second / load.processes))
                    self._send(due - seen.due)
                    seen.due = due
                else:
                    self._send_without_pause()
                seen.steps.append(now - before)
                before = now
                await asyncio.sleep(STEP_SECONDS)
            give_up_at = self._end + load.deadline_seconds + GRACE_SECONDS
            while self._in_flight and time.monotonic() < give_up_at:
                await asyncio.sleep(REST_STEP_SECONDS)

    def seen(self) -> StormSeen:
        """Sort out what was seen, when all is over."""
        seen = self._seen
        by_reason: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        for flood in self._floods:
            seen.sent += flood.sent
            seen.unanswered += flood.sent - flood.ended
            seen.reset += sum(flood.resets.values())
            for block, seconds in flood.seconds_by_end.items():
                failure = failure_of(read(block))
                by_reason["" if failure is None else failure.reason].extend(seconds)
        seen.seconds_by_reason = dict(by_reason)
        if not self._is_paced:
            seen.due = seen.sent
        return seen

    def _headers(self, method: str) -> tuple[tuple[str, str], ...]:
        headers = headers_of(method, self._load.access, self._load.deadline_seconds)
        return (*headers, (REQUEST_NAME, str(uuid4()))) if self._load.has_names else headers

    @property
    def _is_paced(self) -> bool:
        return self._load.per_second < math.inf

    @property
    def _in_flight(self) -> int:
        return sum(flood.sent - flood.ended for flood in self._floods)

    def _send_without_pause(self) -> None:
        if time.monotonic() < self._end < math.inf:
            self._send(min(self._load.in_flight_max - self._in_flight, len(self._load.look_ups)))

    def _send(self, count: float) -> None:
        """Send so many, spread over all connections, or as many as there is room for."""
        share = math.ceil(min(max(0, count) / len(self._floods), VOLLEY))
        without_room = 0
        while count > 0 and without_room < len(self._floods):
            sent = next(self._turns).send(self._calls, int(min(count, share)))
            count -= sent
            without_room = 0 if sent else without_room + 1
