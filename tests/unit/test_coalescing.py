"""Concurrent calls share one call to a ledger, and each gets its own answer, or the reason why not."""

import asyncio

import pytest
from coalescing_room import Bench, reason_of, settled

from services.domain import errors


async def test_a_single_call_leaves_at_once() -> None:
    bench = Bench()
    caller = bench.submit("a")
    await settled()
    assert bench.ledger.loads == [["a"]]
    bench.ledger.answer(0)
    assert await caller == "A"


async def test_what_arrives_in_one_turn_of_the_loop_leaves_together() -> None:
    bench = Bench(full=1, in_flight=4)
    callers = [bench.submit(load) for load in "abc"]
    await settled()
    assert bench.ledger.loads == [["a", "b", "c"]]
    bench.ledger.answer(0)
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_what_arrives_while_a_call_is_in_flight_leaves_together_when_it_is_answered() -> None:
    bench = Bench()
    first = bench.submit("a")
    await settled()
    others = []
    for load in "bcd":
        others.append(bench.submit(load))
        await settled()
    assert bench.ledger.loads == [["a"]]
    bench.ledger.answer(0)
    await settled()
    assert bench.ledger.loads == [["a"], ["b", "c", "d"]]
    bench.ledger.answer(1)
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]


async def test_what_fills_a_call_leaves_while_another_is_under_way_but_no_more_than_a_few_do() -> None:
    bench = Bench(full=2, in_flight=2)
    callers = []
    for load in "abcde":
        callers.append(bench.submit(load))
        await settled()
    assert bench.ledger.loads == [["a"], ["b", "c"]]
    bench.ledger.answer(1)
    await settled()
    assert bench.ledger.loads == [["a"], ["b", "c"], ["d", "e"]]
    bench.ledger.answer(0)
    bench.ledger.answer(2)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D", "E"]


async def test_what_does_not_fill_a_call_waits_for_the_last_one_under_way() -> None:
    bench = Bench(full=2, in_flight=9)
    callers = [bench.submit("a")]
    await settled()
    callers.append(bench.submit("b", size=2))
    await settled()
    callers.append(bench.submit("c"))
    await settled()
    bench.ledger.answer(0)
    await settled()
    assert bench.ledger.loads == [["a"], ["b"]]
    bench.ledger.answer(1)
    await settled()
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
    await settled()
    assert [(shard_id, loads) for shard_id, loads, _ in bench.ledger.calls] == [(1, ["a"]), (1, ["b"]), (2, ["c"])]
    for call in range(3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_a_call_is_bounded_and_a_single_larger_load_travels_alone() -> None:
    bench = Bench(together=10, full=1, in_flight=10)
    callers = [bench.submit("a", size=6), bench.submit("b", size=4), bench.submit("c", size=50), bench.submit("d")]
    await settled()
    assert bench.ledger.loads == [["a", "b"], ["c"], ["d"]]
    for call in range(3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]


async def test_the_deadline_of_a_shared_call_is_its_latest_callers() -> None:
    bench = Bench()
    now = asyncio.get_running_loop().time()
    callers = [bench.submit("a", seconds=5), bench.submit("b", seconds=50), bench.submit("c", seconds=20)]
    await settled()
    ((_, _, deadline),) = bench.ledger.calls
    assert now + 50 <= deadline < now + 51
    bench.ledger.answer(0)
    await asyncio.gather(*callers)


async def test_a_full_queue_refuses_at_once_with_a_retry_hint_and_takes_again_when_it_empties() -> None:
    bench = Bench(queued=2)
    first = bench.submit("a")
    await settled()
    waiting = [bench.submit("b"), bench.submit("c", lane=1)]
    await settled()
    with pytest.raises(errors.Overloaded) as refused:
        await bench.submit("d")
    assert refused.value.reason == "QUEUE_FULL"
    assert refused.value.retry_after_seconds > 0
    bench.ledger.answer(0)
    await settled()
    later = bench.submit("e")
    await settled()
    bench.ledger.answer(1)
    await settled()
    bench.ledger.answer(2)
    assert await asyncio.gather(first, *waiting, later) == ["A", "B", "C", "E"]
    assert bench.ledger.loads == [["a"], ["b", "c"], ["e"]]


async def test_a_full_shard_does_not_refuse_what_another_shard_takes() -> None:
    bench = Bench(queued=1)
    callers = [bench.submit("a")]
    await settled()
    callers.append(bench.submit("b"))
    await settled()
    assert await reason_of(bench.submit("c")) == "QUEUE_FULL"
    callers.append(bench.submit("d", shard=2))
    await settled()
    for call in range(2):
        bench.ledger.answer(call)
    await settled()
    bench.ledger.answer(2)
    assert await asyncio.gather(*callers) == ["A", "B", "D"]


async def test_the_largest_load_is_taken_by_an_empty_queue() -> None:
    bench = Bench(queued=10)
    caller = bench.submit("a", size=1000)
    await settled()
    bench.ledger.answer(0)
    assert await caller == "A"


async def test_a_caller_that_gave_up_before_its_call_left_is_dropped() -> None:
    bench = Bench(queued=2)
    first = bench.submit("a")
    await settled()
    gone, stays = bench.submit("b"), bench.submit("c")
    await settled()
    gone.cancel()
    await settled()
    room_again = bench.submit("d")
    await settled()
    bench.ledger.answer(0)
    await settled()
    assert bench.ledger.loads == [["a"], ["c", "d"]]
    bench.ledger.answer(1)
    assert await asyncio.gather(first, stays, room_again) == ["A", "C", "D"]
    assert gone.cancelled()


async def test_a_caller_that_gives_up_while_its_call_is_under_way_leaves_the_others_alone() -> None:
    bench = Bench()
    gone, stays = bench.submit("a"), bench.submit("b")
    await settled()
    gone.cancel()
    await settled()
    bench.ledger.answer(0)
    assert await stays == "B"


async def test_a_deadline_before_the_call_left_means_that_nothing_was_sent() -> None:
    bench = Bench()
    first = bench.submit("a")
    await settled()
    late = bench.submit("b", seconds=0.005)
    with pytest.raises(errors.DeadlinePassed):
        await late
    bench.ledger.answer(0)
    assert await first == "A"
    await settled()
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
    await settled()
    fine = bench.submit("c")
    await settled()
    bench.ledger.answers[0].set_exception(errors.Unavailable("SHARD_UNAVAILABLE", "nobody answers"))
    await settled()
    bench.ledger.answer(1)
    assert [await reason_of(caller) for caller in failing] == ["SHARD_UNAVAILABLE"] * 2
    assert await fine == "C"


async def test_one_load_may_fail_while_those_it_travelled_with_do_not() -> None:
    bench = Bench()
    callers = [bench.submit("a"), bench.submit("b")]
    await settled()
    bench.ledger.answers[0].set_result(["A", errors.WrongShard("WRONG_SHARD", "not here")])
    assert await callers[0] == "A"
    assert await reason_of(callers[1]) == "WRONG_SHARD"


async def test_a_bug_behind_the_coalescer_reaches_the_callers_and_frees_the_slot() -> None:
    bench = Bench()
    first = bench.submit("a")
    await settled()
    bench.ledger.answers[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await first
    second = bench.submit("b")
    await settled()
    bench.ledger.answer(1)
    assert await second == "B"


async def test_closing_leaves_the_callers_of_calls_under_way_in_doubt() -> None:
    bench = Bench()
    caller = bench.submit("a")
    await settled()
    await bench.coalescer.close()
    with pytest.raises(errors.OutcomeUnknown):
        await caller
