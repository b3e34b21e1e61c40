"""What the benchmark measures, in which order: what is held against each other is measured in both orders."""

import pytest

from loadtest.bench.scenarios import IN_FLIGHT, QUICK, OpenLoop, Pgbench, Sizes, Step, Together, names, stages


def _steps(sizes: Sizes) -> list[Step]:
    return list(stages(sizes)[0].steps)


@pytest.mark.parametrize("sizes", [QUICK, Sizes()])
def test_single_calls_and_batches_are_measured_in_either_order(sizes: Sizes) -> None:
    pairs = [names(step) for step in _steps(sizes) if isinstance(step, Together)]
    one_way = [(f"single_{count}", f"call_of_{count}") for count in IN_FLIGHT]
    assert pairs == one_way + [pair[::-1] for pair in one_way]


@pytest.mark.parametrize("sizes", [QUICK, Sizes()])
def test_pgbench_comes_before_after_and_in_the_middle(sizes: Sizes) -> None:
    steps = _steps(sizes)
    assert isinstance(steps[0], Pgbench) and isinstance(steps[-1], Pgbench)
    assert 3 <= sum(isinstance(step, Pgbench) for step in steps) <= 4


def test_the_short_form_has_pgbench_run_where_the_bank_would_be_waited_for() -> None:
    steps = _steps(QUICK)
    steady = next(place for place, step in enumerate(steps) if isinstance(step, OpenLoop) and step.is_steady)
    assert isinstance(steps[steady - 1], Pgbench)


def test_the_long_form_has_pgbench_between_its_passes() -> None:
    steps = _steps(Sizes())
    first, *_, last = [place for place, step in enumerate(steps) if isinstance(step, Together)]
    assert isinstance(steps[(first + last) // 2], Pgbench)
