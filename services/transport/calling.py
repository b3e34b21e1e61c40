"""The calling end of one connection: calls become frames, and answers or failures again.

A call that the peer did not take, because the connection was full or going away, says so: it can be repeated without
doubt. Never here: connecting, or repeating calls.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from services.transport import frames
from services.transport.calls import PREFIX_BYTES, framed
from services.transport.connection import Connection
from services.transport.fields import (
    STATUS_OK,
    Fields,
    Metadata,
    encoded,
    message_of,
    metadata_of,
    texts,
)
from services.transport.frames import ConnectionFault, ErrorCode
from services.transport.heads import timeout_of
from services.transport.sending import Stream

_CODES: Final = {str(code.value[0]): code for code in grpc.StatusCode}
_CODE_BY_HTTP: Final = {
    "400": grpc.StatusCode.INTERNAL,
    "401": grpc.StatusCode.UNAUTHENTICATED,
    "403": grpc.StatusCode.PERMISSION_DENIED,
    "404": grpc.StatusCode.UNIMPLEMENTED,
    "429": grpc.StatusCode.UNAVAILABLE,
    "502": grpc.StatusCode.UNAVAILABLE,
    "503": grpc.StatusCode.UNAVAILABLE,
    "504": grpc.StatusCode.UNAVAILABLE,
}
"""What an answer of something that speaks no gRPC means, as gRPC's own specification has it."""


class CallError(Exception):
    """A call that failed, read like grpc's own errors."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata = (), *, was_taken: bool = True) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self._trailing = trailing
        self.was_taken = was_taken
        """Whether the peer may have begun to work on it."""

    def code(self) -> grpc.StatusCode:
        """Tell the status code."""
        return self._code

    def details(self) -> str:
        """Tell the status message."""
        return self._details

    def trailing_metadata(self) -> Metadata:
        """Give what came with the status."""
        return self._trailing


def unavailable(details: str, *, was_taken: bool) -> CallError:
    """Make the failure of a call for which there was no connection, or none any more."""
    return CallError(grpc.StatusCode.UNAVAILABLE, details, was_taken=was_taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a channel waits for what, in seconds; and the size of messages and metadata that it takes."""

    connect_seconds_max: float
    retry_seconds_min: float
    """From a failed attempt at connecting to the next; doubled until `retry_seconds_max`."""
    retry_seconds_max: float
    silent_seconds_max: float
    """A silent connection is pinged after this."""
    answer_seconds_max: float
    """A ping that is not answered so soon ends the connection."""
    message_bytes_max: int
    metadata_bytes_max: int


class _Calling(Stream):
    """A call under way."""

    __slots__ = ("answer", "fields", "held_bytes", "parts")

    def __init__(self, number: int, window: int, answer: "asyncio.Future[bytes]") -> None:
        super().__init__(number, window)
        self.answer = answer
        self.fields: list[tuple[str, str]] = []
        self.parts: list[bytes] = []
        self.held_bytes = 0


class ClientConnection(Connection):
    """One connection to one address."""

    def __init__(self, patience: Patience, gone: Callable[["ClientConnection"], None]) -> None:
        super().__init__(patience.metadata_bytes_max, patience.message_bytes_max + frames.WINDOW_DEFAULT)
        self.ready: asyncio.Future[None] = self.loop.create_future()
        """Done when the peer has introduced itself, or is gone."""
        self._patience = patience
        self._gone = gone
        self._calls: dict[int, _Calling] = {}
        self._next = 1
        self._streams_max = frames.STREAM_MAX
        self._is_leaving = False
        self._blocks: dict[tuple[str, str], bytes] = {}

    @property
    def is_open(self) -> bool:
        """Tell whether calls can be begun."""
        return not self._is_leaving and self.ready.done() and not self.is_closing

    @property
    def has_room(self) -> bool:
        """Tell whether one more call can be begun."""
        return len(self._calls) < self._streams_max

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        super().connection_made(transport)
        self.introduce(
            frames.PREFACE,
            {frames.ENABLE_PUSH: 0, frames.MAX_HEADER_LIST_SIZE: self._patience.metadata_bytes_max},
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        self._is_leaving = True
        if not self.ready.done():
            self.ready.set_result(None)
        for calling in list(self._calls.values()):
            self._fail(calling, unavailable(f"the connection was lost: {exc or 'closed'}", was_taken=True))
        self._gone(self)

    async def call(self, path: str, message: bytes, authority: str, seconds: float | None, metadata: Metadata) -> bytes:
        """Call a method and return the answer's message. Raises CallError."""
        if not self.is_open or not self.has_room:
            raise unavailable("the connection takes no more calls", was_taken=False)
        number, self._next = self._next, self._next + 2
        calling = _Calling(number, self._window_of_streams, self.loop.create_future())
        self._calls[number] = calling
        told = [] if seconds is None else [("grpc-timeout", timeout_of(seconds))]
        block = self._block_of(path, authority) + encoded([*told, *texts(metadata)])
        self.send(self.fields(number, block, ends_stream=False))
        self.send_data(calling, framed(message), b"")
        due = None if seconds is None else self.loop.call_later(seconds, self._expire, calling)
        try:
            return await calling.answer
        finally:
            if due is not None:
                due.cancel()
            if number in self._calls:
                self._drop(calling)
                self.reset(number, ErrorCode.CANCEL)
            # A failure knows this frame, and what waits knows the failure: without this they would be a cycle.
            del calling

    def _block_of(self, path: str, authority: str) -> bytes:
        """Write what every call of a method says."""
        key = (path, authority)
        block = self._blocks.get(key)
        if block is None:
            secured = self._transport.get_extra_info("ssl_object") is not None
            block = self._blocks[key] = encoded(
                (
                    *((":method", "POST"), (":scheme", "https" if secured else "http"), (":path", path)),
                    *((":authority", authority), ("te", "trailers"), ("content-type", "application/grpc")),
                )
            )
        return block

    def _expire(self, calling: _Calling) -> None:
        self._fail(calling, CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline came before the answer"))

    @staticmethod
    def _fail(calling: _Calling, error: CallError) -> None:
        if not calling.answer.done():
            calling.answer.set_exception(error)

    def _drop(self, calling: _Calling) -> None:
        self._calls.pop(calling.number, None)
        self.forget_data(calling)
        if self._is_leaving and not self._calls and not self.is_closing:
            self._transport.close()

    def take_fields(self, number: int, fields: Fields | None, *, ends_stream: bool) -> None:
        """Take an answer's fields, before its message or after it."""
        calling = self._calls.get(number)
        if calling is None:
            self._check_begun(number)
            return
        if fields is None:
            self._fail(calling, CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "more metadata than is read"))
            return
        calling.fields += fields
        if ends_stream:
            self._answer(calling)

    def take_unsound(self, number: int) -> None:
        """Fail a call whose answer is none."""
        calling = self._calls.get(number)
        if calling is not None:
            self._fail(calling, CallError(grpc.StatusCode.INTERNAL, "an answer with fields that cannot be"))

    def take_data(self, number: int, payload: bytes, *, ends_stream: bool) -> None:
        """Take a part of an answer."""
        calling = self._calls.get(number)
        if calling is None:
            self._check_begun(number)
            return
        calling.parts.append(payload)
        calling.held_bytes += len(payload)
        if calling.held_bytes > self._patience.message_bytes_max + PREFIX_BYTES:
            self._fail(calling, CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "a message larger than is read"))
        elif ends_stream:
            self._answer(calling)

    def _answer(self, calling: _Calling) -> None:
        """Give a call its answer, or what its failure means; the peer has said its last."""
        was_sent = not calling.unsent
        if was_sent:
            self._drop(calling)
        if calling.answer.done():
            return
        told = dict(calling.fields)
        status = told.get("grpc-status")
        if status is None:
            code = _CODE_BY_HTTP.get(told.get(":status", ""), grpc.StatusCode.UNKNOWN)
            self._fail(calling, CallError(code, f"no answer of gRPC: {told.get(':status')}"))
        elif status != STATUS_OK:
            code = _CODES.get(status, grpc.StatusCode.UNKNOWN)
            self._fail(calling, CallError(code, message_of(told.get("grpc-message", "")), metadata_of(calling.fields)))
        else:
            octets = calling.parts[0] if len(calling.parts) == 1 else b"".join(calling.parts)
            if octets[:1] != b"\0" or PREFIX_BYTES + int.from_bytes(octets[1:PREFIX_BYTES]) != len(octets):
                self._fail(calling, CallError(grpc.StatusCode.INTERNAL, "an answer that is not one message"))
            else:
                calling.answer.set_result(octets[PREFIX_BYTES:])

    def take_reset(self, number: int, code: int) -> None:
        """Fail a call that the peer ended."""
        calling = self._calls.get(number)
        if calling is not None:
            self._drop(calling)
            refused = code == ErrorCode.REFUSED_STREAM
            self._fail(calling, unavailable(f"the peer ended the call: {code}", was_taken=not refused))
        else:
            self._check_begun(number)

    def take_window(self, number: int, more: int) -> None:
        """Note more room for a request."""
        calling = self._calls.get(number)
        if calling is not None:
            calling.window += more
            if not more or calling.window > frames.WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that large cannot be")
        else:
            self._check_begun(number)

    def take_window_of_streams(self, change: int) -> None:
        """Change all calls' room."""
        for calling in self._calls.values():
            calling.window += change
            if calling.window > frames.WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that large cannot be")

    def take_settings_done(self) -> None:
        """Take that the peer has introduced itself."""
        if not self.ready.done():
            self.ready.set_result(None)

    def take_setting(self, name: int, value: int) -> None:
        """Note how many calls may be under way."""
        if name == frames.MAX_CONCURRENT_STREAMS:
            self._streams_max = value

    def take_going_away(self, last_stream: int) -> None:
        """Begin no more calls here; those that the peer did not take have failed without a doubt."""
        untaken = [each for each in self._calls.values() if each.number > last_stream]
        for calling in untaken:
            self._drop(calling)
            self._fail(calling, unavailable("the peer goes away", was_taken=False))
        self.retire()

    def retire(self) -> None:
        """Begin no more calls, and close once those under way have ended."""
        self._is_leaving = True
        if not self._calls:
            self._transport.close()
        self._gone(self)

    def close(self) -> None:
        """Close it; calls under way fail."""
        self._is_leaving = True
        self.end(ErrorCode.NO_ERROR)

    def _check_begun(self, number: int) -> None:
        if number >= self._next or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "something of a stream that was not begun")
