"""What the writer is asked to do: post, land, acknowledge, open; each with the future of its answer.

A job names what deciding needs, so that the writer can load it beforehand, and decides by the rules
of `posting.py`. Never here: when it is decided (`batching.py`), jobs that move no money (`command_jobs.py`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from services.chassis import tracing
from services.ledger import posting, promises
from services.ledger.books import AccountState, Actor, Answers, CapKey, Transfers
from services.ledger.draft import Draft
from services.ledger.traffic import Crossing, Crossings, Verdict

T = TypeVar("T")


class Job(ABC, Generic[T]):
    """One caller's request to the writer, and the future of its answer."""

    __slots__ = ("deadline", "future", "origin", "queued_at", "started", "weight")

    def __init__(self, weight: int, deadline: float) -> None:
        self.weight = weight
        self.deadline = deadline
        """Loop time; a job that is still waiting then is dropped with nothing written."""
        self.origin = tracing.origin()
        """The call's span, when calls are traced."""
        self.queued_at = 0.0
        """When it began to wait for the writer, by `perf_counter`."""
        self.started = False
        """Whether a batch has taken it: from then on it may be written."""
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @abstractmethod
    def accounts(self) -> Sequence[Sequence[int]]:
        """Return columns of the accounts that deciding needs."""

    @property
    def is_special(self) -> bool:
        """Whether deciding needs holds, originals, changes or siblings."""
        return False

    @property
    def is_plain(self) -> bool:
        """Whether deciding needs accounts, their caps and what the job names by itself, and nothing else."""
        return False

    @property
    def opens_accounts(self) -> bool:
        """Whether accounts may be in the books after this that were not before."""
        return False

    @property
    def needs_all_siblings(self) -> bool:
        """Whether accounts opened in the same batch would be missed: a batch ends before such a job."""
        return False

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return (peer, currency) of the transit accounts that deciding needs."""
        return ()

    def hold_ids(self) -> Iterable[bytes]:
        """Return the holds that deciding needs, and with them their accounts."""
        return ()

    def original_ids(self) -> Iterable[bytes]:
        """Return the transfers to be reversed."""
        return ()

    def promise_ids(self) -> Iterable[bytes]:
        """Return the open promises that deciding needs, and with them their accounts."""
        return ()

    def told_keys(self) -> Iterable[tuple[bytes, int]]:
        """Return (transfer id, peer) of decisions that may be numbered already."""
        return ()

    def change_ids(self) -> Iterable[bytes]:
        """Return the changes that deciding asks about."""
        return ()

    def siblings_of(self) -> Iterable[int]:
        """Return accounts whose customers' other accounts deciding needs."""
        return ()

    def open_holds_of(self) -> Iterable[int]:
        """Return accounts whose open holds deciding needs; those of siblings come with `siblings_of`."""
        return ()

    def cap_keys(self) -> Iterable[CapKey]:
        """Return customers' caps that deciding needs besides those of accounts in the books."""
        return ()

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return ()

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the numbers of those who ask."""

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the ids that deciding asks about."""
        return ()

    def passed_over_ids(self) -> Sequence[bytes]:
        """Return the ids that get no outcome now; only the books know whether they have one already."""
        return ()

    @abstractmethod
    def decide(self, draft: Draft) -> T:
        """Decide on a draft; may be called again on another draft."""


class PostJob(Job[Answers]):
    """Transfers to decide."""

    __slots__ = ("transfers",)

    def __init__(self, transfers: Transfers, deadline: float) -> None:
        legs = sum(map(len, transfers.further_legs.values())) if transfers.further_legs else 0
        super().__init__(len(transfers.transfer_ids) + legs, deadline)
        self.transfers = transfers

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return payers, the payees on this shard and whoever further legs name."""
        payees, peers = self.transfers.credit_accounts, self.transfers.peers
        if peers is not None:
            payees = [payee for payee, peer_id in zip(payees, peers, strict=True) if not peer_id]
        columns: list[Sequence[int]] = [self.transfers.debit_accounts, payees]
        columns.extend(leg[:2] for legs in self.transfers.further_legs.values() for leg in legs)
        return columns

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peers that are paid."""
        if self.transfers.peers is None:
            return ()
        return {pair for pair in zip(self.transfers.peers, self.transfers.currencies, strict=True) if pair[0]}

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the transfers' ids."""
        return self.transfers.transfer_ids

    @property
    def is_special(self) -> bool:
        """Whether any is a capture or a reversal."""
        return bool(self.transfers.specials)

    @property
    def is_plain(self) -> bool:
        """Whether none is a capture or a reversal, and all get an outcome."""
        return not self.transfers.specials and not self.transfers.errors

    def hold_ids(self) -> Iterable[bytes]:
        """Return the holds to be captured."""
        return [special.hold_id for special in self.transfers.specials.values() if special.hold_id is not None]

    def original_ids(self) -> Iterable[bytes]:
        """Return the transfers to be reversed."""
        return [one.original_id for one in self.transfers.specials.values() if one.original_id is not None]

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return set(self.transfers.actors) if self.transfers.actors is not None else ()

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the numbers of those who ask."""
        if self.transfers.actors is not None:
            self.transfers.actor_ids = list(map(actor_id, self.transfers.actors))

    def passed_over_ids(self) -> Sequence[bytes]:
        """Return the ids at places with an error, and of reversals, which may have to wait for their originals."""
        reversals = (place for place, one in self.transfers.specials.items() if one.original_id is not None)
        return [self.transfers.transfer_ids[place] for place in (*self.transfers.errors, *reversals)]

    def decide(self, draft: Draft) -> Answers:
        """Post."""
        return posting.post(draft, self.transfers)


class RehearseJob(PostJob):
    """Transfers to judge, each by itself, without writing anything."""

    __slots__ = ()

    def decide(self, draft: Draft) -> Answers:
        """Post on drafts that are dropped."""
        count = len(self.transfers.transfer_ids)
        answers = Answers([0] * count, [0] * count, [0] * count, {}, {})
        for place in range(count):
            alone = posting.post(draft.aside(), _alone(self.transfers, place))
            answers.outcomes[place], answers.refusals[place] = alone.outcomes[0], alone.refusals[0]
            answers.booking_times_us[place] = alone.booking_times_us[0]
            if alone.errors:
                answers.errors[place] = alone.errors[0]
            if alone.repeats:
                answers.repeats.append(place)
        return answers


def _alone(transfers: Transfers, place: int) -> Transfers:
    """Return one of several transfers, as a call of its own."""
    one = Transfers(
        [transfers.transfer_ids[place]],
        [transfers.debit_accounts[place]],
        [transfers.credit_accounts[place]],
        [transfers.amounts_minor[place]],
        [transfers.currencies[place]],
        [transfers.fingerprints[place]],
    )
    one.peers = None if transfers.peers is None else [transfers.peers[place]]
    one.payee_refusals, one.errors = _at(transfers.payee_refusals, place), _at(transfers.errors, place)
    one.further_legs, one.specials = _at(transfers.further_legs, place), _at(transfers.specials, place)
    return one


def _at(by_place: dict[int, T], place: int) -> dict[int, T]:
    return {0: by_place[place]} if place in by_place else {}


class Landed(NamedTuple):
    """How far a peer's crossings have landed."""

    through: int
    refused: list[tuple[int, int]]
    """Numbers and refusals that this batch decided."""
    repeated: bool
    """Whether some of the crossings had landed before; `refused` lacks those."""


class LandJob(Job[Landed]):
    """Crossings from a peer."""

    __slots__ = ("crossings",)

    def __init__(self, crossings: Crossings, deadline: float) -> None:
        super().__init__(len(crossings.transfer_ids) + len(crossings.decisions), deadline)
        self.crossings = crossings

    @property
    def is_special(self) -> bool:
        """Whether decisions on promises are among the crossings."""
        return bool(self.crossings.decisions)

    @property
    def is_plain(self) -> bool:
        """Whether there are only crossings."""
        return not self.crossings.decisions

    def promise_ids(self) -> Iterable[bytes]:
        """Return the promises that are decided."""
        return [verdict.transfer_id for verdict in self.crossings.decisions]

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the payees."""
        return (self.crossings.credit_accounts,)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peer."""
        return {(self.crossings.peer_id, currency) for currency in self.crossings.currencies}

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the crossings' ids."""
        return [*self.crossings.transfer_ids, *self.promise_ids()]

    def actors(self) -> Iterable[Actor]:
        """Return who asked on the peer."""
        return set(self.crossings.actors or ())

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the numbers of those who asked."""
        if self.crossings.actors is not None:
            self.crossings.actor_ids = list(map(actor_id, self.crossings.actors))

    def decide(self, draft: Draft) -> Landed:
        """Land."""
        peer_id, first = self.crossings.peer_id, self.crossings.first_number
        before = draft.watermarks(peer_id).landed_through
        if self.crossings.decisions:
            for run in self.crossings.runs():
                if isinstance(run, Verdict):
                    promises.settle(draft, peer_id, run)
                else:
                    posting.land(draft, run)
        else:
            posting.land(draft, self.crossings)
        through = draft.watermarks(peer_id).landed_through
        refused = [
            (number, refusal)
            for number, refuser, refusal in draft.crossings_refused
            if refuser == peer_id and before < number
        ]
        return Landed(through, refused, before >= first)


class AcknowledgeJob(Job[None]):
    """A peer's word on how far crossings have landed, and which are to be given back."""

    __slots__ = ("landed_through", "peer_id", "refused")

    def __init__(self, peer_id: int, landed_through: int, refused: Sequence[tuple[Crossing, int]]) -> None:
        super().__init__(1 + len(refused), float("inf"))
        self.peer_id = peer_id
        self.landed_through = landed_through
        self.refused = refused

    @property
    def is_plain(self) -> bool:
        """Whether nothing is to be given back."""
        return not self.refused

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the payers who get money back, and both sides of further legs."""
        further = [number for crossing, _ in self.refused for leg in crossing.further for number in leg[:2]]
        return ([crossing.debit_account for crossing, _ in self.refused], further)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the peer."""
        return {(self.peer_id, crossing.currency) for crossing, _ in self.refused}

    def decide(self, draft: Draft) -> None:
        """Acknowledge."""
        posting.acknowledge(draft, self.peer_id, self.landed_through, self.refused)


class OpenJob(Job[list[bool]]):
    """Accounts to put into the books."""

    __slots__ = ("openings",)

    def __init__(self, openings: Sequence[AccountState], deadline: float) -> None:
        super().__init__(len(openings), deadline)
        self.openings = openings

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the accounts themselves: they may be there already."""
        return ([opening.number for opening in self.openings],)

    def cap_keys(self) -> Iterable[CapKey]:
        """Return the caps of the customers: a new account counts for them too."""
        return {
            CapKey(opening.customer_number, opening.currency) for opening in self.openings if opening.customer_number
        }

    def decide(self, draft: Draft) -> list[bool]:
        """Open."""
        return posting.open_accounts(draft, self.openings)

    @property
    def opens_accounts(self) -> bool:
        """Yes."""
        return True
