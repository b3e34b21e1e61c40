"""Logs: one JSON object per line on standard error, the libraries' included.

An event is a stable snake_case name, everything that varies is a field. Never log a payload, a
token, a name or an amount: numbers and reasons are enough to find the rest.
"""

import logging
import sys
from typing import Any

import structlog

from services.chassis import requests


def configure(level: str, service: str, instance: str) -> None:
    """Send every logger of the process to standard error as JSON, from `level` (INFO, ...) up."""
    shared: list[structlog.typing.Processor] = [
        _naming_request,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _naming(service, instance),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def shows_calls() -> bool:
    """Tell whether every single call is logged: at DEBUG only."""
    return logging.getLogger().isEnabledFor(logging.DEBUG)


def _naming_request(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put the name of the request being worked on into a line."""
    if name := requests.current():
        event["request_id"] = name
    return event


def _naming(service: str, instance: str) -> structlog.typing.Processor:
    """Make the processor that puts the process's name on every line."""

    def name(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        event["instance"] = instance
        return event

    return name
