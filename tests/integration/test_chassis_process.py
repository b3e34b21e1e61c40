"""A service process: how it starts, how it is told to stop, what it leaves behind."""

import asyncio
import dataclasses
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import children, clients
from services.cli import channels

TINY_ROOM = str(Path(__file__).with_name("tiny_room.py"))


async def _start(*python: str, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *python, TINY_ROOM, stdin=PIPE, stderr=PIPE, env=os.environ | environment
    )


@asynccontextmanager
async def _tiny_room(tmp_path: Path, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    endpoint_file = tmp_path / "endpoint.json"
    room = await _start(HIVECORE_ENDPOINT_FILE=str(endpoint_file), SLOW_CALL_FILE=str(tmp_path / "slow"), **environment)
    try:
        assert await children.until(endpoint_file.exists, 20)
        yield room, json.loads(endpoint_file.read_text())["grpc"]
    finally:
        if room.returncode is None:
            room.kill()
        await room.communicate()


async def _exit_status(room: Process) -> int:
    async with asyncio.timeout(15):
        return await room.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_call_under_way_end_and_the_process_end_well(tmp_path: Path, number: int) -> None:
    async with _tiny_room(tmp_path) as (room, address), channels.channel(address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        under_way = asyncio.ensure_future(stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=2), timeout=20))
        assert await children.until((tmp_path / "slow").exists, 10)
        room.send_signal(number)
        assert (await under_way).last_sequence == room.pid
        assert await _exit_status(room) == 0


async def test_a_process_stops_when_its_parent_is_gone(tmp_path: Path) -> None:
    async with _tiny_room(tmp_path, HIVECORE_STOP_WITH_PARENT="1") as (room, _):
        room.stdin.close()
        assert await _exit_status(room) == 0


async def test_a_frozen_process_is_noticed_by_its_silence_and_another_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = dataclasses.replace(clients.PATIENCE, silent_seconds_max=0.3, answer_seconds_max=0.2)
    monkeypatch.setattr(clients, "PATIENCE", hurried)
    request = ledger_pb2.GetShardStatusRequest(shard_id=1)
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        place.mkdir()
    async with _tiny_room(places[0]) as (first, first_address), _tiny_room(places[1]) as (second, second_address):
        client = clients.LedgerClient(1, [first_address, second_address])
        assert (await client.call("GetShardStatus", request, deadline_seconds=5)).last_sequence == first.pid
        first.send_signal(signal.SIGSTOP)
        assert (await client.call("GetShardStatus", request, deadline_seconds=10)).last_sequence == second.pid
        await client.close()


async def test_a_process_not_asked_to_stop_with_its_parent_lives_on(tmp_path: Path) -> None:
    async with _tiny_room(tmp_path) as (room, address), channels.channel(address) as channel:
        room.stdin.close()
        stub = ledger_pb2_grpc.LedgerStub(channel)
        answer = await stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=1), timeout=10)
        assert answer.last_sequence == room.pid


@pytest.mark.parametrize(
    ("python", "environment", "sentence"),
    [
        (["-O"], {}, "never run the bank with python -O"),
        ([], {"HIVECORE_LISEN": "127.0.0.1:0"}, "HIVECORE_LISEN is not a setting: did you mean HIVECORE_LISTEN?"),
        ([], {"HIVECORE_LISTEN": "203.0.113.1:1"}, "cannot listen on 203.0.113.1:1"),
        ([], {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}, "the bank needs 'upb'"),
    ],
)
async def test_a_process_that_must_not_start_says_why_and_fails(
    python: list[str], environment: dict[str, str], sentence: str
) -> None:
    room = await _start(*python, **environment)
    _, spoken = await room.communicate()
    assert room.returncode == 1
    assert sentence in spoken.decode()
    assert "Traceback" not in spoken.decode()


async def test_the_log_is_json_with_the_process_named_on_every_line(tmp_path: Path) -> None:
    async with _tiny_room(tmp_path, HIVECORE_INSTANCE="tiny-7") as (room, address):
        room.terminate()
        _, spoken = await room.communicate()
    lines = [json.loads(line) for line in spoken.decode().splitlines()]
    assert [line["event"] for line in lines] == ["listening", "stopping"]
    assert {(line["service"], line["instance"], line["address"]) for line in lines} == {("tiny", "tiny-7", address)}
