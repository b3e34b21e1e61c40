"""What the model keeps of every shard, and what happens on one shard alone: holds, changes of state and limits, what reversals go by.

Never here: transfers (`ledger_model.py`), rules (`leg_rules.py`).
"""

from collections import defaultdict
from collections.abc import Sequence

from leg_rules import (
    Account,
    Hold,
    Purse,
    cannot_change,
    cannot_pay,
    first,
    hold_refusal,
    reversal_refusal,
)
from memory_books import TODAY, Ask
from model_words import TRANSIT, Across, Meaning, Name, Stream

from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import HoldCommand, Kind, Leg, PlaceError
from services.ledger.change_rows import Change


class ModelBooks:
    """All shards of a bank, and the time."""

    def __init__(self, shard_ids: Sequence[int]) -> None:
        self.accounts: dict[int, dict[Name, Account]] = {shard: {} for shard in shard_ids}
        self.meanings: dict[int, dict[bytes, Meaning]] = {shard: {} for shard in shard_ids}
        self.holds: dict[int, dict[bytes, Hold]] = {shard: {} for shard in shard_ids}
        self.purses: dict[int, dict[int, Purse]] = {shard: defaultdict(Purse) for shard in shard_ids}
        """By shard and customer; a customer's cap is over accounts of one currency here."""
        self.changes: dict[int, dict[bytes, tuple[int, int]]] = {shard: {} for shard in shard_ids}
        """By shard and id: what a change was, and why it was refused."""
        self.streams = {(payer, payee): Stream() for payer in shard_ids for payee in shard_ids if payer != payee}
        self.hour = 0
        """Since midnight of the first day; whatever is decided comes a moment after it."""

    @property
    def today(self) -> int:
        """The business day."""
        return TODAY + self.hour // 24

    def begin_batch(self) -> None:
        """Remember what the batches before have acknowledged: a reversal goes by that."""
        for stream in self.streams.values():
            stream.acknowledged_before = stream.acknowledged

    def books(self, shard: int) -> tuple[dict[Name, Account], dict[bytes, Hold], dict[int, Purse]]:
        """Name all that a refusal leaves as it was."""
        return self.accounts[shard], self.holds[shard], self.purses[shard]

    def put_back(self, shard: int, before: tuple[dict[Name, Account], dict[bytes, Hold], dict[int, Purse]]) -> None:
        """Leave the books as they were."""
        self.accounts[shard], self.holds[shard], self.purses[shard] = before

    def mean(self, shard: int, ask: Ask) -> Meaning:
        """Give an id its meaning."""
        body, value_date = body_of(ask), ask.value_date or self.today
        meaning = Meaning(body, metadata=ask.metadata, value_date=value_date, legs=ask.asked)
        self.meanings[shard][ask.transfer_id] = meaning
        return meaning

    def waits_for_original(self, shard: int, ask: Ask) -> bool:
        """Tell whether it reverses what is on its way, as far as this shard had been told before this batch."""
        original = self.meanings[shard].get(ask.original_id) if ask.original_id is not None else None
        return original is not None and self._outcome_before(shard, original) == Outcome.IN_TRANSIT

    def reversal_refusal_of(self, shard: int, ask: Ask) -> Refusal | None:
        """Tell why a transfer may not be reversed like this, by what this shard has of it."""
        assert ask.original_id is not None
        original = self.meanings[shard].get(ask.original_id, Meaning())
        stands = [amount for amount, by in original.reversals if self._outcome_before(shard, by) != Outcome.RETURNED]
        return reversal_refusal(original.legs, self._outcome_before(shard, original), sum(stands), ask.legs)

    def _outcome_before(self, shard: int, meaning: Meaning) -> Outcome:
        """Tell what became of a transfer, as far as this shard had been told before this batch."""
        if meaning.refusal or meaning.crossing is None:
            return Outcome.REFUSED if meaning.refusal else Outcome.POSTED
        peer_id, number = meaning.crossing
        stream = self.streams[shard, peer_id]
        if number > stream.acknowledged_before:
            return Outcome.IN_TRANSIT
        return Outcome.RETURNED if number in stream.refused else Outcome.POSTED

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
            reasons.append(cannot_pay(account, leg, self.today))
        if account is not None and asked.kind != Kind.HOLD_PLACED:
            reasons.append(hold_refusal(hold, asked.account_number, self.hour))
        meaning.refusal = first(*reasons)
        if meaning.refusal or account is None:
            return None
        match Kind(asked.kind):
            case Kind.HOLD_PLACED:
                end = self.hour + asked.seconds // 3_600
                body = (asked.account_number, asked.amount_minor, asked.payee_account)
                self.holds[shard][asked.hold_id] = Hold(*body, self.today, end)
                account.set_aside(asked.amount_minor)
                account.spend(self.today, asked.amount_minor, 1)
            case Kind.HOLD_INCREASED:
                assert hold is not None
                hold.amount += asked.amount_minor
                hold.end = self.hour + asked.seconds // 3_600 if asked.seconds else hold.end
                account.set_aside(asked.amount_minor)
                account.spend(self.today, asked.amount_minor, 0)
            case _:
                assert hold is not None
                self._free(account, hold, Refusal.HOLD_ALREADY_RELEASED)
        return None

    def expire(self, shard: int, hold_ids: Sequence[bytes]) -> int:
        """Free what holds have set aside whose time has come; tell how many."""
        due = [
            hold for hold in map(self.holds[shard].__getitem__, hold_ids) if not hold.over and hold.refusal(self.hour)
        ]
        for hold in due:
            self._free(self.accounts[shard][hold.number], hold, Refusal.HOLD_ALREADY_EXPIRED)
        return len(due)

    def _free(self, account: Account, hold: Hold, why: Refusal) -> None:
        hold.over = why
        account.set_aside(-hold.amount)
        if hold.day == self.today:
            account.spend(self.today, -hold.amount, -1)

    def change(self, shard: int, asked: Change) -> int | None:
        """Change an account's state, its limits and its customer's cap; return why not, for ever, or None for an id that is used."""
        known = self.changes[shard].get(asked.change_id)
        if known is not None:
            return known[1] if known[0] == asked.fingerprint else None
        account = self.accounts[shard].get(asked.account_number)
        refusal = cannot_change(account, asked)
        self.changes[shard][asked.change_id] = asked.fingerprint, refusal or 0
        if refusal or account is None:
            return refusal
        account.restrictions = account.restrictions if asked.restrictions is None else asked.restrictions
        account.floor = account.floor if asked.floor_minor is None else asked.floor_minor
        if asked.allowance is not None:
            was_counted, account.limits = account.is_counted, asked.allowance
            if account.is_counted and not was_counted:
                account.own.begin(self.today, self._set_aside_today(shard, [asked.account_number]))
        purse, cap = account.customers, asked.customer_day_minor_max
        if cap is not None and cap >= 0 and purse.day_max is None:
            theirs = [name for name, one in self.accounts[shard].items() if one.customers is purse]
            purse.begin(self.today, self._set_aside_today(shard, theirs))
        if cap is not None:
            purse.day_max = cap if cap >= 0 else None
        return 0

    def _set_aside_today(self, shard: int, names: Sequence[Name]) -> list[int]:
        """List what was set aside today as spending of some accounts, and still is."""
        holds = [
            hold.amount
            for hold in self.holds[shard].values()
            if hold.number in names and hold.day == self.today and not hold.over
        ]
        made = [known.promised for known in self.meanings[shard].values() if known.promised is not None]
        return holds + [
            leg.amount_minor
            for promised in made
            if promised.is_open and promised.day == self.today
            for _, leg, (payer, _) in self.parts(shard, promised.across)
            if payer == shard and leg.debit_account in names and not leg.is_fee
        ]

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
    return ask.asked, ask.reference, ask.value_date, ask.creditor, ask.metadata, ask.special
