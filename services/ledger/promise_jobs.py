"""Jobs of transfers over several shards: promise a part, decide the whole, rehearse both, tell what was decided.

What a job is stands in `jobs.py`. Never here: when it is decided (`batching.py`), who asks for it
(`coordinator.py`).
"""

from collections.abc import Callable, Iterable, Sequence

from services.ledger import promises, spanning
from services.ledger.books import Actor
from services.ledger.draft import Draft
from services.ledger.jobs import Job
from services.ledger.promises import PromiseAnswer, PromiseAsked
from services.ledger.spanning import Answered, Span, Told


class PromiseJob(Job[PromiseAnswer]):
    """A part to promise."""

    __slots__ = ("_actor", "_actor_id", "_asked")

    def __init__(self, asked: PromiseAsked, actor: Actor, deadline: float) -> None:
        super().__init__(len(asked.legs), deadline)
        self._asked = asked
        self._actor = actor
        self._actor_id = 0

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the sides that lie here."""
        return (list(spanning.accounts_here(self._asked.legs)),)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of the home."""
        return spanning.transits_here(self._asked.legs)

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the id."""
        return (self._asked.transfer_id,)

    def passed_over_ids(self) -> Sequence[bytes]:
        """Return the id: a refused part writes nothing, so no index would tell that the id is taken."""
        return self.transfer_ids()

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return (self._actor,)

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the number of who asks."""
        self._actor_id = actor_id(self._actor)

    def decide(self, draft: Draft) -> PromiseAnswer:
        """Promise."""
        return promises.promise(draft, self._asked, self._actor_id)


class RehearsePromiseJob(PromiseJob):
    """A part to judge, without promising it."""

    __slots__ = ()

    def actors(self) -> Iterable[Actor]:
        """Return nobody: whoever only asks is not written down."""
        return ()

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn nothing."""

    def decide(self, draft: Draft) -> PromiseAnswer:
        """Promise on a draft that is dropped."""
        return super().decide(draft.aside())


class DecideJob(Job[Answered | None]):
    """A transfer over several shards to decide, now that the others have answered."""

    __slots__ = ("_actor", "_actor_id", "_refusals", "_span", "_told")

    def __init__(
        self,
        span: Span,
        refusals: Sequence[tuple[int, int]],
        told: Sequence[int],
        actor: Actor | None,
        deadline: float,
    ) -> None:
        super().__init__(len(span.legs), deadline)
        self._span = span
        self._refusals = refusals
        self._told = told
        self._actor = actor
        self._actor_id = 0

    @property
    def is_special(self) -> bool:
        """Whether it is a reversal."""
        return self._span.special.original_id is not None

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the sides that lie here."""
        return (list(spanning.accounts_here(self._span.share(self._span.home_id))),)

    def transits(self) -> Iterable[tuple[int, int]]:
        """Return those of all who take part."""
        return spanning.transits_here(self._span.share(self._span.home_id))

    def original_ids(self) -> Iterable[bytes]:
        """Return the transfer to be reversed."""
        return () if self._span.special.original_id is None else (self._span.special.original_id,)

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the id."""
        return (self._span.transfer_id,)

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return () if self._actor is None else (self._actor,)

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the number of who asks."""
        self._actor_id = 0 if self._actor is None else actor_id(self._actor)

    def decide(self, draft: Draft) -> Answered | None:
        """Decide."""
        return spanning.decide(draft, self._span, self._refusals, self._told, self._actor_id)


class RehearseDecideJob(DecideJob):
    """A transfer over several shards to judge, now that the others have told what they would answer."""

    __slots__ = ()

    def decide(self, draft: Draft) -> Answered | None:
        """Decide on a draft that is dropped."""
        return super().decide(draft.aside())


class TellJob(Job[None]):
    """Ids about which a peer asks, because it has waited for long."""

    __slots__ = ("_asked", "_peer_id")

    def __init__(self, peer_id: int, asked: Sequence[Told], deadline: float) -> None:
        super().__init__(len(asked), deadline)
        self._peer_id = peer_id
        self._asked = asked

    @property
    def is_special(self) -> bool:
        """Whether deciding needs what was told before."""
        return True

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return nothing: no account is concerned."""
        return ()

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the ids."""
        return [one.transfer_id for one in self._asked]

    def passed_over_ids(self) -> Sequence[bytes]:
        """Return the ids: what they mean is not to be guessed."""
        return self.transfer_ids()

    def told_keys(self) -> Iterable[tuple[bytes, int]]:
        """Return ids and peer."""
        return [(one.transfer_id, self._peer_id) for one in self._asked]

    def decide(self, draft: Draft) -> None:
        """Tell."""
        spanning.tell(draft, self._peer_id, self._asked)
