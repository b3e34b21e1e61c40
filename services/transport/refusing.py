"""Turning calls away at their first bytes: a connection's serving end, as far as it is about those that find no place.

No task is made for them. While there is a crowd of calls that find no place, their fields are read as far as the path
only, and of those that came together the first of a kind asks whether there is one: refusing a call costs two to four us
then, a twentieth of serving it, so that a storm of calls leaves a server time for the others. Never here: which
calls find no place (`server.py`), or what becomes of the others (`serving.py`).
"""

from typing import Final, TypeAlias

from services.transport.calls import Call, Method, Refusal
from services.transport.connection import Connection
from services.transport.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode

Crowd: TypeAlias = dict[bytes, Method]
"""Methods of calls that found no place lately, on any connection, by how their fields begin, as far as the path: the rest of
them, names of requests among it, does not matter to who finds no place. The server forgets it now and then."""

CROWD_MAX: Final = 8
"""Each is compared with what comes."""


class RefusingConnection(Connection):
    """A caller's connection, on which calls are turned away."""

    def __init__(self, metadata_bytes_max: int, stream_window: int, crowd: Crowd) -> None:
        super().__init__(metadata_bytes_max, stream_window)
        self._calls: dict[int, Call] = {}
        self._last_taken = 0
        """The number of the newest call, whatever became of it."""
        self._crowd = crowd
        self._alike: dict[bytes, Refusal] = {}
        """What calls were told that came together with those which are being taken, by how their fields begin."""
        self._found_no_place: tuple[Method, Refusal] | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came together."""
        super().data_received(data)
        self.look_again()

    def turn_away(self, number: int, refusal: Refusal, *, ends_stream: bool) -> None:
        """Refuse a call that was not begun."""
        self.send(self.fields(number, refusal.given(), ends_stream=True))
        if not ends_stream:
            self.reset(number, ErrorCode.NO_ERROR)

    def refusal_for(self, method: Method) -> Refusal | None:
        """Tell what one more call of a method is told if there is no place for it."""
        raise NotImplementedError

    def find_no_place(self, number: int, method: Method, refusal: Refusal, *, ends_stream: bool) -> None:
        """Refuse a call, and those like it that came together with it: nobody makes room meanwhile."""
        self._found_no_place = method, refusal
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
            if self._crowd and self._block is None and not self._decoder.has_table:
                refusal = self._refusal_at_a_glance(payload)
                if refusal is not None:
                    self._last_taken = number
                    self._out.append(refusal.ending(number))
                    return
            self._found_no_place = None
            super()._take(kind, flags, number, payload)
            if self._found_no_place is not None and len(self._crowd) < CROWD_MAX and not self._decoder.has_table:
                beginning = self._decoder.through(payload, ":path")
                self._crowd[beginning], self._alike[beginning] = self._found_no_place
            return
        super()._take(kind, flags, number, payload)

    def _refusal_at_a_glance(self, block: bytes) -> Refusal | None:
        for beginning, method in self._crowd.items():
            if block.startswith(beginning):
                refusal = self._alike.get(beginning) or self.refusal_for(method)
                if refusal is not None:
                    self._alike[beginning] = refusal
                return refusal
        return None

    def _last_stream(self) -> int:
        return self._last_taken
