"""The run ends with a table of which alert came after how many seconds."""

from typing import Any

import pytest
from watched_bank import Report

_lines: list[str] = []


@pytest.fixture
def report() -> Report:
    """Take down what came of something broken, and when."""
    return lambda what, came, seconds: _lines.append(f"{what}: {came} after {seconds:.1f} s")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table."""
    if _lines:
        terminalreporter.section("alerts that fired")
        for line in _lines:
            terminalreporter.line(line)
