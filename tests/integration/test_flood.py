"""A flood of calls against gRPC's own server and against the bank's: every call ends once, and is told apart by how."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from transport_room import COUNTED, PATH, serving

from loadtest.flood import Calls, Flood, read

PROTOCOL_ERROR = 1


def headers(path: str) -> tuple[tuple[str, str], ...]:
    pseudo = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"))
    return (*pseudo, ("te", "trailers"), ("content-type", "application/grpc"))


async def connected(access_or_address: str, **given: Any) -> Flood:
    host, _, port = access_or_address.rpartition(":")
    _, flood = await asyncio.get_running_loop().create_connection(lambda: Flood(20.0, **given), host, int(port))
    async with asyncio.timeout(20):
        await flood.greeted.wait()
    return flood


async def all_ended(flood: Flood) -> Counter[str]:
    """Wait until all calls have ended; count them by status."""
    async with asyncio.timeout(20):
        while flood.ended < flood.sent:
            await asyncio.sleep(0.005)
    assert not flood.resets
    assert all(seconds >= 0 for each in flood.seconds_by_end.values() for seconds in each)
    counts: Counter[str] = Counter()
    for block, seconds in flood.seconds_by_end.items():
        counts[dict(read(block))["grpc-status"]] += len(seconds)
    return counts


@asynccontextmanager
async def served_by_grpc(**options: int) -> AsyncIterator[str]:
    async def answer(request: bytes, context: Any) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (("why-bin", b"\x00\xff"),))
        return bytes(2_000)

    server = grpc.aio.server(options=[(f"grpc.{name}", value) for name, value in options.items()])
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Room", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def calls(count: int, *messages: bytes, path: str = PATH) -> Calls:
    return Calls([(headers(path), messages[place % len(messages)]) for place in range(count)])


async def test_every_call_is_answered_once_by_gRPCs_own_server_too() -> None:
    async with served_by_grpc(max_concurrent_streams=50) as address:
        flood = await connected(address)
        written = calls(3_000, b"abort", b"hello", b"hello", b"hello")
        while flood.sent < 3_000:
            assert flood.send(written, 64) == 50, "the server takes no more at a time"
            assert flood.room() == 0
            await all_ended(flood)
        counts = await all_ended(flood)
        flood.close()
    assert counts.total() == flood.sent == flood.ended == 3_000
    assert counts == {"8": 750, "0": 2_250}


async def test_those_turned_away_by_our_own_are_told_apart_from_those_answered() -> None:
    async with serving() as (address, room):
        flood = await connected(address)
        waiting = flood.send(calls(20, b"wait", path=COUNTED), 20)
        async with asyncio.timeout(20):
            while flood.ended < waiting - 2:
                await asyncio.sleep(0.005)
        room.open.set()
        assert await all_ended(flood) == {"8": 18, "0": 2}
        assert flood.send(calls(100, b"hello"), 40) == 40
        assert await all_ended(flood) == {"8": 18, "0": 42}
        flood.close()


async def test_no_more_is_sent_than_there_is_room_for() -> None:
    async with serving(streams_per_connection_max=30) as (address, room):
        heard: list[int] = []
        flood = await connected(address, when_ended=lambda: heard.append(flood.ended))
        assert (flood.room(), flood.send(calls(100, b"wait"), 100), flood.room()) == (30, 30, 0)
        flood.pause_writing()
        room.open.set()
        await all_ended(flood)
        assert (heard[-1], flood.room(), flood.send(calls(100, b"hello"), 1)) == (30, 0, 0)
        flood.resume_writing()
        assert flood.room() == 30
        flood._window = 25
        assert flood.send(calls(30, b"hello"), 30) == 2, "two messages of ten bytes fit into the server's window"
        await all_ended(flood)
        flood.close()


async def test_calls_that_the_server_ends_without_a_word_are_counted_by_its_reason() -> None:
    async with serving() as (address, _):
        flood = await connected(address)
        flood.send(Calls([(headers(PATH)[:-1], b"hello")] * 3), 3)
        async with asyncio.timeout(20):
            while flood.ended < flood.sent:
                await asyncio.sleep(0.005)
        assert (flood.resets, dict(flood.seconds_by_end)) == ({PROTOCOL_ERROR: 3}, {})
        flood.close()


async def test_calls_of_a_connection_that_is_lost_stay_without_an_answer() -> None:
    async with serving() as (address, room):
        flood = await connected(address)
        flood.send(calls(5, b"wait"), 5)
        async with asyncio.timeout(20):
            while room.waiting < 5:
                await asyncio.sleep(0.005)
        flood.close()
        async with asyncio.timeout(20):
            while flood.is_open:
                await asyncio.sleep(0.005)
        assert (flood.sent, flood.ended, flood.room()) == (5, 0, 0)


@pytest.mark.parametrize("first", [1, 2**31 - 201])
def test_what_was_written_beforehand_is_numbered_anew_from_where_it_went_on_to(first: int) -> None:
    all_of_them, some = calls(100, b"a", b"longer"), calls(100, b"a", b"longer")
    assert some.data_bytes(3) == len(b"a" + b"longer" + b"a") + 3 * 5
    whole = all_of_them.numbered(100, first)
    assert whole == b"".join(some.numbered(count, first + 2 * at) for at, count in ((0, 3), (3, 1), (4, 96)))
    assert some.left == 100 and all_of_them.numbered(100, first) == whole, "after the last comes the first"
    assert all_of_them.numbered(100, 7) != whole
