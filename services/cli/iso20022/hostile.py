"""XML from strangers, read in one pass and in bounded memory.

No document type, no entity of its own, no external anything: `defusedxml` refuses them; the bounds on
bytes, depth, elements' text and single tags are here. Nothing is kept but the open elements' names and
the text of one leaf. Never here: what the elements mean.
"""

import codecs
import re
from collections.abc import Mapping
from typing import BinaryIO, Final, Protocol

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

FILE_BYTES_MAX: Final = 512 * 1024 * 1024
"""A pain.001 of 200,000 payments has about 250 MiB."""

DEPTH_MAX: Final = 32
"""pain.001 needs 13 levels, supplementary data perhaps some more."""

TEXT_CHARACTERS_MAX: Final = 4_096
"""The longest text of pain.001 has 2,048 characters."""

ATTRIBUTES_MAX: Final = 32

CHUNK_BYTES: Final = 64 * 1024
SILENT_BYTES_MAX: Final = 1024 * 1024
"""One tag, comment or instruction of more bytes than this is an attack on memory, not a payment."""

ENCODINGS: Final = ("utf-8", "utf-16", "ascii", "iso8859-1")
"""What the parser reads by itself, in Python's names; ISO 20022 itself knows UTF-8 only."""

_DECLARED: Final = re.compile(
    rb"""\A(?:\xef\xbb\xbf)?<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
)


class XmlRefused(Exception):
    """The bytes are not XML that is read here; the message says why and where, in one sentence."""


class Listener(Protocol):
    """Hears of elements as they end. Names are as in ElementTree: `{namespace}name`."""

    def begin(self, path: tuple[str, ...], attributes: Mapping[str, str]) -> None:
        """Hear of an element that begins; `path` ends with it."""

    def end(self, path: tuple[str, ...], text: str, attributes: Mapping[str, str]) -> None:
        """Hear of an element that ends. `text` is its own, stripped; empty where it has children."""


class _Target:
    """What the parser calls; keeps the bounds and tells the listener."""

    def __init__(self, listener: Listener) -> None:
        self.heard = 0
        """How often the parser has called: a file that is read calls all the time."""
        self._listener = listener
        self._path: tuple[str, ...] = ()
        self._attributes: list[Mapping[str, str]] = []
        self._text: list[str] = []
        self._text_length = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take the beginning of an element."""
        self.heard += 1
        if len(self._path) == DEPTH_MAX:
            raise XmlRefused(f"elements are nested deeper than {DEPTH_MAX}")
        if len(attributes) > ATTRIBUTES_MAX:
            raise XmlRefused(f"an element has more than {ATTRIBUTES_MAX} attributes")
        if any(len(value) > TEXT_CHARACTERS_MAX for value in attributes.values()):
            raise XmlRefused(f"an attribute has more than {TEXT_CHARACTERS_MAX} characters")
        self._path = (*self._path, tag)
        self._attributes.append(attributes)
        self._clear()
        self._listener.begin(self._path, attributes)

    def end(self, _tag: str) -> None:
        """Take the end of an element."""
        self.heard += 1
        text = "".join(self._text).strip()
        self._clear()
        self._listener.end(self._path, text, self._attributes.pop())
        self._path = self._path[:-1]

    def data(self, text: str) -> None:
        """Take a piece of text."""
        self.heard += 1
        self._text_length += len(text)
        if self._text_length > TEXT_CHARACTERS_MAX:
            raise XmlRefused(f"an element has more than {TEXT_CHARACTERS_MAX} characters of text")
        self._text.append(text)

    def close(self) -> None:
        """Take the end of the document."""

    def _clear(self) -> None:
        self._text.clear()
        self._text_length = 0


def read(file: BinaryIO, listener: Listener) -> None:
    """Read a whole document and tell `listener`.

    Raises `XmlRefused`; whatever `listener` raises passes through.
    """
    target = _Target(listener)
    parser = DefusedXMLParser(target=target, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    read_bytes, silent_bytes, heard = 0, 0, 0
    try:
        while chunk := file.read(CHUNK_BYTES):
            if not read_bytes:
                _check_beginning(chunk)
            read_bytes += len(chunk)
            if read_bytes > FILE_BYTES_MAX:
                raise XmlRefused(f"the file is longer than {FILE_BYTES_MAX // 2**20} MiB")
            parser.feed(chunk)
            silent_bytes = silent_bytes + len(chunk) if target.heard == heard else 0
            heard = target.heard
            if silent_bytes > SILENT_BYTES_MAX:
                raise XmlRefused(f"one tag, comment or instruction is longer than {SILENT_BYTES_MAX // 2**20} MiB")
        parser.close()
    except DefusedXmlException as error:
        raise XmlRefused(f"{_forbidden(error)}: no document type, entity or external reference is read") from error
    except ParseError as error:
        raise XmlRefused(f"not well-formed XML: {error}") from error
    except (UnicodeError, LookupError, ValueError) as error:
        raise XmlRefused(f"the text is not in the encoding that the file names: {error}") from error


def _check_beginning(chunk: bytes) -> None:
    """Refuse an encoding that the parser would have to look up."""
    declared = _DECLARED.match(chunk)
    name = declared[1].decode("ascii") if declared else "utf-8"
    try:
        is_read = codecs.lookup(name).name in ENCODINGS
    except LookupError:
        is_read = False
    if not is_read:
        raise XmlRefused(f"encoding {name!r} is not read: use UTF-8")


def _forbidden(error: Exception) -> str:
    """Name what a document may not have."""
    return {
        "DTDForbidden": "the file declares a document type",
        "EntitiesForbidden": "the file declares an entity",
    }.get(type(error).__name__, "the file refers to something outside")


def bare(path: tuple[str, ...], namespace: str) -> tuple[str, ...]:
    """Strip a namespace from a path; names of other namespaces keep theirs, so that they match nothing."""
    prefix = f"{{{namespace}}}"
    return tuple(name.removeprefix(prefix) for name in path)
