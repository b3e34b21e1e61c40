"""Writes XML straight through, element by element, so that a message may be longer than memory.

What ISO 20022 could not carry (characters that XML has no room for) becomes U+FFFD. Never here: which
elements a message has.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


class Xml:
    """Writes elements one inside the other, indented."""

    def __init__(self, stream: Sink) -> None:
        self._out = XMLGenerator(stream, "UTF-8", short_empty_elements=True)
        self._depth = 0
        self._out.startDocument()

    def begin(self, name: str, **attributes: str) -> None:
        """Begin an element that has others inside."""
        self._out.ignorableWhitespace("  " * self._depth)
        self._out.startElement(name, AttributesImpl(attributes))
        self._out.ignorableWhitespace("\n")
        self._depth += 1

    def end(self, name: str) -> None:
        """End it."""
        self._depth -= 1
        self._out.ignorableWhitespace("  " * self._depth)
        self._out.endElement(name)
        self._out.ignorableWhitespace("\n")

    @contextmanager
    def inside(self, *names: str) -> Iterator[None]:
        """Write elements one inside the other around what is written meanwhile."""
        for name in names:
            self.begin(name)
        yield
        for name in reversed(names):
            self.end(name)

    def leaf(self, name: str, text: str, **attributes: str) -> None:
        """Write an element with text; nothing where there is none."""
        if text:
            self._out.ignorableWhitespace("  " * self._depth)
            self._out.startElement(name, AttributesImpl(attributes))
            self._out.characters(_NOT_IN_XML.sub("\ufffd", text))
            self._out.endElement(name)
            self._out.ignorableWhitespace("\n")
