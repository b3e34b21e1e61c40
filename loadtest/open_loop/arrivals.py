"""When calls are due: an endless sequence of seconds from the start, for each of several processes.

Pure. Never here: waiting for them.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

CONSTANT: Final = "constant"
POISSON: Final = "poisson"
KINDS: Final = (POISSON, CONSTANT)


def arrivals(kind: str, per_second: float, number: int, processes: int, chance: Random) -> Iterator[float]:
    """Give the arrivals of process `number` of `processes`, which have `per_second` all together.

    Constant: one process's arrivals lie evenly between the others'. Poisson: independent of each other,
    as those of many customers are. Raises ValueError.
    """
    if per_second <= 0 or not 0 <= number < processes:
        raise ValueError("arrivals need a rate above 0, and a process that is one of them")
    if kind == CONSTANT:
        return _constant(per_second, number, processes)
    if kind == POISSON:
        return _poisson(per_second / processes, chance)
    raise ValueError(f"arrivals are {' or '.join(KINDS)}, not {kind!r}")


def _constant(per_second: float, number: int, processes: int) -> Iterator[float]:
    while True:
        # Not added up, so that no error does.
        yield number / per_second
        number += processes


def _poisson(per_second: float, chance: Random) -> Iterator[float]:
    due = 0.0
    while True:
        due += chance.expovariate(per_second)
        yield due
