"""Calls that find no place, many at a time: all are told, all are counted, and the first of a kind alone is looked at."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
import hpack
import pytest
from transport_room import COUNTED, PATH, serving

from services.chassis import bounds
from services.transport import frames
from services.transport.calls import Method, Refusal
from services.transport.connection import WINDOW_BYTES
from services.transport.fields import encoded
from services.transport.refusing import CROWD_MAX
from services.transport.server import Server

HELLO = frames.PREFACE + frames.settings({}) + frames.frame(frames.SETTINGS, frames.ACK, 0)
NO_TABLE = b"\x20"
MESSAGE = b"\0\0\0\0\x04wait"


def block(path: str, *extra: tuple[str, str]) -> bytes:
    return NO_TABLE + encoded(
        [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc"), *extra]
    )


def call(number: int, fields: bytes, message: bytes = MESSAGE) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS, number, fields) + frames.frame(
        frames.DATA, frames.END_STREAM, number, message
    )


class Door:
    """Turns everybody away as long as it is closed."""

    def __init__(self) -> None:
        self.asked = 0
        self.told = 0
        self.closed = True
        self.refusal = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (), self._hear)

    def _hear(self, times: int) -> None:
        self.told += times

    def refuses(self) -> Refusal | None:
        self.asked += 1
        return self.refusal if self.closed else None


class Caller:
    """Speaks in frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = hpack.Decoder()

    async def statuses(self, count: int) -> dict[int, str]:
        """Wait until so many calls have ended; tell how each did."""
        found: dict[int, str] = {}
        async with asyncio.timeout(20):
            while len(found) < count:
                high, low, kind, flags, number = frames.read_head(await self.reader.readexactly(frames.HEAD_BYTES))
                payload = await self.reader.readexactly(high << 16 | low)
                if kind == frames.HEADERS:
                    fields = dict(self._decoder.decode(payload))
                    if flags & frames.END_STREAM:
                        assert number not in found
                        found[number] = fields["grpc-status"]
                elif kind == frames.GOAWAY:
                    raise ConnectionError(payload[8:])
        return found

    async def send(self, parts: Iterable[bytes]) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[Caller]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(HELLO)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def closed(door: Door) -> AsyncIterator[str]:
    async with serving() as (address, room):
        assert room.server is not None
        room.server.methods["/test.Room/Closed"] = Method(room.answer, refuses=door.refuses)
        yield address


async def test_of_many_that_come_together_one_of_a_kind_is_looked_at_and_all_are_told_and_counted() -> None:
    """Each names its request, as callers do: that makes no kind."""
    door = Door()
    async with closed(door) as address, calling(address) as caller:
        await caller.send(
            call(number, block("/test.Room/Closed", ("x-request-id", f"name-{number}"))) for number in range(1, 201, 2)
        )
        assert await caller.statuses(100) == dict.fromkeys(range(1, 201, 2), "8")
        assert door.asked < 20, "what comes together is read in a few pieces at most"
        assert door.told == 100


async def test_those_of_other_connections_are_refused_at_a_glance_until_there_is_room() -> None:
    """Nor do they have to be readable beyond the path: who is refused is not read."""
    door = Door()
    unread = block("/test.Room/Closed") + b"\0\x03x-a\x7f\xff"
    async with closed(door) as address, calling(address) as first, calling(address) as second:
        await first.send([call(1, block("/test.Room/Closed"))])
        await first.statuses(1)
        await second.send([call(1, block(PATH), b"\0\0\0\0\x02hi")])  # From now on it has no table.
        await second.statuses(1)
        await second.send([call(3, unread)])
        assert await second.statuses(1) == {3: "8"}
        assert door.told == 2
        door.closed = False
        await second.send([call(5, unread)])
        with pytest.raises(ConnectionError):
            await second.statuses(1)


async def test_of_too_many_kinds_each_is_looked_at_and_all_are_told_and_counted() -> None:
    door = Door()
    path = "/test.Room/Closed"
    kinds = [NO_TABLE + encoded([(":authority", f"{n}")]) + block(path)[1:] for n in range(50)]
    async with closed(door) as address, calling(address) as caller:
        await caller.send(call(2 * n + 1, kinds[n % 50]) for n in range(150))
        assert await caller.statuses(150) == dict.fromkeys(range(1, 301, 2), "8")
        assert 2 * (50 - CROWD_MAX) < door.asked <= 150, "the first few kinds make the crowd"
        assert door.told == 150


async def test_who_comes_later_is_looked_at_and_let_in_when_there_is_room() -> None:
    door = Door()
    kind = block("/test.Room/Closed")
    async with closed(door) as address, calling(address) as caller:
        await caller.send([call(1, kind), call(3, kind)])
        await caller.statuses(2)
        door.closed = False
        await caller.send([call(5, kind, b"\0\0\0\0\x02hi")])
        assert await caller.statuses(1) == {5: "0"}


async def test_whoever_gives_a_place_back_makes_room_for_the_next_that_came_with_him() -> None:
    """Two places: the first is given up between the third and the fourth call of the same piece."""
    kind = block(COUNTED)
    gives_up = frames.frame(frames.RST_STREAM, 0, 1, frames.number(frames.ErrorCode.CANCEL))
    async with serving() as (address, room), calling(address) as caller:
        await caller.send([call(1, kind), call(3, kind), call(5, kind), gives_up, call(7, kind, b"\0\0\0\0\x02hi")])
        assert await caller.statuses(2) == {5: "8", 7: "0"}
        room.open.set()
        assert await caller.statuses(1) == {3: "0"}


async def test_other_calls_that_came_with_them_are_answered() -> None:
    door = Door()
    full, open_ = block("/test.Room/Closed"), block(PATH)
    async with closed(door) as address, calling(address) as caller:
        kinds = {number: full if number % 3 else open_ for number in range(1, 61, 2)}
        await caller.send(call(number, kind, b"\0\0\0\0\x02hi") for number, kind in kinds.items())
        told = await caller.statuses(len(kinds))
        assert told == {number: "8" if kind is full else "0" for number, kind in kinds.items()}


async def test_with_a_table_the_same_bytes_may_mean_another_call_and_are_read_each_time() -> None:
    """The last field that entered the table is the path of what is full, and then that of what is not."""
    door = Door()
    rest = encoded([("content-type", "application/grpc")])
    names = {"full": b"/test.Room/Closed", "open": b"/test.Room/Call"}
    # HPACK: :method POST, :scheme http, then :path as a literal that enters the table, or the newest of the table.
    enters = {name: b"\x83\x86" + b"\x44" + bytes((len(path),)) + path + rest for name, path in names.items()}
    newest = b"\x83\x86\xbe" + rest
    async with closed(door) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        caller = Caller(reader, writer)
        hi = b"\0\0\0\0\x02hi"
        blocks = [enters["full"], newest, newest, enters["open"], newest, enters["full"], newest]
        hello = frames.PREFACE + frames.settings({})  # The server's settings are not acknowledged: there is a table.
        await caller.send([hello, *(call(2 * n + 1, each, hi) for n, each in enumerate(blocks))])
        told = await caller.statuses(len(blocks))
        writer.close()
    assert [told[number] for number in sorted(told)] == ["8", "8", "8", "0", "0", "8", "8"]
    assert door.told == 5


DAMAGED = {
    "an even stream": lambda kind: call(4, kind),
    "data of a stream that was not begun": lambda kind: frames.frame(frames.DATA, 0, 9, b"x"),
    "data of no stream": lambda kind: frames.frame(frames.DATA, 0, 0, b"x"),
    "data within a block": lambda kind: (
        frames.frame(frames.HEADERS, 0, 5, kind[:9]) + frames.frame(frames.DATA, 0, 1, b"x")
    ),
    "a call within a block": lambda kind: frames.frame(frames.HEADERS, 0, 5, kind[:9]) + call(7, kind),
    "more padding than data": lambda kind: frames.frame(frames.DATA, frames.PADDED, 1, b"\x09x"),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_after_a_refusal_damage_still_ends_the_connection(name: str) -> None:
    door = Door()
    kind = block("/test.Room/Closed")
    async with closed(door) as address, calling(address) as caller:
        await caller.send([call(1, kind), call(3, kind), DAMAGED[name](kind)])
        with pytest.raises(ConnectionError):
            await caller.statuses(3)
        assert door.told == 2


async def test_data_of_those_turned_away_counts_for_the_room_that_their_caller_has() -> None:
    door = Door()
    kind = block("/test.Room/Closed")
    piece = bytes(frames.FRAME_BYTES_MIN)
    more = 0
    async with closed(door) as address, calling(address) as caller:
        await caller.send([frames.frame(frames.HEADERS, frames.END_HEADERS, 1, kind)])
        await caller.send(frames.frame(frames.DATA, 0, 1, piece) for _ in range(512))
        async with asyncio.timeout(20):
            while more <= WINDOW_BYTES:  # So much is given at the beginning.
                high, low, kind_of_frame, _, number = frames.read_head(
                    await caller.reader.readexactly(frames.HEAD_BYTES)
                )
                payload = await caller.reader.readexactly(high << 16 | low)
                if kind_of_frame == frames.WINDOW_UPDATE and number == 0:
                    more += int.from_bytes(payload)


async def test_a_server_that_takes_no_more_calls_says_so_of_each() -> None:
    """Whatever the reason why there is no place: here it is the number of calls under way in all."""
    server = Server(dataclasses.replace(bounds.server_limits(), calls_max=0), bounds.REFUSALS)
    server.methods[PATH] = Method(behaviour=None)
    address = f"127.0.0.1:{server.bind('127.0.0.1', 0)}"
    server.start()
    try:
        async with calling(address) as caller:
            await caller.send(call(number, block(PATH)) for number in range(1, 21, 2))
            assert set((await caller.statuses(10)).values()) == {"8"}
    finally:
        await server.stop(0.0)
