"""A simulated network below gRPC: channels that connect, calls that travel, links that fail.

A channel has the interface of the transport's as far as the generated stubs and `LedgerClient` use it, and
a server takes the generated handlers and puts the watching of production around them, so what crosses the
network is bytes and statuses. A call may be delayed, overtaken, delivered twice, lost on its way or on its way
back, or answered by silence. Never here: what is said.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc

from services.chassis.interceptors import Observed
from services.transport.calls import Aborted, Method
from services.transport.channel import CallError
from simulation.loop import PROCESS, Process, SimulationLoop
from simulation.story import Story

CONNECT_SECONDS_MAX = 1.0
SILENCE_SECONDS_MAX = 8.0
"""How long a connection over which nothing comes back is believed in: gRPC's keepalive."""

_READY, _IDLE = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE
_CONNECTING, _FAILED = grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.TRANSIENT_FAILURE


@dataclass
class Weather:
    """How bad the network is: probabilities per message, seconds for delays."""

    delay_seconds: float = 0.0005
    slow: float = 0.0
    """How often a message takes up to `slow_seconds`, so that others overtake it."""
    slow_seconds: float = 0.2
    lost: float = 0.0
    reset: float = 0.0
    """How often the connection breaks with the message."""
    doubled: float = 0.0


@dataclass
class Network:
    """All links. A link between two hosts is blocked one way."""

    loop: SimulationLoop
    chance: Random
    story: Story
    weather: Weather = field(default_factory=Weather)
    blocked: set[tuple[str, str]] = field(default_factory=set)
    servers: dict[str, "SimulatedServer"] = field(default_factory=dict)
    is_over: bool = False

    def passes(self, sender: Process, receiver: Process) -> bool:
        """Tell whether messages get through one way."""
        return (sender.host, receiver.host) not in self.blocked

    def delay(self) -> float:
        """Draw how long a message travels."""
        weather = self.weather
        if weather.slow and self.chance.random() < weather.slow:
            return self.chance.uniform(0, weather.slow_seconds)
        return weather.delay_seconds * self.chance.uniform(0.2, 2.0)

    def happens(self, probability: float) -> bool:
        """Draw whether something happens."""
        return probability > 0 and self.chance.random() < probability

    def channel(self, address: str, _patience: Any = None, _context: Any = None) -> "SimulatedChannel":
        """Open a channel from the process that runs now."""
        return SimulatedChannel(self, PROCESS.get(), address)


class SimulatedServer:
    """One process's server; what the generated `add_..._to_server` adds to its `door` is watched as in production."""

    def __init__(self, network: Network, process: Process, address: str, *, names_requests: bool = False) -> None:
        self.process = process
        self.methods: dict[str, Method] = {}
        self.door: Any = Observed(self, names_requests=names_requests)  # type: ignore[arg-type]
        network.servers[address] = self

    async def handle(self, method: str, request: bytes, context: Any) -> bytes:
        """Run a method as the transport would."""
        behaviour = self.methods[method].behaviour
        assert behaviour is not None, "the bank has no streams"
        return await behaviour(request, context)


class Context:
    """What a servicer sees of a call."""

    def __init__(self, loop: SimulationLoop, deadline: float, metadata: tuple[tuple[str, Any], ...]) -> None:
        self._loop = loop
        self._deadline = deadline
        self._metadata = metadata
        self.failure: CallError | None = None

    def time_remaining(self) -> float:
        return max(0.0, self._deadline - self._loop.time())

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self._metadata

    def code(self) -> grpc.StatusCode | None:
        return self.failure.code() if self.failure is not None else None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self.failure = _failure(code, details, trailing_metadata)
        raise Aborted


def _failure(code: grpc.StatusCode, details: str, trailing: Any = ()) -> CallError:
    return CallError(code, details, tuple(trailing))


class SimulatedChannel:
    """A connection from a process to an address, opened when first needed."""

    def __init__(self, network: Network, owner: Process, address: str) -> None:
        self.network = network
        self.owner = owner
        self.address = address
        self._state = _IDLE
        self._waiters: list[asyncio.Future[None]] = []
        self._server: SimulatedServer | None = None
        """Whom it is connected to: a restarted process is another one."""
        self.calls: dict[_Call, None] = {}

    async def is_ready(self, seconds: float) -> bool:
        """Tell whether a call can be sent, waiting a little for a connection under way."""
        if self._state is _IDLE:
            self._state = _CONNECTING
            self.owner.call(self.network.delay() * 2, self._connect)
        try:
            async with asyncio.timeout(min(seconds, CONNECT_SECONDS_MAX)):
                while self._state is _CONNECTING:
                    waiter = self.network.loop.create_future()
                    self._waiters.append(waiter)
                    await waiter
        except TimeoutError:
            return False
        return self._state is _READY

    def retire(self) -> None:
        """Begin no more calls: nobody who has dropped a channel does."""

    async def close(self) -> None:
        self.break_off("the channel was closed")

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        async def call(request: Any, timeout: float | None = None, metadata: Any = ()) -> Any:
            seconds = 60.0 if timeout is None else timeout
            sent = request_serializer(request)
            answer = await _Call(self, method, sent, seconds, tuple(metadata or ())).run()
            return response_deserializer(answer)

        return call

    def _turn(self, state: grpc.ChannelConnectivity) -> None:
        self._state = state
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _connect(self) -> None:
        server = self.network.servers.get(self.address)
        if (
            server is None
            or not self.network.passes(self.owner, server.process)
            or not self.network.passes(server.process, self.owner)
        ):
            self.owner.call(CONNECT_SECONDS_MAX, self._fail)
        elif not server.process.is_alive:
            self._fail()
        else:
            self._server = server
            self._turn(_READY)
            server.process.on_death.append(lambda: self._bereaved(server))

    def _fail(self) -> None:
        self._turn(_FAILED)
        self.owner.call(0.05, self._turn, _IDLE)

    def _bereaved(self, server: SimulatedServer) -> None:
        """Notice that the process at the other end is gone: its host says so, if it can be heard."""
        seconds = self.network.delay() if self.network.passes(server.process, self.owner) else SILENCE_SECONDS_MAX
        self.owner.call(seconds, self._break_off_from, server)

    def _break_off_from(self, server: SimulatedServer) -> None:
        if self._server is server:
            self.break_off("the connection was reset")

    def break_off(self, why: str) -> None:
        """End the connection and every call on it."""
        self._server = None
        self._turn(_IDLE)
        for call in list(self.calls):
            call.fail(grpc.StatusCode.UNAVAILABLE, why)

    @property
    def server(self) -> SimulatedServer | None:
        return self._server


class _Call:
    """One call on its way."""

    def __init__(self, channel: SimulatedChannel, method: str, request: bytes, seconds: float, metadata: Any) -> None:
        self._channel = channel
        self._network = channel.network
        self._method = method
        self._request = request
        self._loop = channel.network.loop
        self._deadline = self._loop.time() + seconds
        self._seconds = seconds
        self._metadata = metadata
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._server = channel.server
        self._serving: list[asyncio.Task[None]] = []
        self._left = seconds
        """What the request says is left: counted from its arrival, however long it travels."""

    async def run(self) -> bytes:
        channel, network = self._channel, self._network
        if network.is_over:
            raise _failure(grpc.StatusCode.CANCELLED, "it is over")
        if self._server is None:
            if not await channel.is_ready(self._seconds):
                raise _failure(grpc.StatusCode.UNAVAILABLE, "failed to connect")
            self._server = channel.server
            if self._server is None:
                raise _failure(grpc.StatusCode.UNAVAILABLE, "failed to connect")
        channel.calls[self] = None
        timer = channel.owner.call(self._seconds, self.fail, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        silence = channel.owner.call(SILENCE_SECONDS_MAX, self._listen)
        try:
            self._send()
            return await self._answer
        finally:
            timer.cancel()
            silence.cancel()
            channel.calls.pop(self, None)
            self._cancel_serving()

    def _send(self) -> None:
        network, server = self._network, self._server
        assert server is not None
        self._left = self._deadline - self._loop.time()
        if network.happens(network.weather.reset):
            network.story.fault("a connection is reset", self._channel.owner.name, server.process.name)
            if network.happens(0.5):
                server.process.call(network.delay(), self._arrive, server)
            self._channel.break_off("the connection was reset")
            return
        if not network.passes(self._channel.owner, server.process):
            return
        if network.happens(network.weather.lost):
            network.story.fault("a request is lost", self._channel.owner.name, server.process.name)
            return
        server.process.call(network.delay(), self._arrive, server)
        if network.happens(network.weather.doubled):
            network.story.fault("a request is doubled", self._channel.owner.name, server.process.name)
            server.process.call(network.delay() + network.chance.random(), self._arrive_again, server)

    def _arrive(self, server: SimulatedServer, *, is_double: bool = False) -> None:
        serving = server.process.start(self._serve(server))
        if not is_double:
            self._serving.append(serving)

    def _arrive_again(self, server: SimulatedServer) -> None:
        self._arrive(server, is_double=True)

    async def _serve(self, server: SimulatedServer) -> None:
        """Run at the server's side and send the answer back."""
        context = Context(self._loop, self._loop.time() + self._left, self._metadata)
        try:
            answer: bytes | CallError = await server.handle(self._method, self._request, context)
        except Aborted:
            assert context.failure is not None
            answer = context.failure
            if answer.code() is grpc.StatusCode.INTERNAL:
                self._network.story.internal_error(self._method)
        except asyncio.CancelledError:
            return
        network = self._network
        if not network.passes(server.process, self._channel.owner):
            return
        if network.happens(network.weather.lost):
            network.story.fault("an answer is lost", server.process.name, self._channel.owner.name)
            return
        self._channel.owner.call(network.delay(), self._settle, answer)

    def _settle(self, answer: bytes | CallError) -> None:
        if self._answer.done():
            return
        if isinstance(answer, bytes):
            self._answer.set_result(answer)
        else:
            self._answer.set_exception(answer)

    def _listen(self) -> None:
        """Break off a connection over which nothing can come back."""
        server = self._server
        assert server is not None
        owner = self._channel.owner
        if not self._network.passes(owner, server.process) or not self._network.passes(server.process, owner):
            self._channel.break_off("ping timeout")

    def fail(self, code: grpc.StatusCode, why: str) -> None:
        """End the call at its caller's side."""
        if not self._answer.done():
            self._answer.set_exception(_failure(code, why))

    def _cancel_serving(self) -> None:
        """Tell the server that nobody waits any more, if it can be told."""
        server = self._server
        if server is None or not self._channel.owner.is_alive:
            return
        if self._network.passes(self._channel.owner, server.process):
            for task in self._serving:
                if not task.done():
                    server.process.call(self._network.delay(), task.cancel)
