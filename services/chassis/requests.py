"""The id under which one request is found again in every service's logs, and who carries it.

A caller may name its request in the metadata (`x-request-id`); the public door names those that come
without. Calls that one service makes to another on the way carry the name along; a call made for
several requests at once carries several names. Never here: the transfer's own id, which says what
is done once.
"""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from itertools import count
from typing import Any, Final

from services.chassis import tracing

METADATA_KEY: Final = "x-request-id"

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._:+/=,-]{1,640}")
"""What may stand in a log line; sixteen names of 36 characters travel together."""

NAMES_CARRIED_MAX: Final = 16
"""Of requests that share a call; the others are found by their transfers' ids."""

_PREFIX: Final = secrets.token_hex(12)
"""No other process has it, so that counting is enough: a name costs a tenth of what a random one does."""

_minted = count(1)

_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """Tell the name of the request being worked on; empty when there is none."""
    return _current.get()


def begin(metadata: Iterable[tuple[str, Any]] | None, *, mints: bool) -> None:
    """Take a request's name from its metadata; without a well-formed one, mint one or go without."""
    for key, value in metadata or ():
        if key == METADATA_KEY and isinstance(value, str) and _WELL_FORMED.fullmatch(value):
            _current.set(value)
            return
    _current.set(f"{_PREFIX}{next(_minted):08x}" if mints else "")


def become(names: Iterable[str]) -> None:
    """Work for these requests from now on, in this task."""
    distinct = [name for name in dict.fromkeys(names) if name]
    _current.set(",".join(distinct[:NAMES_CARRIED_MAX]))


def outgoing() -> tuple[tuple[str, str], ...] | None:
    """Give the metadata for a call to another service, made for the current request."""
    name = _current.get()
    carried = ((METADATA_KEY, name),) if name else ()
    return carried + tracing.outgoing() or None
