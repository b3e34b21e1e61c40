"""A flood of small calls over one connection: written beforehand, sent many at a time, answers known by their last frame.

A call costs this end a few microseconds, a tenth of what it costs `lean_client.py`, which reads every answer and wakes whoever
waits for it. Here nobody waits: it is noted how long each call took, and with which fields it ended. Never here: what is
called and when (`overload/storm.py`), and what both kinds of connection do alike (`http2.py`).
"""

import asyncio
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

import hpack

from loadtest.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_DEFAULT,
    HEADERS,
    REPLENISHED_BYTES,
    RST_STREAM,
    WINDOW_MAX,
    Connection,
    Headers,
    frame,
    frame_head,
)
from loadtest.lean_client import prefixed

HEAD_BYTES: Final = 9
NUMBER_AT: Final = 5
"""Where a frame's head names its stream."""

_write_number = Struct(">I").pack_into


class Calls:
    """Calls written beforehand, sent one stretch after the other, from the first again after the last."""

    def __init__(self, calls: Sequence[tuple[tuple[tuple[str, str], ...], bytes]]) -> None:
        """Write calls of these headers and messages."""
        self._octets = bytearray()
        self._numbers: list[tuple[int, int]] = []
        """Where the two frames of each call name its stream."""
        self._ends = [0]
        self._data_bytes = [0]
        self._next = 0
        for headers, message in calls:
            block, data = _literal(headers), prefixed(message)
            assert len(block) <= FRAME_BYTES_DEFAULT and len(data) <= FRAME_BYTES_DEFAULT, "a call has two frames"
            at = len(self._octets)
            self._numbers.append((at + NUMBER_AT, at + HEAD_BYTES + len(block) + NUMBER_AT))
            self._octets += frame(HEADERS, END_HEADERS, 0, block) + frame(DATA, END_STREAM, 0, data)
            self._ends.append(len(self._octets))
            self._data_bytes.append(self._data_bytes[-1] + len(data))

    @property
    def left(self) -> int:
        """Tell how many there are until the last."""
        return len(self._numbers) - self._next

    def data_bytes(self, count: int) -> int:
        """Tell how much of a window the next so many take."""
        return self._data_bytes[self._next + count] - self._data_bytes[self._next]

    def numbered(self, count: int, first: int) -> bytes:
        """Write the next so many, the first of them on stream `first`."""
        begin, end = self._next, self._next + count
        octets, number = self._octets, first
        for headers_at, data_at in self._numbers[begin:end]:
            _write_number(octets, headers_at, number)
            _write_number(octets, data_at, number)
            number += 2
        self._next = end if end < len(self._numbers) else 0
        with memoryview(octets) as whole:
            return bytes(whole[self._ends[begin] : self._ends[end]])


def _literal(headers: Sequence[tuple[str, str]]) -> bytes:
    """Write fields without a table, so that they mean the same on every connection and at any time."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block: bytes = encoder.encode([(name, value, True) for name, value in headers], huffman=False)
    return block


def read(block: bytes) -> Headers:
    """Read a block of fields that calls ended with; servers have no table either, as `Connection` tells them."""
    return [(str(name), str(value)) for name, value in hpack.Decoder().decode(block)]


class Flood(Connection):
    """One connection. Made inside the running event loop."""

    def __init__(self, seconds: float, when_ended: Callable[[], None] = lambda: None) -> None:
        """`seconds` is after how long a call may be given up; `when_ended` is called after some calls have ended."""
        super().__init__(seconds)
        self.sent = 0
        self.ended = 0
        self.seconds_by_end: defaultdict[bytes, array[float]] = defaultdict(lambda: array("d"))
        """How long calls took, by the block of fields that each ended with."""
        self.resets: defaultdict[int, int] = defaultdict(int)
        """How many calls the server ended without an answer, by its reason."""
        self._when_ended = when_ended
        self._sent_at = array("d")
        """By half the stream's number; 0 once it has ended."""
        self._is_stalled = False
        self.greeted = asyncio.Event()
        """Set once the server has said how many calls it takes at a time."""

    def pause_writing(self) -> None:
        """Send no more until the server has read what there is."""
        self._is_stalled = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_stalled = False
        self._when_ended()

    def room(self) -> int:
        """Tell how many more calls the server and the socket take now."""
        return 0 if self._is_stalled or not self.is_open else max(0, self.streams_max - (self.sent - self.ended))

    def send(self, calls: Calls, count: int) -> int:
        """Send the next so many calls, or as many as there is room for and are left; tell how many."""
        count = min(count, self.room(), calls.left)
        while count and calls.data_bytes(count) > self._window:
            count -= 1
        if count:
            self._window -= calls.data_bytes(count)
            self._transport.write(calls.numbered(count, self._next_id))
            self._next_id += 2 * count
            self.sent += count
            self._sent_at.extend([time.monotonic()] * count)
        return count

    def data_received(self, data: bytes) -> None:
        """Take whole frames: look at those only that end a call, and leave to others what belongs to no call."""
        received = self._received + data if self._received else data
        at, end, now, ended = 0, len(received), time.monotonic(), self.ended
        sent_at, seconds_by_end = self._sent_at, self.seconds_by_end
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, number = frame_head(received, at)
            following = at + HEAD_BYTES + (high << 16 | low)
            if following > end:
                break
            if kind == HEADERS:
                assert flags & END_HEADERS, "an answer's fields fit into a frame"
                began = sent_at[number >> 1]
                if flags & END_STREAM and began:
                    sent_at[number >> 1] = 0.0
                    seconds_by_end[received[at + HEAD_BYTES : following]].append(now - began)
                    self.ended += 1
            elif kind == DATA:
                self._consumed += low
            elif kind == RST_STREAM:
                if sent_at[number >> 1]:  # Else it was answered, and this says that the rest of it is not wanted.
                    sent_at[number >> 1] = 0.0
                    self.resets[int.from_bytes(received[at + HEAD_BYTES : following])] += 1
                    self.ended += 1
            else:
                self._take(kind, flags, number & WINDOW_MAX, received[at + HEAD_BYTES : following])
            at = following
        self._received = received[at:]
        if self._consumed > REPLENISHED_BYTES:
            self._take_data(0, 0, b"")
        self._flush()
        if self.ended > ended:
            self._when_ended()

    def _take_settings(self, payload: bytes) -> None:
        super()._take_settings(payload)
        self.greeted.set()
