"""`python -m simulation`: simulate many seeds, or tell the story of one; `--planted`: find the planted bugs.

Prints what was simulated and every seed that failed; the exit status says whether any did. Never here: what a
simulation is (`run.py`).
"""

import argparse
import gc
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from simulation.planted import BUGS, LATENT, Bug
from simulation.run import Result, simulate

SEEDS_PER_BUG_MAX = 1_000


@dataclass(frozen=True)
class Finding:
    """Where a planted bug was found."""

    bug: str
    seed: int
    check: str
    seconds: float


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to simulate")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="simulate one seed and tell its story")
    parser.add_argument("--lines", type=int, default=200, help="how many of the story's last lines to print")
    parser.add_argument("--bug", help="arm this planted bug meanwhile, by its function's name")
    parser.add_argument("--planted", action="store_true", help="arm each planted bug in turn until it is found")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many seeds at a time")
    options = parser.parse_args()
    gc.freeze()
    if options.planted:
        return _print_findings(options.processes)
    if options.seed is not None:
        return _tell(options.seed, options.lines, options.bug)
    return _print_summary(range(options.first, options.first + options.seeds), options.processes)


def _tell(seed: int, lines: int, bug: str | None) -> int:
    armed = [each for each in (*BUGS, *LATENT) if each.arm.__name__ == bug]
    if bug is not None and not armed:
        print(f"there is no planted bug {bug}")
        return 2
    if armed:
        with armed[0].armed():
            result = simulate(seed, armed[0].plan(seed))
    else:
        result = simulate(seed)
    print(result.story(lines))
    print(f"digest {result.digest}")
    return 1 if result.error else 0


def _slim(seed: int) -> Result:
    """Simulate in a process of a pool: what goes back must be small, and its error a text."""
    result = simulate(seed)
    result.lines = result.lines[-40:] if result.error else []
    if result.error is not None:
        result.error = AssertionError(repr(result.error))
    return result


def _results(seeds: Iterable[int], processes: int) -> Iterator[Result]:
    if processes == 1:
        yield from map(_slim, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_slim, seeds, chunksize=4)


def _print_summary(seeds: range, processes: int) -> int:
    began = time.monotonic()
    total, failed = Result(plan=None), []  # type: ignore[arg-type]
    for result in _results(seeds, processes):
        total.transfers += result.transfers
        total.commits += result.commits
        total.intentions += result.intentions
        total.virtual_seconds += result.virtual_seconds
        total.recovery_seconds = max(total.recovery_seconds, result.recovery_seconds)
        total.told += result.told
        total.faults += Counter(result.kinds())
        if result.error is not None:
            failed.append(result.plan.seed)
            print(f"seed {result.plan.seed} FAILED: {str(result.error)[:500]}", flush=True)
    seconds = time.monotonic() - began
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 60
    minutes = max(seconds, 0.001) / 60
    print(f"{len(seeds)} seeds, {len(failed)} failed{': ' + ' '.join(map(str, failed)) if failed else ''}")
    print(
        f"{total.intentions} intentions, {total.transfers} rows of the journal in {total.commits} commits, "
        f"{total.virtual_seconds / 60:.0f} simulated minutes in {seconds:.0f} s: "
        f"{len(seeds) / minutes:.0f} seeds and {total.transfers / minutes:,.0f} transfers a minute"
    )
    print(f"per minute of CPU: {len(seeds) / spent:.0f} seeds and {total.transfers / spent:,.0f} transfers")
    print(f"slowest recovery after everything healed: {total.recovery_seconds:.1f} simulated seconds")
    print("told: " + ", ".join(f"{name} {count}" for name, count in total.told.most_common()))
    print("faults:")
    for kind, count in total.faults.most_common():
        print(f"  {count:8,}  {kind}")
    if failed:
        print(f"see one again: make simulate SEED={failed[0]}")
    return 1 if failed else 0


def find(bug: Bug, seeds: Iterable[int]) -> Finding | None:
    """Simulate seeds with a bug until one fails."""
    began = time.monotonic()
    for seed in filter(bug.may_show, seeds):
        with bug.armed():
            result = simulate(seed, bug.plan(seed))
        if result.error is not None:
            return Finding(bug.arm.__name__, seed, result.check(), time.monotonic() - began)
    return None


def _find_by_name(name: str) -> Finding | None:
    (bug,) = [each for each in BUGS if each.arm.__name__ == name]
    return find(bug, range(1, SEEDS_PER_BUG_MAX + 1))


def _print_findings(processes: int) -> int:
    missed = 0
    print(f"{'bug':<30} {'seed':>5} {'seconds':>8}  found by")
    with ProcessPoolExecutor(processes) as pool:
        for bug, finding in zip(BUGS, pool.map(_find_by_name, [bug.arm.__name__ for bug in BUGS]), strict=True):
            if finding is None:
                missed += 1
                print(f"{bug.arm.__name__:<30} {'-':>5} {'-':>8}  NOT FOUND: {bug.name}", flush=True)
            else:
                print(f"{finding.bug:<30} {finding.seed:>5} {finding.seconds:>8.1f}  {finding.check}", flush=True)
    print(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
