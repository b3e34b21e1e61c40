"""Writing on a connection: what a turn of the event loop has to say goes out at once, data as far as there is room.

What a peer does not read is not written: data waits for room in the peer's windows, and everything for the
socket. Never here: what was received (`connection.py`).
"""

import asyncio
from typing import Any, Final

from services.transport import frames
from services.transport.fields import NO_TABLE
from services.transport.frames import DATA, END_STREAM, RST_STREAM, ErrorCode

UNWRITTEN_BYTES_MAX: Final = 1024 * 1024
"""Beyond, nothing more is read or written until the peer has read."""

_NOTHING: Final = memoryview(b"")


class Stream:
    """One call's half of a connection."""

    __slots__ = ("ending", "number", "unsent", "window")

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window
        self.unsent = _NOTHING
        """Data that waits for room."""
        self.ending: bytes | None = None
        """Frames to send once all data is; empty where the last data says that it is the last."""


class Sender(asyncio.Protocol):
    """The writing half of a connection's end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._out: list[bytes] = []
        self._flush_is_due = False
        self._is_stalled = False
        self._stalled_at: float | None = None
        self._window = frames.WINDOW_DEFAULT
        self._window_of_streams = frames.WINDOW_DEFAULT
        self._frame_bytes = frames.FRAME_BYTES_MIN
        self._waiting: dict[int, Stream] = {}
        """Streams whose data waits for room."""
        self._has_renounced_table = False
        self.has_sent_data = False
        """Since whoever looks at it last set it back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=UNWRITTEN_BYTES_MAX)

    def pause_writing(self) -> None:
        """Neither write nor read until the peer has read what there is."""
        self._is_stalled = True
        self._stalled_at = self.loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_stalled = False
        self._stalled_at = None
        self._transport.resume_reading()
        self.send_waiting()
        self._flush()

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_closing(self) -> bool:
        """Tell whether it is closed or about to be."""
        return self._transport is None or self._transport.is_closing()

    def send(self, octets: bytes) -> None:
        """Send frames with what else this turn of the loop has to say."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self.loop.call_soon(self._flush)
        self._out.append(octets)

    def fields(self, number: int, block: bytes, *, ends_stream: bool) -> bytes:
        """Make the frames of a block of fields; to be sent before any that is made later."""
        if not self._has_renounced_table:
            self._has_renounced_table = True
            block = NO_TABLE + block
        return frames.headers(number, block, self._frame_bytes, ends_stream=ends_stream)

    def send_data(self, stream: Stream, data: bytes, ending: bytes | None) -> None:
        """Send data of a stream as far as there is room, the rest later, then frames that end it.

        With an empty `ending` the last DATA frame says that it is the last; with None more follows.
        """
        size = len(data)
        if not (stream.unsent or self._is_stalled) and size <= min(self._window, stream.window, self._frame_bytes):
            self._window -= size
            stream.window -= size
            self.has_sent_data = True
            flags = END_STREAM if ending == b"" else 0
            self.send(frames.head(DATA, flags, stream.number, size) + data + (ending or b""))
            return
        stream.unsent = memoryview(bytes(stream.unsent) + data if stream.unsent else data)
        stream.ending = ending
        self._waiting[stream.number] = stream
        self.send_waiting()

    def forget_data(self, stream: Stream) -> None:
        """Send nothing more of a stream."""
        self._waiting.pop(stream.number, None)

    def send_waiting(self) -> None:
        """Send what waits for room, a frame of each stream in turn, as far as there is any."""
        while self._waiting and self._window > 0 and not self._is_stalled:
            went_on = False
            for number, stream in list(self._waiting.items()):
                size = min(self._window, stream.window, self._frame_bytes, len(stream.unsent))
                if size <= 0 and stream.unsent:
                    continue
                part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                self._window -= size
                stream.window -= size
                is_last = not stream.unsent
                flags = END_STREAM if is_last and stream.ending == b"" else 0
                self.send(frames.head(DATA, flags, number, size) + bytes(part))
                went_on = self.has_sent_data = True
                if is_last:
                    del self._waiting[number]
                    if stream.ending:
                        self.send(stream.ending)
                    self.sent(stream)
            if not went_on:
                return
            self._flush()

    def reset(self, number: int, code: ErrorCode) -> None:
        """End a stream."""
        self.send(frames.frame(RST_STREAM, 0, number, frames.number(code)))

    def _flush(self) -> None:
        """Write what there is to say."""
        self._flush_is_due = False
        if self._out:
            if not self.is_closing:
                self._transport.write(b"".join(self._out))
            self._out.clear()

    def sent(self, stream: Stream) -> None:
        """Take that data that had waited has all been sent."""
