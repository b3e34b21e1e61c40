"""What a planted bug is, and the list of all.

Never here: bugs.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Patches = Iterator[Any]


@dataclass(frozen=True)
class Bug:
    """A bug and how it is armed."""

    name: str
    arm: Callable[[], Patches]

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Have the bug meanwhile."""
        with ExitStack() as stack:
            for each in self.arm():
                stack.enter_context(each)
            yield


BUGS: list[Bug] = []


def bug(arm: Callable[[], Patches]) -> Callable[[], Patches]:
    BUGS.append(Bug((arm.__doc__ or "").rstrip("."), arm))
    return arm
