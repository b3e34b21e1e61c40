"""Silent, slow, flooding and oversized clients, with real sockets: others are answered all the while."""

import asyncio
import dataclasses
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import bounds
from services.chassis.bounds import METADATA_BYTES_MAX, STREAMS_PER_CONNECTION_MAX
from services.chassis.identity import Identity
from services.chassis.server import Server
from services.chassis.settings import ServiceSettings
from services.cli import authority, channels
from services.cli.certificates import Certificates

SERVICE = "hivecore.ledger.v1.Ledger"
METHOD = f"/{SERVICE}/GetShardStatus"
REQUEST = ledger_pb2.GetShardStatusRequest(shard_id=1)
SILENT_SECONDS = 0.2
LOOK_SECONDS = 0.01


class Room(ledger_pb2_grpc.LedgerServicer):
    """Answers, and keeps those waiting who ask for shard 2."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def GetShardStatus(self, request: Any, context: Any) -> Any:
        if request.shard_id == 2:
            self.waiting += 1
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1
        return ledger_pb2.ShardStatus(is_writer=True)


@asynccontextmanager
async def _serving(
    identity: Identity | None = None, is_full: bounds.IsFull = lambda: False, **limits: Any
) -> AsyncIterator[tuple[str, Room]]:
    room = Room()
    changed = dataclasses.replace(bounds.server_limits(), **limits)
    server = Server(ServiceSettings(), identity, limits=changed, gates={METHOD: bounds.Gate(is_full)})
    ledger_pb2_grpc.add_LedgerServicer_to_server(room, server.server)
    serving = asyncio.create_task(server.serve([SERVICE]))
    async with asyncio.timeout(10):
        await server.wait_started()
    try:
        yield server.address, room
    finally:
        room.open.set()
        server.stop()
        await serving


async def _is_answered(address: str) -> bool:
    async with channels.channel(address) as channel:
        return bool((await ledger_pb2_grpc.LedgerStub(channel).GetShardStatus(REQUEST, timeout=5)).is_writer)


async def _becomes_answered(address: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await _is_answered(address)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
            else:
                return


def _silent_call(channel: grpc.aio.Channel) -> Any:
    """Begin a call and send no request."""
    return channel.stream_unary(METHOD)()


async def _code(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(20):
        return await call.code()


async def test_who_connects_and_says_nothing_or_half_a_greeting_is_sent_away() -> None:
    async with _serving(handshake_seconds_max=0.5) as (address, _):
        host, _, port = address.rpartition(":")
        told = [b"", b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\n\r\n"]
        held = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
        for place, (_, writer) in enumerate(held):
            writer.write(told[place % len(told)])
        assert await _is_answered(address)
        async with asyncio.timeout(20):
            for reader, writer in held:
                try:
                    while await reader.read(4096):
                        pass
                except ConnectionError:
                    pass
                writer.close()


GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What every HTTP/2 client says first: the preface and empty settings."""


class Papers(NamedTuple):
    """What a server shows, and how its callers trust it; nothing of either in plain text."""

    identity: Identity | None = None
    trust: ssl.SSLContext | None = None
    credentials: grpc.ChannelCredentials | None = None


@pytest.fixture(params=["plain", "tls"])
def papers(request: pytest.FixtureRequest, tmp_path: Path) -> Papers:
    if request.param == "plain":
        return Papers()
    made = Certificates(tmp_path)
    authority.ensure(made, ["door"])
    trust = ssl.create_default_context(cafile=made.authority_file)
    trust.set_alpn_protocols(["h2"])
    identity = Identity(made.certificate_file("door"), made.key_file("door"))
    return Papers(identity, trust, grpc.ssl_channel_credentials(made.authority_file.read_bytes()))


async def test_connections_beyond_the_bound_are_closed_and_those_there_are_answered(papers: Papers) -> None:
    async with _serving(papers.identity, connections_max=10) as (address, _):
        host, _, port = address.rpartition(":")

        async def greeted() -> asyncio.StreamWriter | None:
            """Connect and say hello; None where nobody answers."""
            writer = None
            try:
                reader, writer = await asyncio.open_connection(host, int(port), ssl=papers.trust)
                writer.write(GREETING)
                if await reader.read(1):
                    return writer
            except OSError:
                pass
            if writer is not None:
                writer.close()
            return None

        async with asyncio.timeout(40), channels.channel(address, papers.credentials) as channel:
            stub = ledger_pb2_grpc.LedgerStub(channel)
            await stub.GetShardStatus(REQUEST, timeout=5)
            held = [writer for _ in range(9) if (writer := await greeted())]
            assert len(held) == 9
            assert [await greeted() for _ in range(3)] == [None] * 3
            assert (await stub.GetShardStatus(REQUEST, timeout=5)).is_writer
            for writer in held:
                writer.close()
            while (again := await greeted()) is None:
                await asyncio.sleep(0.05)
            again.close()


def test_connections_leave_descriptors_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for descriptors, expected in (
        (1_024, 824),
        (100, 1),
        (10**6, bounds.CONNECTIONS_MAX),
        (-1, bounds.CONNECTIONS_MAX),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=descriptors: (soft, soft))
        assert bounds.connections_max() == expected


async def test_an_idle_connection_is_closed() -> None:
    async with _serving(idle_seconds_max=0.5) as (address, _), channels.channel(address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        assert (await stub.GetShardStatus(REQUEST, timeout=5)).is_writer
        async with asyncio.timeout(20):
            while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
        assert (await stub.GetShardStatus(REQUEST, timeout=5)).is_writer, "the next call connects anew"


async def test_calls_that_send_no_request_are_ended_and_give_their_places_back() -> None:
    async with _serving(calls_max=50, request_seconds_max=SILENT_SECONDS) as (address, _):
        async with channels.channel(address) as channel:
            silent = [_silent_call(channel) for _ in range(60)]
            codes = [await _code(call) for call in silent]
        assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == 50
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 10
        await _becomes_answered(address)


async def test_half_a_request_is_waited_for_no_longer_than_none() -> None:
    """The frames of a call whose message says 100 bytes and of which 3 come, by hand."""
    async with _serving(request_seconds_max=SILENT_SECONDS) as (address, _):
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 4, 1, _headers(address)))
        writer.write(_frame(0, 0, 1, b"\0" + (100).to_bytes(4, "big") + b"abc"))
        kinds = set()
        async with asyncio.timeout(20):
            while not kinds & {1, 3}:  # HEADERS, with the status, or RST_STREAM
                size = int.from_bytes(await reader.readexactly(3), "big")
                kind, *_ = await reader.readexactly(6)
                await reader.readexactly(size)
                kinds.add(kind)
                assert kind != 7, "only the call is ended, not the connection"
        assert await _is_answered(address)
        writer.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _headers(address: str) -> bytes:
    """HPACK, every header as a literal with a literal name."""
    pairs = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": address,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    texts = ((name.encode(), value.encode()) for name, value in pairs.items())
    return b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in texts)


async def test_calls_beyond_the_places_are_refused_at_once_and_told_why() -> None:
    async with _serving(calls_max=20) as (address, room), channels.channel(address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        slow = [stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=2), timeout=30) for _ in range(20)]
        async with asyncio.timeout(20):
            while room.waiting < 20:
                await asyncio.sleep(LOOK_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetShardStatus(REQUEST, timeout=5)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "too many calls" in (refused.value.details() or "")
        # Health checks are calls too; watches have places of their own.
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        room.open.set()
        await asyncio.gather(*slow)
        assert await _is_answered(address)


async def test_callers_who_go_away_before_they_ask_leave_their_places_free() -> None:
    async with _serving(calls_max=10) as (address, _):
        for _ in range(3):
            async with channels.channel(address) as channel:
                silent = [_silent_call(channel) for _ in range(10)]
                await asyncio.gather(*(call.wait_for_connection() for call in silent))
        await _becomes_answered(address)


async def test_while_a_method_is_full_its_calls_are_turned_away_before_their_requests_come_and_no_others() -> None:
    full = True
    async with _serving(is_full=lambda: full) as (address, _), channels.channel(address) as channel:
        silent = _silent_call(channel)
        assert await _code(silent) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await silent.details() == "too much waits everywhere; the request was not read"
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        full = False
        assert await _is_answered(address)


async def test_watches_have_a_bound_of_their_own_and_leave_calls_alone() -> None:
    async with _serving(watches_max=5) as (address, _), channels.channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = []
        for _ in range(5):
            watches.append(watch := stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE)))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        refused = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert await _code(refused) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await _is_answered(address)
        for watch in watches:
            watch.cancel()
        async with asyncio.timeout(20):
            while True:
                again = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
                try:
                    assert (await again.read()).status == health_pb2.HealthCheckResponse.SERVING
                    break
                except grpc.aio.AioRpcError:
                    continue
        again.cancel()


async def test_thousands_of_streams_on_one_connection_are_cut_off_and_others_are_answered() -> None:
    async with _serving() as (address, room), channels.channel(address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        asked = ledger_pb2.GetShardStatusRequest(shard_id=2)
        many = [stub.GetShardStatus(asked, timeout=50) for _ in range(STREAMS_PER_CONNECTION_MAX + 500)]
        async with asyncio.timeout(40):
            while room.waiting < STREAMS_PER_CONNECTION_MAX:
                await asyncio.sleep(LOOK_SECONDS)
        assert await _is_answered(address)
        assert room.waiting == STREAMS_PER_CONNECTION_MAX
        room.open.set()
        codes = [await call.code() for call in many]
        assert codes.count(grpc.StatusCode.OK) >= STREAMS_PER_CONNECTION_MAX
        # What gRPC's own client makes of a stream that the server refused before it began.
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_huge_metadata_is_refused_and_usual_metadata_is_not() -> None:
    async with _serving() as (address, _), channels.channel(address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        usual = (("authorization", "x" * 8_192), ("x-request-id", "x" * 100))
        assert (await stub.GetShardStatus(REQUEST, metadata=usual, timeout=5)).is_writer
        for huge in ((("x", "x" * METADATA_BYTES_MAX),), tuple((f"x{place}", "x") for place in range(1_000))):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetShardStatus(REQUEST, metadata=huge, timeout=5)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await _is_answered(address)


@pytest.mark.parametrize("sent", [b"\xff\xff", b"\x08", b"\x0a\x05ab"])
async def test_bytes_that_are_no_message_are_the_callers_mistake(sent: bytes) -> None:
    async with _serving() as (address, _), channels.channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(METHOD)(sent, timeout=5)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "request: is no message" in (refused.value.details() or "")


async def test_a_call_without_a_message_is_the_callers_mistake() -> None:
    async with _serving() as (address, _), channels.channel(address) as channel:
        call: Any = channel.stream_unary(METHOD)(iter(()), timeout=5)
        assert await _code(call) is grpc.StatusCode.INVALID_ARGUMENT
