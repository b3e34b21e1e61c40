"""How `make` chooses a Python (tools/venv.sh): the quickest on PATH that is new enough, or the one that it is told."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tools" / "venv.sh"
BASE = os.path.realpath(sys.executable)


def make(target: Path, path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": f"{path}:/usr/bin:/bin", **variables}
    command = ["sh", str(SCRIPT), str(target)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def python_in(directory: Path, name: str, command: str) -> Path:
    directory.mkdir(exist_ok=True)
    python = directory / name
    python.write_text(f"#!/bin/sh\n{command}\n")
    python.chmod(0o755)
    return python


def test_the_environment_has_pip_and_the_python_that_was_asked_for(tmp_path: Path) -> None:
    python = python_in(tmp_path / "a place", "python3.12", f'exec "{BASE}" "$@"')
    done = make(tmp_path / "venv", tmp_path, PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert BASE in done.stdout
    made = tmp_path / "venv" / "bin" / "python"
    assert os.path.realpath(made) == BASE
    subprocess.run([made, "-m", "pip", "--version"], check=True, capture_output=True)


def test_what_lacks_only_pip_gets_it_from_another(tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    (lacking / "ensurepip").mkdir(parents=True)
    (lacking / "ensurepip" / "__init__.py").write_text("raise ImportError\n")
    # It says that it is the quickest, and of where it is its own path, which cannot be resolved any further.
    place = tmp_path / "quick"
    usual = f'PYTHONPATH="{lacking}" exec "{BASE}" "$@"'
    python_in(place, "python3.12", f'case $2 in *realpath*) echo 1 "{place}/python3.12" ;; *) {usual} ;; esac')
    (place / "python3.11").symlink_to(BASE)
    done = make(tmp_path / "venv", tmp_path / "quick")
    assert done.returncode == 0, done.stderr
    assert f"({place}/python3.12)" in done.stdout
    subprocess.run([tmp_path / "venv" / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True)


def test_what_is_too_old_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    python = python_in(tmp_path / "old", "python3", "exit 1")
    (tmp_path / "venv").mkdir()
    done = make(tmp_path / "venv", tmp_path, PYTHON=str(python))
    assert done.returncode == 1 and f"{python} is not that" in done.stderr
    assert (tmp_path / "venv").is_dir()
