"""`hivecore up` as its user meets it: opens, refuses a second one, closes, and comes back after any death."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis import children
from services.chassis.children import LaunchError
from services.cli import channels, health
from services.cli.bank import Bank
from services.cli.topology import BankOptions, Places

PATIENCE_SECONDS = 60


def command(data: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "services.cli", "up", "--data", str(data), "--port", "0", "--json", *more]


@contextmanager
def up(data: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run `hivecore up` in a process of its own; give it once the bank is open, with what it printed."""
    with subprocess.Popen(command(data, "--shards", "1"), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        finally:
            process.kill()


async def is_serving(address: str) -> bool:
    channel = channels.channel(address)
    try:
        return await health.serves(channel)
    finally:
        await channel.close()


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be looked at, does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.fixture
def data(place: Path) -> Path:
    return place / "bank"


async def test_one_command_opens_a_bank_and_a_signal_closes_it(data: Path) -> None:
    with up(data) as (process, said):
        assert said == json.loads(Places(data).bank_file.read_text())
        assert await is_serving(said["gateway"])
        assert set(said["processes"]) == {"postgres", "account", "ledger-1", "gateway"}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0
    assert not Places(data).bank_file.exists()
    assert not any(lives(pid) for pid in said["processes"].values())
    assert "database system is shut down" in (data / "logs" / "postgres.log").read_text()


async def test_a_second_up_on_the_same_directory_is_refused_and_disturbs_nothing(data: Path) -> None:
    with up(data) as (process, said):
        second = await asyncio.to_thread(subprocess.run, command(data), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"a bank in {data} is already running (process {process.pid})" in second.stderr
        assert second.stdout == ""
        assert await is_serving(said["gateway"])
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0


async def test_a_bank_whose_up_was_killed_opens_again_at_once_at_the_same_addresses(data: Path) -> None:
    with up(data) as (process, said):
        process.send_signal(signal.SIGKILL)
        process.wait()
        async with Bank.open(BankOptions(data=data, port=0)) as bank:
            assert not any(lives(pid) for pid in said["processes"].values())
            assert bank.shape.shards == 1
            assert (bank.gateway, bank.topology.account) == (said["gateway"], said["account"])


async def test_without_a_new_one_the_processes_of_a_killed_up_stop_by_themselves(data: Path) -> None:
    with up(data) as (process, said):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert await children.until(lambda: not any(map(lives, said["processes"].values())), PATIENCE_SECONDS)


@pytest.fixture
async def bank(data: Path) -> AsyncIterator[Bank]:
    async with Bank.open(BankOptions(data=data, port=0, shards=1, standbys=1)) as bank:
        yield bank


async def test_whatever_is_killed_comes_back_and_the_gateway_serves_again(bank: Bank) -> None:
    assert set(bank.processes) == {"postgres", "account", "ledger-1", "ledger-1-standby-1", "gateway"}
    for name in bank.processes:
        killed = bank.kill(name)
        async with asyncio.timeout(PATIENCE_SECONDS):
            fresh = await bank.wait_replaced(name, killed)
            await bank.wait_serving()
        assert json.loads(bank.places.bank_file.read_text())["processes"][name] == fresh != killed
    assert set(bank.deaths.values()) == {1}


async def test_a_taken_port_is_said(bank: Bank, place: Path) -> None:
    taken = int(bank.gateway.rpartition(":")[2])
    with pytest.raises(LaunchError, match=f"port {taken} is taken: choose another with --port"):
        async with Bank.open(BankOptions(data=place / "other", port=taken)):
            pass


async def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(place: Path) -> None:
    options = BankOptions(data=place / "bank", port=0, shards=1, settings={"gateway": {"HIVECORE_LISTNE": "1"}})
    with pytest.raises(LaunchError, match=r"gateway does not stay up(.|\n)*HIVECORE_LISTNE is not a setting"):
        async with Bank.open(options):
            pass
    assert not children.working_in(Places(options.data).run)
    assert not (Places(options.data).postgres / "data" / "postmaster.pid").exists()


async def fail_in(data: Path, pids: list[int | None]) -> None:
    async with Bank.open(BankOptions(data=data, port=0, shards=1)) as bank:
        pids.extend(bank.processes.values())
        raise ZeroDivisionError


async def test_the_bank_is_closed_when_its_user_fails(data: Path) -> None:
    pids: list[int | None] = []
    with pytest.raises(ZeroDivisionError):
        await fail_in(data, pids)
    assert len(pids) == 4
    assert not any(map(lives, pids))
