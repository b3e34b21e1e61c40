"""A memory that may forget: never more than it may hold, never an old value for a new one."""

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.bounded import Bounded

steps = st.lists(st.tuples(st.sampled_from(["get", "put"]), st.sets(st.integers(0, 9), min_size=1, max_size=4)))


@given(st.integers(1, 8), steps)
def test_what_is_remembered_is_what_was_said_last(size: int, taken: list[tuple[str, set[int]]]) -> None:
    memory: Bounded[int, int] = Bounded(size)
    said: dict[int, int] = {}
    for time, (what, keys) in enumerate(taken, start=1):
        if what == "put":
            fresh = dict.fromkeys(keys, time)
            said |= fresh
            memory.update(fresh)
            assert all(memory.get(key) == time for key in keys)
        else:
            assert all(memory.get(key) in {None, said.get(key)} for key in keys)


def test_it_forgets_the_half_that_was_not_used_lately() -> None:
    memory: Bounded[int, str] = Bounded(4)
    memory.update({1: "a", 2: "b", 3: "c"})
    assert memory.get(1) == "a"
    memory.update({4: "d", 5: "e"})
    assert [memory.get(key) for key in (1, 2, 3, 4, 5)] == ["a", None, None, "d", "e"]


def test_what_is_put_in_at_once_is_all_there_afterwards() -> None:
    # The writer relies on it: a batch larger than half of the room can still be decided.
    memory: Bounded[int, int] = Bounded(2)
    memory.update({1: 1})
    memory.update({key: key for key in range(2, 9)})
    assert all(memory.get(key) == key for key in range(2, 9))
    assert len(memory) >= 7
