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
    Creditor,
    Decision,
    Leg,
    PlaceError,
    TransferRow,
    Transfers,
)
from services.ledger.draft import Draft
from services.ledger.traffic import Crossing, Crossings, Watermarks

CZK, EUR = 203, 978
TODAY = 20_000
DAY_US = 86_400_000_000


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

    @property
    def fingerprint(self) -> int:
        """Tell bodies apart, as `wire.py` does, by whatever the caller says."""
        return crc32(repr((self.legs, self.reference, self.value_date, self.creditor, self.metadata)).encode())


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
    return read


def crossings(from_shard: int, sent: Sequence[Crossing]) -> Crossings:
    """Put crossings into columns."""
    return Crossings(
        from_shard,
        sent[0].number,
        [crossing.transfer_id for crossing in sent],
        [crossing.debit_account for crossing in sent],
        [crossing.credit_account for crossing in sent],
        [crossing.amount_minor for crossing in sent],
        [crossing.currency for crossing in sent],
        [crossing.reference for crossing in sent],
        [crossing.value_date for crossing in sent],
        {place: crossing.metadata for place, crossing in enumerate(sent) if crossing.metadata},
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
        self.sequence = 0
        self.time_us = TODAY * DAY_US

    def add(self, number: int, balance: int = 0, floor: int = 0, currency: int = CZK, restrictions: int = 0) -> int:
        """Put an account into the books with a balance out of nowhere."""
        self.accounts[number] = AccountState(number, currency, floor, restrictions, 0, balance)
        return number

    def draft(self) -> Draft:
        """Begin a batch."""
        return Draft(
            self.shard_id,
            self.sequence,
            self.time_us + 1,
            TODAY,
            self.accounts.get,
            self.decisions.get,
            self.peers,
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
            assert (after, held) == (before + amount, 0)
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
        for number, sequence, peer_id in draft.crossings_out:
            row = rows[sequence]
            sent = self.sent.setdefault(peer_id, [])
            assert number == len(sent) + 1
            body = (row.transfer_id, row.debit_account, row.credit_account, row.amount_minor, row.currency)
            sent.append(Crossing(number, *body, row.reference, row.value_date))
        for number, peer_id, refusal in draft.crossings_refused:
            assert number not in self.refused.setdefault(peer_id, {})
            self.refused[peer_id][number] = refusal
        for number, _, peer_id, refusal in draft.crossings_returned:
            assert number not in self.returned.setdefault(peer_id, {})
            self.returned[peer_id][number] = refusal
        self.sequence = draft.sequence
        self.time_us = draft.booking_time_us
