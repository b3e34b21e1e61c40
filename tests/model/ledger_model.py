"""The whole ledger in a screenful: several shards, slow, obvious, and never shipped.

Every question is answered by looking at everything. Money is moved by `move` and nowhere else, every
rule is one line of `leg_rules.py`, and what an id means is derived when somebody asks.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence

from leg_rules import (
    Account,
    Purse,
    cannot_pay,
    capture_refusal,
    first,
    move,
    overspends,
    pays_nobody,
    poor,
    takes_nothing,
)
from memory_books import Ask
from model_books import ModelBooks, body_of
from model_words import Across, Decided, Meaning, Promised, Sent

from services.domain import limits
from services.domain.outcomes import Refusal
from services.ledger.books import NO_LEG, Allowance, Flag, Leg, PlaceError


class LedgerModel(ModelBooks):
    """All shards of a bank."""

    def open(self, shard: int, number: int, currency: int, floor: int, limits: Allowance | None, customer: int) -> bool:
        """Open an account; tell whether it has these facts now."""
        purse = self.purses[shard][customer] if customer else Purse()
        new = Account(currency, floor, limits=limits or Allowance(), customer=customer, customers=purse)
        account = self.accounts[shard].setdefault(number, new)
        return (account.currency, account.floor) == (currency, floor)

    def post(self, shard: int, ask: Ask, *, believed: bool) -> PlaceError | None:
        """Decide a transfer for ever; `believed` means that the payee's shard is not asked this time."""
        known = self.meanings[shard].get(ask.transfer_id)
        if known is not None:
            return None if known.is_buried or known.body == body_of(ask) else PlaceError.TRANSFER_ID_REUSED
        if self.waits_for_original(shard, ask):
            return PlaceError.ORIGINAL_IN_TRANSIT
        if ask.error is not None:
            return ask.error
        meaning = self.mean(shard, ask)
        before = copy.deepcopy(self.books(shard))
        for place in range(len(ask.legs)):
            meaning.refusal = self._post_leg(shard, ask, place, believed=believed)
            if meaning.refusal:
                meaning.leg = place if len(ask.asked) > 1 else NO_LEG
                self.put_back(shard, before)
                return None
        if ask.peer_id:
            stream = self.streams[shard, ask.peer_id]
            stream.sent.append(Sent(ask.transfer_id, ask.legs[0], ask.legs[1:], ask.metadata, meaning.value_date))
            meaning.crossing = (ask.peer_id, len(stream.sent))
        if ask.original_id is not None:
            amount = sum(leg.amount_minor for leg in ask.legs)
            self.meanings[shard][ask.original_id].reversals.append((amount, meaning))
        return None

    def _post_leg(self, shard: int, ask: Ask, place: int, *, believed: bool) -> Refusal | None:
        leg, peer_id, hold_id = ask.legs[place], 0 if place else ask.peer_id, None if place else ask.hold_id
        payer = self.accounts[shard].get(leg.debit_account)
        hold = self.holds[shard].get(hold_id) if hold_id is not None else None
        if hold_id is not None:
            reasons = [pays_nobody(payer, leg), capture_refusal(hold, leg, self.hour)]
        elif ask.original_id is not None:
            reasons = [pays_nobody(payer, leg), None if place else self.reversal_refusal_of(shard, ask)]
            reasons.append(None if ask.flags & Flag.OVERDRAW else poor(payer, leg.amount_minor))
        else:
            reasons = [cannot_pay(payer, leg, self.today)]
        reasons = [Refusal.DEBIT_ACCOUNT_NOT_FOUND] if payer is None else reasons
        if not peer_id:
            payee = self.accounts[shard].get(leg.credit_account)
            reasons.append(takes_nothing(payee, leg))
        else:
            payee = self.transit(shard, peer_id, leg.currency)
            if not believed:
                there = self.accounts[peer_id].get(leg.credit_account)
                reasons.append(takes_nothing(there, leg, is_far=True))
            if not first(*reasons) and abs(payee.balance + leg.amount_minor) > limits.BALANCE_MINOR_MAX:
                reasons.append(Refusal.CREDIT_BALANCE_LIMIT)
        if refusal := first(*reasons):
            return refusal
        assert payer is not None
        if hold is not None:
            payer.held -= hold.amount
            if hold.day == self.today:
                payer.spend(self.today, leg.amount_minor - hold.amount, 0)
            hold.over = Refusal.HOLD_ALREADY_CAPTURED
        elif not leg.is_fee and ask.original_id is None:
            payer.spend(self.today, leg.amount_minor, 1)
        move(payer, payee, leg.amount_minor)
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
                facts = {"metadata": sent.metadata, "value_date": sent.value_date}
                self.meanings[shard][sent.transfer_id] = Meaning(**facts, legs=(leg,))

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
        before, made = copy.deepcopy(self.books(shard)), Promised(across, {}, self.today)
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
                    self.accounts[shard][leg.debit_account].spend(self.today, leg.amount_minor, 1)
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
        meaning = self.mean(home, across.ask)
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
                self.accounts[home][leg.debit_account].spend(self.today, leg.amount_minor, 1)
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
                if not leg.is_fee and made.day == self.today:
                    self.accounts[shard][leg.debit_account].spend(self.today, -leg.amount_minor, -1)
            elif not word.refusal:
                if payer == shard:
                    self.accounts[shard][leg.debit_account].held -= made.aside[place]
                self._move_part(shard, leg, payer, payee)

    def _part_refusal(self, shard: int, leg: Leg, payer: int, payee: int, passed_on: int = 0) -> Refusal | None:
        """Judge the sides of a leg that lie on a shard, and the transit accounts that it passes.

        `passed_on` of the amount comes from legs before it.
        """
        accounts = self.accounts[shard]
        refusals = []
        if payer == shard:
            own = accounts.get(leg.debit_account)
            refusals += [pays_nobody(own, leg), poor(own, leg.amount_minor - passed_on)]
            refusals.append(None if leg.is_fee else overspends(own, leg.amount_minor, self.today))
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
