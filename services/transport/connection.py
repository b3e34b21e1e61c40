"""One HTTP/2 connection, as far as both of its ends do the same: frames taken apart, settings, pings, floods cut off.

Never here: calls (`serving.py`, `calling.py`), or how what they say is written (`sending.py`).
"""

from typing import Final

from services.transport import frames
from services.transport.fields import Decoder, Fields, TooLarge, Unsound
from services.transport.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    PADDED,
    PING,
    PRIORITY_BYTES,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
)
from services.transport.sending import Sender

WINDOW_BYTES: Final = 16 * 1024 * 1024
"""What a peer may send on a connection before it hears that it was received."""

REPLENISHED_BYTES: Final = WINDOW_BYTES // 4
"""Received before the peer is told."""

BLOCK_FRAMES_MAX: Final = 16
"""That a block of fields may be cut into."""

BLOCK_BYTES_FACTOR: Final = 4
"""A block may have so many times the bytes that its fields may have: beyond, it is not even read to its end."""

SETTINGS_PER_SECOND_MAX: Final = 20
RESETS_PER_SECOND_MAX: Final = 2_000
"""Calls that a peer may give up, which is also what it costs us to begin them for nothing."""
IDLE_FRAMES_PER_SECOND_MAX: Final = 1_000
"""Frames that say nothing: empty data with more to follow, priorities, kinds that nobody knows."""
FLOOD_SECONDS: Final = 5.0
"""So many seconds' worth of each may come at once."""

_read_head = frames.read_head


class _Flood:
    """So many of something per second, and a few seconds' worth of it at once."""

    __slots__ = ("_left", "_per_second", "_text")

    def __init__(self, per_second: float, text: str) -> None:
        self._per_second = per_second
        self._text = text
        self._left = per_second * FLOOD_SECONDS

    def take(self) -> None:
        """Count one. Raises ConnectionFault when there are too many."""
        self._left -= 1
        if self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, self._text)

    def ebb(self, seconds: float) -> None:
        """Count time that has passed."""
        self._left = min(self._left + seconds * self._per_second, self._per_second * FLOOD_SECONDS)


class Connection(Sender):
    """What both ends of a connection do."""

    def __init__(self, metadata_bytes_max: int, stream_window: int) -> None:
        """`stream_window`: what a peer may send on a stream before it hears that it was received."""
        super().__init__()
        self.heard_at = self.loop.time()
        """When the peer was last heard of (loop time)."""
        self._metadata_bytes_max = metadata_bytes_max
        self._stream_window = stream_window
        self._decoder = Decoder(metadata_bytes_max)
        self._received = b""
        self._consumed = 0
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and parts of a block of fields that is not whole yet."""
        self._settings = _Flood(SETTINGS_PER_SECOND_MAX, "settings change too often")
        self._resets = _Flood(RESETS_PER_SECOND_MAX, "too many calls are given up")
        self._idle_frames = _Flood(IDLE_FRAMES_PER_SECOND_MAX, "too many frames say nothing")
        self._looked_at = self.heard_at
        self.pinged_at: float | None = None
        """When a ping was sent that is not answered yet."""

    # What the ends do differently.

    def take_fields(self, number: int, fields: Fields | None, *, ends_stream: bool) -> None:
        """Take a block of fields; None in place of one with more than is taken. Raises Unsound, ConnectionFault."""
        raise NotImplementedError

    def take_unsound(self, number: int) -> None:
        """Take that a block of fields was not sound."""
        raise NotImplementedError

    def take_data(self, number: int, payload: bytes, *, ends_stream: bool) -> None:
        """Take data. Raises ConnectionFault."""
        raise NotImplementedError

    def take_reset(self, number: int, code: int) -> None:
        """Take that the peer ended a stream. Raises ConnectionFault."""
        raise NotImplementedError

    def take_window(self, number: int, more: int) -> None:
        """Take that there is more room for a stream's data. Raises ConnectionFault."""
        raise NotImplementedError

    def take_window_of_streams(self, change: int) -> None:
        """Take that all streams' windows change. Raises ConnectionFault."""
        raise NotImplementedError

    def take_ping(self, payload: bytes) -> None:
        """Take a ping. Raises ConnectionFault."""
        self.send(frames.frame(PING, ACK, 0, payload))

    def take_pong(self, payload: bytes) -> None:
        """Take the answer to a ping."""
        self.pinged_at = None

    def take_going_away(self, last_stream: int) -> None:
        """Take that the peer begins or takes no streams after this one."""

    # The transport's calls.

    def introduce(self, preface: bytes, values: dict[int, int]) -> None:
        """Say who we are, and how much may be sent to us."""
        told = {frames.HEADER_TABLE_SIZE: 0, frames.INITIAL_WINDOW_SIZE: self._stream_window, **values}
        self.send(preface + frames.settings(told))
        more = frames.number(WINDOW_BYTES - frames.WINDOW_DEFAULT)
        self.send(frames.frame(WINDOW_UPDATE, 0, 0, more))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take whole frames, then send what they made us say."""
        self.heard_at = self.loop.time()
        try:
            self._take_all(self._received + data if self._received else data)
        except ConnectionFault as fault:
            self.end(fault.code, str(fault))
        self._flush()

    def end(self, code: ErrorCode, text: str = "") -> None:
        """Close the connection at once and say why."""
        if self._transport is not None and not self._transport.is_closing():
            self.send(frames.going_away(self._last_stream(), code, text))
            self._flush()
            self._transport.close()

    def look(self, now: float, silent_seconds_max: float, answer_seconds_max: float) -> None:
        """Once a second or so: ping a silent peer, drop one that does not answer or does not read."""
        for flood in (self._settings, self._resets, self._idle_frames):
            flood.ebb(now - self._looked_at)
        self._looked_at = now
        if self._stalled_at is not None:
            if now - self._stalled_at > silent_seconds_max + answer_seconds_max:
                self.abort()
        elif self.pinged_at is not None:
            if now - self.pinged_at > answer_seconds_max and now - self.heard_at > answer_seconds_max:
                self.abort()
        elif now - self.heard_at > silent_seconds_max:
            self.pinged_at = now
            self.send(frames.frame(PING, 0, 0, bytes(frames.PING_BYTES)))

    # Receiving.

    def _take_all(self, received: bytes) -> None:
        """Take the whole frames of what was received and keep the rest."""
        at, end = 0, len(received)
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, number = _read_head(received, at)
            size = high << 16 | low
            if size > frames.FRAME_BYTES_MIN:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is larger than we take")
            following = at + HEAD_BYTES + size
            if following > end:
                break
            self._take(kind, flags, number & WINDOW_MAX, received[at + HEAD_BYTES : following])
            at = following
        self._received = received[at:]

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a block of fields was interrupted")
        if kind == DATA:
            if not number:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data of no stream")
            self._consume(len(payload))
            if not payload and not flags & END_STREAM:
                self._idle_frames.take()
            if flags & PADDED:
                payload = frames.unpadded(payload, flags)
            self.take_data(number, payload, ends_stream=bool(flags & END_STREAM))
        elif kind == HEADERS:
            if not number:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "fields of no stream")
            payload = frames.unpadded(payload, flags)
            self._take_part(number, flags, payload[PRIORITY_BYTES:] if flags & WITH_PRIORITY else payload, [])
        elif kind == WINDOW_UPDATE:
            self._take_window_update(number, payload)
        elif kind == PING:
            if len(payload) != frames.PING_BYTES or number:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a ping has eight bytes and no stream")
            (self.take_pong if flags & ACK else self.take_ping)(payload)
        elif kind == SETTINGS:
            self._take_settings(number, flags, payload)
        elif kind == RST_STREAM:
            if len(payload) != 4 or not number:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a reset has four bytes and a stream")
            self.count_reset()
            self.take_reset(number, int.from_bytes(payload))
        elif kind == CONTINUATION:
            if self._block is None or self._block[0] != number:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nothing to continue")
            _, begun_flags, parts = self._block
            self._block = None
            self._take_part(number, begun_flags | flags & END_HEADERS, payload, parts)
        elif kind == GOAWAY:
            if len(payload) < 8 or number:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "going away takes eight bytes and no stream")
            self.take_going_away(int.from_bytes(payload[:4]) & WINDOW_MAX)
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nobody wants pushes")
        else:
            # Priorities, and kinds that we do not know, mean nothing to us.
            self._idle_frames.take()

    def count_reset(self) -> None:
        """Count a call that the peer gave up, or made us give up. Raises ConnectionFault when there are too many."""
        self._resets.take()

    def _take_part(self, number: int, flags: int, part: bytes, before: list[bytes]) -> None:
        parts = [*before, part] if before else [part]
        size = len(part) if not before else sum(map(len, parts))
        if len(parts) > BLOCK_FRAMES_MAX or size > BLOCK_BYTES_FACTOR * self._metadata_bytes_max:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a block of fields without an end")
        if not flags & END_HEADERS:
            self._block = (number, flags, parts)
            return
        ends_stream = bool(flags & END_STREAM)
        try:
            fields: Fields | None = self._decoder.decode(part if not before else b"".join(parts))
        except TooLarge:
            fields = None
        except Unsound:
            self.take_unsound(number)
            return
        try:
            self.take_fields(number, fields, ends_stream=ends_stream)
        except Unsound:
            self.take_unsound(number)

    def _take_settings(self, number: int, flags: int, payload: bytes) -> None:
        if number or (flags & ACK and payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings have no stream, their answer no settings")
        if flags & ACK:
            self._decoder.forbid_table()
            return
        self._settings.take()
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                change = value - self._window_of_streams
                self._window_of_streams = value
                self.take_window_of_streams(change)
            elif name == frames.MAX_FRAME_SIZE:
                self._frame_bytes = value
            else:
                self.take_setting(name, value)
        self.send(frames.frame(SETTINGS, ACK, 0))
        self.take_settings_done()
        self.send_waiting()

    def take_settings_done(self) -> None:
        """Take that the peer's settings are in force."""

    def take_setting(self, name: int, value: int) -> None:
        """Take a setting that only one of the ends minds."""

    def _take_window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an update of a window has four bytes")
        more = int.from_bytes(payload) & WINDOW_MAX
        if number:
            self.take_window(number, more)
        else:
            self._window += more
            if not more or self._window > WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that large cannot be")
        if self._waiting:
            self.send_waiting()

    def _consume(self, size: int) -> None:
        """Count received data, and tell the peer of it now and then."""
        self._consumed += size
        if self._consumed > WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than there was room for")
        if self._consumed >= REPLENISHED_BYTES:
            self.send(frames.frame(WINDOW_UPDATE, 0, 0, frames.number(self._consumed)))
            self._consumed = 0

    def _last_stream(self) -> int:
        """Tell the last stream of the peer's that was taken."""
        return 0
