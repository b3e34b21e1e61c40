"""Clocks of services that jump while they run, by libfaketime; the services know nothing of it.

A jump counts as seen when the service itself tells the wrong time, in the date of an answer of its metrics.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

PACKAGE = "libfaketime"
"""Among what the tests need, where there is a wheel of it."""
LIBRARY = "libfaketime.so.1"
MISSING = "no libfaketime moves a clock here (make venv brings it on Linux x86-64; Debian: apt install faketime)"

SHARED_MEMORY = Path("/dev/shm")
LEFT_BEHIND = ("faketime_shm_", "sem.faketime_sem_")

TRIED_SECONDS = 86_400.0
OFF_SECONDS_MAX = 5.0
"""A date has whole seconds, and a busy machine takes its time to answer."""
LOOK_SECONDS_MAX = 30.0

TELL_TIME = "import time; print(time.time(), time.monotonic())"


class Clocks:
    """A clock for each process, set by a file that libfaketime reads again at every look."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)
        for name in names:
            self.set(name, 0)

    def set(self, name: str, seconds: float) -> None:
        """Let a clock be so many seconds ahead of the true time."""
        fresh = self._directory / f"{name}.new"
        fresh.write_text(f"{seconds:+.3f}\n")
        fresh.chmod(0o644)
        fresh.replace(self._file(name))

    def environment(self, name: str, library: str) -> dict[str, str]:
        """Give what a process is started with. Only the time of day moves: the monotonic clock never jumps."""
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    def _file(self, name: str) -> Path:
        return self._directory / name


def library(place: Path) -> str | None:
    """Find a libfaketime that does on this machine what it says, tried in a directory; None where there is none."""
    return next((each for each in _installed() if _moves_clocks(each, place)), None)


def _installed() -> Iterator[str]:
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files(PACKAGE) or ():
            if file.name == LIBRARY:
                yield str(file.locate())
    program = shutil.which("faketime")
    if program is None:
        return
    told = subprocess.run(
        [program, "-f", "+0", "env"], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    for line in told.stdout.splitlines():
        if line.startswith("LD_PRELOAD="):
            yield line.partition("=")[2].split(":")[-1]


def _moves_clocks(library: str, place: Path) -> bool:
    clocks = Clocks(place, ["tried"])
    clocks.set("tried", TRIED_SECONDS)
    environment = {**os.environ, **clocks.environment("tried", library)}
    told = subprocess.run(
        [sys.executable, "-c", TELL_TIME], capture_output=True, text=True, check=False, env=environment
    )
    if told.returncode != 0:
        return False
    moved, steady = map(float, told.stdout.split())
    off = moved - time.time() - TRIED_SECONDS, steady - time.monotonic()
    return all(abs(seconds) < OFF_SECONDS_MAX for seconds in off)


async def expect_away(metrics: str, seconds: float) -> None:
    """Ask a service for the time, until it tells one that is so many seconds ahead. Raises TimeoutError."""
    async with asyncio.timeout(LOOK_SECONDS_MAX):
        while True:
            with suppress(OSError, EOFError):
                told = await _told(metrics)
                if abs(told - time.time() - seconds) < OFF_SECONDS_MAX:
                    return
            await asyncio.sleep(0.05)


async def _told(metrics: str) -> float:
    host, _, port = metrics.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()
    (date,) = (line[6:] for line in head.decode().splitlines() if line.lower().startswith("date: "))
    return parsedate_to_datetime(date).timestamp()


def sweep() -> None:
    """Remove what libfaketime keeps in shared memory for processes that were killed."""
    for prefix in LEFT_BEHIND:
        for each in SHARED_MEMORY.glob(f"{prefix}*"):
            if not Path(f"/proc/{each.name.removeprefix(prefix)}").exists():
                with suppress(OSError):
                    each.unlink()
