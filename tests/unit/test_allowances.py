"""What a channel may ask for, second by second and day by day; and who refuses it."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.watched import LOOK_SECONDS, Unwatched, WatchedFile
from services.domain import errors
from services.gateway import allowances
from services.gateway.allowances import DAY_SECONDS, Allowance, Allowances, Purses, Spent
from services.gateway.metering import Metering

FILE = b"""
[default]
look_ups_per_second = 10
writes_per_second = 2
writes_burst = 3
[channels.mobile]
items_per_second = 100
items_burst = 1_000
items_per_day = 5_000
writes_per_second = inf
"""


def _looks(purses: Purses, now: float, channel: str = "web") -> Spent | None:
    return purses.take(channel, is_look_up=True, items=1, now=now)


def _writes(purses: Purses, now: float, items: int = 1, channel: str = "web") -> Spent | None:
    return purses.take(channel, is_look_up=False, items=items, now=now)


def test_a_channel_has_what_the_file_says_and_otherwise_the_default() -> None:
    read = Allowances.of_toml(FILE)
    assert read.of("web") == Allowance(look_ups_per_second=10, writes_per_second=2, writes_burst=3)
    assert read.of("mobile") == Allowance(
        look_ups_per_second=10, writes_burst=3, items_per_second=100, items_burst=1_000, items_per_day=5_000
    )


@pytest.mark.parametrize(
    "text",
    [
        b"[defaults]",
        b"default = 1",
        b"channels = []",
        b"[channels]\nweb = 1",
        b"[default]\nreads_per_second = 1",
        b"[default]\nlook_ups_per_second = 0",
        b"[default]\nlook_ups_per_second = -1",
        b"[default]\nlook_ups_per_second = nan",
        b"[default]\nlook_ups_per_second = true",
        b"[default]\nlook_ups_per_second = '1'",
        b"[default]\nlook_ups_burst = 0.5",
        b"[default]\nlook_ups_burst = inf",
        b"[",
        b"\xff",
    ],
)
def test_a_file_that_is_not_wholly_understood_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Allowances.of_toml(text)


def test_look_ups_and_writes_do_not_take_from_each_other_nor_channels() -> None:
    purses = Purses(Allowances.of_toml(FILE))
    assert [_looks(purses, 0.0) for _ in range(10)] == [None] * 10
    assert _looks(purses, 0.0) == Spent("look_ups", pytest.approx(0.1))
    assert [_writes(purses, 0.0) for _ in range(3)] == [None] * 3
    assert _writes(purses, 0.0) == Spent("writes", pytest.approx(0.5))
    assert _looks(purses, 0.0, "branch") is None


def test_who_waits_as_long_as_told_is_let_in_and_who_waits_less_is_not() -> None:
    purses = Purses(Allowances.of_toml(FILE))
    for _ in range(10):
        _looks(purses, 0.0)
    assert _looks(purses, 0.09) is not None
    assert _looks(purses, 0.1001) is None
    assert _looks(purses, 0.1001) is not None


def test_a_large_call_is_let_in_when_the_bucket_is_full_and_owes_the_rest() -> None:
    purses = Purses(Allowances(Allowance(items_per_second=100, items_burst=1_000)))
    assert _writes(purses, 0.0, 4_000) is None
    assert _writes(purses, 0.0, 1) == Spent("items", pytest.approx(30.01))
    assert _writes(purses, 30.0, 1) is not None
    assert _writes(purses, 30.1, 1) is None


def test_a_refused_call_takes_nothing() -> None:
    purses = Purses(Allowances(Allowance(writes_per_second=1, writes_burst=5, items_per_second=10, items_burst=10)))
    assert _writes(purses, 0.0, 10) is None
    for _ in range(10):
        assert _writes(purses, 0.0, 1) is not None
    assert [_writes(purses, 0.4, 1) for _ in range(4)] == [None] * 4


def test_a_days_items_come_back_at_midnight() -> None:
    purses = Purses(Allowances(Allowance(items_per_day=10)))
    noon = 1_000 * DAY_SECONDS + DAY_SECONDS / 2
    assert _writes(purses, noon, 10) is None
    assert _writes(purses, noon) == Spent("items_per_day", DAY_SECONDS / 2)
    assert _looks(purses, noon) is None
    assert _writes(purses, noon + DAY_SECONDS / 2) is None


def test_a_clock_that_is_put_back_brings_nothing() -> None:
    purses = Purses(Allowances(Allowance(look_ups_per_second=1)))
    assert _looks(purses, 100.0) is None
    assert _looks(purses, 50.0) is not None
    assert _looks(purses, 100.9) is not None
    assert _looks(purses, 101.0) is None


def test_other_allowances_keep_the_days_use() -> None:
    purses = Purses(Allowances(Allowance(items_per_day=10, writes_per_second=1)))
    assert _writes(purses, 0.0, 9) is None
    purses.change(Allowances(Allowance(items_per_day=10, writes_per_second=1)), 0.0)
    assert _writes(purses, 0.0, 1) is None
    purses.change(Allowances(Allowance(items_per_day=11)), 0.0)
    assert [_writes(purses, 0.0), _writes(purses, 0.0)] == [None, Spent("items_per_day", DAY_SECONDS)]


def test_the_memory_of_channels_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowances, "CHANNELS_MAX", 2)
    purses = Purses(Allowances(Allowance(look_ups_per_second=1)))
    for channel in ("a", "b", "c"):
        assert _looks(purses, 0.0, channel) is None
    assert _looks(purses, 0.0, "c") is not None
    assert _looks(purses, 0.0, "a") is None


@given(
    st.floats(0.1, 1_000),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 200)), max_size=60),
)
def test_no_channel_ever_gets_more_than_its_rate_its_burst_and_one_call(
    rate: float, burst: float, asked: list[tuple[float, int]]
) -> None:
    purses = Purses(Allowances(Allowance(items_per_second=rate, items_burst=burst)))
    now, got = 1.0, [0]
    for pause, items in asked:
        now += pause
        spent = _writes(purses, now, items)
        if spent is None:
            got.append(items)
        else:
            assert 0 < spent.seconds <= (burst + 200) / rate + 1e-6
    assert sum(got) <= (now - 1.0) * rate + burst + max(got) + 1e-6


def test_a_gateway_without_a_file_refuses_nobody() -> None:
    metering = Metering(Unwatched(Allowances()), lambda: 0.0)
    for _ in range(1_000):
        metering.spend("web", "PostTransfers", 8_000)


def test_a_changed_file_is_in_force_and_a_refusal_says_when_to_come_again(tmp_path: Path) -> None:
    file = tmp_path / "allowances.toml"
    file.write_bytes(b"")
    time = [0.0]
    metering = Metering(WatchedFile(file, Allowances.of_toml, "allowances", now=lambda: time[0]), lambda: time[0])
    metering.spend("mobile", "GetTransfer", 1)
    file.write_bytes(FILE.replace(b"look_ups_per_second = 10", b"look_ups_per_second = 0.5"))
    time[0] += LOOK_SECONDS
    metering.spend("mobile", "GetTransfer", 1)
    with pytest.raises(errors.Overloaded) as limited:
        metering.spend("mobile", "GetTransfer", 1)
    assert (limited.value.reason, limited.value.retry_after_seconds) == ("RATE_LIMITED", 2.0)
    with pytest.raises(errors.Overloaded) as spent:
        metering.spend("mobile", "PostTransfers", 5_001)
    assert (spent.value.reason, spent.value.retry_after_seconds) == ("QUOTA_SPENT", DAY_SECONDS - LOOK_SECONDS)
    assert math.isfinite(spent.value.retry_after_seconds)
