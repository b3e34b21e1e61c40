"""A memory that may forget: never more than it may hold, never an old value for a new one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.bounded import Bounded, Recent

steps = st.lists(st.tuples(st.sampled_from(["get", "put"]), st.sets(st.integers(0, 9), min_size=1, max_size=4)))


@pytest.mark.parametrize("kind", [Bounded, Recent])
@given(size=st.integers(1, 8), taken=steps)
def test_what_is_remembered_is_what_was_said_last(
    kind: type[Bounded[int, int] | Recent[int, int]], size: int, taken: list[tuple[str, set[int]]]
) -> None:
    memory = kind(size)
    said: dict[int, int] = {}
    for time, (what, keys) in enumerate(taken, start=1):
        if what == "put":
            fresh = dict.fromkeys(keys, time)
            said |= fresh
            memory.update(fresh)
            assert all(memory.get(key) == time for key in keys)
        else:
            assert all(memory.get(key) in {None, said.get(key)} for key in keys)
            assert memory.pick(list(keys)) == [memory.get(key) for key in keys]


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


@given(size=st.integers(1, 300), taken=st.lists(st.lists(st.integers(0, 500), max_size=40, unique=True)))
def test_the_oldest_goes_first_and_hardly_any_room_is_wasted(size: int, taken: list[list[int]]) -> None:
    memory: Recent[int, int] = Recent(size)
    by_age: dict[int, None] = {}
    was_full = False
    for keys in taken:
        for key in keys:
            by_age.pop(key, None)
            by_age[key] = None
        memory.update(dict.fromkeys(keys, 1))
        was_full |= len(by_age) > size
        assert len(memory) <= max(size, len(keys))
        if not was_full:
            assert len(memory) == len(by_age)
        assert len(memory) >= min(len(by_age), size) - size // 64


def test_what_was_put_in_lately_stays() -> None:
    memory: Recent[int, int] = Recent(100)
    memory.update({key: key for key in range(100)})
    memory.update({key: key for key in range(50)})
    memory.update({200: 200})
    assert [key for key in range(100) if memory.get(key) is None] == [50, 51]
    assert memory.get(200) == 200
