"""Answers questions about the past of the books: as-of balances, statements, searches, the trial balance.

The journal is append-only, so whatever lies at or below a sequence never changes: an answer that takes
several queries names its cut first and is as consistent as one snapshot. Never here: what the answers must
say about themselves (`statements.py`), the books as they are now (`reader.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from services.chassis import queries
from services.domain import errors, limits
from services.domain.metadata import Metadata
from services.ledger import statements
from services.ledger.books import Kind
from services.ledger.reader import Reader, TransferRecord
from services.ledger.statements import PastState, Statement, Totals, TrialBalance

SQL: Final = queries.load("services.ledger", "history.sql")

STATEMENT_ENTRIES_MAX: Final = 1_000_000
"""Added up for one statement: about a second; a busier account asks for fewer days."""

STATEMENT_SECONDS_MAX: Final = 20.0

SEARCH_PLACES_MAX: Final = 10_000
"""Places of the journal, of an account or of an index that one search looks at; a caller may go on."""

SEARCH_PLACES_MIN: Final = 500
"""Looked at first, then twice as many, and so on: a search that finds much is cheap."""

SEARCH_STATEMENT_MS_MAX: Final = 2_000
"""PostgreSQL gives a part of a search up after this."""

ACCOUNTS_AT_ONCE: Final = 50_000
"""Balances that one query of a trial balance adds up: a third of a second, so that others get a turn."""

_JOURNAL, _ACCOUNT, _REFERENCE, _METADATA = range(1, 5)
"""Orders in which a search looks."""

_TRANSFERS: Final = [int(Kind.ASKED)]
_MOVEMENTS: Final = [int(Kind.ASKED), int(Kind.LANDING), int(Kind.KEPT)]


class Period(NamedTuple):
    """Where the entries of some business days lie: after one sequence, up to another."""

    currency: int | None
    """None when the account is not in the books."""
    after_sequence: int
    cut_sequence: int
    is_final: bool


class Page(NamedTuple):
    """Some entries, in the order asked for."""

    period: Period
    rows: list[Any]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What transfers to look for; 0, "" and () mean that it does not matter. Dates in days since 1970-01-01."""

    account_number: int
    reference: str
    counterparty_account: int
    amount_minor_min: int
    amount_minor_max: int
    first_date: int
    last_date: int
    metadata: Metadata
    before_sequence: int
    cut_time_us: int

    @property
    def order(self) -> int:
        """Tell the order to look in: an index of what is rarest."""
        if self.reference:
            return _REFERENCE
        if self.metadata:
            return _METADATA
        return _ACCOUNT if self.account_number else _JOURNAL


class Found(NamedTuple):
    """A page of what a search found, newest first, and the sequence to go on before; 0 at the end."""

    transfers: list[TransferRecord]
    next_before_sequence: int


class History:
    """Asks the books of one shard about their past."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def _ask(self, query: str, *arguments: Any) -> list[Any]:
        return await self._reader.fetch(SQL[query], *arguments)

    async def state_at(self, account_number: int, sequence: int) -> PastState | None:
        """Return what an account held after a sequence; None when it is not in the books."""
        found = await self._ask("state_at", account_number, sequence)
        return PastState(*found[0]) if found else None

    async def state_by_value(self, account_number: int, value_date: int) -> PastState | None:
        """Return what an account holds by value date at a day's end; None when it is not in the books.

        Neither version nor held money goes by value dates: both are 0.
        """
        found = await self._ask("balance_by_value", account_number, value_date)
        return PastState(found[0]["currency"], 0, found[0]["balance_minor"], 0) if found else None

    async def cut_of_day(self, business_date: int) -> int:
        """Return the last sequence of all business days up to one, in days since 1970-01-01."""
        cut: int = (await self._ask("day_cut", business_date))[0][0]
        return cut

    async def cut_of_time(self, time_us: int) -> int:
        """Return the last sequence booked at or before a time."""
        cut: int = (await self._ask("time_cut", time_us))[0][0]
        return cut

    async def period(self, account_number: int, first_date: int, last_date: int, cut_sequence: int = 0) -> Period:
        """Find the entries of business days; a date of 0 is no bound, a cut of 0 is the last sequence so far."""
        return Period(
            *(await self._ask("period", account_number, first_date or None, last_date or None, cut_sequence))[0]
        )

    async def entries(
        self,
        account_number: int,
        *,
        descending: bool,
        after_sequence: int = 0,
        limit: int,
        cut_sequence: int = 0,
        first_date: int = 0,
        last_date: int = 0,
    ) -> Page:
        """Return a page of an account's entries, starting after a sequence in the order asked for."""
        period = await self.period(account_number, first_date, last_date, cut_sequence)
        if period.currency is None:
            return Page(period, [], has_more=False)
        low, high = period.after_sequence, period.cut_sequence
        if after_sequence and descending:
            high = min(high, after_sequence - 1)
        elif after_sequence:
            low = max(low, after_sequence)
        rows = await self._ask("entries", account_number, low, high, descending, limit + 1)
        return Page(period, rows[:limit], has_more=len(rows) > limit)

    async def statement(self, account_number: int, first_date: int, last_date: int) -> Statement | None:
        """Return the frame of a statement, checked; None when the account is not in the books.

        Raises `Refused` (STATEMENT_TOO_LONG) when there is too much to add up.
        """
        period = await self.period(account_number, first_date, last_date)
        opening = await self.state_at(account_number, period.after_sequence)
        closing = await self.state_at(account_number, period.cut_sequence)
        if opening is None or closing is None:
            return None
        entry_count = closing.version - opening.version
        if entry_count > STATEMENT_ENTRIES_MAX:
            raise errors.Refused(
                "STATEMENT_TOO_LONG",
                f"{entry_count} entries, at most {STATEMENT_ENTRIES_MAX}: ask for fewer days",
                {"entry_count": str(entry_count)},
            )
        bounds = (account_number, period.after_sequence, period.cut_sequence)
        rows = await self._reader.fetch(SQL["totals"], *bounds, seconds=STATEMENT_SECONDS_MAX)
        found = Statement(opening, closing, Totals(*rows[0]), period.cut_sequence, period.is_final)
        found.check()
        return found

    async def search(self, wanted: Search, limit: int) -> Found:
        """Return the next transfers that have all that is wanted, looking at a bounded number of places.

        Raises `DeadlinePassed` (QUERY_TOO_SLOW) when the database takes too long for one part of it.
        """
        period = await self.period(wanted.account_number, wanted.first_date, wanted.last_date)
        low, high = period.after_sequence, period.cut_sequence
        if wanted.cut_time_us:
            high = min(high, await self.cut_of_time(wanted.cut_time_us))
        if wanted.before_sequence:
            high = min(high, wanted.before_sequence - 1)
        places: list[int] = []
        sequences: list[int] = []
        looked_at, window, next_before = 0, SEARCH_PLACES_MIN, 0
        while high > low:
            part = await self._look(wanted, low, high, window, limit + 1 - len(sequences))
            places += part["places"]
            sequences += part["transfers"]
            looked_at += window
            if len(sequences) > limit:
                next_before = places[limit - 1]
                break
            if part["scanned_count"] < window:
                break
            if looked_at >= SEARCH_PLACES_MAX:
                next_before = part["scanned_through"]
                break
            high = part["scanned_through"] - 1
            window = min(2 * window, SEARCH_PLACES_MAX - looked_at)
        transfers = await self._reader.transfers_at(sequences[:limit]) if sequences else []
        return Found(transfers, next_before)

    async def _look(self, wanted: Search, low: int, high: int, window: int, limit: int) -> Any:
        keys = [key for key, _ in wanted.metadata]
        values = [value for _, value in wanted.metadata]
        kinds = _MOVEMENTS if wanted.account_number else _TRANSFERS
        amount_max = wanted.amount_minor_max or limits.AMOUNT_MINOR_MAX
        asked = (
            *(wanted.order, low, high, window, wanted.account_number, wanted.reference, wanted.counterparty_account),
            *(wanted.amount_minor_min, amount_max, keys, values, kinds, limit),
        )
        async with self._reader.connection() as connection, connection.transaction(readonly=True):
            await connection.execute(SQL["search_settings"], str(SEARCH_STATEMENT_MS_MAX))
            return await connection.fetchrow(SQL["search"], *asked)

    async def trial_balance(self, own_accounts: range, first_date: int, last_date: int) -> TrialBalance:
        """Add up all balances after a day (now, when 0), and what the bank's own moved from another on; checked."""
        period = await self.period(0, first_date, last_date)
        cut = period.cut_sequence
        slot = own_accounts.start // 10**12
        counted: list[Sequence[int]] = []
        last_account = 0
        while True:
            part = await self._ask("balances_at", slot, cut, last_account, ACCOUNTS_AT_ONCE)
            counted += [tuple(row)[:5] for row in part]
            if sum(row["seen_count"] for row in part) < ACCOUNTS_AT_ONCE:
                break
            last_account = max(row["last_account"] for row in part)
        own = await self._ask("own_accounts_at", own_accounts.start, own_accounts[-1], cut, period.after_sequence)
        return statements.trial_balance(cut, period.is_final, counted, map(tuple, own))  # type: ignore[arg-type]
