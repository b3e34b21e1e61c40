"""Flame graphs of running processes, drawn by py-spy without stopping them.

Never here: the load.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SAMPLES_PER_SECOND: Final = 200
STOP_SECONDS_MAX: Final = 60.0


def find_program() -> Path:
    """Find py-spy beside this Python, or on the path. Raises FileNotFoundError."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.is_file() else shutil.which("py-spy")
    if found is None:
        raise FileNotFoundError("py-spy is not here: pip install 'hivecore[loadtest]'")
    return Path(found)


@dataclass(slots=True)
class Flames:
    """Recordings under way, one for each process."""

    directory: Path
    seconds: int
    _recording: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, pids: Mapping[str, int]) -> None:
        """Begin to record processes, by name."""
        self.directory.mkdir(parents=True, exist_ok=True)
        program = find_program()
        for name, pid in pids.items():
            file = self.directory / f"{name}.svg"
            file.unlink(missing_ok=True)
            options = ("record", "--nonblocking", "--rate", str(SAMPLES_PER_SECOND), "--duration", str(self.seconds))
            self._recording[name] = subprocess.Popen(  # noqa: S603
                [program, *options, "--pid", str(pid), "--output", file],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def finish(self) -> dict[str, str]:
        """Wait until all are drawn; give for each process its picture, or why there is none."""
        told = {}
        for name, process in self._recording.items():
            try:
                said, _ = process.communicate(timeout=self.seconds + STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
            file = self.directory / f"{name}.svg"
            lines = [line for line in said.splitlines() if line.strip()]
            told[name] = str(file) if file.exists() else f"no picture: {lines[-1] if lines else 'py-spy said nothing'}"
        return told
