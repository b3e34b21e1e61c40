"""What `hivecore top` makes of two moments of a bank."""

import pytest

from services.cli.gauging import Readings, glance, quantile

BUCKETS = 'hivecore_ledger_commit_seconds_bucket{{shard="1",le="{}"}} {}\n'


def ledger(transfers: int, fast: int, *, gap: int = 0, writer: int = 1) -> Readings:
    return Readings.of_text(
        f'hivecore_ledger_transfers_total{{shard="1",outcome="POSTED",reason=""}} {transfers}\n'
        f'hivecore_ledger_is_writer{{shard="1"}} {writer}\n'
        f'hivecore_ledger_writer_epoch{{shard="1"}} 7\n'
        f'hivecore_ledger_conservation_gap_minor_units{{shard="1",currency="CZK"}} {gap}\n'
        f'hivecore_ledger_conservation_gap_minor_units{{shard="1",currency="EUR"}} 0\n'
        f'hivecore_ledger_crossings_in_flight{{shard="1",peer="2"}} 3\n'
        + BUCKETS.format("0.01", fast)
        + BUCKETS.format("0.1", 100)
        + BUCKETS.format("+Inf", 100)
    )


def gateway(ok: int, refused: int, failed: int) -> Readings:
    handled = 'grpc_server_handled_total{{grpc_service="hivecore.gateway.v1.Bank",grpc_code="{}"}} {}\n'
    return Readings.of_text(
        'hivecore_build_info{service="gateway"} 1\n'
        + handled.format("OK", ok)
        + handled.format("FailedPrecondition", refused)
        + handled.format("Unavailable", failed)
    )


def test_rates_are_of_the_time_between_the_moments() -> None:
    before = {"ledger-1": ledger(100, 0), "gateway": gateway(10, 0, 0)}
    after = {"ledger-1": ledger(300, 0), "gateway": gateway(30, 4, 2)}
    seen = glance(before, after, 2.0)
    (shard,), (door,) = seen.shards, seen.gateways
    assert shard.transfers_per_second == 100
    assert (door.calls_per_second, door.refused_per_second, door.failed_per_second) == (13, 2, 1)
    assert (shard.writer, shard.epoch, shard.in_flight_count) == ("ledger-1", 7, 3)
    assert seen.is_sound


def test_a_restarted_process_counts_from_nought_again() -> None:
    seen = glance({"ledger-1": ledger(900, 0)}, {"ledger-1": ledger(50, 0)}, 1.0)
    assert seen.shards[0].transfers_per_second == 50


def test_a_process_that_was_silent_before_counts_as_begun_since() -> None:
    seen = glance({"ledger-1": None}, {"ledger-1": ledger(50, 0)}, 1.0)
    assert seen.shards[0].transfers_per_second == 50


def test_a_silent_process_a_missing_writer_and_a_gap_are_each_unsound() -> None:
    sound = {"ledger-1": ledger(1, 1)}
    assert glance(sound, sound, 1.0).is_sound
    assert glance(sound, sound | {"gateway": None}, 1.0).silent == ("gateway",)
    for bad in (ledger(1, 1, gap=-5), ledger(1, 1, writer=0)):
        assert not glance(sound, {"ledger-1": bad}, 1.0).is_sound
    assert glance(sound, {"ledger-1": ledger(1, 1, gap=-5)}, 1.0).shards[0].gap_minor == -5


def test_a_shard_that_only_the_account_service_knows_has_no_writer() -> None:
    account = Readings.of_text(
        'hivecore_account_customer_quota{shard="4"} 10\nhivecore_account_customers{shard="4"} 9\n'
    )
    (shard,) = glance({}, {"account": account}, 1.0).shards
    assert (shard.shard_id, shard.writer, shard.gap_minor) == (4, "", None)
    assert (shard.customer_count, shard.customer_quota) == (9, 10)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({}, None),
        ({0.1: 0, float("inf"): 0}, None),
        ({0.1: 100, 1.0: 100, float("inf"): 100}, 0.099),
        ({0.1: 90, 1.0: 100, float("inf"): 100}, 0.91),
        ({0.1: 90, float("inf"): 100}, 0.1),
    ],
)
def test_a_quantile_lies_within_its_bucket(buckets: dict[float, float], expected: float | None) -> None:
    found = quantile(0.99, buckets)
    assert found == (None if expected is None else pytest.approx(expected))


def test_what_is_no_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        Readings.of_text("<html>\n")
