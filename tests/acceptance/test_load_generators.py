"""The load generators, for a few seconds on a real bank: what they offer, count and prove."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram

from loadtest import bank
from loadtest.bank import OpenBank

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
SECONDS_MAX = 240.0


@pytest.fixture(scope="module")
def open_bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBank]:
    with bank.opened(tmp_path_factory.mktemp("load") / "bank", shards=2) as opened:
        yield opened


def test_an_open_loop_offers_its_rate_and_proves_every_cent(open_bank: OpenBank, tmp_path: Path) -> None:
    output, log = tmp_path / "load.json", tmp_path / "load.hlog"
    command = [sys.executable, "-m", "loadtest.open_loop", f"--data={open_bank.data}", "--mix=channel_app"]
    sizes = ["--rate=40", "--seconds=3", "--warm-up-seconds=0.5", "--processes=2", "--accounts=60"]
    shape = ["--arrival=constant", "--crossing-share=0.5", "--popularity=zipf", f"--hdr-log={log}"]
    done = subprocess.run([*command, *sizes, *shape, f"--output={output}"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["audit"] == "clean" and "60 balances, all as in the journal" in found["proved"]
    assert found["due"] == 120 and found["dropped"] == 0
    assert found["outcomes"]["error"] == found["outcomes"]["unknown"] == 0
    assert {"balance", "transfer"} <= set(found["operations"])
    assert sum(figures["count"] for figures in found["operations"].values()) == 120
    assert 0 < found["all"]["p50_ms"] <= found["all"]["p99_ms"] <= found["all"]["max_ms"]
    lines = [line.split(",") for line in log.read_text().splitlines() if line.startswith("Tag=")]
    assert sum(HdrHistogram.decode(line[4]).get_total_count() for line in lines) == 120
    assert {line[0] for line in lines} == {f"Tag={operation}" for operation in found["operations"]}


def test_an_open_loop_at_a_gateway_elsewhere_proves_balances_and_claims_no_audit(
    open_bank: OpenBank, tmp_path: Path
) -> None:
    output, token = tmp_path / "load.json", tmp_path / "token"
    token.write_text(bank.mint_token(open_bank.data))
    command = [sys.executable, "-m", "loadtest.open_loop", f"--gateway={open_bank.gateway}", f"--token-file={token}"]
    sizes = ["--mix=channel_app", "--rate=20", "--seconds=1", "--warm-up-seconds=0", "--accounts=10"]
    done = subprocess.run([*command, *sizes, f"--output={output}"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["audit"] == "not asked for"
    assert found["proved"].startswith("10 balances, all as in the journal by what the gateway says")


def test_an_open_loop_counts_what_it_had_to_drop(open_bank: OpenBank, tmp_path: Path) -> None:
    output = tmp_path / "load.json"
    command = [sys.executable, "-m", "loadtest.open_loop", f"--data={open_bank.data}", "--mix=batch"]
    sizes = ["--rate=200", "--seconds=1", "--warm-up-seconds=0", "--accounts=10", "--in-flight-max=1"]
    done = subprocess.run([*command, *sizes, f"--output={output}"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["dropped"] > 0
    assert found["dropped"] + found["operations"]["batch"]["count"] == found["due"]


def test_a_bank_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.open_loop", f"--data={tmp_path}", f"--output={tmp_path / 'load.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("no figures: no bank is open in")


def rows(file: Path) -> dict[str, dict[str, str]]:
    """Read locust's statistics; none while it has written none."""
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return {row["Name"]: row for row in csv.DictReader(lines)}


def test_locust_users_on_two_workers_are_counted_and_proved(open_bank: OpenBank, tmp_path: Path) -> None:
    prefix, report, log = tmp_path / "run", tmp_path / "run.html", tmp_path / "run.log"
    command = [Path(sys.executable).with_name("locust"), "-f", LOCUSTFILE, f"--bank-data={open_bank.data}"]
    place = ["--headless", f"--csv={prefix}", f"--html={report}", f"--logfile={log}", "--processes=2"]
    users = ["--users=24", "--spawn-rate=24", "--accounts=30", "--crossing-share=0.5", "--batch-transfers=20"]
    shape = ["--think-seconds-min=0", "--think-seconds-max=0.05", "--tags", "channel_app", "hot_merchant"]
    statistics, tick = prefix.with_name("run_stats.csv"), threading.Event()
    process = subprocess.Popen(
        [*command, *place, *users, *shape], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        give_up = time.monotonic() + SECONDS_MAX
        while int(rows(statistics).get("Aggregated", {}).get("Request Count", 0)) < 60:
            assert process.poll() is None and time.monotonic() < give_up, log.read_text()
            tick.wait(0.2)
        process.send_signal(signal.SIGTERM)
        status = process.wait(SECONDS_MAX)
    finally:
        process.kill()
        process.wait()

    assert status == 0, log.read_text()
    assert "the books are sound: audit clean; 60 balances, all as in the journals of 2 processes" in log.read_text()
    assert "transfer/PostTransfer" in rows(statistics) and "batch/PostTransfers" not in rows(statistics)
    assert {row["Type"] for row in rows(statistics).values()} <= {"", "ok", "in_transit"}
    assert report.stat().st_size > 100_000


def test_locust_users_without_a_bank_end_with_a_reason(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("locust"), "-f", LOCUSTFILE, f"--bank-data={tmp_path}", "--headless"]
    done = subprocess.run(
        [*command, "--users=1", "--run-time=60s"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "no accounts were opened: no bank is open in" in done.stderr
