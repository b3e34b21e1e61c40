"""The run ends with a table of what callers noticed of each fault."""

from typing import Any

import pytest
import tables
from banks import Noticed

TABLE = "what callers noticed"


@pytest.fixture
def noticed(request: pytest.FixtureRequest) -> Noticed:
    """Take down what callers notice of a fault."""
    return Noticed(request.node.name, lambda line: tables.write(request.node, TABLE, line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table."""
    tables.show(terminalreporter, TABLE)
