"""Callers who insist: each sends its transfer under the same id until the outcome is definite.

The calls of the callers come at a fixed rate, whether the bank answers or not, as those of customers do;
so a shard that is away is seen by all who want something of it meanwhile. Never here: what goes wrong
in the bank, and what is made of the answers (`outage_report.py`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from loadtest.client import POSTED, REFUSED, RETURNED, UNKNOWN, Client, Outcome
from loadtest.stencil import Stencil

DEFINITE: Final = frozenset({POSTED, REFUSED, RETURNED})
PAUSE_SECONDS_MIN: Final = 0.05
PAUSE_SECONDS_MAX: Final = 0.5


class NotDecided(Exception):
    """A caller's patience ended before its transfer had an outcome."""


class Attempt(NamedTuple):
    """One call and its answer; times in seconds by the system's clock."""

    began: float
    ended: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Insistent:
    """One transfer of one leg, and every attempt at it."""

    transfer_id: str
    debit_account: str
    credit_account: str
    amount_minor: int
    payer_shard: int
    payee_shard: int
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """The last answer."""
        return self.attempts[-1].outcome

    @property
    def was_in_doubt(self) -> bool:
        """Whether an attempt ended without anybody knowing what it did."""
        return any(attempt.outcome.kind == UNKNOWN for attempt in self.attempts)

    def request(self) -> tuple[str, str, str, int]:
        """Give what a stencil wants."""
        return self.transfer_id, self.debit_account, self.credit_account, self.amount_minor


@dataclass(frozen=True, slots=True)
class Manner:
    """How the callers behave."""

    per_second: float
    """New transfers."""
    deadline_seconds: float
    """Of each attempt."""
    patience_seconds: float
    """From a transfer's first attempt on."""


async def pay_all(
    client: Client,
    transfers: Sequence[Insistent],
    currency_code: str,
    manner: Manner,
    chance: Random,
    at_middle: Callable[[], None],
) -> None:
    """Let every transfer be paid by a caller of its own; `at_middle` is called when half of them have begun.

    Raises NotDecided.
    """
    stencil = Stencil(currency_code)
    begin = time.monotonic()
    try:
        async with asyncio.TaskGroup() as callers:
            for number, transfer in enumerate(transfers):
                await asyncio.sleep(begin + number / manner.per_second - time.monotonic())
                if number == len(transfers) // 2:
                    at_middle()
                callers.create_task(_insist(client, stencil, transfer, manner, chance))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _insist(client: Client, stencil: Stencil, transfer: Insistent, manner: Manner, chance: Random) -> None:
    request = stencil.write([transfer.request()])
    give_up = time.time() + manner.patience_seconds
    pause = PAUSE_SECONDS_MIN
    while True:
        began = time.time()
        (outcome,) = await client.post_one(request, manner.deadline_seconds)
        transfer.attempts.append(Attempt(began, time.time(), outcome))
        if outcome.kind in DEFINITE:
            return
        if time.time() > give_up:
            raise NotDecided(f"{transfer.transfer_id}: {outcome.kind} {outcome.reason} to the end")
        await asyncio.sleep(pause * chance.uniform(0.5, 1.0))
        pause = min(2 * pause, PAUSE_SECONDS_MAX)
