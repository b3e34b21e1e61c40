"""Machines that can be cut off: network namespaces on one bridge, inside a namespace of the run's own.

`make failover` starts the run in fresh namespaces (network, mounts, processes), so nothing of this
machine's network is touched and nothing outlives the run. Never here: what runs on the machines.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

BRIDGE = "hivecore"
BRIDGE_ADDRESS = "10.77.0.1"
"""Where the bank's own processes are."""

NETWORK = "10.77.0.0/24"

DEATH_SECONDS_MAX = 10.0


def is_to_be_had() -> bool:
    """Whether this process is in a network of its own, as `make failover` starts it, and may change it."""
    return os.geteuid() == 0 and {name for _, name in socket.if_nameindex()} <= {"lo", BRIDGE}


def ip(*words: str) -> str:
    """Run `ip`; its failure is the test's."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def bridge() -> Iterator[None]:
    """Lay the bridge that all machines are plugged into."""
    ip("link", "add", "name", BRIDGE, "type", "bridge")
    ip("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    try:
        yield
    finally:
        ip("link", "delete", BRIDGE)


class Machine:
    """One machine: an address of its own, a cable that can be pulled, a plug that can be pulled."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._children: list[subprocess.Popen[bytes]] = []
        inside = f"{name}-in"
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", inside)
        ip("link", "set", inside, "netns", name)
        ip("link", "set", name, "master", BRIDGE, "up")
        for words in (
            ("address", "add", f"{address}/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", name, *words)

    def start(self, log: BinaryIO, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Start a program on it."""
        words = ["ip", "netns", "exec", self.name, *map(str, command)]
        self._children.append(
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=dict(environment),
                start_new_session=True,
            )
        )

    def pull_cable(self) -> None:
        """Cut it off from everything: packets vanish without a word."""
        ip("link", "set", self.name, "down")

    def plug_cable(self) -> None:
        """Join it again."""
        ip("link", "set", self.name, "up")

    def lose_sight_of(self, others: Iterable["Machine"]) -> None:
        """Let nothing reach these others any more, while all else still does: half a partition."""
        for other in others:
            ip("-n", self.name, "route", "add", "blackhole", f"{other.address}/32")

    def see_again(self, others: Iterable["Machine"]) -> None:
        """Take that back."""
        for other in others:
            ip("-n", self.name, "route", "delete", "blackhole", f"{other.address}/32")

    @property
    def pids(self) -> list[int]:
        """Everything that runs on it."""
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def pull_plug(self) -> None:
        """Kill everything that runs on it, by SIGKILL, until nothing is left."""
        give_up = time.monotonic() + DEATH_SECONDS_MAX
        while pids := self.pids:
            assert time.monotonic() < give_up, f"{pids} of {self.name} do not die"
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for child in self._children:
                child.poll()
        for child in self._children:
            child.wait()
        self._children.clear()

    def remove(self) -> None:
        """Throw it away."""
        self.pull_plug()
        ip("netns", "delete", self.name)
