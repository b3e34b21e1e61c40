"""A request's name: taken when it is well formed, minted at the door, carried on, never grown without bound."""

import contextvars

import pytest

from services.chassis import requests


@pytest.fixture(autouse=True)
def _own_context() -> None:
    requests.become(())


def begun(value: object, *, mints: bool = False) -> str:
    requests.begin([("user-agent", "x"), (requests.METADATA_KEY, value)], mints=mints)
    return requests.current()


@pytest.mark.parametrize("name", ["a", "req-7", "0af7651916cd43dd8448eb211c80319c", "a.b_c:d/e+f=,g", "x" * 640])
def test_a_well_formed_name_is_taken_as_it_is(name: str) -> None:
    assert begun(name) == name


@pytest.mark.parametrize("name", ["", " ", "a b", 'a"b', "a\nb", "a{b}", "x" * 641, "č", b"bytes"])
def test_another_is_not_let_into_a_log(name: object) -> None:
    assert begun(name) == ""


def test_the_door_names_what_comes_without_a_name() -> None:
    requests.begin(None, mints=True)
    first = requests.current()
    assert begun("not well formed", mints=True) != first
    assert len(first) == 32


def test_a_call_carries_the_name_on() -> None:
    assert requests.outgoing() is None
    begun("req-7")
    assert requests.outgoing() == ((requests.METADATA_KEY, "req-7"),)


def test_a_shared_call_carries_each_name_once_and_not_too_many() -> None:
    requests.become(["b", "a", "b", ""])
    assert requests.current() == "b,a"
    requests.become(str(number) for number in range(1_000))
    assert requests.current().count(",") == requests.NAMES_CARRIED_MAX - 1


def test_full_length_names_of_a_shared_call_are_accepted_by_the_next_service() -> None:
    requests.become(f"{number:036d}" for number in range(requests.NAMES_CARRIED_MAX))
    carried = requests.current()
    assert begun(carried) == carried


def test_another_request_has_its_own_name() -> None:
    begun("req-7")
    assert contextvars.Context().run(requests.current) == ""
