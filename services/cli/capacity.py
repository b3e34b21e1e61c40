"""What a bank of a given size needs: shards, cores, memory, storage and money, from measured costs.

Pure: values in, values out. Every figure says what it rests on: measured (a bench run), given (by whoever
asks), assumed (named, can be replaced) or computed from those. Never here: reading files, printing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

MEASURED: Final = "measured"
GIVEN: Final = "given"
ASSUMED: Final = "assumed"
COMPUTED: Final = "computed"

PARTS: Final = ("gateway", "ledger", "postgres")
SECONDS_PER_DAY: Final = 86_400
HOURS_PER_YEAR: Final = 8_766
MONTHS_PER_YEAR: Final = 12
DAYS_PER_YEAR: Final = 365
GIB: Final = 2**30
MB: Final = 1e6

BENCH_SCHEMA: Final = "hivecore-bench-1"
LOCAL: Final = "calls_1000_local"
CROSSING: Final = "calls_1000_crossing_100"
SINGLES: Final = ("single_256", "single_64", "single_16")
"""The first of these that a run has: single calls under load, as many callers send them."""

PRICE_WORDS: Final = ("currency_code", "source")
PRICE_NUMBERS: Final = ("core_hour", "memory_gib_hour", "storage_gib_month", "archive_gib_month", "overhead_share")


class NotUsable(ValueError):
    """A file or a wish that no plan can be made from; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a bench run says that one transfer costs."""

    single_us: Mapping[str, float]
    """Processor time per transfer sent by itself, by part."""
    bulk_us: Mapping[str, float]
    """The same, sent 1,000 per call."""
    crossing_factor: Mapping[str, float]
    """How much more a crossing costs each part than a transfer within a shard, on both shards together."""
    table_bytes: float
    """Tables and indexes, per transfer within a shard."""
    table_bytes_crossing: float
    wal_bytes: float
    wal_bytes_crossing: float
    ledger_bytes_at_start: float
    ledger_bytes_per_account: float
    """Per account that the ledger keeps in memory."""
    gateway_bytes: float
    cores: int
    """Of the machine measured on."""
    source: str
    """Which run, in words."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the bank must carry."""

    customers: int
    transfers_per_day: float
    peak_factor: float = 3.0
    """The busiest moment's rate over the day's average."""
    crossing_share: float = 0.3
    """Of transfers, between shards, 0 to 1."""
    batch_share: float = 0.0
    """Of transfers, sent about 1,000 per call, 0 to 1."""
    accounts_per_customer: float = 1.0

    @property
    def accounts(self) -> float:
        """How many accounts."""
        return self.customers * self.accounts_per_customer


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody measured here: replace what you know better."""

    busy_share_max: float = 0.5
    """How busy a core may be at the peak; the rest is for failovers, audits and growth."""
    customers_per_shard_max: int = 5_000_000
    """The quota of a shard."""
    active_share: float = 0.2
    """Of the accounts, that a ledger meets within the hours that it keeps them in memory."""
    ledger_accounts_max: int = 1_048_576
    """The most accounts that a ledger keeps in memory (HIVECORE_ACCOUNTS_REMEMBERED_MAX)."""
    copies: int = 3
    """Of each shard's PostgreSQL, the primary included."""
    copy_work_share: float = 0.5
    """Work of a standby for each core of its primary: it replays the log and decides nothing."""
    retention_days: int = 365
    """How long entries stay in the database."""
    wal_retention_days: int = 7
    """How long the log is archived."""
    storage_free_share: float = 0.3
    """Of the storage, that is kept free."""
    account_bytes: float = 1_500
    """Customer, account and their indexes, per account."""
    postgres_gib_per_core: float = 4.0
    ledgers_per_shard: int = 2
    """The writer and its standbys."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost, in one currency."""

    currency_code: str
    core_hour: float
    memory_gib_hour: float
    storage_gib_month: float
    archive_gib_month: float
    overhead_share: float
    """On top of it all: network, monitoring, people's environments."""
    source: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a plan."""

    name: str
    value: float
    unit: str
    basis: str
    note: str = ""


def measurement_of(bench: Mapping[str, Any]) -> Measurement:
    """Read the costs out of a bench run's JSON. Raises NotUsable."""
    if bench.get("schema") != BENCH_SCHEMA or bench.get("audit") != "clean":
        raise NotUsable("this is not the JSON file of a bench run whose books proved sound")
    rows = {row["name"]: row for row in bench["rows"]}
    single = next((rows[name] for name in SINGLES if name in rows), None)
    if single is None or LOCAL not in rows or CROSSING not in rows:
        raise NotUsable(f"the bench run needs the rows {LOCAL}, {CROSSING} and one of {', '.join(SINGLES)}")
    local, crossing = rows[LOCAL], rows[CROSSING]
    bulk_us, crossing_us = _us(local), _us(crossing)
    start_bytes = local["ledger_mb_at_start"] * MB
    held = local["memory_mb"]["ledger"] * MB
    conditions = bench["conditions"]
    others = max(row["others_share"] for row in (single, local, crossing))
    return Measurement(
        single_us=_us(single),
        bulk_us=bulk_us,
        crossing_factor={part: crossing_us[part] / bulk_us[part] for part in PARTS},
        # Of many rows together, where the run tells: those of one swing with the pages that split in it.
        table_bytes=local.get("table_bytes_per_even_transfer") or local["table_bytes_per_transfer"],
        table_bytes_crossing=crossing["table_bytes_per_transfer"],
        wal_bytes=local["wal_bytes_per_transfer"],
        wal_bytes_crossing=crossing["wal_bytes_per_transfer"],
        ledger_bytes_at_start=start_bytes / local["shards"],
        ledger_bytes_per_account=max(0.0, held - start_bytes) / local["accounts"],
        gateway_bytes=single["memory_mb"]["gateway"] * MB,
        cores=conditions["cores"],
        source=f"{conditions['began']}, {conditions['cores']} cores, {conditions['processor']}, "
        f"{local['accounts']:,} accounts on {local['shards']} shards, fsync {conditions['postgresql']['fsync']}, "
        f"others used up to {others:.0%} of the machine",
    )


def _us(row: Mapping[str, Any]) -> dict[str, float]:
    used = row["processor_us_per_transfer"]
    if any(not used.get(part) for part in PARTS):
        raise NotUsable(f"row {row['name']} does not tell the processor time of {', '.join(PARTS)}")
    return {part: float(used[part]) for part in PARTS}


def prices_of(table: Mapping[str, Any]) -> Prices:
    """Read a price file's content. Raises NotUsable, naming what is missing, unknown or not a price."""
    if missing := sorted({*PRICE_WORDS, *PRICE_NUMBERS} - set(table)):
        raise NotUsable(f"the price file lacks {', '.join(missing)}")
    if unknown := sorted(set(table) - {*PRICE_WORDS, *PRICE_NUMBERS}):
        raise NotUsable(f"the price file has what nobody knows: {', '.join(unknown)}")
    for name in PRICE_NUMBERS:
        if isinstance(table[name], bool) or not isinstance(table[name], int | float) or table[name] < 0:
            raise NotUsable(f"{name} in the price file is a number of at least 0")
    values: dict[str, Any] = {name: str(table[name]) for name in PRICE_WORDS}
    return Prices(**values | {name: float(table[name]) for name in PRICE_NUMBERS})


def check(demand: Demand, assumptions: Assumptions) -> None:
    """Refuse what no plan can be made for. Raises NotUsable."""
    for name in ("crossing_share", "batch_share"):
        if not 0.0 <= getattr(demand, name) <= 1.0:
            raise NotUsable(f"{name} is from 0 to 1")
    if demand.customers < 1 or demand.transfers_per_day <= 0 or demand.accounts_per_customer <= 0:
        raise NotUsable("a plan needs customers, accounts and transfers")
    if demand.peak_factor < 1.0:
        raise NotUsable("peak_factor is at least 1: the peak is not below the average")
    if not 0.0 < assumptions.busy_share_max <= 1.0 or not 0.0 <= assumptions.storage_free_share < 1.0:
        raise NotUsable("busy_share_max is above 0 and at most 1, storage_free_share from 0 to below 1")
    if not 0.0 <= assumptions.active_share <= 1.0 or assumptions.copies < 1 or assumptions.customers_per_shard_max < 1:
        raise NotUsable("active_share is from 0 to 1, copies and customers_per_shard_max at least 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is needed; `figures` says the same line by line, with what each rests on."""

    shards: int
    gateways: int
    cores: float
    memory_gib: float
    storage_gib: float
    cost_per_year: float
    cost_per_account_year: float
    currency_code: str
    figures: tuple[Figure, ...]


def plan(measured: Measurement, demand: Demand, prices: Prices, assumed: Assumptions) -> Plan:
    """Make a plan. Raises NotUsable."""
    check(demand, assumed)
    average = demand.transfers_per_day / SECONDS_PER_DAY
    peak = average * demand.peak_factor
    us = {part: _blend(measured, demand, part) for part in PARTS}
    per_core = {part: assumed.busy_share_max * 1e6 / us[part] for part in PARTS}
    by_rate = ceil(peak / per_core["ledger"])
    by_quota = ceil(demand.customers / assumed.customers_per_shard_max)
    shards = max(by_rate, by_quota)
    gateways = max(2, ceil(peak / per_core["gateway"]))
    postgres_cores = peak / per_core["postgres"] * (1 + (assumed.copies - 1) * assumed.copy_work_share)
    ledger_cores = peak / per_core["ledger"]
    cores = gateways + ledger_cores + postgres_cores
    cached = min(demand.accounts * assumed.active_share / shards, assumed.ledger_accounts_max)
    ledger_bytes = measured.ledger_bytes_at_start + cached * measured.ledger_bytes_per_account
    memory_gib = (
        gateways * measured.gateway_bytes + shards * assumed.ledgers_per_shard * ledger_bytes
    ) / GIB + postgres_cores * assumed.postgres_gib_per_core
    bytes_each = _between(measured.table_bytes, measured.table_bytes_crossing, demand.crossing_share)
    wal_each = _between(measured.wal_bytes, measured.wal_bytes_crossing, demand.crossing_share)
    kept = demand.transfers_per_day * assumed.retention_days * bytes_each + demand.accounts * assumed.account_bytes
    storage_gib = kept * assumed.copies / (1 - assumed.storage_free_share) / GIB
    archive_gib = demand.transfers_per_day * assumed.wal_retention_days * wal_each / GIB
    cost = _cost_per_year(prices, cores, memory_gib, storage_gib, archive_gib)
    money = f"{prices.currency_code} a year"
    figures = (
        *_given(demand),
        *_costs(measured, us),
        *_assumed(assumed),
        Figure("average rate", average, "transfers/s", COMPUTED),
        Figure("peak rate", peak, "transfers/s", COMPUTED),
        Figure("shards for the rate", by_rate, "", COMPUTED, f"a ledger's core does {per_core['ledger']:,.0f}/s"),
        Figure("shards for the quota", by_quota, "", COMPUTED),
        Figure("shards", shards, "", COMPUTED),
        Figure("peak rate of one shard", peak / shards, "transfers/s", COMPUTED),
        Figure("gateways", gateways, "processes", COMPUTED, "at least 2"),
        Figure("ledger cores", ledger_cores, "cores", COMPUTED),
        Figure("PostgreSQL cores", postgres_cores, "cores", COMPUTED, f"{assumed.copies} copies of each shard"),
        Figure("cores", cores, "cores", COMPUTED),
        Figure("memory of one ledger", ledger_bytes / GIB, "GiB", COMPUTED, f"{cached:,.0f} accounts in it"),
        Figure("memory", memory_gib, "GiB", COMPUTED),
        Figure("storage", storage_gib, "GiB", COMPUTED, f"{assumed.copies} copies, {assumed.retention_days} days"),
        Figure("log archive", archive_gib, "GiB", COMPUTED),
        *_prices(prices),
        Figure("cost", cost, money, COMPUTED),
        Figure("cost per account", cost / demand.accounts, money, COMPUTED),
        Figure(
            "cost per million transfers",
            cost / demand.transfers_per_day / DAYS_PER_YEAR * 1e6,
            prices.currency_code,
            COMPUTED,
            "when every day is as busy as this one",
        ),
    )
    return Plan(
        *(shards, gateways, cores, memory_gib, storage_gib, cost, cost / demand.accounts, prices.currency_code),
        figures,
    )


def _cost_per_year(prices: Prices, cores: float, memory_gib: float, storage_gib: float, archive_gib: float) -> float:
    running = cores * prices.core_hour + memory_gib * prices.memory_gib_hour
    keeping = storage_gib * prices.storage_gib_month + archive_gib * prices.archive_gib_month
    return (running * HOURS_PER_YEAR + keeping * MONTHS_PER_YEAR) * (1 + prices.overhead_share)


def _blend(measured: Measurement, demand: Demand, part: str) -> float:
    """Give the processor time of a transfer, in microseconds, for this mix of calls and crossings."""
    local = _between(measured.single_us[part], measured.bulk_us[part], demand.batch_share)
    return local * _between(1.0, measured.crossing_factor[part], demand.crossing_share)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _given(demand: Demand) -> tuple[Figure, ...]:
    return (
        Figure("customers", demand.customers, "", GIVEN),
        Figure("accounts per customer", demand.accounts_per_customer, "", GIVEN),
        Figure("transfers", demand.transfers_per_day, "a day", GIVEN),
        Figure("peak factor", demand.peak_factor, "times the average", GIVEN),
        Figure("crossing share", demand.crossing_share, "of transfers", GIVEN),
        Figure("batch share", demand.batch_share, "of transfers", GIVEN),
    )


def _costs(measured: Measurement, us: Mapping[str, float]) -> tuple[Figure, ...]:
    crossing = "crossings of single calls cost as many times more as those of calls of 1,000"
    return (
        *(Figure(f"single call, {part}", measured.single_us[part], "us of a core", MEASURED) for part in PARTS),
        *(Figure(f"in calls of 1,000, {part}", measured.bulk_us[part], "us of a core", MEASURED) for part in PARTS),
        *(
            Figure(f"a crossing costs the {part}", measured.crossing_factor[part], "times as much", MEASURED, crossing)
            for part in PARTS
        ),
        *(Figure(f"a transfer of this mix, {part}", us[part], "us of a core", COMPUTED) for part in PARTS),
        Figure("tables and indexes", measured.table_bytes, "bytes per transfer", MEASURED),
        Figure("tables and indexes, crossing", measured.table_bytes_crossing, "bytes per transfer", MEASURED),
        Figure("log", measured.wal_bytes, "bytes per transfer", MEASURED),
        Figure("log, crossing", measured.wal_bytes_crossing, "bytes per transfer", MEASURED),
        Figure("a ledger at its start", measured.ledger_bytes_at_start / MB, "MB", MEASURED),
        Figure("an account in a ledger's memory", measured.ledger_bytes_per_account, "bytes", MEASURED),
        Figure("a gateway", measured.gateway_bytes / MB, "MB", MEASURED),
    )


def _assumed(assumed: Assumptions) -> tuple[Figure, ...]:
    lines: tuple[tuple[str, float, str], ...] = (
        ("busy share at the peak", assumed.busy_share_max, "of a core"),
        ("quota of a shard", assumed.customers_per_shard_max, "customers"),
        ("active accounts", assumed.active_share, "of all, kept in a ledger's memory"),
        ("copies of each database", assumed.copies, ""),
        ("work of a standby database", assumed.copy_work_share, "of its primary's"),
        ("retention", assumed.retention_days, "days"),
        ("retention of the log archive", assumed.wal_retention_days, "days"),
        ("storage kept free", assumed.storage_free_share, "of all"),
        ("customer and account records", assumed.account_bytes, "bytes per account"),
        ("memory of PostgreSQL", assumed.postgres_gib_per_core, "GiB per core"),
        ("ledgers of each shard", assumed.ledgers_per_shard, ""),
    )
    return tuple(Figure(name, value, unit, ASSUMED) for name, value, unit in lines)


def _prices(prices: Prices) -> tuple[Figure, ...]:
    code = prices.currency_code
    return (
        Figure("price of a core", prices.core_hour, f"{code} an hour", ASSUMED, prices.source),
        Figure("price of memory", prices.memory_gib_hour, f"{code} per GiB and hour", ASSUMED),
        Figure("price of storage", prices.storage_gib_month, f"{code} per GiB and month", ASSUMED),
        Figure("price of the archive", prices.archive_gib_month, f"{code} per GiB and month", ASSUMED),
        Figure("overhead", prices.overhead_share, "on top", ASSUMED),
    )
