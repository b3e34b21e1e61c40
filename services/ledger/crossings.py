"""Money on its way to other shards: numbered, handed over in order, never dropped, landed once.

Each peer has one `Courier`: it holds the crossings that the peer has not answered, sends them in
batches in the order of their numbers, one call at a time, and repeats until the peer's answer comes.
The peer's watermark makes repeating harmless. What the peer refused is given back to the payer by
this shard's writer. A restart continues from the tables. `Couriers` is all peers of one shard, and
`PayeeCheck` asks a peer beforehand, so that a return is a rare race and not the way typos come back.

Never here: what may be posted (`posting.py`), SQL.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from hivecore.ledger.v1 import ledger_pb2

from services.chassis import logs, requests
from services.chassis.bounded import Bounded
from services.domain import errors, limits
from services.domain.outcomes import Outcome
from services.ledger import metrics
from services.ledger.batching import Writer
from services.ledger.books import ENGINE, Actor, Answers, Leg
from services.ledger.draft import Draft
from services.ledger.jobs import AcknowledgeJob
from services.ledger.traffic import Crossing, Watermarks

HAND_OVER_SECONDS_MAX: Final = 10.0
"""How long one call to a peer may take before it is repeated."""

HAND_OVER_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 256 * 1024
"""What one call to a peer may weigh: long references and metadata make it shorter."""

RETRY_SECONDS_MIN: Final = 0.05
RETRY_SECONDS_MAX: Final = 1.0

IN_FLIGHT_MAX: Final = 200_000
"""Crossings to one peer that may be unanswered; beyond, new ones are refused before they debit."""

PAYEES_REMEMBERED_MAX: Final = 200_000
PAYEE_SECONDS: Final = 30.0
"""How long a peer's yes is believed; a return covers what changes meanwhile."""

_FIXED_BYTES: Final = 16 + 8 + 8 + 8 + 2 + 5 + 8 + 12
"""Id, payer, payee, amount, currency, value date, place of the actor and the lengths of texts."""
_PAIR_BYTES: Final = 8
"""Around a key and its value; the place of metadata counts as one of the lengths above."""

_log = logs.get(__name__)


class Peer(Protocol):
    """A ledger that can be called: `services.chassis.clients.LedgerClient`."""

    async def call(self, method: str, request: Any, *, deadline_seconds: float) -> Any:
        """Call the peer's writer. Raises `BankError`."""


class Courier:
    """Carries one shard's crossings to one peer."""

    def __init__(self, shard_id: int, peer_id: int, marks: Watermarks, client: Callable[[int], Peer]) -> None:
        self.shard_id = shard_id
        self.peer_id = peer_id
        self.resolved_through = marks.acknowledged_through
        """All crossings up to this number are posted or given back, durably."""
        self.returned: Bounded[int, int] = Bounded(10_000)
        """Refusals of crossings given back lately, by number."""
        self._client = client
        self._pending: deque[Crossing] = deque()
        self._arrived = asyncio.Event()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiters_made = 0
        self._returned_total = metrics.CROSSINGS_RETURNED.labels(str(shard_id), str(peer_id))

    @property
    def pending_count(self) -> int:
        """How many crossings the peer has not answered."""
        return len(self._pending)

    def carries_for(self, account_number: int) -> bool:
        """Tell whether a crossing that may come back to an account, or take further legs back, is unanswered."""
        return any(
            crossing.debit_account == account_number or any(account_number in leg[:2] for leg in crossing.further)
            for crossing in self._pending
        )

    def take(self, crossings: Sequence[Crossing]) -> None:
        """Take crossings that were committed, in the order of their numbers."""
        self._pending.extend(crossings)
        self._arrived.set()

    async def wait_resolved(self, number: int) -> None:
        """Wait until all crossings up to `number` are resolved."""
        if number <= self.resolved_through:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters_made += 1
        heapq.heappush(self._waiters, (number, self._waiters_made, future))
        await future

    async def run(self, writer: Writer) -> None:
        """Hand crossings over for ever."""
        requests.become(())  # Whoever's crossing was the first: what follows is everybody's.
        pause = RETRY_SECONDS_MIN
        while True:
            while not self._pending:
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._next_batch()
            try:
                response = await self._client(self.peer_id).call(
                    "LandCrossings", self._request(batch), deadline_seconds=HAND_OVER_SECONDS_MAX
                )
                resolved = await self._resolve(batch, response, writer)
            except errors.BankError as error:
                _log.warning("crossings_wait", shard=self.shard_id, peer=self.peer_id, reason=error.reason)
                resolved = False
            if resolved:
                pause = RETRY_SECONDS_MIN
            else:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
                pause = min(pause * 2, RETRY_SECONDS_MAX)

    def _next_batch(self) -> list[Crossing]:
        """Take as many of the crossings that wait as fit a call."""
        batch = list(islice(self._pending, limits.CROSSINGS_PER_CALL_MAX))
        room = HAND_OVER_BYTES_MAX
        for count, crossing in enumerate(batch):
            room -= _weight(crossing)
            if room < 0:
                return batch[: max(count, 1)]
        return batch

    def _request(self, batch: Sequence[Crossing]) -> ledger_pb2.LandCrossingsRequest:
        decisions = [crossing.verdict for crossing in batch if crossing.verdict is not None]
        first_number = batch[0].number
        if decisions:
            batch = [crossing for crossing in batch if crossing.verdict is None]
        place_by_actor: dict[Actor, int] = {}
        places = [place_by_actor.setdefault(each.actor, len(place_by_actor)) for each in batch]
        return ledger_pb2.LandCrossingsRequest(
            shard_id=self.peer_id,
            from_shard_id=self.shard_id,
            first_number=first_number,
            transfer_ids=b"".join([crossing.transfer_id for crossing in batch]),
            debit_accounts=[crossing.debit_account for crossing in batch],
            credit_accounts=[crossing.credit_account for crossing in batch],
            amounts_minor=[crossing.amount_minor for crossing in batch],
            currencies=[crossing.currency for crossing in batch],
            references=[crossing.reference for crossing in batch],
            value_dates=[crossing.value_date for crossing in batch],
            metadata=[
                ledger_pb2.Metadata(place=place, pairs=dict(crossing.metadata))
                for place, crossing in enumerate(batch)
                if crossing.metadata
            ],
            actors=[ledger_pb2.Actor(channel=each.channel, subject=each.subject) for each in place_by_actor],
            actor_places=places if len(place_by_actor) > 1 else (),
            decisions=[
                ledger_pb2.Decision(
                    number=verdict.number,
                    transfer_id=verdict.transfer_id,
                    outcome=verdict.outcome,  # type: ignore[arg-type]
                    refusal=verdict.refusal,
                    reference=verdict.reference,
                    value_date=verdict.value_date,
                    account=verdict.account_number,
                )
                for verdict in decisions
            ],
        )

    async def _resolve(self, batch: Sequence[Crossing], response: Any, writer: Writer) -> bool:
        """Act on a peer's answer; False when it makes no sense and nothing was done."""
        first, last = batch[0].number, batch[-1].number
        through = min(response.landed_through, last)
        if response.landed_through < first:
            # The peer lacks what it acknowledged before: its books went back in time.
            _log.error("peer_lost_crossings", shard=self.shard_id, peer=self.peer_id, landed=response.landed_through)
            return False
        reasons = dict(zip(response.refused_numbers, response.refusals, strict=True))
        refused = [(crossing, reasons[crossing.number]) for crossing in batch if crossing.number in reasons]
        if not refused:
            writer.acknowledge_in_passing(self.peer_id, through)
        else:
            # RETURNED is said only when the payer has the money back.
            job = AcknowledgeJob(self.peer_id, through, refused)
            writer.submit_always(job)
            await job.future
            self.returned.update({crossing.number: refusal for crossing, refusal in refused})
            self._returned_total.inc(len(refused))
        for _ in range(through - first + 1):
            self._pending.popleft()
        self.resolved_through = through
        while self._waiters and self._waiters[0][0] <= through:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
        return True


def _weight(crossing: Crossing) -> int:
    """Tell how many bytes a crossing takes in a call, at most: no other may have its actor."""
    texts = (crossing.reference, crossing.actor.channel, crossing.actor.subject)
    weight = _FIXED_BYTES + sum(len(text.encode()) for text in texts)
    for key, value in crossing.metadata:
        weight += _PAIR_BYTES + len(key) + len(value.encode())
    return weight


class Couriers:
    """All peers of one shard. `start` makes a long-lived task that somebody owns; `actor_of` names a number."""

    def __init__(
        self,
        shard_id: int,
        peers: dict[int, Watermarks],
        client: Callable[[int], Peer],
        start: Callable[[Courier], None],
        actor_of: Callable[[int], Actor] = lambda _number: ENGINE,
    ) -> None:
        self._shard_id = shard_id
        self._peers = peers
        self._client = client
        self._start = start
        self._actor_of = actor_of
        self._couriers: dict[int, Courier] = {}

    def of(self, peer_id: int) -> Courier:
        """Return a peer's courier, starting it when it is the first time."""
        courier = self._couriers.get(peer_id)
        if courier is None:
            marks = self._peers.get(peer_id, Watermarks())
            courier = Courier(self._shard_id, peer_id, marks, self._client)
            self._couriers[peer_id] = courier
            self._start(courier)
        return courier

    def is_in_flight(self, account_number: int) -> bool:
        """Tell whether money that left an account may still come back."""
        return any(courier.carries_for(account_number) for courier in self._couriers.values())

    def is_full(self, peer_id: int) -> bool:
        """Tell whether so much is in flight to a peer that nothing should be added."""
        courier = self._couriers.get(peer_id)
        return courier is not None and courier.pending_count >= IN_FLIGHT_MAX

    def take(self, draft: Draft) -> None:
        """Take the crossings of a committed draft, and the decisions among them."""
        if not draft.crossings_out and not draft.spans.verdicts:
            return
        row_by_sequence = {row.sequence: row for row in draft.transfers}
        further: dict[int, list[Leg]] = {}
        for _, of, leg in draft.further_legs:
            further.setdefault(of, []).append(leg)
        metadata = dict(draft.metadata)
        by_peer: dict[int, list[Crossing]] = {}
        for number, sequence, peer_id in draft.crossings_out:
            row = row_by_sequence[sequence]
            by_peer.setdefault(peer_id, []).append(
                Crossing(
                    number,
                    row.transfer_id,
                    row.debit_account,
                    row.credit_account,
                    row.amount_minor,
                    row.currency,
                    row.reference,
                    row.value_date,
                    tuple(further.get(sequence, ())),
                    metadata.get(sequence, ()),
                    self._actor_of(row.actor_id),
                )
            )
        for peer_id, _, verdict in draft.spans.verdicts:
            by_peer.setdefault(peer_id, []).append(Crossing.of_verdict(verdict))
        for peer_id, crossings in by_peer.items():
            self.of(peer_id).take(sorted(crossings) if draft.spans.verdicts else crossings)

    async def recover(self, load: Callable[[int, int, int], Awaitable[list[Crossing]]]) -> None:
        """Take up, from the tables, whatever peers have not acknowledged."""
        for peer_id, marks in list(self._peers.items()):
            after = marks.acknowledged_through
            while after < marks.sent_through:
                page = await load(peer_id, after, limits.CROSSINGS_PER_CALL_MAX)
                assert page and page[0].number == after + 1, "the numbers of crossings have a gap"
                # Beyond its own marks lies what a later writer has sent: this one must not know of it.
                self.of(peer_id).take([crossing for crossing in page if crossing.number <= marks.sent_through])
                after = page[-1].number

    async def complete(self, answers: Answers, until: float) -> None:
        """Wait, until a loop time at most, for crossings among answers, and put in what became of them."""
        last_by_peer: dict[int, int] = {}
        for peer_id, number in answers.crossings.values():
            last_by_peer[peer_id] = max(number, last_by_peer.get(peer_id, 0))
        try:
            async with asyncio.timeout_at(until):
                for peer_id, number in last_by_peer.items():
                    await self.of(peer_id).wait_resolved(number)
        except TimeoutError:
            pass
        for place, (peer_id, number) in answers.crossings.items():
            answers.outcomes[place], answers.refusals[place] = self.became(peer_id, number)

    def became(self, peer_id: int, number: int) -> tuple[int, int]:
        """Tell outcome and refusal of a crossing, also before the peer's word on it stands in the tables."""
        courier = self.of(peer_id)
        if number > courier.resolved_through:
            return Outcome.IN_TRANSIT, 0
        refusal = courier.returned.get(number)
        return (Outcome.RETURNED, refusal) if refusal else (Outcome.POSTED, 0)


class PayeeCheck:
    """Asks peers whether payees may be credited, and believes a yes for a while."""

    def __init__(self, client: Callable[[int], Peer], now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._known: Bounded[tuple[int, int], float] = Bounded(PAYEES_REMEMBERED_MAX)

    async def ask(
        self, peer_id: int, payees: Sequence[tuple[int, int]], deadline_seconds: float
    ) -> dict[tuple[int, int], int]:
        """Return refusals of those (account, currency) that may not be credited. Raises `BankError`."""
        now = self._now()
        get = self._known.get
        strangers = list({payee for payee in payees if (get(payee) or 0.0) < now})
        if not strangers:
            return {}
        request = ledger_pb2.CheckPayeesRequest(
            shard_id=peer_id,
            account_numbers=[account for account, _ in strangers],
            currencies=[currency for _, currency in strangers],
        )
        response = await self._client(peer_id).call("CheckPayees", request, deadline_seconds=deadline_seconds)
        answers = dict(zip(strangers, response.refusals, strict=True))
        until = now + PAYEE_SECONDS
        self._known.update({payee: until for payee, refusal in answers.items() if not refusal})
        return {payee: refusal for payee, refusal in answers.items() if refusal}
