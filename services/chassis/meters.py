"""Counters, gauges and histograms whose counting is one short call; prometheus_client shows them.

They are declared, labelled and registered like prometheus_client's own, and read the same at /metrics. Its own take a lock
for each number and check each time what is known beforehand: 4 to 9 calls of Python where these take one. In
return only one thread may count, the event loop's; any other may read. Never here: what is counted.
"""

import time
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import inf
from typing import Final, Self

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


def _shows_created() -> bool:
    """Tell whether the library was asked to say since when something is counted."""
    (family,) = prometheus_client.Counter("probe", "?", registry=None).collect()
    return any(sample.name.endswith("_created") for sample in family.samples)


SHOWS_CREATED: Final = _shows_created()


class Meter(Collector):
    """A metric of its own, or with label names the parent of as many children as there are labels.

    A parent has no cells, so that nobody counts with it by mistake.
    """

    def __init__(
        self,
        name: str,
        question: str,
        label_names: Iterable[str] = (),
        *,
        registry: CollectorRegistry | None = REGISTRY,
        cells: int = 1,
    ) -> None:
        self.name = name
        self.question = question
        self.label_names = tuple(label_names)
        self._children: dict[Labels, Self] = {}
        if not self.label_names:
            self.cells: list[float] = [0] * cells
            self.created = time.time() if SHOWS_CREATED else None
        if registry is not None:
            registry.register(self)

    def labels(self, *values: object) -> Self:
        """Give the child with these labels."""
        key = tuple(map(str, values))
        child = self._children.get(key)
        if child is None:
            if not key or len(key) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {self.label_names}")
            child = self._children[key] = self._child()
        return child

    def remove(self, *values: object) -> None:
        """Show the child with these labels no more."""
        self._children.pop(tuple(map(str, values)), None)

    def describe(self) -> Iterator[Metric]:
        """Word the metric without its numbers."""
        yield self._worded({})

    def collect(self) -> Iterator[Metric]:
        """Word the metric."""
        yield self._worded(self._children.copy() if self.label_names else {(): self})

    def _child(self) -> Self:
        return type(self)(self.name, self.question, registry=None)

    @abstractmethod
    def _worded(self, children: Mapping[Labels, Self]) -> Metric:
        """Word children as the library does."""


class Counter(Meter):
    """How often, or how much: it only grows."""

    def inc(self, more: float = 1) -> None:
        """Count so many more."""
        if more < 0:
            raise ValueError("what was counted stays counted")
        self.cells[0] += more

    def _worded(self, children: Mapping[Labels, Self]) -> Metric:
        family = CounterMetricFamily(self.name, self.question, labels=self.label_names)
        for labels, child in children.items():
            family.add_metric(labels, child.cells[0], child.created)
        return family


class Gauge(Meter):
    """How much there is now."""

    tells: Callable[[], float] | None = None
    """In place of the cell, asked whenever somebody reads."""

    def set(self, value: float) -> None:
        """Say how much."""
        self.cells[0] = value

    def set_function(self, tell: Callable[[], float]) -> None:
        """Ask this function whenever somebody reads."""
        self.tells = tell

    def _worded(self, children: Mapping[Labels, Self]) -> Metric:
        family = GaugeMetricFamily(self.name, self.question, labels=self.label_names)
        for labels, child in children.items():
            family.add_metric(labels, child.cells[0] if child.tells is None else child.tells())
        return family


class Histogram(Meter):
    """How values are spread: the first cell adds them up, each further one counts those up to a bound, the last all others."""

    def __init__(
        self,
        name: str,
        question: str,
        label_names: Iterable[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        """`buckets`: the bounds, each above 0 and above the one before."""
        if not buckets or buckets[0] <= 0 or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"{name}: bounds are positive and rise")
        self._bounds = tuple(buckets)
        self._bound_names = [floatToGoString(bound) for bound in (*buckets, inf)]  # type: ignore[no-untyped-call]
        super().__init__(name, question, label_names, registry=registry, cells=len(buckets) + 2)

    def observe(self, value: float) -> None:
        """Count a value."""
        cells = self.cells
        cells[bisect_left(self._bounds, value) + 1] += 1
        cells[0] += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Count the seconds that something takes, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    def _child(self) -> Self:
        return type(self)(self.name, self.question, buckets=self._bounds, registry=None)

    def _worded(self, children: Mapping[Labels, Self]) -> Metric:
        family = HistogramMetricFamily(self.name, self.question, labels=self.label_names)
        for labels, child in children.items():
            total, *counts = child.cells  # Read once, so that count and buckets agree.
            family.add_metric(labels, list(zip(self._bound_names, accumulate(counts), strict=True)), total)
            if child.created is not None:
                created = dict(zip(self.label_names, labels, strict=True))
                family.add_sample(f"{family.name}_created", created, child.created)
        return family
