"""Keeps parts of a bank running: starts them in stages, again when one dies, and stops them in reverse.

What a part is made of is the part's own business: `ProgramPart` is a child process from a
description, PostgreSQL brings its own. Never here: which parts there are (`topology.py`) and what
they are for.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from services.chassis import children
from services.chassis.children import LaunchError
from services.cli.topology import Program

PAUSE_SECONDS_MIN: Final = 0.1
PAUSE_SECONDS_MAX: Final = 5.0
HEALTHY_SECONDS: Final = 30.0
"""A part that lived this long died of something new: the next pause is the shortest again."""

STOP_SECONDS_MAX: Final = 30.0
"""Patience with a service: longer than it drains and the grace it gives to calls under way."""

assert PAUSE_SECONDS_MIN < PAUSE_SECONDS_MAX < HEALTHY_SECONDS


def next_pause(before_seconds: float, lived_seconds: float) -> float:
    """How long to wait before starting a part again that died after `lived_seconds`; `before` is the pause before."""
    if before_seconds == 0 or lived_seconds >= HEALTHY_SECONDS:
        return PAUSE_SECONDS_MIN
    return min(before_seconds * 2, PAUSE_SECONDS_MAX)


class Part(Protocol):
    """Something that runs, may die, and can be started again."""

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""

    async def start(self) -> None:
        """Start it, also after it died. Raises LaunchError."""

    async def wait(self) -> int:
        """Wait until it ends and return its exit status; at once when it does not run."""

    async def stop(self) -> None:
        """Stop it cleanly; not an error when it does not run."""


class ProgramPart:
    """A Python child process made from its description.

    Its standard input is a pipe that nobody writes to: its end tells the child that this process is
    gone, even when that was killed.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Start the process; it says in its endpoint file when it listens."""
        await self._forget()
        program = self.program
        program.endpoint_file.unlink(missing_ok=True)
        try:
            self._process = self._spawn()
        except OSError as error:
            raise LaunchError(f"{program.name} cannot be started: {error}") from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        with children.open_log(program.log) as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, *program.arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=program.endpoint_file.parent,
                env=dict(program.environment),
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait until the process has ended."""
        return await children.wait(self._process) if self._process is not None else 0

    async def stop(self) -> None:
        """Ask it to stop, and insist when it does not."""
        if self._process is not None:
            await children.end(self._process, (signal.SIGTERM, STOP_SECONDS_MAX))
            await self._forget()

    async def _forget(self) -> None:
        if self._process is not None:
            await children.end(self._process)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None


class Supervisor:
    """Runs parts, by name, in stages. `say` gets one sentence per event, `changed` is called when a process changes."""

    def __init__(
        self,
        stages: Sequence[Mapping[str, Part]],
        *,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._stages = [dict(stage) for stage in stages]
        self._parts = {name: part for stage in stages for name, part in stage.items()}
        assert len(self._parts) == sum(map(len, stages)), "two parts share a name"
        self._say = say
        self._changed = changed
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Condition()
        self.deaths = dict.fromkeys(self._parts, 0)
        """How often each part has died by itself."""

    @property
    def pids(self) -> dict[str, int | None]:
        """The process of every part; None while it is down."""
        return {name: part.pid for name, part in self._parts.items()}

    async def start(self) -> None:
        """Start all parts, stage by stage, and watch them from then on. Raises LaunchError with all stopped again."""
        try:
            for stage in self._stages:
                for name, part in stage.items():
                    await part.start()
                    self._watches[name] = asyncio.create_task(self._watch(name, part))
                    self._watches[name].add_done_callback(partial(self._watch_ended, name))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all parts, the last stage first; the parts of one stage together."""
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        self._watches.clear()
        for stage in reversed(self._stages):
            await asyncio.gather(*(part.stop() for part in stage.values()))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a part and return the process it had; it will be started again. LookupError when it is down."""
        pid = self._parts[name].pid
        if pid is None:
            raise LookupError(f"{name} is not running")
        os.kill(pid, number)
        return pid

    async def wait_replaced(self, name: str, pid: int) -> int:
        """Wait until a part has another process than `pid`, and return that."""
        async with self._news:
            while (fresh := self._parts[name].pid) is None or fresh == pid:
                await self._news.wait()
            return fresh

    async def _watch(self, name: str, part: Part) -> None:
        """Start a part again whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        started = loop.time()
        while True:
            status = await part.wait()
            self.deaths[name] += 1
            pause = next_pause(pause, loop.time() - started)
            self._say(f"{name} ended ({ending(status)}); starting it again in {pause:.1f} s")
            await self._tell()
            await asyncio.sleep(pause)
            started = loop.time()
            try:
                await part.start()
            except LaunchError as error:
                self._say(f"{name}: {error}")
                continue
            self._say(f"{name} runs again (process {part.pid})")
            await self._tell()

    def _watch_ended(self, name: str, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._say(f"{name} is no longer watched: {error!r}")

    async def _tell(self) -> None:
        self._changed()
        async with self._news:
            self._news.notify_all()


def ending(status: int) -> str:
    """Put an exit status into words."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
