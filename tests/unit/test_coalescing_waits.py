"""How long callers wait for a ledger is bounded in seconds: by what an item takes, for who comes and who was read."""

import asyncio

import pytest
from coalescing_room import FAR, Bench, reason_of, settled

from services.domain import limits
from services.gateway import coalescing
from services.gateway.coalescing import CALL_SECONDS_WANTED, CALLS_IN_FLIGHT_MIN, FEW_LOADS, ITEM_CALLS, Coalescer
from services.gateway.routing import LANE_SPANNING

KEPT = 1 - 1 / ITEM_CALLS


async def test_who_would_be_answered_too_late_is_refused_at_once_and_who_can_wait_is_not() -> None:
    bench = Bench(together=2, full=2)
    callers = [bench.submit("a")]
    await settled()
    bench.coalescer._shards[1].call_seconds, bench.coalescer._shards[1].item_seconds = 1.0, 0.5
    callers += [bench.submit("b"), bench.submit("c")]
    await settled()
    hurried = bench.submit("d", seconds=1.5)
    patient = bench.submit("e", seconds=FAR)
    assert await reason_of(hurried) == "QUEUE_FULL"
    for call in range(3):
        await settled()
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers, patient) == ["A", "B", "C", "E"]
    assert "d" not in [load for loads in bench.ledger.loads for load in loads]


async def test_who_has_been_read_is_refused_later_than_who_has_not() -> None:
    bench = Bench(together=9, full=2, patience=1.0)
    callers = [bench.submit("a")]
    await settled()
    callers += [bench.submit("b"), bench.submit("c")]
    await settled()
    bench.believe(0.6)
    assert bench.coalescer.is_full((1,))
    callers.append(bench.submit("d"))
    await settled()
    for call in range(3):
        bench.ledger.answer(call)
        await settled()
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]


async def test_a_queue_is_as_full_as_its_wait_is_long() -> None:
    bench = Bench(together=9, full=2, patience=1.0)
    assert bench.coalescer.fullness(1) == 0
    callers = [bench.submit("a")]
    await settled()
    callers += [bench.submit("b"), bench.submit("c")]
    await settled()
    assert bench.coalescer.fullness(1) == 0, "nothing is known yet of how long it takes"
    for item_seconds, fullness in ((0.2, 0.4), (0.5, 1.0), (5.0, 1.0)):
        bench.believe(item_seconds)
        assert bench.coalescer.fullness(1) == pytest.approx(fullness)
    assert bench.coalescer.fullness(2) == 0
    await bench.answer_all()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]
    assert bench.coalescer.fullness(1) == 0


async def test_who_brings_much_may_find_as_much() -> None:
    bench = Bench(together=9, full=2, patience=1.0)
    callers = [bench.submit("a")]
    await settled()
    bench.believe(0.6)
    callers += [bench.submit("b", size=5), bench.submit("c", size=5)]
    small, smaller_than_the_queue = bench.submit("d"), bench.submit("e", size=9)
    await settled()
    assert await reason_of(small) == "QUEUE_FULL"
    assert await reason_of(smaller_than_the_queue) == "QUEUE_FULL"
    for call in range(3):
        bench.ledger.answer(call)
        await settled()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


LARGEST_LOAD = limits.TRANSFERS_PER_CALL_MAX + limits.LEGS_PER_CALL_MAX


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([(1, 4_030)], [(1, 3_970)]),
        ([(1, 7_999)], [(1, 1)]),
        ([(1, LARGEST_LOAD)], [(1, LARGEST_LOAD)]),
        ([(1, LARGEST_LOAD - 1), (LANE_SPANNING, 1)], [(LANE_SPANNING, LARGEST_LOAD - 1), (1, 1)]),
    ],
)
@pytest.mark.parametrize("item_seconds", [0.0, 0.0001, 0.001])
async def test_two_callers_are_never_refused_however_much_they_bring_at_once(
    first: list[tuple[int, int]], second: list[tuple[int, int]], item_seconds: float
) -> None:
    bench = Bench(queued=16_000, together=1_000, full=250, in_flight=4, patience=0.25, few=FEW_LOADS)
    await bench.answer_one()
    for _ in range(3):
        bench.believe(item_seconds)
        callers = [bench.submit("a", lane=lane, size=size) for lane, size in first + second]
        await settled()
        await bench.answer_all()
        assert await asyncio.gather(*callers) == ["A"] * len(callers)
    assert bench.coalescer._shards[1].loads == 0


async def test_one_load_among_others_is_refused_as_soon_as_they_are_more_than_a_few() -> None:
    bench = Bench(together=9, full=2, patience=1.0, few=3)
    callers = [bench.submit("a")]
    await settled()
    bench.believe(0.6)
    callers += [bench.submit("b", size=5), bench.submit("c")]
    fourth = bench.submit("d")
    assert await reason_of(fourth) == "QUEUE_FULL"
    bench.ledger.answer(0)
    await settled()
    callers.append(bench.submit("e", size=5))
    await settled()
    fifth = bench.submit("f")
    assert await reason_of(fifth) == "QUEUE_FULL"
    await bench.answer_all()
    assert await asyncio.gather(*callers) == ["A", "B", "C", "E"]
    assert bench.coalescer._shards[1].loads == 0


async def test_a_few_are_refused_when_they_would_be_answered_too_late() -> None:
    bench = Bench(together=9, full=2, patience=1.0, few=3)
    await bench.answer_one()
    bench.believe(0.6)
    callers = [bench.submit("a", size=5), bench.submit("b", seconds=3.0)]
    assert await reason_of(callers.pop()) == "QUEUE_FULL"
    await bench.answer_all()
    assert await asyncio.gather(*callers) == ["A"]


async def test_who_gave_up_waiting_is_no_longer_one_of_a_few_and_who_was_sent_still_is() -> None:
    bench = Bench(together=9, full=9, few=3)
    sent = bench.submit("a")
    await settled()
    waiting = bench.submit("b")
    await settled()
    assert bench.coalescer._shards[1].loads == 2
    for caller in (sent, waiting):
        caller.cancel()
    await settled()
    assert bench.coalescer._shards[1].loads == 1
    await bench.answer_all()
    await settled()
    assert bench.coalescer._shards[1].loads == 0


async def test_a_call_carries_as_much_as_a_ledger_does_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Coalescer, "_learn", lambda *_: None)
    bench = Bench(together=9, full=2)
    callers = [bench.submit("a")]
    await settled()
    callers += [bench.submit(load) for load in "bcdefg"]
    callers.append(bench.submit("h", size=9))
    bench.coalescer._shards[1].item_seconds = CALL_SECONDS_WANTED / CALLS_IN_FLIGHT_MIN / 4
    for call in range(4):
        await settled()
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
    await settled()
    shard = bench.coalescer._shards[1]
    for call, (seconds, items, learned) in enumerate([(2.0, 4, 2.0), (4.0, 4 * KEPT + 4, 2 * KEPT + 4)]):
        now += seconds
        bench.ledger.answer(call)
        await settled()
        assert shard.item_seconds == pytest.approx(learned / items), "what waited for another call is not counted twice"
    usual = shard.item_seconds
    for call, (size, seconds, is_taken) in enumerate([(1, 9.0, False), (1, 0.125, True), (8, 8.0, True)], start=2):
        callers.append(bench.submit("c", size=size))
        await settled()
        now += seconds
        bench.ledger.answer(call)
        await settled()
        assert (shard.item_seconds != usual) is is_taken
        usual = shard.item_seconds
    callers.append(bench.submit("c", size=8))
    await settled()
    now += 1_000
    bench.ledger.answer(5)
    await settled()
    assert usual < shard.item_seconds < 2.5 * usual, "a stall is believed in part"
    assert len(await asyncio.gather(*callers)) == 6


async def test_calls_that_are_answered_together_took_their_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(coalescing, "perf_counter", lambda: now)
    bench = Bench(full=4, in_flight=4)
    shard, callers = None, []
    for turn in range(20):
        callers += [bench.submit("a", size=4, lane=lane) for lane in range(4)]
        await settled()
        now += 1.6
        for call in range(4):
            bench.ledger.answer(4 * turn + call)
            await settled()
        shard = bench.coalescer._shards[1]
        assert 0.07 < shard.item_seconds < 0.45
    assert shard is not None
    assert shard.item_seconds == pytest.approx(0.1, rel=0.2), "of 16 items in 1.6 s"
    await asyncio.gather(*callers)


async def test_a_queue_that_would_be_waited_in_for_too_long_refuses_whoever_comes() -> None:
    bench = Bench(together=2, full=2, patience=1.0)
    callers = [bench.submit("a")]
    await settled()
    shard = bench.coalescer._shards[1]
    callers += [bench.submit("b"), bench.submit("c")]
    await settled()
    for shard.item_seconds, refuses in ((0.45, False), (0.6, True)):
        assert bench.coalescer.is_full((1,)) is refuses
    shard.item_seconds = 0.8
    assert await reason_of(bench.submit("d", seconds=FAR)) == "QUEUE_FULL"
    for call in range(2):
        bench.ledger.answer(call)
        await settled()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_all_is_full_only_when_every_shard_of_the_bank_is() -> None:
    bench = Bench(queued=1)
    assert not bench.coalescer.is_full(())
    callers = []
    for shard in (1, 2):
        assert not bench.coalescer.is_full((1, 2))
        for load in "ab":
            callers.append(bench.submit(load, shard=shard))
            await settled()
    assert bench.coalescer.is_full((1, 2))
    assert not bench.coalescer.is_full((1, 2, 3))
    assert bench.coalescer.is_full((1, 2), 1_000.0)
    bench.ledger.answer(0)
    await settled()
    assert not bench.coalescer.is_full((1, 2))
    bench.ledger.answer(1)
    await settled()
    for call in (2, 3):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "A", "B"]


async def test_what_is_on_its_way_fills_a_queue_before_it_comes() -> None:
    bench = Bench(queued=100)
    callers = [bench.submit("x", shard=shard) for shard in (1, 2) for _ in range(2)]
    await settled()
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
    await settled()
    bench.coalescer._shards[1].call_seconds = 2 * CALL_SECONDS_WANTED
    for load in "bcd":
        callers.append(bench.submit(load))
        await settled()
    assert bench.ledger.loads == [["a"], ["b"]]
    bench.coalescer._shards[1].call_seconds = 0.0
    bench.ledger.answer(0)
    await settled()
    assert bench.ledger.loads == [["a"], ["b"], ["c", "d"]]
    for call in (1, 2):
        bench.ledger.answer(call)
    assert await asyncio.gather(*callers) == ["A", "B", "C", "D"]
