"""Virtual time and chosen order: an event loop that does nothing by itself.

Every simulated process is a queue of its own, and its callbacks run in the order in which asyncio would run
them; which process runs next is drawn from the seed. Time stands still while anything can run and then
jumps to the next timer. There is no I/O. Never here: what the processes do.
"""

import asyncio
import heapq
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from random import Random
from typing import Any

EPOCH_US = 1_767_225_600_000_000
"""2026-01-01 UTC: when every simulation begins, in microseconds since 1970."""

STEPS_MAX = 500_000
"""Ten times what a long simulation needs."""

PROCESS: ContextVar["Process"] = ContextVar("process")
"""The process whose code runs now."""


class Stuck(Exception):
    """Nothing can ever run again, or it runs for ever without getting anywhere."""


class Process:
    """Something that runs, pauses and dies on its own, with a clock of its own."""

    def __init__(self, loop: "SimulationLoop", name: str, host: str) -> None:
        self.loop = loop
        self.name = name
        self.host = host
        """What stays when it is started again."""
        self.ready: deque[asyncio.Handle] = deque()
        self.is_alive = True
        self.is_paused = False
        self.skew_us = 0
        """How far its wall clock is off."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []
        self.context = Context()
        self.context.run(PROCESS.set, self)

    def now_us(self) -> int:
        """Tell the time by this process's wall clock, in microseconds since 1970-01-01 UTC."""
        return self.loop.epoch_us + round(self.loop.time() * 1_000_000) + self.skew_us

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run a coroutine in this process."""
        return self.loop.create_task(work, context=self.context.copy())

    def call(self, seconds: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        """Run a callback in this process after a while."""
        return self.loop.call_at(self.loop.time() + seconds, callback, *arguments, context=self.context)

    def kill(self) -> None:
        """End it in the middle of whatever it does: no `finally` runs."""
        assert self.is_alive
        self.is_alive = False
        self.ready.clear()
        self.loop.processes.remove(self)
        self.loop.dead.append(self)
        for notice in self.on_death:
            notice()


class SimulationLoop(asyncio.AbstractEventLoop):
    """Runs processes in virtual time, by a seed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self.processes: list[Process] = []
        """The living."""
        self.dead: list[Process] = []
        self.steps = 0
        self.epoch_us = EPOCH_US
        self.failure: BaseException | None = None
        self.root = self.process("simulation")

    def process(self, name: str, host: str = "") -> Process:
        """Make a process."""
        process = Process(self, name, host or name)
        self.processes.append(process)
        return process

    def run(self, work: Coroutine[Any, Any, Any], until: float = float("inf")) -> Any:
        """Run until a coroutine of the simulation itself is done; raise `Stuck` when that cannot be."""
        asyncio._set_running_loop(self)
        try:
            main = self.root.start(work)
            while not main.done():
                if not self._run_some():
                    self._advance()
                    if self._now > until:
                        raise Stuck(f"not done at {self._now:.3f} s")
                if self.failure is not None:
                    raise self.failure
                if self.steps > STEPS_MAX:
                    raise Stuck(f"{self.steps} steps and no end at {self._now:.3f} s")
            return main.result()
        finally:
            asyncio._set_running_loop(None)

    def fail(self, error: BaseException) -> None:
        """End the simulation with an error, wherever it was noticed."""
        if self.failure is None:
            self.failure = error

    def _run_some(self) -> bool:
        """Let one process run one turn of its own loop, or a part of it."""
        able = [each for each in self.processes if each.ready and not each.is_paused]
        if not able:
            return False
        process = able[0] if len(able) == 1 else self._chance.choice(able)
        ready = process.ready
        turn = len(ready)
        if turn > 1 and len(able) > 1 and self._chance.random() < 0.25:
            turn = self._chance.randint(1, turn)
        while turn and ready:
            turn -= 1
            self.steps += 1
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        return True

    def _advance(self) -> None:
        """Let time pass until the next timer; those of the dead never come."""
        timers = self._timers
        while timers:
            when, _, timer = timers[0]
            if timer._cancelled or not _process_of(timer).is_alive:
                heapq.heappop(timers)
                continue
            self._now = max(self._now, when)
            break
        else:
            raise Stuck("nobody can run and nobody waits for a time")
        while timers and timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(timers)
            process = _process_of(timer)
            if not timer._cancelled and process.is_alive:
                process.ready.append(timer)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # the callback's own arguments are nobody's business here
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        process = _process_of(handle)
        if process.is_alive:
            process.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the killed are not missed
        process = _process(context) if context is not None else PROCESS.get()
        process.tasks.append(task)
        if len(process.tasks) > 256:
            process.tasks = [each for each in process.tasks if not each.done()]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.fail(error)
        elif "never retrieved" not in context["message"]:
            self.fail(AssertionError(context["message"]))

    def bury(self) -> None:
        """Let every task end, so that nothing is left that Python would complain about."""
        asyncio._set_running_loop(self)
        try:
            self.processes += self.dead
            for process in self.processes:
                process.is_alive, process.is_paused = True, False
            for _ in range(50):
                pending = [task for process in self.processes for task in process.tasks if not task.done()]
                if not pending:
                    break
                for task in pending:
                    task.cancel()
                for _ in range(20):
                    if not self._run_some():
                        break
            for process in self.processes:
                for task in process.tasks:
                    coroutine = task.get_coro()
                    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                        coroutine.close()  # Its process died before it began.
        finally:
            asyncio._set_running_loop(None)


def _process_of(handle: Any) -> Process:
    """Tell whose callback it is, by what asyncio keeps with it and does not show."""
    return _process(handle._context)


def _process(context: Context) -> Process:
    return context[PROCESS]
