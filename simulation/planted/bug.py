"""What a planted bug is, and the list of all.

Never here: bugs.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from simulation.plan import draw

Patches = Iterator[Any]


@dataclass(frozen=True)
class Bug:
    """A bug and how it is armed."""

    name: str
    arm: Callable[[], Patches]
    needs: tuple[str, ...]
    """Operations and faults without which it cannot show: seeds that lack them are not worth a try."""

    def may_show(self, seed: int) -> bool:
        """Tell whether a seed's plan has what it takes."""
        plan = draw(seed)
        return all(each in plan.weights or each in plan.faults for each in self.needs) and (
            plan.shards > 1 or "crossing" not in self.needs
        )

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Have the bug meanwhile."""
        with ExitStack() as stack:
            for each in self.arm():
                stack.enter_context(each)
            yield


BUGS: list[Bug] = []
"""Those that are found, each within a few seeds."""

LATENT: list[Bug] = []
"""Those that no seed tried so far has shown, or that something else catches before anybody is harmed."""


Register = Callable[[Callable[[], Patches]], Callable[[], Patches]]


def _register(bugs: list[Bug], needs: tuple[str, ...]) -> Register:
    def register(arm: Callable[[], Patches]) -> Callable[[], Patches]:
        bugs.append(Bug((arm.__doc__ or "").rstrip("."), arm, needs))
        return arm

    return register


def bug(*needs: str) -> Register:
    """Register a bug that shows only where a plan has these operations and faults."""
    return _register(BUGS, needs)


def latent(*needs: str) -> Register:
    """Register a bug that has not been shown yet."""
    return _register(LATENT, needs)
