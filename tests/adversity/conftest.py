"""The run ends with a table of what callers noticed of each fault."""

from typing import Any

import pytest
from banks import Noticed

_lines: list[str] = []


@pytest.fixture
def noticed(request: pytest.FixtureRequest) -> Noticed:
    """Take down what callers notice of a fault."""
    return Noticed(request.node.name, _lines)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table."""
    if _lines:
        terminalreporter.section("what callers noticed")
        for line in _lines:
            terminalreporter.line(line)
