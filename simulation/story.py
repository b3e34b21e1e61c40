"""What happened, in order: readable lines, and a digest that says whether two runs were the same.

Never here: deciding what happens.
"""

import hashlib
from collections import Counter
from typing import Any

from simulation.loop import PROCESS, SimulationLoop

LINES_MAX = 4_000
"""The last lines are kept; a digest covers all of them."""


class Story:
    """The events of one simulation."""

    def __init__(self, loop: SimulationLoop) -> None:
        self._loop = loop
        self._digest = hashlib.sha256()
        self.lines: list[str] = []
        self.faults: Counter[str] = Counter()
        self.internal_errors: list[str] = []

    def tell(self, event: str, **facts: Any) -> None:
        """Add an event of the process that runs now."""
        told = " ".join(f"{name}={_worded(fact)}" for name, fact in facts.items())
        line = f"{self._loop.time():10.6f} {PROCESS.get().name:<12} {event} {told}".rstrip()
        self._digest.update(line.encode())
        self.lines.append(line)
        if len(self.lines) > 2 * LINES_MAX:
            del self.lines[:LINES_MAX]

    def fault(self, kind: str, *who: str) -> None:
        """Add a fault."""
        self.faults[kind] += 1
        self.tell(f"! {kind}", who="->".join(who))

    def internal_error(self, method: str) -> None:
        """Add a bug that a server met."""
        self.internal_errors.append(method)
        self.tell("! INTERNAL", method=method)

    def log(self, _logger: Any, level: str, event: dict[str, Any]) -> None:
        """Take a line of the services' own logs."""
        message = event.pop("event")
        event.pop("exc_info", None)
        self.tell(f"log {level}: {message}", **{key: event[key] for key in sorted(event)})

    @property
    def digest(self) -> str:
        """Tell the runs of different seeds apart, and those of one seed not."""
        return self._digest.hexdigest()


def _worded(fact: Any) -> str:
    if isinstance(fact, bytes):
        return fact.hex().lstrip("0") or "0"
    return str(fact)
