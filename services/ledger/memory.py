"""What the writer remembers of the books it writes: a bounded, exact copy of what it needed lately.

Since nobody else may write, memory and tables agree after every commit; what is not remembered is
loaded before a batch is decided. Never here: deciding, committing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.chassis.bounded import Bounded
from services.domain import chart
from services.domain.outcomes import Outcome
from services.ledger.books import (
    ENGINE,
    AccountState,
    Actor,
    Cap,
    CapKey,
    Crossing,
    Decision,
    Hold,
    Original,
    Watermarks,
)
from services.ledger.change_rows import ChangeDecision
from services.ledger.draft import Draft
from services.ledger.jobs import Job
from services.ledger.store import Head, Store

ACCOUNTS_MAX: Final = 500_000
"""Accounts remembered per shard, about 400 bytes each; the rest is one index seek away."""

IDS_MAX: Final = 100_000
"""Ids whose outcome is remembered per shard, so that a storm of retries costs no rollback."""

HOLDS_MAX: Final = 100_000
CAPS_MAX: Final = 100_000
ACTORS_MAX: Final = 100_000

MICROSECONDS_PER_DAY: Final = 86_400_000_000


@dataclass(slots=True)
class Facts:
    """What one batch needs and nobody remembers: always loaded afresh."""

    known: dict[bytes, Decision] = field(default_factory=dict)
    """Ids that the database says mean something, asked only when its index objected."""
    originals: dict[bytes, Original] = field(default_factory=dict)
    changes: dict[bytes, ChangeDecision] = field(default_factory=dict)
    siblings: dict[int, list[int]] = field(default_factory=dict)
    """Accounts of the same customer and currency, by account."""
    open_holds: dict[int, list[Hold]] = field(default_factory=dict)
    """Open holds, by account."""


class Memory:
    """One shard's. `peers` is how far each peer is; `is_in_flight` asks whether money left an account."""

    def __init__(
        self, shard_id: int, peers: dict[int, Watermarks], is_in_flight: Callable[[int], bool] = lambda _number: False
    ) -> None:
        self.shard_id = shard_id
        self.peers = peers
        self._is_in_flight = is_in_flight
        self._accounts: Bounded[int, AccountState] = Bounded(ACCOUNTS_MAX)
        self._decisions: Bounded[bytes, Decision] = Bounded(IDS_MAX)
        self._holds: Bounded[bytes, Hold] = Bounded(HOLDS_MAX)
        self._caps: Bounded[CapKey, Cap] = Bounded(CAPS_MAX)
        self._actors: Bounded[Actor, int] = Bounded(ACTORS_MAX)
        self._actor_by_id: Bounded[int, Actor] = Bounded(ACTORS_MAX)

    @property
    def account_count(self) -> int:
        """How many accounts are remembered."""
        return len(self._accounts)

    async def load(self, jobs: Sequence[Job[Any]], store: Store, facts: Facts) -> None:
        """Bring in what deciding these jobs needs."""
        wanted = {number for job in jobs for column in job.accounts() for number in column}
        for job in jobs:
            wanted.update(chart.transit_account(self.shard_id, *pair) for pair in job.transits())
        special = [job for job in jobs if job.is_special]
        if special:
            await self._load_special(special, store, facts, wanted)
        missing = [number for number in wanted if self._accounts.get(number) is None]
        if missing:
            self._accounts.update(await store.load_accounts(missing))
        await self._load_caps(wanted, {key for job in jobs for key in job.cap_keys()}, store)
        await self._recall(jobs, store, facts)
        await self._name_actors(jobs, store)

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

    async def _load_caps(self, wanted: Iterable[int], keys: set[CapKey], store: Store) -> None:
        for number in wanted:
            account = self._accounts.get(number)
            if account is not None and account.is_capped:
                keys.add(CapKey(account.customer_number, account.currency))
        missing = [key for key in keys if self._caps.get(key) is None]
        if missing:
            self._caps.update(await store.load_caps(missing))

    async def _name_actors(self, jobs: Sequence[Job[Any]], store: Store) -> None:
        """Give everybody who asks a number in the books."""
        actors = {actor for job in jobs for actor in job.actors()} - {ENGINE}
        missing = [actor for actor in actors if self._actor_by_id.get(self._actors.get(actor) or 0) is None]
        if missing:
            named = await store.name_actors(missing)
            self._actors.update(named)
            self._actor_by_id.update({number: actor for actor, number in named.items()})
        for job in jobs:
            job.name_actors(self._actor_id)

    def actor(self, number: int) -> Actor:
        """Tell who has a number in the books, of those who asked in the batch at hand or lately."""
        return self._actor_by_id.get(number) or ENGINE

    def _actor_id(self, actor: Actor) -> int:
        if actor == ENGINE:
            return 0
        number = self._actors.get(actor)
        assert number is not None
        return number

    def draft(self, head: Head, now_us: int, facts: Facts) -> Draft:
        """Begin a draft on top of what is remembered; booking times grow with every draft."""
        booking_time_us = max(now_us, head.booking_time_us + 1)
        business_date = booking_time_us // MICROSECONDS_PER_DAY
        known, remembered = facts.known, self._decisions.get
        draft = Draft(
            self.shard_id,
            head.sequence,
            booking_time_us,
            business_date,
            self._accounts.get,
            (lambda transfer_id: known.get(transfer_id) or remembered(transfer_id)) if known else remembered,
            self.peers,
            hold=self._holds.get,
            cap=self._caps.get,
            original=facts.originals.get,
            change=facts.changes.get,
            siblings=facts.siblings,
            open_holds=facts.open_holds,
            is_in_flight=self._is_in_flight,
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
