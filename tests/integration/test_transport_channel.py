"""The calling end of the transport, answered by grpcio's server, by our own, and by what is no server."""

import asyncio
import dataclasses
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from transport_room import Door, until

from services.chassis import bounds, clients
from services.transport import channel as transport_channel
from services.transport import frames
from services.transport.calls import Call, Method
from services.transport.channel import CallError, Channel
from services.transport.server import Server

PATH = "/test.Room/Call"
Behaviour = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def grpcio(behaviour: Behaviour, *options: tuple[str, int], port: int = 0) -> AsyncIterator[str]:
    """Let grpcio serve a behaviour for the length of a test."""
    server = grpc.aio.server(options=(*options, ("grpc.max_receive_message_length", -1)))
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(behaviour)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Room", handlers),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def channel_to(address: str, **patience: Any) -> AsyncIterator[Channel]:
    """Open a channel for the length of a test."""
    channel = Channel(address, dataclasses.replace(clients.PATIENCE, **patience))
    try:
        yield channel
    finally:
        await channel.close()


async def repeat(request: bytes, _context: Any) -> bytes:
    """Answer with the request."""
    return request


@asynccontextmanager
async def ours(behaviour: Any, port: int = 0, **limits: Any) -> AsyncIterator[tuple[Server, str]]:
    """Serve a behaviour ourselves."""
    server = Server(dataclasses.replace(bounds.server_limits(), **limits), bounds.REFUSALS)
    server.methods[PATH] = Method(behaviour)
    address = f"127.0.0.1:{server.bind('127.0.0.1', port)}"
    server.start()
    try:
        yield server, address
    finally:
        await server.stop(0.0)


async def test_messages_of_all_sizes_come_and_go_whole() -> None:
    async with grpcio(repeat) as address, channel_to(address) as channel:
        for size in (0, 1, 16_379, 16_384, 65_536, 1_000_000, clients.PATIENCE.message_bytes_max):
            sent = random.Random(size).randbytes(size)
            assert await channel.call(PATH, sent, 20.0, ()) == sent
        sent = [random.Random(size).randbytes(size * 1_000) for size in range(100)]
        assert await asyncio.gather(*(channel.call(PATH, each, 20.0, ()) for each in sent)) == sent


async def test_metadata_deadlines_and_statuses_come_and_go_as_they_are() -> None:
    async def abort(_: bytes, context: Any) -> bytes:
        seen.append((dict(context.invocation_metadata()), context.time_remaining()))
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "příliš % daleko", (("why-bin", b"\x00\xff"),))
        raise AssertionError

    seen: list[Any] = []
    async with grpcio(abort) as address, channel_to(address) as channel:
        with pytest.raises(CallError) as failed:
            await channel.call(PATH, b"", 7.0, (("x-text", "a b"), ("x-data-bin", b"\x01\xfe")))
    metadata, remaining = seen[0]
    assert (metadata["x-text"], metadata["x-data-bin"]) == ("a b", b"\x01\xfe")
    assert 5.0 < remaining <= 7.1
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "příliš % daleko")
    assert dict(failed.value.trailing_metadata())["why-bin"] == b"\x00\xff"
    assert failed.value.was_taken


@pytest.mark.parametrize("kind", ["grpcio", "ours"])
async def test_a_call_given_up_is_cancelled_where_it_is_answered(kind: str) -> None:
    door = Door()
    serving: Any = grpcio(door.answer) if kind == "grpcio" else ours(door.answer)
    async with serving as served:
        address = served if isinstance(served, str) else served[1]
        async with channel_to(address) as channel:
            with pytest.raises(CallError) as late:
                await channel.call(PATH, b"", 0.2, ())
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: door.cancelled == 1)
            calling = asyncio.ensure_future(channel.call(PATH, b"", 20.0, ()))
            await until(lambda: door.waiting == 1)
            calling.cancel()
            await until(lambda: door.cancelled == 2)


async def test_nobody_there_is_told_at_once_and_somebody_who_comes_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with channel_to(f"127.0.0.1:{port}") as channel:
        with pytest.raises(CallError) as failed:
            await channel.call(PATH, b"", 5.0, ())
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not failed.value.was_taken
        async with grpcio(repeat, port=port), asyncio.timeout(20):
            while not await channel.is_ready(1.0):
                await asyncio.sleep(0.01)
            assert await channel.call(PATH, b"found", 5.0, ()) == b"found"


async def test_what_speaks_no_gRPC_is_not_ready() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with channel_to(f"127.0.0.1:{port}", connect_seconds_max=2.0) as channel:
            assert not await channel.is_ready(5.0)


async def test_a_lost_connection_leaves_doubt_and_the_next_call_connects_anew() -> None:
    door = Door()
    async with channel_to("127.0.0.1:1") as unused:
        assert not await unused.is_ready(1.0)
    async with ours(door.answer) as (server, address), channel_to(address) as channel:
        calling = asyncio.ensure_future(channel.call(PATH, b"", 20.0, ()))
        await until(lambda: door.waiting == 1)
        for connection in list(server._connections):
            connection.abort()
        with pytest.raises(CallError) as lost:
            await calling
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        assert lost.value.was_taken
        door.open.set()
        assert await channel.call(PATH, b"again", 20.0, ()) == b"again"


async def test_a_call_that_the_peer_did_not_take_leaves_no_doubt() -> None:
    door = Door()
    async with ours(door.answer, streams_per_connection_max=2) as (_, address), channel_to(address) as channel:
        under_way = [asyncio.ensure_future(channel.call(PATH, b"", 20.0, ())) for _ in range(2)]
        await until(lambda: door.waiting == 2)
        with pytest.raises(CallError) as refused:
            await channel.call(PATH, b"", 20.0, ())
        assert not refused.value.was_taken
        door.open.set()
        await asyncio.gather(*under_way)


async def test_a_server_that_leaves_costs_nobody_a_call() -> None:
    """Connections are renewed all the while, under calls that never pause."""

    async def answer(request: bytes | None, call: Call) -> bytes:
        for _ in range(10):
            await asyncio.sleep(0)
        return request or b""

    async with ours(answer, age_seconds_max=0.2) as (_, address), channel_to(address) as channel:
        end = asyncio.get_running_loop().time() + 3.0
        untaken = 0

        async def caller() -> int:
            nonlocal untaken
            count = 0
            while asyncio.get_running_loop().time() < end:
                try:
                    assert await channel.call(PATH, b"x", 20.0, ()) == b"x"
                    count += 1
                except CallError as failure:
                    assert not failure.was_taken  # noqa: PT017
                    untaken += 1
            return count

        assert sum(await asyncio.gather(*(caller() for _ in range(20)))) > 100
        assert untaken == 0


async def test_a_silent_peer_is_found_out_by_pings() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.settings({}))
        while await reader.read(4096):
            pass
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with channel_to(f"127.0.0.1:{port}", silent_seconds_max=0.5, answer_seconds_max=0.5) as channel:
            with pytest.raises(CallError) as lost:
                await channel.call(PATH, b"", 30.0, ())
            assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
            assert lost.value.was_taken


async def test_all_addresses_of_a_name_get_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"127.0.0.1": 0, "127.0.0.2": 0}

    def counting(host: str) -> Any:
        async def answer(_request: bytes | None, _call: Call) -> bytes:
            asked[host] += 1
            return b""

        return answer

    async def look_up(name: str, port: int) -> dict[tuple[Any, ...], int]:
        assert name == "room.test"
        return {(host, port): socket.AF_INET for host in asked}

    monkeypatch.setattr(transport_channel, "look_up", look_up)
    servers: dict[str, Server] = {}
    port = 0
    for host in asked:
        servers[host] = server = Server(bounds.server_limits(), bounds.REFUSALS)
        server.methods[PATH] = Method(counting(host))
        port = server.bind(host, port)
        server.start()
    async with channel_to(f"dns:///room.test:{port}") as channel, asyncio.timeout(20):
        while min(asked.values()) < 5:
            await channel.call(PATH, b"", 5.0, ())
        await servers["127.0.0.1"].stop(1.0)
        before = asked["127.0.0.2"]
        for _ in range(10):
            await channel.call(PATH, b"", 5.0, ())
        assert asked["127.0.0.2"] == before + 10
        again = servers["127.0.0.1"] = Server(bounds.server_limits(), bounds.REFUSALS)
        again.methods[PATH] = Method(counting("127.0.0.1"))
        again.bind("127.0.0.1", port)
        again.start()
        monkeypatch.setattr(transport_channel, "LOOK_UP_SECONDS", 0.05)
        before = asked["127.0.0.1"]
        while asked["127.0.0.1"] == before:
            await channel.call(PATH, b"", 5.0, ())
    for server in servers.values():
        await server.stop(0.0)


async def test_a_retired_channel_ends_its_calls_and_begins_no_others() -> None:
    door = Door()
    async with ours(door.answer) as (server, address), channel_to(address) as channel:
        calling = asyncio.ensure_future(channel.call(PATH, b"last", 20.0, ()))
        await until(lambda: door.waiting == 1)
        channel.retire()
        assert not await channel.is_ready(1.0)
        door.open.set()
        assert await calling == b"last"
        await until(lambda: not server._connections)


BROKEN = {
    "an answer of HTTP": (b"\x20\x00\x07:status\x03502", True, grpc.StatusCode.UNAVAILABLE),
    "no status at all": (b"\x20\x88", True, grpc.StatusCode.UNKNOWN),
    "a code that is none": (b"\x20\x88\x00\x0bgrpc-status\x0299", True, grpc.StatusCode.UNKNOWN),
    "OK without a message": (b"\x20\x88\x00\x0bgrpc-status\x010", True, grpc.StatusCode.INTERNAL),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answers_are_failures(name: str) -> None:
    block, ends, code = BROKEN[name]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.settings({}))
        told = b""
        while b"hello" not in told:
            told += await reader.read(4096)
        writer.write(frames.headers(1, block, 16_384, ends_stream=ends))
        while await reader.read(4096):
            pass
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with channel_to(f"127.0.0.1:{port}") as channel:
            with pytest.raises(CallError) as failed:
                await channel.call(PATH, b"hello", 20.0, ())
            assert failed.value.code() is code
