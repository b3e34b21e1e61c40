"""Work from the side keeps to its share of the time, however its pieces went."""

import asyncio
from collections.abc import Iterator

import pytest

from services.ledger import pacing
from services.ledger.pacing import Pace


class Clock:
    """Stands still but for what a test lets it run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    stopped = Clock()
    monkeypatch.setattr(pacing, "perf_counter", stopped)
    monkeypatch.setattr(asyncio, "sleep", stopped.sleep)
    return stopped


async def test_rests_are_as_long_as_the_work_before_them_asks_for(clock: Clock) -> None:
    told: list[float] = []
    pace = Pace(0.05, told.append)
    for seconds in (1.0, 0.25):
        with pace.working():
            clock.now += seconds
    await pace.rest()
    await pace.rest()
    assert clock.rests == [pytest.approx(1.25 * 19), 0.0]
    assert told == [1.0, 0.25]


async def test_a_rest_can_be_longer_than_is_due(clock: Clock) -> None:
    pace = Pace(0.5)
    with pace.working():
        clock.now += 3.0
    await pace.rest(5.0)
    with pace.working():
        clock.now += 7.0
    await pace.rest(5.0)
    assert clock.rests == [5.0, 7.0]


async def test_work_that_fails_counts_like_any_other(clock: Clock) -> None:
    pace = Pace(0.5)

    def fail() -> None:
        with pace.working():
            clock.now += 2.0
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    await pace.rest()
    assert clock.rests == [2.0]
