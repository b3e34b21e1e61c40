"""A real Prometheus over a running bank: what is broken on purpose fires its alert, and only that, and clears."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
import watched_bank
from conftest import Report
from watched_bank import WatchedBank

from tools import prometheus

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason=prometheus.MISSING)


@pytest.fixture(scope="module")
async def watched() -> AsyncIterator[WatchedBank]:
    async with watched_bank.opened() as opened:
        yield opened


async def test_a_sound_bank_wakes_nobody(watched: WatchedBank) -> None:
    await watched.until_measured("count(hivecore_ledger_is_writer == 1) == 4")
    await watched.until_measured("count(up == 1) == 6")
    await watched.until_measured("count(shard_currency:conservation_gap_minor_units:max == 0) == 12")
    assert await watched.prometheus.firing() == {}


async def test_what_breaks_is_reported_for_its_shard_and_clears(watched: WatchedBank, report: Report) -> None:
    """Three things break at once, each on a shard of its own; a fourth shard stays sound."""

    async def change_a_balance() -> None:
        account = watched.accounts[1]
        change = (
            "UPDATE ledger.entry SET balance_after_minor = balance_after_minor {} 700"
            f" WHERE account_number = {int(account)}"
        )
        await watched.meddle(1, change.format("-"))
        seconds = await watched.until_fires("HivecoreConservationGap", shard="1", currency="CZK")
        await watched.meddle(1, change.format("+"))
        report("a balance changed behind the ledger's back", "HivecoreConservationGap", seconds)
        report("the same, repaired", "silent", await watched.until_silent("HivecoreConservationGap"))

    async def stop_a_ledger() -> None:
        await watched.pay(3, 2)  # From now on the payee's shard is believed to be there.
        async with watched.stopped("ledger-2"):
            await watched.pay(3, 2, seconds=1.0)
            writer, crossing = await asyncio.gather(
                watched.until_fires("HivecoreNoWriter", shard="2"),
                watched.until_fires("HivecoreCrossingStuck", shard="3", peer="2"),
            )
        report("a ledger stopped (SIGSTOP)", "HivecoreNoWriter", writer)
        report("money on its way to it", "HivecoreCrossingStuck", crossing)
        report("the same, woken", "silent", await watched.until_silent("HivecoreCrossingStuck"))

    async def close_a_database() -> None:
        async with watched.closed_database(4):
            seconds = await watched.until_fires("HivecoreNoWriter", shard="4")
        report("a shard's PostgreSQL away", "HivecoreNoWriter", seconds)

    await asyncio.gather(change_a_balance(), stop_a_ledger(), close_a_database())
    report("all of it mended", "silent", await watched.until_silent("HivecoreNoWriter", "HivecoreBooksNotWatched"))


async def test_a_writer_that_the_fence_stopped_is_reported(watched: WatchedBank, report: Report) -> None:
    await watched.meddle(3, "UPDATE ledger.journal_head SET writer_epoch = writer_epoch + 1")
    await watched.pay(3, 1)
    report(
        "another writer took the books", "HivecoreFenceLost", await watched.until_fires("HivecoreFenceLost", shard="3")
    )
