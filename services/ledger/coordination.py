"""How a home brings the shards of one transfer to one outcome: a state machine without I/O.

    ASKING --- all have answered -------------------------------> DECIDING --- written ---> DECIDED
      |------- time is over, and somebody refused -----------------^
      `------- time is over, and nobody has ---> GIVEN UP

The home asks every participant for its promise at the same time and decides when all have answered, so
that the refusal given is that of the first leg that fails, whoever answers first. When time is over, a
refusal at hand is enough to refuse; without one nothing is decided: the caller may send the same id
again, which finds the promises made, or the participants ask and the home refuses for ever what it
never decided (presumed abort). Nothing of this is kept: a home that dies while ASKING has decided
nothing, and one that dies after DECIDED has its decisions in its books, numbered and waiting.

What performs the steps is `coordinator.py`; what a promise or a decision is, `promises.py` and
`spanning.py`. Never here: messages, queues, clocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from services.ledger.promises import PromiseAnswer


class Stage(Enum):
    """Where one transfer is."""

    ASKING = "asking"
    DECIDING = "deciding"
    DECIDED = "decided"
    GIVEN_UP = "given up"


class Event(Enum):
    """What may happen to it."""

    ANSWERED = "answered"
    """A participant answered, others are still out."""
    ALL_ANSWERED = "all answered"
    TIME_OVER = "time over"
    TIME_OVER_REFUSED = "time over, refused"
    """Time is over, and a refusal is at hand."""
    WRITTEN = "written"
    """The outcome stands in the books."""


TRANSITIONS: Final[dict[tuple[Stage, Event], Stage]] = {
    (Stage.ASKING, Event.ANSWERED): Stage.ASKING,
    (Stage.ASKING, Event.ALL_ANSWERED): Stage.DECIDING,
    (Stage.ASKING, Event.TIME_OVER): Stage.GIVEN_UP,
    (Stage.ASKING, Event.TIME_OVER_REFUSED): Stage.DECIDING,
    (Stage.DECIDING, Event.WRITTEN): Stage.DECIDED,
}
"""What is not here cannot happen, except that answers which come too late change nothing."""


class Ask(NamedTuple):
    """Step: ask a participant for its promise."""

    peer_id: int


class Decide(NamedTuple):
    """Step: write the outcome, and a decision for those who are to be told."""

    refusals: tuple[tuple[int, int], ...]
    """(leg, reason); none means that all have promised."""
    told: tuple[int, ...]
    """Participants that may have promised."""


class GiveUp(NamedTuple):
    """Step: leave it undecided; `missing` have not answered."""

    missing: tuple[int, ...]


Step = Ask | Decide | GiveUp


@dataclass(slots=True)
class Coordination:
    """One transfer, from asking to its outcome. Methods return the steps that follow."""

    peers: tuple[int, ...]
    stage: Stage = Stage.ASKING
    answers: dict[int, PromiseAnswer] = field(default_factory=dict)

    def begin(self) -> list[Step]:
        """Ask everybody."""
        assert self.peers and self.stage is Stage.ASKING
        return [Ask(peer_id) for peer_id in self.peers]

    def answered(self, peer_id: int, answer: PromiseAnswer) -> list[Step]:
        """Take a participant's answer; a second one, or one that comes too late, changes nothing."""
        if self.stage is not Stage.ASKING or peer_id in self.answers:
            return []
        self.answers[peer_id] = answer
        self._go(Event.ANSWERED if self._missing() else Event.ALL_ANSWERED)
        return self._decision()

    def time_over(self) -> list[Step]:
        """Wait no longer."""
        if self.stage is not Stage.ASKING:
            return []
        self._go(Event.TIME_OVER_REFUSED if self._refusals() else Event.TIME_OVER)
        return self._decision() or [GiveUp(self._missing())]

    def written(self) -> list[Step]:
        """Learn that the outcome stands in the books."""
        self._go(Event.WRITTEN)
        return []

    def _go(self, event: Event) -> None:
        self.stage = TRANSITIONS[self.stage, event]

    def _decision(self) -> list[Step]:
        if self.stage is not Stage.DECIDING:
            return []
        told = tuple(peer for peer in self.peers if peer not in self.answers or not self.answers[peer].refusal)
        return [Decide(self._refusals(), told)]

    def _missing(self) -> tuple[int, ...]:
        return tuple(peer for peer in self.peers if peer not in self.answers)

    def _refusals(self) -> tuple[tuple[int, int], ...]:
        return tuple(_refusals(self.answers.values()))


def _refusals(answers: Iterable[PromiseAnswer]) -> Iterable[tuple[int, int]]:
    return ((answer.place, answer.refusal) for answer in answers if answer.refusal)
