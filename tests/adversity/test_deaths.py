"""Every process of a bank dies by SIGKILL in the middle of traffic; no transfer is lost, doubled or left open.

What is checked after each storm is `Crowd.expect_sound_books`.
"""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from banks import Noticed, populated
from crowd import Crowd, Storm

from services.chassis import children
from services.cli.bank import Bank

FEW = 150
"""Transfers of one shard between one event and the next: every caller has several of them."""

CUSTOMERS = 40

END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = $1
"""


@pytest.fixture(scope="module")
async def four_shards() -> AsyncIterator[tuple[Bank, Crowd]]:
    """Run a bank of four shards without standbys."""
    async with populated(shards=4) as both:
        yield both


async def kill(bank: Bank, storm: Storm, name: str) -> None:
    """Kill one process while transfers are under way, and wait until another one listens in its place."""
    assert storm.under_way
    pid = bank.kill(name)
    assert await bank.wait_replaced(name, pid) != pid


async def test_a_killed_ledger_loses_nothing_and_the_other_shards_go_on(
    four_shards: tuple[Bank, Crowd], noticed: Noticed
) -> None:
    bank, crowd = four_shards
    async with crowd.storm() as storm:
        for shard_id in crowd.shard_ids:
            await storm.more(FEW, shard_id)
            settled = {other: storm.settled(other) for other in crowd.shard_ids if other != shard_id}
            storm.mark()
            await kill(bank, storm, f"ledger-{shard_id}")
            assert all(storm.settled(other) > before for other, before in settled.items())
            await storm.more(FEW, shard_id)
            noticed.since_mark(storm, shard_id)
    await crowd.expect_sound_books()


async def test_all_ledgers_killed_at_once_lose_nothing(four_shards: tuple[Bank, Crowd], noticed: Noticed) -> None:
    bank, crowd = four_shards
    async with crowd.storm() as storm:
        await storm.everywhere(FEW)
        storm.mark()
        await asyncio.gather(*(kill(bank, storm, f"ledger-{shard_id}") for shard_id in crowd.shard_ids))
        await storm.everywhere(FEW)
        noticed.since_mark(storm)
    await crowd.expect_sound_books()


@pytest.mark.parametrize("name", ["gateway", "postgres"])
async def test_nothing_is_lost_when_what_all_shards_need_is_killed(
    four_shards: tuple[Bank, Crowd], noticed: Noticed, name: str
) -> None:
    bank, crowd = four_shards
    async with crowd.storm() as storm:
        await storm.everywhere(FEW)
        storm.mark()
        await kill(bank, storm, name)
        await storm.everywhere(FEW)
        noticed.since_mark(storm)
    await crowd.expect_sound_books()


async def test_money_moves_while_the_account_service_is_dead_and_what_it_was_opening_is_opened_once(
    four_shards: tuple[Bank, Crowd], noticed: Noticed
) -> None:
    bank, crowd = four_shards
    async with crowd.storm() as storm, asyncio.TaskGroup() as openers:
        await storm.everywhere(FEW)
        opening = openers.create_task(crowd.open_accounts(CUSTOMERS))
        storm.mark()
        settled = storm.settled()
        await kill(bank, storm, "account")
        assert storm.settled() > settled
        await storm.everywhere(FEW)
        noticed.since_mark(storm)
    assert len(set(opening.result())) == CUSTOMERS
    await crowd.expect_sound_books()


@pytest.mark.parametrize("application", ["hivecore-ledger-write", "hivecore-ledger-lease", "hivecore-ledger-read"])
async def test_an_ended_database_session_costs_nobody_a_transfer(
    four_shards: tuple[Bank, Crowd], noticed: Noticed, application: str
) -> None:
    bank, crowd = four_shards
    shard_id = crowd.shard_ids[-1]
    connection = await asyncpg.connect(bank.shard_dsns[shard_id])
    try:
        async with crowd.storm() as storm:
            await storm.more(FEW, shard_id)
            storm.mark()
            for _ in range(5):
                while not await connection.fetch(END_SESSIONS, application):
                    await asyncio.sleep(children.POLL_SECONDS)
                await storm.more(FEW, shard_id)
            noticed.since_mark(storm, shard_id)
    finally:
        await connection.close()
    await crowd.expect_sound_books()
