"""All of the account service's metrics, each answering a question.

Labels are small closed sets: never an account or a customer.
"""

from services.chassis.meters import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

OPENINGS = Counter(
    "hivecore_account_openings_total",
    "How many customers and accounts were asked for, repeats included, and what came of it?",
    ["what", "result"],
)
STEP_SECONDS = Histogram(
    "hivecore_account_opening_step_seconds",
    "How long does each step of an opening take, over all shards?",
    ["what", "step"],
    buckets=_SECONDS,
)
SWEPT = Counter(
    "hivecore_account_swept_total",
    "How many half-opened customers and accounts did the sweeper have to finish?",
    ["what", "shard"],
)
SWEEP_FAILURES = Counter(
    "hivecore_account_sweep_failures_total", "How often could the sweeper not do its work on a shard?", ["shard"]
)
INTERNAL_ACCOUNTS_OPEN = Gauge(
    "hivecore_account_internal_accounts_open",
    "Has this process seen the bank's own accounts in the shard's books (1) or not (0)?",
    ["shard"],
)
CUSTOMERS = Gauge("hivecore_account_customers", "How many customer numbers has the shard given out?", ["shard"])
CUSTOMER_QUOTA = Gauge("hivecore_account_customer_quota", "How many customers may the shard have?", ["shard"])
