"""Lets storms of look-ups loose on a bank and says what came of them.

Never here: the storm itself (`storm.py`), and what goes on beside it (`offering.py`).
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from loadtest.client import Access
from loadtest.overload import report, storm
from loadtest.overload.inside import Inside
from loadtest.overload.storm import MIX, StormLoad, StormSeen

WITHOUT_PAUSE: Final = 200
"""Callers who ask again as soon as they are answered: as many as a bank of two shards takes in at any pace."""
WITHOUT_PAUSE_SECONDS: Final = 3.0
PROCESSES: Final = 1


class LookUps:
    """Look-ups of one bank's accounts and of transfers in its books."""

    def __init__(
        self,
        access: Access,
        accounts: Sequence[str],
        paid: Sequence[tuple[str, str]],
        gateways: Sequence[str],
        deadline_seconds: float,
        seed: int,
    ) -> None:
        """`paid` are payers and ids of transfers; `gateways` where those show their metrics."""
        self._access = access
        self._accounts = accounts
        self._paid = paid
        self._gateways = gateways
        self._deadline_seconds = deadline_seconds
        self._chance = Random(seed)  # noqa: S311

    async def answered_per_s(self, weights: Mapping[str, int]) -> float:
        """Ask without a pause for a while, in the cheapest form; return how many are answered in a second."""
        load = replace(
            self._load(weights, math.inf, WITHOUT_PAUSE_SECONDS), in_flight_max=WITHOUT_PAUSE, has_names=False
        )
        seen = await asyncio.to_thread(storm.generate, load, PROCESSES)
        return len(seen.seconds_by_reason.get("", ())) / WITHOUT_PAUSE_SECONDS

    async def storm(self, per_second: float, seconds: float, begun: asyncio.Event) -> dict[str, Any]:
        """Ask so many a second; tell what came of it. `begun` is set when it begins. Raises crew.CrewFailed."""
        loop = asyncio.get_running_loop()
        load = self._load(MIX, per_second, seconds)

        def at_begin() -> None:
            loop.call_soon_threadsafe(begun.set)

        before = await Inside.now(self._gateways)
        seen = await asyncio.to_thread(storm.generate, load, PROCESSES, at_begin)
        return figures(seen, load, before.until(await Inside.now(self._gateways)))

    def _load(self, weights: Mapping[str, int], per_second: float, seconds: float) -> StormLoad:
        look_ups = storm.draw(storm.DIFFERENT, weights, self._accounts, self._paid, self._chance)
        return StormLoad(self._access, look_ups, per_second, seconds, self._deadline_seconds)


def figures(seen: StormSeen, load: StormLoad, inside: Inside) -> dict[str, Any]:
    """Give all figures; a rate is over the seconds in which was asked."""
    answered = seen.seconds_by_reason.get("", ())
    refused = {reason: seconds for reason, seconds in seen.seconds_by_reason.items() if reason}
    of_refused = [each for seconds in refused.values() for each in seconds]
    return {
        "wanted_per_s": round(load.per_second),
        "offered_per_s": round(seen.sent / load.seconds),
        "answered_per_s": round(len(answered) / load.seconds),
        "refused_per_s": {reason: round(len(seconds) / load.seconds) for reason, seconds in refused.items()},
        "seconds": load.seconds,
        "dropped": seen.due - seen.sent,
        "reset": seen.reset,
        "unanswered": seen.unanswered,
        "turned_away_unread": round(inside.turned_away.get(report.UNREAD_LOOK_UPS, 0)),
        "inside_p50_ms": inside.ms(report.LOOKING_UP, len(answered) * 0.5),
        "inside_p99_ms": inside.ms(report.LOOKING_UP, len(answered) * 0.01),
        "seen_p50_ms": report.percentile(answered, 50),
        "seen_p99_ms": report.percentile(answered, 99),
        "refused_p50_ms": report.percentile(of_refused, 50),
        "refused_p99_ms": report.percentile(of_refused, 99),
        "generator_step_p99_ms": report.percentile(seen.steps, 99),
    }
