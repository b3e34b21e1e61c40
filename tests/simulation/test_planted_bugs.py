"""The checker is checked: the simulation finds every bug that is planted, and without one it finds none."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from simulation.__main__ import Finding, find
from simulation.planted import BUGS
from simulation.run import simulate

SEEDS_MAX = 400
"""Seeds that lack what a bug needs to show are passed over for nothing."""

SOUND = range(1, 41)
"""Seeds that `test_simulation.py` simulates as they are."""

NAMED = {bug.arm.__name__: bug for bug in BUGS}


def _look_for(name: str) -> tuple[Finding | None, Exception | None]:
    """Give where a bug was found, and what fails at that seed without it."""
    bug = NAMED[name]
    finding = find(bug, range(1, SEEDS_MAX))
    if finding is None or (not bug.focus and finding.seed in SOUND):
        return finding, None
    error = simulate(finding.seed, bug.plan(finding.seed)).error
    return finding, error and AssertionError(repr(error))


@pytest.fixture(scope="module")
def searches(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[tuple[Finding | None, Exception | None]]]]:
    """Look for all bugs whose tests will run, on every processor, as far as nobody who is timed needs it."""
    wanted = [item.callspec.params["name"] for item in request.session.items if "searches" in item.fixturenames]
    with ProcessPoolExecutor(
        mp_context=multiprocessing.get_context("spawn"), initializer=os.nice, initargs=(19,)
    ) as pool:
        yield {name: pool.submit(_look_for, name) for name in wanted}


@pytest.mark.parametrize("name", NAMED)
def test_a_planted_bug_is_found(
    name: str, searches: dict[str, Future[tuple[Finding | None, Exception | None]]]
) -> None:
    finding, error = searches[name].result()
    assert finding is not None, f"nothing noticed that {NAMED[name].name}"
    assert error is None, "the seed fails without the bug, too"


def test_there_are_enough_planted_bugs() -> None:
    assert len(BUGS) >= 20
