"""The next batch, decided while the one before it is being written.

A writer that waits for PostgreSQL has a processor to spare. What arrives meanwhile is decided on the books
as the batch that is being written will leave them, and written only when it has left them so: should that
fail, for whatever reason, these decisions are dropped and made again. Jobs stay in the writer's queue until
then; here is only what would come of them. Accounts that memory lacks are read beside what is being written
(`beside.py`) when that is worth it. One job that needs something else of the database, or asks for more than
plain transfers, and the batch is decided as a whole in its turn. Never here: the queue, SQL, rules about money.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, Final

from services.domain import limits
from services.ledger.beside import Beside, Loading
from services.ledger.draft import Draft
from services.ledger.jobs import Job
from services.ledger.memory import Facts, Memory
from services.ledger.store import Head

WEIGHT_AT_ONCE: Final = 256
"""Transfers decided in one go: as long as that takes, what is being written cannot go on."""

LOADING_WEIGHT_MIN: Final = 100
"""For fewer transfers one question more costs more than deciding early saves."""


class Ahead:
    """What jobs at the head of the queue will be answered, if `below` is committed.

    `wake` is called when there is something new to look at.
    """

    def __init__(
        self,
        memory: Memory,
        head: Head,
        below: Draft,
        now_us: Callable[[], int],
        beside: Beside,
        wake: Callable[[], None],
    ) -> None:
        self.seconds = 0.0
        """How long deciding took."""
        self.loaded_count = 0
        """Accounts that were read beside."""
        self._memory = memory
        self._before = head
        self._head = Head(below.sequence, head.epoch, below.booking_time_us)
        self._below = below
        self._now_us = now_us
        self._beside = beside
        self._wake = wake
        self._facts = Facts()
        self._draft: Draft | None = None
        self._jobs: list[Job[Any]] = []
        self._answers: list[Any] = []
        self._weight = 0
        self._loading: Loading | None = None
        self._loaded_for: Job[Any] | None = None
        # Ids of what is given back get their meaning when that is committed, not by the draft.
        self._is_spoilt = bool(below.crossings_returned)

    def look(self, queue: Iterable[Job[Any]]) -> bool:
        """Decide some more of a queue; tell whether there may be more to decide at once."""
        if self._loading is not None:
            if not self._loading.done():
                return False
            self._take_loaded(self._loading)
        until = self._weight + WEIGHT_AT_ONCE
        for job in islice(queue, len(self._jobs), None):
            if self._is_spoilt or self._weight >= until:
                break
            if self._jobs and self._weight + job.weight > limits.BATCH_TRANSFERS_MAX:
                return False
            if not self._take(job):
                self._load(islice(queue, len(self._jobs), None))
                return False
        else:
            return False
        return not self._is_spoilt

    async def complete(self, batch: Sequence[Job[Any]]) -> tuple[Draft, list[Any]] | None:
        """Give the draft and the answers of a whole batch, deciding what came last; None when it must be decided anew.

        Only once what is below was committed.
        """
        ahead = len(self._jobs)
        if not (ahead or self._loading) or ahead > len(batch) or any(map(_differ, self._jobs, batch)):
            return None
        if self._loading is not None and ahead < len(batch):
            await asyncio.wait([self._loading])
            self._take_loaded(self._loading)
        for job in batch[ahead:]:
            if not self._take(job):
                return None
        if self._draft is None:
            return None  # Accounts were being read for jobs whose callers have gone.
        return self._draft, self._answers

    def _take(self, job: Job[Any]) -> bool:
        """Decide a job; tell whether that could be done."""
        started = perf_counter()
        if not job.is_plain or not self._memory.recalls(job, self._facts, self._below):
            return False
        if self._draft is None:
            self._draft = self._memory.draft(self._head, self._now_us(), self._facts, self._below)
        self._answers.append(job.decide(self._draft))
        self._jobs.append(job)
        self._weight += job.weight
        self.seconds += perf_counter() - started
        return True

    def _load(self, undecided: Iterator[Job[Any]]) -> None:
        """Begin to load what the next batch lacks, unless that was tried already or is not worth it."""
        wanted: set[int] = set()
        weight = self._weight
        first: Job[Any] | None = None
        for job in undecided:
            weight += job.weight
            if not job.is_plain or (first is not None and weight > limits.BATCH_TRANSFERS_MAX):
                break
            first = first or job
            wanted.update(number for column in job.accounts() for number in column)
        lacking = self._memory.lacks(wanted, self._below) if first is not self._loaded_for else ()
        if lacking and weight >= LOADING_WEIGHT_MIN:
            self._loading = self._beside.load_accounts(lacking, self._before.sequence, self._before.epoch)
        if self._loading is None:
            self._is_spoilt = True
            return
        self._loaded_for = first
        self._loading.add_done_callback(lambda _: self._wake())

    def _take_loaded(self, loading: Loading) -> None:
        self._loading = None
        loaded = None if loading.cancelled() else loading.result()
        if loaded is None:
            self._is_spoilt = True
            return
        self.loaded_count += len(loaded)
        self._memory.take_loaded(loaded)


def _differ(one: object, other: object) -> bool:
    return one is not other
