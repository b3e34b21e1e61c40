"""Free TCP ports of this machine, for processes whose address others must know before they listen."""

import random
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

HOST = "127.0.0.1"

PORTS = range(20_000, 32_000)
"""Below the range from which kernels take ports for outgoing connections (32768 on Linux, 49152 elsewhere):
otherwise, while a service is down, somebody's connection could sit on the port it wants back, or a
client that tries to reach the service could connect to itself."""


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of the loopback address now."""
    return _can_be_bound(port, beside_holders=True)


def choose_free(taken: frozenset[int] = frozenset()) -> int:
    """Give a free port that is neither among `taken` nor held. Drawn at random, so that two who choose at once rarely collide."""
    for port in random.sample(PORTS, len(PORTS)):
        if port not in taken and _can_be_bound(port, beside_holders=False):
            return port
    raise OSError(f"no free TCP port among {PORTS.start} to {PORTS.stop - 1}")


def _can_be_bound(port: int, *, beside_holders: bool) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, beside_holders)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def held(numbers: Iterable[int]) -> Iterator[None]:
    """Keep others from choosing these ports, whether anybody listens there or not; who knows them may listen.

    Between the choice of a port and its process's first word lie seconds, in which another bank may choose, too. Where
    a bound port cannot be listened on by somebody else, as on anything but Linux, nothing is held.
    """
    with ExitStack() as stack:
        for number in numbers if sys.platform == "linux" else ():
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((HOST, number))
            except OSError:
                continue  # Whoever is to listen there will say so.
        yield
