"""Drives a bank and the model of it with the same requests, in any order, and compares everything they say.

What a bank is (rules on books in memory, or writers on PostgreSQL) is left to the tests; here are the
requests, drawn from few accounts, ids and amounts so that they meet often.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from ledger_model import LedgerModel
from memory_books import CZK, EUR, Ask, an_id, cash, customer_account

from services.domain import chart
from services.domain.outcomes import Outcome
from services.ledger.books import Answers, Leg, PlaceError
from services.ledger.traffic import Crossing, Watermarks

BALANCE_MAX: Final = 300
"""The balance limit during these tests, so that it is met."""

REACHABLE: Final = 5
"""Accounts of a shard's pool that are opened at the start; those behind them are not there."""


def pool(shard: int) -> list[tuple[int, int, int]]:
    """List the accounts that requests name on a shard: number, currency, floor."""
    return [
        (cash(shard), CZK, -BALANCE_MAX),
        (customer_account(shard, 1), CZK, 0),
        (customer_account(shard, 2), CZK, -50),
        (customer_account(shard, 3), EUR, 0),
        (cash(shard, EUR), EUR, -BALANCE_MAX),
        (customer_account(shard, 4), CZK, 0),
        (chart.transit_account(shard, shard % 2 + 1, CZK), CZK, 0),
    ]


@dataclass(frozen=True)
class Post:
    """Asks for transfers; a payee's shard is asked about the payee unless a yes is still believed."""

    asked: tuple[Ask, ...]
    believed: bool = False


@dataclass(frozen=True)
class Repeat:
    """Asks once more for what was asked before."""

    which: int


@dataclass(frozen=True)
class Land:
    """Hands over crossings from a peer: too early or again by so many numbers."""

    peer_id: int
    offset: int
    count: int


@dataclass(frozen=True)
class Acknowledge:
    """Tells how far crossings have landed at a peer, or had before the last so many."""

    peer_id: int
    behind: int


@dataclass(frozen=True)
class Open:
    """Opens an account of the pool, perhaps with another floor."""

    which: int
    floor: int


Request = Post | Repeat | Land | Acknowledge | Open


@dataclass(frozen=True)
class Landing:
    """Crossings as a peer hands them over."""

    peer_id: int
    sent: tuple[Crossing, ...]


@dataclass(frozen=True)
class Word:
    """What a peer says of crossings, with those that come back."""

    peer_id: int
    through: int
    refused: tuple[tuple[Crossing, int], ...]


@dataclass(frozen=True)
class Opening:
    """Facts of a new account."""

    number: int
    currency: int
    floor: int


Work = tuple[Ask, ...] | Landing | Word | Opening
"""What a request comes to once the other shards' committed books were looked at."""


@dataclass
class Seen:
    """An account as the books show it."""

    currency: int
    floor: int
    restrictions: int
    history: list[tuple[int, int]]


class Bank(Protocol):
    """Several shards that are driven and looked at."""

    def run(self, shard: int, work: Sequence[Work], fate: str) -> list[Any] | None:
        """Do work as one batch; None when nothing was written and nothing is in doubt."""

    def restrict(self, shard: int, number: int, restrictions: int) -> None:
        """Restrict an account in the committed books."""

    def payee_refusal(self, shard: int, number: int, currency: int) -> int:
        """Answer what a payer's shard asks beforehand."""

    def accounts(self, shard: int) -> dict[int, Seen]:
        """Show all accounts."""

    def outcome(self, shard: int, transfer_id: bytes) -> tuple[int, int]:
        """Tell what an id means by the committed books."""

    def watermarks(self, shard: int) -> dict[int, Watermarks]:
        """Show how far crossings have come."""

    def sent(self, shard: int, peer_id: int) -> list[Crossing]:
        """Show all crossings that left for a peer."""

    def refused(self, shard: int, peer_id: int) -> dict[int, int]:
        """Show what was refused of a peer's crossings."""

    def returned(self, shard: int, peer_id: int) -> dict[int, int]:
        """Show what came back from a peer."""


AMOUNTS: Final = (20, 1, 50, 51, 100, 20, 1, 50, 51, 100, BALANCE_MAX, BALANCE_MAX + 1)

SENSIBLE: Final = 15
"""How much more often a leg is drawn between accounts that are there, in their currency."""


@cache
def _legs(shard: int, payees_shard: int) -> st.SearchStrategy[Leg]:
    sensible = [
        (payer, payee, currency)
        for payer, currency, _ in pool(shard)[:REACHABLE]
        for payee, its_currency, _ in pool(payees_shard)[:REACHABLE]
        if payer != payee and currency == its_currency
    ]
    anything = [
        (payer, payee, currency)
        for payer, currency, _ in pool(shard)
        for payee, _, _ in pool(payees_shard)
        if payer != payee
    ]
    sides = st.sampled_from(sensible * SENSIBLE + anything)
    return st.tuples(sides, st.sampled_from(AMOUNTS)).map(lambda drawn: Leg(*drawn[0][:2], drawn[1], drawn[0][2]))


@cache
def _asks(shard: int, shards: Sequence[int]) -> st.SearchStrategy[Ask]:
    """Draw transfers whose payer is on the shard and whose payee may be anywhere."""
    ids = st.one_of(st.integers(100 * shard, 100 * shard + 60), st.integers(1, 9)).map(an_id)
    references = st.sampled_from(["", "rent"])
    failures = st.sampled_from([None] * 19 + [PlaceError.PAYEE_SHARD_UNREACHABLE])
    one, more = _legs(shard, shard), st.lists(_legs(shard, shard), min_size=2, max_size=3)
    ways = [st.tuples(st.one_of(st.tuples(one), more.map(tuple)), st.just(0))]
    ways += [st.tuples(st.tuples(_legs(shard, peer)), st.just(peer)) for peer in shards if peer != shard]
    return st.tuples(ids, st.one_of(ways), references, failures).map(
        lambda drawn: Ask(drawn[0], drawn[1][0], drawn[2], peer_id=drawn[1][1], error=drawn[3])
    )


@cache
def _requests(shard: int, shards: Sequence[int]) -> st.SearchStrategy[Request]:
    peers = st.sampled_from([other for other in shards if other != shard])
    post = st.builds(Post, st.lists(_asks(shard, shards), min_size=1, max_size=5).map(tuple), st.booleans())
    repeat = st.builds(Repeat, st.integers(0, 99))
    land = st.builds(Land, peers, st.sampled_from([0, 0, 0, -1, -3, 1]), st.integers(1, 5))
    acknowledge = st.builds(Acknowledge, peers, st.sampled_from([0, 0, 0, 1, 3]))
    opening = st.builds(Open, st.integers(0, REACHABLE), st.sampled_from([0, 0, -50]))
    return st.one_of(post, post, post, repeat, land, land, land, acknowledge, acknowledge, opening)


@cache
def batches(shards: Sequence[int]) -> st.SearchStrategy[tuple[int, list[Request]]]:
    """Draw a shard and what arrives there while the batch before commits."""
    return st.sampled_from(list(shards)).flatmap(
        lambda shard: st.tuples(st.just(shard), st.lists(_requests(shard, shards), min_size=1, max_size=4))
    )


@cache
def restrictions(shards: Sequence[int]) -> st.SearchStrategy[tuple[int, int, int]]:
    """Draw a shard, an account of its pool and what its state forbids from now on."""
    return st.tuples(st.sampled_from(list(shards)), st.integers(0, REACHABLE), st.sampled_from([0, 0, 0, 1, 2, 4]))


class BankMachine(RuleBasedStateMachine):
    """The bank and its model, side by side."""

    SHARDS: Sequence[int]

    def __init__(self) -> None:
        super().__init__()
        self.bank = self.make_bank()
        self.model = LedgerModel(self.SHARDS)
        self.asked: dict[int, list[tuple[Ask, bool]]] = {shard: [] for shard in self.SHARDS}
        self.booked: dict[tuple[int, bytes], int] = {}

    @abstractmethod
    def make_bank(self) -> Bank:
        """Make an empty bank."""

    @initialize()
    def open_accounts(self) -> None:
        """Open the accounts and give some of them money."""
        for shard in self.SHARDS:
            opened: list[Request] = [Open(which, pool(shard)[which][2]) for which in range(REACHABLE)]
            money = [
                Ask(an_id(1_000 * shard + i), (Leg(payer, payee, 200, currency),))
                for i, (payer, payee, currency) in enumerate(
                    [
                        (cash(shard), customer_account(shard, 1), CZK),
                        (cash(shard, EUR), customer_account(shard, 3), EUR),
                    ]
                )
            ]
            self.batch(shard, [*opened, Post(tuple(money))], "committed")

    def batch(self, shard: int, requests: Sequence[Request], fate: str) -> None:
        """Let both do the same and compare their answers."""
        prepared = [(work, believed) for request in requests for work, believed in self.prepare(shard, request)]
        before = copy.deepcopy(self.model) if fate != "committed" else None
        expected = [self.apply(shard, work, believed=believed) for work, believed in prepared]
        answers = self.bank.run(shard, [self.with_checks(work, believed=believed) for work, believed in prepared], fate)
        if answers is None:
            assert before is not None
            self.model = before
            return
        for (work, _), answer, told in zip(prepared, answers, expected, strict=True):
            if isinstance(work, Opening):
                assert answer == [told]
            elif isinstance(work, tuple):
                self.compare(shard, work, answer, told)

    def prepare(self, shard: int, request: Request) -> list[tuple[Work, bool]]:
        """Look at the other shards' committed books for what a request needs."""
        match request:
            case Post(asked, believed):
                self.asked[shard].extend((ask, believed) for ask in asked)
                return [(asked, believed)]
            case Repeat(which) if self.asked[shard]:
                ask, believed = self.asked[shard][which % len(self.asked[shard])]
                return [((ask,), believed)]
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
                return [(Opening(number, currency, floor), False)]
        return []

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
            case Landing(peer_id, sent):
                return self.model.land(shard, peer_id, sent[0].number, len(sent))
            case Word(peer_id, through, _):
                return self.model.acknowledge(shard, peer_id, through)
            case Opening(number, currency, floor):
                return self.model.open(shard, number, currency, floor)

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
            booked = answers.booking_times_us[place]
            assert self.booked.setdefault((shard, ask.transfer_id), booked) == booked

    def restrict(self, shard: int, which: int, restrictions: int) -> None:
        """Freeze, close or free an account."""
        number = pool(shard)[which][0]
        account = self.model.accounts[shard].get(number)
        if account is not None:
            account.restrictions = restrictions
            self.bank.restrict(shard, number, restrictions)

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
                assert shown.history == account.history
                assert (shown.currency, shown.restrictions) == (account.currency, account.restrictions)
                assert shown.floor == (account.floor if isinstance(name, int) else -BALANCE_MAX)
            # Transit accounts may have been opened for what was then refused.
            assert not any(shown.history for shown in seen.values())

    @invariant()
    def meanings_agree(self) -> None:
        """Compare what every id means."""
        for shard in self.SHARDS:
            for transfer_id in self.model.meanings[shard]:
                assert self.bank.outcome(shard, transfer_id) == self.model.outcome(shard, transfer_id)

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
