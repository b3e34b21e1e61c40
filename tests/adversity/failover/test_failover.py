"""A shard's PostgreSQL loses its primary in every way that there is; nothing acknowledged is lost.

What is checked after each is `Crowd.expect_sound_books`: every id means what its caller was told,
every balance follows from that, and the books of all shards are sound.
"""

import asyncio

import asyncpg
import neighbours
from banks import Noticed
from crowd import Storm
from neighbours import Neighbours
from patroni_cluster import Cluster
from replicated_bank import PATIENCE_SECONDS, REPLICATED, UNHARMED, Replicated

from services.chassis import postgres

FEW = 150
"""Transfers of one shard between one event and the next."""

LONELY_SECONDS = postgres.STATEMENT_SECONDS_DEFAULT + postgres.ANSWER_SECONDS + 5
"""Longer than any statement of the services may take, here and on the server: none of these limits ends a wait."""

UNDER_WAY_SECONDS = 1

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CANCEL_WAITING = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def tell(noticed: Noticed, storm: Storm, others: Neighbours) -> None:
    """Write down what callers noticed since the mark, and what those of the other shard did."""
    noticed.since_mark(storm, REPLICATED)
    noticed.say(f"shard {UNHARMED}: {others.describe('before')}; {others.describe('during')}")


async def test_a_killed_primary_machine(replicated: Replicated, noticed: Noticed) -> None:
    _, people, cluster = replicated
    primary = await cluster.settled()
    async with neighbours.at_work(people, UNHARMED) as others, people.storm(PATIENCE_SECONDS) as storm:
        await storm.everywhere(FEW)
        storm.mark()
        others.enter("during")
        cluster.nodes[primary].pull_plug()
        await storm.more(FEW, REPLICATED)
        others.enter("after")
        tell(noticed, storm, others)
        cluster.start_node(primary)
        assert await cluster.settled() != primary
    await people.expect_sound_books()
    assert not others.problems("during")


async def test_a_primary_machine_cut_off_from_everything(replicated: Replicated, noticed: Noticed) -> None:
    _, people, cluster = replicated
    primary = await cluster.settled()
    async with neighbours.at_work(people, UNHARMED) as others, people.storm(PATIENCE_SECONDS) as storm:
        await storm.everywhere(FEW)
        storm.mark()
        others.enter("during")
        cluster.nodes[primary].pull_cable()
        await storm.more(FEW, REPLICATED)
        others.enter("after")
        tell(noticed, storm, others)
        cluster.nodes[primary].plug_cable()
        assert await cluster.settled() != primary
    await people.expect_sound_books()
    assert not others.problems("during")


async def test_a_primary_that_only_callers_reach_acknowledges_nothing(replicated: Replicated, noticed: Noticed) -> None:
    """Its commits wait for a replica; even those whose wait an operator cancels are acknowledged to nobody."""
    _, people, cluster = replicated
    primary = await cluster.settled()
    machine = cluster.nodes[primary]
    rest = [cluster.etcd, *(node for name, node in cluster.nodes.items() if name != primary)]
    async with neighbours.at_work(people, UNHARMED) as others, people.storm(PATIENCE_SECONDS) as storm:
        await storm.everywhere(FEW)
        storm.mark()
        others.enter("during")
        machine.lose_sight_of(rest)
        try:
            cancelled = await cancel_waits(cluster, primary)
            await storm.more(FEW, REPLICATED)
            others.enter("after")
            tell(noticed, storm, others)
            noticed.say(f"{cancelled} waits for a replica cancelled on the primary that was cut off")
        finally:
            machine.see_again(rest)
        assert await cluster.settled() != primary
    assert cancelled
    await people.expect_sound_books()
    assert not others.problems("during")


async def cancel_waits(cluster: Cluster, primary: str) -> int:
    """Cancel every wait for a replica on a node until that node is no longer a primary; count them."""
    cancelled = 0
    connection = await asyncpg.connect(cluster.dsn_of(primary, "postgres"), timeout=5)
    try:
        while not await connection.fetchval("SELECT pg_is_in_recovery()"):
            cancelled += len(await connection.fetch(CANCEL_WAITING))
            await asyncio.sleep(0.05)
    except postgres.ERRORS:
        pass  # It was demoted: all its sessions ended, this one perhaps in the middle of an answer.
    finally:
        connection.terminate()
    return cancelled


async def test_a_lonely_primary_acknowledges_nothing_until_a_replica_is_back(
    replicated: Replicated, noticed: Noticed
) -> None:
    _, people, cluster = replicated
    primary = await cluster.settled()
    replicas = [name for name in cluster.nodes if name != primary]
    async with neighbours.at_work(people, UNHARMED) as others, people.storm(PATIENCE_SECONDS) as storm:
        await storm.everywhere(FEW)
        storm.mark()
        others.enter("during")
        for name in replicas:
            cluster.nodes[name].pull_plug()
        async with asyncio.timeout(10):
            while not await cluster.execute(WAITING, node=primary):
                await asyncio.sleep(0.1)
        # What was acknowledged by a replica before it died may still be on its way to the caller.
        loop = asyncio.get_running_loop()
        alone_at = loop.time() + UNDER_WAY_SECONDS
        settled = storm.settled(REPLICATED)
        while loop.time() < alone_at + LONELY_SECONDS:
            if loop.time() < alone_at:
                settled = storm.settled(REPLICATED)
            assert storm.settled(REPLICATED) == settled
            await asyncio.sleep(0.1)
        assert await cluster.execute(WAITING, node=primary)
        others.enter("after")
        began = loop.time()
        cluster.start_node(replicas[0])
        await storm.more(FEW, REPLICATED)
        tell(noticed, storm, others)
        noticed.say(f"{FEW} more outcomes {loop.time() - began:.1f} s after a replica was started again")
        cluster.start_node(replicas[1])
        assert await cluster.settled() == primary
    await people.expect_sound_books()
    assert not others.problems("during")


async def test_the_loss_of_etcd_stops_nobody(replicated: Replicated, noticed: Noticed) -> None:
    _, people, cluster = replicated
    primary = await cluster.settled()
    async with neighbours.at_work(people, UNHARMED) as others, people.storm(PATIENCE_SECONDS) as storm:
        await storm.everywhere(FEW)
        storm.mark()
        others.enter("during")
        cluster.etcd.pull_plug()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + 1.5 * 20
        while loop.time() < give_up:
            await storm.more(FEW, REPLICATED)
        tell(noticed, storm, others)
        cluster.start_etcd()
        assert await cluster.settled() == primary
    await people.expect_sound_books()
    assert not others.problems("during")
