"""The baseline benchmark, very short, on a real bank: it gives figures of sound books, and of no others."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from loadtest import bank, proof
from loadtest.bank import OpenBank
from loadtest.pgbench import find_programs
from loadtest.proof import NotSound
from loadtest.workload import transfer_id

ROWS = ["pgbench_best", "pgbench_1", "single_1", "single_64", "calls_1000_local", "calls_1000_crossing_100"]
NEVER_SENT = transfer_id(1_790_000_000_000, 1)

DAMAGE = """
    SET session_replication_role = replica;
    UPDATE ledger.entry SET balance_after_minor = balance_after_minor + 1
     WHERE (account_number, version) = (SELECT account_number, max(version) FROM ledger.entry GROUP BY 1 LIMIT 1)
"""


@pytest.fixture(scope="module")
def open_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBank]:
    with bank.opened(tmp_path_factory.mktemp("baseline") / "bank", shards=2) as opened:
        yield opened


def test_a_run_gives_every_row_and_a_clean_audit(open_bank: OpenBank) -> None:
    output = open_bank.data.with_name("baseline.json")
    sizes = ["--accounts=400", "--seconds=1", "--warm-up-seconds=0.2", "--pgbench-scale=1", "--pgbench-clients=4"]
    command = [sys.executable, "-m", "loadtest.baseline", f"--data={open_bank.data}", f"--output={output}", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "audit: clean" in done.stdout
    found = json.loads(output.read_text())
    assert found["audit"] == "clean"
    assert found["acknowledged_checked"] > 0
    assert [row["name"] for row in found["rows"]] == ROWS
    assert all(row["name"] in done.stdout for row in found["rows"])
    for row in found["rows"]:
        assert row["transfers_per_s"] > 0 and row["ratio_to_pgbench"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"]
        assert row["reasons"] == {}
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert found["conditions"]["postgresql"][setting] == "on"
    assert found["conditions"]["accounts"] == 400
    assert found["conditions"]["shards"] == 2


def test_a_transfer_that_was_acknowledged_and_is_gone_forbids_figures(open_bank: OpenBank) -> None:
    access = bank.access(open_bank.data)
    with pytest.raises(NotSound, match=NEVER_SENT):
        proof.require_sound(open_bank.data, access, [("0000000000000195", NEVER_SENT)])


def test_an_audit_that_is_not_clean_forbids_figures(open_bank: OpenBank) -> None:
    shard = json.loads((open_bank.data / "bank.json").read_text())["shard_dsns"]["1"]
    subprocess.run([find_programs() / "psql", "--no-psqlrc", "--quiet", f"--command={DAMAGE}", shard], check=True)
    with pytest.raises(NotSound, match="balance_broken"):
        proof.require_sound(open_bank.data, bank.access(open_bank.data), [])
