"""All of the ledger's metrics, each answering a question.

Labels are small closed sets: never an account, a customer or a transfer.
"""

from typing import Any

from services.chassis.meters import Counter, Gauge, Histogram
from services.domain.outcomes import Outcome

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

TRANSFERS = Counter(
    "hivecore_ledger_transfers_total",
    "How many transfers were decided for the first time, by outcome and reason?",
    ["shard", "outcome", "reason"],
)
REPEATS = Counter(
    "hivecore_ledger_repeats_total", "How many transfers were asked for again and answered as before?", ["shard"]
)
POSTED_MINOR = Counter(
    "hivecore_ledger_posted_minor_units_total",
    "How much money did transfers move, in minor units by currency, crossings counted where they start?",
    ["shard", "currency"],
)
UNKNOWN_OUTCOMES = Counter(
    "hivecore_ledger_unknown_outcomes_total",
    "How many calls were told that their outcome is not known yet?",
    ["shard"],
)
BATCH_TRANSFERS = Histogram(
    "hivecore_ledger_batch_transfers",
    "How many transfers, landings and returns share one commit?",
    ["shard"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 8000, 16000),
)
DECIDE_SECONDS = Histogram(
    "hivecore_ledger_decide_seconds", "How long does deciding one batch take?", ["shard"], buckets=_SECONDS
)
BATCHES_AHEAD = Counter(
    "hivecore_ledger_batches_ahead_total",
    "How many batches had been decided, but for the last arrivals, while the one before them was being written?",
    ["shard"],
)
ACCOUNTS_LOADED_AHEAD = Counter(
    "hivecore_ledger_accounts_loaded_ahead_total",
    "How many accounts were read for the next batch while the one before it was being written?",
    ["shard"],
)
LOAD_SECONDS = Histogram(
    "hivecore_ledger_load_seconds", "How long does loading a batch's accounts take?", ["shard"], buckets=_SECONDS
)
QUEUE_WAIT_SECONDS = Histogram(
    "hivecore_ledger_queue_wait_seconds",
    "How long had the oldest call of a batch waited for the writer?",
    ["shard"],
    buckets=_SECONDS,
)
COMMIT_SECONDS = Histogram(
    "hivecore_ledger_commit_seconds",
    "How long does COMMIT take until the batch is on the disk? Of a small batch, its one statement with it.",
    ["shard"],
    buckets=_SECONDS,
)
WRITE_SECONDS = Histogram(
    "hivecore_ledger_write_seconds",
    "How long does one batch take in PostgreSQL, from BEGIN to COMMIT?",
    ["shard"],
    buckets=_SECONDS,
)
QUEUED_TRANSFERS = Gauge("hivecore_ledger_queued_transfers", "How many transfers wait for the writer?", ["shard"])
IS_WRITER = Gauge(
    "hivecore_ledger_is_writer", "Does this process write the shard's books now (1) or not (0)?", ["shard"]
)
WRITER_EPOCH = Gauge("hivecore_ledger_writer_epoch", "How often have the shard's books changed hands?", ["shard"])
FENCE_LOSSES = Counter(
    "hivecore_ledger_fence_losses_total",
    "How often was a batch refused because another writer had the books?",
    ["shard"],
)
DOUBTS = Counter(
    "hivecore_ledger_doubts_total", "How often was a COMMIT's answer lost and the database had to be asked?", ["shard"]
)
CACHED_ACCOUNTS = Gauge("hivecore_ledger_cached_accounts", "How many account states are held in memory?", ["shard"])
CROSSINGS_IN_FLIGHT = Gauge(
    "hivecore_ledger_crossings_in_flight", "How many crossings has the peer not answered yet?", ["shard", "peer"]
)
CROSSINGS_IN_FLIGHT_MINOR = Gauge(
    "hivecore_ledger_crossings_in_flight_minor_units",
    "How much money is on its way to a peer, in minor units?",
    ["shard", "peer", "currency"],
)
CROSSINGS_OLDEST_SECONDS = Gauge(
    "hivecore_ledger_crossings_oldest_age_seconds",
    "How long has the oldest crossing to a peer been under way? 0 when there is none",
    ["shard", "peer"],
)
CONSERVATION_GAP = Gauge(
    "hivecore_ledger_conservation_gap_minor_units",
    "How far are the shard's balances from adding up to 0, in minor units? Anything but 0 is an alarm",
    ["shard", "currency"],
)
UNBALANCED_LEGS = Gauge(
    "hivecore_ledger_unbalanced_legs",
    "How many legs written lately have entries that do not add up to 0?",
    ["shard"],
)
CHECKED_SEQUENCE = Gauge(
    "hivecore_ledger_checked_sequence", "Up to which sequence were new entries checked to add up?", ["shard"]
)
LAST_SEQUENCE = Gauge("hivecore_ledger_last_sequence", "How far are the shard's books?", ["shard"])
LAST_LOOK_TIME = Gauge(
    "hivecore_ledger_last_look_timestamp_seconds", "When did the ledger last look at its books?", ["shard"]
)
LAST_SWEEP_TIME = Gauge(
    "hivecore_ledger_last_sweep_timestamp_seconds",
    "When were the balances of all accounts last added up?",
    ["shard"],
)
SWEEP_SECONDS = Gauge(
    "hivecore_ledger_sweep_seconds", "How long did adding up all balances take, pauses included?", ["shard"]
)
ACCOUNTS = Gauge("hivecore_ledger_accounts", "How many accounts are in the shard's books?", ["shard"])
HOLDS_OPEN = Gauge("hivecore_ledger_open_holds", "How many holds are open?", ["shard", "currency"])
HOLDS_OPEN_MINOR = Gauge(
    "hivecore_ledger_open_holds_minor_units",
    "How much money do open holds set aside, in minor units?",
    ["shard", "currency"],
)
HOLDS_OVERDUE = Gauge(
    "hivecore_ledger_overdue_holds",
    "How many holds are still open although they expired more than 10 seconds ago?",
    ["shard"],
)
CROSSINGS_RETURNED = Counter(
    "hivecore_ledger_crossings_returned_total", "How many crossings were given back to the payer?", ["shard", "peer"]
)
UNSEALED_SEQUENCES = Gauge(
    "hivecore_ledger_unsealed_sequences", "How many sequences of the journal does no seal cover yet?", ["shard"]
)
SEALED_SEQUENCES = Counter(
    "hivecore_ledger_sealed_sequences_total", "How many sequences of the journal did this process seal?", ["shard"]
)
SEAL_SECONDS = Counter(
    "hivecore_ledger_seal_seconds_total",
    "How much time went into sealing the journal, PostgreSQL's included?",
    ["shard"],
)
PROMISES_OPEN = Gauge("hivecore_ledger_promises_open", "How many promises wait for their home's decision?", ["shard"])
PROMISE_AGE = Gauge("hivecore_ledger_promise_age_seconds", "How long has the oldest open promise waited?", ["shard"])
SPANS = Counter(
    "hivecore_ledger_spanning_transfers_total",
    "How did transfers over several shards end that this shard coordinated: POSTED, REFUSED, UNDECIDED?",
    ["shard", "end"],
)


class SpanMeters:
    """Bound children of the counter of transfers over several shards."""

    def __init__(self, shard_id: int) -> None:
        names = {Outcome.POSTED: "POSTED", Outcome.REFUSED: "REFUSED"}
        self._ends = {outcome: SPANS.labels(str(shard_id), name) for outcome, name in names.items()}
        self._undecided = SPANS.labels(str(shard_id), "UNDECIDED")

    def count(self, answered: Any) -> None:
        """Count the end of one; None is undecided."""
        if answered is None:
            self._undecided.inc()
        elif answered.outcome in self._ends:
            self._ends[answered.outcome].inc()
