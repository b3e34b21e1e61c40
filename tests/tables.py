"""Tables at the end of a run, a line for each thing that a test took down.

A line travels with its test's report, since the test may have run in another process than the one that
shows the table. Never here: what stands in a table.
"""

from typing import Any

import pytest


def write(test: pytest.Item, table: str, line: str) -> None:
    """Write a line of a test into a table."""
    test.user_properties.append((table, line))


def show(reporter: Any, table: str) -> None:
    """Show a table, unless nobody wrote into it."""
    reports = [each for kind in reporter.stats.values() for each in kind if getattr(each, "when", None) == "call"]
    lines = [line for report in reports for name, line in report.user_properties if name == table]
    if lines:
        reporter.section(table)
        for line in lines:
            reporter.line(line)
