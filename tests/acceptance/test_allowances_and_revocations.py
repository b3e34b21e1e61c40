"""A running bank takes changed allowances and revocations in, and callers are told what to do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import jwt
import pytest
import small_bank
from command_line import User, hivecore
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, leg, post

TWO_BY_NOW = "[channels.slow]\nlook_ups_per_second = 0.01\nlook_ups_burst = 2\nitems_per_day = 3\n"


@pytest.fixture(scope="module")
def allowances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("allowances") / "allowances.toml"
    file.write_text("")
    return file


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, allowances: Path) -> AsyncIterator[World]:
    async with small_bank.opened(tmp_path_factory.mktemp("metered") / "bank", allowances=allowances) as opened:
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
    world: World, allowances: Path
) -> None:
    slow = world.mint(channel="slow")
    await asyncio.to_thread(allowances.write_text, TWO_BY_NOW)
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


async def test_revoked_tokens_are_refused_while_the_bank_runs(world: World) -> None:
    user, good = User(world.bank), world.mint(channel="other")
    revoked = {
        "by the token": (world.mint(), lambda token: (token,)),
        "by its id": (world.mint(), lambda token: (_id(token),)),
        "by its channel": (world.mint(channel="stolen"), lambda _: ("--channel", "stolen")),
    }
    for token, words in revoked.values():
        await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance"), token)
        await user.get("token", "revoke", *words(token))
        refused = await _until_refused(world, token)
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    for token, _ in revoked.values():
        assert (await world.told("GetTransfer", _nothing(world), token)).reason == "TOKEN_REVOKED"
    assert (await world.told("GetTransfer", _nothing(world), good)).reason == "TRANSFER_NOT_FOUND"


async def test_everybodys_tokens_are_revoked_at_once_and_those_that_are_minted_afterwards_are_good(
    world: World,
) -> None:
    user, before = User(world.bank), world.mint()
    issued_before = datetime.now(UTC) + timedelta(seconds=1)
    said = await user.get("token", "revoke", "--everybody", "--before", f"{issued_before:%Y-%m-%dT%H:%M:%SZ}")
    assert said["everybody"]
    assert said["file"] == str(world.bank.places.revocations_file)
    assert (await _until_refused(world, before)).code() is grpc.StatusCode.UNAUTHENTICATED
    async with asyncio.timeout(30):
        while True:
            try:
                await world.ask(
                    "GetBalance", bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance"), world.mint()
                )
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED  # noqa: PT017
                await asyncio.sleep(0.1)
            else:
                return


def _id(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


@pytest.mark.parametrize("name", ["allowances", "revocations"])
async def test_a_bank_does_not_open_with_a_file_that_is_not_understood(name: str, place: Path) -> None:
    file = place / "rules.toml"
    file.write_text("anything = 1\n")
    run = await hivecore("up", "--data", place / "bank", "--port", "0", f"--{name}", file)
    assert run.status == 1
    assert f"{file}: anything is " in run.stderr
