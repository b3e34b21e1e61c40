"""Looks at a shard's books from the side and says at /metrics whether they add up and what is under way.

Only the writer's process looks, on a connection of its own, in pieces of a few milliseconds and never for longer than a
small share of the time: after a look that took long it rests long, so that the cost stays bounded with millions of
accounts. New entries are checked leg by leg as they come; the balances of all accounts are added up
page by page as of one sequence, over and over. Nobody decides on what was seen here: `hivecore audit`
proves, this warns. Never here: what an operator should do about it (`docs/runbooks`).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.chassis import logs, postgres, queries
from services.chassis.meters import Gauge
from services.domain import currencies
from services.ledger import metrics
from services.ledger.pacing import Pace

SQL: Final = queries.load("services.ledger", "watching.sql")

LOOK_SECONDS_DEFAULT: Final = 5.0

LOOK_SHARE_MAX: Final = 0.05
"""Of the time that a look may take; a slower one rests longer."""

SWEEP_SHARE_MAX: Final = 0.02
"""Of the time that adding up all balances may take: 5,000,000 accounts are through in about half an hour."""

ACCOUNTS_PER_PAGE: Final = 1_000
"""Of the sweep: a few milliseconds of PostgreSQL."""

OVERDUE_SECONDS: Final = 10.0
"""A hold that is still open so long after its end was forgotten: the ledger expires them twice a second."""

PAGES_PER_PIECE: Final = 64
"""Of 8 KiB: some 4,000 entries, two milliseconds of PostgreSQL."""

PIECES_PER_LOOK_MAX: Final = 64

PAGES_LOOKED_BACK: Final = 64
"""Pages before the last new entry that may still be filled: PostgreSQL extends a table by several at once."""

SUSPECTS_MAX: Final = 100

STATEMENT_SECONDS_MAX: Final = 10.0

_log = logs.get(__name__)


@dataclass(slots=True)
class Sums:
    """What is known of a shard's conservation, in minor units by ISO 4217 number. Pure."""

    swept_minor: dict[int, int] = field(default_factory=dict)
    """What the balances of all accounts added up to at the last sweep."""
    swept_through: int = 0
    """The sequence as of which that was."""
    legs_minor: dict[int, dict[int, int]] = field(default_factory=dict)
    """Legs written lately whose entries do not add up to 0: sequence, currency, gap."""

    def gaps_minor(self) -> dict[int, int]:
        """Tell every currency's gap: the sweep has counted the legs up to its sequence."""
        gaps = dict(self.swept_minor)
        for sequence, leg in self.legs_minor.items():
            for currency, gap_minor in leg.items() if sequence > self.swept_through else ():
                gaps[currency] = gaps.get(currency, 0) + gap_minor
        return gaps


class Watch:
    """Watches the books of one shard for as long as this process writes them."""

    def __init__(self, shard_id: int, dsn: str, look_seconds: float = LOOK_SECONDS_DEFAULT) -> None:
        self.sums = Sums()
        self._shard_id = shard_id
        self._dsn = dsn
        self._look_seconds = look_seconds
        self._shown = _Shown(str(shard_id))
        self._checked = 0
        self._page = 0
        """New entries begin here or later."""

    async def run(self, sequence: int) -> None:
        """Look until cancelled; new entries are those after `sequence`, older ones are the sweep's."""
        self._checked = sequence
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._insist(self._look), name=f"look at shard {self._shard_id}")
                tasks.create_task(self._insist(self._sweep), name=f"sweep of shard {self._shard_id}")
        finally:
            self._shown.clear()

    async def _insist(self, watch: Callable[[Any], Awaitable[None]]) -> None:
        """Watch over a connection, over a new one whenever it is lost."""
        while True:
            connection = None
            try:
                connection = await postgres.connect(
                    self._dsn,
                    application="hivecore-ledger-watch",
                    statement_seconds=STATEMENT_SECONDS_MAX,
                    only_reads=True,
                )
                while True:
                    await watch(connection)
            except postgres.ERRORS as error:
                _log.warning("books_not_watched", shard=self._shard_id, error=type(error).__name__)
            except Exception:  # noqa: BLE001 - a fault in watching must not end the writing
                _log.exception("books_not_watched", shard=self._shard_id)
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(self._look_seconds)

    async def _look(self, connection: Any) -> None:
        """Look once at what is under way and at the newest entries, then rest."""
        pace = Pace(LOOK_SHARE_MAX)
        with pace.working():
            self._show_in_flight(await connection.fetch(SQL["in_flight"]))
            self._show_holds(await connection.fetch(SQL["open_holds"], OVERDUE_SECONDS))
        looked_back = PAGES_LOOKED_BACK
        for _ in range(PIECES_PER_LOOK_MAX):
            with pace.working():
                is_through = await self._check_fresh(connection, looked_back)
            if is_through:
                break
            looked_back = 0
            await pace.rest()
        self._shown.gaps(self.sums.gaps_minor())
        self._shown.set(metrics.UNBALANCED_LEGS, len(self.sums.legs_minor))
        self._shown.set(metrics.LAST_LOOK_TIME, time.time())
        await pace.rest(self._look_seconds)

    def _show_in_flight(self, rows: list[Any]) -> None:
        counts: dict[int, int] = defaultdict(int)
        oldest: dict[int, float] = defaultdict(float)
        amounts: dict[tuple[str, ...], int] = {}
        for peer_id, currency, count, amount_minor, oldest_seconds in rows:
            counts[peer_id] += count
            oldest[peer_id] = max(oldest[peer_id], oldest_seconds)
            if currency is not None:
                amounts[str(peer_id), currencies.CODE_BY_NUMBER[currency]] = amount_minor
        self._shown.all_of(metrics.CROSSINGS_IN_FLIGHT, {(str(peer),): count for peer, count in counts.items()})
        self._shown.all_of(metrics.CROSSINGS_OLDEST_SECONDS, {(str(peer),): age for peer, age in oldest.items()})
        self._shown.all_of(metrics.CROSSINGS_IN_FLIGHT_MINOR, amounts)

    def _show_holds(self, rows: list[Any]) -> None:
        codes = [(currencies.CODE_BY_NUMBER[row["currency"]],) for row in rows]
        self._shown.all_of(metrics.HOLDS_OPEN, {code: row["count"] for code, row in zip(codes, rows, strict=True)})
        self._shown.all_of(
            metrics.HOLDS_OPEN_MINOR, {code: row["amount_minor"] for code, row in zip(codes, rows, strict=True)}
        )
        self._shown.set(metrics.HOLDS_OVERDUE, sum(row["overdue_count"] for row in rows))

    async def _check_fresh(self, connection: Any, looked_back: int) -> bool:
        """Check a piece of the legs written since the last look, and again those found wrong; tell whether it was the last.

        It begins `looked_back` pages before where the last one ended.
        """
        page_count, last_sequence = await connection.fetchrow(SQL["tail"])
        if not self._page:
            self._page = page_count  # Everything until now is the sweep's.
        first = max(0, self._page - looked_back)
        end = min(page_count, first + looked_back + PAGES_PER_PIECE)
        found = await connection.fetchrow(SQL["fresh_legs"], f"({first},0)", f"({end},0)", self._checked, SUSPECTS_MAX)
        suspects = {*(found["suspects"] or ()), *self.sums.legs_minor}
        legs: dict[int, dict[int, int]] = {}
        if suspects:
            for sequence, currency, gap_minor in await connection.fetch(SQL["leg_balance"], list(suspects)):
                legs.setdefault(sequence, {})[currency] = gap_minor
        if legs.keys() - self.sums.legs_minor.keys():
            _log.error("legs_unbalanced", shard=self._shard_id, sequences=sorted(legs))
        self.sums.legs_minor = legs
        if found["last_place"] is not None:
            self._page = int(found["last_place"].strip("()").split(",")[0])
        if end == page_count:
            self._checked = last_sequence
        else:
            self._page = end
        self._shown.set(metrics.CHECKED_SEQUENCE, self._checked)
        self._shown.set(metrics.LAST_SEQUENCE, last_sequence)
        return bool(end == page_count)

    async def _sweep(self, connection: Any) -> None:
        """Add up the balances of all accounts as of now, page by page, then rest."""
        began = time.perf_counter()
        pace = Pace(SWEEP_SHARE_MAX)
        _, through = await connection.fetchrow(SQL["tail"])
        totals_minor: dict[int, int] = defaultdict(int)
        number = account_count = 0
        while True:
            with pace.working():
                rows = await connection.fetch(SQL["page_of_balances"], number, through, ACCOUNTS_PER_PAGE)
            for row in rows:
                totals_minor[row["currency"]] += int(row["balance_minor"] or 0)
                account_count += row["account_count"]
                number = max(number, row["last_number"])
            if sum(row["account_count"] for row in rows) < ACCOUNTS_PER_PAGE:
                break
            await pace.rest()
        self.sums.swept_minor, self.sums.swept_through = dict(totals_minor), through
        if any(totals_minor.values()):
            _log.error("balances_do_not_add_up", shard=self._shard_id, through=through)
        self._shown.gaps(self.sums.gaps_minor())
        self._shown.set(metrics.ACCOUNTS, account_count)
        self._shown.set(metrics.SWEEP_SECONDS, time.perf_counter() - began)
        self._shown.set(metrics.LAST_SWEEP_TIME, time.time())
        await pace.rest(self._look_seconds)


class _Shown:
    """The gauges of one shard; what is not so any more is not shown any more."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._labels: dict[Gauge, set[tuple[str, ...]]] = defaultdict(set)

    def set(self, gauge: Gauge, value: float) -> None:
        """Show a shard's value."""
        self._labels[gauge].add((self._shard,))
        gauge.labels(self._shard).set(value)

    def all_of(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these values and no others; labels are those after the shard."""
        before = self._labels[gauge]
        self._labels[gauge] = {(self._shard, *labels) for labels in values}
        for labels in before - self._labels[gauge]:
            gauge.remove(*labels)
        for labels, value in values.items():
            gauge.labels(self._shard, *labels).set(value)

    def gaps(self, gaps_minor: dict[int, int]) -> None:
        """Show every currency's gap."""
        self.all_of(
            metrics.CONSERVATION_GAP,
            {(currencies.CODE_BY_NUMBER[currency],): gap_minor for currency, gap_minor in gaps_minor.items()},
        )

    def clear(self) -> None:
        """Show nothing: somebody else writes the books now."""
        for gauge, shown in self._labels.items():
            for labels in shown:
                gauge.remove(*labels)
        self._labels.clear()
