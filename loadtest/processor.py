"""How much processor time the bank's processes use, and the whole machine, read from /proc where there is one."""

import multiprocessing
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PROC: Final = Path("/proc")

# Fields of /proc/PID/stat after the name in parentheses, see proc(5).
_PARENT: Final = 1
_TIMES_OF_ENDED: Final = slice(13, 15)
"""User and system time of the children that have ended."""


_CPUCLOCK_SCHED: Final = 2
"""Which of a process's clocks (linux/posix-timers.h): the scheduler's."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Processor seconds so far."""

    at: float
    """Of the monotonic clock."""
    busy: float
    """Of the whole machine."""
    by_part: Mapping[str, float]

    @classmethod
    def now(cls, pids_by_part: Mapping[str, Iterable[int]], own_part: str) -> Self:
        """Read them now; this process and its workers, but not a bank that it opened, are `own_part`."""
        own = (os.getpid(), *(worker.pid or 0 for worker in multiprocessing.active_children()))
        return cls(time.monotonic(), busy_seconds(), seconds_by_part(pids_by_part, {own_part: own}))

    def cores_until(self, end: "Reading") -> dict[str, float]:
        """Compute how many processors each part kept busy from this reading to a later one; all others as `others`."""
        seconds = end.at - self.at
        cores = {part: max(0.0, end.by_part[part] - self.by_part[part]) / seconds for part in end.by_part}
        return cores | {"others": max(0.0, (end.busy - self.busy) / seconds - sum(cores.values()))}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used between two readings."""

    us_per_transfer: Mapping[str, float]
    """By part; empty when nothing was transferred or the machine does not tell."""
    others_share: float
    """Of the machine's processors, by processes of no part, 0 to 1."""

    @classmethod
    def between(cls, begin: Reading, end: Reading, transfers: float) -> Self:
        """Compute it; `transfers` were made between the readings."""
        seconds = {part: max(0.0, end.by_part[part] - begin.by_part[part]) for part in end.by_part}
        available = (end.at - begin.at) * (os.cpu_count() or 1)
        others = max(0.0, end.busy - begin.busy - sum(seconds.values()))
        us_per_transfer = {part: used * 1e6 / transfers for part, used in seconds.items()} if transfers else {}
        return cls(us_per_transfer, others / available)


def seconds_by_part(
    pids_by_part: Mapping[str, Iterable[int]], alone_by_part: Mapping[str, Iterable[int]]
) -> dict[str, float]:
    """Add up the processor seconds so far of each part's processes, with all their descendants or alone.

    What has ended counts too, once its parent has noticed.
    """
    stats = _stats()
    families = {part: _family(pids, stats) for part, pids in pids_by_part.items()}
    every = {**families, **alone_by_part}
    return {part: sum(stats[pid][1] for pid in pids if pid in stats) for part, pids in every.items() if stats}


def descendants(pids: Iterable[int]) -> list[int]:
    """Give processes and all their descendants."""
    return _family(pids, _stats())


def _family(pids: Iterable[int], stats: Mapping[int, tuple[int, float]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    family = list(pids)
    for pid in family:
        family += children.get(pid, ())
    return family


def busy_seconds() -> float:
    """Add up the processor seconds so far that this machine did not idle, whoever used them."""
    try:
        first = (PROC / "stat").read_text().partition("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, interrupts, soft_interrupts, *_ = map(int, first.split()[1:])
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def model() -> str:
    """Name this machine's processor, as far as it tells."""
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _stats() -> dict[int, tuple[int, float]]:
    """Give parent and processor seconds of every process."""
    if not PROC.is_dir():
        return {}
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for directory in PROC.iterdir():
        if directory.name.isdecimal():
            try:
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid, ended = int(directory.name), sum(map(int, fields[_TIMES_OF_ENDED])) / ticks
            found[pid] = (int(fields[_PARENT]), _own_seconds(pid) + ended)
    return found


def _own_seconds(pid: int) -> float:
    """Give the processor seconds of a process's threads, to the nanosecond; 0 once it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0
