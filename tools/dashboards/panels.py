"""What the dashboards show: panels with their questions and queries, and nothing about how they are drawn.

Start here to change one. `grafana.py` makes the JSON in deploy/grafana of it, `preview.py` the pictures in
docs/dashboards, and a test asks every query of a real Prometheus. `WINDOW` is Grafana's own name for
a few scrapes; `SHARD` is what is chosen at the top of a dashboard.
"""

from dataclasses import dataclass
from typing import Final, Literal

WINDOW: Final = "$__rate_interval"
SHARD: Final = "$shard"

Unit = Literal["per_second", "seconds", "count", "ratio", "minor_units", "cores", "microseconds", "bytes"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question to Prometheus; `legend` names each line by its labels."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: lines over time, or with `is_number` what is now."""

    title: str
    answers: str
    unit: Unit
    queries: tuple[Query, ...]
    is_number: bool = False
    is_alarming: bool = False
    """Whether anything but 0 is red."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page."""

    name: str
    title: str
    answers: str
    panels: tuple[Panel, ...]


GATEWAY_CALLS: Final = 'grpc_service="hivecore.gateway.v1.Bank"'


def lines(title: str, answers: str, unit: Unit, *queries: tuple[str, str]) -> Panel:
    """Describe lines over time."""
    return Panel(title, answers, unit, tuple(Query(*query) for query in queries))


def number(title: str, answers: str, unit: Unit, expression: str, *, alarming: bool = False) -> Panel:
    """Describe one number, as it is now."""
    return Panel(title, answers, unit, (Query(expression, title),), is_number=True, is_alarming=alarming)


def rate(series: str) -> str:
    """Tell how fast a counter grows."""
    return f"rate({series}[{WINDOW}])"


def quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    """Tell what a share of a histogram's observations stays below."""
    return f"histogram_quantile({share}, sum by ({', '.join((*by, 'le'))}) (rate({histogram}_bucket{{{where}}}[{WINDOW}])))"


NOT_OK: Final = f'grpc_server_handled_total{{{GATEWAY_CALLS}, grpc_code!="OK"}}'
ALL_CODES: Final = f"grpc_server_handled_total{{{GATEWAY_CALLS}}}"
REFUSED: Final = f'hivecore_ledger_transfers_total{{shard=~"{SHARD}", outcome="REFUSED"}}'
QUEUE_FULL: Final = 'hivecore_gateway_dropped_items_total{cause="queue_full"}'


def of_shard(name: str) -> str:
    """Name a series of the chosen shards."""
    return f'{name}{{shard=~"{SHARD}"}}'


OVERVIEW: Final = Dashboard(
    "overview",
    "Hivecore: overview",
    "Is money safe, and are customers served?",
    (
        number("Gap", "How far are the books from adding up? 0 or call somebody", "minor_units",
               "max(abs(hivecore_ledger_conservation_gap_minor_units))", alarming=True),
        number("Shards without a writer", "Whose customers cannot pay?", "count",
               "count(max by (shard) (hivecore_account_customer_quota)) - (count(shard:ledger_writers:sum > 0) or vector(0))",
               alarming=True),
        number("Oldest crossing", "How long has money been on its way?", "seconds",
               "max(hivecore_ledger_crossings_oldest_age_seconds)"),
        number("Numbers given out", "How much room is left for customers?", "ratio", "hivecore:customers:ratio_of_quota"),
        lines("Transfers", "How many are decided, by outcome?", "per_second",
              (f"sum by (outcome) ({rate('hivecore_ledger_transfers_total')})", "{{outcome}}")),
        lines("Calls", "How many calls does the gateway answer?", "per_second",
              (f"sum({rate(ALL_CODES)})", "all"),
              (f"sum({rate(NOT_OK)}) or vector(0)", "not OK")),
        lines("Time of a call", "How long does a caller wait at the gateway?", "seconds",
              (quantile(0.5, "grpc_server_handling_seconds", where=GATEWAY_CALLS), "half"),
              (quantile(0.99, "grpc_server_handling_seconds", where=GATEWAY_CALLS), "99 of 100")),
        lines("Broken promises", "Share of single calls over 100 ms or failed; 0.05 % may be", "ratio",
              ("hivecore:bad_calls:ratio_rate5m", "5 minutes"), ("hivecore:bad_calls:ratio_rate1h", "1 hour")),
        lines("Money moved", "How much, in minor units?", "minor_units",
              (f"sum by (currency) ({rate('hivecore_ledger_posted_minor_units_total')})", "{{currency}} a second")),
        lines("CPU", "Which processes work?", "cores",
              (f"sum by (process) ({rate('process_cpu_seconds_total')})", "{{process}}")),
    ),
)  # fmt: skip

SHARDS: Final = Dashboard(
    "shard",
    "Hivecore: shard",
    "What does a shard's writer do, and what does it wait for?",
    (
        lines("Transfers", "How many does the writer decide?", "per_second",
              (f"sum by (shard) ({rate(of_shard('hivecore_ledger_transfers_total'))})", "shard {{shard}}")),
        lines("Refused", "Why are transfers refused?", "per_second",
              (f"sum by (reason) ({rate(REFUSED)})", "{{reason}}")),
        lines("Transfers per commit", "How many share one commit?", "count",
              (quantile(0.5, "hivecore_ledger_batch_transfers", "shard", where=f'shard=~"{SHARD}"'), "shard {{shard}}, half"),
              (quantile(0.99, "hivecore_ledger_batch_transfers", "shard", where=f'shard=~"{SHARD}"'), "shard {{shard}}, 99 of 100")),
        lines("Where a batch's time goes", "99 of 100; COMMIT is a part of writing", "seconds",
              *((quantile(0.99, f"hivecore_ledger_{part}_seconds", where=f'shard=~"{SHARD}"'), part.replace("_", " "))
                for part in ("queue_wait", "load", "decide", "write", "commit"))),
        lines("COMMIT", "How long does the disk take (99 of 100)?", "seconds",
              (quantile(0.99, "hivecore_ledger_commit_seconds", "shard", where=f'shard=~"{SHARD}"'), "shard {{shard}}")),
        lines("Queue", "How many transfers wait for the writer?", "count",
              (f"max by (shard) ({of_shard('hivecore_ledger_queued_transfers')})", "shard {{shard}}")),
        lines("Writer", "Does somebody write, and how often did that change?", "count",
              (f"sum by (shard) ({of_shard('hivecore_ledger_is_writer')})", "shard {{shard}}: writers"),
              (f"max by (shard) ({of_shard('hivecore_ledger_writer_epoch')})", "shard {{shard}}: epoch")),
        lines("Asked again", "How many repeats were answered as before?", "per_second",
              (f"sum by (shard) ({rate(of_shard('hivecore_ledger_repeats_total'))})", "shard {{shard}}")),
        lines("Accounts", "How many are in the books, and how many of them in memory?", "count",
              (f"max by (shard) ({of_shard('hivecore_ledger_accounts')})", "shard {{shard}}: in the books"),
              (f"max by (shard) ({of_shard('hivecore_ledger_cached_accounts')})", "shard {{shard}}: in memory")),
        lines("Connections in use", "Do readers wait for PostgreSQL?", "count",
              ('sum by (process, pool) (hivecore_postgres_pool_connections{state="used"})', "{{process}}: {{pool}}")),
    ),
)  # fmt: skip

GATEWAY: Final = Dashboard(
    "gateway",
    "Hivecore: gateway",
    "Who calls what, how fast is it answered, and what is sent back?",
    (
        lines("Calls by method", "What is called?", "per_second",
              (f"sum by (grpc_method) ({rate(ALL_CODES)})", "{{grpc_method}}")),
        lines("Answers by code", "How do calls end?", "per_second",
              (f"sum by (grpc_code) ({rate(ALL_CODES)})", "{{grpc_code}}")),
        lines("Time by method", "How long do 99 of 100 calls take?", "seconds",
              (quantile(0.99, "grpc_server_handling_seconds", "grpc_method", where=GATEWAY_CALLS), "{{grpc_method}}")),
        lines("Calls under way", "How many are begun and not answered?", "count",
              (f"sum(grpc_server_started_total{{{GATEWAY_CALLS}}}) - sum(grpc_server_handled_total{{{GATEWAY_CALLS}}})", "calls")),
        lines("Transfers by outcome", "What did callers get?", "per_second",
              (f"sum by (outcome) ({rate('hivecore_gateway_transfers_total')})", "{{outcome}}"),
              (f"sum({rate('hivecore_gateway_rejected_transfers_total')}) or vector(0)", "no outcome")),
        lines("Transfers per call to a ledger", "How well are calls put together (half of them)?", "count",
              (quantile(0.5, "hivecore_gateway_shared_call_items", "shard", where='method="PostTransfers"'), "shard {{shard}}")),
        lines("Calls to ledgers", "How long do they take (99 of 100)?", "seconds",
              (quantile(0.99, "hivecore_gateway_shared_call_seconds", "shard"), "shard {{shard}}")),
        lines("Waiting for a ledger", "How many transfers wait at the gateway?", "count",
              ("sum by (shard) (hivecore_gateway_queued_items)", "shard {{shard}}")),
        lines("Sent back", "How many were not sent or taken, and why?", "per_second",
              (f"sum by (cause) ({rate('hivecore_gateway_dropped_items_total')})", "{{cause}}"),
              (f"sum({rate('hivecore_gateway_tokens_refused_total')}) or vector(0)", "no good token"),
              (f"sum({rate('hivecore_gateway_rate_limited_calls_total')}) or vector(0)", "channel's allowance"),
              (f"sum({rate('hivecore_turned_away_calls_total')}) or vector(0)", "no place, or silent")),
        lines("Directory", "Which version does everybody work with?", "count",
              ("max by (process) (hivecore_directory_version)", "{{process}}")),
    ),
)  # fmt: skip

MONEY: Final = Dashboard(
    "money-safety",
    "Hivecore: money safety",
    "Do the books add up, is money stuck anywhere, and who may write?",
    (
        number("Gap", "How far are the books from adding up?", "minor_units",
               "max(abs(hivecore_ledger_conservation_gap_minor_units))", alarming=True),
        number("Unbalanced legs", "How many legs do not add up?", "count", "max(hivecore_ledger_unbalanced_legs)", alarming=True),
        number("Overdue holds", "How many holds should be over?", "count", "sum(hivecore_ledger_overdue_holds)", alarming=True),
        number("Last look", "How long ago did somebody look?", "seconds",
               "max(time() - hivecore_ledger_last_look_timestamp_seconds)"),
        lines("Conservation gap", "By shard and currency: flat at 0, or call somebody", "minor_units",
              ("max by (shard, currency) (hivecore_ledger_conservation_gap_minor_units)", "shard {{shard}} {{currency}}")),
        lines("Not checked yet", "How many entries behind the books is the watch?", "count",
              ("max by (shard) (hivecore_ledger_last_sequence - hivecore_ledger_checked_sequence)", "shard {{shard}}")),
        lines("Crossings in flight", "How many has each peer not acknowledged?", "count",
              ("sum by (peer) (hivecore_ledger_crossings_in_flight)", "to shard {{peer}}")),
        lines("Oldest crossing", "How long has it been on its way?", "seconds",
              ("max by (peer) (hivecore_ledger_crossings_oldest_age_seconds)", "to shard {{peer}}")),
        lines("Money set aside", "How much do open holds keep?", "minor_units",
              ("sum by (currency) (max by (shard, currency) (hivecore_ledger_open_holds_minor_units))", "{{currency}}")),
        lines("Crossings given back", "How much came back to its payer?", "per_second",
              (f"sum({rate('hivecore_ledger_crossings_returned_total')})", "returned")),
        lines("Fence and doubt", "Did two want to write; did a COMMIT's answer get lost?", "count",
              ("sum by (shard) (hivecore_ledger_fence_losses_total)", "shard {{shard}}: fence"),
              ("sum by (shard) (hivecore_ledger_doubts_total)", "shard {{shard}}: doubt")),
        lines("Outcome unknown", "How many callers were told to ask again?", "count",
              ("sum by (shard) (hivecore_ledger_unknown_outcomes_total)", "shard {{shard}}")),
    ),
)  # fmt: skip

LOAD_TEST: Final = Dashboard(
    "load-test",
    "Hivecore: load test",
    "How much does the bank do, what does it cost, and what is the limit?",
    (
        number("Transfers a second", "How many are decided now?", "per_second", f"sum({rate('hivecore_ledger_transfers_total')})"),
        number("CPU per transfer", "What does one cost in all services?", "microseconds",
               f"1e6 * sum({rate('process_cpu_seconds_total')}) / sum({rate('hivecore_ledger_transfers_total')})"),
        number("99 of 100 calls", "How long do they take?", "seconds",
               quantile(0.99, "grpc_server_handling_seconds", where=GATEWAY_CALLS)),
        number("Refused for want of room", "Is it driven beyond its limit?", "per_second",
               f"sum({rate(QUEUE_FULL)})", alarming=True),
        lines("Transfers by shard", "Is the load even?", "per_second",
              (f"sum by (shard) ({rate('hivecore_ledger_transfers_total')})", "shard {{shard}}")),
        lines("Time of a call", "How does it grow with the load?", "seconds",
              *((quantile(share, "grpc_server_handling_seconds", where=GATEWAY_CALLS), text)
                for share, text in ((0.5, "half"), (0.95, "95 of 100"), (0.99, "99 of 100")))),
        lines("CPU by process", "Which process is at its core's end?", "cores",
              (f"sum by (process) ({rate('process_cpu_seconds_total')})", "{{process}}")),
        lines("Where a batch's time goes", "99 of 100, over all shards", "seconds",
              *((quantile(0.99, f"hivecore_ledger_{part}_seconds"), part.replace("_", " "))
                for part in ("queue_wait", "load", "decide", "write", "commit"))),
        lines("Commits", "How many, over all shards?", "per_second",
              (f"sum by (shard) ({rate('hivecore_ledger_commit_seconds_count')})", "shard {{shard}}")),
        lines("Memory", "Does it grow?", "bytes", ("sum by (process) (process_resident_memory_bytes)", "{{process}}")),
    ),
)  # fmt: skip

ALL: Final = (OVERVIEW, SHARDS, GATEWAY, MONEY, LOAD_TEST)
