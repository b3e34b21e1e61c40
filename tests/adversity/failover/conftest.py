"""One bank for all failovers. It needs namespaces of its own, which `make failover` makes; skipped otherwise."""

from collections.abc import AsyncIterator

import cable_room
import pytest
import replicated_bank
from replicated_bank import Replicated


@pytest.fixture(scope="session")
async def replicated() -> AsyncIterator[Replicated]:
    """Open the bank."""
    if not cable_room.is_to_be_had():
        pytest.skip("machines that fail need namespaces of their own: run `make failover` as root")
    async with replicated_bank.opened() as opened:
        yield opened
