"""As much of HTTP/2 (RFC 9113) as one client needs for unary gRPC calls: one connection, in plain text, many streams.

For a generator that shares its machine with what it measures: a call costs it a fifth of what grpc.aio's does.
What it does not know (pushes, priorities, compression of messages) it has refused in its settings or ignores.
Never here: what is called, or what an answer means (`lean_client.py`).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import hpack

Headers = list[tuple[str, str]]

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_MAX: Final = 2**31 - 1
WINDOW_DEFAULT: Final = 65_535
REPLENISHED_BYTES: Final = 2**24
"""Received before the connection's window is filled up again."""
CANCEL: Final = 8
PRIORITY_BYTES: Final = 5
FRAME_BYTES_DEFAULT: Final = 16_384

_frame = Struct(">BHBBi").pack
frame_head: Final = Struct(">BHBBI").unpack_from
"""Reads a frame's head: length (its high 8 bits, its low 16), kind, flags, stream with a reserved bit."""
_setting = Struct(">HI").pack
_settings = Struct(">HI").iter_unpack
_number = Struct(">I").pack


class ConnectionLost(Exception):
    """The connection ended, or the server ended the stream, before there was an answer."""


class NotInTime(Exception):
    """The deadline came first."""


class _Stream:
    """One call."""

    __slots__ = ("answer", "body", "give_up_at", "headers", "unsent", "window")

    def __init__(self, answer: "asyncio.Future[tuple[Headers, bytes]]", window: int, give_up_at: float) -> None:
        self.answer = answer
        self.window = window
        self.give_up_at = give_up_at
        self.headers: Headers = []
        self.body: bytes = b""
        self.unsent: memoryview = memoryview(b"")


class Connection(asyncio.Protocol):
    """One connection. Calls have the same deadline, so that the first begun is the first to be given up."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is every call's deadline."""
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._transport: Any = None
        self._out: list[bytes] = []
        self._received = b""
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._window = WINDOW_DEFAULT
        self._stream_window = WINDOW_DEFAULT
        self._frame_bytes = FRAME_BYTES_DEFAULT
        self.streams_max = WINDOW_MAX
        """Of the peer's, at a time; who begins calls by `call` is refused those beyond."""
        self._unsent: deque[int] = deque()
        """Streams whose request waits for room in a window, in order."""
        self._consumed = 0
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._decoder.max_allowed_table_size = 0
        self._blocks: dict[Sequence[tuple[str, str]], bytes] = {}
        self._decoded: dict[bytes, Headers] = {}
        """Header blocks by their bytes: without a table of the connection's own they always mean the same."""
        self._block: tuple[int, int, bytes] | None = None
        """Stream, flags and beginning of a header block that is continued."""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = transport
        self.is_open = True
        wanted = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, WINDOW_MAX))
        self._out.append(PREFACE)
        self._send(SETTINGS, 0, 0, b"".join(_setting(*each) for each in wanted))
        self._send(WINDOW_UPDATE, 0, 0, _number(WINDOW_MAX - WINDOW_DEFAULT))
        self._flush()
        self._loop.call_later(self._seconds, self._sweep)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is unanswered."""
        self.is_open = False
        for stream in self._streams.values():
            _fail(stream, ConnectionLost(str(exc or "closed")))
        self._streams.clear()

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    def call(self, headers: tuple[tuple[str, str], ...], body: bytes) -> "asyncio.Future[tuple[Headers, bytes]]":
        """Send a request; the future has all headers of the answer, trailers among them, and its body.

        It raises ConnectionLost or NotInTime.
        """
        answer: asyncio.Future[tuple[Headers, bytes]] = self._loop.create_future()
        if not self.is_open:
            answer.set_exception(ConnectionLost("not connected"))
            return answer
        number = self._next_id
        self._next_id += 2
        stream = self._streams[number] = _Stream(answer, self._stream_window, self._loop.time() + self._seconds)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._send(HEADERS, END_HEADERS, number, self._headers_block(headers))
        if self._unsent or len(body) > min(self._window, stream.window, self._frame_bytes):
            stream.unsent = memoryview(body)
            self._unsent.append(number)
            self._send_on()
        else:
            self._window -= len(body)
            self._send(DATA, END_STREAM, number, body)
        return answer

    def data_received(self, data: bytes) -> None:
        """Take whole frames."""
        received = self._received + data if self._received else data
        at, end = 0, len(received)
        while end - at >= 9:
            high, low, kind, flags, number = frame_head(received, at)
            following = at + 9 + (high << 16 | low)
            if following > end:
                break
            self._take(kind, flags, number & WINDOW_MAX, received[at + 9 : following])
            at = following
        self._received = received[at:]
        self._flush()

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._take_headers(
                number, flags, _unpadded(payload, flags)[PRIORITY_BYTES if flags & WITH_PRIORITY else 0 :]
            )
        elif kind == DATA:
            self._take_data(number, flags, payload)
        elif kind == CONTINUATION and self._block is not None:
            number, before, begun = self._block
            self._take_headers(number, before | flags, begun + payload)
        elif kind == SETTINGS and not flags & ACK:
            self._take_settings(payload)
        elif kind == PING and not flags & ACK:
            self._send(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(number, int.from_bytes(payload) & WINDOW_MAX)
        elif kind == RST_STREAM:
            self._end(number, ConnectionLost(f"the server ended the call: {int.from_bytes(payload)}"))
        elif kind == GOAWAY:
            self.is_open = False
            last = int.from_bytes(payload[:4]) & WINDOW_MAX
            for refused in [each for each in self._streams if each > last]:
                self._end(refused, ConnectionLost("the server goes away"))

    def _take_headers(self, number: int, flags: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._block = (number, flags, block)
            return
        self._block = None
        headers = self._decoded.get(block)
        if headers is None:
            headers = self._decoded[block] = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        stream = self._streams.get(number)
        if stream is not None:
            stream.headers += headers
            if flags & END_STREAM:
                self._end(number)

    def _take_data(self, number: int, flags: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed > REPLENISHED_BYTES:
            self._send(WINDOW_UPDATE, 0, 0, _number(self._consumed))
            self._consumed = 0
        stream = self._streams.get(number)
        if stream is not None:
            stream.body += _unpadded(payload, flags)
            if flags & END_STREAM:
                self._end(number)

    def _take_settings(self, payload: bytes) -> None:
        for name, value in _settings(payload):
            if name == INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                self._stream_window = value
            elif name == MAX_FRAME_SIZE:
                self._frame_bytes = value
            elif name == MAX_CONCURRENT_STREAMS:
                self.streams_max = value
            elif name == HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, self._encoder.header_table_size)
                self._blocks.clear()
        self._send(SETTINGS, ACK, 0, b"")
        self._send_on()

    def _widen(self, number: int, bytes_more: int) -> None:
        if not number:
            self._window += bytes_more
        elif number in self._streams:
            self._streams[number].window += bytes_more
        self._send_on()

    def _send_on(self) -> None:
        """Send what waits for room, as far as there is any."""
        while self._unsent:
            number = self._unsent[0]
            stream = self._streams.get(number)
            if stream is None:
                self._unsent.popleft()
                continue
            size = min(self._window, stream.window, self._frame_bytes, len(stream.unsent))
            if size <= 0:
                return
            part, stream.unsent = bytes(stream.unsent[:size]), stream.unsent[size:]
            self._window -= size
            stream.window -= size
            self._send(DATA, 0 if stream.unsent else END_STREAM, number, part)
            if not stream.unsent:
                self._unsent.popleft()

    def _headers_block(self, headers: tuple[tuple[str, str], ...]) -> bytes:
        block = self._blocks.get(headers)
        if block is None:
            block = self._encoder.encode(headers)
            # What was new is in the peer's table from now on, and has moved what was there.
            self._blocks = {headers: self._encoder.encode(headers)}
        return block

    def _end(self, number: int, error: Exception | None = None) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if error is not None:
            _fail(stream, error)
        elif not stream.answer.done():
            stream.answer.set_result((stream.headers, stream.body))

    def _sweep(self) -> None:
        """Give up the calls whose deadline has come."""
        now = self._loop.time()
        for number, stream in list(self._streams.items()):
            if stream.give_up_at > now:
                break
            self._send(RST_STREAM, 0, number, _number(CANCEL))
            self._end(number, NotInTime())
        self._flush()
        if self._transport is not None and not self._transport.is_closing():
            first = next(iter(self._streams.values()), None)
            self._loop.call_at(now + self._seconds if first is None else first.give_up_at, self._sweep)

    def _send(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._out += (_frame(size >> 16, size & 0xFFFF, kind, flags, number), payload)

    def _flush(self) -> None:
        """Send together what this turn of the loop has to say."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """Write a frame."""
    size = len(payload)
    return _frame(size >> 16, size & 0xFFFF, kind, flags, number) + payload


def _unpadded(payload: bytes, flags: int) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


def _fail(stream: _Stream, error: Exception) -> None:
    if not stream.answer.done():
        stream.answer.set_exception(error)
