"""One owner per directory: a lock that the kernel releases when its holder dies, however it dies.

The lock is the kernel's, on an open file; the file's content only says who holds it. So a file left
behind by a killed process means nothing and needs no cleaning up.
"""

import fcntl
import os
from pathlib import Path

from services.chassis.children import LaunchError


class DirectoryLock:
    """Held by one process at a time. Not inherited by the processes that its holder starts."""

    def __init__(self, path: Path, what: str) -> None:
        """Name the lock file and, for the sentence of a refusal, what it guards."""
        self._path = path
        self._what = what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise LaunchError at once when another holds it. Taking it twice is taking it once."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise LaunchError(
                f"{self._what} in {self._path.parent} is already running (process {holder}): "
                "stop that one first, or use another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; the file stays, so that two later takers can never lock two different files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
