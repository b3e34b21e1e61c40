"""`hivecore up` itself dies by SIGKILL in the middle of traffic, and is started again on the same directory."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import crowd
from banks import Noticed, directory
from crowd import Place

from services.chassis import children
from services.cli import tokens
from services.cli.topology import Places

FEW = 150
PATIENCE_SECONDS = 60.0
SHARDS = 4


def command(data: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "services.cli", "up", "--json"),
        *("--data", str(data), "--port", "0", "--shards", str(SHARDS)),
    ]


@contextmanager
def started(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `hivecore up` in a process of its own for the length of the context."""
    with subprocess.Popen(command(data), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def up(data: Path) -> AsyncIterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run `hivecore up`; give it once the bank is open, with what it printed."""
    with started(data) as process:
        yield process, json.loads(await asyncio.to_thread(read_object, process))


def read_object(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return "".join(iter(process.stdout.readline, "}\n")) + "}"


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie, which only waits to be looked at, does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def described(data: Path, said: dict[str, Any]) -> Place:
    token = tokens.development_token(Places(data).jwt_secret_file)
    shard_dsns = {int(shard_id): dsn for shard_id, dsn in said["shard_dsns"].items()}
    return Place(said["gateway"], said["account"], token, said["control_dsn"], shard_dsns)


async def close(process: subprocess.Popen[str]) -> int:
    """Stop `hivecore up` as Ctrl-C does, and give its exit status."""
    process.send_signal(signal.SIGINT)
    return await asyncio.to_thread(process.wait, PATIENCE_SECONDS)


async def test_a_bank_whose_up_is_killed_ends_whole_and_goes_on_where_it_was(noticed: Noticed) -> None:
    with directory() as place:
        data = place / "bank"
        async with AsyncExitStack() as runs:
            first, said = await runs.enter_async_context(up(data))
            people = await runs.enter_async_context(crowd.opened(described(data, said)))
            async with people.storm() as storm:
                await storm.everywhere(FEW)
                second = await asyncio.to_thread(subprocess.run, command(data), capture_output=True, check=False)
                assert second.returncode == 1
                await storm.everywhere(FEW)
                storm.mark()
                assert storm.under_way
                first.kill()
                assert await children.until(lambda: not any(map(lives, said["processes"].values())), PATIENCE_SECONDS)
                third, said_now = await runs.enter_async_context(up(data))
                assert said_now["gateway"] == said["gateway"]
                await storm.everywhere(FEW)
                noticed.since_mark(storm)
            await people.expect_sound_books()
            assert await close(third) == 0
