"""The accounts that a writer remembers, nearly all of them as rows of bytes.

An account as an object lies in a dozen places: its slots, its numbers, what the allocator and the collector of
cycles keep for each. Of a million accounts no cache holds any of that; a row is two places, is changed where it is,
and is nothing to the collector. What few accounts have (limits, caps, promises) would make rows long: those stay
objects. Never here: what is loaded and when (`memory.py`), rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Final

from services.chassis.bounded import Recent
from services.ledger.books import AccountState

_ROW: Final = Struct("<qqqqqhh")
"""Version, balance, held, floor, customer, currency, restrictions."""

_ROWS_ALONE: Final = {bytearray}


class Remembered:
    """The accounts that were taken in lately, at most so many. What it gives is the caller's own, to be changed.

    States know their rows, so that taking them in again looks up nothing. A row that is no longer an account's is empty.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._kept: Recent[int, bytearray | AccountState] = Recent(size_max)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, number: int) -> bool:
        return self._kept.get(number) is not None

    def get(self, number: int) -> AccountState | None:
        """Return an account; None when it is not remembered."""
        return self.pick((number,)).get(number)

    def pick(self, numbers: Sequence[int]) -> dict[int, AccountState]:
        """Return those of the accounts that are remembered."""
        kept = self._kept.pick(numbers)
        if set(map(type, kept)) == _ROWS_ALONE:
            return _read(numbers, kept)  # type: ignore[arg-type]
        pairs = list(zip(numbers, kept, strict=True))
        rows = {number: row for number, row in pairs if isinstance(row, bytearray)}
        found = _read(rows.keys(), rows.values())
        found.update({number: state.copy() for number, state in pairs if isinstance(state, AccountState)})
        return found

    def update(self, states: Mapping[int, AccountState]) -> None:
        """Take accounts in as they are now; when there are too many, forget those that were taken in the longest ago."""
        pack = _ROW.pack_into
        fresh: dict[int, bytearray | AccountState] = {}
        for number, state in states.items():
            if state.allowance is not None or state.spent is not None or state.is_capped or state.promised_minor:
                self._take_object(state, fresh)
                continue
            row = state.row
            if not row:
                fresh[number] = row = state.row = bytearray(_ROW.size)
            # fmt: off
            pack(
                row, 0, state.version, state.balance_minor, state.held_minor, state.floor_minor, state.customer_number,
                state.currency, state.restrictions,
            )
            # fmt: on
        if len(self._kept) + len(fresh) > self._size_max:
            kept = self._kept.pick(list(states))
            fresh = {number: before for number, before in zip(states, kept, strict=True) if before is not None} | fresh
        if fresh:
            self._put(fresh)

    def _take_object(self, state: AccountState, fresh: dict[int, bytearray | AccountState]) -> None:
        before = self._kept.get(state.number)
        if isinstance(before, AccountState):
            before.become(state)
        else:
            kept = fresh[state.number] = state.copy()
            kept.row = None

    def _put(self, fresh: dict[int, bytearray | AccountState]) -> None:
        replaced = [before for number, now in fresh.items() if (before := self._kept.get(number)) is not now]
        for gone in (*replaced, *self._kept.update(fresh)):
            if isinstance(gone, bytearray):
                gone.clear()


def _read(numbers: Iterable[int], rows: Iterable[bytearray]) -> dict[int, AccountState]:
    """Make an account of each row."""
    found = {}
    rows = list(rows)
    new = AccountState.__new__
    for number, row, columns in zip(numbers, rows, list(map(_ROW.unpack, rows)), strict=True):
        state = found[number] = new(AccountState)
        state.number = number
        (
            state.version,
            state.balance_minor,
            state.held_minor,
            state.floor_minor,
            state.customer_number,
            state.currency,
            state.restrictions,
        ) = columns
        state.allowance = state.spent = None
        state.is_capped = False
        state.promised_minor = 0
        state.row = row
    return found
