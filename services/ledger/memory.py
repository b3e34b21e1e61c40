"""What the writer remembers of the books it writes: a bounded, exact copy of what it needed lately.

Since nobody else may write, memory and tables agree after every commit; what is not remembered is
loaded before a batch is decided. Never here: deciding, committing.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final, TypeVar

from services.chassis.bounded import Bounded
from services.domain import chart
from services.domain.outcomes import Outcome
from services.ledger import spanning
from services.ledger.books import ENGINE, AccountState, Actor, Cap, CapKey, Decision, Hold, Original
from services.ledger.change_rows import ChangeDecision
from services.ledger.draft import Draft, SpanFacts
from services.ledger.jobs import Job
from services.ledger.remembered import Remembered
from services.ledger.store import Head, Store
from services.ledger.traffic import Crossing, Promise, PromiseState, Watermarks

ACCOUNTS_MAX: Final = 1 << 20
"""Accounts remembered per shard, unless an operator says otherwise; about 200 bytes each. Of the rest, each costs its
batch some 10 us of PostgreSQL's time."""

IDS_MAX: Final = 100_000
"""Ids whose outcome is remembered per shard, so that a storm of retries costs no rollback."""

HOLDS_MAX: Final = 100_000
CAPS_MAX: Final = 100_000
ACTORS_MAX: Final = 100_000

MICROSECONDS_PER_DAY: Final = 86_400_000_000


K = TypeVar("K")
V = TypeVar("V")


def _first_of(above: Mapping[K, V], below: Callable[[K], V | None]) -> Callable[[K], V | None]:
    return lambda key: above.get(key) or below(key)


@dataclass(slots=True)
class Facts:
    """What one batch needs: accounts as remembered, and what nobody remembers, which is always loaded afresh."""

    states: dict[int, AccountState] | None = None
    """Of the one draft that is made of them, which changes them."""
    known: dict[bytes, Decision] = field(default_factory=dict)
    """Ids that the database says mean something, asked only when its index objected."""
    originals: dict[bytes, Original] = field(default_factory=dict)
    changes: dict[bytes, ChangeDecision] = field(default_factory=dict)
    siblings: dict[int, list[int]] = field(default_factory=dict)
    """Accounts of the same customer and currency, by account."""
    open_holds: dict[int, list[Hold]] = field(default_factory=dict)
    """Open holds, by account."""
    told: set[tuple[bytes, int]] = field(default_factory=set)
    """Ids and peers for which a decision is numbered."""


class OpenPromises:
    """All open promises of a shard, by transfer, and what they will credit, by account."""

    def __init__(self, promises: Iterable[Promise]) -> None:
        self.leg_count = 0
        self._open: dict[bytes, Promise] = {}
        self._credits: dict[int, int] = {}
        self.take({promise.transfer_id: promise for promise in promises})

    def __len__(self) -> int:
        return len(self._open)

    def get(self, transfer_id: bytes) -> Promise | None:
        """Return an open promise."""
        return self._open.get(transfer_id)

    def all(self) -> Iterable[Promise]:
        """Return all of them, in the order in which they were made."""
        return self._open.values()

    def named(self, transfer_ids: Iterable[bytes]) -> list[Promise]:
        """Return those of the promises that are open."""
        return [self._open[transfer_id] for transfer_id in transfer_ids if transfer_id in self._open]

    def made_before(self, time_us: int) -> list[Promise]:
        """Return the promises that have been open since before a time, the oldest first."""
        # In the order in which they were made, as dictionaries and the journal keep it.
        return list(takewhile(lambda promise: promise.promise_time_us < time_us, self._open.values()))

    def made_through(self, sequence: int) -> list[Promise]:
        """Return the promises that are open and were made by a sequence, the oldest first."""
        return list(takewhile(lambda promise: promise.sequence <= sequence, self._open.values()))

    def newest_sequence(self) -> int:
        """Tell when in the journal the newest open promise was made; 0 when there is none."""
        return next((promise.sequence for promise in reversed(self._open.values())), 0)

    def oldest(self) -> Promise | None:
        """Return the promise that has been open for the longest; None when there is none."""
        return next(iter(self._open.values()), None)

    def take(self, promises: Mapping[bytes, Promise]) -> None:
        """Take promises as they are now: open ones in, ended ones out."""
        for transfer_id, promise in promises.items():
            before = self._open.pop(transfer_id, None)
            if before is not None:
                self._count(before, -1)
            if promise.state == PromiseState.OPEN:
                self._open[transfer_id] = promise
                self._count(promise, 1)

    def _count(self, promise: Promise, sign: int) -> None:
        self.leg_count += sign * len(promise.legs)
        for leg in promise.legs:
            if not leg.credit_peer:
                number = leg.credit_account
                self._credits[number] = self._credits.get(number, 0) + sign * leg.amount_minor
                if not self._credits[number]:
                    del self._credits[number]

    def mark(self, states: Mapping[int, AccountState]) -> None:
        """Put into accounts that were loaded what open promises will credit to them."""
        if self._credits:
            for number, state in states.items():
                state.promised_minor = self._credits.get(number, 0)


class Memory:
    """One shard's. `peers` is how far each peer is; `is_in_flight` asks whether money left an account.

    `promises` are the open ones, all of them: they are few, and are never forgotten.
    """

    def __init__(
        self,
        shard_id: int,
        peers: dict[int, Watermarks],
        is_in_flight: Callable[[int], bool] = lambda _number: False,
        promises: Iterable[Promise] = (),
        accounts_max: int | None = None,
    ) -> None:
        self.shard_id = shard_id
        self.peers = peers
        self.promises = OpenPromises(promises)
        self._is_in_flight = is_in_flight
        self._accounts = Remembered(accounts_max or ACCOUNTS_MAX)
        self._decisions: Bounded[bytes, Decision] = Bounded(IDS_MAX)
        self._holds: Bounded[bytes, Hold] = Bounded(HOLDS_MAX)
        self._caps: Bounded[CapKey, Cap] = Bounded(CAPS_MAX)
        self._actors: Bounded[Actor, int] = Bounded(ACTORS_MAX)
        self._actor_by_id: Bounded[int, Actor] = Bounded(ACTORS_MAX)

    @property
    def account_count(self) -> int:
        """How many accounts are remembered."""
        return len(self._accounts)

    def may_be_credited(self, number: int, currency: int) -> bool:
        """Tell whether an account is remembered and its slow-changing facts let it be paid."""
        account = self._accounts.get(number)
        return account is not None and not account.restrictions and account.currency == currency

    async def load(self, jobs: Sequence[Job[Any]], store: Store, facts: Facts) -> None:
        """Bring in what deciding these jobs needs."""
        wanted = {number for job in jobs for column in job.accounts() for number in column}
        for job in jobs:
            wanted.update(chart.transit_account(self.shard_id, *pair) for pair in job.transits())
        special = [job for job in jobs if job.is_special]
        if special:
            await self._load_special(special, store, facts, wanted)
        states = facts.states = self._accounts.pick(list(wanted))
        if len(states) < len(wanted):
            loaded = await store.load_accounts([number for number in wanted if number not in states])
            self.take_loaded(loaded)
            states.update(loaded)
        await self._load_caps(states.values(), {key for job in jobs for key in job.cap_keys()}, store)
        await self._recall(jobs, store, facts)
        await self._name_actors(jobs, store)

    def recalls(self, job: Job[Any], facts: Facts, below: Draft) -> bool:
        """Bring in what deciding a plain job on top of a draft needs; tell whether memory and the draft had it all."""
        states = facts.states
        if states is None:
            states = facts.states = {}
        wanted = set().union(*job.accounts())
        wanted.update(chart.transit_account(self.shard_id, *pair) for pair in job.transits())
        wanted -= states.keys()
        changing = below.touched.keys() & wanted
        found = self._accounts.pick(list(wanted - changing))
        found.update({number: below.touched[number].copy() for number in changing})
        if len(found) < len(wanted):
            return False
        if any(state.is_capped and not self._has_cap(state, below) for state in found.values()):
            return False
        states.update(found)
        if not all(map(self._is_named, job.actors())):
            return False
        job.name_actors(self._actor_id)
        return True

    def lacks(self, numbers: Iterable[int], below: Draft) -> list[int]:
        """Return those of the accounts that neither memory nor a draft has."""
        return [number for number in numbers if number not in below.touched and number not in self._accounts]

    def take_loaded(self, loaded: dict[int, AccountState]) -> None:
        """Take in accounts as the tables have them, which no draft that is being written touches."""
        self.promises.mark(loaded)
        self._accounts.update(loaded)

    def _has_cap(self, account: AccountState, below: Draft) -> bool:
        key = CapKey(account.customer_number, account.currency)
        return key in below.caps or self._caps.get(key) is not None

    async def _recall(self, jobs: Sequence[Job[Any]], store: Store, facts: Facts) -> None:
        """Ask what forgotten ids mean that no index will object to, because they are passed over this time."""
        ids = [each for job in jobs for each in job.passed_over_ids() if self._decisions.get(each) is None]
        if ids:
            facts.known |= await store.find_decisions(ids)

    async def _load_special(self, jobs: list[Job[Any]], store: Store, facts: Facts, wanted: set[int]) -> None:
        """Bring in holds, originals, changes and siblings, and the accounts that they concern."""
        hold_ids = {hold_id for job in jobs for hold_id in job.hold_ids()}
        missing = [hold_id for hold_id in hold_ids if self._holds.get(hold_id) is None]
        if missing:
            self._holds.update(await store.load_holds(missing))
        holds = (self._holds.get(hold_id) for hold_id in hold_ids)
        wanted.update(hold.account_number for hold in holds if hold is not None)
        for promise in self.promises.named(each for job in jobs for each in job.promise_ids()):
            wanted.update(spanning.accounts_here(promise.legs))
            wanted.update(chart.transit_account(self.shard_id, *pair) for pair in spanning.transits_here(promise.legs))
        told = {key for job in jobs for key in job.told_keys()}
        if told:
            facts.told = await store.load_told(list(told))
        original_ids = {original_id for job in jobs for original_id in job.original_ids()}
        if original_ids:
            facts.originals = await store.load_originals(list(original_ids))
        change_ids = {change_id for job in jobs for change_id in job.change_ids()}
        if change_ids:
            facts.changes = await store.load_changes(list(change_ids))
        lone = {number for job in jobs for number in job.siblings_of()}
        if lone:
            facts.siblings = await store.load_siblings(list(lone))
            wanted.update(number for siblings in facts.siblings.values() for number in siblings)
        holders = lone.union(*facts.siblings.values(), *(job.open_holds_of() for job in jobs))
        if holders:
            facts.open_holds = await store.load_open_holds(list(holders))

    async def _load_caps(self, accounts: Iterable[AccountState], keys: set[CapKey], store: Store) -> None:
        keys.update([CapKey(account.customer_number, account.currency) for account in accounts if account.is_capped])
        missing = [key for key in keys if self._caps.get(key) is None]
        if missing:
            self._caps.update(await store.load_caps(missing))

    async def _name_actors(self, jobs: Sequence[Job[Any]], store: Store) -> None:
        """Give everybody who asks a number in the books."""
        actors = {actor for job in jobs for actor in job.actors()} - {ENGINE}
        missing = [actor for actor in actors if not self._is_named(actor)]
        if missing:
            named = await store.name_actors(missing)
            self._actors.update(named)
            self._actor_by_id.update({number: actor for actor, number in named.items()})
        for job in jobs:
            job.name_actors(self._actor_id)

    def _is_named(self, actor: Actor) -> bool:
        return actor == ENGINE or self._actor_by_id.get(self._actors.get(actor) or 0) is not None

    def actor(self, number: int) -> Actor:
        """Tell who has a number in the books, of those who asked in the batch at hand or lately."""
        return self._actor_by_id.get(number) or ENGINE

    def _actor_id(self, actor: Actor) -> int:
        if actor == ENGINE:
            return 0
        number = self._actors.get(actor)
        assert number is not None
        return number

    def draft(self, head: Head, now_us: int, facts: Facts, below: Draft | None = None) -> Draft:
        """Begin a draft on top of what is remembered, and of a draft that is being committed; booking times grow."""
        booking_time_us = max(now_us, head.booking_time_us + 1)
        business_date = booking_time_us // MICROSECONDS_PER_DAY
        known, remembered = facts.known, self._decisions.get
        committed: Callable[[int], AccountState | None] = self._accounts.get
        hold: Callable[[bytes], Hold | None] = self._holds.get
        cap: Callable[[CapKey], Cap | None] = self._caps.get
        peers: MutableMapping[int, Watermarks] = self.peers
        if below is not None:
            # Its parts, never itself: each draft would hold the one before it, and so on.
            known, peers = below.decisions, ChainMap(below.peers, peers)
            committed = _first_of(below.touched, committed)
            hold, cap = _first_of(below.holds, hold), _first_of(below.caps, cap)
        draft = Draft(
            self.shard_id,
            head.sequence,
            booking_time_us,
            business_date,
            committed,
            (lambda transfer_id: known.get(transfer_id) or remembered(transfer_id)) if known else remembered,
            peers,
            hold=hold,
            cap=cap,
            original=facts.originals.get,
            change=facts.changes.get,
            spans=SpanFacts(self.promises.get, facts.told.__contains__, self.promises.all),
            siblings=facts.siblings,
            open_holds=facts.open_holds,
            is_in_flight=self._is_in_flight,
            own=facts.states,
        )
        draft.begins_day = business_date > head.booking_time_us // MICROSECONDS_PER_DAY
        return draft

    def take(self, draft: Draft) -> None:
        """Take a committed draft in."""
        self._accounts.update(draft.touched)
        self._decisions.update(draft.decisions)
        self._holds.update(draft.holds)
        self._caps.update(draft.caps)
        self.peers.update(draft.peers)
        if draft.spans.promises:
            self.promises.take(draft.spans.promises)

    def remember(self, known: dict[bytes, Decision]) -> None:
        """Remember what the database said of ids: whoever repeats them once repeats them again."""
        self._decisions.update(known)

    def take_returns(self, refused: Iterable[tuple[Crossing, int]]) -> None:
        """Let remembered ids of returned crossings mean that from now on."""
        for crossing, refusal in refused:
            before = self._decisions.get(crossing.transfer_id)
            if before is not None:
                returned = before._replace(outcome=Outcome.RETURNED, refusal=refusal)
                self._decisions.update({crossing.transfer_id: returned})
