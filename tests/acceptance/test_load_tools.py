"""The kit's other tools as their users start them: profile, cross-check by k6, capacity planner, charts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from loadtest import bank
from loadtest.bank import OpenBank
from loadtest.bench import chart
from loadtest.crosscheck.__main__ import describe_wire
from loadtest.features.groups import GROUPS
from loadtest.features.turns import UNPRICED

HIVECORE = Path(sys.executable).with_name("hivecore")
SEARCH = os.pathsep.join([str(HIVECORE.parent), os.environ.get("PATH", os.defpath)])
REFERENCE = Path(__file__).parents[2] / "services" / "cli" / "reference_bench.json"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_example_is_planned_from_the_reference_run() -> None:
    done = run(HIVECORE, "plan", "--example", "webank", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["shards"] >= 80
    assert plan["cost_per_account_year"] > 0
    assert {figure["basis"] for figure in plan["figures"]} == {"measured", "given", "assumed", "computed"}
    assert "No absolute cost per account" in " ".join(plan["notes"])


def test_a_plan_for_people_says_what_it_was_measured_by(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'currency_code = "CZK"\nsource = "ours"\ncore_hour = 1\nmemory_gib_hour = 0.1\n'
        "storage_gib_month = 2\narchive_gib_month = 1\noverhead_share = 0\n"
    )
    sizes = ("--customers", "2000000", "--transfers-per-day", "1e6", "--assume", "copies=2")
    done = run(HIVECORE, "plan", "--bench", REFERENCE, "--prices", prices, *sizes)
    assert done.returncode == 0, done.stderr
    assert "measured by: 20" in done.stdout and "CZK a year" in done.stdout and "1 shards" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "say --customers and --transfers-per-day"),
        (("--example", "other"), "webank is the one"),
        (("--example", "webank", "--crossing-share", "2"), "crossing_share is from 0 to 1"),
        (("--example", "webank", "--assume", "typo=1"), "--assume takes NAME=VALUE"),
        (("--example", "webank", "--assume", "copies=x"), "'x' is not a number of its kind"),
        (("--example", "webank", "--bench", "/nowhere.json"), "/nowhere.json cannot be read"),
        (("--example", "webank", "--bench", "/dev/null"), "cannot be read"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused_in_one_sentence(arguments: tuple[str, ...], complaint: str) -> None:
    done = run(HIVECORE, "plan", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("hivecore: ") and complaint in done.stderr and done.stdout == ""


def test_charts_are_drawn_from_the_json_of_a_run(tmp_path: Path) -> None:
    document = json.loads(REFERENCE.read_text())
    picture, page = chart.write(document, tmp_path / "bench.json")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    text = page.read_text()
    assert "<svg" in text and "audit clean" in text
    assert all(f"<td>{row['name']}</td>" in text for row in document["rows"])


def test_what_k6_is_told_of_the_wire_is_the_whole_public_api(tmp_path: Path) -> None:
    describe_wire(tmp_path / "bank.protoset")
    described = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "bank.protoset").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        # Each after what it needs, or this fails.
        pool.AddSerializedFile(file.SerializeToString())
    assert pool.FindMethodByName("hivecore.gateway.v1.Bank.PostTransfer").input_type.name == "PostTransferRequest"


@pytest.fixture(scope="module")
def open_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBank]:
    with bank.opened(tmp_path_factory.mktemp("tools") / "bank", shards=1) as opened:
        yield opened


@pytest.mark.skipif(shutil.which("k6", path=SEARCH) is None, reason="k6 is an extra of its own")
def test_k6_and_our_loop_are_told_the_same_by_one_bank(open_bank: OpenBank, tmp_path: Path) -> None:
    output = tmp_path / "crosscheck.json"
    command = (sys.executable, "-m", "loadtest.crosscheck", f"--data={open_bank.data}", f"--output={output}")
    done = run(*command, "--rate=20", "--seconds=2", "--accounts=20")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["k6"]["posted"] > 0 and found["k6"]["failed"] == 0
    assert found["ours"]["posted"] == 40 and found["ours"]["failed"] == 0
    assert 0 < found["k6"]["med"] <= found["k6"]["p(99)"]


def test_a_profile_looks_at_every_process_and_proves_the_books(tmp_path: Path) -> None:
    output = tmp_path / "profile"
    command = (sys.executable, "-m", "loadtest.profiling", f"--output={output}", "--load=crossings")
    done = run(*command, "--seconds=2", "--accounts=40", "--shards=2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((output / "profile.json").read_text())
    assert set(found["pictures"]) == {"gateway", "account", "ledger-1", "ledger-2"}
    for name, said in found["pictures"].items():
        # Not every machine lets a process look into another.
        assert (
            "<svg" in (output / f"{name}.svg").read_text() if "no picture" not in said else "no picture" in done.stdout
        )
    assert found["cores_used"]["ledger-1"] > 0
    assert any("COPY" in statement["text"] for statement in found["statements"])
    assert not any("CREATE DATABASE" in statement["text"] for statement in found["statements"])
    assert sum(wait["samples"] for wait in found["waits"]) > 0
    assert "audit clean" in found["proved"]


def test_the_cost_of_features_is_told_of_books_that_proved_sound(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    output = tmp_path / "features.json"
    command = (sys.executable, "-m", "loadtest.features", f"--data={tmp_path / 'bank'}", f"--output={output}")
    done = run(*command, "--accounts=20", "--calls=1", "--rounds=1")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert "audit clean; 22,000 ids and 140 balances" in found["proved"]
    groups = found["groups"]
    assert list(groups) == [UNPRICED, *(group.name for group in GROUPS)]
    assert all(group["transfers_per_s"] > 0 and group["log_bytes"] > 0 for group in groups.values())
    assert not (tmp_path / "bank").exists()
