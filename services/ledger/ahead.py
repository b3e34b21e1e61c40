"""The next batch, decided while the one before it is being written.

A writer that waits for PostgreSQL has a processor to spare. What arrives meanwhile is decided on the books
as the batch that is being written will leave them, and written only when it has left them so: should that
fail, for whatever reason, these decisions are dropped and made again. Jobs stay in the writer's queue until
then; here is only what would come of them. Only what memory alone can decide comes early: one job that needs
to ask the database, or asks for more than plain transfers, and the batch is decided as a whole in its turn.
Never here: the queue, the database, rules about money.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, Final

from services.domain import limits
from services.ledger.draft import Draft
from services.ledger.jobs import Job
from services.ledger.memory import Facts, Memory
from services.ledger.store import Head

WEIGHT_AT_ONCE: Final = 256
"""Transfers decided in one go: as long as that takes, what is being written cannot go on."""


class Ahead:
    """What jobs at the head of the queue will be answered, if `below` is committed."""

    def __init__(self, memory: Memory, head: Head, below: Draft, now_us: Callable[[], int]) -> None:
        self.seconds = 0.0
        """How long deciding took."""
        self._memory = memory
        self._head = Head(below.sequence, head.epoch, below.booking_time_us)
        self._below = below
        self._now_us = now_us
        self._facts = Facts()
        self._draft: Draft | None = None
        self._jobs: list[Job[Any]] = []
        self._answers: list[Any] = []
        self._weight = 0
        # Ids of what is given back get their meaning when that is committed, not by the draft.
        self._is_spoilt = bool(below.crossings_returned)

    def look(self, queue: Iterable[Job[Any]]) -> bool:
        """Decide some more of a queue; tell whether there may be more to decide at once."""
        until = self._weight + WEIGHT_AT_ONCE
        for job in islice(queue, len(self._jobs), None):
            if self._is_spoilt or self._weight >= until:
                break
            if self._jobs and self._weight + job.weight > limits.BATCH_TRANSFERS_MAX:
                return False
            self._take(job)
        else:
            return False
        return not self._is_spoilt

    def complete(self, batch: Sequence[Job[Any]]) -> tuple[Draft, list[Any]] | None:
        """Give the draft and the answers of a whole batch, deciding what came last; None when it must be decided anew.

        Only once what is below was committed.
        """
        ahead = len(self._jobs)
        if not ahead or ahead > len(batch) or any(map(_differ, self._jobs, batch)):
            return None
        for job in batch[ahead:]:
            self._take(job)
            if self._is_spoilt:
                return None
        assert self._draft is not None
        return self._draft, self._answers

    def _take(self, job: Job[Any]) -> None:
        started = perf_counter()
        if not job.is_plain or not self._memory.recalls(job, self._facts, self._below):
            self._is_spoilt = True
            return
        if self._draft is None:
            self._draft = self._memory.draft(self._head, self._now_us(), self._facts, self._below)
        self._answers.append(job.decide(self._draft))
        self._jobs.append(job)
        self._weight += job.weight
        self.seconds += perf_counter() - started


def _differ(one: object, other: object) -> bool:
    return one is not other
