"""How `make` chooses a Python (tools/venv.sh): the quickest on PATH that is new enough, or the one that it is told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "venv.sh"
NAMES = ("python3.14", "python3.13", "python3.12", "python3.11", "python3")


@pytest.fixture(scope="module")
def able() -> str:
    """Give a Python that makes environments by itself."""
    question = (
        "import ensurepip, os, sys, venv; print(os.path.realpath(sys.executable)); sys.exit(sys.version_info < (3, 11))"
    )
    for place in os.environ["PATH"].split(os.pathsep):
        for python in filter(None, (shutil.which(name, path=place) for name in NAMES)):
            told = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
            if told.returncode == 0:
                return told.stdout.strip()
    pytest.skip("no Python on PATH makes environments by itself")


def make(target: Path, path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    # Whatever is wrong, nothing is installed into this machine.
    python_in(path, "apt-get", "exit 100")
    environment = {"PATH": f"{path}:/usr/bin:/bin", **variables}
    command = ["sh", str(SCRIPT), str(target)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def python_in(directory: Path, name: str, command: str) -> Path:
    directory.mkdir(exist_ok=True)
    python = directory / name
    python.write_text(f"#!/bin/sh\n{command}\n")
    python.chmod(0o755)
    return python


def test_the_environment_has_pip_and_the_python_that_was_asked_for(tmp_path: Path, able: str) -> None:
    python = python_in(tmp_path / "a place", "python3.12", f'exec "{able}" "$@"')
    done = make(tmp_path / "venv", tmp_path, PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert able in done.stdout
    made = tmp_path / "venv" / "bin" / "python"
    assert os.path.realpath(made) == able
    subprocess.run([made, "-m", "pip", "--version"], check=True, capture_output=True)


def test_what_lacks_only_pip_gets_it_from_another(tmp_path: Path, able: str) -> None:
    lacking = tmp_path / "lacking"
    (lacking / "ensurepip").mkdir(parents=True)
    (lacking / "ensurepip" / "__init__.py").write_text("raise ImportError\n")
    # It says that it is the quickest, and of where it is its own path, which cannot be resolved any further.
    place = tmp_path / "quick"
    usual = f'PYTHONPATH="{lacking}" exec "{able}" "$@"'
    python_in(place, "python3.12", f'case $2 in *realpath*) echo 1 "{place}/python3.12" ;; *) {usual} ;; esac')
    (place / "python3.11").symlink_to(able)
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
