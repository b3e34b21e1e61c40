"""Ten times more than a bank can do is offered: most is refused, the rest is carried out, and the books are sound."""

import json
import subprocess
import sys
from pathlib import Path


def test_an_overloaded_bank_refuses_early_goes_on_and_recovers(tmp_path: Path) -> None:
    output = tmp_path / "overload.json"
    sizes = ["--short", "--accounts=200", "--normal-seconds=1", "--overload-seconds=2", f"--output={output}"]
    program = [sys.executable, "-m", "loadtest.overload", "--data", "@DATA", *sizes]
    command = [sys.executable, "-m", "loadtest.with_bank", *program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(output.read_text())
    phases = {phase["name"]: phase for phase in told["phases"]}
    assert phases["overload"]["posted_per_s"] > 0
    assert phases["overload"]["not_posted"]
    assert phases["normal again"]["posted_per_s"] > 0
    assert phases["shard 1 beside a silent one"]["posted_per_s"] > 0
    assert output.with_suffix(".png").stat().st_size > 0
