"""What the gateways themselves saw of a phase: how long calls took in them, and how many they turned away unread.

From their own metrics, before and after: a generator that shares the machine is late itself, and knows only
what it waited. Never here: what callers were told (`report.py`).
"""

import asyncio
import math
import urllib.request
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

SCRAPE_SECONDS_MAX: Final = 30.0
HANDLING: Final = "grpc_server_handling_seconds_bucket"
TURNED_AWAY: Final = "hivecore_turned_away_calls_total"


@dataclass(frozen=True, slots=True)
class Inside:
    """Counters of all gateways together, at one moment or between two."""

    slower: Mapping[tuple[str, float], float]
    """By method and bound in seconds, from 0 on: how many calls took longer."""
    turned_away: Mapping[str, float]
    """By cause."""

    @classmethod
    async def now(cls, addresses: Iterable[str]) -> Self:
        """Ask the gateways. Raises OSError."""
        return cls.read(await asyncio.gather(*(asyncio.to_thread(_scrape, address) for address in addresses)))

    @classmethod
    def read(cls, texts: Iterable[str]) -> Self:
        """Read what they said."""
        within: defaultdict[tuple[str, float], float] = defaultdict(float)
        turned_away: defaultdict[str, float] = defaultdict(float)
        for text in texts:
            for sample in (each for family in text_string_to_metric_families(text) for each in family.samples):
                if sample.name == HANDLING:
                    within[sample.labels["grpc_method"], float(sample.labels["le"])] += sample.value
                elif sample.name == TURNED_AWAY:
                    turned_away[sample.labels["cause"]] += sample.value
        of_all = {(method, 0.0): count for (method, bound), count in within.items() if math.isinf(bound)}
        slower = {(method, bound): of_all[method, 0.0] - count for (method, bound), count in within.items()}
        return cls(of_all | slower, turned_away)

    def until(self, end: "Inside") -> "Inside":
        """Give what came between this moment and a later one."""
        return Inside(
            {key: count - self.slower.get(key, 0) for key, count in end.slower.items()},
            {cause: count - self.turned_away.get(cause, 0) for cause, count in end.turned_away.items()},
        )

    def ms(self, methods: Collection[str], calls: float) -> float | None:
        """Give the milliseconds that at most so many calls took longer than; None when too many were slower than all bounds.

        Between two bounds of the histogram calls are taken to lie evenly. A percentile of what was carried out is
        asked for as a share of its number: also if all slower calls were carried out, it is no higher than this.
        """
        of_bounds: defaultdict[float, float] = defaultdict(float)
        for (method, bound), slower in self.slower.items():
            if method in methods:
                of_bounds[bound] += slower
        for (lower, before), (bound, slower) in pairwise(sorted(of_bounds.items())):
            if slower <= calls:
                share = (before - calls) / (before - slower) if before > max(calls, slower) else 0.0
                return None if math.isinf(bound) else round(1000 * (lower + (bound - lower) * share), 1)
        return None


def _scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SCRAPE_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
        return text
