"""Drives a bank and the model of it with the same requests, in any order, and compares everything they say.

What a bank is (rules on books in memory, or writers on PostgreSQL) is left to the tests; which requests
there are stands in `bank_requests.py`.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from bank_faces import Bank, Changing, Deciding, Expiring, Holding, Inquiry, Landing, Opening, Promising, Word, Work
from bank_requests import (
    BALANCE_MAX,
    CUSTOMER,
    CUSTOMERS_DAY_MAX,
    REACHABLE,
    Acknowledge,
    Capture,
    ChangeAccount,
    Command,
    Expire,
    Inquire,
    Land,
    Open,
    Post,
    PostAcross,
    Repeat,
    Request,
    Reverse,
    SpendUp,
    limits_of,
    pool,
)
from bank_writing import Prepared, capture, change, command, known_holds, reversal, spending
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_model import LedgerModel
from memory_books import CZK, EUR, Ask, an_id, cash, customer_account
from model_words import Across

from services.domain import chart
from services.domain.outcomes import Outcome
from services.ledger.books import NO_LEG, Allowance, Answers, HoldCommand, Kind, Leg, PlaceError
from services.ledger.promises import PromiseAsked
from services.ledger.spanning import Answered, Span, Told
from services.ledger.traffic import Watermarks


class BankMachine(RuleBasedStateMachine):
    """The bank and its model, side by side."""

    SHARDS: Sequence[int]

    def __init__(self) -> None:
        super().__init__()
        self.bank = self.make_bank()
        self.model = LedgerModel(self.SHARDS)
        self.asked: dict[int, list[tuple[Ask, bool] | PostAcross | Holding | Changing]] = {
            shard: [] for shard in self.SHARDS
        }
        self.placed: dict[int, list[HoldCommand]] = {shard: [] for shard in self.SHARDS}
        self.is_limited = False
        self.booked: dict[tuple[int, bytes], int] = {}

    @abstractmethod
    def make_bank(self) -> Bank:
        """Make an empty bank."""

    @initialize(is_limited=st.sampled_from([True, True, False]))
    def open_accounts(self, is_limited: bool) -> None:
        """Open the accounts and give some of them money; limits and a customer's cap are there from the start."""
        self.is_limited = is_limited
        for shard in self.SHARDS:
            opened: list[Request] = [Open(which, pool(shard)[which][2]) for which in range(REACHABLE)]
            money = [
                Ask(an_id(1_000 * shard + i), (Leg(payer, payee, amount, currency),))
                for i, (payer, payee, amount, currency) in enumerate(
                    [
                        (cash(shard), customer_account(shard, 1), 150, CZK),
                        (cash(shard), customer_account(shard, 2), 50, CZK),
                        (cash(shard, EUR), customer_account(shard, 3), 200, EUR),
                    ]
                )
            ]
            self.batch(shard, opened, "committed")
            if is_limited:
                self.bank.cap(shard, CUSTOMER, customer_account(shard, 1), CUSTOMERS_DAY_MAX)
                self.model.purses[shard][CUSTOMER].day_max = CUSTOMERS_DAY_MAX
            self.batch(shard, [Post(tuple(money))], "committed")

    def batch(self, shard: int, requests: Sequence[Request], fate: str) -> None:
        """Let both do the same and compare their answers."""
        prepared = self.prepare_all(shard, requests)
        before = copy.deepcopy(self.model) if fate != "committed" else None
        expected = self.apply_all(shard, prepared)
        answers = self.bank.run(shard, [self.with_checks(work, believed=believed) for work, believed in prepared], fate)
        if answers is None:
            assert before is not None
            self.model = before
            return
        self.compare_all(shard, prepared, answers, expected)

    def prepare_all(self, shard: int, requests: Sequence[Request]) -> Sequence[Prepared]:
        """Look at the other shards' committed books for what requests need."""
        return [prepared for request in requests for prepared in self.prepare(shard, request)]

    def apply_all(self, shard: int, prepared: Sequence[Prepared]) -> list[Any]:
        """Let the model do a batch."""
        self.model.begin_batch()
        return [self.apply(shard, work, believed=believed) for work, believed in prepared]

    def compare_all(self, shard: int, prepared: Sequence[Prepared], answers: list[Any], expected: list[Any]) -> None:
        """Compare what a batch was answered with what the model said."""
        for (work, _), answer, told in zip(prepared, answers, expected, strict=True):
            match work:
                case Opening():
                    assert answer == [told]
                case Expiring():
                    assert answer == told
                case Changing():
                    assert (None if answer is None else answer.refusal) == told
                case Holding(command):
                    self.compare_command(shard, command, answer, told)
                case Promising():
                    assert (answer.refusal, answer.place) == told
                case Deciding():
                    self.compare_across(shard, work, answer, told)
                case tuple():
                    self.compare(shard, work, answer, told)

    def prepare(self, shard: int, request: Request) -> list[Prepared]:
        """Look at the other shards' committed books for what a request needs."""
        match request:
            case Post(asked, believed):
                self.asked[shard].extend((ask, believed) for ask in asked)
                return [(asked, believed)]
            case PostAcross(across, silent):
                self.asked[shard].append(request)
                return self.ask_for_promises(across, silent)
            case Inquire(peer_id, which):
                waiting = [one for one, home in self.bank.open_promises(peer_id) if home == shard]
                if not waiting and which:
                    return []
                transfer_id = waiting[which % len(waiting)] if waiting else an_id(100 * shard + which)
                return [(Inquiry(peer_id, Told(transfer_id, pool(peer_id)[0][0])), False)]
            case Repeat(which) if self.asked[shard]:
                before = self.asked[shard][which % len(self.asked[shard])]
                if isinstance(before, PostAcross):
                    return self.ask_for_promises(before.across, frozenset())
                if isinstance(before, Holding | Changing):
                    return [(before, False)]
                return [((before[0],), before[1])]
            case Land(peer_id, offset, count):
                landed = self.bank.watermarks(shard).get(peer_id, Watermarks()).landed_through
                first = max(0, landed + offset)
                sent = tuple(self.bank.sent(peer_id, shard)[first : first + count])
                return [(Landing(peer_id, sent), False)] if sent else []
            case Acknowledge(peer_id, behind):
                landed = self.bank.watermarks(peer_id).get(shard, Watermarks()).landed_through
                through = max(0, landed - behind)
                sent_here = self.bank.sent(shard, peer_id)
                refused = self.bank.refused(peer_id, shard).items()
                back = tuple((sent_here[number - 1], why) for number, why in refused if number <= through)
                return [(Word(peer_id, through, back), False)]
            case Open(which, floor):
                number, currency, _ = pool(shard)[which]
                limits, customer = limits_of(shard).get(number, (None, 0)) if self.is_limited else (None, 0)
                return [(Opening(number, currency, floor, limits, customer), False)]
        return self.write(shard, request)

    def write(self, shard: int, request: Request) -> list[tuple[Work, bool]]:
        """Write out what a request about holds, reversals or limits leaves open."""
        match request:
            case Command():
                holding = Holding(command(shard, request, known_holds(self.model, shard, self.placed[shard])))
                if holding.command.kind == Kind.HOLD_PLACED:
                    self.placed[shard].append(holding.command)
                self.asked[shard].append(holding)
                return [(holding, False)]
            case Capture() if self.placed[shard]:
                ask = capture(shard, request, known_holds(self.model, shard, self.placed[shard]))
                self.asked[shard].append((ask, False))
                return [((ask,), False)]
            case Reverse():
                posted = {
                    payer: [one[0] for one in ones if isinstance(one, tuple)] for payer, ones in self.asked.items()
                }
                reversing = reversal(self.model, shard, request, posted)
                self.asked[shard] += [(one, False) for one in reversing]
                return [((one,), False) for one in reversing]
            case SpendUp():
                asks = tuple(spending(self.model, shard, request, 10_000 * shard + 10 * len(self.asked[shard])))
                self.asked[shard] += [(ask, False) for ask in asks]
                return [(asks, False)] if asks else []
            case Expire(chosen):
                holds = list(self.model.holds[shard])
                chosen_holds = holds if chosen is None else holds[chosen : chosen + 1]
                return [(Expiring(tuple(chosen_holds)), False)] if chosen_holds else []
            case ChangeAccount():
                changing = Changing(change(shard, request))
                self.asked[shard].append(changing)
                return [(changing, False)]
        return []

    def ask_for_promises(self, across: Across, silent: frozenset[int]) -> list[tuple[Work, bool]]:
        """Have the others promise their parts, one after the other, as the coordinator does; then it can be decided."""
        ask = across.ask
        span = Span(
            ask.transfer_id,
            across.home,
            ask.legs,
            across.shards,
            ask.fingerprint,
            ask.reference,
            ask.value_date,
            metadata=ask.metadata,
        )
        refusals, told = [], []
        for peer_id in span.peers:
            if peer_id not in silent:
                body = (span.home_id, span.transfer_id, span.fingerprint, span.share(peer_id), int(span.flags))
                promising = Promising(across, PromiseAsked(*body, span.reference, span.metadata))
                refusal, place = self.model.promise(peer_id, across)
                answers = self.bank.run(peer_id, [promising], "committed")
                assert answers is not None
                assert (answers[0].refusal, answers[0].place) == (refusal, place)
                if refusal:
                    refusals.append((place, refusal))
                    continue
            told.append(peer_id)
        if not refusals and silent & set(span.peers):
            return []
        return [(Deciding(across, span, tuple(refusals), tuple(told)), False)]

    def with_checks(self, work: Work, *, believed: bool) -> Work:
        """Ask the payees' shards about the payees, as the door does."""
        if not isinstance(work, tuple) or believed:
            return work
        return tuple(
            ask._replace(payee_refusal=self.bank.payee_refusal(ask.peer_id, ask.legs[0][1], ask.legs[0][3]))
            if ask.peer_id
            else ask
            for ask in work
        )

    def apply(self, shard: int, work: Work, *, believed: bool) -> Any:
        """Let the model do it."""
        match work:
            case tuple():
                return [self.model.post(shard, ask, believed=believed) for ask in work]
            case Deciding(across, _, refusals, peers):
                return self.model.decide(across, refusals, peers)
            case Inquiry(peer_id, told):
                return self.model.inquire(shard, peer_id, told.transfer_id)
            case Landing(peer_id, sent):
                return self.model.land(shard, peer_id, sent[0].number, len(sent))
            case Word(peer_id, through, _):
                return self.model.acknowledge(shard, peer_id, through)
            case Opening(number, currency, floor, limits, customer):
                return self.model.open(shard, number, currency, floor, limits, customer)
            case Holding(command):
                return self.model.command(shard, command)
            case Expiring(hold_ids):
                return self.model.expire(shard, hold_ids)
            case Changing(asked):
                return self.model.change(shard, asked)

    def compare(self, shard: int, asked: Sequence[Ask], answers: Answers, told: Sequence[PlaceError | None]) -> None:
        """Compare what became of each transfer of a call."""
        assert [answers.errors.get(place) for place in range(len(asked))] == list(told)
        for place, ask in enumerate(asked):
            if place in answers.errors:
                assert (answers.outcomes[place], answers.booking_times_us[place]) == (0, 0)
                continue
            outcome, refusal = answers.outcomes[place], answers.refusals[place]
            if outcome == Outcome.IN_TRANSIT:
                peer_id, number = answers.crossings[place]
                if number <= self.bank.watermarks(shard)[peer_id].acknowledged_through:
                    refusal = self.bank.returned(shard, peer_id).get(number, 0)
                    outcome = Outcome.RETURNED if refusal else Outcome.POSTED
            assert (outcome, refusal) == self.model.outcome(shard, ask.transfer_id)
            assert answers.refused_legs.get(place, NO_LEG) == self.model.meanings[shard][ask.transfer_id].leg
            booked = answers.booking_times_us[place]
            assert self.booked.setdefault((shard, ask.transfer_id), booked) == booked

    def compare_command(self, shard: int, asked: HoldCommand, answers: Answers, told: PlaceError | None) -> None:
        """Compare what became of a hold."""
        assert answers.errors.get(0) == told
        if told is None:
            assert (answers.outcomes[0], answers.refusals[0]) == self.model.outcome(shard, asked.command_id)

    def compare_across(self, shard: int, asked: Deciding, answered: Answered, told: PlaceError | None) -> None:
        """Compare what became of a transfer over several shards."""
        assert answered.is_reused == (told is PlaceError.TRANSFER_ID_REUSED)
        if not answered.is_reused:
            transfer_id = asked.across.ask.transfer_id
            assert (answered.outcome, answered.refusal) == self.model.outcome(shard, transfer_id)
            assert answered.leg == self.model.meanings[shard][transfer_id].leg

    def settle(self) -> None:
        """Let everything that is under way arrive, and its senders know."""
        for payer, payee in self.model.streams:
            self.batch(payee, [Land(payer, 0, 1_000)], "committed")
            self.batch(payer, [Acknowledge(payee, 0)], "committed")

    @rule(hours=st.sampled_from([1, 5, 24, 24]), is_noticed=st.booleans())
    def wait(self, hours: int, is_noticed: bool) -> None:
        """Let time pass: holds end, whether or not a ledger has noticed; days begin."""
        self.model.hour += hours
        self.bank.wait(hours)
        if is_noticed:
            for shard in self.SHARDS:
                self.batch(shard, [Expire(None)], "committed")

    @rule(shard=st.integers(1, 2), which=st.integers(0, 9), hours=st.sampled_from([0, 24]))
    def count_anew(self, shard: int, which: int, hours: int) -> None:
        """Lift the limits of an account that has money set aside and set some again, perhaps when it was so on the day before."""
        there = self.model.accounts[shard]
        aside = [at for at, (name, _, _) in enumerate(pool(shard)) if name in there and there[name].held] or [1]
        self.model.hour += hours
        self.bank.wait(hours)
        number = 50_000 * shard + len(self.model.changes[shard])
        for change_id, limits in ((an_id(number), Allowance()), (an_id(number + 1), Allowance(day_minor_max=200))):
            self.batch(shard, [ChangeAccount(change_id, aside[which % len(aside)], None, limits, None)], "committed")

    @invariant()
    def accounts_agree(self) -> None:
        """Compare every account with its whole history."""
        for shard in self.SHARDS:
            seen = self.bank.accounts(shard)
            for name, account in self.model.accounts[shard].items():
                number = name if isinstance(name, int) else chart.transit_account(shard, *name[1:])
                shown = seen.pop(number, None)
                if shown is None:
                    assert not isinstance(name, int)
                    assert not account.history
                    continue
                assert (shown.history, shown.held) == (account.history, account.held)
                assert (shown.currency, shown.restrictions) == (account.currency, account.restrictions)
                if account.is_counted:
                    assert shown.spent == account.own.of(self.model.today)
                assert shown.floor == (account.floor if isinstance(name, int) else -BALANCE_MAX)
            purse = self.model.purses[shard][CUSTOMER]
            if purse.day_max is not None:
                assert self.bank.capped(shard, CUSTOMER) == purse.of(self.model.today)[0]
            # Transit accounts may have been opened for what was then refused.
            assert not any(shown.history for shown in seen.values())

    @invariant()
    def meanings_agree(self) -> None:
        """Compare what every id means."""
        for shard in self.SHARDS:
            for transfer_id in self.model.meanings[shard]:
                assert self.bank.outcome(shard, transfer_id) == self.model.outcome(shard, transfer_id)

    @invariant()
    def metadata_agrees(self) -> None:
        """Compare what is kept with every transfer."""
        for shard in self.SHARDS:
            kept = {one: meaning.metadata for one, meaning in self.model.meanings[shard].items() if meaning.metadata}
            assert self.bank.metadata(shard) == kept

    @invariant()
    def value_dates_agree(self) -> None:
        """Compare from when what moved bears interest."""
        for shard in self.SHARDS:
            meanings = self.model.meanings[shard]
            for transfer_id, shown in self.bank.value_dates(shard).items():
                assert shown == meanings[transfer_id].value_date

    @invariant()
    def streams_agree(self) -> None:
        """Compare how far crossings have come."""
        for (payer, payee), stream in self.model.streams.items():
            here = self.bank.watermarks(payer).get(payee, Watermarks())
            there = self.bank.watermarks(payee).get(payer, Watermarks())
            assert (here.sent_through, here.acknowledged_through) == (len(stream.sent), stream.acknowledged)
            assert there.landed_through == stream.landed
            assert self.bank.refused(payee, payer) == stream.refused
            back = {number: why for number, why in stream.refused.items() if number <= stream.acknowledged}
            assert self.bank.returned(payer, payee) == back

    @invariant()
    def no_money_appears_or_vanishes(self) -> None:
        """Add up each shard, and the transit accounts of every two shards against what is under way."""
        for currency in (CZK, EUR):
            held: dict[tuple[int, int], int] = {}
            for shard in self.SHARDS:
                accounts = self.bank.accounts(shard)
                balances = [
                    seen.history[-1][1] for seen in accounts.values() if seen.history and seen.currency == currency
                ]
                assert sum(balances) == 0
                for peer in self.SHARDS:
                    transit = accounts.get(chart.transit_account(shard, peer, currency))
                    held[shard, peer] = transit.history[-1][1] if transit and transit.history else 0
            for (payer, payee), stream in self.model.streams.items():
                both_ways = stream.under_way(currency) + self.model.streams[payee, payer].under_way(currency)
                assert held[payer, payee] + held[payee, payer] == both_ways
