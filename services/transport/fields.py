"""Header fields: HPACK (RFC 7541) with as little work per call as it allows, and metadata and messages as fields.

We write every field as a literal that nobody has to remember, and allow peers no table, so that a field's bytes
always mean the same and are remembered with their meaning. Pure. Never here: what a request's fields say together (`heads.py`), or whose call it is.
"""

import base64
import binascii
import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import hpack

from services.transport.frames import ConnectionFault, ErrorCode

if TYPE_CHECKING:
    from services.transport.heads import RequestHead

Metadata = tuple[tuple[str, str | bytes], ...]

FIELD_BYTES_EXTRA: Final = 32
"""Counted for each field beside its name and value (RFC 9113, section 6.5.2)."""

REMEMBERED_FIELDS_MAX: Final = 128
REMEMBERED_BLOCKS_MAX: Final = 16
REMEMBERED_NAMES_MAX: Final = 256
"""Of fields that we write."""

REMEMBERED_BYTES_MAX: Final = 2_048
"""Larger fields and blocks are read anew each time."""

NO_TABLE: Final = b"\x20"
"""Before the first block that an end writes: its table has no room and never will."""

STATUS_OK: Final = "0"
SHORT: Final = 0x7F
"""Lengths below stand in one byte; up to here a length's first byte says that the text is not in Huffman's code."""
_SIZES: Final = tuple(bytes((size,)) for size in range(SHORT))
_LITERALS: Final = frozenset({0x00, 0x10, 0x40})
"""What begins a field whose name and value are texts of their own."""

_NAME: Final = re.compile(r":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OF_A_CONNECTION: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


# It tells at DEBUG what it reads, tokens among it.
logging.getLogger("hpack").setLevel(logging.WARNING)


class Fields(list[tuple[str, str]]):
    """What a block says, and what was made of it; never changed, since both are remembered with the block."""

    begun: "Fields | None" = None
    """What other blocks begin with as well."""
    head: "RequestHead | None" = None
    is_request: bool | None = None
    """Whether there is a head; None as long as nobody has looked."""


class Unsound(Exception):
    """A block of fields that HTTP/2 or gRPC does not allow; the connection can go on."""


class TooLarge(Exception):
    """More fields than are taken; the connection can go on."""


def encoded(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Write fields as literals that enter no table."""
    return b"".join([_named(name) + _string(value) for name, value in pairs])


@lru_cache(REMEMBERED_NAMES_MAX)
def _named(name: str) -> bytes:
    return b"\0" + _string(name)


def _string(text: str) -> bytes:
    octets = text.encode("latin-1")
    size = len(octets)
    if size < SHORT:
        return _SIZES[size] + octets
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
        self.has_table = True
        """Whether a block's bytes may mean something else the next time."""
        self._remembered: dict[bytes, tuple[str, str]] = {}
        self._remembered_before: dict[bytes, tuple[str, str]] = {}
        self._remembered_blocks: dict[bytes, Fields] = {}
        """Only while there is no table, and so are the beginnings of blocks."""
        self._beginnings: dict[bytes, Fields] = {}
        self._begun_bytes = 0
        """Of the beginning that was met last."""

    def forbid_table(self) -> None:
        """Allow the peer no table from now on: it has acknowledged our settings."""
        self._decoder.max_allowed_table_size = 0

    def decode(self, block: bytes) -> Fields:
        """Read a block. Raises Unsound, TooLarge, or ConnectionFault when the tables no longer agree."""
        known = self._remembered_blocks.get(block)
        if known is not None:
            return known
        try:
            fields = self._at_once(block) if self.has_table else self._each(block)
        except (hpack.HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"fields are not readable: {error}") from None
        size = FIELD_BYTES_EXTRA * len(fields)
        for name, value in fields:
            size += len(name) + len(value)
        if size > self._bytes_max:
            raise TooLarge
        if self.has_table:
            self._remembered_blocks.clear()
            self._beginnings.clear()
        else:
            _remember(self._remembered_blocks, block, fields)
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
        return Fields([_sound(bytes(name), bytes(value)) for name, value in self._decoded(block)])

    def _decoded(self, block: bytes) -> list[Any]:
        """Let the library read."""
        read = list(self._decoder.decode(block, raw=True))
        self.has_table = self._decoder.header_table_size > 0
        return read

    def _each(self, block: bytes) -> Fields:
        """Read fields one by one: without a table each stands for itself, and what blocks begin with is read once."""
        at = self._begun_bytes
        begun = self._beginnings.get(block[:at])
        if begun is None:
            at = 0
        fields = Fields(begun or ())
        end, left = len(block), self._bytes_max - FIELD_BYTES_EXTRA * len(fields)
        was_seen = begun is None
        while at < end:
            following = _end_of_field(block, at)
            octets = block[at:following]
            field = self._remembered.get(octets)
            if field is None:
                if was_seen and fields:
                    begun = self._begin(block[:at], fields)
                was_seen = False
                field = self._recall(octets)
            at = following
            if field is None:
                if self.has_table:
                    return Fields(fields + self._at_once(block[at:]))
                continue
            left -= FIELD_BYTES_EXTRA
            if left < 0:
                raise TooLarge
            fields.append(field)
        fields.begun = begun
        return fields

    def _begin(self, block: bytes, fields: Fields) -> Fields:
        """Remember what a block begins with: fields that have all come lately."""
        self._begun_bytes = len(block)
        begun = self._beginnings.get(block)
        if begun is None:
            begun = Fields(fields)
            _remember(self._beginnings, block, begun)
        return begun

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
        read = self._decoded(octets)
        return _sound(bytes(read[0][0]), bytes(read[0][1])) if read else None


def _remember(memory: dict[bytes, Fields], block: bytes, fields: Fields) -> None:
    if len(block) <= REMEMBERED_BYTES_MAX:
        if len(memory) >= REMEMBERED_BLOCKS_MAX:
            memory.clear()
        memory[block] = fields


def _sound(name_octets: bytes, value_octets: bytes) -> tuple[str, str]:
    name, value = name_octets.decode("latin-1"), value_octets.decode("latin-1")
    is_plain = value.isprintable() and value.isascii()
    if not _NAME.fullmatch(name) or not (is_plain or _VALUE.fullmatch(value)) or name in _OF_A_CONNECTION:
        raise Unsound
    return name, value


def _end_of_field(block: bytes, at: int) -> int:
    """Tell where a field ends. Raises IndexError when it is cut off."""
    first = block[at]
    if first in _LITERALS and block[at + 1] < SHORT:
        value_at = at + 2 + block[at + 1]
        if block[value_at] < SHORT:
            at = value_at + 1 + block[value_at]
            if at > len(block):
                raise IndexError("a field is cut off")
            return at
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


def texts(metadata: Iterable[tuple[str, str | bytes]]) -> Iterable[tuple[str, str]]:
    """Word metadata as fields: binary values, whose names end with -bin, in base 64 without padding."""
    for name, value in metadata:
        if isinstance(value, bytes):
            yield name, base64.b64encode(value).decode().rstrip("=")
        else:
            yield name, value


def value_of(name: str, text: str) -> str | bytes:
    """Read a value of metadata. Raises Unsound."""
    if not name.endswith("-bin"):
        return text
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise Unsound from None


def metadata_of(fields: Iterable[tuple[str, str]]) -> Metadata:
    """Read the metadata out of an answer's fields. Raises Unsound."""
    return tuple(
        (name, value_of(name, value))
        for name, value in fields
        if name[0] != ":" and not name.startswith("grpc-message")
    )


def message_text(text: str) -> str:
    """Word a status message as gRPC puts it into a field."""
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def message_of(text: str) -> str:
    """Read a status message."""
    return unquote(text, errors="replace")
