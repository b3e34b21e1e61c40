"""The run ends with a table of which alert came after how many seconds."""

from typing import Any

import pytest
import tables
from watched_bank import Report

TABLE = "alerts that fired"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Take down what came of something broken, and when."""
    return lambda what, came, seconds: tables.write(request.node, TABLE, f"{what}: {came} after {seconds:.1f} s")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table."""
    tables.show(terminalreporter, TABLE)
