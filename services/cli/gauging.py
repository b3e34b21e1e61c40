"""From what processes measured at two moments to what an operator wants to see. Pure.

`Readings` is one process's /metrics, read; `glance` compares two moments of a whole bank. Never here:
fetching (`top.py`), drawing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

GATEWAY_SERVICE: Final = "hivecore.gateway.v1.Bank"
FAILED_CODES: Final = frozenset({"Unavailable", "Internal", "Unknown", "DeadlineExceeded"})

Labels = frozenset[tuple[str, str]]


class Readings:
    """The samples of one process at one moment."""

    def __init__(self, samples: Mapping[str, Mapping[Labels, float]]) -> None:
        self._samples = samples

    @classmethod
    def of_text(cls, text: str) -> "Readings":
        """Read Prometheus's text form. Raises `ValueError` when it is none."""
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(samples)

    def matching(self, name: str, **labels: str) -> dict[Labels, float]:
        """Give the samples of a name that have these labels."""
        wanted = labels.items()
        return {have: value for have, value in self._samples.get(name, {}).items() if wanted <= set(have)}

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples of a name that have these labels."""
        return sum(self.matching(name, **labels).values())

    def most(self, name: str, **labels: str) -> float:
        """Give the largest, 0 when there is none."""
        return max(self.matching(name, **labels).values(), default=0.0)

    def values_of(self, name: str, label: str) -> set[str]:
        """List the values of a label."""
        return {value for have in self._samples.get(name, {}) for key, value in have if key == label}


Moment = Mapping[str, Readings | None]
"""Every process by name; None when it did not answer."""


@dataclass(frozen=True, slots=True)
class ShardGlance:
    """One shard; seconds and transfers are of the time between the two moments."""

    shard_id: int
    writer: str
    """The process that writes it; empty when none says so."""
    epoch: int
    transfers_per_second: float
    queued_count: int
    commit_p99_seconds: float | None
    """None when nothing was committed."""
    in_flight_count: int
    oldest_seconds: float
    gap_minor: int | None
    """Of the currency that is furthest off; None when nobody looked."""
    customer_count: int
    customer_quota: int


@dataclass(frozen=True, slots=True)
class GatewayGlance:
    """One gateway, over the time between the two moments."""

    process: str
    calls_per_second: float
    p99_seconds: float | None
    failed_per_second: float
    """Failed by the bank, not refused."""
    refused_per_second: float
    queued_count: int


@dataclass(frozen=True, slots=True)
class Glance:
    """A whole bank."""

    shards: tuple[ShardGlance, ...]
    gateways: tuple[GatewayGlance, ...]
    silent: tuple[str, ...]
    """Processes that did not answer."""

    @property
    def is_sound(self) -> bool:
        """Whether everybody answers, every shard has a writer and all books add up."""
        return not self.silent and all(shard.writer and not shard.gap_minor for shard in self.shards)


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Tell what a share of observations stays below, from counts by upper bound; None when there are none."""
    bounds = sorted(buckets)
    if not bounds or not (total := buckets[bounds[-1]]):
        return None
    rank, below_bound, below_count = share * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return below_bound
            within = buckets[bound] - below_count
            return below_bound + (bound - below_bound) * ((rank - below_count) / within if within else 1.0)
        below_bound, below_count = bound, buckets[bound]
    return below_bound


class _Between:
    """What grew between two moments."""

    def __init__(self, pairs: Sequence[tuple[Readings, Readings | None]], seconds: float) -> None:
        """`pairs` are each process's readings now and before, None when it did not answer then."""
        self._pairs = pairs
        self._seconds = seconds

    def _growth(self, value: Callable[[Readings], float]) -> float:
        # A process that was restarted counts from 0 again.
        grown = 0.0
        for now, earlier in self._pairs:
            had = value(earlier) if earlier is not None else 0.0
            has = value(now)
            grown += has - had if has >= had else has
        return grown

    def rate(self, name: str, **labels: str) -> float:
        """Tell the growth of a counter per second."""
        return self._growth(lambda readings: readings.total(name, **labels)) / self._seconds

    def p99_seconds(self, histogram: str, **labels: str) -> float | None:
        """Tell what 99 of 100 observations between the moments stay below."""
        name = f"{histogram}_bucket"
        bounds = {bound for now, _ in self._pairs for bound in now.values_of(name, "le")}
        return quantile(
            0.99,
            {
                float(bound): self._growth(lambda readings, le=bound: readings.total(name, le=le, **labels))  # type: ignore[misc]
                for bound in bounds
            },
        )


def glance(before: Moment, after: Moment, seconds: float) -> Glance:
    """Compare two moments that lie some seconds apart."""
    answering = {name: readings for name, readings in after.items() if readings is not None}
    between = _Between([(readings, before.get(name)) for name, readings in answering.items()], seconds)
    shard_ids = sorted(
        {
            int(shard)
            for readings in answering.values()
            for name in ("hivecore_ledger_is_writer", "hivecore_account_customer_quota")
            for shard in readings.values_of(name, "shard")
        }
    )
    gateways = tuple(
        _gateway(name, readings, _Between([(readings, before.get(name))], seconds))
        for name, readings in answering.items()
        if readings.matching("hivecore_build_info", service="gateway")
    )
    silent = tuple(sorted(name for name, readings in after.items() if readings is None))
    return Glance(tuple(_shard(shard_id, answering, between) for shard_id in shard_ids), gateways, silent)


def _shard(shard_id: int, answering: Mapping[str, Readings], between: _Between) -> ShardGlance:
    shard = str(shard_id)
    everybody = answering.values()
    writers = [name for name, each in answering.items() if each.total("hivecore_ledger_is_writer", shard=shard)]
    gaps = [
        round(gap)
        for each in everybody
        for gap in each.matching("hivecore_ledger_conservation_gap_minor_units", shard=shard).values()
    ]
    return ShardGlance(
        shard_id=shard_id,
        writer=", ".join(writers),
        epoch=round(_most(everybody, "hivecore_ledger_writer_epoch", shard)),
        transfers_per_second=between.rate("hivecore_ledger_transfers_total", shard=shard),
        queued_count=round(_most(everybody, "hivecore_ledger_queued_transfers", shard)),
        commit_p99_seconds=between.p99_seconds("hivecore_ledger_commit_seconds", shard=shard),
        in_flight_count=round(
            sum(each.total("hivecore_ledger_crossings_in_flight", shard=shard) for each in everybody)
        ),
        oldest_seconds=_most(everybody, "hivecore_ledger_crossings_oldest_age_seconds", shard),
        gap_minor=max(gaps, key=abs) if gaps else None,
        customer_count=round(_most(everybody, "hivecore_account_customers", shard)),
        customer_quota=round(_most(everybody, "hivecore_account_customer_quota", shard)),
    )


def _gateway(name: str, readings: Readings, between: _Between) -> GatewayGlance:
    handled = "grpc_server_handled_total"
    codes: Sequence[str] = sorted(readings.values_of(handled, "grpc_code") - {"OK"})
    rates = {code: between.rate(handled, grpc_service=GATEWAY_SERVICE, grpc_code=code) for code in codes}
    return GatewayGlance(
        process=name,
        calls_per_second=between.rate(handled, grpc_service=GATEWAY_SERVICE),
        p99_seconds=between.p99_seconds("grpc_server_handling_seconds", grpc_service=GATEWAY_SERVICE),
        failed_per_second=sum(rate for code, rate in rates.items() if code in FAILED_CODES),
        refused_per_second=sum(rate for code, rate in rates.items() if code not in FAILED_CODES),
        queued_count=round(readings.total("hivecore_gateway_queued_items")),
    )


def _most(everybody: Iterable[Readings], name: str, shard: str) -> float:
    return max((each.most(name, shard=shard) for each in everybody), default=0.0)
