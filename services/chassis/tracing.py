"""Traces: where the time of one request went, from the gateway to SQL. Off unless an operator turns it on.

Off, nothing of OpenTelemetry is imported and nothing is wrapped. On (HIVECORE_TRACES), every call becomes
a span of its caller's trace, every batch of the writer a span that names all requests it served, and
every statement a span below. Needs the extra `otel`. Never here: what is worth a span.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, Literal

from services.chassis.settings_error import SettingsError

Kind = Literal["off", "file", "otlp"]

MISSING: Final = "HIVECORE_TRACES needs OpenTelemetry: pip install 'hivecore[otel]'"

_NOTHING: Final = nullcontext()

_tracer: Any = None


def is_on() -> bool:
    """Tell whether anything is traced."""
    return _tracer is not None


def configure(kind: Kind, service: str, instance: str, file: Path | None) -> None:
    """Turn tracing on, unless `kind` is off. Raises `SettingsError` when it cannot be."""
    global _tracer  # noqa: PLW0603 - one per process, like the loggers
    if kind == "off":
        return
    try:
        from services.chassis import open_telemetry  # noqa: PLC0415 - only when it is wanted
    except ImportError:
        raise SettingsError(MISSING) from None
    _tracer = open_telemetry.tracer(kind, service, instance, file)


def origin() -> Any:
    """Remember the current span, so that work done later for several can name it; None when off."""
    return None if _tracer is None else _tracer.origin()


def outgoing() -> tuple[tuple[str, str], ...]:
    """Give the metadata that lets another service continue the current trace."""
    return () if _tracer is None else _tracer.outgoing()


def span(name: str, origins: Iterable[Any] = ()) -> AbstractContextManager[Any]:
    """Measure a piece of work: below the current span, or for the spans remembered as `origins`."""
    return _NOTHING if _tracer is None else _tracer.span(name, origins)


def server_span(
    method: str, metadata: Iterable[tuple[str, Any]], facts: Mapping[str, str]
) -> AbstractContextManager[Any]:
    """Measure a call that this process serves, as a part of its caller's trace."""
    return _NOTHING if _tracer is None else _tracer.server_span(method, metadata, facts)
