"""What all users of one kind in one process share: a channel, what they do next, and their journal.

One channel per kind, so that a kind never waits behind another's calls; a channel per user would cost
the bank a connection each. Never here: what users are (`kinds.py`).
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random, SystemRandom
from typing import Any, Final

import grpc
from gevent import GreenletExit
from hivecore.gateway.v1 import bank_pb2_grpc
from locust.env import Environment

from loadtest.client import (
    CHANNEL_OPTIONS,
    DONE,
    ERROR,
    IN_TRANSIT,
    POSTED,
    REFUSED,
    RETURNED,
    UNKNOWN,
    Access,
    Outcome,
    outcome_of_failure,
    outcomes_of_answer,
)
from loadtest.journal import Journal
from loadtest.mix import Mix
from loadtest.operations import Call, Operation, Operations, alone
from loadtest.popularity import named
from loadtest.workload import Hot, Workload

SEVERITY: Final = (POSTED, IN_TRANSIT, RETURNED, REFUSED, ERROR, UNKNOWN)
"""A call of many transfers is counted under the last of these that any of them had."""
ENDED: Final = Outcome(UNKNOWN, "USER_STOPPED")


class CallFailed(Exception):
    """Shown in locust's table of failures: what kind, and the bank's reason."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What users of a process have in common."""

    access: Access
    accounts_by_shard: Sequence[Sequence[str]]
    currency_code: str
    popularity: str
    hot_share: float
    crossing_share: float
    batch_transfers: int
    deadline_seconds: float


class Group:
    """The users of one kind in this process."""

    def __init__(self, mix: Mix, choices: Choices, environment: Environment) -> None:
        self.journal = Journal()
        self.transfers: Counter[str] = Counter()
        """By kind of outcome."""
        self._choices = choices
        self._environment = environment
        self._channel = grpc.insecure_channel(choices.access.gateway, options=CHANNEL_OPTIONS)
        self._stub: Any = bank_pb2_grpc.BankStub(self._channel)
        chance = Random(SystemRandom().getrandbits(128))  # noqa: S311
        workload = Workload(
            choices.accounts_by_shard,
            crossing_share=choices.crossing_share,
            chance=chance,
            popularity=named(choices.popularity),
            hot=mix.hot or (Hot(choices.hot_share) if choices.hot_share else None),
        )
        self._operations = Operations(
            mix, workload, choices.currency_code, chance, lambda: time.time_ns() // 1_000_000, choices.batch_transfers
        )

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def do(self, operation: str) -> None:
        """Carry out one operation of the name, each call when the one before has succeeded."""
        drawn = self._operations.build(operation)
        for call in drawn.calls:
            if not self._send(drawn, call):
                return

    def _send(self, operation: Operation, call: Call) -> bool:
        began = time.perf_counter()
        length = 0
        try:
            answer = getattr(self._stub, call.method)(
                call.request, metadata=self._choices.access.metadata, timeout=self._choices.deadline_seconds
            )
            outcomes = outcomes_of_answer(answer)
            length = answer.ByteSize()
        except grpc.RpcError as failure:
            outcomes = [outcome_of_failure(failure)] * max(1, len(call.sent))
        except GreenletExit:
            # The run is over in the middle of a call: what became of it is asked for when the books are proved.
            self._enter(call, [ENDED] * len(call.sent))
            raise
        milliseconds = (time.perf_counter() - began) * 1000
        self._enter(call, outcomes)
        worst = max(outcomes, key=lambda outcome: SEVERITY.index(outcome.kind))
        self._tell(f"{operation.name}/{call.method}", worst, milliseconds, length)
        return worst == DONE

    def _enter(self, call: Call, outcomes: Sequence[Outcome]) -> None:
        for sent, outcome in zip(call.sent, outcomes, strict=False):
            self.transfers[outcome.kind] += 1
            self.journal.told(sent, outcome, partial(alone, call, sent, self._choices.currency_code))

    def _tell(self, name: str, worst: Outcome, milliseconds: float, length: int) -> None:
        """Tell locust: each kind of outcome is a row of its own, with the latencies of its own calls."""
        is_failure = worst.kind in {ERROR, UNKNOWN}
        request: Any = self._environment.events.request
        request.fire(
            request_type="ok" if worst.kind == POSTED else worst.kind,
            name=name,
            response_time=milliseconds,
            response_length=length,
            exception=CallFailed(f"{worst.kind}: {worst.reason}") if is_failure else None,
            context={},
        )
