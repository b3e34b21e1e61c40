"""Does to a running bank what the schedule says, and undoes it again.

Each fault is a context: it holds inside and is over outside. Never here: which fault comes when.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
from crowd import Crowd

from services.chassis import children, ports
from services.cli.bank import Bank
from services.cli.supervisor import ProgramPart
from services.cli.topology import PREFIX, Program
from storms import clocks
from storms.clocks import Clocks
from storms.detours import Detours
from storms.disks import Disk
from storms.old_directory import OldDirectory
from storms.proxy import HOST, Weather
from storms.schedule import NETWORK, Fault, Kind

LISTENS_SECONDS_MAX = 30.0
CONNECT_SECONDS_MAX = 2.0
SEGMENTS_MAX = 300
"""Of the write-ahead log, kept for use again: all are used up before a full disk is noticed."""

END_SESSIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'hivecore-%'"

NEXT_SEGMENT = "SELECT pg_logical_emit_message(false, 'storm', ''), pg_switch_wal()"


class Striker:
    """Strikes one bank."""

    def __init__(self, bank: Bank, crowd: Crowd, detours: Detours, times: Clocks, disks: Mapping[Kind, Disk]) -> None:
        self._bank = bank
        self._crowd = crowd
        self._detours = detours
        self._clocks = times
        self._disks = disks
        self.jumps_seen: list[float] = []
        """Seconds by which services told a wrong time."""
        self._begin: dict[Kind, Callable[[Fault], AbstractAsyncContextManager[None]]] = {
            Kind.KILL: self._killed,
            Kind.STOP: self._stopped,
            Kind.POSTGRES_ABORT: self._aborted,
            Kind.SESSIONS_ENDED: self._sessions_ended,
            Kind.DATA_FULL: self._full,
            Kind.LOG_FULL: self._log_full,
            Kind.CLOCK_JUMP: self._clock_jumped,
            Kind.SECOND_WRITER: self._second_writer,
            Kind.OLD_DIRECTORY: self._old_directory,
        } | dict.fromkeys(NETWORK, self._weather)

    async def strike(self, fault: Fault) -> None:
        """Let a fault begin, last and end."""
        async with self._begin[fault.kind](fault):
            loop = asyncio.get_running_loop()
            over = loop.create_future()
            loop.call_later(fault.seconds, over.set_result, None)
            await over

    @asynccontextmanager
    async def _killed(self, fault: Fault) -> AsyncIterator[None]:
        with suppress(LookupError):  # It is down already, of another fault.
            self._bank.kill(fault.target)
        yield

    @asynccontextmanager
    async def _aborted(self, fault: Fault) -> AsyncIterator[None]:
        with suppress(LookupError):
            self._bank.kill(fault.target, signal.SIGQUIT)
        yield

    @asynccontextmanager
    async def _stopped(self, fault: Fault) -> AsyncIterator[None]:
        pid = self._bank.processes[fault.target]
        stopped = [pid, *_children(pid)] if pid is not None else []
        for each in stopped:
            _signal(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in stopped:
                _signal(each, signal.SIGCONT)

    @asynccontextmanager
    async def _sessions_ended(self, fault: Fault) -> AsyncIterator[None]:
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(self._bank.shard_dsns[_shard(fault)], timeout=CONNECT_SECONDS_MAX)
            try:
                await connection.fetchval(END_SESSIONS)
            finally:
                await connection.close()
        yield

    @asynccontextmanager
    async def _weather(self, fault: Fault) -> AsyncIterator[None]:
        proxy, caller = self._detours.connections[fault.target]
        proxy.begin(Weather(fault.kind, fault.amount, caller))
        try:
            yield
        finally:
            proxy.calm()

    @asynccontextmanager
    async def _full(self, fault: Fault) -> AsyncIterator[None]:
        disk = self._disks[fault.kind]
        disk.fill()
        try:
            yield
        finally:
            disk.free()

    @asynccontextmanager
    async def _log_full(self, fault: Fault) -> AsyncIterator[None]:
        """Fill the log's disk, and use up what PostgreSQL has put by there."""
        async with self._full(fault):
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(self._bank.control_dsn, timeout=CONNECT_SECONDS_MAX)
                try:
                    for _ in range(SEGMENTS_MAX):
                        await connection.execute(NEXT_SEGMENT)
                finally:
                    connection.terminate()
            yield

    @asynccontextmanager
    async def _clock_jumped(self, fault: Fault) -> AsyncIterator[None]:
        """Let a clock jump, at least until its service has told the wrong time, if it runs all the while."""
        pid = self._bank.processes[fault.target]
        self._clocks.set(fault.target, fault.amount)
        try:
            async with asyncio.TaskGroup() as looking:
                looking.create_task(self._see_jump(fault, pid))
                yield
        finally:
            self._clocks.set(fault.target, 0)

    async def _see_jump(self, fault: Fault, pid: int | None) -> None:
        program = next(each for each in self._bank.topology.programs if each.name == fault.target)
        try:
            await clocks.expect_away(program.metrics, fault.amount)
        except TimeoutError:
            if pid is not None and self._bank.processes[fault.target] == pid:
                raise AssertionError(f"{fault.target} does not tell what its clock was set to: {fault}") from None
        else:
            self.jumps_seen.append(fault.amount)

    @asynccontextmanager
    async def _second_writer(self, fault: Fault) -> AsyncIterator[None]:
        """Start another process of the shard's first ledger: the same name, another port."""
        first = next(each for each in self._bank.topology.programs if each.name == f"ledger-{_shard(fault)}")
        program = _twin(first)
        part = ProgramPart(program)
        await part.start()
        try:
            # That it listens is not enough: with its name it may only wait for the lease, and that is well too.
            await children.until(program.endpoint_file.exists, LISTENS_SECONDS_MAX)
            yield
        finally:
            if part.pid is not None:
                os.kill(part.pid, signal.SIGKILL)
            await part.stop()

    @asynccontextmanager
    async def _old_directory(self, fault: Fault) -> AsyncIterator[None]:
        proxies = self._detours.account_proxies()
        async with OldDirectory(self._bank.topology.account) as old:
            host, _, port = old.address.rpartition(":")
            for proxy in proxies:
                proxy.divert(lambda: (host, int(port)))
            try:
                yield
            finally:
                for proxy in proxies:
                    proxy.divert(lambda: self._detours.place_of("account"))


def _shard(fault: Fault) -> int:
    return int(fault.target.removeprefix("shard "))


def _twin(program: Program) -> Program:
    """Describe a process with the same name and the same database in another place."""
    listen, metrics = (f"{HOST}:{ports.choose_free()}" for _ in range(2))
    endpoint_file = program.endpoint_file.with_name(f"{program.name}.twin.json")
    moved = {"LISTEN": listen, "METRICS_LISTEN": metrics, "ENDPOINT_FILE": str(endpoint_file)}
    return replace(
        program,
        environment={**program.environment, **{PREFIX + key: value for key, value in moved.items()}},
        endpoint_file=endpoint_file,
        log=program.log.with_name(f"{program.name}.twin.log"),
        grpc=listen,
        metrics=metrics,
    )


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
