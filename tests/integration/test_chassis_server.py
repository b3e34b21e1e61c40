"""One server from listening to its end: health, reflection, metrics, endpoint file, stopping."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import clients
from services.chassis.server import Server
from services.chassis.settings import ServiceSettings, SettingsError
from services.cli import channels
from services.domain import errors, limits

SERVICE = "hivecore.ledger.v1.Ledger"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Room(ledger_pb2_grpc.LedgerServicer):
    """Refuses one shard, trips over another."""

    async def GetShardStatus(self, request, context):
        if request.shard_id == 2:
            raise errors.NotFound("SHARD_NOT_HERE", "shard 2 is not here", {"shard": "2"})
        assert request.shard_id == 1, "a bug"
        return ledger_pb2.ShardStatus(is_writer=True)


@asynccontextmanager
async def _serving(
    settings: ServiceSettings, prepare: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    server = Server(settings)
    ledger_pb2_grpc.add_LedgerServicer_to_server(Room(), server.server)
    serving = asyncio.create_task(server.serve([SERVICE], prepare=prepare))
    async with asyncio.timeout(10):
        await server.wait_started()
    async with channels.channel(server.address) as channel:
        yield server, channel
    server.stop()
    await serving


async def _health(channel: grpc.aio.Channel, service: str = SERVICE) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status


async def _health_becomes(channel: grpc.aio.Channel, wanted: int) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    async for answer in watch:
        if answer.status == wanted:
            break
    watch.cancel()


async def test_a_servicers_error_arrives_with_details_and_a_bug_without_any_text() -> None:
    async with _serving(ServiceSettings()) as (server, _):
        client = clients.LedgerClient(1, [server.address])
        with pytest.raises(errors.NotFound, match="shard 2 is not here") as caught:
            await client.call("GetShardStatus", ledger_pb2.GetShardStatusRequest(shard_id=2), deadline_seconds=5)
        assert (caught.value.reason, caught.value.metadata) == ("SHARD_NOT_HERE", {"shard": "2"})
        with pytest.raises(errors.Unavailable, match=r"^a service needed for this failed$") as bug:
            await client.call("GetShardStatus", ledger_pb2.GetShardStatusRequest(shard_id=3), deadline_seconds=5)
        assert bug.value.reason == "PEER_FAILED"
        await client.close()


async def test_health_is_answered_for_the_whole_and_for_each_service() -> None:
    async with _serving(ServiceSettings()) as (_, channel):
        await _health_becomes(channel, SERVING)
        assert await _health(channel, "") == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _health(channel, "hivecore.nothing.v1.Nothing")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_says_not_serving_until_preparations_are_through() -> None:
    ready = asyncio.Event()

    async def prepare() -> None:
        await ready.wait()

    async with _serving(ServiceSettings(), prepare) as (_, channel):
        assert await _health(channel) == NOT_SERVING
        ready.set()
        await _health_becomes(channel, SERVING)


async def test_a_server_told_to_stop_while_preparing_stops() -> None:
    async with asyncio.timeout(5), _serving(ServiceSettings(), asyncio.Event().wait):
        pass


async def test_preparations_that_fail_end_the_server() -> None:
    async def prepare() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        await Server(ServiceSettings()).serve([SERVICE], prepare=prepare)


async def test_reflection_lists_the_services() -> None:
    async with _serving(ServiceSettings()) as (_, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        questions = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await questions.read()
        names = {service.name for service in answer.list_services_response.service}
        questions.cancel()
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= names


async def test_the_endpoint_file_tells_where_grpc_and_metrics_really_listen(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    async with _serving(ServiceSettings(endpoint_file=file)) as (server, channel):
        endpoint = json.loads(file.read_text())
        assert endpoint["grpc"] == server.address
        assert endpoint["pid"] == os.getpid()
        assert _names_in(tmp_path) == ["endpoint.json"]
        await ledger_pb2_grpc.LedgerStub(channel).GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=1))
        page = await asyncio.to_thread(_page, f"http://{endpoint['metrics']}/metrics")
    assert f'grpc_server_handled_total{{grpc_code="OK",grpc_method="GetShardStatus",grpc_service="{SERVICE}"' in page


def _names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


async def test_an_address_that_is_taken_is_refused_with_a_sentence() -> None:
    async with _serving(ServiceSettings()) as (server, _):
        with pytest.raises(SettingsError, match=f"cannot listen on {server.address}"):
            await Server(ServiceSettings(listen=server.address)).serve([SERVICE])


async def test_a_metrics_address_that_is_taken_is_refused_with_a_sentence() -> None:
    async with _serving(ServiceSettings()) as (server, _):
        with pytest.raises(SettingsError, match=f"cannot serve /metrics on {server.address}"):
            await Server(ServiceSettings(metrics_listen=server.address)).serve([SERVICE])


async def test_a_message_larger_than_the_limit_is_refused() -> None:
    request = ledger_pb2.PostTransfersRequest(transfer_ids=bytes(limits.MESSAGE_BYTES_MAX + 1))
    async with _serving(ServiceSettings()) as (server, _), grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ledger_pb2_grpc.LedgerStub(channel).PostTransfers(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
