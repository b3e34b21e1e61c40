"""A bank for a load test: found by its data directory, or opened by `hivecore up` for the length of a run.

The bank is only ever started, asked and stopped through its command line, as any operator would.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loadtest.client import CHANNEL_OPTIONS, Access

OPEN_SECONDS_MAX: Final = 180.0
STOP_SECONDS_MAX: Final = 60.0
HEALTH_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.1
SHARDS_DEFAULT: Final = 4


class BankFailed(Exception):
    """There is no bank, or its command line failed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class OpenBank:
    """An open bank on this machine, as its `bank.json` describes it."""

    data: Path
    gateway: str
    """host:port."""
    account: str
    """The account service, host:port."""
    dsn: str
    """Its control database."""
    shard_dsns: tuple[str, ...]
    """In the order of the shards."""
    pids_by_part: Mapping[str, tuple[int, ...]]
    """gateway, account, ledger, postgres."""
    pids: Mapping[str, int]
    """Those of the processes that are up, by name."""
    metrics: Mapping[str, str]
    """Where each process shows its metrics (host:port), by name."""

    @property
    def shards(self) -> int:
        """How many shards it has."""
        return len(self.shard_dsns)


def find(data: Path) -> OpenBank:
    """Read about the bank that is open in a data directory. Raises BankFailed."""
    try:
        content = json.loads((data / "bank.json").read_text())
        pids: dict[str, tuple[int, ...]] = {}
        for name, pid in content["processes"].items():
            part = name.partition("-")[0]
            pids[part] = (*pids.get(part, ()), *([pid] if pid else []))
        return OpenBank(
            data,
            content["gateway"],
            content["account"],
            content["control_dsn"],
            tuple(dsn for _, dsn in sorted(content["shard_dsns"].items(), key=lambda item: int(item[0]))),
            pids,
            {name: pid for name, pid in content["processes"].items() if pid},
            content["metrics"],
        )
    except FileNotFoundError as error:
        raise BankFailed(f"no bank is open in {data}: open it with `hivecore up --data {data}`") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BankFailed(f"{data / 'bank.json'} is not readable: {error!r}") from error


def hivecore(*arguments: str) -> tuple[int, str, str]:
    """Run a `hivecore` command; return its exit status, standard output and standard error."""
    done = subprocess.run([_program(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode, done.stdout, done.stderr


def mint_token(data: Path | None) -> str:
    """Mint a token for the bank of a data directory, or for this user's own bank. Raises BankFailed."""
    status, said, complaint = hivecore("token", "--json", *(["--data", str(data)] if data else []))
    if status != 0:
        raise BankFailed(f"no token was minted: {complaint.strip()}")
    token: str = json.loads(said)["token"]
    return token


def access(data: Path) -> Access:
    """Find the gateway of a bank and mint a token for it. Raises BankFailed."""
    return Access(find(data).gateway, mint_token(data))


@contextmanager
def opened(data: Path, *, shards: int = SHARDS_DEFAULT, standbys: int = 0) -> Iterator[OpenBank]:
    """Open a bank for the length of the context; what it says goes to a file beside `data`. Raises BankFailed."""
    log = data.with_name(f"{data.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [_program(), "up", "--data", str(data), "--port", "0"]
    command += ["--shards", str(shards), "--standbys", str(standbys)]
    with log.open("wb") as output:
        # Its own session: Ctrl-C here must reach it once, from us.
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield _wait_open(process, data, log)
    finally:
        _stop(process)


def remove(data: Path) -> None:
    """Remove a bank's data directory, and nothing else. Raises BankFailed."""
    if data.exists():
        if any(data.iterdir()) and not (data / "lock").exists():
            raise BankFailed(f"{data} is not a bank's directory, so it is not removed")
        shutil.rmtree(data)


def _wait_open(process: subprocess.Popen[bytes], data: Path, log: Path) -> OpenBank:
    give_up = time.monotonic() + OPEN_SECONDS_MAX
    while not (data / "bank.json").exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise BankFailed(f"the bank did not open; what it said:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_SECONDS)
    bank = find(data)
    with grpc.insecure_channel(bank.gateway, options=CHANNEL_OPTIONS) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS_MAX, wait_for_ready=True)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise BankFailed("the gateway says that it does not serve")
    return bank


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        # The services stop by themselves when their supervisor is gone.
        process.kill()
        process.wait()


def _program() -> str:
    beside = Path(sys.executable).with_name("hivecore")
    found = str(beside) if beside.is_file() else shutil.which("hivecore")
    if found is None:
        raise BankFailed("the command `hivecore` is not installed")
    return found
