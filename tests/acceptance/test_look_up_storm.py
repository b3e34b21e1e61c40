"""Thousands ask all at once whether their money has come: most are refused unread, the others and transfers are in time."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2
from hivecore.gateway.v1 import bank_pb2

from loadtest import bank, target
from loadtest.client import DETAILS, Access, Client
from loadtest.lean_client import LeanClient
from loadtest.mix import MIXES
from loadtest.open_loop.callers import OpenLoad, generate
from loadtest.open_loop.record import Seen
from loadtest.overload.inside import Inside
from loadtest.stencil import Stencil
from loadtest.workload import transfer_id

CONNECTIONS = 2
ASKING_ON_EACH = 1_500
"""So many wait on each connection, and ask again at once: more than any machine answers in time."""
SECONDS = 4.0
SECONDS_MAX = 2.0
"""Of what is answered; the gate is at a quarter of a second, which a busy machine multiplies."""


async def storm(access: Access, names: list[str], over: asyncio.Event) -> Counter[str]:
    """Look transfers up without a pause until it is over; count the answers by reason."""
    reasons: Counter[str] = Counter()

    async def ask(client: LeanClient, name: str) -> None:
        while not over.is_set():
            (outcome,) = await client.send("GetTransfer", bank_pb2.GetTransferRequest(name=name), 0)
            reasons[outcome.reason] += 1

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(LeanClient(access)) for _ in range(CONNECTIONS)]
        asking = [ask(client, names[n % len(names)]) for n in range(ASKING_ON_EACH) for client in clients]
        await asyncio.gather(*asking)
    return reasons


async def retry_seconds(client: Client, name: str) -> float:
    """Look up until it is refused; tell what the refusal says about when to come back."""
    request = bank_pb2.GetTransferRequest(name=name)
    while True:
        try:
            await client.call(client.stub.GetTransfer, request)
        except grpc.aio.AioRpcError as refused:
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
            (details,) = (value for key, value in refused.trailing_metadata() or () if key == DETAILS)
            retry = error_details_pb2.RetryInfo()
            assert any(detail.Unpack(retry) for detail in status_pb2.Status.FromString(details).details)  # type: ignore[arg-type]
            return retry.retry_delay.ToTimedelta().total_seconds()


def test_a_storm_of_look_ups_is_turned_away_and_neither_they_nor_transfers_become_late(tmp_path: Path) -> None:
    with bank.opened(tmp_path / "bank", shards=2) as opened:
        found = target.on_this_machine(opened.data)
        by_shard = found.prepare(40)
        asyncio.run(play(found, by_shard, [opened.metrics["gateway"]]))


async def play(found: target.Target, by_shard: list[list[str]], metrics: list[str]) -> None:
    paid = [
        (transfer_id(time.time_ns() // 1_000_000, number), *pair, 1)
        for number, pair in enumerate((accounts[0], accounts[1]) for accounts in by_shard)
    ]
    names = [f"accounts/{debit}/transfers/{identifier}" for identifier, debit, _, _ in paid]
    begun, over = asyncio.Event(), asyncio.Event()
    loop, edges = asyncio.get_running_loop(), iter((begun, over))

    def at_edge() -> None:
        loop.call_soon_threadsafe(next(edges).set)

    transfers = OpenLoad(
        found.access, by_shard, target.CURRENCY, MIXES["transfers"], 20.0, SECONDS, warm_up_seconds=0.5
    )
    async with Client(found.access) as client, LeanClient(found.access) as lean:
        outcomes = await lean.post_many(Stencil(target.CURRENCY).write(paid), len(paid))
        assert {outcome.kind for outcome in outcomes} == {"posted"}
        paying: asyncio.Future[Seen] = asyncio.ensure_future(asyncio.to_thread(generate, transfers, 1, at_edge))
        await begun.wait()
        before = await Inside.now(metrics)
        asking = asyncio.create_task(storm(found.access, names, over))
        assert 0 < await asyncio.wait_for(retry_seconds(client, names[0]), 60) <= 5
        reasons, seen = await asking, await paying
        inside = before.until(await Inside.now(metrics))
        async with asyncio.timeout(10):
            while (await lean.send("GetTransfer", bank_pb2.GetTransferRequest(name=names[0]), 0))[0].reason:
                pass

    answered = reasons.pop("")
    assert answered > 0
    assert set(reasons) == {"QUEUE_FULL"}, "nobody waits until the deadline"
    assert inside.turned_away["look_ups"] > 0.8 * reasons["QUEUE_FULL"], "and few are read before they are refused"
    assert (inside.ms(["GetTransfer"], 0.01 * answered) or 1e9) < SECONDS_MAX * 1000
    assert seen.done == seen.due > 0, "no transfer is refused for the sake of look-ups"
    assert (inside.ms(["PostTransfer"], 0.01 * seen.due) or 1e9) < SECONDS_MAX * 1000
