"""The checker is checked: the simulation finds every bug that is planted, and without one it finds none."""

import multiprocessing
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from simulation.__main__ import Finding, find
from simulation.plan import draw
from simulation.planted import BUGS
from simulation.run import simulate

SEEDS_MAX = 400
"""Seeds that lack what a bug needs to show are passed over for nothing."""

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

SOUND = range(1, 41)
"""Seeds that `test_simulation.py` simulates as they are."""

NAMED = {bug.arm.__name__: bug for bug in BUGS}


@cache
def _found_before() -> dict[str, int]:
    """Read from the page at which seed each bug was found when it was written."""
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.replace(" ", "_"): int(seed) for name, seed in rows}


def _seeds(name: str) -> Iterator[int]:
    """Give all seeds, those first that lie where the bug was found before: they find most bugs at once."""
    first = _found_before().get(name, 1)
    yield from range(first, SEEDS_MAX)
    yield from range(1, min(first, SEEDS_MAX))


def _look_for(name: str) -> tuple[Finding | None, Exception | None]:
    """Give where a bug was found, and what fails at that seed without it."""
    bug = NAMED[name]
    finding = find(bug, _seeds(name))
    if finding is None or (bug.plan(finding.seed) == draw(finding.seed) and finding.seed in SOUND):
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
    assert not finding.check.startswith(("TypeError", "AttributeError", "NameError")), f"planted askew: {finding.check}"
    assert error is None, "the seed fails without the bug, too"


def test_a_search_begins_where_the_page_says_and_passes_no_seed_over() -> None:
    assert _found_before().keys() & NAMED.keys()
    for name in NAMED:
        assert sorted(_seeds(name)) == [*range(1, SEEDS_MAX)]


def test_there_are_enough_planted_bugs() -> None:
    assert len(BUGS) >= 20
