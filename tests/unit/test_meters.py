"""Our meters show what prometheus_client's own would, count only where they may, and can be read while they count."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest, openmetrics
from prometheus_client.registry import DuplicateTimeseries

from services.chassis import meters
from services.chassis.meters import Counter, Gauge, Histogram

BOUNDS = (0.001, 0.5, 1, 2.5, 10)
LABELS = st.sampled_from(["1", "2", 'a "quoted"\n\\ one'])
AMOUNTS = st.one_of(st.sampled_from(BOUNDS), st.integers(0, 2**60), st.floats(0, 1e12))

steps = st.lists(
    st.one_of(
        st.tuples(st.just("count"), LABELS, AMOUNTS),
        st.tuples(st.just("show"), LABELS, st.floats(allow_nan=False)),
        st.tuples(st.just("spread"), LABELS, AMOUNTS),
        st.tuples(st.just("ask"), LABELS, AMOUNTS),
        st.tuples(st.just("forget"), LABELS, st.just(0)),
    )
)


def shown(library: Any, taken: list[tuple[str, str, float]]) -> tuple[str, str]:
    """Take the same steps with either library; give both ways of wording, without the time of creation."""
    registry = CollectorRegistry()
    counter = library.Counter("things_total", "How many?", ["shard"], registry=registry)
    gauge = library.Gauge("depth", "How deep?", ("shard",), registry=registry)
    histogram = library.Histogram("wait_seconds", "How long?", ["shard"], buckets=BOUNDS, registry=registry)
    bare = library.Counter("bare_total", "How many?", registry=registry)
    library.Gauge("bare_depth", "How deep?", registry=registry)
    library.Histogram("bare_seconds", "How long?", buckets=BOUNDS, registry=registry)
    for what, label, amount in taken:
        if what == "count":
            counter.labels(label).inc(amount)
            bare.inc()
        elif what == "show":
            gauge.labels(label).set(amount)
        elif what == "spread":
            histogram.labels(label).observe(amount)
        elif what == "ask":
            gauge.labels(label).set_function(lambda amount=amount: amount)
        else:
            gauge.remove(label)
    words = (generate_latest(registry), openmetrics.exposition.generate_latest(registry))
    plain, open_metrics = (re.sub(r"(_created(?:\{.*\})?) .*", r"\1", text.decode()) for text in words)
    return plain, open_metrics


@given(steps)
def test_they_show_what_the_library_would(taken: list[tuple[str, str, float]]) -> None:
    assert shown(meters, taken) == shown(prometheus_client, taken)


def test_the_time_of_creation_is_shown_unless_the_library_was_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "_created" in shown(meters, [])[0]
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
    monkeypatch.setattr(meters, "SHOWS_CREATED", meters._shows_created())
    assert shown(meters, [("count", "1", 1), ("spread", "1", 1)]) == shown(
        prometheus_client, [("count", "1", 1), ("spread", "1", 1)]
    )


def test_large_amounts_are_added_without_rounding() -> None:
    counter = Counter("minor_total", "?", registry=None)
    counter.inc(2**53)
    counter.inc(1)
    ((sample, *_),) = (family.samples for family in counter.collect())
    assert sample.value == 2**53 + 1


def test_a_parent_and_a_child_cannot_be_taken_for_each_other() -> None:
    counter = Counter("a", "?", ["x"], registry=None)
    gauge = Gauge("b", "?", ["x"], registry=None)
    histogram = Histogram("c", "?", ["x"], buckets=BOUNDS, registry=None)
    for count in (counter.inc, lambda: gauge.set(1), lambda: histogram.observe(1)):
        with pytest.raises(AttributeError):
            count()
    for wrong in ((), ("1", "2")):
        with pytest.raises(ValueError, match="has the labels"):
            counter.labels(*wrong)
    for wrong in ((), ("1",)):
        with pytest.raises(ValueError, match="has the labels"):
            counter.labels("1").labels(*wrong)
    assert counter.labels(1) is counter.labels("1") is not counter.labels(2)


def test_counters_never_go_back() -> None:
    counter = Counter("a", "?", registry=None)
    with pytest.raises(ValueError, match="stays counted"):
        counter.inc(-1)


@pytest.mark.parametrize("bounds", [(), (0, 1), (-1, 1), (2, 1), (1, 1)])
def test_bounds_rise_from_above_0(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rise"):
        Histogram("a", "?", buckets=bounds, registry=None)


def test_a_name_can_be_had_once() -> None:
    registry = CollectorRegistry()
    Counter("a_total", "?", registry=registry)
    with pytest.raises(DuplicateTimeseries):
        Gauge("a_total", "?", registry=registry)


def test_time_is_counted_however_it_ends() -> None:
    histogram = Histogram("a", "?", buckets=BOUNDS, registry=None)
    with histogram.time():
        pass
    with pytest.raises(RuntimeError), histogram.time():
        raise RuntimeError
    assert sum(histogram.cells[1:]) == 2
    assert 0 < histogram.cells[0] < 10


def test_what_is_read_while_it_is_counted_is_whole() -> None:
    histogram = Histogram("a", "?", ["x"], buckets=BOUNDS, registry=None)

    def torn() -> list[tuple[float, ...]]:
        found: list[tuple[float, ...]] = []
        for _ in range(500):
            (family,) = histogram.collect()
            of_kept = [sample for sample in family.samples if sample.labels["x"] == "kept"]
            buckets = [sample.value for sample in of_kept if sample.name == "a_bucket"]
            count = [sample.value for sample in of_kept if sample.name == "a_count"]
            if buckets[-1:] != count or buckets != sorted(buckets):
                found.append((*buckets, *count))
        return found

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(torn)
            number = 0
            while not reading.done():
                number += 1
                histogram.labels("kept").observe(number % 12)
                histogram.labels(number % 50).observe(number % 12)
                histogram.remove((number + 25) % 50)
    finally:
        sys.setswitchinterval(usual)
    assert reading.result() == []
    assert sum(histogram.labels("kept").cells[1:]) == number
