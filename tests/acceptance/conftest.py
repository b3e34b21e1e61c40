"""One bank for all files that leave it as it is, and a table of which alert came after how many seconds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import small_bank
import tables
from small_bank import World
from watched_bank import Report

from services.cli.bank import Bank

TABLE = "alerts that fired"


@pytest.fixture(scope="session")
async def shared_bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    """Open a bank of two shards for files with customers of their own, which let it run and change nothing for others."""
    async with small_bank.running(tmp_path_factory.mktemp("shared") / "bank") as opened:
        yield opened


@pytest.fixture(scope="module")
async def world(shared_bank: Bank) -> AsyncIterator[World]:
    """Give a file customers of its own in that bank; a file that wants a bank to itself makes its own `world`."""
    async with small_bank.moved_in(shared_bank) as moved_in:
        yield moved_in


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Take down what came of something broken, and when."""
    return lambda what, came, seconds: tables.write(request.node, TABLE, f"{what}: {came} after {seconds:.1f} s")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the table."""
    tables.show(terminalreporter, TABLE)
