"""What the security benchmark compares, and that a process it starts without a part is without it."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.chassis import process
from services.chassis.meters import Counter, Gauge, Histogram
from services.chassis.watched import Unwatched
from services.domain import errors
from services.gateway import authentication, scopes
from services.gateway.allowances import Allowances
from services.gateway.authentication import NOTHING_REVOKED, Authenticator, Keys
from services.gateway.metering import Metering
from tools.bench_security import variants, without
from tools.bench_security.__main__ import PARTS, compare
from tools.bench_security.turns import Turn


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the launcher run to where the service would begin, and put back what it replaced."""
    started: list[Any] = []
    monkeypatch.setattr(process, "run", started.append)
    for places in without.PARTS.values():
        for owner, name, _ in places:
            monkeypatch.setattr(owner, name, getattr(owner, name))
    return started


def test_without_authentication_anybody_may_do_everything(ran: list[Any]) -> None:
    keys = Unwatched(Keys.of_secret(b"x" * 32))
    door = Authenticator(
        keys,
        revocations=NOTHING_REVOKED,
        issuer="i",
        audience="a",
        clock_skew_seconds=0,
        tokens_max=1,
        now=lambda: 0.0,
    )
    with pytest.raises(errors.Unauthenticated):
        door.caller_of(())
    without.main("gateway", "authentication")
    for call in scopes.SCOPE_BY_CALL:
        authentication.check_allowed(door.caller_of(()), call)
    assert [main.__module__ for main in ran] == ["services.gateway.__main__"]


def test_without_rates_nothing_is_refused(ran: list[Any]) -> None:
    spent = Metering(Unwatched(Allowances.of_toml(b"[default]\nwrites_per_second = 1\n")), lambda: 0.0)
    spent.spend("mobile", "PostTransfer", 1)
    with pytest.raises(errors.Overloaded):
        spent.spend("mobile", "PostTransfer", 1)
    without.main("gateway", "rates")
    spent.spend("mobile", "PostTransfer", 1)
    assert len(ran) == 1


def test_without_metrics_nothing_is_counted(ran: list[Any]) -> None:
    registry = CollectorRegistry()
    counter = Counter("a", "?", ["x"], registry=registry).labels("1")
    gauge, histogram = Gauge("b", "?", registry=registry), Histogram("c", "?", buckets=[1], registry=registry)
    without.main("ledger", "metrics")
    counter.inc()
    gauge.set(5)
    histogram.observe(1)
    assert {registry.get_sample_value(name, labels) for name, labels in (("a_total", {"x": "1"}), ("b", {}))} == {0.0}
    assert registry.get_sample_value("c_count") == 0.0
    assert len(ran) == 1


def test_each_bank_is_the_whole_one_but_for_its_part() -> None:
    place = Path("/data")
    whole = variants.options(variants.EVERYTHING, place, place / "allowances.toml")
    assert whole.tls and not whole.instead and whole.settings["gateway"]
    Allowances.of_toml(variants.allowances().encode())
    for variant in variants.VARIANTS[1:]:
        options = variants.options(variant, place, place / "allowances.toml")
        assert options != whole
        assert set(variant.without) <= without.PARTS.keys()
        for room, arguments in options.instead.items():
            assert arguments == ("-m", without.__name__, room, *variant.without)


def test_banks_are_compared_within_a_round() -> None:
    def turn(rate: float, gateway_us: float) -> Turn:
        return Turn(rate, dict.fromkeys(PARTS, 1.0) | {"gateway": gateway_us})

    whole, other = "everything on", "without TLS"
    # The machine is half as fast in the second round, for both; one of the third's turns has an accident.
    rows = compare(
        {
            whole: [turn(1_000, 100), turn(500, 200), turn(1_000, 100)],
            other: [turn(1_100, 80), turn(550, 180), turn(5, 900)],
        }
    )
    assert [row["bank"] for row in rows] == [whole, other]
    assert rows[0]["rate_to_everything_on"] == 1.0
    assert rows[1]["rate_to_everything_on"] == 1.1
    assert rows[1]["us_per_transfer"]["gateway"] == 80.0
    assert rows[1]["us_less"] == dict.fromkeys(PARTS, 0.0) | {"gateway": 20.0}
