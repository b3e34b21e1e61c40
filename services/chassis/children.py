"""Processes started from this one: waiting for their end, finding leftovers, their logs and files.

What is started and why is decided by the callers: `embedded_postgres.py` and the `hivecore`
command's supervisor. Never here: restarting anything.
"""

import asyncio
import math
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

POLL_SECONDS = 0.01
"""How often something that cannot wake us is looked at."""

LOGS_KEPT = 3


class LaunchError(Exception):
    """Something cannot be started. The message is written for the operator and says what to do."""


async def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait until a child of this process has ended, and return its exit status (-N: killed by signal N)."""
    if not hasattr(os, "pidfd_open"):
        return await _poll_for_end(process)
    if process.poll() is not None:
        return process.wait()
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:  # An old kernel, or the child ended in between.
        return await _poll_for_end(process)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def _poll_for_end(process: subprocess.Popen[bytes]) -> int:
    await until(lambda: process.poll() is not None)
    return process.wait()


async def until(condition: Callable[[], bool], seconds: float = math.inf) -> bool:
    """Wait for something that cannot wake us; False when it has not come true after `seconds`."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while not condition():
        if loop.time() >= give_up:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def end(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> int:
    """End a child: each step is a signal and the seconds to wait after it; SIGKILL follows the last."""
    for number, seconds in steps:
        if process.poll() is not None:
            break
        process.send_signal(number)
        try:
            return await asyncio.wait_for(wait(process), seconds)
        except TimeoutError:
            continue
    process.kill()
    return await wait(process)


def working_in(directory: Path) -> list[int]:
    """Give the processes whose working directory is `directory`; those we may not look at are left out.

    Empty where there is no /proc.
    """
    found = []
    wanted = str(directory.resolve())
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str((entry / "cwd").readlink()) == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def runs_with(pid: int, argument: str) -> bool:
    """Whether a living process was started with exactly this argument; a zombie has none."""
    try:
        return os.fsencode(argument) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def make_directory(directory: Path) -> None:
    """Make a directory and those above it that are missing; none that exists is touched.

    Root's are open for passing through whatever the umask is, since root hands some of what is in
    them to others; an ordinary user's are his own.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        path.chmod(0o755 if os.geteuid() == 0 else 0o700)


def open_log(log: Path) -> BinaryIO:
    """Open a log for appending, readable by its owner only."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def rotate(log: Path) -> None:
    """Move a log out of the way: NAME.log becomes NAME.log.1, and so on; the oldest is dropped."""
    for number in reversed(range(LOGS_KEPT)):
        old = log.with_name(f"{log.name}.{number}") if number else log
        if old.exists():
            old.replace(log.with_name(f"{log.name}.{number + 1}"))


def last_lines(log: Path, count: int = 12) -> str:
    """Give the end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at no moment otherwise, whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).rename(path)
