"""A running bank takes changed allowances and revocations in, and callers are told what to do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
import small_bank
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, leg, post

TWO_BY_NOW = "[channels.slow]\nlook_ups_per_second = 0.01\nlook_ups_burst = 2\nitems_per_day = 3\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("allowances")
    for name in ("allowances.toml", "revocations.toml"):
        (place / name).write_text("")
    return place / "allowances.toml", place / "revocations.toml"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path]) -> AsyncIterator[World]:
    allowances, revocations = map(str, files)
    data = tmp_path_factory.mktemp("metered") / "bank"
    settings = {"HIVECORE_ALLOWANCES_FILE": allowances, "HIVECORE_REVOCATIONS_FILE": revocations}
    async with small_bank.opened(data, **settings) as opened:
        yield opened


async def _until_refused(world: World, token: str) -> grpc.aio.AioRpcError:
    """Look a balance up until that is refused; a changed file is in force within two seconds."""
    request = bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance")
    async with asyncio.timeout(30):
        while True:
            try:
                await world.ask("GetBalance", request, token)
            except grpc.aio.AioRpcError as error:
                return error
            await asyncio.sleep(0.05)  # Not a guess: the file is looked at once a second.


async def test_a_channel_that_asks_too_fast_is_told_when_to_come_again_and_others_are_answered(
    world: World, files: tuple[Path, Path]
) -> None:
    slow = world.mint(channel="slow")
    files[0].write_text(TWO_BY_NOW)
    refused = await _until_refused(world, slow)
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(refused)
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(retry)
    assert info.reason == "RATE_LIMITED"
    assert 0 < retry.retry_delay.ToSeconds() <= 100
    # Look-ups are used up; payments are not, until the day's items are.
    transfers = [post(leg(world.mine, world.neighbour)) for _ in range(4)]
    for each in transfers[:3]:
        assert (await world.ask("PostTransfer", each, slow)).state == bank.Transfer.POSTED
    assert (await world.told("PostTransfer", transfers[3], slow)).reason == "QUOTA_SPENT"
    assert (await world.told("GetTransfer", _nothing(world), slow)).reason == "RATE_LIMITED"
    assert (await world.told("GetTransfer", _nothing(world))).reason == "TRANSFER_NOT_FOUND"


def _nothing(world: World) -> bank.GetTransferRequest:
    return bank.GetTransferRequest(name=f"accounts/{world.mine}/transfers/{uuid4()}")


async def test_a_revoked_token_is_refused_while_the_bank_runs(world: World, files: tuple[Path, Path]) -> None:
    stolen, good = world.mint(channel="stolen"), world.mint(channel="other")
    await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance"), stolen)
    files[1].write_text("[channels]\nstolen = 2999-01-01T00:00:00Z\n")
    refused = await _until_refused(world, stolen)
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await world.told("GetTransfer", _nothing(world), stolen)).reason == "TOKEN_REVOKED"
    assert (await world.told("GetTransfer", _nothing(world), good)).reason == "TRANSFER_NOT_FOUND"
