"""Concurrent calls share one call to a ledger, and each gets its own answer, or the reason why not."""

import asyncio
from collections.abc import Sequence

import pytest

from services.domain import errors
from services.domain.errors import BankError
from services.gateway import coalescing
from services.gateway.coalescing import CALL_SECONDS_WANTED, CALLS_IN_FLIGHT_MIN, Bounds, Coalescer

LATE = errors.OutcomeUnknown("OUTCOME_UNKNOWN", "no answer came")
FAR = 60.0


class Ledger:
    """What the coalescer sends to: every call waits until the test answers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, list[str], float]] = []
        self.answers: list[asyncio.Future[Sequence[str | BankError]]] = []

    async def send(self, shard_id: int, loads: list[str], deadline: float) -> Sequence[str | BankError]:
        answer: asyncio.Future[Sequence[str | BankError]] = asyncio.get_running_loop().create_future()
        self.calls.append((shard_id, loads, deadline))
        self.answers.append(answer)
        return await answer

    @property
    def loads(self) -> list[list[str]]:
        return [loads for _, loads, _ in self.calls]

    def answer(self, call: int) -> None:
        """Answer every load of a call with itself, in capitals."""
        self.answers[call].set_result([load.upper() for load in self.loads[call]])


async def _settled() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A coalescer, the ledger behind it and the callers before it."""

    def __init__(
        self, *, queued: int = 100, together: int = 10, full: int = 4, in_flight: int = 1, patience: float = FAR
    ) -> None:
        self.ledger = Ledger()
        self.coalescer: Coalescer[str, str] = Coalescer(
            "Test", self.ledger.send, Bounds(queued, together, full, in_flight, patience), lambda: LATE
        )

    def submit(
        self, load: str, *, shard: int = 1, lane: int = 1, size: int = 1, seconds: float = FAR
    ) -> asyncio.Task[str]:
        deadline = asyncio.get_running_loop().time() + seconds
        return asyncio.create_task(self.coalescer.submit(shard, lane, load, size, deadline))


async def _reason(caller: asyncio.Task[str]) -> str:
    with pytest.raises(BankError) as raised:
        await caller
    return raised.value.reason


async def test_a_single_call_leaves_at_once() -> None:
    bench = Bench()
    caller = bench.submit("a")
    await _settled()
    assert bench.ledger.loads == [["a"]]
    bench.ledger.answer(0)
    assert await caller == "A"


async def test_what_arrives_in_one_turn_of_the_loop_leaves_together() -> None:
    bench = Bench(full=1, in_flight=4)
    callers = [bench.submit(load) for load in "abc"]
    await _settled()
    assert bench.ledger.loads == [["a", "b", "c"]]
    bench.ledger.answer(0)
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_what_arrives_while_a_call_is_in_flight_leaves_together_when_it_is_answered() -> None:
    bench = Bench()
    first = bench.submit("a")
    await _settled()
    others = []
    for load in "bcd":
        others.append(bench.submit(load))
        await _settled()
    assert bench.ledger.loads == [["a"]]
    bench.ledger.answer(0)
    await _settled()
    assert bench.ledger.loads == [["a"], ["b", "c", "d"]]
    bench.ledger.answer(1)
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]


async def test_what_fills_a_call_leaves_while_another_is_under_way_but_no_more_than_a_few_do() -> None:
    bench = Bench(full=2, in_flight=2)
    callers = []
    for load in "abcde":
        callers.append(bench.submit(load))
        await _settled()
    assert bench.ledger.loads == [["a"], ["b", "c"]]
    bench.ledger.answer(1)
    await _settled()
    assert bench.ledger.loads == [["a"], ["b", "c"], ["d", "e"]]
    bench.ledger.answer(0)
    bench.ledger.answer(2)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D", "E"]


async def test_what_does_not_fill_a_call_waits_for_the_last_one_under_way() -> None:
    bench = Bench(full=2, in_flight=9)
    callers = [bench.submit("a")]
    await _settled()
    callers.append(bench.submit("b", size=2))
    await _settled()
    callers.append(bench.submit("c"))
    await _settled()
    bench.ledger.answer(0)
    await _settled()
    assert bench.ledger.loads == [["a"], ["b"]]
    bench.ledger.answer(1)
    await _settled()
    assert bench.ledger.loads == [["a"], ["b"], ["c"]]
    bench.ledger.answer(2)
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_lanes_and_shards_do_not_wait_for_each_other() -> None:
    bench = Bench()
    callers = [
        bench.submit("a", shard=1, lane=1),
        bench.submit("b", shard=1, lane=2),
        bench.submit("c", shard=2, lane=1),
    ]
    await _settled()
    assert [(shard_id, loads) for shard_id, loads, _ in bench.ledger.calls] == [(1, ["a"]), (1, ["b"]), (2, ["c"])]
    for call in range(3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_a_call_is_bounded_and_a_single_larger_load_travels_alone() -> None:
    bench = Bench(together=10, full=1, in_flight=10)
    callers = [bench.submit("a", size=6), bench.submit("b", size=4), bench.submit("c", size=50), bench.submit("d")]
    await _settled()
    assert bench.ledger.loads == [["a", "b"], ["c"], ["d"]]
    for call in range(3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]


async def test_the_deadline_of_a_shared_call_is_its_latest_callers() -> None:
    bench = Bench()
    now = asyncio.get_running_loop().time()
    callers = [bench.submit("a", seconds=5), bench.submit("b", seconds=50), bench.submit("c", seconds=20)]
    await _settled()
    ((_, _, deadline),) = bench.ledger.calls
    assert now + 50 <= deadline < now + 51
    bench.ledger.answer(0)
    await asyncio.gather(*callers)


async def test_a_full_queue_refuses_at_once_with_a_retry_hint_and_takes_again_when_it_empties() -> None:
    bench = Bench(queued=2)
    first = bench.submit("a")
    await _settled()
    waiting = [bench.submit("b"), bench.submit("c", lane=1)]
    await _settled()
    with pytest.raises(errors.Overloaded) as refused:
        await bench.submit("d")
    assert refused.value.reason == "QUEUE_FULL"
    assert refused.value.retry_after_seconds > 0
    bench.ledger.answer(0)
    await _settled()
    later = bench.submit("e")
    await _settled()
    bench.ledger.answer(1)
    await _settled()
    bench.ledger.answer(2)
    assert await asyncio.gather(first, *waiting, later) == ["A", "B", "C", "E"]
    assert bench.ledger.loads == [["a"], ["b", "c"], ["e"]]


async def test_a_full_shard_does_not_refuse_what_another_shard_takes() -> None:
    bench = Bench(queued=1)
    callers = [bench.submit("a")]
    await _settled()
    callers.append(bench.submit("b"))
    await _settled()
    assert await _reason(bench.submit("c")) == "QUEUE_FULL"
    callers.append(bench.submit("d", shard=2))
    await _settled()
    for call in range(2):
        bench.ledger.answer(call)
    await _settled()
    bench.ledger.answer(2)
    assert await asyncio.gather(*callers) == ["A", "B", "D"]


async def test_the_largest_load_is_taken_by_an_empty_queue() -> None:
    bench = Bench(queued=10)
    caller = bench.submit("a", size=1000)
    await _settled()
    bench.ledger.answer(0)
    assert await caller == "A"


async def test_a_caller_that_gave_up_before_its_call_left_is_dropped() -> None:
    bench = Bench(queued=2)
    first = bench.submit("a")
    await _settled()
    gone, stays = bench.submit("b"), bench.submit("c")
    await _settled()
    gone.cancel()
    await _settled()
    room_again = bench.submit("d")
    await _settled()
    bench.ledger.answer(0)
    await _settled()
    assert bench.ledger.loads == [["a"], ["c", "d"]]
    bench.ledger.answer(1)
    assert await asyncio.gather(first, stays, room_again) == ["A", "C", "D"]
    assert gone.cancelled()


async def test_a_caller_that_gives_up_while_its_call_is_under_way_leaves_the_others_alone() -> None:
    bench = Bench()
    gone, stays = bench.submit("a"), bench.submit("b")
    await _settled()
    gone.cancel()
    await _settled()
    bench.ledger.answer(0)
    assert await stays == "B"


async def test_a_deadline_before_the_call_left_means_that_nothing_was_sent() -> None:
    bench = Bench()
    first = bench.submit("a")
    await _settled()
    late = bench.submit("b", seconds=0.005)
    with pytest.raises(errors.DeadlinePassed):
        await late
    bench.ledger.answer(0)
    assert await first == "A"
    await _settled()
    assert bench.ledger.loads == [["a"]]


async def test_a_deadline_that_has_passed_already_sends_nothing() -> None:
    bench = Bench()
    with pytest.raises(errors.DeadlinePassed):
        await bench.submit("a", seconds=0)
    assert bench.ledger.loads == []


async def test_a_deadline_while_the_call_is_under_way_leaves_doubt_for_that_caller_only() -> None:
    bench = Bench()
    late, patient = bench.submit("a", seconds=0.25), bench.submit("b")
    with pytest.raises(errors.OutcomeUnknown):
        await late
    bench.ledger.answer(0)
    assert await patient == "B"


async def test_a_failing_call_fails_its_own_callers_only() -> None:
    bench = Bench()
    failing = [bench.submit("a"), bench.submit("b")]
    await _settled()
    fine = bench.submit("c")
    await _settled()
    bench.ledger.answers[0].set_exception(errors.Unavailable("SHARD_UNAVAILABLE", "nobody answers"))
    await _settled()
    bench.ledger.answer(1)
    assert [await _reason(caller) for caller in failing] == ["SHARD_UNAVAILABLE"] * 2
    assert await fine == "C"


async def test_one_load_may_fail_while_those_it_travelled_with_do_not() -> None:
    bench = Bench()
    callers = [bench.submit("a"), bench.submit("b")]
    await _settled()
    bench.ledger.answers[0].set_result(["A", errors.WrongShard("WRONG_SHARD", "not here")])
    assert await callers[0] == "A"
    assert await _reason(callers[1]) == "WRONG_SHARD"


async def test_a_bug_behind_the_coalescer_reaches_the_callers_and_frees_the_slot() -> None:
    bench = Bench()
    first = bench.submit("a")
    await _settled()
    bench.ledger.answers[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await first
    second = bench.submit("b")
    await _settled()
    bench.ledger.answer(1)
    assert await second == "B"


async def test_closing_leaves_the_callers_of_calls_under_way_in_doubt() -> None:
    bench = Bench()
    caller = bench.submit("a")
    await _settled()
    await bench.coalescer.close()
    with pytest.raises(errors.OutcomeUnknown):
        await caller


async def test_who_would_be_answered_too_late_is_refused_at_once_and_who_can_wait_is_not() -> None:
    bench = Bench(together=2, full=2)
    callers = [bench.submit("a")]
    await _settled()
    bench.coalescer._shards[1].call_seconds, bench.coalescer._shards[1].item_seconds = 1.0, 0.5
    callers += [bench.submit("b"), bench.submit("c")]
    await _settled()
    hurried = bench.submit("d", seconds=1.5)
    patient = bench.submit("e", seconds=FAR)
    assert await _reason(hurried) == "QUEUE_FULL"
    for call in range(3):
        await _settled()
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers, patient) == ["A", "B", "C", "E"]
    assert "d" not in [load for loads in bench.ledger.loads for load in loads]


async def test_who_has_been_read_is_refused_later_than_who_has_not() -> None:
    bench = Bench(together=9, full=2, patience=1.0)
    callers = [bench.submit("a")]
    await _settled()
    callers += [bench.submit("b"), bench.submit("c")]
    await _settled()
    bench.coalescer._shards[1].item_seconds = 0.6
    assert bench.coalescer.is_full((1,))
    callers.append(bench.submit("d"))
    await _settled()
    for call in range(3):
        bench.ledger.answer(call)
        await _settled()
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]


async def test_a_call_carries_as_much_as_a_ledger_does_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Coalescer, "_learn", lambda *_: None)
    bench = Bench(together=9, full=2)
    callers = [bench.submit("a")]
    await _settled()
    callers += [bench.submit(load) for load in "bcdefg"]
    callers.append(bench.submit("h", size=9))
    bench.coalescer._shards[1].item_seconds = CALL_SECONDS_WANTED / CALLS_IN_FLIGHT_MIN / 4
    for call in range(4):
        await _settled()
        bench.ledger.answer(call)
    await asyncio.gather(*callers)
    assert bench.ledger.loads == [["a"], ["b", "c", "d", "e"], ["f", "g"], ["h"]], "what is larger travels alone"


async def test_what_an_item_takes_is_learned_from_calls_that_have_enough_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(coalescing, "perf_counter", lambda: now)
    bench = Bench(full=4, in_flight=2)
    callers = [bench.submit("a", size=4), bench.submit("b", size=4, lane=2)]
    await _settled()
    shard = bench.coalescer._shards[1]
    for call, (seconds, learned) in enumerate([(2.0, 0.5), (4.0, 0.625)]):
        now += seconds
        bench.ledger.answer(call)
        await _settled()
        assert shard.item_seconds == learned, "what waited for another call is not counted twice"
    for call, (size, seconds, learned) in enumerate([(1, 9.0, 0.625), (1, 0.125, 0.5), (8, 8.0, 0.625)], start=2):
        callers.append(bench.submit("c", size=size))
        await _settled()
        now += seconds
        bench.ledger.answer(call)
        await _settled()
        assert shard.item_seconds == learned
    assert len(await asyncio.gather(*callers)) == 5


async def test_a_queue_that_would_be_waited_in_for_too_long_refuses_whoever_comes() -> None:
    bench = Bench(together=2, full=2, patience=1.0)
    callers = [bench.submit("a")]
    await _settled()
    shard = bench.coalescer._shards[1]
    callers += [bench.submit("b"), bench.submit("c")]
    await _settled()
    for shard.item_seconds, refuses in ((0.45, False), (0.6, True)):
        assert bench.coalescer.is_full((1,)) is refuses
    shard.item_seconds = 0.8
    assert await _reason(bench.submit("d", seconds=FAR)) == "QUEUE_FULL"
    for call in range(2):
        bench.ledger.answer(call)
        await _settled()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_all_is_full_only_when_every_shard_of_the_bank_is() -> None:
    bench = Bench(queued=1)
    assert not bench.coalescer.is_full(())
    callers = []
    for shard in (1, 2):
        assert not bench.coalescer.is_full((1, 2))
        for load in "ab":
            callers.append(bench.submit(load, shard=shard))
            await _settled()
    assert bench.coalescer.is_full((1, 2))
    assert not bench.coalescer.is_full((1, 2, 3))
    assert bench.coalescer.is_full((1, 2), 1_000.0)
    bench.ledger.answer(0)
    await _settled()
    assert not bench.coalescer.is_full((1, 2))
    bench.ledger.answer(1)
    await _settled()
    for call in (2, 3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "A", "B"]


async def test_what_is_on_its_way_fills_a_queue_before_it_comes() -> None:
    bench = Bench(queued=100)
    callers = [bench.submit("x", shard=shard) for shard in (1, 2) for _ in range(2)]
    await _settled()
    assert not bench.coalescer.is_full((1, 2))
    assert not bench.coalescer.is_full((1, 2), 100.0), "50 for each shard"
    assert bench.coalescer.is_full((1, 2), 200.0)
    assert not bench.coalescer.is_full((1, 2, 3), 200.0), "a shard that nothing was sent to has room"
    await bench.coalescer.close()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_a_slow_ledger_gets_fewer_calls_at_a_time() -> None:
    bench = Bench(full=1, in_flight=4)
    callers = [bench.submit("a")]
    await _settled()
    bench.coalescer._shards[1].call_seconds = 2 * CALL_SECONDS_WANTED
    for load in "bcd":
        callers.append(bench.submit(load))
        await _settled()
    assert bench.ledger.loads == [["a"], ["b"]]
    bench.coalescer._shards[1].call_seconds = 0.0
    bench.ledger.answer(0)
    await _settled()
    assert bench.ledger.loads == [["a"], ["b"], ["c", "d"]]
    for call in (1, 2):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]
