"""What a bank on one machine is made of, as values."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from services.chassis import roles
from services.cli import topology
from services.cli.supervisor import HEALTHY_SECONDS, ending, next_pause
from services.cli.topology import BankOptions, Places, Shape, ShapeRefused

DATA = Path("/data")
SHAPE = Shape(shards=2, customer_quota=10, currencies=("CZK", "EUR"))


def dsn(database: str, *, user: str = "owner") -> str:
    return f"postgresql://{user}@somewhere/{database}"


def planned(options: BankOptions = BankOptions(data=DATA), shape: Shape = SHAPE) -> topology.Topology:  # noqa: B008
    ports = {
        name: 20_000 + number
        for number, name in enumerate(topology.port_names(shape, options.standbys, options.gateways))
    }
    return topology.plan(options, shape, Places(DATA), ports, dsn)


def test_account_starts_first_and_the_gateway_last() -> None:
    names = [[program.name for program in stage] for stage in planned().stages]
    assert names == [["account"], ["ledger-1", "ledger-2"], ["gateway"]]


def test_every_process_is_told_exactly_what_it_needs() -> None:
    account, first, _, gateway = planned().programs
    common = {"LISTEN", "METRICS_LISTEN", "INSTANCE", "LOG_LEVEL", "ENDPOINT_FILE", "STOP_WITH_PARENT"}

    def own(program: topology.Program) -> dict[str, str]:
        told = {name.removeprefix("HIVECORE_"): value for name, value in program.environment.items()}
        assert common <= told.keys()
        return {name: told[name] for name in told.keys() - common - topology.MINIMAL_ENVIRONMENT.keys()}

    assert own(gateway) == {
        "ACCOUNT_ADDRESS": account.grpc,
        "JWT_SECRET_FILE": "/data/jwt.secret",
        "REVOCATIONS_FILE": "/data/revocations.toml",
    }
    assert own(first) == {
        "ACCOUNT_ADDRESS": account.grpc,
        "MIGRATE": "0",
        "SHARDS": json.dumps({"1": dsn("hivecore_shard_1", user=roles.LEDGER)}),
    }
    assert own(account) == {
        "CONTROL_DSN": dsn("hivecore_control", user=roles.ACCOUNT),
        "MIGRATE": "0",
        "CURRENCIES": "CZK,EUR",
        "SHARDS": json.dumps(
            {
                shard: {
                    "dsn": dsn(f"hivecore_shard_{shard}", user=roles.ACCOUNT),
                    "ledgers": [address],
                    "customer_quota": 10,
                }
                for shard, address in (("1", planned().programs[1].grpc), ("2", planned().programs[2].grpc))
            }
        ),
    }


def test_several_gateways_have_addresses_of_their_own_and_drain() -> None:
    plan = planned(BankOptions(data=DATA, gateways=3))
    assert [program.name for program in plan.stages[2]] == ["gateway", "gateway-2", "gateway-3"]
    assert len(set(plan.gateways)) == 3
    assert plan.gateway == plan.gateways[0]
    assert all(float(program.environment["HIVECORE_DRAIN_SECONDS"]) > 0 for program in plan.stages[2])


def test_standbys_serve_the_same_shard_at_addresses_of_their_own() -> None:
    options = BankOptions(data=DATA, standbys=2)
    plan = planned(options)
    ledgers = plan.stages[1]
    assert [program.name for program in ledgers[:3]] == ["ledger-1", "ledger-1-standby-1", "ledger-1-standby-2"]
    assert len({program.environment["HIVECORE_SHARDS"] for program in ledgers[:3]}) == 1
    assert plan.ledgers[1] == tuple(program.grpc for program in ledgers[:3])
    told = json.loads(plan.programs[0].environment["HIVECORE_SHARDS"])
    assert told["1"]["ledgers"] == list(plan.ledgers[1])


def test_no_two_processes_share_an_address() -> None:
    plan = planned(BankOptions(data=DATA, standbys=1))
    addresses = [address for program in plan.programs for address in (program.grpc, program.metrics)]
    assert len(set(addresses)) == len(addresses) == 12


def test_settings_of_a_room_reach_its_processes_and_names_of_ours_are_not_inherited() -> None:
    options = BankOptions(
        data=DATA,
        environment={"LANG": "C", "HIVECORE_TOKEN": "secret"},
        settings={"ledger": {"HIVECORE_LEASE_SECONDS": "1"}},
    )
    account, first, second, _ = planned(options).programs
    assert first.environment["HIVECORE_LEASE_SECONDS"] == second.environment["HIVECORE_LEASE_SECONDS"] == "1"
    assert "HIVECORE_LEASE_SECONDS" not in account.environment
    assert account.environment["LANG"] == "C"
    assert "HIVECORE_TOKEN" not in account.environment


def test_gateways_are_told_which_files_say_what_tokens_and_channels_may() -> None:
    options = BankOptions(data=DATA, gateways=2, allowances=Path("/rules/a.toml"), revocations=Path("/rules/r.toml"))
    plan = planned(options)
    for program in plan.stages[-1]:
        assert program.environment["HIVECORE_ALLOWANCES_FILE"] == "/rules/a.toml"
        assert program.environment["HIVECORE_REVOCATIONS_FILE"] == "/rules/r.toml"
    assert topology.describe(options, plan, SHAPE, Places(DATA), dsn, {})["revocations_file"] == "/rules/r.toml"


def test_a_benchmark_may_run_something_else_for_a_room() -> None:
    plan = planned(BankOptions(data=DATA, instead={"gateway": ("-m", "another")}))
    assert {program.name: program.arguments[-1] for program in plan.programs} == {
        "account": "services.account",
        "ledger-1": "services.ledger",
        "ledger-2": "services.ledger",
        "gateway": "another",
    }


def test_bank_json_says_how_to_reach_everything() -> None:
    plan = planned()
    content = topology.describe(BankOptions(data=DATA), plan, SHAPE, Places(DATA), dsn, {"postgres": 1, "account": 2})
    assert json.loads(json.dumps(content)) == {
        "gateway": plan.gateway,
        "gateways": [plan.gateway],
        "account": plan.account,
        "ledgers": {"1": list(plan.ledgers[1]), "2": list(plan.ledgers[2])},
        "metrics": {program.name: program.metrics for program in plan.programs},
        "control_dsn": dsn("hivecore_control"),
        "shard_dsns": {"1": dsn("hivecore_shard_1"), "2": dsn("hivecore_shard_2")},
        "jwt_secret_file": "/data/jwt.secret",
        "revocations_file": "/data/revocations.toml",
        "authority_file": None,
        "processes": {"postgres": 1, "account": 2},
    }


def test_a_new_bank_gets_the_defaults_and_an_old_one_keeps_what_it_has() -> None:
    options = BankOptions(data=DATA)
    assert topology.shape_of(options, None) == Shape(4, 5_000_000, ("CZK", "EUR", "USD"))
    assert topology.shape_of(options, SHAPE) == SHAPE
    assert topology.shape_of(replace(options, shards=3), SHAPE) == replace(SHAPE, shards=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (BankOptions(data=DATA, shards=0), "1 to 64 shards, not 0"),
        (BankOptions(data=DATA, shards=65), "1 to 64 shards, not 65"),
        (BankOptions(data=DATA, standbys=-1), "0 to 4 standbys, not -1"),
        (BankOptions(data=DATA, customer_quota=-5), "at least 1 customer, not -5"),
        (BankOptions(data=DATA, customer_quota=0), "at least 1 customer, not 0"),
        (BankOptions(data=DATA, shards=1), "has 2 shards: their books cannot be left out"),
        (BankOptions(data=DATA, currencies=("CZK",)), "keeps books in EUR: they cannot be left out"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_a_sentence(options: BankOptions, sentence: str) -> None:
    with pytest.raises(ShapeRefused, match=sentence):
        topology.shape_of(options, SHAPE)


def test_ports_of_last_time_are_kept_while_they_are_free_and_nobody_shares_one() -> None:
    fresh = count(30_000)
    ports = topology.ports_to_use(
        ("postgres", "account", "account.metrics", "gateway", "ledger-1"),
        fixed={"gateway": 50_051},
        before={
            "postgres": 20_000,
            "account": 20_001,
            "account.metrics": 20_000,
            "gateway": 20_002,
            "ledger-1": 50_051,
        },
        is_free=lambda port: port != 20_001,
        choose=lambda taken: next(port for port in fresh if port not in taken),
    )
    assert ports == {
        "postgres": 20_000,
        "account": 30_000,
        "account.metrics": 30_001,
        "gateway": 50_051,
        "ledger-1": 30_002,
    }


def test_pauses_double_to_a_limit_and_start_over_after_a_healthy_life() -> None:
    pauses = [next_pause(0, 0)]
    while len(pauses) < 8:
        pauses.append(next_pause(pauses[-1], HEALTHY_SECONDS - 1))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert next_pause(pauses[-1], HEALTHY_SECONDS) == 0.1


def test_exit_statuses_are_put_into_words() -> None:
    assert [ending(0), ending(1), ending(-9), ending(-250)] == ["status 0", "status 1", "SIGKILL", "signal 250"]
