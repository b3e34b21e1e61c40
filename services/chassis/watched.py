"""A file that may change while a process runs: read at the start, and again when it has changed.

What is in force is always a whole, well-formed file: a damaged or missing one leaves the one before.
Never here: what the file says, or certificates (`identity.py`: several files that must fit together).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from services.chassis import logs, metrics
from services.chassis.settings import SettingsError

LOOK_SECONDS: Final = 1.0
"""A file is looked at no more often than this."""

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A larger file is a mistake; reading it again would hold up every call meanwhile."""

T = TypeVar("T")

_log = logs.get(__name__)


class WatchedFile(Generic[T]):
    """What a file says, as of at most `LOOK_SECONDS` before the last `look`."""

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        name: str,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file; `parse` raises `ValueError` with a sentence about what is wrong with it.

        `name` tells it from others in logs and metrics. Raises `SettingsError` when it cannot be used.
        """
        self._path = path
        self._parse = parse
        self._name = name
        self._now = now
        self._looked_at = now()
        self._in_force = metrics.FILE_IN_FORCE.labels(name)
        self._stamp = self._stamped()
        try:
            self.value = parse(self._read())
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(f"{path}: {error}") from None
        self._in_force.set(1)
        self.version = 1
        """Grows when another text is in force."""

    def look(self) -> int:
        """Take a changed file in, if it is time to look; return the version in force."""
        now = self._now()
        if now - self._looked_at < LOOK_SECONDS:
            return self.version
        self._looked_at = now
        stamp = self._stamped()
        if stamp == self._stamp:
            return self.version
        self._stamp = stamp
        try:
            self.value = self._parse(self._read())
        except (OSError, ValueError) as error:
            # Not the sentence of the parser: it may quote the file, and the file may be a secret.
            self._in_force.set(0)
            _log.error("file_refused", file=self._name, error=type(error).__name__, version=self.version)
        else:
            self.version += 1
            self._in_force.set(1)
            _log.info("file_in_force", file=self._name, version=self.version)
        return self.version

    def _stamped(self) -> tuple[int, int, int] | None:
        """Tell a file's text from another of it; None while there is none."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> bytes:
        if self._stamp is not None and self._stamp[2] > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX:,} bytes")
        return self._path.read_bytes()


class Unwatched(Generic[T]):
    """What stands as it is for as long as the process runs, where a `WatchedFile` could be."""

    version: Final = 1

    def __init__(self, value: T) -> None:
        self.value = value

    def look(self) -> int:
        """Return the only version."""
        return self.version


Watched = WatchedFile[T] | Unwatched[T]
