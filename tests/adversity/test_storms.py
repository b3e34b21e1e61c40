"""A short storm over a whole bank, and that what makes storms does what it says."""

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from storms import clocks
from storms.proxy import HOST, Proxy, Weather
from storms.schedule import Kind, Targets, schedule

from services.chassis import metrics
from services.chassis import postgres as chassis_postgres
from services.chassis.embedded_postgres import EmbeddedPostgres

SECONDS = 40
SEED = 24
"""Two clocks jump in it."""

HERE = Path(__file__).parent

TARGETS = Targets(
    processes=("postgres", "account", "ledger-1", "gateway"),
    ledgers=("ledger-1",),
    shards=(1,),
    connections=("gateway>ledger-1", "ledger-1>postgres"),
)


def test_a_bank_weathers_a_storm_with_nothing_lost_doubled_or_left_open(tmp_path: Path) -> None:
    output = tmp_path / "storm.json"
    command = [sys.executable, "-m", "storms", f"--seconds={SECONDS}", f"--seed={SEED}", f"--output={output}"]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(output.read_text())
    assert told["violations"] == []
    assert told["audited_transfers"] + told["transfers_given_up"] == told["transfers"] > 0
    assert sum(told["faults"].values()) >= 3
    if Kind.CLOCK_JUMP not in told["left_out"]:
        assert len(told["clock_jumps_seen_seconds"]) == told["faults"][Kind.CLOCK_JUMP] >= 1


def test_a_storm_is_the_same_for_the_same_seed_and_brings_every_kind_of_fault() -> None:
    first, again, other = (list(islice(schedule(seed, TARGETS), 40)) for seed in (7, 7, 8))
    assert first == again != other
    assert {fault.kind for strike in first for fault in strike.faults} == set(Kind)


def test_what_a_machine_cannot_do_does_not_strike() -> None:
    able = Targets(**{**{each: getattr(TARGETS, each) for each in TARGETS.__slots__}, "kinds": frozenset({Kind.KILL})})
    assert {fault.kind for strike in islice(schedule(7, able), 20) for fault in strike.faults} == {Kind.KILL}


def test_where_there_is_a_wheel_of_it_clocks_can_jump(tmp_path: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("libfaketime has a wheel for Linux on x86-64 only")
    assert clocks.library(tmp_path) is not None


def test_a_clock_jumps_while_its_process_runs_and_the_monotonic_one_goes_on(tmp_path: Path) -> None:
    library = clocks.library(tmp_path) or pytest.skip(clocks.MISSING)
    times = clocks.Clocks(tmp_path, ["process"])
    command = [
        sys.executable,
        "-c",
        "import time\nwhile input(): print(time.time_ns(), time.monotonic_ns(), flush=True)",
    ]
    environment = {**os.environ, **times.environment("process", library)}
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for ahead in (0.0, 7200.0, -7200.0, 0.0):
            times.set("process", ahead)
            process.stdin.write("and now?\n")
            process.stdin.flush()
            told, monotonic = (int(each) / 1e9 for each in process.stdout.readline().split())
            assert told - time.time() == pytest.approx(ahead, abs=5)
            assert monotonic == pytest.approx(time.monotonic(), abs=5)
        process.stdin.write("\n")
        process.stdin.flush()


async def test_a_service_that_does_not_tell_the_wrong_time_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "LOOK_SECONDS_MAX", 0.5)
    with metrics.exposed(f"{HOST}:0") as address:
        await clocks.expect_away(address, 0)
        with pytest.raises(TimeoutError):
            await clocks.expect_away(address, 60)


Ask = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[tuple[Proxy, str, list[bytes]]]:
    """Serve whatever comes back to whoever sent it, behind a proxy; keep what has arrived."""
    arrived: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            arrived.append(line)
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy(lambda: server.sockets[0].getsockname()[:2])
    address = proxy.bind()
    try:
        async with proxy:
            yield proxy, address, arrived
    finally:
        server.close()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Ask]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def ask(line: bytes) -> bytes:
        writer.write(line)
        return await reader.readline()

    try:
        yield ask
    finally:
        writer.transport.abort()


async def arrives(arrived: list[bytes], line: bytes) -> None:
    async with asyncio.timeout(10):
        while line not in arrived:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "request_arrives"),
    [(Kind.ANSWERS_LOST, True), (Kind.REQUESTS_LOST, False), (Kind.HALF_CLOSED, True), (Kind.CUT, False)],
)
async def test_the_proxy_breaks_connections_in_one_direction_or_both_and_new_ones_are_well_afterwards(
    kind: Kind, request_arrives: bool
) -> None:
    async with echo_behind_proxy() as (proxy, address, arrived):
        async with connected(address) as ask:
            assert await ask(b"before\n") == b"before\n"
            proxy.begin(Weather(kind))
            asking = asyncio.create_task(ask(b"meanwhile\n"))
            if request_arrives:
                await arrives(arrived, b"meanwhile\n")
            elif kind is Kind.REQUESTS_LOST:
                async with connected(address) as other:
                    assert await asyncio.wait_for(_silence(other), 10)
            proxy.calm()
            with suppress(ConnectionError):
                assert await asyncio.wait_for(asking, 10) == b""
        assert (b"meanwhile\n" in arrived) == request_arrives
        async with connected(address) as ask:
            assert await ask(b"after\n") == b"after\n"


async def _silence(ask: Ask) -> bool:
    """Tell whether nothing is answered for a while."""
    try:
        await asyncio.wait_for(ask(b"anybody?\n"), 0.2)
    except TimeoutError:
        return True
    return False


async def test_the_proxy_delays_without_losing_anything() -> None:
    async with echo_behind_proxy() as (proxy, address, _), connected(address) as ask:
        loop = asyncio.get_running_loop()
        proxy.begin(Weather(Kind.DELAYED, seconds=0.1))
        began = loop.time()
        assert await ask(b"slowly\n") == b"slowly\n"
        assert loop.time() - began >= 0.2
        proxy.calm()
        assert await ask(b"soon\n") == b"soon\n"


async def test_a_statement_whose_answer_never_comes_is_given_up_and_its_connection_with_it(
    postgres: EmbeddedPostgres, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_postgres, "ANSWER_SECONDS", 0.5)
    there = Path(unquote(parse_qs(urlsplit(postgres.dsn("postgres")).query)["host"][0]))
    proxy = Proxy(lambda: there / f".s.PGSQL.{postgres.port}")
    proxy.bind_unix(place / ".s.PGSQL.5432")
    async with proxy:
        dsn = f"postgresql://postgres@/postgres?host={place}&port=5432"
        connection = await chassis_postgres.connect(dsn, application="test", statement_seconds=1)
        assert await connection.fetchval("SELECT 1") == 1
        proxy.begin(Weather(Kind.ANSWERS_LOST))
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError) as given_up:
                await connection.fetchval("SELECT 1")
        assert chassis_postgres.is_connection_lost(given_up.value)
        connection.terminate()
