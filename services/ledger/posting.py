"""The money rules of one shard, decided without touching anything.

Start at `Draft`: what one batch would write, on top of the books as they are committed. The rules
are `debit_refusal` and `credit_refusal`; `post`, `land`, `acknowledge` and `open_accounts` apply
them in the order of arrival and fill the draft. Nothing here waits, reads a clock or draws a number
by chance: the same books and the same requests make the same draft.

Never here: PostgreSQL, gRPC, queues, customers, tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from typing import NamedTuple

from services.domain import chart, limits
from services.domain.outcomes import Outcome, Refusal


class Restriction(IntFlag):
    """What an account's state forbids."""

    DEBITS_FROZEN = 1
    CREDITS_FROZEN = 2
    CLOSED = 4


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


def debit_refusal(debit: AccountState, amount_minor: int, currency: int) -> int:
    """Tell why `debit` may not pay; 0 when it may. Only reasons that concern the payer's account."""
    if debit.currency != currency:
        return Refusal.DEBIT_CURRENCY_MISMATCH
    if debit.restrictions:
        if debit.restrictions & Restriction.CLOSED:
            return Refusal.DEBIT_ACCOUNT_CLOSED
        if debit.restrictions & Restriction.DEBITS_FROZEN:
            return Refusal.DEBITS_FROZEN
    if debit.balance_minor - debit.held_minor - amount_minor < debit.floor_minor:
        return Refusal.INSUFFICIENT_FUNDS
    return 0


def credit_refusal(credit: AccountState | None, amount_minor: int, currency: int) -> int:
    """Tell why `credit` may not be paid; 0 when it may. Only reasons that concern the payee's account."""
    if credit is None:
        return Refusal.CREDIT_ACCOUNT_NOT_FOUND
    if credit.currency != currency:
        return Refusal.CREDIT_CURRENCY_MISMATCH
    if credit.restrictions:
        if credit.restrictions & Restriction.CLOSED:
            return Refusal.CREDIT_ACCOUNT_CLOSED
        if credit.restrictions & Restriction.CREDITS_FROZEN:
            return Refusal.CREDITS_FROZEN
    if credit.balance_minor + amount_minor > limits.BALANCE_MINOR_MAX:
        return Refusal.CREDIT_BALANCE_LIMIT
    return 0


def first_refusal(debit: int, credit: int) -> int:
    """Choose between a payer's and a payee's refusal by the public order of precedence."""
    return min(debit, credit) if debit and credit else debit or credit


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
            state = AccountState(number, currency, -limits.BALANCE_MINOR_MAX)
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


def post(draft: Draft, transfers: Transfers) -> Answers:
    """Decide transfers in order: each all of its legs or none."""
    count = len(transfers.transfer_ids)
    answers = Answers([0] * count, [0] * count, [0] * count, {}, {})
    outcomes, refusals, times = answers.outcomes, answers.refusals, answers.booking_times_us
    references, value_dates, peers = transfers.references, transfers.value_dates, transfers.peers
    errors, payee_refusals = transfers.errors, transfers.payee_refusals
    further_legs, creditors = transfers.further_legs, transfers.creditors
    decisions, state, meaning = draft.decisions, draft.state, draft.meaning
    business_date, now = draft.business_date, draft.booking_time_us
    append = draft.transfers.append
    columns = zip(
        transfers.transfer_ids,
        transfers.debit_accounts,
        transfers.credit_accounts,
        transfers.amounts_minor,
        transfers.currencies,
        transfers.fingerprints,
        strict=True,
    )
    for place, (transfer_id, debit_account, credit_account, amount, currency, fingerprint) in enumerate(columns):
        before = meaning(transfer_id)
        if before is not None:
            _repeat(answers, place, before, fingerprint)
            continue
        if errors and place in errors:
            answers.errors[place] = errors[place]
            continue
        # From here on the id gets its outcome for ever.
        sequence = draft.sequence + 1
        draft.sequence = sequence
        peer_id = peers[place] if peers is not None else 0
        further = further_legs.get(place) if further_legs else None
        debit = state(debit_account)
        if debit is None:
            refusal: int = Refusal.DEBIT_ACCOUNT_NOT_FOUND
        else:
            refusal = debit_refusal(debit, amount, currency)
            credit = None
            if payee_refusals and place in payee_refusals:
                refusal = first_refusal(refusal, payee_refusals[place])
            elif not peer_id:
                credit = state(credit_account)
                refusal = first_refusal(refusal, credit_refusal(credit, amount, currency))
            elif not refusal:
                credit = draft.transit(peer_id, currency)
                refusal = credit_refusal(credit, amount, currency)
            if not refusal:
                assert credit is not None
                if further is None:
                    draft.move(debit, credit, amount, sequence)
                else:
                    refusal = _post_legs(draft, debit, credit, amount, sequence, further)
        number = 0
        if refusal:
            outcome: int = Outcome.REFUSED
            peer_id = 0
        elif peer_id:
            outcome = Outcome.IN_TRANSIT
            marks = draft.own_watermarks(peer_id)
            marks.sent_through = number = marks.sent_through + 1
            draft.crossings_out.append((number, sequence, peer_id))
            answers.crossings[place] = (peer_id, number)
        else:
            outcome = Outcome.POSTED
        append(
            TransferRow(
                sequence,
                transfer_id,
                debit_account,
                credit_account,
                amount,
                fingerprint,
                (value_dates[place] if value_dates is not None else 0) or business_date,
                currency,
                Kind.ASKED,
                outcome,
                refusal,
                1 if further is None else 1 + len(further),
                references[place] if references is not None else "",
            )
        )
        if further is not None:
            draft.further_legs.extend((sequence + 1 + i, sequence, leg) for i, leg in enumerate(further))
            draft.sequence += len(further)
        if creditors and place in creditors:
            draft.creditors.append((sequence, creditors[place]))
        decisions[transfer_id] = Decision(fingerprint, Kind.ASKED, outcome, refusal, now, peer_id, number)
        outcomes[place], refusals[place], times[place] = outcome, refusal, now
    return answers


def _repeat(answers: Answers, place: int, before: Decision, fingerprint: int) -> None:
    """Answer an id that already has an outcome: the first one, or that it names something else."""
    if before.kind != Kind.ASKED or before.fingerprint != fingerprint:
        answers.errors[place] = PlaceError.TRANSFER_ID_REUSED
        return
    answers.outcomes[place] = before.outcome
    answers.refusals[place] = before.refusal
    answers.booking_times_us[place] = before.booking_time_us
    if before.outcome == Outcome.IN_TRANSIT:
        answers.crossings[place] = (before.peer_id, before.number)


def _post_legs(
    draft: Draft, debit: AccountState, credit: AccountState, amount: int, sequence: int, further: Sequence[Leg]
) -> int:
    """Post a first leg that nothing speaks against, then the others in order; undo all when one is refused."""
    entries_before = len(draft.entries)
    kept = {debit.number: debit.copy(), credit.number: credit.copy()}
    draft.move(debit, credit, amount, sequence)
    for number, leg in enumerate(further, sequence + 1):
        payer, payee = draft.state(leg.debit_account), draft.state(leg.credit_account)
        if payer is None:
            refusal: int = Refusal.DEBIT_ACCOUNT_NOT_FOUND
        else:
            refusal = first_refusal(
                debit_refusal(payer, leg.amount_minor, leg.currency),
                credit_refusal(payee, leg.amount_minor, leg.currency),
            )
        if refusal:
            draft.touched.update(kept)
            del draft.entries[entries_before:]
            return refusal
        assert payer is not None and payee is not None
        for state in (payer, payee):
            if state.number not in kept:
                kept[state.number] = state.copy()
        draft.move(payer, payee, leg.amount_minor, number)
    return 0


def land(draft: Draft, crossings: Crossings) -> None:
    """Land a peer's crossings that have not landed yet: credit each payee, or remember why not.

    Crossings at or below the watermark are passed over; when there is a gap above it, nothing lands.
    """
    count = len(crossings.transfer_ids)
    skip = draft.watermarks(crossings.peer_id).landed_through + 1 - crossings.first_number
    if skip < 0 or skip >= count:
        return
    marks = draft.own_watermarks(crossings.peer_id)
    first_sequence = draft.sequence + 1
    draft.crossings_landed.append(
        (marks.landed_through + 1, crossings.first_number + count - 1, first_sequence, crossings.peer_id)
    )
    for place in range(skip, count):
        draft.sequence += 1
        transfer_id = crossings.transfer_ids[place]
        amount, currency = crossings.amounts_minor[place], crossings.currencies[place]
        credit = draft.state(crossings.credit_accounts[place])
        transit = draft.transit(crossings.peer_id, currency)
        refusal = credit_refusal(credit, amount, currency) or debit_refusal(transit, amount, currency)
        if not refusal and draft.meaning(transfer_id) is not None:
            refusal = Refusal.TRANSFER_ID_TAKEN
        if refusal:
            draft.crossings_refused.append((crossings.first_number + place, crossings.peer_id, refusal))
            continue
        assert credit is not None
        draft.move(transit, credit, amount, draft.sequence)
        draft.transfers.append(
            TransferRow(
                draft.sequence,
                transfer_id,
                crossings.debit_accounts[place],
                crossings.credit_accounts[place],
                amount,
                0,
                crossings.value_dates[place],
                currency,
                Kind.LANDING,
                Outcome.POSTED,
                0,
                1,
                crossings.references[place],
            )
        )
        draft.decisions[transfer_id] = Decision(0, Kind.LANDING, Outcome.POSTED, 0, draft.booking_time_us, 0, 0)
    marks.landed_through = crossings.first_number + count - 1


def acknowledge(draft: Draft, peer_id: int, landed_through: int, refused: Sequence[tuple[Crossing, int]]) -> None:
    """Take a peer's word on how far crossings have landed and give the refused ones back to their payers.

    A return is not refused: whatever became of the payer's account, the money is the payer's.
    """
    before = draft.watermarks(peer_id)
    if landed_through <= before.acknowledged_through:
        return
    assert landed_through <= before.sent_through, "a peer acknowledged what was never sent"
    marks = draft.own_watermarks(peer_id)
    for crossing, refusal in refused:
        if crossing.number <= marks.acknowledged_through:
            continue
        payer = draft.state(crossing.debit_account)
        assert payer is not None, "a crossing left from an account that is not here"
        draft.sequence += 1
        draft.move(draft.transit(peer_id, crossing.currency), payer, crossing.amount_minor, draft.sequence)
        draft.transfers.append(
            TransferRow(
                draft.sequence,
                crossing.transfer_id,
                crossing.credit_account,
                crossing.debit_account,
                crossing.amount_minor,
                0,
                draft.business_date,
                crossing.currency,
                Kind.RETURN,
                Outcome.POSTED,
                0,
                1,
                crossing.reference,
            )
        )
        draft.crossings_returned.append((crossing.number, draft.sequence, peer_id, refusal))
    marks.acknowledged_through = landed_through


def open_accounts(
    draft: Draft, numbers: Sequence[int], currencies: Sequence[int], floors_minor: Sequence[int]
) -> list[bool]:
    """Put accounts into the books; True where the account is there now with these facts."""
    results = []
    for number, currency, floor in zip(numbers, currencies, floors_minor, strict=True):
        state = draft.state(number)
        if state is None:
            state = AccountState(number, currency, floor)
            draft.touched[number] = state
            draft.opened.append(state)
        results.append(state.currency == currency and state.floor_minor == floor)
    return results
