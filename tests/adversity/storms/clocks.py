"""Clocks of services that jump while they run, by libfaketime; the services know nothing of it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


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


def library() -> str | None:
    """Find the library that the `faketime` on PATH loads; None where there is none."""
    program = shutil.which("faketime")
    if program is None:
        return None
    told = subprocess.run(
        [program, "-f", "+0", "env"], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    for line in told.stdout.splitlines():
        if line.startswith("LD_PRELOAD="):
            return line.partition("=")[2].split(":")[-1]
    return None
