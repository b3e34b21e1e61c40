"""A machine's place for one process, whatever runs there.

Never here: which hosts a bank has (`bank.py`), what happens to them (`faults.py`).
"""

import asyncio
from typing import TYPE_CHECKING, Any

from simulation.loop import Process

if TYPE_CHECKING:
    from simulation.bank import Bank


class Host:
    """A machine's place for one process, which may die and be started again."""

    def __init__(self, bank: "Bank", name: str) -> None:
        self.bank = bank
        self.name = name
        self.process: Process | None = None
        self.starts = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.skew_us = 0

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.is_alive

    def start(self) -> None:
        """Start the process."""
        assert not self.is_up
        self.starts += 1
        self.process = self.bank.loop.process(f"{self.name}.{self.starts}", self.name)
        self.process.skew_us = self.skew_us
        self.tasks = [self.process.start(self.main(self.process))]
        self.tasks[0].add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        """Let nobody's bug pass for a host that is away."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.bank.network.is_over:
            self.bank.loop.fail(error)

    async def main(self, process: Process) -> None:
        """Run."""
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def jump(self, seconds: float) -> None:
        """Set the clock."""
        self.skew_us += round(seconds * 1_000_000)
        if self.process is not None:
            self.process.skew_us = self.skew_us
