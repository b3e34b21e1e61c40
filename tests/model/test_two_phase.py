"""Every course that a transfer over three shards can take, and none of them ends in two outcomes.

The books are the real rules, the home's conversation is the real machine; what is tried out here is
everything else, exhaustively: each message is delivered, delivered twice, late, or lost; the home dies
between any two steps, also between deciding to decide and having written it; the caller asks again;
somebody else spends the money meanwhile; participants ask what became of it at any time. In every state
that can be reached the books agree; and from every state, once nothing is lost any more, all promises end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from span_books import SpanBooks, an_id, ask_of, customer_account, span

from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import Leg
from services.ledger.coordination import TRANSITIONS, Ask, Coordination, Decide, Event, GiveUp, Stage, Step
from services.ledger.promises import PromiseAnswer
from services.ledger.spanning import Span
from services.ledger.traffic import PromiseState, Verdict

HOME, PEERS = 1, (2, 3)
A, B, C = (customer_account(shard, 1) for shard in (1, 2, 3))
RIVAL = {shard: customer_account(shard, 2) for shard in (1, 2, 3)}
ACCOUNT = {1: A, 2: B, 3: C}
BALANCE = 100
ID = an_id(1)

ATTEMPTS = 2
DUPLICATES = 1

CHAIN_BACK = span(Leg(C, B, 60, 203), Leg(B, A, 60, 203))
"""Money goes back through an account that has passed all of it on."""
THERE_AND_ROUND = span(Leg(A, B, 40, 203), Leg(B, C, 60, 203), Leg(C, A, 30, 203))


@dataclass(slots=True)
class World:
    """Three shards, what is under way between them, and what may still go wrong."""

    asked: Span
    books: dict[int, SpanBooks]
    coordination: Coordination | None = None
    deciding: Decide | None = None
    """A step that the home has decided on and not yet written."""
    requests: tuple[int, ...] = ()
    """Peers to whom a request for a promise is under way, once for each request."""
    answers: tuple[tuple[int, PromiseAnswer], ...] = ()
    attempts: int = ATTEMPTS
    duplicates: int = DUPLICATES
    rivals: tuple[int, ...] = ()
    """Shards on which somebody may still spend the money."""

    def clone(self) -> "World":
        """Return a twin that goes its own way; books are shared until one of them is written."""
        twin = World(self.asked, dict(self.books))
        if (before := self.coordination) is not None:
            twin.coordination = Coordination(before.peers, before.stage, dict(before.answers))
        twin.deciding, twin.requests, twin.answers = self.deciding, self.requests, self.answers
        twin.attempts, twin.duplicates, twin.rivals = self.attempts, self.duplicates, self.rivals
        return twin

    def writing(self, shard: int) -> SpanBooks:
        """Give a shard's books to be written: from now on they are this world's own."""
        self.books[shard] = self.books[shard].clone()
        return self.books[shard]

    def key(self) -> object:
        """Say all that matters about this state."""
        talk = self.coordination and (self.coordination.stage, tuple(sorted(self.coordination.answers.items())))
        answers = tuple(sorted(self.answers))
        return (talk, self.lasting(), answers, self.deciding, self.attempts, self.duplicates, self.rivals)

    def lasting(self) -> object:
        """Say all that matters once the home is dead and everybody else only asks what became of it."""
        return tuple(books.about(ID, HOME) for books in self.books.values()), tuple(sorted(self.requests))

    def take(self, steps: list[Step]) -> None:
        """Let what the machine wants be under way."""
        for step in steps:
            match step:
                case Ask(peer_id):
                    self.requests += (peer_id,)
                case Decide():
                    self.deciding = step
                case GiveUp():
                    self.coordination = None

    def moves(self) -> Iterator[Callable[["World"], None]]:
        """Yield everything that may happen next."""
        if self.coordination is None and self.attempts:
            yield _begin
        if self.coordination is not None:
            yield _die
            if self.deciding is not None:
                yield _write
            elif self.coordination.stage is Stage.ASKING:
                yield _time_over
        for peer_id in set(self.requests):
            yield _deliver(peer_id, is_repeated=False)
            yield _lose_request(peer_id)
            if self.duplicates:
                yield _deliver(peer_id, is_repeated=True)
        for answer in set(self.answers):
            yield _hear(answer)
        for peer_id in PEERS:
            if len(self.books[HOME].verdicts.get(peer_id, ())) > self.books[peer_id].landed_through(HOME):
                yield _land(peer_id)
            if self.books[peer_id].state_of(ID) is not None and self.coordination is None:
                yield _inquire(peer_id)
        for shard in self.rivals:
            yield _spend(shard)


def _begin(world: World) -> None:
    world.attempts -= 1
    world.coordination = Coordination(PEERS)
    world.take(world.coordination.begin())


def _die(world: World) -> None:
    world.coordination = world.deciding = None
    world.answers = ()  # They come to nobody.


def _time_over(world: World) -> None:
    assert world.coordination is not None
    world.take(world.coordination.time_over())


def _write(world: World) -> None:
    assert world.coordination is not None and world.deciding is not None
    world.writing(HOME).decide(world.asked, world.deciding.refusals, world.deciding.told)
    world.coordination.written()
    assert world.coordination.stage is Stage.DECIDED
    world.coordination = world.deciding = None


def _without(items: tuple, item: object) -> tuple:
    place = items.index(item)
    return items[:place] + items[place + 1 :]


def _deliver(peer_id: int, *, is_repeated: bool) -> Callable[[World], None]:
    def deliver(world: World) -> None:
        answer = world.writing(peer_id).promise(ask_of(world.asked, peer_id))
        if is_repeated:
            world.duplicates -= 1
        else:
            world.requests = _without(world.requests, peer_id)
        if world.coordination is not None and (peer_id, answer) not in world.answers:
            world.answers += ((peer_id, answer),)

    return deliver


def _lose_request(peer_id: int) -> Callable[[World], None]:
    def lose(world: World) -> None:
        world.requests = _without(world.requests, peer_id)

    return lose


def _hear(answer: tuple[int, PromiseAnswer]) -> Callable[[World], None]:
    """Hear an answer. That it may be lost is the time being over without it."""

    def hear(world: World) -> None:
        world.answers = _without(world.answers, answer)
        if world.coordination is not None:
            world.take(world.coordination.answered(*answer))

    return hear


def _land(peer_id: int) -> Callable[[World], None]:
    def land(world: World) -> None:
        told = world.books[HOME].verdicts[peer_id]
        peer = world.writing(peer_id)
        landed = peer.landed_through(HOME)
        for verdict in told[: landed + 1]:  # Those that have landed are sent again, as a courier may.
            peer.settle(HOME, verdict)
        assert peer.landed_through(HOME) == landed + 1

    return land


def _inquire(peer_id: int) -> Callable[[World], None]:
    def inquire(world: World) -> None:
        world.writing(HOME).tell(peer_id, ID, ACCOUNT[peer_id])

    return inquire


def _spend(shard: int) -> Callable[[World], None]:
    def spend(world: World) -> None:
        world.rivals = _without(world.rivals, shard)
        books = world.writing(shard)
        draft = books.draft()
        payer, rival = draft.state(ACCOUNT[shard]), draft.state(RIVAL[shard])
        assert payer is not None and rival is not None
        amount = payer.balance_minor - payer.held_minor
        draft.sequence += 1
        draft.move(payer, rival, amount, draft.sequence)
        books.commit(draft)

    return spend


def check(world: World) -> None:
    """Hold all shards against each other."""
    home = world.books[HOME]
    meaning = home.decisions.get(ID)
    for peer_id in PEERS:
        peer, state = world.books[peer_id], world.books[peer_id].state_of(ID)
        if state is PromiseState.KEPT:
            assert meaning is not None and meaning.outcome == Outcome.POSTED
        if state is PromiseState.DROPPED:
            assert meaning is not None and meaning.outcome == Outcome.REFUSED
        if meaning is not None and meaning.outcome == Outcome.POSTED:
            assert state in {PromiseState.OPEN, PromiseState.KEPT}, "posted without its promise"
        told = home.verdicts.get(peer_id, [])
        assert len(told) <= 1, "decided twice for one peer"
        moved = home.transit(peer_id) + peer.transit(HOME)
        is_landed = peer.landed_through(HOME) == len(told)
        posted = bool(told) and told[0].outcome == Outcome.POSTED
        due = 0 if is_landed or not posted else net(world.asked, peer_id)
        assert moved == due, "transit accounts and watermarks disagree"
    for books in world.books.values():
        assert sum(state.balance_minor for state in books.accounts.values()) == BALANCE
        for state in books.accounts.values():
            assert state.held_minor >= 0 and state.promised_minor >= 0
            assert state.balance_minor - state.held_minor >= state.floor_minor


def net(asked: Span, peer_id: int) -> int:
    """Tell what a transfer brings to a peer."""
    sides = zip(asked.legs, asked.shards, strict=True)
    return sum(leg.amount_minor * ((payee == peer_id) - (payer == peer_id)) for leg, (payer, payee) in sides)


def settle(world: World) -> None:
    """Let nothing be lost any more: promises are asked about and decisions land."""
    _die(world)
    for peer_id in PEERS:
        if world.books[peer_id].state_of(ID) is PromiseState.OPEN:
            _inquire(peer_id)(world)
        while world.books[peer_id].landed_through(HOME) < len(world.books[HOME].verdicts.get(peer_id, ())):
            _land(peer_id)(world)
    while world.requests:  # What comes too late is not promised.
        _deliver(world.requests[0], is_repeated=False)(world)
    for peer_id in PEERS:
        if world.books[peer_id].state_of(ID) is PromiseState.OPEN:
            _inquire(peer_id)(world)
            _land(peer_id)(world)
    check(world)
    states = {world.books[peer_id].state_of(ID) for peer_id in PEERS}
    assert PromiseState.OPEN not in states
    assert not {PromiseState.KEPT, PromiseState.DROPPED} <= states
    for books in world.books.values():
        assert all(not state.held_minor and not state.promised_minor for state in books.accounts.values())


@dataclass(slots=True)
class Explored:
    """What was reached."""

    states: int = 0
    ends: set[tuple[int, int]] = field(default_factory=set)
    """Outcomes and reasons at the home."""


def explore(world: World) -> Explored:
    """Try everything that may happen, from every state that is reached."""
    found = Explored()
    seen, waiting = {world.key()}, [world]
    settled = set()  # Worlds that differ in nothing lasting settle in the same way.
    while waiting:
        here = waiting.pop()
        found.states += 1
        check(here)
        meaning = here.books[HOME].decisions.get(ID)
        if meaning is not None:
            found.ends.add((meaning.outcome, meaning.refusal))
        if here.lasting() not in settled:
            settled.add(here.lasting())
            settle(here.clone())
        for move in here.moves():
            there = here.clone()
            move(there)
            key = there.key()
            if key not in seen:
                seen.add(key)
                waiting.append(there)
    return found


def a_world(*rivals: int, asked: Span = THERE_AND_ROUND, **balances: int) -> World:
    """Open three shards with a customer and a rival on each."""
    books = {shard: SpanBooks(shard) for shard in (1, 2, 3)}
    for shard, ledger in books.items():
        balance = balances.get(f"on_{shard}", BALANCE)
        ledger.add(ACCOUNT[shard], balance)
        ledger.add(RIVAL[shard], BALANCE - balance)
    return World(asked, books, rivals=rivals)


POSTED, TIMED_OUT = (Outcome.POSTED, 0), (Outcome.REFUSED, Refusal.PROMISE_TIMED_OUT)
TOO_POOR = (Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS)


@pytest.mark.parametrize(
    ("world", "ends"),
    [
        (a_world(), {POSTED, TIMED_OUT}),
        (a_world(on_2=10), {TOO_POOR, TIMED_OUT}),
        (a_world(on_1=10, on_2=10), {TOO_POOR, TIMED_OUT}),
        (a_world(2), {POSTED, TOO_POOR, TIMED_OUT}),
        (a_world(1), {POSTED, TOO_POOR, TIMED_OUT}),
        (a_world(asked=CHAIN_BACK, on_2=0), {POSTED, TIMED_OUT}),
        (a_world(3, asked=CHAIN_BACK, on_2=0), {POSTED, TOO_POOR, TIMED_OUT}),
    ],
    ids=[
        "enough money",
        "too little on one",
        "too little at home",
        "spent on one",
        "spent at home",
        "passed on",
        "passed on and spent",
    ],
)
def test_every_course_ends_in_one_outcome(world: World, ends: set[tuple[int, int]]) -> None:
    found = explore(world)
    assert found.ends == ends
    assert found.states > 1_000


def test_every_transition_of_the_machine_is_taken_and_no_other_is_there() -> None:
    taken = set()

    class Watched(Coordination):
        def _go(self, event: Event) -> None:
            taken.add((self.stage, event))
            super()._go(event)

    promised, refused = PromiseAnswer(0), PromiseAnswer(Refusal.INSUFFICIENT_FUNDS, 1)
    for answers in ([], [promised], [refused], [promised, promised], [promised, refused]):
        machine = Watched(PEERS)
        steps = machine.begin()
        assert steps == [Ask(2), Ask(3)]
        for peer_id, answer in zip(PEERS, answers, strict=False):
            steps = machine.answered(peer_id, answer)
            assert machine.answered(peer_id, refused) == []
        steps = steps if len(answers) == len(PEERS) else machine.time_over()
        assert machine.time_over() == []
        if machine.stage is Stage.DECIDING:
            refusals = tuple((answer.place, answer.refusal) for answer in answers if answer.refusal)
            told = tuple(peer for peer, answer in zip(PEERS, [*answers, promised], strict=False) if not answer.refusal)
            assert steps == [Decide(refusals, told)]
            assert machine.written() == []
        else:
            assert steps == [GiveUp(PEERS[len(answers) :])]
    assert taken == TRANSITIONS.keys()


_HERE = (B, RIVAL[2])


@given(
    st.lists(st.tuples(st.sampled_from([B, RIVAL[2], A]), st.sampled_from([B, RIVAL[2], C]), st.integers(1, 90))),
    st.booleans(),
    st.integers(0, 90),
)
def test_a_part_is_promised_when_its_legs_could_follow_one_another(
    moves: list[tuple[int, int, int]], is_kept: bool, balance: int
) -> None:
    legs = [Leg(payer, payee, amount, 203) for payer, payee, amount in moves if payer != payee]
    asked = span(*legs, Leg(A, B, 1, 203))
    books = SpanBooks(2)
    for number in _HERE:
        books.add(number, balance)
    free = {number: [balance] for number in _HERE}
    for payer, payee, amount, _, _ in asked.legs:
        for number, change in ((payer, -amount), (payee, amount)):
            if number in free:
                free[number].append(free[number][-1] + change)
    answer = books.promise(ask_of(asked, 2))
    assert bool(answer.refusal) == any(min(after) < 0 for after in free.values())
    if not answer.refusal:
        assert [books.accounts[number].held_minor for number in _HERE] == [
            balance - min(after) for after in free.values()
        ]
        outcome = Outcome.POSTED if is_kept else Outcome.REFUSED
        books.settle(1, Verdict(1, ID, outcome, 0 if is_kept else 90, "", books.draft().business_date, B))
        for number, after in free.items():
            state = books.accounts[number]
            assert (state.balance_minor, state.held_minor) == (after[-1] if is_kept else balance, 0)
