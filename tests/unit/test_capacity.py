"""The capacity planner's arithmetic, on costs that can be reckoned by hand, and what it refuses."""

import dataclasses
from typing import Any

import pytest

from services.cli import capacity
from services.cli.capacity import Assumptions, Demand, Measurement, NotUsable, Prices

US = {"gateway": 200.0, "ledger": 100.0, "postgres": 50.0}
MEASURED = Measurement(
    single_us=US,
    bulk_us={"gateway": 4.0, "ledger": 10.0, "postgres": 10.0},
    crossing_factor={"gateway": 1.0, "ledger": 3.0, "postgres": 2.0},
    table_bytes=400.0,
    table_bytes_crossing=900.0,
    wal_bytes=500.0,
    wal_bytes_crossing=1_000.0,
    ledger_bytes_at_start=50e6,
    ledger_bytes_per_account=1_000.0,
    gateway_bytes=60e6,
    cores=2,
    source="by hand",
)
PRICES = Prices("EUR", 0.1, 0.01, 0.2, 0.02, 0.0, "by hand")
# A day on which 1,000 transfers a second come in on average.
DEMAND = Demand(customers=1_000_000, transfers_per_day=86_400_000, peak_factor=2.0, crossing_share=0.0)


def value(plan: capacity.Plan, name: str) -> float:
    return next(each.value for each in plan.figures if each.name == name)


def test_local_single_calls_need_what_their_processor_time_says() -> None:
    plan = capacity.plan(MEASURED, DEMAND, PRICES, Assumptions())
    assert value(plan, "peak rate") == 2_000
    # Half a core of a ledger does 5,000 a second, of a gateway 2,500.
    assert plan.shards == 1
    assert plan.gateways == 2
    # 2,000/s at 50 us are 0.1 cores; at half load 0.2; the two standbys work half as much each.
    assert value(plan, "PostgreSQL cores") == pytest.approx(0.4)
    assert value(plan, "ledger cores") == pytest.approx(0.4)
    assert plan.cores == pytest.approx(2 + 0.4 + 0.4)


def test_crossings_multiply_the_cost_by_their_share() -> None:
    half = capacity.plan(MEASURED, dataclasses.replace(DEMAND, crossing_share=0.5), PRICES, Assumptions())
    assert value(half, "a transfer of this mix, ledger") == pytest.approx(100 * 2)
    assert value(half, "a transfer of this mix, gateway") == pytest.approx(200)


def test_shards_follow_the_rate_or_the_quota_whichever_asks_for_more() -> None:
    many = dataclasses.replace(DEMAND, customers=23_000_000)
    assert capacity.plan(MEASURED, many, PRICES, Assumptions()).shards == 5
    fast = dataclasses.replace(DEMAND, transfers_per_day=86_400_000 * 10)
    assert capacity.plan(MEASURED, fast, PRICES, Assumptions()).shards == 4


def test_storage_keeps_every_copy_of_every_day_and_some_room() -> None:
    assumed = Assumptions(retention_days=10, copies=2, storage_free_share=0.5, account_bytes=1_000)
    plan = capacity.plan(MEASURED, DEMAND, PRICES, assumed)
    assert plan.storage_gib == pytest.approx((86_400_000 * 10 * 400 + 1e9) * 2 / 0.5 / 2**30)
    assert value(plan, "log archive") == pytest.approx(86_400_000 * 7 * 500 / 2**30)


def test_a_ledger_holds_the_active_accounts_of_its_shard_up_to_its_limit() -> None:
    plan = capacity.plan(MEASURED, DEMAND, PRICES, Assumptions(active_share=0.1))
    assert value(plan, "memory of one ledger") == pytest.approx((50e6 + 100_000 * 1_000) / 2**30)
    full = capacity.plan(MEASURED, DEMAND, PRICES, Assumptions(active_share=1.0, ledger_accounts_max=500_000))
    assert value(full, "memory of one ledger") == pytest.approx((50e6 + 500_000 * 1_000) / 2**30)


def test_money_is_running_and_keeping_and_the_overhead_on_top() -> None:
    plan = capacity.plan(MEASURED, DEMAND, PRICES, Assumptions())
    running = (plan.cores * 0.1 + plan.memory_gib * 0.01) * 8_766
    keeping = (plan.storage_gib * 0.2 + value(plan, "log archive") * 0.02) * 12
    assert plan.cost_per_year == pytest.approx(running + keeping)
    assert plan.cost_per_account_year == pytest.approx(plan.cost_per_year / 1_000_000)
    dearer = capacity.plan(MEASURED, DEMAND, dataclasses.replace(PRICES, overhead_share=0.5), Assumptions())
    assert dearer.cost_per_year == pytest.approx(plan.cost_per_year * 1.5)


def test_every_figure_says_what_it_rests_on() -> None:
    plan = capacity.plan(MEASURED, DEMAND, PRICES, Assumptions())
    bases = {each.name: each.basis for each in plan.figures}
    assert bases["customers"] == "given"
    assert bases["single call, ledger"] == "measured"
    assert bases["copies of each database"] == bases["price of a core"] == "assumed"
    assert bases["shards"] == bases["cost per account"] == "computed"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"crossing_share": 1.5}, "crossing_share is from 0 to 1"),
        ({"batch_share": -0.1}, "batch_share"),
        ({"customers": 0}, "needs customers"),
        ({"transfers_per_day": 0.0}, "needs customers"),
        ({"peak_factor": 0.5}, "peak_factor is at least 1"),
    ],
)
def test_a_demand_that_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(NotUsable, match=complaint):
        capacity.plan(MEASURED, dataclasses.replace(DEMAND, **change), PRICES, Assumptions())


def bench(**changes: Any) -> dict[str, Any]:
    row = {
        "processor_us_per_transfer": {**US, "generator": 3.0},
        "table_bytes_per_transfer": 400.0,
        "wal_bytes_per_transfer": 500.0,
        "memory_mb": {"ledger": 300.0, "gateway": 60.0},
        "ledger_mb_at_start": 100.0,
        "shards": 2,
        "accounts": 50_000,
        "others_share": 0.25,
    }
    names = ("single_64", "calls_1000_local", "calls_1000_crossing_100")
    conditions = {"began": "today", "cores": 2, "processor": "one", "postgresql": {"fsync": "on"}}
    return {
        "schema": "hivecore-bench-1",
        "audit": "clean",
        "conditions": conditions,
        "rows": [{"name": name, **row} for name in names],
    } | changes


def test_costs_are_read_from_a_bench_run() -> None:
    found = capacity.measurement_of(bench())
    assert found.table_bytes == found.table_bytes_crossing == 400.0
    over_many = bench()
    over_many["rows"][1] |= {"even_transfers": 900_000, "table_bytes_per_even_transfer": 390.0}
    assert capacity.measurement_of(over_many).table_bytes == 390.0
    assert found.single_us == US
    assert found.crossing_factor == {"gateway": 1.0, "ledger": 1.0, "postgres": 1.0}
    assert found.ledger_bytes_per_account == pytest.approx(200e6 / 50_000)
    assert found.ledger_bytes_at_start == pytest.approx(50e6)
    assert found.source.endswith("fsync on, others used up to 25% of the machine")


@pytest.mark.parametrize(
    "changes", [{"audit": "broken"}, {"schema": "other"}, {"rows": []}, {"rows": bench()["rows"][:2]}]
)
def test_what_is_no_sound_bench_run_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotUsable):
        capacity.measurement_of(bench(**changes))


PRICE_TABLE = {
    "currency_code": "USD",
    "source": "x",
    "core_hour": 1,
    "memory_gib_hour": 2,
    "storage_gib_month": 3,
    "archive_gib_month": 4,
    "overhead_share": 0.5,
}


def test_a_price_file_is_read_whole() -> None:
    assert capacity.prices_of(PRICE_TABLE) == Prices("USD", 1.0, 2.0, 3.0, 4.0, 0.5, "x")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"core_hour": None}, "core_hour"),
        ({"core_hour": -1}, "core_hour"),
        ({"core_hour": True}, "core_hour"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_price_file_with_a_mistake_is_refused_by_its_name(change: dict[str, Any], complaint: str) -> None:
    table = {name: value for name, value in {**PRICE_TABLE, **change}.items() if value is not None}
    with pytest.raises(NotUsable, match=complaint):
        capacity.prices_of(table)
