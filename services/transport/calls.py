"""One call at its serving end: what it may hold, how its bytes become a message, what its behaviour sees of it.

Never here: frames, or where they go (`serving.py`).
"""

import asyncio
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from services.transport import frames
from services.transport.fields import STATUS_OK, Metadata, Unsound, encoded, message_text, texts
from services.transport.heads import RequestHead
from services.transport.sending import Stream

if TYPE_CHECKING:
    from services.transport.serving import ServerConnection

PREFIX_BYTES: Final = 5
"""Before a message: whether it is compressed, and its length."""

HEADERS_BLOCK: Final = b"\x88" + encoded(
    [("content-type", "application/grpc"), ("grpc-accept-encoding", "identity, gzip")]
)
"""The fields before an answer's messages: the first is `:status 200` of HPACK's static table."""

_TRAILERS_OK: Final = encoded([("grpc-status", STATUS_OK)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What callers can hold of a server. Times are in seconds."""

    deadline_seconds_max: float
    """Deadlines further away are not minded here."""

    message_bytes_max: int
    held_bytes_max: int
    """Of all requests of all calls under way."""
    metadata_bytes_max: int
    """Of one call's fields, as HTTP/2 counts them: 32 for each besides its name and value."""
    streams_per_connection_max: int
    calls_max: int
    """Calls under way, streams left out."""
    watches_max: int
    """Streams under way."""
    connections_max: int
    request_seconds_max: float
    """From a call's first bytes to its whole request."""
    handshake_seconds_max: float
    idle_seconds_max: float
    age_seconds_max: float
    age_grace_seconds: float
    """What calls under way have left when their connection is renewed."""
    silent_seconds_max: float
    """A silent connection is pinged after this."""
    answer_seconds_max: float
    """A ping that is not answered so soon ends the connection."""
    ping_seconds_min: float
    """Between pings of a caller; sooner ones count as strikes."""
    ping_strikes_max: int


class Refusal:
    """An answer that is known beforehand, as bytes; `told` hears how often it was given."""

    __slots__ = ("_block", "_told", "_uncounted")

    def __init__(
        self, code: grpc.StatusCode, message: str, metadata: Metadata = (), told: Callable[[int], object] | None = None
    ) -> None:
        self._block = _refusing_block(code, message, metadata)
        self._told = told
        self._uncounted = 0

    def given(self) -> bytes:
        """Give its fields, and count that."""
        self._uncounted += 1
        self.count()
        return self._block

    def ending(self, number: int) -> bytes:
        """Give the frames that end a stream by it, to be counted later."""
        self._uncounted += 1
        return frames.ending(number, self._block)

    def count(self) -> None:
        """Tell how often it was given since this was told last."""
        if self._told is not None and self._uncounted:
            self._told(self._uncounted)
        self._uncounted = 0


@dataclass(frozen=True, slots=True)
class Refusals:
    """How a server words what it refuses by itself."""

    no_place_for_call: Refusal
    no_place_for_watch: Refusal
    request_late: Refusal
    out_of_memory: Refusal


@dataclass(slots=True)
class Places:
    """How many calls are under way of the methods that share these."""

    taken: int = 0
    """From the whole request to the answer."""
    waiting: int = 0
    """Of those, whose turn has not come."""
    waiting_bytes: int = 0
    """Of their requests."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a path stands for."""

    behaviour: Callable[[bytes | None, "Call"], Awaitable[bytes]] | None = None
    """Answers a request; None came when the caller ended without one. Raises Aborted through `Call.abort`."""
    stream: Callable[["Call"], Awaitable[None]] | None = None
    """In place of `behaviour`: reads and writes messages as it likes."""
    refuses: Callable[[], Refusal | None] | None = None
    """Asked at a call's first bytes; a refusal is all that the caller gets."""
    places: Places | None = None
    """Counted here as well as among all calls."""


class Aborted(Exception):
    """A call that its behaviour ended with a status."""


def _refusing_block(code: grpc.StatusCode, message: str, metadata: Metadata) -> bytes:
    return HEADERS_BLOCK + _trailers(code, message, metadata)


def _trailers(code: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    number: int = code.value[0]
    words = [("grpc-message", message_text(message))] if message else []
    return encoded([("grpc-status", str(number)), *words, *texts(metadata)])


class Call(Stream):
    """One call: for its behaviour what gRPC names the context, for its connection a stream."""

    __slots__ = (
        "_arrived", "_code", "_connection", "_deadline", "_has_answered", "_held", "_metadata", "_parts",
        "_task", "begun_at", "encoding", "ended", "has_whole_request", "is_waiting", "method", "step", "weight",
    )  # fmt: skip

    def __init__(
        self, number: int, window: int, connection: "ServerConnection", method: Method, head: RequestHead
    ) -> None:
        super().__init__(number, window)
        now = connection.loop.time()
        self.method = method
        self.begun_at = now
        self.encoding = head.encoding
        self.has_whole_request = False
        self.is_waiting = False
        """Whether the request is whole and its behaviour has not begun."""
        self.weight = 1.0
        """How much there is to do for it, a small call being 1; known when the request is whole."""
        self.step = 0
        """In which the deadline comes."""
        self.ended = False
        self._connection = connection
        self._metadata = head.metadata
        self._deadline = math.inf if head.seconds is None else now + head.seconds
        self._parts: list[bytes] = []
        self._held = 0
        self._arrived: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._code: grpc.StatusCode | None = None
        self._has_answered = False

    # For behaviours.

    def invocation_metadata(self) -> Metadata:
        """Give the caller's metadata; values of names that end with -bin are bytes."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Tell the seconds until the caller's deadline, None without one."""
        if self._deadline == math.inf:
            return None
        return max(0.0, self._deadline - self._connection.loop.time())

    def code(self) -> grpc.StatusCode | None:
        """Tell the status that the call was ended with."""
        return self._code

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with a status. Raises Aborted, which is to be left alone."""
        self.finish(code, details, trailing_metadata)
        raise Aborted

    async def read(self) -> bytes | None:
        """Wait for the next message of a stream; None after the last. Raises Aborted when it is not readable."""
        while True:
            message = self._next_message()
            if message is not None:
                return message
            if self.has_whole_request:
                return None
            self._arrived = asyncio.Event()
            await self._arrived.wait()

    async def write(self, message: bytes) -> None:
        """Send a message of a stream."""
        if self.ended:
            return
        begun = b"" if self._has_answered else self._connection.answer_head(self.number)
        self._has_answered = True
        if begun:
            self._connection.send(begun)
        self._connection.send_data(self, framed(message), None)

    # For the connection.

    @property
    def deadline(self) -> float:
        """Loop time of the caller's deadline, or infinity."""
        return self._deadline

    def start(self, coroutine: Any) -> None:
        """Run in a task of its own."""
        self._task = self._connection.loop.create_task(coroutine)

    def cancel(self) -> None:
        """End the task."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def expire(self) -> None:
        """End: the deadline has come."""
        if self.ended:
            self._connection.give_up(self)
        else:
            self.cancel()
            self.finish(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline came before the answer")

    def take(self, payload: bytes) -> None:
        """Take a part of the request."""
        self._parts.append(payload)
        self._held += len(payload)
        if self._arrived is not None:
            self._arrived.set()

    @property
    def held_bytes(self) -> int:
        """Tell what the request's parts take."""
        return self._held

    def let_go(self, size: int | None = None) -> int:
        """Count a part of the request out, or all of it; tell its size."""
        held = self._held if size is None else size
        self._held -= held
        return held

    def declared_bytes(self) -> int:
        """Tell how large the message says it is; 0 as long as it has not."""
        begun = self._parts[0] if len(self._parts[0]) >= PREFIX_BYTES else b"".join(self._parts)[:PREFIX_BYTES]
        return int.from_bytes(begun[1:PREFIX_BYTES]) if len(begun) >= PREFIX_BYTES else 0

    def request(self, bytes_max: int) -> bytes | None:
        """Give the one message of a whole request; None when there is none. Raises Unsound."""
        octets = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if not octets:
            return None
        if int.from_bytes(octets[1:PREFIX_BYTES]) + PREFIX_BYTES != len(octets):
            raise Unsound
        return _inflated(octets[0], octets[PREFIX_BYTES:], self.encoding, bytes_max)

    def _next_message(self) -> bytes | None:
        octets = b"".join(self._parts)
        if len(octets) < PREFIX_BYTES:
            return None
        end = PREFIX_BYTES + int.from_bytes(octets[1:PREFIX_BYTES])
        if len(octets) < end:
            return None
        self._parts = [octets[end:]]
        self._connection.release(self, end - PREFIX_BYTES)
        return _inflated(octets[0], octets[PREFIX_BYTES:end], self.encoding, self._connection.message_bytes_max)

    def answer(self, message: bytes) -> None:
        """Send the one answer of a call."""
        if len(message) > self._connection.message_bytes_max:
            self.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, "the answer is larger than the server sends")
        elif not self.ended:
            self._connection.answer(self, framed(message), _TRAILERS_OK)

    def finish(self, code: grpc.StatusCode, message: str = "", metadata: Metadata = ()) -> None:
        """End the call with a status, unless it has ended."""
        if self.ended:
            return
        self._code = code
        if self._has_answered:
            self._connection.finish(self, _trailers(code, message, metadata))
        else:
            self._connection.refuse(self, _refusing_block(code, message, metadata))


def framed(message: bytes) -> bytes:
    """Write a message as gRPC sends it, uncompressed."""
    return b"\0" + len(message).to_bytes(4) + message


def _inflated(is_compressed: int, octets: bytes, encoding: str, bytes_max: int) -> bytes:
    """Undo a message's compression. Raises Unsound, also when it would become too large."""
    if not is_compressed:
        return octets
    if encoding != "gzip":
        raise Unsound
    inflating = zlib.decompressobj(wbits=31)
    try:
        inflated = inflating.decompress(octets, bytes_max + 1)
    except zlib.error:
        raise Unsound from None
    if len(inflated) > bytes_max or not inflating.eof:
        raise Unsound
    return inflated
