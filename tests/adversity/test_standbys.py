"""Two ledgers for each shard: one writes, the other stands by, and takes over from a dead or a silent writer.

The lease says who should write; that a woken writer cannot is the fence's doing. What is checked
after each storm is `Crowd.expect_sound_books`.
"""

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import pytest
from banks import Noticed, populated
from crowd import Crowd
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import children, status
from services.cli import channels, topology
from services.cli.bank import Bank

FEW = 150
SHARD = 1
STEPPED_DOWN = f'hivecore_ledger_fence_losses_total{{shard="{SHARD}"}}'

WRITERS_THAT_WAIT = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'hivecore-ledger-write' AND wait_event_type = 'Lock'
"""


@pytest.fixture(scope="module")
async def two_shards() -> AsyncIterator[tuple[Bank, Crowd]]:
    """Run a bank of two shards, each with a standby."""
    async with populated(shards=2, standbys=1) as both:
        yield both


async def shard_status(address: str) -> ledger_pb2.ShardStatus:
    async with channels.channel(address) as channel:
        request = ledger_pb2.GetShardStatusRequest(shard_id=SHARD)
        return await ledger_pb2_grpc.LedgerStub(channel).GetShardStatus(request, timeout=5)


async def writer_name(crowd: Crowd) -> str:
    """Give the name of the process that writes the shard now, as soon as one does."""
    while not (name := (await crowd.door.shards())[SHARD - 1].writer):
        await asyncio.sleep(children.POLL_SECONDS)
    return str(name)


async def times_stepped_down(bank: Bank, name: str) -> float:
    def read() -> str:
        with urllib.request.urlopen(f"http://{bank.topology.metrics[name]}/metrics", timeout=5) as answer:
            return answer.read().decode()

    lines = (await asyncio.to_thread(read)).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(STEPPED_DOWN))


@asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """Stop a process for the length of the context: it neither ends nor does anything."""
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await children.until(lambda: " T " in Path(f"/proc/{pid}/stat").read_text(), 10)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def stopped_anywhere(bank: Bank, pid: int) -> AsyncIterator[None]:
    """Stop the writer at whatever it is doing."""
    async with stopped(pid):
        yield


@asynccontextmanager
async def stopped_in_a_transaction(bank: Bank, pid: int) -> AsyncIterator[None]:
    """Stop the writer when it has advanced the head and not written its rows: its transaction stays open."""
    async with AsyncExitStack() as until_the_end:
        connection = await asyncpg.connect(bank.shard_dsns[SHARD])
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE ledger.entry IN SHARE MODE")
                while not await connection.fetchval(WRITERS_THAT_WAIT):
                    await asyncio.sleep(children.POLL_SECONDS)
                await until_the_end.enter_async_context(stopped(pid))
        finally:
            await connection.close()
        yield


async def test_of_two_ledgers_one_writes_and_the_other_says_that_it_does_not(two_shards: tuple[Bank, Crowd]) -> None:
    bank, crowd = two_shards
    addresses = dict(zip(topology.ledger_names(SHARD, 1), bank.topology.ledgers[SHARD], strict=True))
    said = {name: await shard_status(address) for name, address in addresses.items()}
    assert [name for name, each in said.items() if each.is_writer] == [await writer_name(crowd)]
    (standby,) = (address for name, address in addresses.items() if not said[name].is_writer)
    async with channels.channel(standby) as channel:
        request = ledger_pb2.PostTransfersRequest(shard_id=SHARD)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await ledger_pb2_grpc.LedgerStub(channel).PostTransfers(request, timeout=5)
    assert status.from_rpc_error(failure.value).reason == "NOT_THE_WRITER"


async def test_a_killed_writer_is_followed_by_one_writer(two_shards: tuple[Bank, Crowd], noticed: Noticed) -> None:
    bank, crowd = two_shards
    epoch = (await crowd.door.shards())[SHARD - 1].writer_epoch
    async with crowd.storm() as storm:
        await storm.everywhere(FEW)
        storm.mark()
        assert storm.under_way
        killed = await writer_name(crowd)
        pid = bank.kill(killed)
        await storm.everywhere(FEW)
        noticed.since_mark(storm, SHARD)
        await bank.wait_replaced(killed, pid)
    await crowd.expect_sound_books()
    assert (await crowd.door.shards())[SHARD - 1].writer_epoch > epoch


@pytest.mark.parametrize("stop", [stopped_anywhere, stopped_in_a_transaction])
async def test_the_standby_takes_over_from_a_silent_writer_which_cannot_commit_when_it_wakes(
    two_shards: tuple[Bank, Crowd], noticed: Noticed, stop: Callable[[Bank, int], AbstractAsyncContextManager[None]]
) -> None:
    bank, crowd = two_shards
    silent = await writer_name(crowd)
    pid = bank.processes[silent]
    stepped_down = await times_stepped_down(bank, silent)
    async with crowd.storm() as storm:
        await storm.everywhere(FEW)
        storm.mark()
        async with stop(bank, pid):
            assert storm.under_way
            await storm.everywhere(FEW)
            noticed.since_mark(storm, SHARD)
        await storm.everywhere(FEW)
        while await times_stepped_down(bank, silent) == stepped_down:
            await asyncio.sleep(children.POLL_SECONDS)
    assert bank.processes[silent] == pid
    await crowd.expect_sound_books()
