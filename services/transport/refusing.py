"""Turning calls away at their first bytes: a connection's serving end, as far as it is about those that find no place.

No task is made for them, and of many that came together only the first of a kind is looked at: refusing one costs two to
four us then, a twentieth of serving one, so that a storm of calls leaves a server time for the others. Never here: which
calls find no place (`server.py`), or what becomes of the others (`serving.py`).
"""

from typing import Final

from services.transport.calls import Call, Refusal
from services.transport.connection import Connection
from services.transport.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode

ALIKE_MAX: Final = 8
"""Beginnings of fields that are remembered at a time: each is compared with what comes."""


class RefusingConnection(Connection):
    """A caller's connection, on which calls are turned away."""

    def __init__(self, metadata_bytes_max: int, stream_window: int) -> None:
        super().__init__(metadata_bytes_max, stream_window)
        self._calls: dict[int, Call] = {}
        self._last_taken = 0
        """The number of the newest call, whatever became of it."""
        self._alike: dict[bytes, Refusal] = {}
        """What calls were told that came together with those which are being taken, by how their fields begin, as far as
        the path: the rest of the fields, names of requests among them, does not matter to who finds no place."""
        self._found_no_place: Refusal | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came together."""
        super().data_received(data)
        self.look_again()

    def turn_away(self, number: int, refusal: Refusal, *, ends_stream: bool) -> None:
        """Refuse a call that was not begun."""
        self.send(self.fields(number, refusal.given(), ends_stream=True))
        if not ends_stream:
            self.reset(number, ErrorCode.NO_ERROR)

    def find_no_place(self, number: int, refusal: Refusal, *, ends_stream: bool) -> None:
        """Refuse a call, and those like it that came together with it: nobody makes room meanwhile."""
        self._found_no_place = refusal
        self.turn_away(number, refusal, ends_stream=ends_stream)

    def look_again(self) -> None:
        """Look at the next call whatever it is like: there may be room."""
        if self._alike:
            for refusal in self._alike.values():
                refusal.count()
            self._alike.clear()

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is None and number <= self._last_taken:
            if kind == DATA and flags <= END_STREAM and payload and number and number not in self._calls:
                self._consume(len(payload))  # It was refused, or given up, while this was on its way.
                return
        elif kind == HEADERS and flags == END_HEADERS and number & 1:
            if self._block is None:
                for beginning, refusal in self._alike.items():
                    if payload.startswith(beginning):
                        self._last_taken = number
                        self._out.append(refusal.ending(number))
                        return
            self._found_no_place = None
            super()._take(kind, flags, number, payload)
            if self._found_no_place is not None and len(self._alike) < ALIKE_MAX and not self._decoder.has_table:
                self._alike[self._decoder.through(payload, ":path")] = self._found_no_place
            return
        super()._take(kind, flags, number, payload)

    def _last_stream(self) -> int:
        return self._last_taken
