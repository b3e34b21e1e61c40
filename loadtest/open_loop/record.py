"""What an open loop saw: latencies by operation, outcomes, drops, and how late the generator itself was.

While the clock runs, times are only noted, three numbers an operation: a histogram in Python takes longer than
sending does, of the machine that the bank is measured on. Never here: sending anything.
"""

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from hdrh.histogram import HdrHistogram

from loadtest.client import Outcome
from loadtest.histograms import new_histogram, record
from loadtest.journal import Journal

Key = TypeVar("Key")

INTERVAL_SECONDS: Final = 1.0
"""Of the histogram log."""


@dataclass(slots=True)
class Seen:
    """What one process, or all together, saw of the calls that were due within the measured seconds."""

    latencies: dict[str, HdrHistogram] = field(default_factory=dict)
    """By operation, in microseconds from when it was due, failed ones included."""
    intervals: dict[tuple[int, str], HdrHistogram] = field(default_factory=dict)
    """The same by the second in which the operation was due, from the start, and by operation."""
    service: HdrHistogram = field(default_factory=new_histogram)
    """Microseconds from when an operation was really sent until its answer: without what the generator was late by."""
    late: HdrHistogram = field(default_factory=new_histogram)
    """Microseconds from when an operation was due until it was sent: the generator's own share."""
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """By operation; of a call of many transfers, one for each."""
    due: int = 0
    """Operations."""
    done: int = 0
    """Operations all of whose calls succeeded."""
    posted: int = 0
    """Transfers."""
    dropped: int = 0
    """Operations that were due and not sent, since too many were unanswered."""
    in_flight_max: int = 0
    journal: Journal = field(default_factory=Journal)
    """Of the whole run, warm-up included."""
    _noted: defaultdict[str, "array[float]"] = field(default_factory=lambda: defaultdict(_no_times))

    def note(self, operation: str, due: float, late: float, seconds: float) -> None:
        """Note when an operation was due, from the start, and how long after that it was sent and answered."""
        self._noted[operation].extend((due, late, seconds))

    def sort_out(self) -> None:
        """Fill the histograms with what was noted."""
        for operation, noted in self._noted.items():
            latencies = self.latencies.setdefault(operation, new_histogram())
            times = iter(noted)
            for due, late, seconds in zip(times, times, times, strict=True):
                interval = (int(due / INTERVAL_SECONDS), operation)
                if interval not in self.intervals:
                    self.intervals[interval] = new_histogram()
                record(self.intervals[interval], seconds)
                record(latencies, seconds)
                record(self.late, late)
                record(self.service, seconds - late)
        self._noted.clear()

    def all_latencies(self) -> HdrHistogram:
        """Add up the histograms of all operations."""
        total = new_histogram()
        for histogram in self.latencies.values():
            total.add(histogram)
        return total

    def __getstate__(self) -> tuple[Any, ...]:
        """Encode the histograms, which cannot go to another process as they are."""
        assert not self._noted
        return (
            {name: histogram.encode() for name, histogram in self.latencies.items()},
            {key: histogram.encode() for key, histogram in self.intervals.items()},
            self.service.encode(),
            self.late.encode(),
            *(self.outcomes, self.due, self.done, self.posted, self.dropped, self.in_flight_max, self.journal),
        )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Decode what another process sent."""
        latencies, intervals, service, late, *others = state
        self._noted = defaultdict(_no_times)
        self.latencies = {name: HdrHistogram.decode(encoded) for name, encoded in latencies.items()}
        self.intervals = {key: HdrHistogram.decode(encoded) for key, encoded in intervals.items()}
        self.service = HdrHistogram.decode(service)
        self.late = HdrHistogram.decode(late)
        self.outcomes, self.due, self.done, self.posted, self.dropped, self.in_flight_max, self.journal = others

    def add(self, other: "Seen") -> None:
        """Count in what another process saw."""
        _add(self.latencies, other.latencies)
        _add(self.intervals, other.intervals)
        self.service.add(other.service)
        self.late.add(other.late)
        self.outcomes += other.outcomes
        self.due += other.due
        self.done += other.done
        self.posted += other.posted
        self.dropped += other.dropped
        self.in_flight_max += other.in_flight_max
        self.journal.add(other.journal)


def _no_times() -> "array[float]":
    return array("d")


def _add(mine: dict[Key, HdrHistogram], theirs: dict[Key, HdrHistogram]) -> None:
    for key, histogram in theirs.items():
        if key in mine:
            mine[key].add(histogram)
        else:
            mine[key] = histogram
