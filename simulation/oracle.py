"""What callers asked for and were told, held against the books: nobody is told what is not so, or two things.

An intention is one id and its body, sent any number of times. The oracle sees all tables at once, which no
caller can: it knows the truth at the moment of an answer. Never here: whether the books are sound
(`checker.py`).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from services.account.moves import MoveState
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import Kind, Relation
from simulation.charges import Charges, change_id_of
from simulation.database import Database
from simulation.journal import claim
from simulation.openings import KINDS, Openings
from simulation.story import Story
from simulation.tables import Row

Leg = tuple[int, int, int, int]
"""Debit, credit, amount in minor units, currency."""


@dataclass(frozen=True)
class Answer:
    """What a caller was told, as far as it is for ever."""

    outcome: Outcome | None
    """None when the id turned out to name something else."""
    reason: str = ""


REUSED = Answer(None, "REUSED")


@dataclass(eq=False)
class Intention:
    """One thing that somebody wants, under one id."""

    kind: str
    id: bytes
    request: Any
    method: str
    legs: tuple[Leg, ...] = ()
    target: bytes = b""
    """The hold or transfer that it is about."""
    pause_seconds: float = 0.0
    """How long its caller waits before asking for it."""
    first_sent: float | None = None
    attempts: int = 0
    final: Answer | None = None
    was_in_transit: bool = False
    is_wrong: bool = False
    """Whether the door must turn it away, whatever else comes with it."""
    declined: str = ""
    """Why the door would not even ask the books: that has no outcome, and nobody needs to ask again."""
    is_in_doubt: bool = False
    """Whether some attempt may have been carried out although its answer never came."""
    under_way: int = 0
    """Attempts without an answer yet, for ever those of callers that died."""
    denied: int = 0
    """How many attempts there had been when the last said that nothing was written."""

    @property
    def is_settled(self) -> bool:
        """Whether there is no need to ask again."""
        return self.final is not None or bool(self.declined)

    @property
    def transfer(self) -> Any:
        """The transfer as it was asked for; None for what never bears a fee."""
        return self.request.transfer if self.kind in {"transfer", "capture"} else None

    @property
    def short(self) -> str:
        """Name it in the story."""
        return f"{self.kind}-{int.from_bytes(self.id) % 100_000}"


@dataclass
class Oracle:
    """Remembers every intention and judges every answer."""

    databases: dict[int, Database]
    story: Story
    charges: Charges
    by_id: dict[bytes, list[Intention]] = field(default_factory=dict)
    """Intentions by id: more than one where somebody reuses an id."""
    told: Counter[str] = field(default_factory=Counter)
    openings: Openings = field(init=False)
    opened: dict[int, float] = field(default_factory=dict)
    """When accounts were known to be open."""

    def add(self, intention: Intention) -> Intention:
        """Learn of an intention before it is first sent."""
        self.by_id.setdefault(intention.id, []).append(intention)
        return intention

    # What the books say that nobody may have asked for.

    def asked(self, _shard: int, row: Row, further: list[Row], relation: Row | None) -> None:
        """Find the intention of a row that a caller must have asked for."""
        if row["kind"] == Kind.BURIED and row["refusal"] == Refusal.REVERSED_BEFORE_ARRIVAL:
            found = [one for ones in self.by_id.values() for one in ones
                     if one.kind == "reverse" and one.target == row["transfer_id"]]  # fmt: skip
            claim(found, "an id is buried that nobody wants reversed", row)
            return
        intentions = [one for one in self.by_id.get(row["transfer_id"], ()) if one.first_sent is not None]
        claim(intentions, "something is in the books that nobody asked for", row)
        if row["kind"] == Kind.BURIED:
            return  # What a home was asked about and had never decided, or what it refused before it was promised.
        claim(any(one.denied < one.attempts for one in intentions),
              "written after a caller was told that nothing was", row)  # fmt: skip
        for refusal, side in (
            (Refusal.CREDIT_ACCOUNT_NOT_FOUND, "credit_account"),
            (Refusal.DEBIT_ACCOUNT_NOT_FOUND, "debit_account"),
        ):
            if row["refusal"] == refusal and not further:
                opened = self.opened.get(row[side], float("inf"))
                claim(any(opened > one.first_sent for one in intentions if one.first_sent is not None),
                      "an account that was there was not found", row)  # fmt: skip
        if row["refusal"] == Refusal.ORIGINAL_NOT_POSTED:
            claim(any(map(self._is_over, intentions)), "a reversal is refused for ever, too early", row)
        meant = [one for one in intentions if _is_body(one, row, further, relation)]
        claim(meant, "the books have another body", row, further, [one.legs for one in intentions])
        one = meant[0]
        assert one.first_sent is not None
        self.charges.check(one.first_sent, one.transfer, row, further, is_capture=one.kind == "capture")

    def _is_over(self, reversal: Intention) -> bool:
        """Tell whether the original of a reversal was refused or has come back."""
        truth = self.truth(reversal.target) if reversal.kind == "reverse" else None
        return truth is not None and truth[1].outcome in {Outcome.REFUSED, Outcome.RETURNED}

    # What callers are told.

    def truth(self, transfer_id: bytes) -> tuple[Row, Answer] | None:
        """Tell what an id means by all tables together."""
        found: list[tuple[Database, Row]] = []
        for database in self.databases.values():
            for row in database.tables["transfer"].by("transfer_id", transfer_id):
                if row["kind"] not in _CONSEQUENCES and not _is_news(database, row):
                    found.append((database, row))
        if not found:
            return None
        claim(len(found) == 1, "an id has outcomes on two shards", [row for _, row in found])
        database, row = found[0]
        if row["outcome"] != Outcome.IN_TRANSIT:
            reason = Refusal(row["refusal"]).name if row["refusal"] else ""
            return row, Answer(Outcome(row["outcome"]), reason)
        (crossing,) = database.tables["crossing_out"].by("sequence", row["sequence"])
        peer, number = crossing["peer_id"], crossing["number"]
        returned = database.tables["crossing_returned"].get(peer, number)
        if returned is not None:
            return row, Answer(Outcome.RETURNED, Refusal(returned["refusal"]).name)
        theirs = self.databases[peer].tables
        watermark = theirs["peer"].get(database.shard_id)
        has_landed = watermark is not None and number <= watermark["landed_through"]
        if has_landed and theirs["crossing_refused"].get(database.shard_id, number) is None:
            return row, Answer(Outcome.POSTED)
        return row, Answer(Outcome.IN_TRANSIT)

    def answered(self, intention: Intention, answer: Answer) -> None:
        """Judge an answer against the books and against earlier answers."""
        self.story.tell("told", what=intention.short, outcome=answer.outcome and answer.outcome.name,
                        reason=answer.reason)  # fmt: skip
        self.told[answer.outcome.name if answer.outcome is not None else answer.reason] += 1
        if answer.outcome == Outcome.IN_TRANSIT:
            intention.was_in_transit = True
        elif intention.final is None:
            intention.final = answer
        if intention.kind in KINDS:
            self.openings.told(intention, answer)
            return
        claim(
            answer.outcome == Outcome.IN_TRANSIT or intention.final == answer,
            "two answers to one id", intention.short, intention.final, answer,
        )  # fmt: skip
        if intention.kind in {"limits", "state"}:
            self._check_change(intention, answer)
            return
        if intention.kind == "move":
            self._check_move(intention, answer)
            return
        truth = self.truth(intention.id)
        claim(truth is not None, "an answer that the books do not know", intention.short, answer)
        assert truth is not None
        row, meaning = truth
        if answer == REUSED:
            others = [one for one in self.by_id[intention.id] if one is not intention]
            claim(others or row["kind"] == Kind.BURIED, "an id is called reused that is not", intention.short, row)
            return
        if intention.kind == "transfer":
            claim(_legs_of(row, self._further(row)) == intention.legs or row["kind"] == Kind.BURIED,
                  "an answer is about another body", intention.short, intention.legs, row)  # fmt: skip
        if answer.outcome == Outcome.IN_TRANSIT:
            claim(row["outcome"] == Outcome.IN_TRANSIT, "in transit is what never left", intention.short, row)
            claim(intention.final is None or intention.final.outcome in {Outcome.POSTED, Outcome.RETURNED},
                  "in transit after another outcome", intention.short, intention.final)  # fmt: skip
            return
        claim(meaning == answer, "a caller is told what is not so", intention.short, answer, meaning)

    def told_fee(self, intention: Intention, fee_minor: int) -> None:
        """Judge the fee that an answer names against that of the books."""
        truth = self.truth(intention.id)
        claim(truth is not None, "a fee that the books do not know", intention.short, fee_minor)
        assert truth is not None
        charged = sum(leg["amount_minor"] for leg in self._further(truth[0]) if leg["is_fee"])
        claim(fee_minor == charged, "a caller is told another fee", intention.short, fee_minor, charged)

    def _further(self, row: Row) -> list[Row]:
        for database in self.databases.values():
            if database.tables["transfer"].get(row["sequence"]) is row:
                return database.tables["further_leg"].by("transfer_sequence", row["sequence"])
        return []

    def _check_change(self, intention: Intention, answer: Answer) -> None:
        rows = self._changes(intention)
        claim(len(rows) == 1, "a change is told and not in the books", intention.short, rows)
        if answer == REUSED:
            return
        reason = Refusal(rows[0]["refusal"]).name if rows[0]["refusal"] else ""
        told = "" if answer.outcome == Outcome.POSTED else answer.reason
        claim(_worded(reason) == _worded(told), "a change was told wrong", intention.short, answer, rows[0])

    def _changes(self, intention: Intention) -> list[Row]:
        return [row for database in self.databases.values()
                for row in database.tables["account_change"].by("change_id", intention.id)]  # fmt: skip

    def _moves(self, intention: Intention) -> list[Row]:
        found = (
            database.tables["account.product_move"].get(UUID(bytes=intention.id))
            for database in self.databases.values()
        )
        return [row for row in found if row is not None]

    def _check_move(self, intention: Intention, answer: Answer) -> None:
        rows = self._moves(intention)
        claim(len(rows) == 1, "a move is told and not recorded", intention.short, rows)
        told = MoveState.DONE if answer.outcome == Outcome.POSTED else MoveState.REFUSED
        reason = Refusal(rows[0]["refusal"]).name if rows[0]["refusal"] else ""
        is_so = rows[0]["state"] == told and reason == answer.reason
        claim(is_so, "a move was told wrong", intention.short, answer, rows[0])

    def changed(self, row: Row) -> None:
        """Find the intention of a change that somebody must have asked for."""
        asked = [one for one in self.by_id.get(row["change_id"], ()) if one.first_sent is not None]
        moves = [
            each
            for each, ones in self.by_id.items()
            if ones[0].kind == "move" and change_id_of(each) == row["change_id"]
        ]
        claim(asked or moves, "an account was changed as nobody asked for", row)

    def nothing_written(self, intention: Intention) -> None:
        """Judge the claim that nothing was written, made to a caller whose attempts are all accounted for."""
        if intention.is_in_doubt or intention.under_way or intention.final is not None or intention.was_in_transit:
            return
        if len(self.by_id[intention.id]) > 1:
            return
        if intention.kind in {"limits", "state", "move", *KINDS}:
            of = {"move": self._moves} | dict.fromkeys(KINDS, self.openings.records)
            done = of.get(intention.kind, self._changes)(intention)
            claim(not done, "a caller is told that nothing was done, and it was", intention.short, done)
            if intention.kind in KINDS:
                intention.denied = intention.attempts
            return
        truth = self.truth(intention.id)
        claim(
            truth is None or truth[0]["kind"] == Kind.BURIED,
            "a caller is told that nothing was written, and it was", intention.short, truth,
        )  # fmt: skip
        intention.denied = intention.attempts

    def unresolved(self) -> list[Intention]:
        """Name the intentions whose outcome nobody has been told."""
        return [
            one for ones in self.by_id.values() for one in ones if not one.is_settled and one.first_sent is not None
        ]


_CONSEQUENCES = frozenset({Kind.RETURN, Kind.HOLD_EXPIRED, Kind.LANDING, Kind.PROMISED, Kind.KEPT, Kind.DROPPED})
"""Kinds of rows that say nothing about an id which another row does not say."""


def _is_news(database: Database, row: Row) -> bool:
    """Tell whether an id was buried only because its home, which refused it, said so."""
    return row["kind"] == Kind.BURIED and bool(database.tables["decision_landed"].by("sequence", row["sequence"]))


def _worded(reason: str) -> str:
    return "ACCOUNT_NOT_FOUND" if reason in {"DEBIT_ACCOUNT_NOT_FOUND", "CREDIT_ACCOUNT_NOT_FOUND"} else reason


def _legs_of(row: Row, further: list[Row]) -> tuple[Leg, ...]:
    """Return the legs that were asked for, without those that the bank added."""
    names = ("debit_account", "credit_account", "amount_minor", "currency")
    asked = (row, *(leg for leg in further if not leg["is_fee"]))
    return tuple((leg[names[0]], leg[names[1]], leg[names[2]], leg[names[3]]) for leg in asked)


def _is_body(intention: Intention, row: Row, further: list[Row], relation: Row | None) -> bool:
    """Tell whether a row of the books says what an intention wanted."""
    legs = _legs_of(row, further)
    target = relation["target_id"] if relation is not None else b""
    match intention.kind:
        case "transfer":
            return legs == intention.legs and not target
        case "capture":
            is_refused = row["outcome"] == Outcome.REFUSED
            return legs == intention.legs and (is_refused or target == intention.target)
        case "reverse":
            is_refused = row["outcome"] == Outcome.REFUSED
            part = intention.request.amount_minor
            is_part = part in {0, sum(leg[2] for leg in legs)}
            return is_refused or (relation is not None and relation["relation"] == Relation.REVERSES
                                  and target == intention.target and is_part)  # fmt: skip
        case "hold":
            return row["kind"] == Kind.HOLD_PLACED and legs == intention.legs
        case "increase":
            return row["kind"] == Kind.HOLD_INCREASED and legs[0][2] == intention.legs[0][2]
        case "release":
            return bool(row["kind"] == Kind.HOLD_RELEASED)
    return False
