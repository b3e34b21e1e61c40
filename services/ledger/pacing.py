"""Paces work from the side: a piece of a few milliseconds, then a rest as long as its share of the time asks for.

A statement of a tenth of a second takes a core from the writer for that long, and every caller waits; the
same work in pieces is not noticed. Never here: what the work is (`sealing.py`, `watching.py`).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter


class Pace:
    """Keeps one kind of work to a share of the time."""

    def __init__(self, share_max: float, tell: Callable[[float], None] = lambda _: None) -> None:
        """`share_max` is the part of the time that may be worked, from 0 to 1; `tell` hears the seconds of each piece."""
        self._rest_per_second = 1 / share_max - 1
        self._tell = tell
        self._worked_seconds = 0.0
        """Since the last rest."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time in the context as worked, also when it ends in an error."""
        began = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - began
            self._worked_seconds += seconds
            self._tell(seconds)

    async def rest(self, at_least_seconds: float = 0.0) -> None:
        """Rest as long as the work since the last rest asks for, or a little longer."""
        seconds = max(at_least_seconds, self._worked_seconds * self._rest_per_second)
        self._worked_seconds = 0.0
        await asyncio.sleep(seconds)
