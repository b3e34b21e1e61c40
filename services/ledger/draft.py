"""What one batch would write, on top of the books as committed.

A `Draft` gives its own view of accounts, holds, caps, ids and peers, and collects rows. Dropping it
undoes everything. Never here: rules, I/O, a clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from services.domain import chart, limits
from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome
from services.ledger.books import (
    AccountState,
    Cap,
    CapKey,
    Creditor,
    Decision,
    Hold,
    HoldState,
    Kind,
    Leg,
    Original,
    Relation,
    Restriction,
    TransferRow,
)
from services.ledger.change_rows import ChangeDecision, ChangeRow
from services.ledger.traffic import Promise, PromiseState, RoutedLeg, Verdict, Watermarks

_REVERSIBLE: Final = frozenset({int(Kind.ASKED), int(Kind.LANDING)})


def _nothing(_key: Any) -> None:
    """Know nothing: for books without holds, caps or reversals."""


class Savepoint(NamedTuple):
    """How a draft had what legs concern, and nothing else, before they that may have to be undone."""

    entry_count: int
    states: dict[int, AccountState]
    caps: dict[CapKey, Cap | None]
    """Of the accounts' customers; None where the draft had none of its own."""
    spenders: set[int]
    """Those of the accounts whose `spent` the draft had changed."""


def _none() -> Iterable[Promise]:
    """Know no promises."""
    return ()


class SpanFacts(NamedTuple):
    """What the books have about transfers over several shards."""

    promise: Callable[[bytes], Promise | None] = _nothing
    """An open promise, by transfer."""
    has_told: Callable[[tuple[bytes, int]], bool | None] = _nothing
    """Whether a decision is numbered, by transfer and peer, of those asked for beforehand."""
    open_promises: Callable[[], Iterable[Promise]] = _none


@dataclass(slots=True)
class SpanRows:
    """What a draft would write about transfers over several shards."""

    promises: dict[bytes, Promise] = field(default_factory=dict)
    routes: list[tuple[int, int, int]] = field(default_factory=list)
    """(sequence, payer's peer, payee's peer) of legs with a side on another shard."""
    verdicts: list[tuple[int, int, Verdict]] = field(default_factory=list)
    """Decisions for peers: (peer, sequence of the transfer, decision)."""
    verdicts_landed: list[tuple[int, int, Verdict]] = field(default_factory=list)
    """Decisions of peers: (peer, sequence of what it wrote or 0, decision)."""
    told: set[tuple[bytes, int]] = field(default_factory=set)
    """Ids and peers of `verdicts`."""
    refused_legs: list[tuple[int, int]] = field(default_factory=list)
    """(sequence, leg) of transfers of several legs, on one shard or more, that were refused for one."""


class Draft:
    """What one batch would write: decided in memory, committed as one or dropped as one.

    `committed`, `hold`, `cap` and `original` give what the books have, or None; nothing is changed
    through them. `own` are accounts as the books have them that were read for this draft: they are changed,
    not copied, and count as `touched`, changed or not. `known` gives what ids already mean. `sequence` is the last one used.
    """

    begins_day = False
    """Whether this is the first batch of its business day."""

    def __init__(
        self,
        shard_id: int,
        sequence: int,
        booking_time_us: int,
        business_date: int,
        committed: Callable[[int], AccountState | None],
        known: Callable[[bytes], Decision | None],
        peers: Mapping[int, Watermarks],
        *,
        hold: Callable[[bytes], Hold | None] = _nothing,
        cap: Callable[[CapKey], Cap | None] = _nothing,
        original: Callable[[bytes], Original | None] = _nothing,
        change: Callable[[bytes], ChangeDecision | None] = _nothing,
        spans: SpanFacts | None = None,
        siblings: Mapping[int, Sequence[int]] | None = None,
        open_holds: Mapping[int, Sequence[Hold]] | None = None,
        is_in_flight: Callable[[int], bool] = lambda _number: False,
        own: dict[int, AccountState] | None = None,
    ) -> None:
        self.shard_id = shard_id
        self.first_sequence = self.sequence = sequence
        self.booking_time_us, self.business_date = booking_time_us, business_date
        self._committed, self._known = committed, known
        self._committed_peers = peers
        self._committed_hold = hold
        self._committed_cap = cap
        self._committed_original = original
        self._committed_change = change
        self._committed_spans = spans or SpanFacts()
        self._siblings, self._open_holds = siblings or {}, open_holds or {}
        self._is_in_flight = is_in_flight
        self.touched: dict[int, AccountState] = {} if own is None else own
        self.decisions: dict[bytes, Decision] = {}
        self.peers: dict[int, Watermarks] = {}
        self.holds: dict[bytes, Hold] = {}
        self.caps: dict[CapKey, Cap] = {}
        self.originals: dict[bytes, Original] = {}
        self.transfers: list[TransferRow] = []
        self.entries: list[tuple[int, int, int, int, int, int]] = []
        self.opened: list[AccountState] = []
        self.further_legs: list[tuple[int, int, Leg]] = []
        self.creditors: list[tuple[int, Creditor]] = []
        self.value_dated: list[tuple[int, int, int, int]] = []
        """(account, sequence, amount, value date) of entries whose value date is another day."""
        self.relations: list[tuple[int, Relation, bytes, int]] = []
        self.metadata: list[tuple[int, Metadata]] = []
        self.crossings_out: list[tuple[int, int, int]] = []
        self.crossings_returned: list[tuple[int, int, int, int]] = []
        self.crossings_landed: list[tuple[int, int, int, int]] = []
        self.crossings_refused: list[tuple[int, int, int]] = []
        self.spans = SpanRows()
        self.changes: list[ChangeRow] = []
        self.changed: dict[bytes, ChangeDecision] = {}
        self.cap_changes: dict[CapKey, int] = {}
        """New caps; -1 where one is lifted."""
        self.altered: set[int] = set()
        """Accounts whose slow facts this draft changed."""
        self.spenders: set[int] = set()
        """Accounts whose `spent` this draft changed."""

    def aside(self) -> "Draft":
        """Begin a draft on top of this one that will be dropped: to see what would come of something."""
        return Draft(
            self.shard_id,
            self.sequence,
            self.booking_time_us,
            self.business_date,
            lambda number: self.touched.get(number) or self._committed(number),
            self.meaning,
            {**self._committed_peers, **self.peers},
            hold=self.hold,
            cap=self.cap,
            original=self.original,
            spans=SpanFacts(self.promise),
        )

    def send(self, peer_id: int, sequence: int) -> int:
        """Give a crossing the next number to a peer and return it."""
        marks = self.own_watermarks(peer_id)
        marks.sent_through += 1
        self.crossings_out.append((marks.sent_through, sequence, peer_id))
        return marks.sent_through

    def tell(self, peer_id: int, sequence: int, verdict: Verdict) -> int:
        """Give a decision the next number to a peer and return it."""
        marks = self.own_watermarks(peer_id)
        marks.sent_through += 1
        self.spans.verdicts.append((peer_id, sequence, verdict._replace(number=marks.sent_through)))
        self.spans.told.add((verdict.transfer_id, peer_id))
        return marks.sent_through

    def has_told(self, transfer_id: bytes, peer_id: int) -> bool:
        """Tell whether a peer's decision on an id is numbered already, where that was asked beforehand."""
        key = (transfer_id, peer_id)
        return key in self.spans.told or bool(self._committed_spans.has_told(key))

    def promise(self, transfer_id: bytes) -> Promise | None:
        """Return this draft's own view of an open promise, or of one that it ended."""
        return self.spans.promises.get(transfer_id) or self._committed_spans.promise(transfer_id)

    def promised_debits(self, number: int) -> list[tuple[int, int]]:
        """Return (business day, minor units) of what open promises have set aside on an account as its spending."""
        promises = {made.transfer_id: made for made in self._committed_spans.open_promises()} | self.spans.promises
        return [
            (made.business_date, leg.amount_minor)
            for made in promises.values()
            if made.state == PromiseState.OPEN
            for leg in made.legs
            if leg.debit_account == number and not leg.debit_peer and made.counts(leg)
        ]

    def take_routes(self, sequence: int, legs: Sequence[RoutedLeg]) -> None:
        """Record which sides of legs, whose sequences begin with one, lie on other shards."""
        for number, leg in enumerate(legs, sequence):
            if leg.debit_peer or leg.credit_peer:
                self.spans.routes.append((number, leg.debit_peer, leg.credit_peer))

    def take_further_legs(self, sequence: int, further: Sequence[Leg]) -> None:
        """Record a transfer's legs after its first, posted or not, under the sequences that follow."""
        self.further_legs.extend((number, sequence, leg) for number, leg in enumerate(further, sequence + 1))
        self.sequence += len(further)

    def save(self, accounts: Iterable[int]) -> "Savepoint":
        """Remember how entries, these accounts and their counts are, so that legs between them can be undone."""
        found = (self.state(number) for number in set(accounts))
        states = {state.number: state.copy() for state in found if state is not None}
        keys = {CapKey(state.customer_number, state.currency) for state in states.values() if state.is_capped}
        spenders = {number for number in states if number in self.spenders}
        return Savepoint(len(self.entries), states, {key: self.caps.get(key) for key in keys}, spenders)

    def undo(self, saved: "Savepoint") -> None:
        """Undo the legs since then. What they named stays loaded, what they opened stays open."""
        self.touched.update(saved.states)
        for key, cap in saved.caps.items():
            if cap is None:
                self.caps.pop(key, None)
            else:
                self.caps[key] = cap
        self.spenders -= saved.states.keys() - saved.spenders
        del self.entries[saved.entry_count :]

    def is_empty(self) -> bool:
        """Tell whether there is nothing to write."""
        return self.sequence == self.first_sequence and not self.peers and not self.opened

    def moved_minor(self) -> dict[int, int]:
        """Tell how much what was asked for here moved, by currency in minor units; refused and landed legs not."""
        asked, refused = int(Kind.ASKED), int(Outcome.REFUSED)
        moved: dict[int, int] = {}
        for row in self.transfers:
            if row.kind == asked and row.outcome != refused:
                moved[row.currency] = moved.get(row.currency, 0) + row.amount_minor
        if self.further_legs:
            of_moved = {row.sequence for row in self.transfers if row.kind == asked and row.outcome != refused}
            for _, of, leg in self.further_legs:
                if of in of_moved:
                    moved[leg.currency] = moved.get(leg.currency, 0) + leg.amount_minor
        return moved

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

    def hold(self, hold_id: bytes) -> Hold | None:
        """Return this draft's own view of a hold."""
        return self.holds.get(hold_id) or self._committed_hold(hold_id)

    def cap(self, key: CapKey) -> Cap | None:
        """Return this draft's own view of a customer's cap."""
        return self.caps.get(key) or self._committed_cap(key)

    def original(self, transfer_id: bytes) -> Original | None:
        """Return this draft's own view of a transfer to be reversed."""
        known = self.originals.get(transfer_id) or self._committed_original(transfer_id)
        return known or (self._fresh_original(transfer_id) if transfer_id in self.decisions else None)

    def _fresh_original(self, transfer_id: bytes) -> Original | None:
        """Return a transfer to be reversed that this draft decided itself."""
        row = next((row for row in self.transfers if row.transfer_id == transfer_id and row.kind in _REVERSIBLE), None)
        if row is None:
            return None
        first = Leg(row.debit_account, row.credit_account, row.amount_minor, row.currency)
        further = (leg for _, of, leg in self.further_legs if of == row.sequence and not leg.is_fee)
        return Original(transfer_id, row.outcome, (first, *further), 0)

    def change_meaning(self, change_id: bytes) -> ChangeDecision | None:
        """Tell what the id of a change means by this draft or by the books."""
        return self.changed.get(change_id) or self._committed_change(change_id)

    def siblings(self, account: AccountState) -> list[AccountState]:
        """Return the accounts of the same customer and currency, the account itself among them."""
        numbers = {account.number, *self._siblings.get(account.number, ())}
        if account.customer_number:
            numbers.update(new.number for new in self.opened if new.customer_number == account.customer_number)
        states = (self.state(number) for number in numbers)
        return [state for state in states if state is not None and state.currency == account.currency]

    def open_holds(self, number: int) -> list[Hold]:
        """Return an account's open holds, where they were asked for beforehand."""
        holds = {hold.hold_id: hold for hold in self._open_holds.get(number, ())} | self.holds
        return [hold for hold in holds.values() if hold.account_number == number and hold.state == HoldState.OPEN]

    def is_in_flight(self, number: int) -> bool:
        """Tell whether an account is a side of a leg that may still come back with its crossing."""
        crossing = {sequence for _, sequence, _ in self.crossings_out}
        return (
            self._is_in_flight(number)
            or any(row.debit_account == number and row.sequence in crossing for row in self.transfers)
            or any(of in crossing and number in leg[:2] for _, of, leg in self.further_legs)
        )

    def note_value_date(self, first_sequence: int, value_date: int) -> None:
        """Note the entries from a sequence on, the last ones written, as bearing another value date."""
        for entry in reversed(self.entries):
            if entry[2] < first_sequence:
                break
            self.value_dated.append((entry[0], entry[2], entry[3], value_date))

    def set_aside(self, account: AccountState, change_minor: int, sequence: int) -> None:
        """Write the entry that holds money, or frees it when negative. Past every rule."""
        account.version += 1
        account.held_minor += change_minor
        self.entries.append((account.number, account.version, sequence, 0, account.balance_minor, account.held_minor))

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
