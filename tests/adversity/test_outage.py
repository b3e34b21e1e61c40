"""The measurement of an outage, very short, on a real bank: it gives its figures, of sound books."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_run_says_how_long_the_shard_was_away_and_that_nothing_was_lost(tmp_path: Path) -> None:
    output = tmp_path / "outage.json"
    sizes = ["--standbys=0", "--shards=2", "--accounts=40", "--transfers=600", "--per-second=200"]
    command = [sys.executable, "-m", "loadtest.outage", f"--output={output}", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the shard was away" in done.stdout
    (run,) = json.loads(output.read_text())["runs"]
    assert (run["killed"], run["writer_after"]) == ("ledger-1", "ledger-1")
    assert run["away_seconds"] > 0
    assert run["outcomes"] == {"posted": 600}
    assert run["attempts"] == 600 + run["retries"]
    assert run["unknown"] == sum(run["unknown_resolved"].values())
    assert run["other_shards_meanwhile"]["calls"] > 0
    assert run["audit"]["is_clean"] and run["audit"]["transfers"] == 640
