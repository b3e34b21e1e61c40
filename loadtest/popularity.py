"""How popular the accounts of a bank are: which place among `count` a number from 0 up to 1 picks.

Pure. Place 0 is the most popular one. Never here: which account stands at a place (`workload.py`).
"""

from array import array
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from typing import Final, TypeAlias

Popularity: TypeAlias = Callable[[float, int], int]
"""Picks one of `count` places (the second argument) by a number from 0 up to but not including 1."""

UNIFORM: Final = "uniform"
ZIPF: Final = "zipf"
EXPONENT_MAX: Final = 5.0


def uniform(point: float, count: int) -> int:
    """Pick every place equally often."""
    return int(point * count)


class Zipf:
    """Picks the n-th place in proportion to 1 / n ** exponent, exactly."""

    def __init__(self, exponent: float) -> None:
        """Prepare to pick. Raises ValueError for an exponent that is not above 0 and at most 5."""
        if not 0.0 < exponent <= EXPONENT_MAX:
            raise ValueError(f"the exponent of a Zipf distribution is above 0 and at most {EXPONENT_MAX:g}")
        self._exponent = exponent
        self._sums: dict[int, array[float]] = {}

    def __call__(self, point: float, count: int) -> int:
        """Pick a place."""
        sums = self._sums.get(count)
        if sums is None:
            weights = (place**-self._exponent for place in range(1, count + 1))
            sums = self._sums[count] = array("d", accumulate(weights))
        return min(bisect(sums, point * sums[-1]), count - 1)


def named(text: str) -> Popularity:
    """Read `uniform`, `zipf` (exponent 1.0) or `zipf:EXPONENT`. Raises ValueError."""
    name, _, exponent = text.partition(":")
    if name == UNIFORM and not exponent:
        return uniform
    if name == ZIPF:
        return Zipf(float(exponent or 1.0))
    raise ValueError(f"popularity is uniform, zipf or zipf:EXPONENT, not {text!r}")
