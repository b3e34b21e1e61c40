"""What happens around every unary call: named, counted, timed, bounded, and its errors put into words.

Servicers only raise `BankError`; here it becomes its status with google.rpc details. Anything else
is a bug: INTERNAL with nothing inside, and a traceback in the log. A handler always sees a deadline
(`context.time_remaining()` is never None), at most `DEADLINE_SECONDS_MAX` away. Streams exist only
in gRPC's own services (health, reflection) and are only read and written here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from services.chassis import logs, metrics, requests, status, tracing
from services.chassis.bounds import Gate
from services.chassis.meters import Counter
from services.domain import errors, limits
from services.domain.errors import BankError
from services.transport.calls import Aborted, Call, Method, Refusal
from services.transport.server import Server

Behaviour = Callable[[Any, Any], Awaitable[Any]]

_log = logs.get(__name__)

CODE_LABELS: Final[dict[grpc.StatusCode, str]] = {
    code: "".join(word.capitalize() for word in code.name.split("_")) for code in grpc.StatusCode
} | {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
"""Codes as the grpc-ecosystem dashboards spell them."""


class _Handled(dict[str, Counter]):
    """The counters of one method by code label, bound when first needed."""

    def __init__(self, method_labels: tuple[str, str, str]) -> None:
        super().__init__()
        self._method_labels = method_labels

    def __missing__(self, code_label: str) -> Counter:
        child = metrics.GRPC_SERVER_HANDLED.labels(*self._method_labels, code_label)
        self[code_label] = child
        return child


class _DeadlineContext:
    """A servicer context whose caller set no deadline, or one too far away."""

    __slots__ = ("_context", "_deadline")

    def __init__(self, context: Any, seconds: float) -> None:
        self._context = context
        self._deadline = perf_counter() + seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def time_remaining(self) -> float:
        """Tell the seconds left."""
        return max(0.0, self._deadline - perf_counter())


class Observed:
    """A server as servicers are added to it: whatever is added is watched. `server.Server` makes one.

    `names_requests` says that this is the public door: requests without a name get one here. `gates`
    tell, by a method's full name, when its calls are turned away before anything of them is read.
    """

    def __init__(
        self, server: Server, *, names_requests: bool = False, gates: Mapping[str, Gate] | None = None
    ) -> None:
        self._server = server
        self._names_requests = names_requests
        self._gates = gates or {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Do nothing: the same handlers are registered by their names."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Add a service's handlers, watched."""
        for name, handler in method_handlers.items():
            path = f"/{service_name}/{name}"
            if handler.response_streaming:
                self._server.methods[path] = Method(stream=_streaming(handler, mints=self._names_requests))
            else:
                gate = self._gates.get(path)
                self._server.methods[path] = Method(
                    _answering(path, handler, mints=self._names_requests),
                    refuses=None if gate is None else _refusing(gate, self._server),
                    places=None if gate is None else gate.places,
                )


def _refusing(gate: Gate, server: Server) -> Callable[[], Refusal | None]:
    def refuses() -> Refusal | None:
        is_late = server.seconds_to_turn(gate.behind()) > gate.seconds_to_turn_max
        return gate.refusal if is_late or gate.is_full() else None

    return refuses


def _answering(path: str, handler: Any, *, mints: bool) -> Callable[[bytes | None, Call], Awaitable[bytes]]:
    """Make the behaviour of a method with one request and one answer."""
    behaviour = _Watcher(path).around(handler.unary_unary)
    parse, serialize = handler.request_deserializer, handler.response_serializer

    async def answered(octets: bytes | None, call: Call) -> bytes:
        requests.begin(call.invocation_metadata(), mints=mints)
        try:
            request = None if octets is None else parse(octets)
        except DecodeError:
            await _refuse(call, "is no message of the kind that the call takes")
        if request is None:
            await _refuse(call, "there is none")
        answer: bytes = serialize(await behaviour(request, call))
        return answer

    return answered


async def _refuse(call: Call, description: str) -> NoReturn:
    unreadable = errors.Malformed("REQUEST_UNREADABLE", "request", description)
    code = status.CODE_BY_ERROR[errors.Malformed]
    await _abort(call, code, status.to_status(unreadable, requests.current()))


def _streaming(handler: Any, *, mints: bool) -> Callable[[Call], Awaitable[None]]:
    """Make the behaviour of a method whose answers are many."""
    parse, serialize = handler.request_deserializer, handler.response_serializer

    async def messages(call: Call) -> AsyncIterator[Any]:
        while (octets := await call.read()) is not None:
            try:
                message = parse(octets)
            except DecodeError:
                await _refuse(call, "is no message of the kind that the call takes")
            yield message

    async def streamed(call: Call) -> None:
        requests.begin(call.invocation_metadata(), mints=mints)
        context = _Writing(call, serialize)
        if handler.request_streaming:
            answers = handler.stream_stream(messages(call), context)
        else:
            async for request in messages(call):
                answers = handler.unary_stream(request, context)
                break
            else:
                await _refuse(call, "there is none")
        if hasattr(answers, "__aiter__"):
            async for answer in answers:
                await context.write(answer)
        else:
            await answers

    return streamed


class _Writing:
    """The context of a servicer that writes its answers."""

    def __init__(self, call: Call, serialize: Callable[[Any], bytes]) -> None:
        self._call = call
        self._serialize = serialize

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def write(self, answer: Any) -> None:
        """Send an answer."""
        await self._call.write(self._serialize(answer))


class _Watcher:
    """Runs calls of one method."""

    def __init__(self, method: str) -> None:
        service, _, name = method.removeprefix("/").rpartition("/")
        labels = ("unary", service, name)
        self._method = method
        self._started = metrics.GRPC_SERVER_STARTED.labels(*labels)
        self._seconds = metrics.GRPC_SERVER_HANDLING_SECONDS.labels(*labels)
        self._handled = _Handled(labels)
        self._handled["OK"].inc(0)

    def around(self, behaviour: Behaviour) -> Behaviour:
        """Wrap the servicer's method; what is not turned on is not wrapped and costs nothing."""
        if logs.shows_calls():
            behaviour = _logged(self._method, behaviour)
        if tracing.is_on():
            behaviour = _traced(self._method, behaviour)
        started, seconds, handled = self._started.inc, self._seconds.observe, self._handled

        async def watched(request: Any, context: Any) -> Any:
            started()
            began = perf_counter()
            code_label = "OK"
            try:
                remaining = context.time_remaining()
                if remaining is not None and remaining <= limits.DEADLINE_SECONDS_MAX:
                    return await behaviour(request, context)
                return await _bounded(behaviour, request, context, remaining)
            except BankError as error:
                code_label = CODE_LABELS[status.CODE_BY_ERROR[type(error)]]
                await _abort(context, status.CODE_BY_ERROR[type(error)], status.to_status(error, requests.current()))
            except Aborted:
                code_label = CODE_LABELS.get(context.code(), "Unknown")
                raise
            except asyncio.CancelledError:
                code_label = "Canceled"
                raise
            except Exception:  # noqa: BLE001
                code_label = "Internal"
                _log.exception("call_failed", method=self._method)
                await _abort(context, grpc.StatusCode.INTERNAL, status.internal_status(requests.current()))
            finally:
                handled[code_label].inc()
                seconds(perf_counter() - began)

        return watched


def _logged(method: str, behaviour: Behaviour) -> Behaviour:
    """Log every call when it ends, at DEBUG."""

    async def logged(request: Any, context: Any) -> Any:
        began = perf_counter()
        reason = ""
        try:
            return await behaviour(request, context)
        except BankError as error:
            reason = error.reason
            raise
        finally:
            _log.debug("call", method=method, reason=reason, seconds=round(perf_counter() - began, 6))

    return logged


def _traced(method: str, behaviour: Behaviour) -> Behaviour:
    """Make every call a span of its caller's trace."""

    async def traced(request: Any, context: Any) -> Any:
        facts = {"hivecore.request_id": requests.current()}
        with tracing.server_span(method, context.invocation_metadata() or (), facts):
            return await behaviour(request, context)

    return traced


async def _bounded(behaviour: Behaviour, request: Any, context: Any, remaining: float | None) -> Any:
    """Run a call that has no deadline, or one too far away, with one of ours."""
    limit = limits.DEADLINE_SECONDS_DEFAULT if remaining is None else limits.DEADLINE_SECONDS_MAX
    try:
        async with asyncio.timeout(limit) as timeout:
            return await behaviour(request, _DeadlineContext(context, limit))
    except TimeoutError:
        if timeout.expired():
            raise errors.OutcomeUnknown(
                status.DOUBT_REASON, "no answer within the deadline: send the same ids again"
            ) from None
        raise


async def _abort(context: Any, code: grpc.StatusCode, described: status_pb2.Status) -> NoReturn:
    await context.abort(code, described.message, ((status.DETAILS_KEY, described.SerializeToString()),))
    raise AssertionError("the call has ended")
