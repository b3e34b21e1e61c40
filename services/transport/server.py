"""A server: listens, counts what its callers hold, and minds their deadlines.

Every bound on what a caller can hold is in `calls.Limits`. Never here: frames and calls (`serving.py`, `calls.py`).
"""

import asyncio
import socket
import ssl
from time import monotonic
from typing import Final

from services.transport.calls import Call, Limits, Method, Refusal, Refusals
from services.transport.refusing import Crowd
from services.transport.serving import ServerConnection

BACKLOG: Final = 1_024
"""Connections that wait to be accepted."""

SWEEP_SECONDS: Final = 0.5
"""How often connections are looked at."""

DEADLINE_STEPS_PER_SECOND: Final = 20
"""Deadlines are kept this precisely: callers keep their own."""

TURNS_LOOKED_BACK_ON: Final = 16

BYTES_LIKE_A_CALL: Final = 2_000
"""A request of so many bytes more takes as long again as a small one: a thousand transfers are 100 kB and as much
work as fifty calls of one. What is learned from one kind of calls holds for the other so."""

STALL_FACTOR: Final = 4
STALL_SECONDS: Final = 0.001
"""A turn that is so much longer than those before it was a stall, of the machine as a rule, and counts no more than
this: one of 60 ms would refuse callers who have a few dozen calls under way."""

FEW: Final = 4
"""Calls that may always wait for their turn."""

ACCEPT_PAUSE_SECONDS: Final = 0.1
"""After no connection could be taken in."""


class Server:
    """Serves methods on any number of addresses. Made inside the running event loop."""

    def __init__(self, limits: Limits, refusals: Refusals) -> None:
        self.limits = limits
        self.refusals = refusals
        self.methods: dict[str, Method] = {}
        """By path, `/package.Service/Method`."""
        self.crowd: Crowd = {}
        self._loop = asyncio.get_running_loop()
        self._sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._connections: set[ServerConnection] = set()
        self._all_gone = asyncio.Event()
        self._calls = 0
        self._watches = 0
        self._held_bytes = 0
        self._waiting = 0
        """Calls whose request is whole and whose turn has not come."""
        self._waiting_weight = 0.0
        """Of those calls: how much there is to do for them, a small call being 1."""
        self._turn_seconds = 0.0
        """What a small call's turn takes lately, while others wait."""
        self._turned_at: float | None = None
        """When the last call had its turn, if others waited then."""
        self._turned_weight = 1.0
        self._made = 0
        self._deadlines: dict[int, set[Call]] = {}
        """Calls by the step in which their deadline comes."""
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def connection_count(self) -> int:
        """Tell how many callers are connected."""
        return len(self._connections)

    @property
    def held_bytes(self) -> int:
        """Tell what the requests under way take."""
        return self._held_bytes

    def bind(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Take an address, in plain text without a context; return the port. Raises OSError."""
        wanted = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server(
            (host, port), family=wanted, backlog=BACKLOG, dualstack_ipv6=wanted == socket.AF_INET6 and host == "::"
        )
        bound.setblocking(False)
        self._sockets.append((bound, context))
        taken: int = bound.getsockname()[1]
        return taken

    def start(self) -> None:
        """Serve."""
        for bound, context in self._sockets:
            self._loop.add_reader(bound.fileno(), self._accept, bound, context)
        self._sweep()

    def _accept(self, bound: socket.socket, context: ssl.SSLContext | None) -> None:
        """Take in who waits to be; beyond the bound, close unread."""
        for _ in range(BACKLOG):
            try:
                connected, _ = bound.accept()
            except BlockingIOError:
                return
            except OSError:
                # No descriptors, or a caller that is gone already: others may have their turn meanwhile.
                self._loop.remove_reader(bound.fileno())
                self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._go_on_accepting, bound, context)
                return
            if len(self._connections) >= self.limits.connections_max:
                connected.close()
                continue
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = ServerConnection(self)
            self._connections.add(connection)
            connecting = self._loop.create_task(self._connect(connection, connected, context))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    def _go_on_accepting(self, bound: socket.socket, context: ssl.SSLContext | None) -> None:
        if bound.fileno() >= 0:
            self._loop.add_reader(bound.fileno(), self._accept, bound, context)

    async def _connect(
        self, connection: ServerConnection, connected: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        handshake = None if context is None else self.limits.handshake_seconds_max
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, connected, ssl=context, ssl_handshake_timeout=handshake
            )
        except (OSError, asyncio.CancelledError):  # What TLS complains of is an OSError too.
            connected.close()
            self.leave(connection)

    async def stop(self, grace_seconds: float | None) -> None:
        """Listen no more; let calls under way end for so long, then cancel them."""
        for bound, _ in self._sockets:
            if self._sweeping is not None:
                self._loop.remove_reader(bound.fileno())
            bound.close()
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._connections):
            connection.leave()
        if grace_seconds is not None:
            await self._wait_gone(grace_seconds)
        for connection in list(self._connections):
            connection.cancel_calls()
        await self._wait_gone(1.0)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _wait_gone(self, seconds: float) -> None:
        if self._connections:
            self._all_gone.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._all_gone.wait()
            except TimeoutError:
                pass

    # For connections.

    def leave(self, connection: ServerConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def age_of_next(self) -> float:
        """Tell how old a new connection may become: spread by a tenth, so that not all are renewed at once."""
        self._made += 1
        return self.limits.age_seconds_max * (0.9 + 0.2 * (self._made * 0.618034 % 1))

    def place_for(self, method: Method) -> Refusal | None:
        """Tell why there is no place for one more call; None when there is one."""
        if method.stream is not None:
            return self.refusals.no_place_for_watch if self._watches >= self.limits.watches_max else None
        return self.refusals.no_place_for_call if self._calls >= self.limits.calls_max else None

    def begin(self, call: Call) -> None:
        """Count a call in, and mind its deadline."""
        if call.method.stream is None:
            self._calls += 1
        else:
            self._watches += 1
        seconds = call.deadline - call.begun_at
        if seconds <= self.limits.deadline_seconds_max:
            call.step = step = int(call.deadline * DEADLINE_STEPS_PER_SECOND) + 1
            due = self._deadlines.get(step)
            if due is None:
                due = self._deadlines[step] = set()
                self._loop.call_at(step / DEADLINE_STEPS_PER_SECOND, self._expire, step)
            due.add(call)

    def end(self, call: Call) -> None:
        """Count a call out."""
        if call.method.stream is None:
            self._calls -= 1
            if call.method.places is not None and call.has_whole_request:
                call.method.places.taken -= 1
            if call.is_waiting:  # Its caller went away first.
                self._wait_no_more(call)
        else:
            self._watches -= 1
        self.let_go(call.let_go())
        due = self._deadlines.get(call.step)
        if due is not None:
            due.discard(call)

    def wait(self, call: Call) -> None:
        """Count a call in whose turn will come: its request is whole.

        Not before, so that who sends half a request keeps nobody out. Refusals see it all the same, since requests
        that came together are taken one after the other.
        """
        held = call.held_bytes
        call.has_whole_request = call.is_waiting = True
        call.weight = 1.0 + held / BYTES_LIKE_A_CALL
        self._waiting += 1
        self._waiting_weight += call.weight
        places = call.method.places
        if places is not None:
            places.taken += 1
            places.waiting += 1
            places.waiting_bytes += held

    def is_in_time(self, call: Call) -> bool:
        """Count a call out whose turn has come; end it when its deadline came first."""
        now = monotonic()
        if self._turned_at is not None:
            took = (now - self._turned_at) / self._turned_weight
            longest = STALL_FACTOR * self._turn_seconds + STALL_SECONDS
            self._turn_seconds += (min(took, longest) - self._turn_seconds) / TURNS_LOOKED_BACK_ON
        if call.is_waiting:
            self._wait_no_more(call)
        if self._waiting:
            self._turned_at, self._turned_weight = now, call.weight
        if now > call.deadline:
            call.expire()
        return not call.ended

    def _wait_no_more(self, call: Call) -> None:
        call.is_waiting = False
        self._waiting -= 1
        self._waiting_weight -= call.weight
        if not self._waiting:
            self._waiting_weight = 0.0
            self._turned_at = None  # What comes next has not waited since then.
        places = call.method.places
        if places is not None:
            places.waiting -= 1
            places.waiting_bytes -= call.held_bytes

    def seconds_to_turn(self, behind: int = 0) -> float:
        """Estimate how long one more call would wait until anybody looks at it, or until so many are done with.

        Many can come in the same turn of the loop, and each takes its time before it finds that a queue is full. A few
        are no reason to refuse any: from them it is learned that turns are short again.
        """
        if max(self._waiting, behind) < FEW:
            return 0.0
        return max(self._waiting_weight, behind) * self._turn_seconds

    def let_go(self, size: int) -> None:
        """Count a part of a request out."""
        self._held_bytes -= size

    def hold(self, size: int) -> bool:
        """Count a part of a request; tell whether there is room for it."""
        self._held_bytes += size
        return self._held_bytes <= self.limits.held_bytes_max

    def _expire(self, step: int) -> None:
        """End the calls whose deadline has come."""
        for call in list(self._deadlines.pop(step)):
            call.expire()

    def _sweep(self) -> None:
        now = self._loop.time()
        self.crowd.clear()
        for connection in list(self._connections):
            connection.look(now, self.limits.silent_seconds_max, self.limits.answer_seconds_max)
        self._sweeping = self._loop.call_later(SWEEP_SECONDS, self._sweep)
