"""Many items in few calls: each gets one answer, and what is undecided is asked again."""

import asyncio
from collections.abc import Sequence

import pytest

from services.cli import bulk
from services.cli.bulk import Done, No, Undecided
from services.domain import errors

Answer = Done[int] | No | Undecided


class Recorder:
    """Collects the recorded answers."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}

    def __call__(self, item: int, answer: Answer) -> None:
        assert item not in self.answers, "recorded twice"
        self.answers[item] = answer


async def settle(
    lanes: Sequence[Sequence[int]], send: object, recorder: Recorder, patience_seconds: float = 5.0
) -> None:
    await bulk.settle(lanes, send, recorder, weigh=lambda _: 10, patience_seconds=patience_seconds)  # type: ignore[arg-type]


async def test_every_item_gets_its_own_answer() -> None:
    async def send(items: Sequence[int]) -> list[Answer]:
        return [Done(item) if item % 2 else No("EVEN", "even") for item in items]

    recorder = Recorder()
    await settle([list(range(5_000)), list(range(5_000, 9_000))], send, recorder)
    assert recorder.answers == {item: Done(item) if item % 2 else No("EVEN", "even") for item in range(9_000)}


async def test_only_what_is_undecided_is_sent_again() -> None:
    sent: list[list[int]] = []

    async def send(items: Sequence[int]) -> list[Answer]:
        sent.append(list(items))
        return [Undecided("QUEUE_FULL", "full") if item == 2 and len(sent) < 3 else Done(item) for item in items]

    recorder = Recorder()
    await settle([[1, 2, 3]], send, recorder)
    assert sent == [[1, 2, 3], [2], [2]]
    assert set(recorder.answers) == {1, 2, 3}


async def test_a_call_whose_answer_got_lost_is_repeated_whole() -> None:
    calls = 0

    async def send(items: Sequence[int]) -> list[Answer]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise errors.OutcomeUnknown("OUTCOME_UNKNOWN", "lost")
        return [Done(item) for item in items]

    recorder = Recorder()
    await settle([[1, 2]], send, recorder)
    assert calls == 2
    assert recorder.answers == {1: Done(1), 2: Done(2)}


async def test_patience_ends_and_the_rest_is_undecided() -> None:
    async def send(items: Sequence[int]) -> list[Answer]:
        raise errors.Unavailable("SHARD_UNAVAILABLE", "away")

    recorder = Recorder()
    await settle([list(range(4_001))], send, recorder, patience_seconds=0.05)
    assert recorder.answers[0] == Undecided("SHARD_UNAVAILABLE", "away")
    assert recorder.answers[4_000] == Undecided("NOT_SENT", "not sent: the bank stopped answering before")


async def test_what_waiting_cannot_mend_ends_everything() -> None:
    async def send(items: Sequence[int]) -> list[Answer]:
        if 1 in items:
            raise errors.Forbidden("SCOPE_MISSING", "no")
        await asyncio.Event().wait()
        return []

    with pytest.raises(errors.Forbidden):
        await settle([[1], [2]], send, Recorder())


def test_items_of_one_key_stay_in_one_lane_and_in_order() -> None:
    items = [(key, place) for place in range(10) for key in "abcde"]
    lanes = bulk.deal(items, key=lambda item: item[0], lanes=2)
    assert sorted(len(lane) for lane in lanes) == [20, 30]
    for key in "abcde":
        (lane,) = [lane for lane in lanes if any(item[0] == key for item in lane)]
        assert [place for name, place in lane if name == key] == list(range(10))


def test_a_call_is_bounded_by_items_and_by_bytes() -> None:
    lane = list(range(9_000))
    assert [len(call) for call in bulk.cut(lane, lambda _: 1)] == [4_000, 4_000, 1_000]
    third = bulk.BYTES_PER_CALL // 3 + 1
    assert [len(call) for call in bulk.cut(lane[:5], lambda _: third)] == [2, 2, 1]
    assert [len(call) for call in bulk.cut(lane[:2], lambda _: bulk.BYTES_PER_CALL * 2)] == [1, 1]
    assert list(bulk.cut([], lambda _: 1)) == []
