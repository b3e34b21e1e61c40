"""The whole ledger in a screenful: several shards, slow, obvious, and never shipped.

Every question is answered by looking at everything. Money is moved by `move` and nowhere else, every
rule is one line of `leg_rules.py`, and what an id means is derived when somebody asks.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from leg_rules import ANYBODY, Account, move, refusal_of
from memory_books import Ask

from services.domain import limits
from services.domain.metadata import Metadata
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import NO_LEG, Leg, PlaceError

TRANSIT = "transit"
Name = int | tuple[str, int, int]
"""An account's number; or, for the engine's own, (TRANSIT, peer, currency)."""


class Across(NamedTuple):
    """A transfer over several shards as its caller means it; `shards` are each leg's payer's and payee's."""

    ask: Ask
    shards: tuple[tuple[int, int], ...]

    @property
    def home(self) -> int:
        """The shard that decides."""
        return self.shards[0][0]

    @property
    def peers(self) -> list[int]:
        """The others that take part."""
        return sorted({shard for pair in self.shards for shard in pair} - {self.home})


@dataclass(frozen=True)
class Decided:
    """What a home tells a peer about an id."""

    transfer_id: bytes
    refusal: Refusal | None
    towards: dict[int, int]
    """What the peer's side of the transit accounts is to receive, by currency, when it was posted."""


@dataclass
class Promised:
    """One shard's part of a transfer over several."""

    across: Across
    aside: dict[int, int]
    """What was set aside for each leg that is paid here, by its place."""
    is_open: bool = True


@dataclass
class Stream:
    """Crossings from one shard to another, in order; crossing n stands at place n - 1."""

    sent: list["Sent | Decided"] = field(default_factory=list)
    landed: int = 0
    acknowledged: int = 0
    refused: dict[int, Refusal] = field(default_factory=dict)

    def under_way(self, currency: int) -> int:
        """Sum up what left the payer and has neither reached the payee nor come back."""
        at_home_again = {number for number in self.refused if number <= self.acknowledged}
        there = {number for number in range(1, self.landed + 1) if number not in self.refused}
        return sum(
            sent.towards.get(currency, 0)
            for number, sent in enumerate(self.sent, start=1)
            if number not in there | at_home_again
        )


class Sent(NamedTuple):
    """A crossing: its first leg, and those on the payer's shard that come back with it."""

    transfer_id: bytes
    leg: Leg
    fees: tuple[Leg, ...]
    metadata: Metadata

    @property
    def towards(self) -> dict[int, int]:
        """What it brings to the payee's shard, by currency."""
        return {self.leg.currency: self.leg.amount_minor}


@dataclass
class Meaning:
    """What an id means: `body` tells a repeat from a reuse; what was not asked for here has none."""

    body: object = None
    refusal: Refusal | None = None
    leg: int = NO_LEG
    """Which of several legs was refused."""
    crossing: tuple[int, int] | None = None
    metadata: Metadata = ()
    is_buried: bool = False
    promised: Promised | None = None


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
        known = self.meanings[shard].get(ask.transfer_id)
        if known is not None:
            return None if known.is_buried or known.body == body_of(ask) else PlaceError.TRANSFER_ID_REUSED
        if ask.error is not None:
            return ask.error
        self.meanings[shard][ask.transfer_id] = meaning = Meaning(body_of(ask), metadata=ask.metadata)
        before = copy.deepcopy(self.accounts[shard])
        for place, leg in enumerate(ask.legs):
            meaning.refusal = self._post_leg(shard, leg, 0 if place else ask.peer_id, believed=believed)
            if meaning.refusal:
                meaning.leg = place if len(ask.asked) > 1 else NO_LEG
                self.accounts[shard] = before
                return None
        if ask.peer_id:
            stream = self.streams[shard, ask.peer_id]
            stream.sent.append(Sent(ask.transfer_id, ask.legs[0], ask.legs[1:], ask.metadata))
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
            sent = stream.sent[number - 1]
            stream.landed = number
            if isinstance(sent, Decided):
                self._take_word(shard, peer_id, sent)
                continue
            leg, known = sent.leg, self.meanings[shard].get(sent.transfer_id)
            transit, payee = self.transit(shard, peer_id, leg.currency), self.accounts[shard].get(leg.credit_account)
            refusals = [refusal_of(ANYBODY, payee, leg)]
            if not refusals[0] and abs(transit.balance - leg.amount_minor) > limits.BALANCE_MINOR_MAX:
                refusals = [Refusal.CREDIT_BALANCE_LIMIT]
            if known is not None:
                taken = Refusal.REVERSED_BEFORE_ARRIVAL if known.is_buried else Refusal.TRANSFER_ID_TAKEN
                refusals.append(taken)
            refusal = min(filter(None, refusals), default=None)
            if refusal:
                stream.refused[number] = refusal
            else:
                move(transit, payee, leg.amount_minor)
                self.meanings[shard][sent.transfer_id] = Meaning(metadata=sent.metadata)

    def acknowledge(self, shard: int, peer_id: int, through: int) -> None:
        """Learn that crossings have landed or were refused; give the refused ones back."""
        stream = self.streams[shard, peer_id]
        for number in range(stream.acknowledged + 1, through + 1):
            if number in stream.refused:
                sent, there = stream.sent[number - 1], self.accounts[shard]
                assert isinstance(sent, Sent)
                leg = sent.leg
                move(self.transit(shard, peer_id, leg.currency), there[leg.debit_account], leg.amount_minor)
                for fee in sent.fees:
                    move(there[fee.credit_account], there[fee.debit_account], fee.amount_minor)
            stream.acknowledged = number

    def promise(self, shard: int, across: Across) -> tuple[int, int]:
        """Set one shard's part of a transfer aside for its home to decide, or tell which leg fails and why."""
        parts = self.parts(shard, across)
        known = self.meanings[shard].get(across.ask.transfer_id)
        if known is not None:
            made = known.promised
            is_same = made is not None and (made.across.home, body_of(made.across.ask)) == (
                across.home,
                body_of(across.ask),
            )
            if is_same or known.is_buried:
                return (known.refusal, parts[0][0]) if known.refusal else (0, NO_LEG)
            return Refusal.TRANSFER_ID_TAKEN, parts[0][0]
        before, made = copy.deepcopy(self.accounts[shard]), Promised(across, {})
        coming: dict[int, int] = defaultdict(int)
        for place, leg, (payer, payee) in parts:
            passed_on = min(coming[leg.debit_account], leg.amount_minor) if payer == shard else 0
            refusal = self._part_refusal(shard, leg, payer, payee, passed_on)
            if refusal:
                self.accounts[shard] = before
                return refusal, place
            if payer == shard:
                coming[leg.debit_account] -= passed_on
                made.aside[place] = leg.amount_minor - passed_on
                self.accounts[shard][leg.debit_account].set_aside(made.aside[place])
            if payee == shard:
                coming[leg.credit_account] += leg.amount_minor
        self.meanings[shard][across.ask.transfer_id] = Meaning(metadata=across.ask.metadata, promised=made)
        return 0, NO_LEG

    def decide(self, across: Across, refusals: Sequence[tuple[int, int]], told: Sequence[int]) -> PlaceError | None:
        """Decide a transfer over several shards for ever, at its home, when the others have answered."""
        home, transfer_id = across.home, across.ask.transfer_id
        known = self.meanings[home].get(transfer_id)
        if known is not None:
            return None if known.is_buried or known.body == body_of(across.ask) else PlaceError.TRANSFER_ID_REUSED
        meaning = Meaning(body_of(across.ask), metadata=across.ask.metadata)
        self.meanings[home][transfer_id] = meaning
        before, found = copy.deepcopy(self.accounts[home]), list(refusals)
        towards: dict[int, dict[int, int]] = {peer: {} for peer in across.peers}
        for place, leg, (payer, payee) in self.parts(home, across):
            refusal = self._part_refusal(home, leg, payer, payee)
            if refusal:
                found.append((place, refusal))
                break
            if payer == payee != home:
                continue
            self._move_part(home, leg, payer, payee)
            for peer, amount in ((payer, -leg.amount_minor), (payee, leg.amount_minor)):
                if peer != home:
                    towards[peer][leg.currency] = towards[peer].get(leg.currency, 0) + amount
        if found:
            self.accounts[home] = before
            meaning.leg, reason = min(found)
            meaning.refusal = Refusal(reason)
        for peer in told if found else across.peers:
            self.streams[home, peer].sent.append(Decided(transfer_id, meaning.refusal, {} if found else towards[peer]))
        return None

    def inquire(self, home: int, peer: int, transfer_id: bytes) -> None:
        """Let a peer ask what became of an id; what the home never decided is refused for ever."""
        sent = self.streams[home, peer].sent
        if any(isinstance(one, Decided) and one.transfer_id == transfer_id for one in sent):
            return
        known = self.meanings[home].get(transfer_id)
        if known is None:
            known = Meaning(refusal=Refusal.PROMISE_TIMED_OUT, is_buried=True)
            self.meanings[home][transfer_id] = known
        sent.append(Decided(transfer_id, known.refusal or Refusal.TRANSFER_ID_TAKEN, {}))

    def _take_word(self, shard: int, home: int, word: Decided) -> None:
        known = self.meanings[shard].get(word.transfer_id)
        made = known.promised if known is not None else None
        if made is None or not made.is_open or made.across.home != home:
            assert word.refusal
            if known is None:
                self.meanings[shard][word.transfer_id] = Meaning(refusal=word.refusal, is_buried=True)
            return
        assert known is not None
        made.is_open, known.refusal = False, word.refusal
        for place, leg, (payer, payee) in self.parts(shard, made.across):
            if word.refusal and payer == shard:
                self.accounts[shard][leg.debit_account].set_aside(-made.aside[place])
            elif not word.refusal:
                if payer == shard:
                    self.accounts[shard][leg.debit_account].held -= made.aside[place]
                self._move_part(shard, leg, payer, payee)

    def parts(self, shard: int, across: Across) -> list[tuple[int, Leg, tuple[int, int]]]:
        """List the legs that concern a shard, with their shards as it sees them: its own, and its partners in clearing.

        The home clears with everybody, everybody else with the home alone.
        """
        home, found = across.home, []
        for place, (leg, (payer, payee)) in enumerate(zip(across.ask.legs, across.shards, strict=True)):
            if shard == home:
                found.append((place, leg, (payer, payee)))
            elif shard in (payer, payee):
                found.append((place, leg, (payer if payer == shard else home, payee if payee == shard else home)))
        return found

    def _part_refusal(self, shard: int, leg: Leg, payer: int, payee: int, passed_on: int = 0) -> Refusal | None:
        """Judge the sides of a leg that lie on a shard, and the transit accounts that it passes.

        `passed_on` of the amount comes from legs before it.
        """
        accounts = self.accounts[shard]
        refusals = []
        if payer == shard:
            own = leg._replace(amount_minor=leg.amount_minor - passed_on)
            refusals.append(refusal_of(accounts.get(leg.debit_account), ANYBODY, own))
        if payee == shard:
            refusals.append(refusal_of(ANYBODY, accounts.get(leg.credit_account), leg))
        if payer != payee:
            for peer, change in ((payer, -leg.amount_minor), (payee, leg.amount_minor)):
                if peer != shard:
                    passed = self.transit(shard, peer, leg.currency).balance + change
                    refusals.append(Refusal.CREDIT_BALANCE_LIMIT if abs(passed) > limits.BALANCE_MINOR_MAX else None)
        return min(filter(None, refusals), default=None)

    def _move_part(self, shard: int, leg: Leg, payer: int, payee: int) -> None:
        accounts = self.accounts[shard]
        move(
            accounts[leg.debit_account] if payer == shard else self.transit(shard, payer, leg.currency),
            accounts[leg.credit_account] if payee == shard else self.transit(shard, payee, leg.currency),
            leg.amount_minor,
        )

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[Outcome, int]:
        """Tell what became of a transfer, as far as this shard knows."""
        meaning = self.meanings[shard][transfer_id]
        if meaning.refusal:
            return Outcome.REFUSED, meaning.refusal
        if meaning.promised is not None and meaning.promised.is_open:
            return Outcome.IN_TRANSIT, 0
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


def body_of(ask: Ask) -> object:
    """Tell what an id stands for: what the caller says, so no fees."""
    return ask.asked, ask.reference, ask.value_date, ask.creditor, ask.metadata
