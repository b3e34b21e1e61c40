"""What the benchmark measures, and in which order: a table, computed from sizes.

A stage is one bank, opened for it and proved sound at its end. Rows of a stage follow each other on the
same books, each after a checkpoint and a warm-up of its own; rows that are held against each other share a
checkpoint. A row that stands there several times is measured
as often, and the best run counts; pgbench comes before, in between and after: so no noisy minute makes a figure.
Never here: measuring.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from loadtest.workload import Hot

UNIFORM: Final = "uniform"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: callers who send calls of so many transfers, one after the other."""

    name: str
    transfers_per_call: int = 1
    in_flight: tuple[int, ...] = (1,)
    """Calls at the same time: the alternative with the highest rate counts."""
    crossing_share: float = 0.0
    popularity: str = UNIFORM
    hot: Hot | None = None
    bulk: bool = False
    """Whether even one transfer goes by PostTransfers."""

    @property
    def is_even(self) -> bool:
        """Whether each transfer is one of two accounts of a shard, all of which are as likely."""
        return self.crossing_share == 0.0 and self.hot is None and self.popularity == UNIFORM


@dataclass(frozen=True, slots=True)
class Together:
    """Rows that are held against each other: right after each other, with one checkpoint before the first.

    What is touched first after a checkpoint goes to the log in whole pages, which the first row pays more of. Turned
    round in another step, each row has as many runs in each place, and the better ones are alike; what is said of two rows
    is said of their runs side by side.
    """

    scenarios: tuple[Scenario, ...]
    """With as many alternatives of calls in flight each, which come one after the other."""


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """One row: single calls that come by chance at a share of the highest rate of single calls so far."""

    name: str
    share_of_peak: float
    is_steady: bool = False
    """Whether what the rows before have left to do is done first, and the warm-up so long that pages were touched."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Not a row: so many accounts in all are there from here on."""

    count: int


@dataclass(frozen=True, slots=True)
class Pgbench:
    """Rows `pgbench_best` (the best of several numbers of clients, then that number again and again) and `pgbench_1`.

    They share a checkpoint, as the bank's rows do that are held against them; every second time they are turned round.
    """


Step = Scenario | Together | OpenLoop | Accounts | Pgbench


@dataclass(frozen=True, slots=True)
class Stage:
    """One bank and what is done with it."""

    name: str
    shards: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    accounts: int = 500_000
    accounts_few: int = 10_000
    accounts_many: int = 1_000_000
    pgbench_scale: int = 50
    pgbench_clients: tuple[int, ...] = (8, 16, 32)
    seconds: float = 5.0
    """Measured, for each run of a row."""
    warm_up_seconds: float = 1.5
    steady_seconds: float = 10.0
    """Measured of a steady open loop, after as long a warm-up: the log takes 8 KB a transfer after a checkpoint, and the
    0.9 that it takes for good after 10 s, with 250,000 accounts."""
    rest_seconds_max: float = 180.0
    """How long a steady open loop waits for the bank to rest."""
    is_short: bool = False
    """Leaves out what needs banks of its own, and what only makes the table finer."""


QUICK: Final = Sizes(
    accounts=50_000, seconds=2.0, warm_up_seconds=0.8, steady_seconds=5.0, rest_seconds_max=20.0, is_short=True
)
"""Ends in under 3 minutes on a quiet machine of 2 cores."""

IN_FLIGHT: Final = (1, 16, 64, 256)
THOUSANDS: Final = (2, 4)
"""Calls of 1,000 in flight."""


def stages(sizes: Sizes, only: Collection[str] | None = None) -> tuple[Stage, ...]:
    """Give all stages of a run; of `only` some rows, those that are named, and what they need."""
    every = _all(sizes)
    if only is None:
        return every
    chosen = [replace(stage, steps=tuple(_chosen(stage.steps, only))) for stage in every]
    return tuple(stage for stage in chosen if any(names(step) for step in stage.steps))


def names(step: Step) -> tuple[str, ...]:
    """Name the bank's rows that a step measures."""
    match step:
        case Scenario(name) | OpenLoop(name):
            return (name,)
        case Together(scenarios):
            return tuple(scenario.name for scenario in scenarios)
    return ()


def _chosen(steps: Iterable[Step], only: Collection[str]) -> Iterator[Step]:
    for step in steps:
        named = names(step)
        if isinstance(step, Together) and not set(named).isdisjoint(only):
            yield Together(tuple(scenario for scenario in step.scenarios if scenario.name in only))
        elif not named or not set(named).isdisjoint(only):
            yield step


def _all(sizes: Sizes) -> tuple[Stage, ...]:
    two = Stage("two shards", 2, _main(sizes))
    if sizes.is_short:
        return (two,)
    one = (
        Pgbench(),
        *(Accounts(sizes.accounts_few), *_twice(Scenario("calls_1000_accounts_few", 1_000, THOUSANDS))),
        *(Accounts(sizes.accounts), *_twice(Scenario("calls_1000_shards_1", 1_000, THOUSANDS))),
        *(Accounts(sizes.accounts_many), *_twice(Scenario("calls_1000_accounts_many", 1_000, THOUSANDS))),
        Pgbench(),
    )
    four = (Accounts(sizes.accounts), *_twice(Scenario("calls_1000_shards_4", 1_000, THOUSANDS)), Pgbench())
    return (two, Stage("one shard", 1, one), Stage("four shards", 4, four))


def _twice(scenario: Scenario) -> tuple[Scenario, Scenario]:
    return scenario, scenario


def _main(sizes: Sizes) -> tuple[Step, ...]:
    shares = (1.0,) if sizes.is_short else (0.1, 0.5, 1.0)
    pairs = tuple(
        (Scenario(f"single_{count}", in_flight=(count,)), Scenario(f"call_of_{count}", count, bulk=True))
        for count in IN_FLIGHT
    )
    hundreds = Scenario("calls_100", 100, (8,))
    local = Scenario("calls_1000_local", 1_000, THOUSANDS)
    hot = Scenario("hot_account", 1_000, THOUSANDS, hot=Hot(1.0))
    rows = (
        *(() if sizes.is_short else (Scenario("calls_1000_zipf", 1_000, (4,), popularity="zipf:1.0"),)),
        *(Scenario(f"calls_1000_crossing_{share:.0%}".rstrip("%"), 1_000, THOUSANDS, share) for share in shares),
        Scenario("calls_8000", 8_000, (2,)),
    )
    one_way, other_way = [Together(pair) for pair in pairs], [Together(pair[::-1]) for pair in pairs]
    both_ways: tuple[Step, ...] = (*one_way, *other_way)
    # One transfer at a time differs by a tenth from one second to the next, a batch of it and a single call by less.
    alone: tuple[Step, ...] = (one_way[0], other_way[0])
    # The steady row comes before what leaves the most to seal, the other one after it.
    steady = OpenLoop("open_loop_half_peak", 0.5, is_steady=True)
    singles: tuple[Step, ...]
    if sizes.is_short:
        # The bank seals beside pgbench what the steady row would have to wait for.
        singles = (*both_ways, *alone, Pgbench(), steady)
    else:
        singles = (*both_ways, Pgbench(), *both_ways, steady, *alone, *alone, steady)
    once: tuple[Step, ...] = (hundreds, Together((local, hot)), *rows)
    bulk = once if sizes.is_short else (*once, Pgbench(), hundreds, Together((hot, local)), *rows)
    end = (OpenLoop("open_loop_after_checkpoint", 0.5), Pgbench())
    return (Pgbench(), Accounts(sizes.accounts), *singles, *bulk, *end)
