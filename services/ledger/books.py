"""The books of one shard as values: accounts, transfers, decisions, and what a batch would write.

A `Draft` is one batch on top of the books as committed: it gives its own view of accounts, ids and
peers, and collects rows. Whether something may be written is `posting.py`; who writes it,
`store.py`. Never here: rules, I/O, a clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import NamedTuple

from services.domain import chart, limits


class Restriction(IntFlag):
    """What an account's state forbids."""

    DEBITS_FROZEN = 1
    CREDITS_FROZEN = 2
    CLOSED = 4
    RESERVED = 8
    """Only the engine itself moves it (transit accounts); to callers there is no such account."""


class Kind(IntEnum):
    """Why a transfer stands in this shard's books."""

    ASKED = 1
    LANDING = 2
    RETURN = 3


class PlaceError(IntEnum):
    """Why a transfer of a call has no outcome; nothing was written for it."""

    TRANSFER_ID_REUSED = 1
    PAYEE_SHARD_UNREACHABLE = 2
    LEGS_ON_SEVERAL_SHARDS = 3
    WRONG_SHARD = 4


class AccountState:
    """An account as its last entry left it, with its slow-changing facts. Amounts in minor units."""

    __slots__ = ("balance_minor", "currency", "floor_minor", "held_minor", "number", "restrictions", "version")

    def __init__(
        self,
        number: int,
        currency: int,
        floor_minor: int,
        restrictions: int = 0,
        version: int = 0,
        balance_minor: int = 0,
        held_minor: int = 0,
    ) -> None:
        self.number = number
        self.currency = currency
        self.floor_minor = floor_minor
        self.restrictions = restrictions
        self.version = version
        self.balance_minor = balance_minor
        self.held_minor = held_minor

    def copy(self) -> "AccountState":
        """Return a twin that may be changed."""
        return AccountState(
            self.number,
            self.currency,
            self.floor_minor,
            self.restrictions,
            self.version,
            self.balance_minor,
            self.held_minor,
        )


class Leg(NamedTuple):
    """One movement between two accounts."""

    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int


class Creditor(NamedTuple):
    """Who is paid at another bank."""

    bank_code: str
    account: str
    creditor_name: str
    remittance_text: str


class Decision(NamedTuple):
    """What an id means: enough to answer whoever sends it again."""

    fingerprint: int
    kind: int
    outcome: int
    refusal: int
    booking_time_us: int
    peer_id: int
    """Peer of a crossing; 0 when there is none."""
    number: int
    """Number of a crossing at that peer."""


class TransferRow(NamedTuple):
    """A row of `ledger.transfer`; dates in days since 1970-01-01."""

    sequence: int
    transfer_id: bytes
    debit_account: int
    credit_account: int
    amount_minor: int
    fingerprint: int
    value_date: int
    currency: int
    kind: int
    outcome: int
    refusal: int
    leg_count: int
    reference: str


@dataclass(slots=True)
class Transfers:
    """Transfers to decide, in columns: place i of every column is transfer i's first leg."""

    transfer_ids: list[bytes]
    debit_accounts: list[int]
    credit_accounts: list[int]
    amounts_minor: list[int]
    currencies: list[int]
    fingerprints: list[int]
    references: list[str] | None = None
    value_dates: list[int] | None = None
    """Days since 1970-01-01; 0 for the business date."""
    peers: list[int] | None = None
    """Shard of each credit account where that is not this shard, else 0; None when all are 0."""
    payee_refusals: dict[int, int] = field(default_factory=dict)
    """What the payees' shards said of them beforehand, by place."""
    errors: dict[int, PlaceError] = field(default_factory=dict)
    """Places not to be decided at all."""
    creditors: dict[int, Creditor] = field(default_factory=dict)
    further_legs: dict[int, list[Leg]] = field(default_factory=dict)


@dataclass(slots=True)
class Answers:
    """What became of `Transfers`, in columns."""

    outcomes: list[int]
    refusals: list[int]
    booking_times_us: list[int]
    errors: dict[int, PlaceError]
    crossings: dict[int, tuple[int, int]]
    """Places still in transit: (peer, number)."""


@dataclass(slots=True)
class Crossings:
    """Crossings of one peer, numbered from `first_number` on, in columns."""

    peer_id: int
    first_number: int
    transfer_ids: list[bytes]
    debit_accounts: list[int]
    credit_accounts: list[int]
    amounts_minor: list[int]
    currencies: list[int]
    references: list[str]
    value_dates: list[int]


class Crossing(NamedTuple):
    """One crossing that left this shard."""

    number: int
    transfer_id: bytes
    debit_account: int
    credit_account: int
    amount_minor: int
    currency: int
    reference: str
    value_date: int


@dataclass(slots=True)
class Watermarks:
    """How far money has gone to and come from one peer."""

    sent_through: int = 0
    acknowledged_through: int = 0
    landed_through: int = 0


class Draft:
    """What one batch would write: decided in memory, committed as one or dropped as one.

    `committed` gives an account's state as the books have it, or None; it is never changed through
    here. `known` gives what ids already mean. `sequence` is the last one used.
    """

    def __init__(
        self,
        shard_id: int,
        sequence: int,
        booking_time_us: int,
        business_date: int,
        committed: Callable[[int], AccountState | None],
        known: Callable[[bytes], Decision | None],
        peers: Mapping[int, Watermarks],
    ) -> None:
        self.shard_id = shard_id
        self.first_sequence = sequence
        self.sequence = sequence
        self.booking_time_us = booking_time_us
        self.business_date = business_date
        self._committed = committed
        self._known = known
        self._committed_peers = peers
        self.touched: dict[int, AccountState] = {}
        self.decisions: dict[bytes, Decision] = {}
        self.peers: dict[int, Watermarks] = {}
        self.transfers: list[TransferRow] = []
        self.entries: list[tuple[int, int, int, int, int, int]] = []
        self.opened: list[AccountState] = []
        self.further_legs: list[tuple[int, int, Leg]] = []
        self.creditors: list[tuple[int, Creditor]] = []
        self.crossings_out: list[tuple[int, int, int]] = []
        self.crossings_returned: list[tuple[int, int, int, int]] = []
        self.crossings_landed: list[tuple[int, int, int, int]] = []
        self.crossings_refused: list[tuple[int, int, int]] = []

    def is_empty(self) -> bool:
        """Tell whether there is nothing to write."""
        return self.sequence == self.first_sequence and not self.peers and not self.opened

    def state(self, number: int) -> AccountState | None:
        """Return this draft's own view of an account."""
        state = self.touched.get(number)
        if state is None:
            committed = self._committed(number)
            if committed is not None:
                state = self.touched[number] = committed.copy()
        return state

    def watermarks(self, peer_id: int) -> Watermarks:
        """Return this draft's own view of a peer, only to be read."""
        return self.peers.get(peer_id) or self._committed_peers.get(peer_id) or Watermarks()

    def own_watermarks(self, peer_id: int) -> Watermarks:
        """Return this draft's own view of a peer, to be changed and written."""
        marks = self.peers.get(peer_id)
        if marks is None:
            marks = self.peers[peer_id] = replace(self.watermarks(peer_id))
        return marks

    def meaning(self, transfer_id: bytes) -> Decision | None:
        """Tell what an id means by this draft or by the books, as far as known."""
        return self.decisions.get(transfer_id) or self._known(transfer_id)

    def transit(self, peer_id: int, currency: int) -> AccountState:
        """Return the transit account of a peer, opening it when money passes for the first time."""
        number = chart.transit_account(self.shard_id, peer_id, currency)
        state = self.state(number)
        if state is None:
            state = AccountState(number, currency, -limits.BALANCE_MINOR_MAX, Restriction.RESERVED)
            self.touched[number] = state
            self.opened.append(state)
        return state

    def move(self, debit: AccountState, credit: AccountState, amount_minor: int, sequence: int) -> None:
        """Write both entries of a leg. Past every rule: this cannot be refused."""
        debit.version += 1
        debit.balance_minor -= amount_minor
        credit.version += 1
        credit.balance_minor += amount_minor
        append = self.entries.append
        append((debit.number, debit.version, sequence, -amount_minor, debit.balance_minor, debit.held_minor))
        append((credit.number, credit.version, sequence, amount_minor, credit.balance_minor, credit.held_minor))
