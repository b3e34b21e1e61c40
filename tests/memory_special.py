"""Books of a shard in memory that have holds, limits, reversals and changes, and short ways to ask for those.

`SpecialBooks.commit` checks on the way that every row can be packed, that what is held is what open
holds say, and that whatever was spent has a row. Days pass here: `wait` moves the clock that bookings are stamped with.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from memory_books import CZK, DAY_US, Ask, MemoryBooks, an_id, ask, transfers

from services.domain.outcomes import Outcome
from services.ledger import changes, holds, posting
from services.ledger.books import (
    AccountState,
    Actor,
    Allowance,
    Answers,
    Flag,
    HoldCommand,
    HoldState,
    Kind,
    Leg,
    Original,
    Relation,
    Special,
    Transfers,
)
from services.ledger.change_rows import Change, ChangeDecision
from services.ledger.draft import Draft
from services.ledger.rows import packed
from services.ledger.traffic import Crossing

HOUR = 3_600
TELLER = Actor("desk", "teller")


class SpecialBooks(MemoryBooks):
    """What is committed of one shard, with all that is more than a movement of free funds."""

    def __init__(self, shard_id: int = 1) -> None:
        super().__init__(shard_id)
        self.changes: dict[bytes, ChangeDecision] = {}
        self.legs: dict[int, tuple[Leg, ...]] = {}
        """All legs of a transfer, by its sequence."""
        self.originals: dict[bytes, Original] = {}
        """Transfers to be reversed that a test put in from nowhere."""
        self.relations: list[tuple[int, Relation, bytes, int]] = []
        self.crossing_of: dict[int, tuple[int, int]] = {}
        """Peer and number of crossings, by sequence."""

    def open(
        self, number: int, balance: int = 0, *, customer: int = 0, allowance: Allowance | None = None, **more: int
    ) -> int:
        """Put an account of a customer into the books with a balance out of nowhere."""
        self.add(number, balance, **more)
        account = self.accounts[number]
        account.customer_number, account.allowance = customer, allowance
        return number

    def original(self, transfer_id: bytes) -> Original | None:
        """Return a transfer to be reversed, as the tables would give it."""
        for row in self.transfers.values():
            if row.transfer_id == transfer_id and row.kind in {Kind.ASKED, Kind.LANDING}:
                given_back = sum(
                    amount
                    for sequence, relation, target_id, amount in self.relations
                    if (relation, target_id) == (Relation.REVERSES, transfer_id) and not self._has_returned(sequence)
                )
                outcome = row.outcome
                if self._has_returned(row.sequence):
                    outcome = Outcome.RETURNED
                elif self._has_arrived(row.sequence):
                    outcome = Outcome.POSTED
                legs = tuple(leg for leg in self.legs[row.sequence] if not leg.is_fee)
                return Original(transfer_id, outcome, legs, given_back)
        return self.originals.get(transfer_id)

    def _has_returned(self, sequence: int) -> bool:
        peer_id, number = self.crossing_of.get(sequence, (0, 0))
        return number in self.returned.get(peer_id, {})

    def _has_arrived(self, sequence: int) -> bool:
        peer_id, number = self.crossing_of.get(sequence, (0, 0))
        return bool(number) and number <= self.peers[peer_id].acknowledged_through

    def _is_in_flight(self, account_number: int) -> bool:
        return any(
            crossing.number > self.peers[peer_id].acknowledged_through
            and (account_number == crossing.debit_account or any(account_number in leg[:2] for leg in crossing.further))
            for peer_id, sent in self.sent.items()
            for crossing in sent
        )

    def draft(self) -> Draft:
        """Begin a batch."""
        accounts = self.accounts.values()
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
            original=self.original,
            change=self.changes.get,
            siblings={
                one.number: [two.number for two in accounts if two.customer_number == one.customer_number]
                for one in accounts
                if one.customer_number
            },
            open_holds={number: [one for one in self.holds.values() if one[1] == number] for number in self.accounts},
            is_in_flight=self._is_in_flight,
            spans=self.spans(),
        )

    def commit(self, draft: Draft) -> None:
        """Take a batch in."""
        assert draft.first_sequence == self.sequence
        assert all(rows for _, rows in packed(draft))
        self._take_entries(draft)
        new = AccountState(0, 0, 0)
        for number, account in draft.touched.items():
            assert account.spent == self.accounts.get(number, new).spent or number in draft.spenders
        self.accounts.update(draft.touched)
        self.decisions.update(draft.decisions)
        self.peers.update(draft.peers)
        self.holds.update(draft.holds)
        self.caps.update(draft.caps)
        self.changes.update(draft.changed)
        self.relations += draft.relations
        self._take_transfers(draft)
        self._check_holds()
        self.sequence = draft.sequence
        self.time_us = draft.booking_time_us

    def _take_entries(self, draft: Draft) -> None:
        balance_by_leg: dict[int, int] = {}
        for number, version, sequence, amount, after, _ in draft.entries:
            history = self.entries.setdefault(number, [])
            known = self.accounts.get(number)
            opening = known.balance_minor if known is not None and not history else 0
            assert version == len(history) + 1
            assert after == (history[-1][2] if history else opening) + amount
            assert self.sequence < sequence <= draft.sequence
            history.append((sequence, amount, after))
            balance_by_leg[sequence] = balance_by_leg.get(sequence, 0) + amount
        assert not any(balance_by_leg.values())
        held_after = {number: held for number, _, _, _, _, held in draft.entries}
        assert all(draft.touched[number].held_minor == held for number, held in held_after.items())

    def _take_transfers(self, draft: Draft) -> None:
        rows = {row.sequence: row for row in draft.transfers}
        assert len(rows) == len(draft.transfers)
        self.transfers |= rows
        self.take_legs(draft)
        for number, sequence, peer_id in draft.crossings_out:
            row = rows[sequence]
            sent = self.sent.setdefault(peer_id, [])
            assert number == len(sent) + 1
            sent.append(
                Crossing(
                    number,
                    row.transfer_id,
                    *self.legs[sequence][0][:4],
                    row.reference,
                    row.value_date,
                    self.legs[sequence][1:],
                )
            )
            self.crossing_of[sequence] = peer_id, number
        for number, peer_id, refusal in draft.crossings_refused:
            self.refused.setdefault(peer_id, {})[number] = refusal
        for number, _, peer_id, refusal in draft.crossings_returned:
            assert number not in self.returned.setdefault(peer_id, {})
            self.returned[peer_id][number] = refusal

    def take_legs(self, draft: Draft) -> None:
        """Remember all legs of each transfer."""
        for row in draft.transfers:
            first = Leg(row.debit_account, row.credit_account, row.amount_minor, row.currency)
            self.legs[row.sequence] = (first, *(leg for _, of, leg in draft.further_legs if of == row.sequence))

    def _check_holds(self) -> None:
        held: dict[int, int] = dict.fromkeys(self.accounts, 0)
        for one in self.holds.values():
            held[one.account_number] += one.amount_minor if one.state == HoldState.OPEN else 0
        assert held == {number: account.held_minor for number, account in self.accounts.items()}


class SpecialAsk(NamedTuple):
    """A transfer that is more than a movement of the payer's free funds."""

    ask: Ask
    special: Special


def legs(number: int, *moves: tuple[int, int, int], currency: int = CZK, **more: Any) -> Ask:
    """Ask for several legs under the id that `number` stands for."""
    return Ask(an_id(number), tuple(Leg(*move, currency) for move in moves), **more)


def overridden(asked: Ask) -> SpecialAsk:
    """Ask for a transfer whatever the limits say."""
    return SpecialAsk(asked, Special(flags=Flag.LIMITS_OVERRIDDEN))


def capture(number: int, hold: int, debit: int, credit: int, amount: int, **more: Any) -> SpecialAsk:
    """Ask for a transfer that captures a hold."""
    return SpecialAsk(ask(number, debit, credit, amount, **more), Special(hold_id=an_id(hold)))


def reverse(number: int, original: int, *moves: tuple[int, int, int], flags: int = 0, **more: Any) -> SpecialAsk:
    """Ask for a transfer that reverses another."""
    return SpecialAsk(legs(number, *moves, **more), Special(original_id=an_id(original), flags=flags))


def columns(asked: Sequence[Ask | SpecialAsk]) -> Transfers:
    """Put transfers into columns."""
    read = transfers([one.ask if isinstance(one, SpecialAsk) else one for one in asked])
    read.specials = {place: one.special for place, one in enumerate(asked) if isinstance(one, SpecialAsk)}
    for place, special in read.specials.items():
        read.fingerprints[place] ^= crc32(repr(special).encode())
    return read


def post(books: MemoryBooks, *asked: Ask | SpecialAsk) -> Answers:
    """Decide transfers as one batch and commit it."""
    draft = books.draft()
    answers = posting.post(draft, columns(asked))
    books.commit(draft)
    return answers


def refusal(books: MemoryBooks, asked: Ask | SpecialAsk | HoldCommand) -> int:
    """Decide something and forget it again; 0 when nothing speaks against it."""
    if isinstance(asked, HoldCommand):
        (decided,) = holds.command(books.draft(), [asked], [1]).refusals
    else:
        (decided,) = posting.post(books.draft(), columns([asked])).refusals
    return decided


def place(
    number: int,
    account: int,
    amount: int,
    *,
    seconds: int = HOUR,
    payee: int = 0,
    currency: int = CZK,
    reference: str = "",
    flags: int = 0,
) -> HoldCommand:
    """Ask to set money aside under the id that `number` stands for."""
    return _command(Kind.HOLD_PLACED, number, number, account, amount, currency, seconds, payee, reference, flags)


def increase(
    number: int, hold: int, account: int, amount: int, *, seconds: int = 0, currency: int = CZK, flags: int = 0
) -> HoldCommand:
    """Ask to set more money aside in a hold."""
    return _command(Kind.HOLD_INCREASED, number, hold, account, amount, currency, seconds, 0, "", flags)


def release(number: int, hold: int, account: int, reference: str = "") -> HoldCommand:
    """Ask to free what a hold has set aside."""
    return _command(Kind.HOLD_RELEASED, number, hold, account, 0, 0, 0, 0, reference, 0)


def _command(kind: Kind, number: int, hold: int, *body: Any) -> HoldCommand:
    *facts, flags = body
    fingerprint = crc32(repr((kind, hold, body)).encode())
    return HoldCommand(kind, an_id(number), an_id(hold), *facts, fingerprint, flags, TELLER)


def command(books: MemoryBooks, *commands: HoldCommand) -> Answers:
    """Carry commands out as one batch and commit it."""
    draft = books.draft()
    answers = holds.command(draft, commands, [1] * len(commands))
    books.commit(draft)
    return answers


def expire(books: MemoryBooks, *numbers: int) -> int:
    """Expire those holds whose time has come; tell how many were."""
    draft = books.draft()
    expired = holds.expire(draft, [an_id(number) for number in numbers])
    books.commit(draft)
    return expired


def a_change(
    number: int,
    account: int,
    *,
    state: int | None = None,
    floor: int | None = None,
    allowance: Allowance | None = None,
    cap: int | None = None,
    reason: str = "asked for",
) -> Change:
    """Ask for a change under the id that `number` stands for."""
    body = (account, state, floor, allowance, cap, reason)
    return Change(an_id(number), *body, crc32(repr(body).encode()))


def change(books: MemoryBooks, *asked: Change) -> list[ChangeDecision | None]:
    """Decide changes as one batch and commit it."""
    draft = books.draft()
    decided = [changes.change(draft, one, 1) for one in asked]
    books.commit(draft)
    return decided


def free(account: AccountState) -> int:
    """Tell what can be spent, down to a floor of 0."""
    return account.balance_minor - account.held_minor
