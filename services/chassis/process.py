"""A process from its first line to its exit status.

Only a service's `__main__` calls this. Never here: what a service does.
"""

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

import uvloop
from google.protobuf.internal import api_implementation

from services.chassis import logs

YOUNG_OBJECTS_MAX: Final = 50_000
"""A batch makes tens of thousands of tuples that die with it; looking for cycles among them every 700,
as Python does unless told otherwise, took a tenth of the ledger's time."""

OLDER_THRESHOLDS: Final = (20, 50)

_log = logs.get(__name__)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run `main` on one uvloop event loop and end the process: status 0, or 1 after logging why.

    Raises `SystemExit` only. Refuses `python -O`, since asserts guard money, and a protobuf without
    its C parser, since every figure of this bank rests on it.
    """
    if not __debug__:
        raise SystemExit("never run the bank with python -O: asserts guard money")
    if api_implementation.Type() != "upb":
        raise SystemExit(f"protobuf runs on its {api_implementation.Type()!r} parser; the bank needs 'upb'")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    _raise_descriptors()
    gc.freeze()
    look_for_cycles_every(YOUNG_OBJECTS_MAX)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # noqa: BLE001
        _log.exception("process_failed")
        sys.exit(1)
    sys.exit(0)


def _raise_descriptors() -> None:
    """Let the process have as many connections as the machine allows; the usual 1,024 are for programs that use select."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def look_for_cycles_every(objects: int) -> None:
    """Look for cycles among new objects whenever so many more were made than died."""
    gc.set_threshold(objects, *OLDER_THRESHOLDS)
