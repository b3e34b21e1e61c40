"""The checker is checked: the simulation finds every bug that is planted, and without one it finds none."""

import pytest

from simulation.__main__ import find
from simulation.planted import BUGS, Bug
from simulation.run import simulate

SEEDS_MAX = 400
"""Seeds that lack what a bug needs to show are passed over for nothing."""

SOUND = range(1, 41)
"""Seeds that `test_simulation.py` simulates as they are."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.arm.__name__)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    finding = find(bug, range(1, SEEDS_MAX))
    assert finding is not None, f"nothing noticed that {bug.name}"
    if bug.focus or finding.seed not in SOUND:
        assert simulate(finding.seed, bug.plan(finding.seed)).error is None, "the seed fails without the bug, too"


def test_there_are_enough_planted_bugs() -> None:
    assert len(BUGS) >= 20
