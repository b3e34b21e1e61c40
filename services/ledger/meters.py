"""What the writer of a shard counts and times: the ledger's metrics, bound to the shard once.

Never here: which metrics there are (`metrics.py`).
"""

from typing import Any

from services.domain import currencies
from services.domain.outcomes import Outcome, Refusal
from services.ledger import metrics
from services.ledger.draft import Draft


class Meters:
    """One shard's."""

    def __init__(self, shard_id: int) -> None:
        shard = str(shard_id)
        self._shard = shard
        self.queued = metrics.QUEUED_TRANSFERS.labels(shard)
        self.cached = metrics.CACHED_ACCOUNTS.labels(shard)
        self.load = metrics.LOAD_SECONDS.labels(shard)
        self.ahead = metrics.BATCHES_AHEAD.labels(shard)
        self.loaded_ahead = metrics.ACCOUNTS_LOADED_AHEAD.labels(shard)
        self.decide = metrics.DECIDE_SECONDS.labels(shard)
        self.write = metrics.WRITE_SECONDS.labels(shard)
        self.commit = metrics.COMMIT_SECONDS.labels(shard)
        self.queue_wait = metrics.QUEUE_WAIT_SECONDS.labels(shard)
        self.unknown = metrics.UNKNOWN_OUTCOMES.labels(shard)
        self.doubts = metrics.DOUBTS.labels(shard)
        self._batch = metrics.BATCH_TRANSFERS.labels(shard)
        self._repeats = metrics.REPEATS.labels(shard)
        self._outcomes: dict[tuple[int, int], Any] = {}
        self._moved: dict[int, Any] = {}

    def count(self, draft: Draft, asked: int) -> None:
        """Count a committed draft."""
        self._batch.observe(len(draft.transfers))
        counts: dict[tuple[int, int], int] = {}
        for decision in draft.decisions.values():
            key = (decision.outcome, decision.refusal)
            counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            child = self._outcomes.get(key)
            if child is None:
                outcome, refusal = key
                reason = Refusal(refusal).name if refusal else ""
                child = metrics.TRANSFERS.labels(self._shard, Outcome(outcome).name, reason)
                self._outcomes[key] = child
            child.inc(count)
        for currency, amount_minor in draft.moved_minor().items():
            moved = self._moved.get(currency)
            if moved is None:
                moved = metrics.POSTED_MINOR.labels(self._shard, currencies.CODE_BY_NUMBER[currency])
                self._moved[currency] = moved
            moved.inc(amount_minor)
        repeats = asked - len(draft.decisions) - len(draft.crossings_refused)
        if repeats > 0:
            self._repeats.inc(repeats)
