"""Offers transfers to one bank by an open loop, and writes down what became of each.

Never here: how much is offered when (`__main__.py`), how a call is sent (`sending.py`), look-ups (`look_ups.py`), and what is made
of it (`report.py`).
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from random import Random, SystemRandom
from typing import Final

from loadtest import processor, target
from loadtest.bank import OpenBank
from loadtest.client import ERROR, POSTED, UNKNOWN, Client, Outcome
from loadtest.journal import ASK_AGAIN, Journal, Sent
from loadtest.lean_client import LeanClient
from loadtest.open_loop.callers import BREATH, GRPC
from loadtest.overload.inside import Inside
from loadtest.overload.report import GENERATOR, Phase
from loadtest.overload.sending import Door, Drawn, Sending
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Payment, Workload, transfer_id

IN_FLIGHT_MAX: Final = 2_000
"""Calls of one phase; what is due beyond is counted as dropped."""
CONNECTIONS: Final = 4
"""Of the generator, in turns: a server takes so many calls at a time on one connection."""
DECIDING: Final = 16
DECIDE_SECONDS: Final = 15.0
DECIDE_ROUNDS: Final = 20
REQUESTS: Final = 200
"""Written before a phase and used again and again, with other ids: a generator shares the machine with the bank."""
COUNTED_HEX: Final = 12
"""The last digits of an id, counted up within a call; those before them are chance."""
ID_BEGUN: Final = "<" * 24
"""In a request that is written beforehand: what comes before the counted digits of its ids."""


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
        self._door = Door((), partial(client.post_many, seconds=asked.deadline_seconds))
        self._by_shard = by_shard
        self._pids = bank.pids_by_part
        self.gateways = [address for name, address in bank.metrics.items() if name.startswith("gateway")]
        """Where their metrics are."""
        self._stencil = Stencil(target.CURRENCY)
        self._ids = Random(SystemRandom().getrandbits(128))  # noqa: S311
        self._chance = Random(asked.seed)  # noqa: S311

    async def connect(self, stack: AsyncExitStack) -> None:
        """Connect, until the stack is closed. Raises OSError."""
        asked = self._asked
        if asked.client == GRPC or self._client.access.authority is not None:
            return
        lean = [LeanClient(self._client.access, asked.deadline_seconds) for _ in range(CONNECTIONS)]
        self._door = Door([await stack.enter_async_context(each) for each in lean], self._door.post)

    async def offer(
        self,
        name: str,
        per_second: float,
        seconds: float,
        *,
        shard: int | None = None,
        retries: int = 0,
        beside: Callable[[], Awaitable[None]] | None = None,
    ) -> Phase:
        """Send so many transfers a second, of one shard's accounts or of all, each call when it is due.

        A call that was refused as a whole is sent again at once, up to `retries` times. What goes on `beside` is begun when
        everything is ready.
        """
        accounts = self._by_shard if shard is None else [self._by_shard[shard]]
        workload = Workload(accounts, crossing_share=0.0, chance=self._chance)
        phase = Phase(name, per_second, seconds)
        size = self._asked.per_call
        written = [self._write(workload.draw(size)) for _ in range(REQUESTS)]
        before = await Inside.now(self.gateways)
        if beside is not None:
            await beside()
        reading = self._read()
        sending = Sending(self._door, phase, retries)
        for number in range(round(per_second * seconds / size)):
            due = number * size / per_second
            wait = sending.begin + due - time.monotonic()
            if wait > 0 or number % BREATH == 0:
                # A generator that is behind still looks after its answers.
                await asyncio.sleep(max(0.0, wait))
                sending.look_at_answers()
            if sending.in_flight >= IN_FLIGHT_MAX:
                phase.dropped += size
                continue
            payments, pieces = written[number % REQUESTS]
            begun = self._id_begun()
            sending.send((begun, payments), begun.encode().join(pieces), due)
        phase.sending_seconds = time.monotonic() - sending.begin
        phase.cores = reading.cores_until(self._read())
        await sending.rest()
        self._told += sending.told
        self._undecided += sending.undecided
        if shard is None:
            phase.inside = before.until(await Inside.now(self.gateways))
        return phase

    def paid(self, count: int) -> list[tuple[str, str]]:
        """Draw transfers of which their callers know that they are in the books: payer and id."""
        found: list[tuple[str, str]] = []
        for drawn, outcomes in self._chance.sample(self._told, len(self._told)):
            place = self._chance.randrange(len(outcomes))
            if outcomes[place].kind == POSTED:
                identifier, payer, *_ = _sent(drawn)[place]
                found.append((payer, identifier))
                if len(found) == count:
                    break
        return found

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

    def _write(self, payments: Sequence[Payment]) -> tuple[Sequence[Payment], list[bytes]]:
        """Write a request in pieces, between which the beginning of its ids belongs."""
        return payments, self._stencil.write(_sent((ID_BEGUN, payments))).split(ID_BEGUN.encode())

    def _id_begun(self) -> str:
        return transfer_id(time.time_ns() // 1_000_000, self._ids.getrandbits(ID_CHANCE_BITS))[:-COUNTED_HEX]

    def _read(self) -> processor.Reading:
        return processor.Reading.now(self._pids, GENERATOR)


def _sent(drawn: Drawn) -> list[Sent]:
    """Give a call's transfers."""
    begun, payments = drawn
    return [(f"{begun}{number:0{COUNTED_HEX}x}", *payment) for number, payment in enumerate(payments)]
