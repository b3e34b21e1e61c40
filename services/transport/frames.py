"""Frames of HTTP/2 as bytes (RFC 9113, sections 4, 6 and 7). Pure; never here: what a connection does with them."""

from enum import IntEnum
from struct import Struct
from typing import Final

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says before its first frame."""

HEAD_BYTES: Final = 9
"""Before each frame's payload."""

WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_MAX: Final = 2**31 - 1
FRAME_BYTES_MIN: Final = 16_384
"""Every peer takes frames of this size, and no larger ones unless it says so."""
FRAME_BYTES_MAX: Final = 2**24 - 1
PRIORITY_BYTES: Final = 5
PING_BYTES: Final = 8


class ErrorCode(IntEnum):
    """Why a stream or a connection is ended (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer did what ends a connection."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


_head = Struct(">BHBBI").pack
read_head: Final = Struct(">BHBBI").unpack_from
"""Reads a frame's head: length (its high 8 bits, its low 16), kind, flags, stream with a reserved bit."""
_reset = Struct(">BHBBII").pack
_setting = Struct(">HI")
number: Final = Struct(">I").pack
"""Writes a number of 32 bits: an increment, or an error code."""


def head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """Write a frame's head."""
    return _head(size >> 16, size & 0xFFFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: dict[int, int]) -> bytes:
    """Write a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_setting.pack(*each) for each in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read a SETTINGS frame's payload; a later value of the same setting counts. Raises ConnectionFault."""
    if len(payload) % _setting.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings are six bytes each")
    read = list(_setting.iter_unpack(payload))
    for name, value in read:
        if name == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that large cannot be")
        if name == MAX_FRAME_SIZE and not FRAME_BYTES_MIN <= value <= FRAME_BYTES_MAX:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "frames of that size cannot be")
    return read


def going_away(last_stream: int, code: ErrorCode, text: str = "") -> bytes:
    """Write a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, number(last_stream) + number(code) + text.encode())


def headers(stream: int, block: bytes, frame_bytes: int, *, ends_stream: bool) -> bytes:
    """Write a block of fields as HEADERS, and CONTINUATIONs where it is larger than a frame."""
    flags = END_STREAM if ends_stream else 0
    if len(block) <= frame_bytes:
        return head(HEADERS, flags | END_HEADERS, stream, len(block)) + block
    parts = [block[at : at + frame_bytes] for at in range(0, len(block), frame_bytes)]
    last = len(parts) - 1
    return b"".join(
        frame(
            CONTINUATION if place else HEADERS,
            (0 if place else flags) | (END_HEADERS if place == last else 0),
            stream,
            part,
        )
        for place, part in enumerate(parts)
    )


def ending(stream: int, block: bytes) -> bytes:
    """Write a block of fields, no larger than every peer takes, that ends a stream whose rest is not wanted."""
    size = len(block)
    return b"".join(
        (
            _head(size >> 16, size & 0xFFFF, HEADERS, END_STREAM | END_HEADERS, stream),
            block,
            _reset(0, 4, RST_STREAM, 0, stream, ErrorCode.NO_ERROR),
        )
    )


def unpadded(payload: bytes, flags: int) -> bytes:
    """Take the padding off a DATA or HEADERS payload. Raises ConnectionFault."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
