"""Books of a shard in memory, and short ways to ask them: what the pure rules are tested on.

`MemoryBooks.commit` takes a draft in as the store does, checking on the way what the audit would check.
"""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from services.domain.chart import Code, internal_account
from services.domain.identifiers import account_number
from services.domain.metadata import Metadata
from services.ledger.books import (
    AccountState,
    Cap,
    CapKey,
    Creditor,
    Decision,
    Hold,
    HoldState,
    Leg,
    PlaceError,
    Special,
    Spent,
    TransferRow,
    Transfers,
)
from services.ledger.draft import Draft, SpanFacts
from services.ledger.memory import OpenPromises
from services.ledger.promises import brought
from services.ledger.traffic import Crossing, Crossings, Watermarks

CZK, EUR = 203, 978
TODAY = 20_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def customer_account(shard_id: int, serial: int) -> int:
    """Name an account of a customer: shard n has slots n * 100 to n * 100 + 99 here."""
    return account_number(shard_id * 100, serial)


def cash(shard_id: int, currency: int = CZK) -> int:
    """Name a shard's cash account."""
    return internal_account(shard_id, Code.CASH, currency)


def an_id(number: int) -> bytes:
    """Make the transfer id that a number stands for."""
    return number.to_bytes(16, "big")


class Ask(NamedTuple):
    """One transfer as a caller means it, with what the door adds on the way."""

    transfer_id: bytes
    legs: tuple[Leg, ...]
    reference: str = ""
    value_date: int = 0
    peer_id: int = 0
    payee_refusal: int = 0
    error: PlaceError | None = None
    creditor: Creditor | None = None
    metadata: Metadata = ()
    hold_id: bytes | None = None
    """The hold that it captures."""
    original_id: bytes | None = None
    """The transfer that it reverses."""
    flags: int = 0

    @property
    def fingerprint(self) -> int:
        """Tell bodies apart, as `wire.py` does, by whatever the caller says: fees are the bank's."""
        said = (self.asked, self.reference, self.value_date, self.creditor, self.metadata, *self.special)
        return crc32(repr(said).encode())

    @property
    def special(self) -> Special:
        """What makes it more than a movement of the payer's free funds."""
        return Special(self.hold_id, self.original_id, self.flags)

    @property
    def asked(self) -> tuple[Leg, ...]:
        """The legs that the caller asks for."""
        return tuple(leg for leg in self.legs if not leg.is_fee)


def ask(number: int, debit: int, credit: int, amount: int, currency: int = CZK, **more) -> Ask:
    """Ask for one leg under the id that `number` stands for."""
    return Ask(an_id(number), (Leg(debit, credit, amount, currency),), **more)


def transfers(asked: Sequence[Ask]) -> Transfers:
    """Put transfers into columns."""
    first = [one.legs[0] for one in asked]
    read = Transfers(
        [one.transfer_id for one in asked],
        [leg.debit_account for leg in first],
        [leg.credit_account for leg in first],
        [leg.amount_minor for leg in first],
        [leg.currency for leg in first],
        [one.fingerprint for one in asked],
        [one.reference for one in asked] if any(one.reference for one in asked) else None,
        [one.value_date for one in asked] if any(one.value_date for one in asked) else None,
        [one.peer_id for one in asked] if any(one.peer_id for one in asked) else None,
    )
    for place, one in enumerate(asked):
        if one.legs[1:]:
            read.further_legs[place] = list(one.legs[1:])
        if one.payee_refusal:
            read.payee_refusals[place] = one.payee_refusal
        if one.error is not None:
            read.errors[place] = one.error
        if one.creditor is not None:
            read.creditors[place] = one.creditor
        if one.metadata:
            read.metadata[place] = one.metadata
        if one.special != Special():
            read.specials[place] = one.special
    return read


def crossings(from_shard: int, sent: Sequence[Crossing]) -> Crossings:
    """Put crossings into columns, and decisions among them beside these."""
    money = [crossing for crossing in sent if crossing.verdict is None]
    return Crossings(
        from_shard,
        sent[0].number,
        [crossing.transfer_id for crossing in money],
        [crossing.debit_account for crossing in money],
        [crossing.credit_account for crossing in money],
        [crossing.amount_minor for crossing in money],
        [crossing.currency for crossing in money],
        [crossing.reference for crossing in money],
        [crossing.value_date for crossing in money],
        {place: crossing.metadata for place, crossing in enumerate(money) if crossing.metadata},
        decisions=[crossing.verdict for crossing in sent if crossing.verdict is not None],
    )


class MemoryBooks:
    """What is committed of one shard."""

    def __init__(self, shard_id: int = 1) -> None:
        self.shard_id = shard_id
        self.accounts: dict[int, AccountState] = {}
        self.decisions: dict[bytes, Decision] = {}
        self.peers: dict[int, Watermarks] = {}
        self.entries: dict[int, list[tuple[int, int, int]]] = {}
        """Per account: sequence, amount and balance after, from version 1 on."""
        self.transfers: dict[int, TransferRow] = {}
        self.sent: dict[int, list[Crossing]] = {}
        self.refused: dict[int, dict[int, int]] = {}
        """Per peer: number and reason of its crossings that were refused here."""
        self.returned: dict[int, dict[int, int]] = {}
        self.metadata: dict[int, Metadata] = {}
        """By the transfer's sequence."""
        self.open_promises = OpenPromises(())
        self.holds: dict[bytes, Hold] = {}
        self.caps: dict[CapKey, Cap] = {}
        self.sequence = 0
        self.time_us = TODAY * DAY_US

    def add(self, number: int, balance: int = 0, floor: int = 0, currency: int = CZK, restrictions: int = 0) -> int:
        """Put an account into the books with a balance out of nowhere."""
        self.accounts[number] = AccountState(number, currency, floor, restrictions, 0, balance)
        return number

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.time_us += seconds * SECOND_US

    def cap(self, customer: int, day_minor_max: int, currency: int = CZK) -> None:
        """Cap a customer from nowhere."""
        self.caps[CapKey(customer, currency)] = Cap(day_minor_max, Spent())
        for account in self.accounts.values():
            account.is_capped |= (account.customer_number, account.currency) == (customer, currency)

    def spans(self) -> SpanFacts:
        """Tell what is known of transfers over several shards."""
        told = {
            (crossing.verdict.transfer_id, peer_id)
            for peer_id, sent in self.sent.items()
            for crossing in sent
            if crossing.verdict is not None
        }
        return SpanFacts(self.open_promises.get, told.__contains__, self.open_promises.all)

    def draft(self) -> Draft:
        """Begin a batch."""
        return Draft(
            self.shard_id,
            self.sequence,
            self.time_us + 1,
            (self.time_us + 1) // DAY_US,
            self.accounts.get,
            self.decisions.get,
            self.peers,
            hold=self.holds.get,
            cap=self.caps.get,
            spans=self.spans(),
        )

    def commit(self, draft: Draft) -> None:
        """Take a batch in."""
        assert draft.first_sequence == self.sequence
        balance_by_leg: dict[int, int] = {}
        for number, version, sequence, amount, after, held in draft.entries:
            history = self.entries.setdefault(number, [])
            known = self.accounts.get(number)
            opening = known.balance_minor if known is not None and not history else 0
            before = history[-1][2] if history else opening
            assert version == len(history) + 1
            assert after == before + amount
            assert held >= 0
            assert self.sequence < sequence <= draft.sequence
            history.append((sequence, amount, after))
            balance_by_leg[sequence] = balance_by_leg.get(sequence, 0) + amount
        assert not any(balance_by_leg.values())
        for opened in draft.opened:
            assert opened.number not in self.accounts
        self.accounts.update(draft.touched)
        self.decisions.update(draft.decisions)
        self.peers.update(draft.peers)
        rows = {row.sequence: row for row in draft.transfers}
        assert len(rows) == len(draft.transfers)
        self.transfers |= rows
        self.metadata.update(draft.metadata)
        self.open_promises.take(draft.spans.promises)
        self.holds.update(draft.holds)
        self.caps.update(draft.caps)
        self._send(draft, rows)
        self._check_held()
        for number, peer_id, refusal in draft.crossings_refused:
            assert number not in self.refused.setdefault(peer_id, {})
            self.refused[peer_id][number] = refusal
        for number, _, peer_id, refusal in draft.crossings_returned:
            assert number not in self.returned.setdefault(peer_id, {})
            self.returned[peer_id][number] = refusal
        self.sequence = draft.sequence
        self.time_us = draft.booking_time_us

    def _send(self, draft: Draft, rows: dict[int, TransferRow]) -> None:
        leaving: dict[int, list[Crossing]] = {}
        for number, sequence, peer_id in draft.crossings_out:
            row = rows[sequence]
            body = (row.transfer_id, row.debit_account, row.credit_account, row.amount_minor, row.currency)
            further = tuple(leg for _, of, leg in draft.further_legs if of == sequence)
            crossing = Crossing(number, *body, row.reference, row.value_date, further, self.metadata.get(sequence, ()))
            leaving.setdefault(peer_id, []).append(crossing)
        for peer_id, _, verdict in draft.spans.verdicts:
            leaving.setdefault(peer_id, []).append(Crossing.of_verdict(verdict))
        for peer_id, crossings_out in leaving.items():
            sent = self.sent.setdefault(peer_id, [])
            sent += sorted(crossings_out, key=lambda crossing: crossing.number)
            assert [crossing.number for crossing in sent] == list(range(1, len(sent) + 1))

    def _check_held(self) -> None:
        """Hold what accounts have set aside against the open promises and holds."""
        held = dict.fromkeys(self.accounts, 0)
        for hold in self.holds.values():
            held[hold.account_number] += hold.amount_minor if hold.state == HoldState.OPEN else 0
        for promise in self.open_promises.all():
            for leg, passed_on in zip(promise.legs, brought(promise.legs), strict=True):
                if not leg.debit_peer:
                    held[leg.debit_account] += leg.amount_minor - passed_on
        assert all(state.held_minor == held[number] for number, state in self.accounts.items())
