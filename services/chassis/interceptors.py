"""What happens around every unary call: named, counted, timed, bounded, and its errors put into words.

Servicers only raise `BankError`; here it becomes its status with google.rpc details. Anything else
is a bug: INTERNAL with nothing inside, and a traceback in the log. A handler always sees a deadline
(`context.time_remaining()` is never None), at most `DEADLINE_SECONDS_MAX` away. Streams exist only
in gRPC's own services (health, reflection) and are left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from prometheus_client import Counter

from services.chassis import bounds, logs, metrics, requests, status, tracing
from services.chassis.bounds import IsFull, UnderWay
from services.domain import errors, limits
from services.domain.errors import BankError

Behaviour = Callable[[Any, Any], Awaitable[Any]]

_log = logs.get(__name__)

CODE_LABELS: Final[dict[grpc.StatusCode, str]] = {
    code: "".join(word.capitalize() for word in code.name.split("_")) for code in grpc.StatusCode
} | {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}
"""Codes as the grpc-ecosystem dashboards spell them."""


_NO_PLACE: Final = bounds.no_place("calls")
_NO_WATCH: Final = bounds.no_place("watches")
_NO_HOPE: Final = bounds.no_hope()


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

    Handlers are wrapped when they are found rather than by an interceptor, for which grpc.aio makes two
    coroutines for every call. `names_requests` says that this is the public door: requests without a name
    get one here. `under_way` bounds how many there are; without it, nothing does. `is_full` tells, by a
    method's full name, when its calls are turned away before anything of them is read.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        *,
        names_requests: bool = False,
        under_way: UnderWay | None = None,
        is_full: Mapping[str, IsFull] | None = None,
    ) -> None:
        self._server = server
        self._names_requests = names_requests
        self._under_way = under_way
        self._is_full = is_full or {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add a service's handlers, watched."""
        self._server.add_generic_rpc_handlers(
            [
                _Observing(handlers, self._names_requests, self._under_way, self._is_full)
                for handlers in generic_rpc_handlers
            ]
        )

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Do nothing: the same handlers come again as generic ones, which is how grpc.aio finds them."""


class _Observing(grpc.GenericRpcHandler):
    """Finds the handler of a call among others and wraps it; the wrapping is kept."""

    def __init__(
        self,
        handlers: grpc.GenericRpcHandler,
        names_requests: bool,
        under_way: UnderWay | None,
        is_full: Mapping[str, IsFull],
    ) -> None:
        self._handlers = handlers
        self._under_way = under_way
        self._is_full = is_full
        self._names_requests = names_requests
        self._watched: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None; called once for each call, in the call's own task."""
        method = handler_call_details.method
        is_full = self._is_full.get(method)
        if is_full is not None and is_full():
            return _NO_HOPE
        requests.begin(handler_call_details.invocation_metadata, mints=self._names_requests)
        watched = self._watched.get(method)
        if watched is not None:
            return watched if self._under_way is None or self._under_way.enter() else _NO_PLACE
        handler: Any = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        if handler.request_streaming or handler.response_streaming:
            return handler if self._under_way is None or self._under_way.enter_watch() else _NO_WATCH
        behaviour = _Watcher(method).around(handler.unary_unary)
        codec = handler.request_deserializer, handler.response_serializer
        if self._under_way is None:
            watched = self._watched[method] = grpc.unary_unary_rpc_method_handler(behaviour, *codec)
            return watched
        # On the wire the same; so the call is ours to end while its request has not come.
        listening: Any = _listening(behaviour, self._under_way)
        watched = self._watched[method] = grpc.stream_unary_rpc_method_handler(listening, *codec)
        return watched if self._under_way.enter() else _NO_PLACE


def _listening(behaviour: Behaviour, under_way: UnderWay) -> Behaviour:
    """Read the request of a call that has its place, then run it."""

    async def listened(_requests: Any, context: Any) -> Any:
        refused: BankError
        try:
            request = await context.read()
        except asyncio.CancelledError:
            if not under_way.is_too_silent():
                raise
            refused = errors.DeadlinePassed("REQUEST_LATE", "the request did not come in time; nothing was done")
        except DecodeError:
            refused = errors.Malformed("REQUEST_UNREADABLE", "request", "is no message of the kind that the call takes")
        else:
            if request is not grpc.aio.EOF:
                under_way.hear()
                try:
                    return await behaviour(request, context)
                finally:
                    under_way.leave()
            refused = errors.Malformed("REQUEST_UNREADABLE", "request", "there is none")
        await _abort(context, status.CODE_BY_ERROR[type(refused)], status.to_status(refused, requests.current()))
        raise AssertionError("the call has ended")

    return listened


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
            except grpc.aio.AbortError:
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


async def _abort(context: Any, code: grpc.StatusCode, described: status_pb2.Status) -> None:
    await context.abort(code, described.message, ((status.DETAILS_KEY, described.SerializeToString()),))
