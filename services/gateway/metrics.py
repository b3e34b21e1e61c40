"""All of the gateway's metrics, each answering a question. Calls themselves are counted by the chassis.

Labels are small closed sets: a shard, a lane, an outcome, a reason, a channel that a file of
the operator names; never a caller, an account, a customer or a transfer.
"""

from typing import Final

from services.chassis.meters import Counter, Gauge, Histogram
from services.chassis.metrics import LATENCY_BUCKETS

TRANSFERS: Final = Counter(
    "hivecore_gateway_transfers_total", "How many transfers were answered, and with which outcome?", ["outcome"]
)
REJECTED_TRANSFERS: Final = Counter(
    "hivecore_gateway_rejected_transfers_total",
    "How many transfers got no outcome, by kind of error?",
    ["error"],
)
REROUTED_TRANSFERS: Final = Counter(
    "hivecore_gateway_rerouted_transfers_total", "How many transfers were first sent by an old directory?"
)
SHARED_CALL_ITEMS: Final = Histogram(
    "hivecore_gateway_shared_call_items",
    "How many transfers or accounts share one call to a ledger?",
    ["method", "shard"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 8000),
)
SHARED_CALL_SECONDS: Final = Histogram(
    "hivecore_gateway_shared_call_seconds",
    "How long does one call to a ledger take?",
    ["method", "shard"],
    buckets=LATENCY_BUCKETS,
)
QUEUED_ITEMS: Final = Gauge(
    "hivecore_gateway_queued_items", "How many transfers or accounts wait for a free call?", ["method", "shard"]
)
DROPPED_ITEMS: Final = Counter(
    "hivecore_gateway_dropped_items_total",
    "How many were not sent, because the queue was full, the deadline passed or the caller gave up?",
    ["method", "shard", "cause"],
)
TOKENS_REFUSED: Final = Counter(
    "hivecore_gateway_tokens_refused_total", "How many calls came without a good token, and why?", ["reason"]
)
RATE_LIMITED_CALLS: Final = Counter(
    "hivecore_gateway_rate_limited_calls_total",
    "How many calls were refused because their channel's allowance was used up, and which?",
    ["channel", "allowance"],
)
