"""The whole ledger in a screenful: several shards, slow, obvious, and never shipped.

Every question is answered by looking at everything. Money is moved by `move` and nowhere else, every
rule is one line of `_applies`, and what an id means is derived when somebody asks.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from memory_books import Ask

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import Leg, PlaceError, Restriction

TRANSIT = "transit"
Name = int | tuple[str, int, int]
"""An account's number; or, for the engine's own, (TRANSIT, peer, currency)."""


@dataclass
class Account:
    """What is known of an account."""

    currency: int
    floor: int = 0
    restrictions: int = 0
    history: list[tuple[int, int]] = field(default_factory=list)
    """Amounts and balances after them."""

    @property
    def balance(self) -> int:
        return self.history[-1][1] if self.history else 0


@dataclass
class Stream:
    """Crossings from one shard to another, in order; crossing n stands at place n - 1."""

    sent: list[tuple[bytes, Leg]] = field(default_factory=list)
    landed: int = 0
    acknowledged: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)

    def under_way(self, currency: int) -> int:
        """Sum up what left the payer and has neither reached the payee nor come back."""
        at_home_again = {number for number in self.refused if number <= self.acknowledged}
        there = {number for number in range(1, self.landed + 1) if number not in self.refused}
        return sum(
            leg.amount_minor
            for number, (_, leg) in enumerate(self.sent, start=1)
            if leg.currency == currency and number not in there | at_home_again
        )


@dataclass
class Meaning:
    """What an id means: `body` tells a repeat from a reuse; a landing has none."""

    body: object
    refusal: Refusal | None = None
    crossing: tuple[int, int] | None = None


class LedgerModel:
    """All shards of a bank."""

    def __init__(self, shard_ids: Sequence[int]) -> None:
        self.accounts: dict[int, dict[Name, Account]] = {shard: {} for shard in shard_ids}
        self.meanings: dict[int, dict[bytes, Meaning]] = {shard: {} for shard in shard_ids}
        self.streams = {(payer, payee): Stream() for payer in shard_ids for payee in shard_ids if payer != payee}

    def open(self, shard: int, number: int, currency: int, floor: int) -> bool:
        """Open an account; tell whether it has these facts now."""
        account = self.accounts[shard].setdefault(number, Account(currency, floor))
        return (account.currency, account.floor) == (currency, floor)

    def post(self, shard: int, ask: Ask, *, believed: bool) -> PlaceError | None:
        """Decide a transfer for ever; `believed` means that the payee's shard is not asked this time."""
        body = (ask.legs, ask.reference, ask.value_date, ask.creditor)
        known = self.meanings[shard].get(ask.transfer_id)
        if known is not None:
            return None if known.body == body else PlaceError.TRANSFER_ID_REUSED
        if ask.error is not None:
            return ask.error
        self.meanings[shard][ask.transfer_id] = meaning = Meaning(body)
        before = copy.deepcopy(self.accounts[shard]) if ask.legs[1:] else self.accounts[shard]
        for leg in ask.legs:
            meaning.refusal = self._post_leg(shard, leg, ask.peer_id, believed=believed)
            if meaning.refusal:
                self.accounts[shard] = before
                return None
        if ask.peer_id:
            stream = self.streams[shard, ask.peer_id]
            stream.sent.append((ask.transfer_id, ask.legs[0]))
            meaning.crossing = (ask.peer_id, len(stream.sent))
        return None

    def _post_leg(self, shard: int, leg: Leg, peer_id: int, *, believed: bool) -> Refusal | None:
        payer = self.accounts[shard].get(leg.debit_account)
        if not peer_id:
            payee = self.accounts[shard].get(leg.credit_account)
            refusal = refusal_of(payer, payee, leg)
        else:
            payee = self.transit(shard, peer_id, leg.currency)
            there = self.accounts[peer_id].get(leg.credit_account)
            refusal = refusal_of(payer, payee if believed else there, leg, crossing=True)
            if not refusal and abs(payee.balance + leg.amount_minor) > limits.BALANCE_MINOR_MAX:
                refusal = Refusal.CREDIT_BALANCE_LIMIT
        if not refusal:
            move(payer, payee, leg.amount_minor)
        return refusal

    def land(self, shard: int, peer_id: int, first: int, count: int) -> None:
        """Land crossings first, first + 1 ... that have not landed."""
        stream = self.streams[peer_id, shard]
        if first > stream.landed + 1:
            return
        for number in range(stream.landed + 1, first + count):
            transfer_id, leg = stream.sent[number - 1]
            transit, payee = self.transit(shard, peer_id, leg.currency), self.accounts[shard].get(leg.credit_account)
            refusal = refusal_of(ANYBODY, payee, leg)
            if not refusal and abs(transit.balance - leg.amount_minor) > limits.BALANCE_MINOR_MAX:
                refusal = Refusal.CREDIT_BALANCE_LIMIT
            if not refusal and transfer_id in self.meanings[shard]:
                refusal = Refusal.TRANSFER_ID_TAKEN
            if refusal:
                stream.refused[number] = refusal
            else:
                move(transit, payee, leg.amount_minor)
                self.meanings[shard][transfer_id] = Meaning(None)
            stream.landed = number

    def acknowledge(self, shard: int, peer_id: int, through: int) -> None:
        """Learn that crossings have landed or were refused; give the refused ones back."""
        stream = self.streams[shard, peer_id]
        for number in range(stream.acknowledged + 1, through + 1):
            if number in stream.refused:
                leg = stream.sent[number - 1][1]
                move(
                    self.transit(shard, peer_id, leg.currency),
                    self.accounts[shard][leg.debit_account],
                    leg.amount_minor,
                )
            stream.acknowledged = number

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[Outcome, int]:
        """Tell what became of a transfer, as far as this shard knows."""
        meaning = self.meanings[shard][transfer_id]
        if meaning.refusal:
            return Outcome.REFUSED, meaning.refusal
        if meaning.crossing is None:
            return Outcome.POSTED, 0
        peer_id, number = meaning.crossing
        stream = self.streams[shard, peer_id]
        if number > stream.acknowledged:
            return Outcome.IN_TRANSIT, 0
        refusal = stream.refused.get(number)
        return (Outcome.RETURNED, refusal) if refusal else (Outcome.POSTED, 0)

    def transit(self, shard: int, peer_id: int, currency: int) -> Account:
        """Find the account through which crossings to and from a peer pass."""
        return self.accounts[shard].setdefault((TRANSIT, peer_id, currency), Account(currency, restrictions=8))


def move(payer: Account | None, payee: Account | None, amount: int) -> None:
    """Write both sides of a leg."""
    assert payer is not None and payee is not None
    payer.history.append((-amount, payer.balance - amount))
    payee.history.append((amount, payee.balance + amount))


ANYBODY = Account(0, -limits.INT64_MAX, 0)
"""Stands for a side of the leg that is judged elsewhere."""


def refusal_of(payer: Account | None, payee: Account | None, leg: Leg, *, crossing: bool = False) -> Refusal | None:
    """Walk down the reasons and give the first that applies."""
    return next((reason for reason in Refusal if _applies(reason, payer, payee, leg, crossing=crossing)), None)


def _applies(reason: Refusal, payer: Account | None, payee: Account | None, leg: Leg, *, crossing: bool) -> bool:
    amount = leg.amount_minor
    if payer is None:
        return reason is Refusal.DEBIT_ACCOUNT_NOT_FOUND
    if payee is None:
        return reason is Refusal.CREDIT_ACCOUNT_NOT_FOUND
    applies: dict[Refusal, Callable[[], object]] = {
        Refusal.DEBIT_CURRENCY_MISMATCH: lambda: payer is not ANYBODY and payer.currency != leg.currency,
        Refusal.CREDIT_CURRENCY_MISMATCH: lambda: payee.currency != leg.currency,
        Refusal.DEBIT_ACCOUNT_CLOSED: lambda: payer.restrictions & Restriction.CLOSED,
        Refusal.CREDIT_ACCOUNT_CLOSED: lambda: payee.restrictions & Restriction.CLOSED,
        Refusal.DEBITS_FROZEN: lambda: payer.restrictions & Restriction.DEBITS_FROZEN,
        Refusal.CREDITS_FROZEN: lambda: payee.restrictions & Restriction.CREDITS_FROZEN,
        Refusal.INSUFFICIENT_FUNDS: lambda: payer.balance - amount < payer.floor,
        Refusal.CREDIT_BALANCE_LIMIT: lambda: not crossing and payee.balance + amount > limits.BALANCE_MINOR_MAX,
    }
    return bool(applies.get(reason, bool)())
