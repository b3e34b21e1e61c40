"""The serving end of the transport, talked to by grpcio's client."""

import asyncio
import random
from typing import Any

import grpc
import pytest
from transport_room import COUNTED, IN_TURN, MESSAGE_BYTES_MAX, PATH, STREAM, TURN_SECONDS_MAX, Room, serving, until

from services.chassis import bounds
from services.transport.calls import Method
from services.transport.server import Server


async def test_messages_of_all_sizes_come_and_go_whole() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address, options=UNBOUNDED) as channel:
        call = channel.unary_unary(PATH)
        for size in (0, 1, 100, 16_379, 16_384, 65_535, 65_536, 1_000_000, MESSAGE_BYTES_MAX):
            sent = random.Random(size).randbytes(size)
            assert await call(sent, timeout=20) == sent
        answers = await asyncio.gather(*(call(b"long 300000", timeout=20) for _ in range(30)))
        assert {len(answer) for answer in answers} == {300_000}


UNBOUNDED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


async def test_a_message_too_large_is_refused_and_the_connection_goes_on() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address, options=UNBOUNDED) as channel:
        call = channel.unary_unary(PATH)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(bytes(MESSAGE_BYTES_MAX + 1), timeout=20)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await call(b"small", timeout=20) == b"small"


async def test_an_answer_too_large_is_not_sent() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address, options=UNBOUNDED) as channel:
        call = channel.unary_unary(PATH)
        assert len(await call(f"long {MESSAGE_BYTES_MAX}".encode(), timeout=20)) == MESSAGE_BYTES_MAX
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(f"long {MESSAGE_BYTES_MAX + 1}".encode(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_much_of_all_requests_together_is_refused_and_given_back() -> None:
    async with serving(held_bytes_max=100_000) as (address, room), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PATH)
        waiting = [asyncio.ensure_future(call(b"wait", timeout=20)) for _ in range(10)]
        await until(lambda: room.waiting == 10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(bytes(100_001), timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(5):
            assert len(await call(bytes(90_000), timeout=20)) == 90_000
        room.open.set()
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_compressed_requests_are_read(compression: grpc.Compression) -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address, compression=compression) as channel:
        assert await channel.unary_unary(PATH)(b"a" * 10_000, timeout=20) == b"a" * 10_000


async def test_a_message_that_becomes_too_large_is_not_inflated() -> None:
    options = [*UNBOUNDED]
    compression = grpc.Compression.Gzip
    async with serving() as (address, _):
        async with grpc.aio.insecure_channel(address, options=options, compression=compression) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(PATH)(bytes(MESSAGE_BYTES_MAX + 1), timeout=20)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_metadata_and_statuses_come_and_go_as_they_are() -> None:
    async with serving() as (address, room), grpc.aio.insecure_channel(address) as channel:
        metadata = (("x-text", "a b~"), ("x-data-bin", b"\x00\x01\xfe"), ("x-text", "again"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(PATH)(b"abort", metadata=metadata, timeout=20)
        assert sorted(map(str, (pair for pair in room.seen[-1] if pair[0].startswith("x-")))) == sorted(
            map(str, metadata)
        )
        assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert refused.value.details() == "příliš % daleko\n"
        told = dict(refused.value.trailing_metadata() or ())
        assert (told["why-bin"], told["why"]) == (b"\x00\xff", "x")


async def test_a_bug_says_nothing_of_itself() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address) as channel:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(PATH)(b"fail", timeout=20)
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_unknown_methods_and_full_ones_are_refused_at_once() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address) as channel:
        for path, code in (("/no.Such/Thing", "UNIMPLEMENTED"), ("/test.Room/Full", "RESOURCE_EXHAUSTED")):
            for size in (0, 500_000):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(path)(bytes(size), timeout=20)
                assert refused.value.code().name == code


async def test_places_are_taken_with_the_whole_request_and_given_back_however_a_call_ends() -> None:
    async with serving() as (address, room), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(COUNTED)
        burst = await asyncio.gather(*(call(b"wait", timeout=2.0) for _ in range(50)), return_exceptions=True)
        codes = [each.code() for each in burst if isinstance(each, grpc.aio.AioRpcError)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 48, "seen by those that came in the same moment"
        await until(lambda: room.places.taken == 0)
        silent = [channel.stream_unary(COUNTED)() for _ in range(10)]
        await asyncio.gather(*(each.wait_for_connection() for each in silent))
        assert await call(b"hello", timeout=20) == b"hello", "who only begins to ask keeps nobody out"
        for each in silent:
            each.cancel()
        for request in (b"abort", b"fail", bytes(10)):
            await asyncio.gather(call(request, timeout=20), return_exceptions=True)
        given_up = call(b"wait")
        await until(lambda: room.places.taken == 1)
        given_up.cancel()
        await until(lambda: room.places.taken == 0)


async def test_of_many_that_come_together_those_are_refused_whose_turn_would_come_late() -> None:
    """Found by `make overload`: all were let in that came before the first of them could fill a queue."""
    async with serving() as (address, room), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(IN_TURN)
        for _ in range(3):  # What a call takes is learned from those before.
            await asyncio.gather(*(call(b"work", timeout=20) for _ in range(8)), return_exceptions=True)
        room.worked = 0
        many = [call(b"work", timeout=20) for _ in range(300)]
        codes = [await each.code() for each in many]
        refused = codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert refused + codes.count(grpc.StatusCode.OK) == 300
        assert room.worked == 300 - refused
        assert room.worked < 150, "about ten at a time"
        assert await call(b"hello", timeout=20) == b"hello"


async def test_a_stall_is_forgotten_by_what_comes_after_it() -> None:
    async with serving() as (address, room), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(IN_TURN)
        assert room.server is not None
        room.server._turn_seconds = 60.0
        async with asyncio.timeout(20):
            while room.server._turn_seconds > TURN_SECONDS_MAX:
                await asyncio.gather(*(call(b"hello", timeout=20) for _ in range(3)))


async def test_who_was_waited_for_too_long_is_told_so_and_costs_nothing_more() -> None:
    async with serving() as (address, room), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PATH)
        assert await call(b"hello", timeout=20) == b"hello"
        late = [call(b"work", timeout=0.2) for _ in range(200)]
        codes = {await each.code() for each in late}
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
        assert await call(b"hello", timeout=20) == b"hello"
        assert room.worked < 150, "200 take two seconds"
        assert room.server is not None and room.server.seconds_to_turn() == 0.0


async def test_a_caller_that_gives_up_or_goes_away_cancels_its_calls() -> None:
    async with serving() as (address, room):
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(PATH)
            given_up = [call(b"wait") for _ in range(5)]
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"wait", timeout=0.2)
            for each in given_up:
                each.cancel()
            await until(lambda: room.cancelled == 6)
            left = [asyncio.ensure_future(call(b"wait").code()) for _ in range(5)]
            await until(lambda: room.waiting == 5)
        await until(lambda: room.cancelled == 11)
        await asyncio.gather(*left, return_exceptions=True)


async def test_streams_carry_messages_both_ways() -> None:
    async with serving() as (address, _), grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(STREAM)()
        for number in range(200):
            sent = str(number).encode() * 1_000
            await call.write(sent)
            assert await call.read() == sent
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_server_that_stops_answers_what_is_under_way() -> None:
    room = Room()
    server = Server(bounds.server_limits(), bounds.REFUSALS)
    server.methods[PATH] = Method(room.answer)
    address = f"127.0.0.1:{server.bind('127.0.0.1', 0)}"
    server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        waiting = [asyncio.ensure_future(channel.unary_unary(PATH)(b"wait", timeout=20)) for _ in range(20)]
        await until(lambda: room.waiting == 20)
        stopping = asyncio.ensure_future(server.stop(10.0))
        await asyncio.sleep(0)
        assert not stopping.done()
        room.open.set()
        assert await asyncio.gather(*waiting) == [b"wait"] * 20
        await stopping
