"""Of several hosts the one that can be written is found, whatever the others do."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from services.chassis import postgres_hosts
from services.chassis.postgres_hosts import Host

ONE, TWO, THREE = HOSTS = [Host(name, 5432) for name in ("one", "two", "three")]


class Refused(Exception):
    pass


def nothing(answer: str) -> None:
    pytest.fail(f"{answer} was discarded")


async def silent() -> str:
    await asyncio.Event().wait()
    raise AssertionError("waited for somebody silent")


async def refusing() -> str:
    raise Refused


async def writing() -> str:
    return "connected"


def asking(answers: dict[Host, Callable[[], object]], asked: list[Host]) -> Callable[[Host], object]:
    def ask(host: Host) -> object:
        asked.append(host)
        return answers[host]()

    return ask


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://u:p@one:1,two/db", [Host("one", 1), Host("two", 5432)]),
        ("postgresql://one/db", [Host("one", 5432)]),
        ("postgresql://u@[::1]:7,two/db?application_name=x", [Host("::1", 7), Host("two", 5432)]),
        ("postgresql://u@/db?host=/run/pg&port=6", [Host("/run/pg", 6)]),
        ("postgresql://u@/db?host=one,two&port=6", [Host("one", 6), Host("two", 6)]),
        ("postgresql://u@/db?host=one,two&port=6,7", [Host("one", 6), Host("two", 7)]),
        ("postgresql:///db", []),
    ],
)
def test_a_dsn_names_hosts(dsn: str, hosts: list[Host]) -> None:
    assert postgres_hosts.hosts_of(dsn) == hosts


async def test_a_silent_host_does_not_keep_the_next_from_being_asked() -> None:
    asked: list[Host] = []
    answers = {ONE: silent, TWO: silent, THREE: writing}
    assert await postgres_hosts.first(HOSTS, asking(answers, asked), nothing) == "connected"
    assert asked == [ONE, TWO, THREE]


async def test_a_host_that_can_be_written_is_the_only_one_asked() -> None:
    asked: list[Host] = []
    answers = {ONE: writing, TWO: silent, THREE: silent}
    assert await postgres_hosts.first(HOSTS, asking(answers, asked), nothing) == "connected"
    assert asked == [ONE]


async def test_a_host_promoted_while_another_is_silent_is_found() -> None:
    turns = count(1)

    async def promoted() -> str:
        if next(turns) < 3:
            raise Refused
        return "connected"

    asked: list[Host] = []
    answers = {ONE: silent, TWO: promoted, THREE: refusing}
    assert await postgres_hosts.first(HOSTS, asking(answers, asked), nothing) == "connected"
    assert asked.count(ONE) == 1
    assert asked.count(TWO) == 3


async def test_when_all_refuse_the_first_refusal_is_told() -> None:
    asked: list[Host] = []

    async def refusing_otherwise() -> str:
        raise LookupError

    answers = {ONE: refusing, TWO: refusing_otherwise, THREE: refusing_otherwise}
    with pytest.raises(Refused):
        await postgres_hosts.first([*HOSTS, ONE], asking(answers, asked), nothing)
    assert asked == HOSTS


async def test_who_connects_too_late_is_discarded() -> None:
    begun = asyncio.Event()
    discarded: list[str] = []

    async def stubborn() -> str:
        begun.set()
        try:
            return await silent()
        except asyncio.CancelledError:
            return "late"

    async def after_it_began() -> str:
        await begun.wait()
        return "connected"

    answers = {ONE: stubborn, TWO: after_it_began}
    assert await postgres_hosts.first([ONE, TWO], asking(answers, []), discarded.append) == "connected"
    assert discarded == ["late"]


async def test_whoever_stops_waiting_leaves_nobody_asking() -> None:
    answers = dict.fromkeys(HOSTS, silent)
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(postgres_hosts.first(HOSTS, asking(answers, []), nothing), 0.05)
    assert asyncio.all_tasks() <= before
