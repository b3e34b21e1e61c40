"""The serving end of the transport, talked to frame by frame: by the h2 library, and by whoever sends nonsense."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from transport_room import PATH, answers, serving

from services.transport import frames
from services.transport.fields import encoded

# The h2 library.


class Peer:
    """A client made of the h2 library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **settings: int) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.protocol = h2.connection.H2Connection(config)
        values = {h2.settings.SettingCodes[name]: value for name, value in settings.items()}
        self.protocol.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.protocol.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.trailers: dict[int, dict[str, str]] = {}
        self.ended: dict[int, int] = {}
        self.goodbye: int | None = None
        self.acknowledges = True

    def ask(self, message: bytes, path: str = PATH, extra: Iterable[tuple[str, str]] = (), **priority: int) -> int:
        """Begin a call and send its request as far as the windows allow."""
        number = self.protocol.get_next_available_stream_id()
        pairs = [
            *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")),
            *(("te", "trailers"), ("content-type", "application/grpc"), *extra),
        ]
        self.protocol.send_headers(number, pairs, **priority)
        self.protocol.send_data(number, b"\0" + len(message).to_bytes(4) + message, end_stream=True, pad_length=7)
        return number

    async def run(self, done: Any) -> None:
        """Send and receive until something is so, or the connection has ended."""
        async with asyncio.timeout(20):
            while not done():
                self.writer.write(self.protocol.data_to_send())
                data = await self.reader.read(65_536)
                if not data:
                    return
                for event in self.protocol.receive_data(data):
                    self._take(event)
            self.writer.write(self.protocol.data_to_send())

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            if self.acknowledges and event.flow_controlled_length:
                self.protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.trailers.setdefault(event.stream_id, {}).update(dict(event.headers))
        elif isinstance(event, h2.events.StreamReset):
            self.ended[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.setdefault(event.stream_id, 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goodbye = event.error_code


@asynccontextmanager
async def peer(address: str, **settings: int) -> AsyncIterator[Peer]:
    """Connect an h2 client."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer, **settings)
    finally:
        writer.close()


async def test_another_implementation_with_tables_padding_and_priorities_is_understood() -> None:
    async with serving() as (address, room), peer(address) as client:
        before = client.ask(b"before our settings", extra=[("x-a", "one")], priority_weight=7)
        await client.run(lambda: before in client.ended)
        for place in range(50):
            number = client.ask(b"m%d" % place, extra=[("x-a", "one"), ("x-b", "two " * place)])
            await client.run(lambda number=number: number in client.ended)
            assert client.bodies[number][5:] == b"m%d" % place
            assert client.trailers[number]["grpc-status"] == "0"
            assert dict(room.seen[-1])["x-b"] == ("two " * place).strip(" ") or place


async def test_fields_in_many_frames_are_one_block() -> None:
    async with serving() as (address, room), peer(address) as client:
        await client.run(lambda: bool(client.protocol.remote_settings.max_header_list_size))
        client.protocol.max_outbound_frame_size = 1_000
        number = client.ask(b"hello", extra=[(f"x-{place}", "y" * 900) for place in range(10)])
        await client.run(lambda: number in client.ended)
        assert len([name for name, _ in room.seen[-1] if name.startswith("x-")]) == 10


async def test_an_answer_waits_for_the_room_that_its_caller_gives() -> None:
    async with serving() as (address, _), peer(address, INITIAL_WINDOW_SIZE=1) as client:
        slow = client.ask(b"long 3000")
        await client.run(lambda: slow in client.ended)
        assert client.bodies[slow][5:] == b"x" * 3_000
        assert client.trailers[slow]["grpc-status"] == "0"


async def test_one_stream_without_room_does_not_hold_up_another() -> None:
    async with serving() as (address, _), peer(address, INITIAL_WINDOW_SIZE=1_000) as client:
        client.acknowledges = False
        stuck, small = client.ask(b"long 5000"), client.ask(b"long 10")
        await client.run(lambda: small in client.ended)
        assert stuck not in client.ended
        assert len(client.bodies[stuck]) == 1_000
        client.protocol.increment_flow_control_window(10_000, stuck)
        await client.run(lambda: stuck in client.ended)
        assert len(client.bodies[stuck]) == 5_005


async def test_windows_that_change_meanwhile_count() -> None:
    async with serving() as (address, _), peer(address, INITIAL_WINDOW_SIZE=100) as client:
        client.acknowledges = False
        number = client.ask(b"long 1000")
        await client.run(lambda: len(client.bodies.get(number, b"")) == 100)
        client.protocol.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2_000})
        await client.run(lambda: number in client.ended)
        assert len(client.bodies[number]) == 1_005


async def test_a_caller_that_gives_no_room_is_given_up_at_its_deadline() -> None:
    async with serving() as (address, _), peer(address, INITIAL_WINDOW_SIZE=10) as client:
        client.acknowledges = False
        number = client.ask(b"long 1000", extra=[("grpc-timeout", "300m")])
        await client.run(lambda: number in client.ended)
        assert client.ended[number] == frames.ErrorCode.CANCEL


async def test_streams_beyond_the_bound_are_refused_before_they_begin() -> None:
    async with serving(streams_per_connection_max=3) as (address, room), peer(address) as client:
        numbers = [client.ask(b"wait") for _ in range(5)]
        await client.run(lambda: len(client.ended) == 2)
        assert [client.ended.get(number) for number in numbers] == [None] * 3 + [frames.ErrorCode.REFUSED_STREAM] * 2
        room.open.set()
        await client.run(lambda: len(client.ended) == 5)
        assert [client.trailers[number]["grpc-status"] for number in numbers[:3]] == ["0"] * 3


async def test_a_connection_that_is_renewed_ends_its_calls_first() -> None:
    async with serving(age_seconds_max=0.5) as (address, room):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        asked = b"\0" + (4).to_bytes(4) + b"wait"
        writer.write(HELLO + frame(frames.HEADERS, 4, 1, ASK) + frame(frames.DATA, 1, 1, asked))
        said = await _said_until(reader, lambda said: frames.PING in [kind for kind, _, _ in said])
        leaving = next(payload for kind, _, payload in said if kind == frames.PING)
        writer.write(frame(frames.PING, frames.ACK, 0, leaving))
        # Calls that were on their way are taken; those that come after the answer to the ping are not.
        said = await _said_until(reader, lambda said: frames.GOAWAY in [kind for kind, _, _ in said])
        assert [int.from_bytes(payload[:4]) for kind, _, payload in said if kind == frames.GOAWAY] == [1]
        writer.write(frame(frames.HEADERS, 5, 3, ASK))
        said = await _said_until(reader, lambda said: frames.RST_STREAM in [kind for kind, _, _ in said])
        assert [(number, payload[3]) for kind, number, payload in said if kind == frames.RST_STREAM] == [(3, 7)]
        room.open.set()
        async with asyncio.timeout(20):
            rest = list(_frames(await reader.read()))
        assert [number for kind, number, _ in rest if kind == frames.HEADERS] == [1, 1]
        writer.close()


async def _said_until(reader: asyncio.StreamReader, done: Any) -> list[tuple[int, int, bytes]]:
    """Read frames until they are enough."""
    said: list[tuple[int, int, bytes]] = []
    async with asyncio.timeout(20):
        while not done(said):
            head = await reader.readexactly(frames.HEAD_BYTES)
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            said.append((head[3], int.from_bytes(head[5:]), payload))
    return said


# Whoever sends what cannot be.

HELLO = frames.PREFACE + frames.settings({})
ASK = encoded(
    (
        *((":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "test")),
        *(("te", "trailers"), ("content-type", "application/grpc")),
    )
)
DATA = b"\0" + (3).to_bytes(4) + b"abc"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return frames.frame(kind, flags, stream, payload)


FAULTS = {
    "data of no stream": (frame(frames.DATA, 0, 0, b"x"), 1),
    "data of a stream that was not begun": (frame(frames.DATA, 0, 1, b"x"), 1),
    "fields of an even stream": (frame(frames.HEADERS, 5, 2, ASK), 1),
    "fields that go on elsewhere": (frame(frames.HEADERS, 0, 1, ASK) + frame(frames.CONTINUATION, 4, 3), 1),
    "something else between": (frame(frames.HEADERS, 0, 1, ASK) + frame(frames.PING, 0, 0, bytes(8)), 1),
    "nothing to continue": (frame(frames.CONTINUATION, 4, 1, ASK), 1),
    "fields without an end": (frame(frames.HEADERS, 0, 1, ASK) + frame(frames.CONTINUATION, 0, 1) * 30, 11),
    "fields that are not readable": (frame(frames.HEADERS, 5, 1, b"\xff" * 20), 9),
    "a field that is cut off": (frame(frames.HEADERS, 5, 1, ASK[:-3]), 9),
    "a ping of seven bytes": (frame(frames.PING, 0, 0, bytes(7)), 6),
    "settings of seven bytes": (frame(frames.SETTINGS, 0, 0, bytes(7)), 6),
    "a window too large": (frame(frames.WINDOW_UPDATE, 0, 0, (2**31 - 1).to_bytes(4)), 3),
    "a window of nothing more": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)), 3),
    "windows of streams too large": (frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}), 3),
    "frames too small": (frames.settings({frames.MAX_FRAME_SIZE: 100}), 1),
    "a frame too large": (frame(frames.DATA, 0, 1, bytes(16_385)), 6),
    "a push": (frame(frames.PUSH_PROMISE, 4, 1, bytes(10)), 1),
    "more padding than payload": (frame(frames.HEADERS, 0xC, 1, b"\xff" + ASK), 1),
    "a reset of nothing": (frame(frames.RST_STREAM, 0, 1, bytes(4)), 1),
    "data after the last": (
        frame(frames.HEADERS, 4, 1, ASK)
        + frame(frames.DATA, 1, 1, b"\0" + (4).to_bytes(4) + b"wait")
        + frame(frames.DATA, 1, 1, DATA),
        5,
    ),
    "pings without an end": (frame(frames.PING, 0, 0, bytes(8)) * 30, 11),
    "settings without an end": (frames.settings({}) * 200, 11),
    "priorities without an end": (frame(frames.PRIORITY, 0, 1, bytes(5)) * 6_000, 11),
    "empty data without an end": (frame(frames.HEADERS, 4, 1, ASK) + frame(frames.DATA, 0, 1) * 6_000, 11),
    "kinds that nobody knows": (frame(200, 0, 1, bytes(5)) * 6_000, 11),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_ends_a_connection_is_told_and_others_go_on(name: str) -> None:
    sent, code = FAULTS[name]
    async with serving() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HELLO + sent)
        async with asyncio.timeout(20):
            said = await reader.read()
        last = [payload for kind, _, payload in _frames(said) if kind == frames.GOAWAY][-1]
        assert int.from_bytes(last[4:8]) == code, last
        writer.close()
        await answers(address)


def _frames(said: bytes) -> Iterable[tuple[int, int, bytes]]:
    at = 0
    while at < len(said):
        size = int.from_bytes(said[at : at + 3])
        yield said[at + 3], int.from_bytes(said[at + 5 : at + 9]), said[at + 9 : at + 9 + size]
        at += 9 + size


UNSOUND = {
    "a name in capitals": encoded([("X-Capital", "x")]),
    "a value with a line's end": encoded([("x-a", "b\r\nc: d")]),
    "a field of a connection": encoded([("connection", "close")]),
    "a path twice": encoded([(":path", PATH)]),
    "a base 64 that is none": encoded([("x-bin", "%%%")]),
    "a timeout that is none": encoded([("grpc-timeout", "soon")]),
}


@pytest.mark.parametrize("name", UNSOUND)
async def test_fields_that_cannot_be_end_the_call_and_not_the_connection(name: str) -> None:
    async with serving() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        told = frame(frames.HEADERS, 4, 3, ASK) + frame(frames.DATA, 1, 3, DATA)
        writer.write(HELLO + frame(frames.HEADERS, 5, 1, ASK + UNSOUND[name]) + told)
        said = b""
        async with asyncio.timeout(20):
            while b"abc" not in said:
                said += await reader.read(4096)
        assert (frames.RST_STREAM, 1) in [(kind, stream) for kind, stream, _ in _frames(said)]
        writer.close()


@pytest.mark.parametrize("end", [(frames.RST_STREAM, (8).to_bytes(4)), (frames.WINDOW_UPDATE, bytes(4))])
async def test_a_flood_of_calls_begun_and_given_up_is_cut_off(end: tuple[int, bytes]) -> None:
    """Given up by their caller, or by us because their caller does what cannot be."""
    kind, payload = end
    async with serving() as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HELLO)
        drained = asyncio.ensure_future(reader.read())
        try:
            for number in range(1, 60_000, 2):
                writer.write(frame(frames.HEADERS, 4, number, ASK) + frame(kind, 0, number, payload))
                if number % 200 == 1:
                    await writer.drain()
        except ConnectionError:
            pass
        async with asyncio.timeout(20):
            try:
                said = await drained
            except ConnectionError:
                said = b""
        if said:
            assert (
                int.from_bytes([payload for kind, _, payload in _frames(said) if kind == frames.GOAWAY][-1][4:8]) == 11
            )
        writer.close()
        await answers(address)


async def test_who_does_not_read_his_answers_is_dropped_and_others_are_answered() -> None:
    async with serving(silent_seconds_max=0.5, answer_seconds_max=0.5) as (address, _):
        host, _, port = address.rpartition(":")
        _reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31 - 1}))
        writer.write(frame(frames.WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65_535).to_bytes(4)))
        asked = b"\0" + (12).to_bytes(4) + b"long 1000000"
        for number in range(1, 61, 2):
            writer.write(frame(frames.HEADERS, 4, number, ASK) + frame(frames.DATA, 1, number, asked))
        await answers(address)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(frame(frames.PRIORITY, 0, 1, bytes(5)))
                    await writer.drain()
                    await asyncio.sleep(0.02)
        await answers(address)


@pytest.mark.parametrize("seed", range(20))
async def test_random_frames_never_hurt_others(seed: int) -> None:
    chance = random.Random(seed)
    async with serving() as (address, _):
        host, _, port = address.rpartition(":")
        for _ in range(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(HELLO if chance.random() < 0.9 else chance.randbytes(30))
            for _ in range(chance.randrange(1, 30)):
                payload = chance.choice((ASK, DATA, b"", chance.randbytes(chance.randrange(40)), bytes(4), bytes(8)))
                sent = frame(chance.randrange(11), chance.randrange(256), chance.randrange(8), payload)
                writer.write(sent if chance.random() < 0.95 else sent[: chance.randrange(len(sent))])
            try:
                await writer.drain()
                writer.write_eof()
                async with asyncio.timeout(20):
                    await reader.read()
            except ConnectionError:
                pass
            writer.close()
        await answers(address)
