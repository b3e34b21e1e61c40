"""Ten times more than a bank can do is offered, and a storm of look-ups: most is refused, the rest is carried out, the books are sound.

What a busy machine disturbs is not asserted: rates, and how long callers waited. What is, is counted by the bank
itself: its processor time, and what it refused unread.
"""

import json
import subprocess
import sys
from pathlib import Path

GOAL_MISSED = 2
"""Exit status: the figures are there, and a goal, which is for a quiet machine, was missed."""
OFFERED_TIMES_MIN = 5.0
SHARE_MIN = 0.6
UNREAD_SHARE_MIN = 0.7
LOOK_UPS_OFFERED_TIMES_MIN = 2.0
LOOK_UPS_UNREAD_SHARE_MIN = 0.9
DOUBT_SHARE_MAX = 0.05
NORMAL_SHARE_MIN = 0.5
TRANSFERS_PER_CALL = 100


def test_an_overloaded_bank_refuses_early_goes_on_and_recovers(tmp_path: Path) -> None:
    output = tmp_path / "overload.json"
    sizes = ["--short", "--accounts=200", "--normal-seconds=1", "--overload-seconds=2", f"--output={output}"]
    program = [sys.executable, "-m", "loadtest.overload", "--data", "@DATA", *sizes]
    command = [sys.executable, "-m", "loadtest.with_bank", *program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode in {0, GOAL_MISSED}, done.stdout + done.stderr
    told = json.loads(output.read_text())
    phases = {phase["name"]: phase for phase in told["phases"]}
    overload = phases["overload"]
    assert told["offered_times"] >= OFFERED_TIMES_MIN, "else it is the generator that is tested"
    assert told["goodput_share_per_processor"] >= SHARE_MIN, "refusals cost little of what carrying out needs"
    assert overload["not_posted"]["QUEUE_FULL"] > 0
    assert overload["calls_turned_away_unread"] >= UNREAD_SHARE_MIN * overload["calls_refused"]
    assert overload["unknown"] <= DOUBT_SHARE_MAX * overload["calls"] * TRANSFERS_PER_CALL, "few wait in vain"
    assert phases["normal again"]["posted_per_s"] >= NORMAL_SHARE_MIN * phases["normal again"]["wanted_per_s"]
    assert phases["look-up storm"]["posted_per_s"] >= NORMAL_SHARE_MIN * phases["look-up storm"]["wanted_per_s"]
    look_ups = told["look_ups"]
    refused = sum(look_ups["refused_per_s"].values()) * look_ups["seconds"]
    assert look_ups["offered_per_s"] >= LOOK_UPS_OFFERED_TIMES_MIN * look_ups["without_pause_per_s"]
    assert look_ups["refused_per_s"].keys() == {"QUEUE_FULL"}, "nobody waits until the deadline"
    assert look_ups["turned_away_unread"] >= LOOK_UPS_UNREAD_SHARE_MIN * refused
    assert look_ups["answered_per_s"] > 0 and look_ups["unanswered"] == look_ups["reset"] == 0
    assert "audit clean" in told["proved"] and "all in the books" in told["proved"]
    assert phases["shard 1 beside a silent one"]["posted_per_s"] > 0
    assert output.with_suffix(".png").stat().st_size > 0
