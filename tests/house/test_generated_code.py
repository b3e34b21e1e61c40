"""The committed gRPC code is what its protocol files make today."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def generated(directory: Path) -> dict[str, str]:
    """Read generated files by their path below `directory`."""
    files = [file for pattern in ("*_pb2*.py", "*_pb2*.pyi") for file in directory.rglob(pattern)]
    return {file.relative_to(directory).as_posix(): file.read_text(encoding="utf-8") for file in files}


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    made = subprocess.run(
        ["sh", ROOT / "tools" / "generate.sh", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    fresh, committed = generated(tmp_path), generated(ROOT / "proto")
    assert fresh.keys() == committed.keys()
    stale = [name for name, text in fresh.items() if committed[name] != text]
    assert not stale, "run tools/generate.sh"
