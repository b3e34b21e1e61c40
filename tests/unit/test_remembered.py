"""What a writer remembers of accounts is what was taken in last, whatever there is to say, and changes with nothing else."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import limits
from services.ledger.books import AccountState, Allowance, Restriction, Spent
from services.ledger.remembered import Remembered

SAID = tuple(slot for slot in AccountState.__slots__ if slot != "row")
MOST = limits.BALANCE_MINOR_MAX

minor = st.integers(-MOST, MOST)
plain = st.builds(
    AccountState,
    number=st.just(1),
    currency=st.integers(1, 999),
    floor_minor=minor,
    restrictions=st.integers(0, int(sum(Restriction))),
    version=st.integers(0, limits.INT64_MAX),
    balance_minor=minor,
    held_minor=st.integers(0, MOST),
    customer_number=st.integers(0, limits.INT64_MAX),
)


def opened(number: int, *, is_capped: bool = False) -> AccountState:
    return AccountState(number, 203, 0, is_capped=is_capped)


def said(state: AccountState | None) -> tuple[object, ...] | None:
    return None if state is None else tuple(getattr(state, slot) for slot in SAID)


@st.composite
def states(draw: st.DrawFn) -> AccountState:
    """Draw a state, half of them with something that few accounts have."""
    state = draw(plain)
    state.allowance = draw(st.sampled_from([None, None, Allowance(), Allowance(1, 2, 3, 4)]))
    state.spent = draw(st.sampled_from([None, None, Spent(), Spent(20_000, 5, 1)]))
    state.is_capped = draw(st.sampled_from([False, False, True]))
    state.promised_minor = draw(st.sampled_from([0, 0, 7]))
    return state


@given(st.lists(states(), min_size=1, max_size=5))
def test_an_account_is_given_as_it_was_taken_in(versions: list[AccountState]) -> None:
    memory = Remembered(10)
    for state in versions:
        before = memory.get(1)
        state.row = None if before is None else before.row
        memory.update({1: state})
        assert said(memory.get(1)) == said(state)
        assert len(memory) == 1 and 1 in memory


@given(states())
def test_what_is_given_is_the_callers_own(state: AccountState) -> None:
    memory = Remembered(10)
    memory.update({1: state})
    as_taken = said(state)
    given_one, given_two = memory.pick([1])[1], memory.get(1)
    for changed in (state, given_one):
        changed.balance_minor, changed.version, changed.promised_minor = 3, 4, 5
    assert said(memory.get(1)) == said(given_two) == as_taken


def test_what_is_not_remembered_is_left_out() -> None:
    memory = Remembered(10)
    memory.update({1: opened(1), 2: opened(2, is_capped=True)})
    assert memory.pick([3, 1, 2]).keys() == {1, 2}
    assert memory.pick([]) == memory.pick([3]) == {}
    assert memory.get(3) is None and 3 not in memory


@pytest.mark.parametrize("is_capped", [False, True])
def test_what_was_taken_in_again_is_not_forgotten_before_what_was_not(is_capped: bool) -> None:
    memory = Remembered(3)
    for number in (1, 2, 3):
        memory.update({number: opened(number, is_capped=is_capped)})
    (again,) = memory.pick([1]).values()
    memory.update({1: again, 4: opened(4)})
    assert memory.pick([1, 2, 3, 4]).keys() == {1, 3, 4}


class Books:
    """Accounts in tables and in memory, a batch that is being written, and the next one on top of it."""

    def __init__(self, room: int) -> None:
        self.tables: dict[int, AccountState] = {}
        self.memory = Remembered(room)
        self.below: dict[int, AccountState] = {}

    def draft(self, numbers: Iterable[int]) -> dict[int, AccountState]:
        """Read accounts as the batch that is being written will leave them, and change them."""
        wanted = set(numbers) - self.below.keys()
        loaded = {number: self.loaded(number) for number in wanted if number not in self.memory}
        self.memory.update(loaded)
        draft = self.memory.pick(list(wanted))
        draft |= {number: self.below[number].copy() for number in numbers if number in self.below}
        for state in draft.values():
            state.version += 1
            state.spent = Spent() if state.version % 5 == 0 else None
        return draft

    def loaded(self, number: int) -> AccountState:
        if number not in self.tables:
            return opened(number)
        state = self.tables[number].copy()
        state.row = None
        return state

    def commit(self) -> None:
        self.tables |= {number: state.copy() for number, state in self.below.items()}
        self.memory.update(self.below)


batches = st.lists(st.tuples(st.sets(st.integers(1, 9), min_size=1, max_size=4), st.booleans()), max_size=30)


@given(room=st.integers(1, 8), asked=batches)
def test_memory_never_says_what_the_tables_do_not(room: int, asked: list[tuple[set[int], bool]]) -> None:
    books = Books(room)
    for numbers, is_dropped in asked:
        draft = books.draft(numbers)
        books.commit()
        if is_dropped:  # What was decided ahead is decided again.
            books.below = {}
            draft = books.draft(numbers)
        assert all(state.version == books.loaded(number).version + 1 for number, state in draft.items())
        books.below = draft
        for number in books.tables:
            if number in books.memory:
                assert said(books.memory.get(number)) == said(books.tables[number])
        assert len(books.memory) <= max(room, 4)
