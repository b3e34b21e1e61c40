"""The calls of an overload's phase: each is written down once for every attempt, and sorted by what is in the books."""

import asyncio
from collections.abc import Awaitable

import pytest

from loadtest.client import DONE, ERROR, UNKNOWN, Outcome
from loadtest.overload import sending
from loadtest.overload.report import Phase
from loadtest.overload.sending import Door, Drawn, Sending

CALL: Drawn = ("begun", [("payer", "payee", 1), ("payer", "payee", 2)])
FULL = Outcome(ERROR, "QUEUE_FULL")
LOST = Outcome(UNKNOWN)
FUNDS = Outcome("refused", "INSUFFICIENT_FUNDS")


class Bank:
    """Answers each request with the next of its answers, when it may."""

    def __init__(self, *answers: list[Outcome]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def post(self, request: bytes, count: int) -> list[Outcome]:
        self.requests.append(request)
        assert count == len(CALL[1])
        await self.may_answer.wait()
        return self.answers.pop(0)


def begin(bank: Bank, retries: int = 0, seconds: float = 60.0) -> tuple[Phase, Sending]:
    phase = Phase("test", 1.0, seconds)
    return phase, Sending(Door((), bank.post), phase, retries)


async def ended(work: Awaitable[None]) -> None:
    async with asyncio.timeout(5):
        await work


@pytest.mark.parametrize(
    ("answers", "attempts", "told", "undecided"),
    [
        ([[DONE, DONE]], 1, 1, 0),
        ([[DONE, FUNDS]], 1, 1, 0),
        ([[FULL, DONE]], 1, 1, 0),
        ([[LOST, LOST]], 1, 0, 1),
        ([[DONE, LOST]], 1, 0, 1),
        ([[FULL, FULL], [DONE, DONE]], 2, 1, 0),
        ([[FULL, FULL], [FULL, DONE]], 2, 1, 0),
        ([[FULL, FULL], [FULL, FULL], [FULL, FULL]], 3, 0, 0),
        ([[FULL, Outcome(ERROR, "PEER_UNREACHABLE")], [LOST, LOST]], 2, 0, 1),
    ],
)
async def test_a_call_that_is_refused_as_a_whole_is_sent_again_and_no_other(
    answers: list[list[Outcome]], attempts: int, told: int, undecided: int
) -> None:
    bank = Bank(*answers)
    phase, sent = begin(bank, retries=2)
    sent.send(CALL, b"request", 0.0)
    await ended(sent.rest())
    assert bank.requests == [b"request"] * attempts
    assert phase.attempts == attempts
    assert [call.outcomes for call in phase.answered] == answers
    assert [outcomes for _, outcomes in sent.told] == answers[-1:] * told
    assert sent.undecided == [CALL] * undecided


async def test_nobody_tries_again_after_the_phase_is_over() -> None:
    bank = Bank([FULL, FULL])
    phase, sent = begin(bank, retries=2, seconds=-1.0)
    sent.send(CALL, b"request", 0.0)
    await ended(sent.rest())
    assert (phase.attempts, sent.told, sent.undecided) == (1, [], [])


async def test_a_call_is_in_flight_until_its_answer_comes_and_times_do_not_depend_on_who_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(sending.time, "monotonic", lambda: now)
    bank = Bank([DONE, DONE])
    bank.may_answer.clear()
    phase, sent = begin(bank)
    now = 101.0
    sent.send(CALL, b"request", 0.75)
    await asyncio.sleep(0)
    sent.look_at_answers()
    assert (sent.in_flight, phase.answered) == (1, [])
    now = 103.0
    bank.may_answer.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (sent.in_flight, phase.answered) == (0, [])
    now = 109.0
    sent.look_at_answers()
    (call,) = phase.answered
    assert (call.due, call.at, call.late_seconds, call.seconds) == (0.75, 3.0, 0.25, 2.0)


async def test_what_breaks_a_call_ends_the_run() -> None:
    async def broken(_request: bytes, _count: int) -> list[Outcome]:
        raise ZeroDivisionError

    sent = Sending(Door((), broken), Phase("test", 1.0, 60.0), 0)
    sent.send(CALL, b"request", 0.0)
    with pytest.raises(ZeroDivisionError):
        await ended(sent.rest())
