"""What a planted bug is, and the list of all.

Never here: bugs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from simulation.plan import OPENING_FAULTS, OPENING_OPERATIONS, Plan, draw

Patches = Iterator[Any]


@dataclass(frozen=True)
class Bug:
    """A bug and how it is armed."""

    name: str
    arm: Callable[[], Patches]
    needs: tuple[str, ...]
    """Operations and faults without which it cannot show: seeds that lack them are not worth a try."""
    focus: Mapping[str, Any] = field(default_factory=dict)
    """What a plan must be like where what the bug needs is rare; everything else is the seed's."""

    def plan(self, seed: int) -> Plan:
        """Draw a seed's plan, with the focus. Openings take turns of all else, and are left out where they are not needed."""
        plan = replace(draw(seed), **self.focus)
        if set(OPENING_OPERATIONS) & set(self.needs):
            return plan
        weights = {name: weight for name, weight in plan.weights.items() if name not in OPENING_OPERATIONS}
        return replace(plan, weights=weights, faults=tuple(name for name in plan.faults if name not in OPENING_FAULTS))

    def may_show(self, seed: int) -> bool:
        """Tell whether a seed's plan has what it takes."""
        plan = self.plan(seed)
        return all(each in plan.weights or each in plan.faults for each in self.needs) and (
            plan.shards > 1 or not {"crossing", "span"} & set(self.needs)
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


def _register(bugs: list[Bug], needs: tuple[str, ...], focus: Mapping[str, Any]) -> Register:
    def register(arm: Callable[[], Patches]) -> Callable[[], Patches]:
        bugs.append(Bug((arm.__doc__ or "").rstrip("."), arm, needs, focus))
        return arm

    return register


def bug(*needs: str, **focus: Any) -> Register:
    """Register a bug that shows only where a plan has these operations and faults, or best where it is like that."""
    return _register(BUGS, needs, focus)


def latent(*needs: str, **focus: Any) -> Register:
    """Register a bug that has not been shown yet."""
    return _register(LATENT, needs, focus)
