"""What callers notice when ten times more comes in than the bank can do, and in storms of other kinds.

    python -m loadtest.with_bank python -m loadtest.overload --data @DATA

An open loop: calls come when they are due. First the capacity is found by a closed loop, then half of it is
offered, ten times it, half again; then a storm of retries, one of look-ups, one silent shard, many
connections. Generator and bank share the machine, so the capacity is found once more beside something that
takes as much of it as the generator of the overload took, and what callers wait is read from the gateways'
own metrics beside what the generator saw. There are figures only when the books are sound afterwards; exit
status 2 says that a goal was missed. Never here: the picture and the goals (`report.py`).
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvloop
from hivecore.gateway.v1 import bank_pb2
from rich.console import Console

from loadtest import closed_loop, machine, processor, target
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed
from loadtest.bench.report import write
from loadtest.client import POSTED, Client
from loadtest.crew import CrewFailed
from loadtest.open_loop.callers import CLIENTS, LEAN
from loadtest.overload import burden, report
from loadtest.overload.look_ups import LookUps
from loadtest.overload.offering import Offering
from loadtest.overload.report import GENERATOR, Phase
from loadtest.overload.storm import BALANCE, MIX
from loadtest.proof import NotSound

FACTOR: Final = 10.0
"""Of the capacity, offered in the overload."""
NORMAL: Final = 0.5
RETRIES: Final = 5
LOOK_UPS_FACTOR: Final = 3.0
"""Of the balances that callers without a pause are told, so many look-ups are offered in the storm."""
CONNECTING: Final = 100
CONNECT_PAUSE_SECONDS: Final = 0.1
FAILURES: Final = (BankFailed, OpeningFailed, CrewFailed, NotSound, ValueError)


async def run(asked: argparse.Namespace, bank: target.Target, by_shard: list[list[str]], peak: float) -> dict[str, Any]:
    """Offer everything; return the figures and the journal."""
    phases: list[Phase] = []
    extras: dict[str, Any] = {}
    assert bank.open_bank is not None
    async with Client(bank.access) as client, AsyncExitStack() as stack:
        offering = Offering(asked, client, by_shard, bank.open_bank)
        await offering.connect(stack)

        async def offer(name: str, factor: float, seconds: float, **more: Any) -> Phase:
            phases.append(await offering.offer(name, factor * peak, seconds, **more))
            return phases[-1]

        await offer("normal", NORMAL, asked.normal_seconds)
        await offer("overload", FACTOR, asked.overload_seconds)
        await offer("normal again", NORMAL, asked.normal_seconds)
        if not asked.short:
            await offer("retry storm", 2.0, asked.normal_seconds, retries=RETRIES)
            await offer("after the retries", NORMAL, asked.normal_seconds)
        extras["look_ups"] = await _storm(offering, bank, by_shard, asked, offer)
        if not asked.short:
            extras["connections"] = await _connect(bank, by_shard, asked.connections, offer, asked.normal_seconds)
        await _silence_one_shard(offering, bank, phases, NORMAL * peak / 2, asked.normal_seconds)
        await offering.decide()
    return {"phases": phases, "extras": extras, "journal": offering.journal}


async def _storm(
    offering: Offering, bank: target.Target, by_shard: list[list[str]], asked: argparse.Namespace, offer: Any
) -> dict[str, Any]:
    """Offer a normal load beside a storm of look-ups; tell what came of the storm."""
    look_ups = LookUps(
        bank.access,
        [number for shard in by_shard for number in shard],
        offering.paid(asked.accounts),
        offering.gateways,
        asked.deadline_seconds,
        asked.seed,
    )
    balances = await look_ups.answered_per_s({BALANCE: 1})
    capacity = await look_ups.answered_per_s(MIX)
    begun = asyncio.Event()
    storms: list[asyncio.Task[dict[str, Any]]] = []

    async def begin() -> None:
        storms.append(asyncio.create_task(look_ups.storm(LOOK_UPS_FACTOR * balances, asked.normal_seconds, begun)))
        waiting = asyncio.ensure_future(begun.wait())
        await asyncio.wait((*storms, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    await offer("look-up storm", NORMAL, asked.normal_seconds, beside=begin)
    found = await storms[0]
    return {"balances_without_pause_per_s": round(balances), "without_pause_per_s": round(capacity), **found}


async def _silence_one_shard(
    offering: Offering, bank: target.Target, phases: list[Phase], per_second: float, seconds: float
) -> None:
    """Stop the last shard's ledger while two shards are paid to, and let it go on."""
    assert bank.open_bank is not None
    pid = bank.open_bank.pids[f"ledger-{bank.open_bank.shards}"]
    last = bank.open_bank.shards - 1
    os.kill(pid, signal.SIGSTOP)
    try:
        phases += await asyncio.gather(
            offering.offer("shard 1 beside a silent one", per_second, seconds, shard=0),
            offering.offer("the silent shard", per_second, seconds, shard=last),
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    phases.append(await offering.offer("all shards again", 2 * per_second, seconds))


async def _connect(bank: target.Target, by_shard: list[list[str]], count: int, offer: Any, seconds: float) -> int:
    """Open connections and keep them while a normal load is offered; return how many were answered."""
    request = bank_pb2.GetBalanceRequest(name=f"accounts/{by_shard[0][0]}/balance")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(bank.access)) for _ in range(count)]
        waiting = iter(clients)

        async def connect() -> None:
            for client in waiting:
                while (await client.send("GetBalance", request, 0))[0].kind != POSTED:
                    await asyncio.sleep(CONNECT_PAUSE_SECONDS)

        await asyncio.gather(*(connect() for _ in range(CONNECTING)))
        await offer(f"with {count:,} connections", NORMAL, seconds)
        return len(clients)


def measure(asked: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Find the capacity, offer the phases and prove the books. Raises NotSound and its like."""
    bank = target.on_this_machine(asked.data)
    by_shard = bank.prepare(asked.accounts)
    load = closed_loop.Load(
        access=bank.access,
        accounts_by_shard=by_shard,
        currency_code=target.CURRENCY,
        crossing_share=0.0,
        transfers_per_call=asked.per_call,
        in_flight=asked.in_flight,
        warm_up_seconds=2.0,
        seconds=asked.normal_seconds,
        seed=asked.seed,
        bulk=True,
    )
    closed, peak, cores = _capacity(load, bank)
    console.print(f"capacity: {peak:,.0f} transfers/s by a closed loop; offering")
    gc.collect()
    gc.disable()  # What is remembered of every call grows; looking for cycles in it would stop the clock.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(run(asked, bank, by_shard, peak))
    gc.enable()
    overload = next(phase for phase in seen["phases"] if phase.name == "overload")
    burdened = max(0.0, overload.cores[GENERATOR] - cores[GENERATOR])
    console.print(f"capacity again, beside something that wants {burdened:.2f} processors")
    with burden.carried(burdened):
        again, beside, cores_beside = _capacity(replace(load, seed=load.seed + 1), bank)
    journal = closed.journal
    journal.add(seen["journal"])
    journal.add(again.journal)
    console.print("proving the books")
    proved = bank.prove(journal, by_shard)
    names = (
        "client",
        "accounts",
        "per_call",
        "in_flight",
        "deadline_seconds",
        "normal_seconds",
        "overload_seconds",
        "seed",
    )
    conditions = {
        **machine.describe(),
        "load": {name: getattr(asked, name) for name in names},
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }
    capacities = {
        "capacity_per_s": round(peak),
        "cores": report.rounded(cores),
        "capacity_beside_burden_per_s": round(beside),
        "cores_beside_burden": report.rounded(cores_beside),
    }
    return report.to_json(capacities, seen["phases"], seen["extras"], conditions, proved)


def _capacity(load: closed_loop.Load, bank: target.Target) -> tuple[closed_loop.Measured, float, dict[str, float]]:
    """Find what the bank can do by a closed loop: all that was seen, transfers/s, and the processors each part used."""
    assert bank.open_bank is not None
    pids = bank.open_bank.pids_by_part
    readings: list[processor.Reading] = []
    seen = closed_loop.generate(load, 1, lambda: readings.append(processor.Reading.now(pids, GENERATOR)))
    begin, end = readings
    return seen, seen.posted / load.seconds, begin.cores_until(end)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.overload", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data directory of a bank that is open")
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--per-call", type=int, default=100, help="transfers")
    parser.add_argument("--in-flight", type=int, default=16, help="calls, when the capacity is found")
    parser.add_argument("--deadline-seconds", type=float, default=2.0, help="of each call")
    parser.add_argument("--normal-seconds", type=float, default=10.0)
    parser.add_argument("--overload-seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--client", choices=CLIENTS, default=LEAN, help="this kit's own, or grpc.aio's")
    parser.add_argument("--short", action="store_true", help="the overload and the silent shard only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/overload.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure; return 0 with a table, a JSON file and a picture, 2 when a goal was missed, or 1 with a reason and none."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    asked = _parse(arguments)
    asked.output.unlink(missing_ok=True)
    console = Console(width=140, highlight=False)
    try:
        document = measure(asked, console)
    except FAILURES as error:
        console.print(f"no figures: {error}", markup=False)
        return 1
    report.show(document, console)
    write(document, asked.output)
    console.print(f"written to {asked.output} and {report.draw(document, asked.output)}")
    return 0 if all(goal["reached"] for goal in document["goals"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
