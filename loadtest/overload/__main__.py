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
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

import uvloop
from hivecore.gateway.v1 import bank_pb2
from rich.console import Console

from loadtest import closed_loop, machine, processor, target
from loadtest.accounts import OpeningFailed
from loadtest.bank import BankFailed, OpenBank
from loadtest.bench.report import write
from loadtest.client import ERROR, UNKNOWN, Client, Outcome
from loadtest.crew import CrewFailed
from loadtest.histograms import percentile_ms
from loadtest.journal import ASK_AGAIN, Journal, Sent
from loadtest.lean_client import LeanClient
from loadtest.mix import MIXES
from loadtest.open_loop.callers import BREATH, CLIENTS, GRPC, LEAN, OpenLoad, generate
from loadtest.overload import burden, report
from loadtest.overload.inside import Inside
from loadtest.overload.report import GENERATOR, Answered, Phase
from loadtest.proof import NotSound
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Payment, Workload, transfer_id

FACTOR: Final = 10.0
"""Of the capacity, offered in the overload."""
NORMAL: Final = 0.5
IN_FLIGHT_MAX: Final = 2_000
"""Calls of one phase; what is due beyond is counted as dropped."""
CONNECTIONS: Final = 4
"""Of the generator, in turns: a server takes so many calls at a time on one connection."""
RETRIES: Final = 5
LOOKING_UP: Final = 64
LOOKING_UP_SECONDS: Final = 3.0
"""For which look-ups are made without a pause, to see how many the bank can answer."""
LOOK_UPS_FACTOR: Final = 3.0
"""Of those, offered in the storm."""
DECIDING: Final = 16
DECIDE_SECONDS: Final = 15.0
DECIDE_ROUNDS: Final = 20
CONNECTING: Final = 100
REQUESTS: Final = 200
"""Written before a phase and used again and again, with other ids: a generator shares the machine with the bank."""
COUNTED_HEX: Final = 12
"""The last digits of an id, counted up within a call; those before them are chance."""
ID_BEGUN: Final = "<" * 24
"""In a request that is written beforehand: what comes before the counted digits of its ids."""
Post = Callable[[bytes, int], Awaitable[list[Outcome]]]
"""Sends a request of so many transfers."""
Drawn = tuple[str, Sequence[Payment]]
"""A call's transfers: how their ids begin, and what is paid."""
FAILURES: Final = (BankFailed, OpeningFailed, CrewFailed, NotSound, ValueError)


class Offering:
    """Offers transfers to one bank and writes down what became of each."""

    def __init__(
        self,
        asked: argparse.Namespace,
        client: Client,
        by_shard: Sequence[Sequence[str]],
        bank: OpenBank,
    ) -> None:
        self.journal = Journal()
        self._told: list[tuple[Drawn, Sequence[Outcome]]] = []
        """Calls of which something is or may be in the books; sorted out by `decide`."""
        self._undecided: list[Drawn] = []
        """Calls that left a doubt."""
        self._asked = asked
        self._client = client
        self._posts: Iterator[Post] = iter(())
        self._by_shard = by_shard
        self._pids = bank.pids_by_part
        self._metrics = [address for name, address in bank.metrics.items() if name.startswith("gateway")]
        self._stencil = Stencil(target.CURRENCY)
        self._ids = Random(SystemRandom().getrandbits(128))  # noqa: S311
        self._chance = Random(asked.seed)  # noqa: S311

    async def connect(self, stack: AsyncExitStack) -> None:
        """Connect, until the stack is closed. Raises OSError."""
        asked = self._asked
        if asked.client == GRPC or self._client.access.authority is not None:
            self._posts = cycle([partial(self._client.post_many, seconds=asked.deadline_seconds)])
            return
        lean = [LeanClient(self._client.access, asked.deadline_seconds) for _ in range(CONNECTIONS)]
        self._posts = cycle([(await stack.enter_async_context(each)).post_many for each in lean])

    async def offer(
        self, name: str, per_second: float, seconds: float, *, shard: int | None = None, retries: int = 0
    ) -> Phase:
        """Send so many transfers a second, of one shard's accounts or of all, each call when it is due.

        A call that was refused as a whole is sent again at once, up to `retries` times.
        """
        accounts = self._by_shard if shard is None else [self._by_shard[shard]]
        workload = Workload(accounts, crossing_share=0.0, chance=self._chance)
        phase = Phase(name, per_second, seconds)
        size = self._asked.per_call
        written = [self._write(workload.draw(size)) for _ in range(REQUESTS)]
        in_flight: set[asyncio.Task[None]] = set()
        before = await Inside.now(self._metrics)
        reading = self._read()
        begin = time.monotonic()
        for number in range(round(per_second * seconds / size)):
            due = number * size / per_second
            wait = begin + due - time.monotonic()
            if wait > 0 or number % BREATH == 0:
                # A generator that is behind still looks after its answers.
                await asyncio.sleep(max(0.0, wait))
            if len(in_flight) >= IN_FLIGHT_MAX:
                phase.dropped += size
                continue
            call = asyncio.create_task(self._send(phase, *written[number % REQUESTS], begin, due, retries))
            in_flight.add(call)
            call.add_done_callback(in_flight.discard)
        phase.sending_seconds = time.monotonic() - begin
        phase.cores = reading.cores_until(self._read())
        await asyncio.gather(*in_flight)
        if shard is None:
            phase.inside = before.until(await Inside.now(self._metrics))
        return phase

    async def look_ups_per_s(self) -> float:
        """Ask for balances without a pause for a while; return how often in a second."""
        count = 0
        end = time.monotonic() + LOOKING_UP_SECONDS
        numbers = [number for shard in self._by_shard for number in shard]

        async def ask(lean: LeanClient) -> None:
            nonlocal count
            while time.monotonic() < end:
                name = f"accounts/{self._chance.choice(numbers)}/balance"
                await lean.send("GetBalance", bank_pb2.GetBalanceRequest(name=name), 0)
                count += 1

        async with LeanClient(self._client.access) as lean:
            await asyncio.gather(*(ask(lean) for _ in range(LOOKING_UP)))
        return count / LOOKING_UP_SECONDS

    async def look_up(self, per_second: float, seconds: float, begun: asyncio.Event) -> dict[str, Any]:
        """Offer look-ups from a process of its own; tell what came of them. `begun` is set when they begin."""
        loop = asyncio.get_running_loop()

        def at_edge() -> None:
            loop.call_soon_threadsafe(begun.set)

        load = OpenLoad(
            self._client.access,
            self._by_shard,
            target.CURRENCY,
            MIXES["look_ups"],
            per_second,
            seconds,
            warm_up_seconds=0.0,
            deadline_seconds=self._asked.deadline_seconds,
            seed=self._asked.seed,
        )
        before = await Inside.now(self._metrics)
        seen = await asyncio.to_thread(generate, load, 1, at_edge)
        inside = before.until(await Inside.now(self._metrics))
        reasons = Counter(outcome.reason for _, outcome in seen.outcomes.elements())
        answered = reasons.pop("", 0)
        return {
            "offered_per_s": round(seen.due / seconds),
            "answered_per_s": round(answered / seconds),
            "not_answered": dict(reasons),
            "dropped": seen.dropped,
            "turned_away_unread": round(inside.turned_away.get("look_ups", 0)),
            "inside_p50_ms": inside.ms(report.LOOKING_UP, answered * 0.5),
            "inside_p99_ms": inside.ms(report.LOOKING_UP, answered * 0.01),
            "seen_p99_ms": percentile_ms(seen.service, 99),
            "generator_late_p99_ms": percentile_ms(seen.late, 99),
        }

    async def _send(
        self, phase: Phase, payments: Sequence[Payment], written: bytes, begin: float, due: float, retries: int
    ) -> None:
        drawn = self._id_begun(), payments
        request = written.replace(_ID_BEGUN_BYTES, drawn[0].encode())
        post, count = next(self._posts), len(payments)
        undecided = False
        kinds: set[str] = set()
        for attempt in range(retries + 1):
            phase.attempts += 1
            began = time.monotonic()
            outcomes = await post(request, count)
            ended = time.monotonic()
            late_seconds = 0.0 if attempt else began - begin - due
            phase.answered.append(Answered(due, ended - begin, late_seconds, ended - began, outcomes))
            kinds = {outcome.kind for outcome in outcomes}
            undecided |= UNKNOWN in kinds
            if kinds != {ERROR} or phase.is_late(ended - begin):
                break
        if undecided and kinds & ASK_AGAIN:
            # An error says nothing of an earlier attempt.
            self._undecided.append(drawn)
        elif kinds != {ERROR}:
            self._told.append((drawn, outcomes))

    async def decide(self) -> None:
        """Send every call that has left a doubt again, until there is none or it is left to the proof."""
        for drawn, outcomes in self._told:
            self._enter(_sent(drawn), outcomes)
        self._told.clear()
        calls = iter(self._undecided)

        async def decide() -> None:
            for sent in map(_sent, calls):
                for _ in range(DECIDE_ROUNDS):
                    outcomes = await self._client.post_many(self._stencil.write(sent), len(sent), DECIDE_SECONDS)
                    if not any(outcome.kind in ASK_AGAIN for outcome in outcomes):
                        break
                self._enter(sent, [Outcome(UNKNOWN) if each.kind == ERROR else each for each in outcomes])

        await asyncio.gather(*(decide() for _ in range(DECIDING)))
        self._undecided.clear()

    def _enter(self, sent: Sequence[Sent], outcomes: Sequence[Outcome]) -> None:
        for transfer, outcome in zip(sent, outcomes, strict=True):
            self.journal.told(transfer, outcome, partial(self._again, transfer))

    def _again(self, transfer: Sent) -> tuple[str, bytes]:
        return "PostTransfer", self._stencil.write([transfer])

    def _write(self, payments: Sequence[Payment]) -> tuple[Sequence[Payment], bytes]:
        return payments, self._stencil.write(_sent((ID_BEGUN, payments)))

    def _id_begun(self) -> str:
        return transfer_id(time.time_ns() // 1_000_000, self._ids.getrandbits(ID_CHANCE_BITS))[:-COUNTED_HEX]

    def _read(self) -> processor.Reading:
        return processor.Reading.now(self._pids, GENERATOR)


_ID_BEGUN_BYTES: Final = ID_BEGUN.encode()


def _sent(drawn: Drawn) -> list[Sent]:
    """Give a call's transfers."""
    begun, payments = drawn
    return [(f"{begun}{number:0{COUNTED_HEX}x}", *payment) for number, payment in enumerate(payments)]


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
            extras["look_ups_capacity_per_s"] = round(await offering.look_ups_per_s())
            begun = asyncio.Event()
            per_second = LOOK_UPS_FACTOR * extras["look_ups_capacity_per_s"]
            looking = asyncio.create_task(offering.look_up(per_second, asked.normal_seconds, begun))
            await asyncio.wait((looking, waiting := asyncio.ensure_future(begun.wait())), return_when="FIRST_COMPLETED")
            waiting.cancel()
            await offer("look-up storm", NORMAL, asked.normal_seconds)
            extras["look_ups"] = await looking
            extras["connections"] = await _connect(bank, by_shard, asked.connections, offer, asked.normal_seconds)
        await _silence_one_shard(offering, bank, phases, NORMAL * peak / 2, asked.normal_seconds)
        await offering.decide()
    return {"phases": phases, "extras": extras, "journal": offering.journal}


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
                await client.call(client.stub.GetBalance, request)

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
