"""Workers in processes of their own that start together and hand back what they saw.

Processes are spawned, not forked: gRPC does not survive a fork. Never here: what the work is.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, Protocol, TypeVar

import uvloop

HEAD_START_SECONDS: Final = 0.05
"""Between the word to start and the start, so that all processes start together."""

Part_contra = TypeVar("Part_contra", contravariant=True)
Part = TypeVar("Part")
Seen_co = TypeVar("Seen_co", covariant=True)
Seen = TypeVar("Seen")


class CrewFailed(Exception):
    """A process ended without a result; its reason is on standard error."""


class Worker(Protocol[Seen_co]):
    """One process's work."""

    async def connect(self) -> None:
        """Get ready."""

    async def run(self, begin: float) -> None:
        """Work, from `begin` of the monotonic clock on."""

    def seen(self) -> Seen_co:
        """Give what goes back to the parent."""


class Trade(Protocol[Part_contra, Seen_co]):
    """Makes a worker of its part; importable by name, since it goes to other processes."""

    def __call__(self, part: Part_contra, /) -> Worker[Seen_co]:
        """Make it."""


class Crew(Generic[Part, Seen]):
    """One worker for each part; a context, in which they are ready to start."""

    def __init__(self, trade: Trade[Part, Seen], parts: Sequence[Part]) -> None:
        """Start the processes and wait until all are ready. Raises CrewFailed."""
        context = get_context("spawn")
        self._stack = ExitStack()
        self._lines: list[Connection] = []
        self.pids: list[int] = []
        with ExitStack() as stack:
            for part in parts:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, trade), daemon=True)
                process.start()
                stack.callback(process.join)
                stack.callback(ours.close)
                theirs.close()
                ours.send(part)
                self._lines.append(ours)
                self.pids.append(process.pid or 0)
            for line in self._lines:
                _receive(line)
            self._stack = stack.pop_all()

    def __enter__(self) -> "Crew[Part, Seen]":
        """They are ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until they have ended; those that wait for a word end without it."""
        self._stack.close()

    def run(self, edges: Sequence[float] = (), at_edges: Callable[[], None] = lambda: None) -> list[Seen]:
        """Let them work; return what each saw.

        `at_edges` is called so many seconds after the start as `edges` say. Raises CrewFailed.
        """
        begin = time.monotonic() + HEAD_START_SECONDS
        for line in self._lines:
            line.send(begin)
        for edge in edges:
            time.sleep(max(0.0, begin + edge - time.monotonic()))
            at_edges()
        return [_receive(line) for line in self._lines]


def _receive(line: Connection) -> Any:
    try:
        return line.recv()
    except EOFError as error:
        raise CrewFailed("a load generator ended without a result") from error


def _work(line: Connection, trade: Trade[Any, Any]) -> None:
    """Be one process: take the part, say when ready, start when told, send what was seen."""
    worker = trade(line.recv())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.connect())
        # What is remembered of every transfer grows during the run; looking for cycles in it would stop the clock.
        gc.collect()
        gc.disable()
        line.send(None)
        try:
            begin: float = line.recv()
        except EOFError:
            return
        runner.run(worker.run(begin))
    line.send(worker.seen())
