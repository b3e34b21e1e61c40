"""What statements and trial balances must say about themselves, checked before anybody reads them. Pure.

A sum that is wrong here is damage or a bug, never an answer: the checks raise `AssertionError`. Never here:
reading the books (`history.py`).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.domain import chart

CUSTOMERS: Final = 0
"""Code of the control account of all customers' accounts."""


class PastState(NamedTuple):
    """What an account held at some moment, in minor units."""

    currency: int
    version: int
    balance_minor: int
    held_minor: int


class Totals(NamedTuple):
    """What entries add up to, in minor units; those of holds move nothing and are only in the count."""

    debit_count: int
    debit_minor: int
    credit_count: int
    credit_minor: int
    entry_count: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The frame of a statement."""

    opening: PastState
    closing: PastState
    totals: Totals
    cut_sequence: int
    is_final: bool

    def check(self) -> None:
        """Hold what lies between against the balances before and after."""
        totals = self.totals
        moved = totals.credit_minor - totals.debit_minor
        assert self.opening.balance_minor + moved == self.closing.balance_minor, f"does not add up: {self}"
        assert self.opening.version + totals.entry_count == self.closing.version, f"lacks an entry: {self}"


@dataclass(slots=True)
class Row:
    """One account of the chart in one currency, on one shard. Amounts in minor units."""

    code: int
    currency: int
    account_count: int = 0
    debit_minor: int = 0
    credit_minor: int = 0
    moved_minor: int = 0
    """What it grew by in the period; not kept for customers' accounts."""


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """All balances of a shard as they were after a sequence."""

    cut_sequence: int
    is_final: bool
    rows: tuple[Row, ...]
    transits: tuple[tuple[int, int, int], ...]
    """Peer, currency and balance of transit accounts."""

    def check(self) -> None:
        """Debits and credits are equal in each currency, and the transit accounts are those of the rows."""
        sums: dict[int, int] = defaultdict(int)
        transit: dict[int, int] = defaultdict(int)
        for row in self.rows:
            sums[row.currency] += row.credit_minor - row.debit_minor
            if row.code == chart.Code.TRANSIT:
                transit[row.currency] += row.credit_minor - row.debit_minor
        for _, currency, balance_minor in self.transits:
            transit[currency] -= balance_minor
        assert not any(sums.values()), f"debits and credits differ: {dict(sums)}"
        assert not any(transit.values()), f"transit accounts do not add up: {dict(transit)}"


def trial_balance(
    cut_sequence: int,
    is_final: bool,
    counted: Iterable[tuple[int, int, int, int, int]],
    own: Iterable[tuple[int, int, int, int]],
) -> TrialBalance:
    """Put together what parts of the books add up to, and check it.

    `counted` are (code, currency, accounts, debit, credit), any number of times; `own` are the bank's own
    accounts with currency, balance, and balance before the period.
    """
    rows: dict[tuple[int, int], Row] = {}
    for code, currency, count, debit, credit in counted:
        row = rows.setdefault((code, currency), Row(code, currency))
        row.account_count += count
        row.debit_minor += debit
        row.credit_minor += credit
    transits = []
    for number, currency, balance_minor, before_minor in own:
        code, sub_number = chart.code_of(number)
        rows[code, currency].moved_minor += balance_minor - before_minor
        if code == chart.Code.TRANSIT:
            transits.append((sub_number, currency, balance_minor))
    kept = tuple(row for _, row in sorted(rows.items()) if row.account_count)
    found = TrialBalance(cut_sequence, is_final, kept, tuple(transits))
    found.check()
    return found
