"""Books in memory that know promises: what the rules of transfers over several shards are tested on.

`SpanBooks.commit` takes a draft in as the store does, and checks on the way that every leg adds up.
"""

from collections.abc import Sequence
from dataclasses import replace

from memory_books import CZK, DAY_US, TODAY, an_id, cash, customer_account

from services.domain.chart import transit_account
from services.ledger import promises, spanning
from services.ledger.books import AccountState, Decision, Leg
from services.ledger.draft import Draft, SpanFacts
from services.ledger.memory import OpenPromises
from services.ledger.promises import PromiseAnswer, PromiseAsked
from services.ledger.spanning import Answered, Span, Told
from services.ledger.traffic import Promise, PromiseState, Verdict, Watermarks

__all__ = ["CZK", "SpanBooks", "an_id", "ask_of", "cash", "customer_account", "span"]


class SpanBooks:
    """What is committed of one shard."""

    def __init__(self, shard_id: int) -> None:
        self.shard_id = shard_id
        self.accounts: dict[int, AccountState] = {}
        self.decisions: dict[bytes, Decision] = {}
        self.peers: dict[int, Watermarks] = {}
        self.open = OpenPromises(())
        self.ended: dict[bytes, Promise] = {}
        self.verdicts: dict[int, list[Verdict]] = {}
        """Decisions for each peer, in order of their numbers from 1 on."""
        self.sequence = 0
        self.time_us = TODAY * DAY_US
        self._about: dict[tuple[bytes, int], object] = {}

    def add(self, number: int, balance: int = 0, floor: int = 0, restrictions: int = 0) -> int:
        """Put an account into the books with a balance out of nowhere."""
        self.accounts[number] = AccountState(number, CZK, floor, restrictions, 0, balance)
        return number

    def clone(self) -> "SpanBooks":
        """Return a twin that goes its own way."""
        twin = SpanBooks(self.shard_id)
        twin.accounts = {number: state.copy() for number, state in self.accounts.items()}
        twin.decisions, twin.ended = dict(self.decisions), dict(self.ended)
        twin.peers = {peer: replace(marks) for peer, marks in self.peers.items()}
        twin.open = OpenPromises(self.open.all())
        twin.verdicts = {peer: list(told) for peer, told in self.verdicts.items()}
        twin.sequence, twin.time_us = self.sequence, self.time_us
        return twin

    def draft(self, day: int = TODAY) -> Draft:
        """Begin a batch."""
        told = {(verdict.transfer_id, peer) for peer, verdicts in self.verdicts.items() for verdict in verdicts}
        facts = SpanFacts(self.open.get, told.__contains__, self.open.all)
        return Draft(
            self.shard_id,
            self.sequence,
            self.time_us + 1,
            day,
            self.accounts.get,
            self.decisions.get,
            self.peers,
            spans=facts,
        )

    def commit(self, draft: Draft) -> None:
        """Take a batch in."""
        sums: dict[int, int] = {}
        for *_, sequence, amount, _after, held in draft.entries:
            assert self.sequence < sequence <= draft.sequence and held >= 0
            sums[sequence] = sums.get(sequence, 0) + amount
        assert not any(sums.values()), "a leg does not add up"
        self.accounts.update(draft.touched)
        self.decisions.update(draft.decisions)
        self.peers.update(draft.peers)
        self.open.take(draft.spans.promises)
        self.ended |= {each: made for each, made in draft.spans.promises.items() if made.state != PromiseState.OPEN}
        for peer_id, _, verdict in draft.spans.verdicts:
            told = self.verdicts.setdefault(peer_id, [])
            told.append(verdict)
            assert verdict.number == len(told)
        self.sequence, self.time_us = draft.sequence, draft.booking_time_us
        self._about.clear()

    def promise(self, asked: PromiseAsked) -> PromiseAnswer:
        """Promise in a batch of its own."""
        draft = self.draft()
        answer = promises.promise(draft, asked)
        self.commit(draft)
        return answer

    def decide(self, asked: Span, refusals: Sequence[tuple[int, int]], told: Sequence[int]) -> Answered:
        """Decide in a batch of its own."""
        draft = self.draft()
        answered = spanning.decide(draft, asked, refusals, told)
        self.commit(draft)
        return answered

    def tell(self, peer_id: int, transfer_id: bytes, account: int) -> None:
        """Answer a peer that asks."""
        draft = self.draft()
        spanning.tell(draft, peer_id, [Told(transfer_id, account)])
        self.commit(draft)

    def settle(self, home_id: int, verdict: Verdict) -> None:
        """Land a decision in a batch of its own."""
        draft = self.draft()
        promises.settle(draft, home_id, verdict)
        self.commit(draft)

    def state_of(self, transfer_id: bytes) -> PromiseState | None:
        """Tell how a promise is; None when there never was one."""
        made = self.open.get(transfer_id) or self.ended.get(transfer_id)
        return None if made is None else PromiseState(made.state)

    def about(self, transfer_id: bytes, home_id: int) -> object:
        """Say all that matters where there is one transfer only; worked out once for each time they are written."""
        asked = (transfer_id, home_id)
        if asked not in self._about:
            self._about[asked] = (
                self.state_of(transfer_id),
                (met := self.decisions.get(transfer_id)) and (met.kind, met.outcome, met.refusal),
                tuple((s.balance_minor, s.held_minor, s.promised_minor) for s in self.accounts.values()),
                tuple((peer, tuple(told)) for peer, told in sorted(self.verdicts.items())),
                self.landed_through(home_id),
            )
        return self._about[asked]

    def landed_through(self, peer_id: int) -> int:
        """Tell how far a peer's decisions have landed."""
        return self.peers.get(peer_id, Watermarks()).landed_through

    def transit(self, peer_id: int) -> int:
        """Tell what the transit account of a peer holds."""
        state = self.accounts.get(transit_account(self.shard_id, peer_id, CZK))
        return 0 if state is None else state.balance_minor


def span(*legs: Leg, home_id: int = 1, number: int = 1, fingerprint: int = 7) -> Span:
    """Write a transfer over several shards; shard n has slots n * 100 on."""
    shards = tuple((leg.debit_account // 10**14, leg.credit_account // 10**14) for leg in legs)
    return Span(an_id(number), home_id, legs, shards, fingerprint)


def ask_of(asked: Span, peer_id: int) -> PromiseAsked:
    """Write what a home asks a peer to promise."""
    share = asked.share(peer_id)
    return PromiseAsked(asked.home_id, asked.transfer_id, asked.fingerprint, share, int(asked.flags), "")
