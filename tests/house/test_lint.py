"""Lint, form, types and import contracts are tests like any other."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def run(*arguments: str) -> None:
    """Run a tool of this interpreter's environment; its words are the failure."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_code_is_clean() -> None:
    run("-m", "ruff", "check", "--output-format=concise", ".")


def test_the_code_is_formatted() -> None:
    run("-m", "ruff", "format", "--check", ".")


def test_the_types_agree() -> None:
    run("-m", "mypy")


def test_imports_run_one_way() -> None:
    run("-c", LINT_IMPORTS)
