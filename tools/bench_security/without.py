"""Runs a service without parts of it, for the benchmark only: `python -m tools.bench_security.without ROOM PART ...`.

No setting of the services does this. A part is left out by putting a function that does nothing in the place
of its own, so what calls it stays and is not counted as its cost. Never here: measuring.
"""

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any, Final

from services.chassis import process
from services.chassis.meters import Counter, Gauge, Histogram
from services.gateway import scopes
from services.gateway.authentication import Authenticator, Caller
from services.gateway.metering import Metering

ANYBODY: Final = Caller(
    "anybody",
    "cli",
    frozenset({*scopes.SCOPE_BY_CALL.values(), *scopes.SCOPE_BY_DISPENSATION.values()}),
    None,
    math.inf,
)


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _anybody(*_: Any) -> Caller:
    """Take whoever calls for somebody who may do everything."""
    return ANYBODY


PARTS: Final[dict[str, tuple[tuple[type, str, Callable[..., Any]], ...]]] = {
    "authentication": ((Authenticator, "caller_of", _anybody),),
    "rates": ((Metering, "spend", _nothing),),
    "metrics": (
        (Counter, "inc", _nothing),
        (Gauge, "set", _nothing),
        (Histogram, "observe", _nothing),
    ),
}
"""What stands for each part: methods, and what is put in their place."""


def main(room: str, *parts: str) -> None:
    """Run a room's service without parts of it, until told to stop."""
    for part in parts:
        for owner, name, instead in PARTS[part]:
            assert callable(getattr(owner, name)), "the part is not where it was"
            setattr(owner, name, instead)
    process.run(importlib.import_module(f"services.{room}.__main__").main)


if __name__ == "__main__":
    main(*sys.argv[1:])
