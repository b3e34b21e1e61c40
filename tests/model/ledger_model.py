"""The whole ledger in a screenful: several shards, slow, obvious, and never shipped.

Every question is answered by looking at everything. Money is moved by `move` and nowhere else, every
rule is one line of `leg_rules.py`, and what an id means is derived when somebody asks.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence

from leg_rules import (
    ANYBODY,
    Account,
    Hold,
    Purse,
    capture_refusal,
    first,
    hold_refusal,
    move,
    overspends,
    pays_nobody,
    poor,
    refusal_of,
    takes_nothing,
)
from memory_books import Ask
from model_words import TRANSIT, Across, Decided, Meaning, Name, Promised, Sent, Stream

from services.domain import limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import NO_LEG, Allowance, HoldCommand, Kind, Leg, PlaceError


class LedgerModel:
    """All shards of a bank."""

    def __init__(self, shard_ids: Sequence[int]) -> None:
        self.accounts: dict[int, dict[Name, Account]] = {shard: {} for shard in shard_ids}
        self.meanings: dict[int, dict[bytes, Meaning]] = {shard: {} for shard in shard_ids}
        self.holds: dict[int, dict[bytes, Hold]] = {shard: {} for shard in shard_ids}
        self.purses: dict[int, dict[int, Purse]] = {shard: defaultdict(Purse) for shard in shard_ids}
        """By shard and customer; a customer's cap is over accounts of one currency here."""
        self.streams = {(payer, payee): Stream() for payer in shard_ids for payee in shard_ids if payer != payee}

    def open(self, shard: int, number: int, currency: int, floor: int, limits: Allowance | None, customer: int) -> bool:
        """Open an account; tell whether it has these facts now."""
        purse = self.purses[shard][customer] if customer else Purse()
        new = Account(currency, floor, limits=limits or Allowance(), customers=purse)
        new.own.day_max = new.limits.day_minor_max
        account = self.accounts[shard].setdefault(number, new)
        return (account.currency, account.floor) == (currency, floor)

    def post(self, shard: int, ask: Ask, *, believed: bool) -> PlaceError | None:
        """Decide a transfer for ever; `believed` means that the payee's shard is not asked this time."""
        known = self.meanings[shard].get(ask.transfer_id)
        if known is not None:
            return None if known.is_buried or known.body == body_of(ask) else PlaceError.TRANSFER_ID_REUSED
        if ask.error is not None:
            return ask.error
        meaning = Meaning(body_of(ask), metadata=ask.metadata, value_date=ask.value_date)
        self.meanings[shard][ask.transfer_id] = meaning
        before = copy.deepcopy(self.books(shard))
        for place, leg in enumerate(ask.legs):
            hold_id = None if place else ask.hold_id
            meaning.refusal = self._post_leg(shard, leg, 0 if place else ask.peer_id, hold_id, believed=believed)
            if meaning.refusal:
                meaning.leg = place if len(ask.asked) > 1 else NO_LEG
                self.put_back(shard, before)
                return None
        if ask.peer_id:
            stream = self.streams[shard, ask.peer_id]
            stream.sent.append(Sent(ask.transfer_id, ask.legs[0], ask.legs[1:], ask.metadata, ask.value_date))
            meaning.crossing = (ask.peer_id, len(stream.sent))
        return None

    def books(self, shard: int) -> tuple[dict[Name, Account], dict[bytes, Hold], dict[int, Purse]]:
        """Name all that a refusal leaves as it was."""
        return self.accounts[shard], self.holds[shard], self.purses[shard]

    def put_back(self, shard: int, before: tuple[dict[Name, Account], dict[bytes, Hold], dict[int, Purse]]) -> None:
        """Leave the books as they were."""
        self.accounts[shard], self.holds[shard], self.purses[shard] = before

    def _post_leg(self, shard: int, leg: Leg, peer_id: int, hold_id: bytes | None, *, believed: bool) -> Refusal | None:
        payer = self.accounts[shard].get(leg.debit_account)
        hold = self.holds[shard].get(hold_id) if hold_id is not None else None
        if hold_id is None:
            reasons = [refusal_of(payer, ANYBODY, leg)]
        else:
            reasons = [pays_nobody(payer, leg), capture_refusal(hold, leg)]
            if payer is None:
                reasons.pop()
        if not peer_id:
            payee = self.accounts[shard].get(leg.credit_account)
            reasons.append(takes_nothing(payee, leg))
        else:
            payee = self.transit(shard, peer_id, leg.currency)
            if not believed:
                there = self.accounts[peer_id].get(leg.credit_account)
                reasons.append(takes_nothing(there, leg._replace(amount_minor=0)))
            if not first(*reasons) and abs(payee.balance + leg.amount_minor) > limits.BALANCE_MINOR_MAX:
                reasons.append(Refusal.CREDIT_BALANCE_LIMIT)
        if refusal := first(*reasons):
            return refusal
        assert payer is not None
        if hold is not None:
            payer.held -= hold.amount
            payer.spend(leg.amount_minor - hold.amount, 0)
            hold.over = Refusal.HOLD_ALREADY_CAPTURED
        elif not leg.is_fee:
            payer.spend(leg.amount_minor, 1)
        move(payer, payee, leg.amount_minor)
        return None

    def command(self, shard: int, asked: HoldCommand) -> PlaceError | None:
        """Place, increase or release a hold, for ever."""
        known, body = self.meanings[shard].get(asked.command_id), ("hold", asked)
        if known is not None:
            return None if known.body == body else PlaceError.TRANSFER_ID_REUSED
        account, hold = self.accounts[shard].get(asked.account_number), self.holds[shard].get(asked.hold_id)
        meaning = self.meanings[shard][asked.command_id] = Meaning(body)
        leg = Leg(asked.account_number, 0, asked.amount_minor, asked.currency)
        reasons = [Refusal.DEBIT_ACCOUNT_NOT_FOUND if account is None else None]
        if account is not None and asked.kind != Kind.HOLD_RELEASED:
            reasons.append(refusal_of(account, ANYBODY, leg))
        if account is not None and asked.kind != Kind.HOLD_PLACED:
            reasons.append(hold_refusal(hold, asked.account_number))
        meaning.refusal = first(*reasons)
        if meaning.refusal or account is None:
            return None
        match Kind(asked.kind):
            case Kind.HOLD_PLACED:
                self.holds[shard][asked.hold_id] = Hold(asked.account_number, asked.amount_minor, asked.payee_account)
                account.set_aside(asked.amount_minor)
                account.spend(asked.amount_minor, 1)
            case Kind.HOLD_INCREASED:
                assert hold is not None
                hold.amount += asked.amount_minor
                account.set_aside(asked.amount_minor)
                account.spend(asked.amount_minor, 0)
            case _:
                assert hold is not None
                hold.over = Refusal.HOLD_ALREADY_RELEASED
                account.set_aside(-hold.amount)
                account.spend(-hold.amount, -1)
        return None

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
            refusals = [takes_nothing(payee, leg)]
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
                self.meanings[shard][sent.transfer_id] = Meaning(metadata=sent.metadata, value_date=sent.value_date)

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
        before, made = copy.deepcopy(self.books(shard)), Promised(across, {})
        coming: dict[int, int] = defaultdict(int)
        for place, leg, (payer, payee) in parts:
            passed_on = min(coming[leg.debit_account], leg.amount_minor) if payer == shard else 0
            refusal = self._part_refusal(shard, leg, payer, payee, passed_on)
            if refusal:
                self.put_back(shard, before)
                return refusal, place
            if payer == shard:
                coming[leg.debit_account] -= passed_on
                made.aside[place] = leg.amount_minor - passed_on
                self.accounts[shard][leg.debit_account].set_aside(made.aside[place])
                if not leg.is_fee:
                    self.accounts[shard][leg.debit_account].spend(leg.amount_minor, 1)
            if payee == shard:
                coming[leg.credit_account] += leg.amount_minor
                self.accounts[shard][leg.credit_account].promised += leg.amount_minor
        self.meanings[shard][across.ask.transfer_id] = Meaning(metadata=across.ask.metadata, promised=made)
        return 0, NO_LEG

    def decide(self, across: Across, refusals: Sequence[tuple[int, int]], told: Sequence[int]) -> PlaceError | None:
        """Decide a transfer over several shards for ever, at its home, when the others have answered."""
        home, transfer_id = across.home, across.ask.transfer_id
        known = self.meanings[home].get(transfer_id)
        if known is not None:
            return None if known.is_buried or known.body == body_of(across.ask) else PlaceError.TRANSFER_ID_REUSED
        meaning = Meaning(body_of(across.ask), metadata=across.ask.metadata, value_date=across.ask.value_date)
        self.meanings[home][transfer_id] = meaning
        before, found = copy.deepcopy(self.books(home)), list(refusals)
        towards: dict[int, dict[int, int]] = {peer: {} for peer in across.peers}
        for place, leg, (payer, payee) in self.parts(home, across):
            refusal = self._part_refusal(home, leg, payer, payee)
            if refusal:
                found.append((place, refusal))
                break
            if payer == payee != home:
                continue
            self._move_part(home, leg, payer, payee)
            if payer == home and not leg.is_fee:
                self.accounts[home][leg.debit_account].spend(leg.amount_minor, 1)
            for peer, amount in ((payer, -leg.amount_minor), (payee, leg.amount_minor)):
                if peer != home:
                    towards[peer][leg.currency] = towards[peer].get(leg.currency, 0) + amount
        if found:
            self.put_back(home, before)
            meaning.leg, reason = min(found)
            meaning.refusal = Refusal(reason)
        for peer in told if found else across.peers:
            word = Decided(transfer_id, meaning.refusal, meaning.value_date, {} if found else towards[peer])
            self.streams[home, peer].sent.append(word)
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
        sent.append(Decided(transfer_id, known.refusal or Refusal.TRANSFER_ID_TAKEN, 0, {}))

    def _take_word(self, shard: int, home: int, word: Decided) -> None:
        known = self.meanings[shard].get(word.transfer_id)
        made = known.promised if known is not None else None
        if made is None or not made.is_open or made.across.home != home:
            assert word.refusal
            if known is None:
                self.meanings[shard][word.transfer_id] = Meaning(refusal=word.refusal, is_buried=True)
            return
        assert known is not None
        made.is_open, known.refusal, known.value_date = False, word.refusal, word.value_date
        for place, leg, (payer, payee) in self.parts(shard, made.across):
            if payee == shard:
                self.accounts[shard][leg.credit_account].promised -= leg.amount_minor
            if word.refusal and payer == shard:
                self.accounts[shard][leg.debit_account].set_aside(-made.aside[place])
                if not leg.is_fee:
                    self.accounts[shard][leg.debit_account].spend(-leg.amount_minor, -1)
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
            own = accounts.get(leg.debit_account)
            refusals += [pays_nobody(own, leg), poor(own, leg.amount_minor - passed_on)]
            refusals.append(None if leg.is_fee else overspends(own, leg.amount_minor))
        if payee == shard:
            refusals.append(takes_nothing(accounts.get(leg.credit_account), leg))
        if payer != payee:
            for peer, change in ((payer, -leg.amount_minor), (payee, leg.amount_minor)):
                if peer != shard:
                    passed = self.transit(shard, peer, leg.currency).balance + change
                    refusals.append(Refusal.CREDIT_BALANCE_LIMIT if abs(passed) > limits.BALANCE_MINOR_MAX else None)
        return first(*refusals)

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
    return ask.asked, ask.reference, ask.value_date, ask.creditor, ask.metadata, ask.hold_id
