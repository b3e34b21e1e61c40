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


def bug(*needs: str) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    """Register a bug that shows only where a plan has these operations and faults."""

    def register(arm: Callable[[], Patches]) -> Callable[[], Patches]:
        BUGS.append(Bug((arm.__doc__ or "").rstrip("."), arm, needs))
        return arm

    return register
