"""Which faults strike a bank, where, for how long and with what rest between: a pure function of the seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """What a fault does."""

    KILL = "process killed"
    STOP = "process stopped and continued"
    POSTGRES_ABORT = "PostgreSQL stopped at once"
    SESSIONS_ENDED = "database sessions ended"
    CUT = "connections cut"
    DELAYED = "connections delayed"
    HALF_CLOSED = "connections half-closed"
    ANSWERS_LOST = "answers lost"
    REQUESTS_LOST = "requests lost"
    DATA_FULL = "disk full (data)"
    LOG_FULL = "disk full (log)"
    CLOCK_JUMP = "clock jumped"
    SECOND_WRITER = "second writer"
    OLD_DIRECTORY = "old directory"


WEIGHTS = dict.fromkeys(Kind, 1) | {
    Kind.KILL: 3,
    Kind.STOP: 3,
    Kind.CUT: 2,
    Kind.ANSWERS_LOST: 2,
    Kind.REQUESTS_LOST: 2,
    Kind.CLOCK_JUMP: 2,
}
"""How often a kind lies in the bag that faults are drawn from; the bag is filled again when it is empty."""

NETWORK = frozenset({Kind.CUT, Kind.DELAYED, Kind.HALF_CLOSED, Kind.ANSWERS_LOST, Kind.REQUESTS_LOST})
DISK = frozenset({Kind.DATA_FULL, Kind.LOG_FULL})

AT_ONCE = frozenset({Kind.KILL, Kind.POSTGRES_ABORT, Kind.SESSIONS_ENDED})

SECONDS = (0.3, 4.0)
"""How long a fault lasts; longer than a lease at most."""
OLD_DIRECTORY_SECONDS = 6.0
"""Services look for a new one every five seconds."""
REST_SECONDS = (0.3, 1.5)
TWO_AT_ONCE = 0.2
"""Of all strikes."""
DELAY_SECONDS = (0.05, 0.6)
JUMP_SECONDS = (1, 7200)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind
    target: str
    """A process, a connection as in `ledger>postgres`, or a shard."""
    seconds: float
    """How long it lasts; 0 for what happens at once."""
    amount: float = 0.0
    """Seconds of delay, or of a clock's jump."""


@dataclass(frozen=True, slots=True)
class Strike:
    """Faults that begin together, and the rest after the bank has recovered from them."""

    faults: tuple[Fault, ...]
    rest_seconds: float


@dataclass(frozen=True, slots=True)
class Targets:
    """What there is to be struck."""

    processes: Sequence[str]
    ledgers: Sequence[str]
    shards: Sequence[int]
    connections: Sequence[str]
    kinds: frozenset[Kind] = frozenset(Kind)
    """Kinds that this machine can do."""


def schedule(seed: int, targets: Targets) -> Iterator[Strike]:
    """Give strikes without end, always the same ones for a seed and the same targets."""
    chance = Random(seed)
    bag: list[Kind] = []

    def draw() -> Fault:
        if not bag:
            # Drawn from all kinds, so that what a machine cannot do moves nothing else.
            bag.extend(kind for kind in Kind for _ in range(WEIGHTS[kind]))
            chance.shuffle(bag)
        return _fault(bag.pop(), targets, Random(chance.getrandbits(64)))

    while True:
        count = 2 if chance.random() < TWO_AT_ONCE else 1
        faults = tuple(fault for fault in (draw() for _ in range(count)) if fault.kind in targets.kinds)
        if len({fault.kind for fault in faults} & DISK) == 2 or len({fault.target for fault in faults}) < len(faults):
            faults = faults[:1]
        rest = chance.uniform(*REST_SECONDS)
        if faults:
            yield Strike(faults, rest)


def _fault(kind: Kind, targets: Targets, chance: Random) -> Fault:
    seconds = 0.0 if kind in AT_ONCE else chance.uniform(*SECONDS)
    amount = 0.0
    if kind in {Kind.KILL, Kind.STOP}:
        target = chance.choice(targets.processes)
    elif kind in NETWORK:
        target = chance.choice(targets.connections)
        amount = chance.uniform(*DELAY_SECONDS) if kind is Kind.DELAYED else 0.0
    elif kind is Kind.CLOCK_JUMP:
        target = chance.choice((*targets.ledgers, "account"))
        amount = chance.choice((-1, 1)) * chance.uniform(*JUMP_SECONDS)
    elif kind in {Kind.SESSIONS_ENDED, Kind.SECOND_WRITER}:
        target = f"shard {chance.choice(targets.shards)}"
    elif kind is Kind.OLD_DIRECTORY:
        target = "account"
        seconds = OLD_DIRECTORY_SECONDS
    else:
        target = "postgres"
    return Fault(kind, target, seconds, amount)
