"""All of the ledger's metrics, each answering a question.

Labels are small closed sets: never an account, a customer or a transfer.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

TRANSFERS = Counter(
    "hivecore_ledger_transfers_total",
    "How many transfers were decided for the first time, by outcome and reason?",
    ["shard", "outcome", "reason"],
)
REPEATS = Counter(
    "hivecore_ledger_repeats_total", "How many transfers were asked for again and answered as before?", ["shard"]
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
LOAD_SECONDS = Histogram(
    "hivecore_ledger_load_seconds", "How long does loading a batch's accounts take?", ["shard"], buckets=_SECONDS
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
CROSSINGS_RETURNED = Counter(
    "hivecore_ledger_crossings_returned_total", "How many crossings were given back to the payer?", ["shard", "peer"]
)
