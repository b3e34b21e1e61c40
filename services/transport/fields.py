"""Header fields: HPACK (RFC 7541) with as little work per call as it allows, and what gRPC makes of the fields.

We write every field as a literal that nobody has to remember, and allow peers no table, so that a field's bytes
always mean the same and are remembered with their meaning. Pure. Never here: whose call it is.
"""

import base64
import binascii
import logging
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import hpack

from services.transport.frames import ConnectionFault, ErrorCode

Fields = list[tuple[str, str]]
Metadata = tuple[tuple[str, str | bytes], ...]

FIELD_BYTES_EXTRA: Final = 32
"""Counted for each field beside its name and value (RFC 9113, section 6.5.2)."""

REMEMBERED_FIELDS_MAX: Final = 128
REMEMBERED_BLOCKS_MAX: Final = 16

REMEMBERED_BYTES_MAX: Final = 2_048
"""Larger fields and blocks are read anew each time."""

NO_TABLE: Final = b"\x20"
"""Before the first block that an end writes: its table has no room and never will."""

STATUS_OK: Final = "0"
SHORT: Final = 0x7F
"""Lengths below stand in one byte; up to here a length's first byte says that the text is not in Huffman's code."""
_LITERALS: Final = frozenset({0x00, 0x10, 0x40})
"""What begins a field whose name and value are texts of their own."""

TIMEOUT_UNITS: Final = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")
_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OF_A_CONNECTION: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_OF_THE_PROTOCOL: Final = frozenset({"te", "grpc-accept-encoding", "content-type", "grpc-encoding", "grpc-timeout"})


# It tells at DEBUG what it reads, tokens among it.
logging.getLogger("hpack").setLevel(logging.WARNING)


class Unsound(Exception):
    """A block of fields that HTTP/2 or gRPC does not allow; the connection can go on."""


class TooLarge(Exception):
    """More fields than are taken; the connection can go on."""


def encoded(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Write fields as literals that enter no table."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in pairs)


def _string(text: str) -> bytes:
    octets = text.encode("latin-1")
    size = len(octets)
    if size < SHORT:
        return bytes((size,)) + octets
    length = bytearray((SHORT,))
    size -= SHORT
    while size >= 0x80:
        length.append(0x80 | size & 0x7F)
        size >>= 7
    length.append(size)
    return bytes(length) + octets


class Decoder:
    """Reads the blocks of one connection, in their order."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max`: of a block's fields, as RFC 9113 counts them."""
        self._bytes_max = bytes_max
        # Bounds what a few bytes that refer to a table can become; beyond it, the table's state is lost.
        self._decoder = hpack.Decoder(max_header_list_size=16 * bytes_max)
        self._remembered: dict[bytes, tuple[str, str]] = {}
        self._remembered_before: dict[bytes, tuple[str, str]] = {}
        self._remembered_blocks: dict[bytes, Fields] = {}

    def forbid_table(self) -> None:
        """Allow the peer no table from now on: it has acknowledged our settings."""
        self._decoder.max_allowed_table_size = 0

    @property
    def has_table(self) -> bool:
        """Tell whether a block's bytes may mean something else the next time."""
        return self._decoder.header_table_size > 0

    def decode(self, block: bytes) -> Fields:
        """Read a block. Raises Unsound, TooLarge, or ConnectionFault when the tables no longer agree."""
        known = self._remembered_blocks.get(block)
        if known is not None:
            return known
        has_table = self.has_table
        try:
            fields = self._at_once(block) if has_table else self._each(block)
        except (hpack.HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"fields are not readable: {error}") from None
        if sum(len(name) + len(value) + FIELD_BYTES_EXTRA for name, value in fields) > self._bytes_max:
            raise TooLarge
        if not has_table and len(block) <= REMEMBERED_BYTES_MAX:
            if len(self._remembered_blocks) >= REMEMBERED_BLOCKS_MAX:
                self._remembered_blocks.clear()
            self._remembered_blocks[block] = fields
        return fields

    def through(self, block: bytes, name: str) -> bytes:
        """Give the beginning of a block that was read, with its first field of a name; there is one, and no table."""
        at = 0
        while True:
            following = _end_of_field(block, at)
            field = self._recall(block[at:following])
            if field is not None and field[0] == name:
                return block[:following]
            at = following

    def _at_once(self, block: bytes) -> Fields:
        return [_sound(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]

    def _each(self, block: bytes) -> Fields:
        """Read fields one by one: without a table each stands for itself."""
        fields: Fields = []
        at, end, left = 0, len(block), self._bytes_max
        while at < end:
            following = _end_of_field(block, at)
            octets = block[at:following]
            at = following
            field = self._remembered.get(octets) or self._recall(octets)
            if field is None:
                if self._decoder.header_table_size:
                    return fields + self._at_once(block[at:])
                continue
            left -= FIELD_BYTES_EXTRA
            if left < 0:
                raise TooLarge
            fields.append(field)
        return fields

    def _recall(self, octets: bytes) -> tuple[str, str] | None:
        """Give a field that was not read lately, and remember it; None when it is the size of a table.

        Half of what is remembered goes at a time, so that names which come once do not drive out tokens.
        """
        field = self._remembered_before.get(octets) or self._read(octets)
        if field is not None and len(octets) <= REMEMBERED_BYTES_MAX:
            if len(self._remembered) >= REMEMBERED_FIELDS_MAX:
                self._remembered_before = self._remembered
                self._remembered = {}
            self._remembered[octets] = field
        return field

    def _read(self, octets: bytes) -> tuple[str, str] | None:
        """Read one field, the plainest without the library."""
        if octets[0] in _LITERALS and octets[1] < SHORT:
            name_end = 2 + octets[1]
            if octets[name_end] <= SHORT:
                _, value_at = _integer(octets, name_end, SHORT)
                return _sound(octets[2:name_end], octets[value_at:])
        read = list(self._decoder.decode(octets, raw=True))
        return _sound(bytes(read[0][0]), bytes(read[0][1])) if read else None


def _sound(name_octets: bytes, value_octets: bytes) -> tuple[str, str]:
    name, value = name_octets.decode("latin-1"), value_octets.decode("latin-1")
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name in _OF_A_CONNECTION:
        raise Unsound
    return name, value


def _end_of_field(block: bytes, at: int) -> int:
    """Tell where a field ends. Raises IndexError when it is cut off."""
    first = block[at]
    if first & 0x80:
        return _integer(block, at, 0x7F)[1]
    if first & 0x40:
        named, at = _integer(block, at, 0x3F)
    elif first & 0x20:
        return _integer(block, at, 0x1F)[1]
    else:
        named, at = _integer(block, at, 0x0F)
    if not named:
        size, at = _integer(block, at, 0x7F)
        at += size
    size, at = _integer(block, at, 0x7F)
    at += size
    if at > len(block):
        raise IndexError("a field is cut off")
    return at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Read an integer behind a prefix; return it and where it ends."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 28, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise IndexError("an integer is too large")


class RequestHead(NamedTuple):
    """What the fields of a request say."""

    path: str
    seconds: float | None
    """Until the caller's deadline; None without one."""
    encoding: str
    """Of compressed messages."""
    metadata: Metadata


def request_head(fields: Fields) -> RequestHead:
    """Read a request's fields. Raises Unsound."""
    pseudo: dict[str, str] = {}
    plain: dict[str, str] = {}
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name[0] == ":":
            if plain or metadata or name in pseudo:
                raise Unsound
            pseudo[name] = value
        elif name in _OF_THE_PROTOCOL:
            plain[name] = value
        else:
            metadata.append((name, _value(name, value)))
    if pseudo.get(":method") != "POST" or not plain.get("content-type", "").startswith("application/grpc"):
        raise Unsound
    if ":path" not in pseudo or ":scheme" not in pseudo:
        raise Unsound
    timeout = plain.get("grpc-timeout")
    return RequestHead(
        pseudo[":path"],
        None if timeout is None else seconds_of(timeout),
        plain.get("grpc-encoding", "identity"),
        tuple(metadata),
    )


def seconds_of(timeout: str) -> float:
    """Read a timeout as gRPC writes it. Raises Unsound."""
    if not _TIMEOUT.fullmatch(timeout):
        raise Unsound
    return int(timeout[:-1]) * TIMEOUT_UNITS[timeout[-1]]


def timeout_of(seconds: float) -> str:
    """Write a timeout, rounded up, in few enough digits."""
    milliseconds = max(0, -int(-seconds * 1_000 // 1))
    return f"{milliseconds}m" if milliseconds < 10**8 else f"{min(milliseconds // 1_000, 10**8 - 1)}S"


def texts(metadata: Iterable[tuple[str, str | bytes]]) -> Iterable[tuple[str, str]]:
    """Word metadata as fields: binary values, whose names end with -bin, in base 64 without padding."""
    for name, value in metadata:
        if isinstance(value, bytes):
            yield name, base64.b64encode(value).decode().rstrip("=")
        else:
            yield name, value


def _value(name: str, text: str) -> str | bytes:
    if not name.endswith("-bin"):
        return text
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise Unsound from None


def metadata_of(fields: Fields) -> Metadata:
    """Read the metadata out of an answer's fields. Raises Unsound."""
    return tuple(
        (name, _value(name, value)) for name, value in fields if name[0] != ":" and not name.startswith("grpc-message")
    )


def message_text(text: str) -> str:
    """Word a status message as gRPC puts it into a field."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def message_of(text: str) -> str:
    """Read a status message."""
    return unquote(text, errors="replace")
