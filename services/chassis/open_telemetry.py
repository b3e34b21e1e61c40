"""OpenTelemetry behind `tracing.py`, which alone imports this, and only when it is turned on.

Statements are traced by OpenTelemetry's own instrumentation of asyncpg; polls, which no request asked
for, are not. Errors are recorded by their reason, never with a payload.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from services.chassis.settings import SettingsError
from services.domain.errors import BankError


def tracer(kind: str, service: str, instance: str, file: Path | None) -> "Tracer":
    """Make the process's tracer. OTLP is configured by OpenTelemetry's own OTEL_ variables."""
    resource = Resource.create(
        {"service.namespace": "hivecore", "service.name": service, "service.instance.id": instance}
    )
    provider = TracerProvider(resource=resource, sampler=_OfRequests())
    provider.add_span_processor(BatchSpanProcessor(_exporter(kind, file), schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    AsyncPGInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]
    return Tracer(provider.get_tracer("hivecore"))


def _exporter(kind: str, file: Path | None) -> SpanExporter:
    if kind == "file":
        if file is None:
            raise SettingsError("HIVECORE_TRACES=file needs HIVECORE_TRACES_FILE")
        return ConsoleSpanExporter(out=file.open("a", encoding="utf-8"), formatter=_line)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter()


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


class _OfRequests(Sampler):
    """Keeps what belongs to a call or a batch, and the caller's wish; drops statements that nobody asked for."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """Decide on one span."""
        parent = trace.get_current_span(parent_context).get_span_context()
        keep = parent.trace_flags.sampled if parent.is_valid else kind is not SpanKind.CLIENT
        return SamplingResult(Decision.RECORD_AND_SAMPLE if keep else Decision.DROP, attributes)

    def get_description(self) -> str:
        """Name the rule."""
        return "requests"


class Tracer:
    """What `tracing.py` asks for."""

    def __init__(self, otel: trace.Tracer) -> None:
        self._otel = otel

    def origin(self) -> SpanContext | None:
        """Remember the current span."""
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Give the W3C trace context as metadata."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return tuple(carrier.items())

    @contextmanager
    def span(self, name: str, origins: Iterable[SpanContext | None]) -> Iterator[Any]:
        """Measure work; the first origin is its parent, all are linked."""
        known = list({origin.span_id: origin for origin in origins if origin is not None}.values())
        context = trace.set_span_in_context(trace.NonRecordingSpan(known[0])) if known else None
        with self._otel.start_as_current_span(
            name, context=context, links=[Link(origin) for origin in known], record_exception=False
        ) as span:
            yield span

    @contextmanager
    def server_span(self, method: str, metadata: Iterable[tuple[str, Any]], facts: Mapping[str, str]) -> Iterator[Any]:
        """Measure a call; a `BankError` is recorded by its reason."""
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        service, _, name = method.removeprefix("/").rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, **facts}
        with self._otel.start_as_current_span(
            method.removeprefix("/"),
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BankError as error:
                span.set_attribute("hivecore.reason", error.reason)
                span.set_status(Status(StatusCode.ERROR, error.reason))
                raise
