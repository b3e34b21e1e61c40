"""The serving end of one connection: frames become calls, and what calls say becomes frames.

Never here: what a method does, how many calls there may be (`server.py`), or how those beyond are turned away
(`refusing.py`).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import grpc

from services.transport import frames
from services.transport.calls import HEADERS_BLOCK, PREFIX_BYTES, Aborted, Call, Method, Refusal
from services.transport.fields import Fields, Unsound
from services.transport.frames import ConnectionFault, ErrorCode
from services.transport.heads import request_head
from services.transport.refusing import RefusingConnection
from services.transport.sending import Stream

if TYPE_CHECKING:
    from services.transport.server import Server

_LEAVING: Final = b"leaving!"
assert len(_LEAVING) == frames.PING_BYTES

_UNKNOWN_METHOD: Final = Refusal(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
_TOO_MUCH_METADATA: Final = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "more metadata than is read")
_MESSAGE_TOO_LARGE: Final = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "a message larger than the server reads")
_MESSAGE_UNREADABLE: Final = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "not one message of gRPC")


class ServerConnection(RefusingConnection):
    """One caller's connection."""

    def __init__(self, server: "Server") -> None:
        limits = server.limits
        # A whole message always has room, so that nobody has to be told of what was received of it.
        super().__init__(limits.metadata_bytes_max, limits.message_bytes_max + frames.WINDOW_DEFAULT, server.crowd)
        self.message_bytes_max = limits.message_bytes_max
        self._server = server
        self._limits = limits
        self._is_greeted = False
        self._made_at = self._idle_since = self.loop.time()
        self._strikes = 0
        self._pinged_us_at = -math.inf
        self._leaving_at: float | None = None
        self._refuses_streams = False
        self._renew_at = self._made_at + server.age_of_next()

    # Of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the caller wants to speak something else."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and secured.selected_alpn_protocol() != "h2":
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is under way."""
        self._server.leave(self)
        for call in list(self._calls.values()):
            self._gone(call)

    def data_received(self, data: bytes) -> None:
        """Take the preface, then frames."""
        if self._is_greeted:
            super().data_received(data)
            return
        self._received += data
        size = len(frames.PREFACE)
        if self._received[:size] != frames.PREFACE[: len(self._received)]:
            self._transport.abort()
        elif len(self._received) >= size:
            self._is_greeted = True
            rest, self._received = self._received[size:], b""
            self.introduce(
                b"",
                {
                    frames.MAX_CONCURRENT_STREAMS: self._limits.streams_per_connection_max,
                    frames.MAX_HEADER_LIST_SIZE: self._limits.metadata_bytes_max,
                },
            )
            super().data_received(rest)

    # Calls.

    def take_fields(self, number: int, fields: Fields | None, *, ends_stream: bool) -> None:
        """Begin a call, or refuse it."""
        if number <= self._last_taken:
            self._take_trailers(number, ends_stream=ends_stream)
            return
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "callers' streams have odd numbers")
        self._last_taken = number
        if self._takes_no_streams():
            self.reset(number, ErrorCode.REFUSED_STREAM)
            return
        if fields is None:
            self.turn_away(number, _TOO_MUCH_METADATA, ends_stream=ends_stream)
            return
        head = request_head(fields)
        method = self._server.methods.get(head.path)
        if method is None:
            self.turn_away(number, _UNKNOWN_METHOD, ends_stream=ends_stream)
            return
        refusal = self.refusal_for(method)
        if refusal:
            self.find_no_place(number, method, refusal, ends_stream=ends_stream)
            return
        call = Call(number, self._window_of_streams, self, method, head)
        self._calls[number] = call
        self._server.begin(call)
        if method.stream is not None:
            call.has_whole_request = ends_stream
            call.start(self._run_stream(call, method.stream))
        elif ends_stream:
            self._run(call)

    def refusal_for(self, method: Method) -> Refusal | None:
        """Tell why there is no place for one more call of a method, unless no stream is taken at all."""
        if self._takes_no_streams():
            return None
        return (method.refuses and method.refuses()) or self._server.place_for(method)

    def _takes_no_streams(self) -> bool:
        return self._refuses_streams or len(self._calls) >= self._limits.streams_per_connection_max

    def _take_trailers(self, number: int, *, ends_stream: bool) -> None:
        """Take what callers of gRPC do not send, or sent to a call that has ended."""
        call = self._calls.get(number)
        if call is not None:
            if not ends_stream or call.has_whole_request:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "fields in the middle of a request")
            self._whole(call)

    def take_unsound(self, number: int) -> None:
        """Refuse a call that is none."""
        self.count_reset()
        self._last_taken = max(self._last_taken, number)
        call = self._calls.get(number)
        if call is not None:
            self._gone(call)
        self.reset(number, ErrorCode.PROTOCOL_ERROR)

    def take_data(self, number: int, payload: bytes, *, ends_stream: bool) -> None:
        """Take a part of a request."""
        call = self._calls.get(number)
        if call is None or call.ended:
            if number > self._last_taken:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data of a stream that was not begun")
            return  # It was refused, or given up, while this was on its way.
        if call.has_whole_request:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "data after the last")
        if payload:
            call.take(payload)
            if not self._server.hold(len(payload)):
                self._refuse(call, self._server.refusals.out_of_memory)
                return
            if call.held_bytes > self._limits.message_bytes_max + PREFIX_BYTES or (
                call.declared_bytes() > self._limits.message_bytes_max
            ):
                self._refuse(call, _MESSAGE_TOO_LARGE)
                return
        if ends_stream:
            self._whole(call)

    def _whole(self, call: Call) -> None:
        """Go on with a call whose request is whole."""
        call.has_whole_request = True
        if call.method.stream is None:
            self._run(call)
        else:
            call.take(b"")

    def _run(self, call: Call) -> None:
        self._server.wait(call)
        try:
            request = call.request(self.message_bytes_max)
        except Unsound:
            self._refuse(call, _MESSAGE_UNREADABLE)
            return
        call.start(self._run_call(call, request))

    async def _run_call(self, call: Call, request: bytes | None) -> None:
        behaviour = call.method.behaviour
        assert behaviour is not None, "streams have ways of their own"
        try:
            if self._server.is_in_time(call):
                call.answer(await behaviour(request, call))
        except Aborted:
            pass
        except asyncio.CancelledError:
            call.finish(grpc.StatusCode.CANCELLED)
        except Exception as error:  # noqa: BLE001
            self._report(error, call)

    async def _run_stream(self, call: Call, stream: Callable[[Call], Awaitable[None]]) -> None:
        try:
            await stream(call)
            call.finish(grpc.StatusCode.OK)
        except Aborted:
            pass
        except Unsound:
            self._refuse(call, _MESSAGE_UNREADABLE)
        except asyncio.CancelledError:
            call.finish(grpc.StatusCode.CANCELLED)
        except Exception as error:  # noqa: BLE001
            self._report(error, call)

    def _report(self, error: Exception, call: Call) -> None:
        """Tell of a bug in a behaviour that words its errors itself."""
        call.finish(grpc.StatusCode.INTERNAL, "internal error")
        self.loop.call_exception_handler({"message": "a call failed", "exception": error})

    def take_reset(self, number: int, code: int) -> None:
        """Give up a call that its caller gave up."""
        call = self._calls.get(number)
        if call is not None:
            self._gone(call)
        elif number > self._last_taken:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that was not begun")

    def take_window(self, number: int, more: int) -> None:
        """Note more room for a call's answer."""
        call = self._calls.get(number)
        if call is not None:
            call.window += more
            if not more or call.window > frames.WINDOW_MAX:
                self.count_reset()
                self._gone(call)
                self.reset(number, ErrorCode.FLOW_CONTROL_ERROR)
        elif number > self._last_taken:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "room for a stream that was not begun")

    def take_window_of_streams(self, change: int) -> None:
        """Change all calls' room."""
        for call in self._calls.values():
            call.window += change
            if call.window > frames.WINDOW_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window that large cannot be")

    # Answers.

    def answer_head(self, number: int) -> bytes:
        """Give the frame before an answer's messages."""
        return self.fields(number, HEADERS_BLOCK, ends_stream=False)

    def answer(self, call: Call, data: bytes, trailers: bytes) -> None:
        """Send an answer and its status."""
        number = call.number
        self.send(self.answer_head(number))
        self.send_data(call, data, self.fields(number, trailers, ends_stream=True))
        self._answered(call)

    def finish(self, call: Call, trailers: bytes) -> None:
        """Send the status of a stream."""
        last = self.fields(call.number, trailers, ends_stream=True)
        if call.unsent:
            call.ending = last
        else:
            self.send(last)
        self._answered(call)

    def refuse(self, call: Call, block: bytes) -> None:
        """Send a status in place of an answer."""
        self.send(self.fields(call.number, block, ends_stream=True))
        self._answered(call)

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        call.cancel()
        self.refuse(call, refusal.given())

    def _answered(self, call: Call) -> None:
        """Note that nothing more is said to a call than what waits for room."""
        call.ended = True
        if not call.unsent:
            self.sent(call)

    def sent(self, stream: Stream) -> None:
        """Forget a call whose answer is out."""
        call = self._calls.get(stream.number)
        if call is not None and call.ended:
            if not call.has_whole_request:
                self.reset(call.number, ErrorCode.NO_ERROR)
            self._forget(call)

    def _gone(self, call: Call) -> None:
        """Cancel and forget a call that nobody waits for any more."""
        call.cancel()
        call.ended = True
        self.forget_data(call)
        self._forget(call)

    def give_up(self, call: Call) -> None:
        """End a call whose caller leaves no room for the answer."""
        if call.number in self._calls:
            self._gone(call)
            self.reset(call.number, ErrorCode.CANCEL)

    def _forget(self, call: Call) -> None:
        if self._calls.pop(call.number, None) is not None:
            self._server.end(call)
            self.look_again()
            if not self._calls:
                self._idle_since = self.loop.time()
                self._close_if_left()

    def release(self, call: Call, size: int) -> None:
        """Tell a stream's caller that a message was taken."""
        self._server.let_go(call.let_go(size + PREFIX_BYTES))
        self.send(frames.frame(frames.WINDOW_UPDATE, 0, call.number, frames.number(size + PREFIX_BYTES)))

    # Going on.

    def take_ping(self, payload: bytes) -> None:
        """Answer a ping, unless there are too many."""
        now = self.loop.time()
        if self.has_sent_data:
            # Who is sent data may ping to measure the connection.
            self.has_sent_data = False
            self._strikes = 0
        if now - self._pinged_us_at < self._limits.ping_seconds_min:
            self._strikes += 1
            if self._strikes > self._limits.ping_strikes_max:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        self._pinged_us_at = now
        super().take_ping(payload)

    def take_pong(self, payload: bytes) -> None:
        """Note an answer; the one to the ping of our leaving means that no call is on its way unseen."""
        super().take_pong(payload)
        if payload == _LEAVING and self._leaving_at is not None and not self._refuses_streams:
            self._refuses_streams = True
            self.look_again()
            self.send(frames.going_away(self._last_taken, ErrorCode.NO_ERROR))
            self._close_if_left()

    def leave(self) -> None:
        """Let calls under way, and those on their way, end; then close. Callers begin no others here."""
        if self._leaving_at is None and not self.is_closing:
            self._leaving_at = self.loop.time()
            if not self._is_greeted:
                self._transport.close()
                return
            self.send(frames.going_away(frames.STREAM_MAX, ErrorCode.NO_ERROR))
            self.send(frames.frame(frames.PING, 0, 0, _LEAVING))

    def _close_if_left(self) -> None:
        if self._refuses_streams and not self._calls:
            self._flush()
            self._transport.close()

    def cancel_calls(self) -> None:
        """End all calls now, and close."""
        for call in list(self._calls.values()):
            call.cancel()
            call.finish(grpc.StatusCode.UNAVAILABLE, "the server stops")
        self.end(ErrorCode.NO_ERROR)

    def look(self, now: float, silent_seconds_max: float, answer_seconds_max: float) -> None:
        """Once in a while: end what has been silent, idle or there for too long."""
        limits = self._limits
        if not self._is_greeted:
            if now - self._made_at > limits.handshake_seconds_max:
                self.abort()
            return
        if self._leaving_at is not None:
            if now - self._leaving_at > limits.age_grace_seconds:
                self.cancel_calls()
        elif now > self._renew_at or (not self._calls and now - self._idle_since > limits.idle_seconds_max):
            self.leave()
        for call in list(self._calls.values()):
            if now - call.begun_at <= limits.request_seconds_max:
                break
            if not call.has_whole_request and call.method.stream is None:
                self._refuse(call, self._server.refusals.request_late)
        super().look(now, silent_seconds_max, answer_seconds_max)
