"""Look-ups are bounded in number and in seconds, for each shard and in all, and none is kept out for longer than needed."""

import asyncio

import pytest

from services.domain import errors
from services.gateway.look_ups import ALWAYS_TAKEN, PACE_LOOK_UPS, TAKEN_BESIDE_A_FULL_QUEUE, LookUps


class Ledgers:
    """Answer when they are told to."""

    def __init__(self, number_max: int, seconds_max: float) -> None:
        self.now = 0.0
        self.fullness = {1: 0.0, 2: 0.0}
        self.look_ups = LookUps(number_max, seconds_max, lambda: self.now, self.fullness.__getitem__)
        self.answer = asyncio.Event()
        self.asked = 0

    async def _question(self, shard_id: int) -> int:
        self.asked += 1
        await self.answer.wait()
        return shard_id

    async def asked_by(self, count: int, shard_id: int = 1) -> list[asyncio.Task[int]]:
        """Let so many look up, and wait until all of them are asked or refused."""
        callers = []
        for _ in range(count):
            self.look_ups.places.taken += 1  # As the server does.
            callers.append(caller := asyncio.create_task(self.look_ups.ask(shard_id, self._question)))
            caller.add_done_callback(self._left)
        for _ in range(10):
            await asyncio.sleep(0)
        return callers

    async def answered_after(self, seconds: float) -> None:
        """Let all have their answers after so long."""
        self.now += seconds
        self.answer.set()
        for _ in range(10):
            await asyncio.sleep(0)
        self.answer = asyncio.Event()

    def _left(self, _: object) -> None:
        self.look_ups.places.taken -= 1

    def is_full(self, *shard_ids: int) -> bool:
        return self.look_ups.is_full(shard_ids)


def refused(callers: list[asyncio.Task[int]]) -> list[BaseException]:
    return [caller.exception() for caller in callers if caller.done() and caller.exception()]  # type: ignore[misc]


async def test_one_shard_takes_a_quarter_of_all_places_and_leaves_the_rest_to_others() -> None:
    ledgers = Ledgers(400, 60.0)
    callers = await ledgers.asked_by(101)
    (refusal,) = refused(callers)
    assert isinstance(refusal, errors.Overloaded) and refusal.reason == "QUEUE_FULL"
    assert ledgers.asked == 100, "who is refused asks nobody"
    assert not ledgers.is_full(1, 2), "shard 2 takes more"
    assert ledgers.is_full(1), "a bank of this one shard does not"
    others = await ledgers.asked_by(100, shard_id=2)
    assert not refused(others)
    await ledgers.answered_after(0)
    assert await asyncio.gather(*others) == [2] * 100
    assert not ledgers.is_full(1)
    assert not refused(await ledgers.asked_by(1))
    await ledgers.answered_after(0)


async def test_while_many_are_under_way_in_all_no_more_are_read_whatever_they_ask() -> None:
    ledgers = Ledgers(200, 60.0)
    places = ledgers.look_ups.places
    places.taken = 199
    assert not ledgers.is_full(1)
    places.waiting = ALWAYS_TAKEN
    assert ledgers.is_full(1) and not ledgers.is_full(1, 2), "those that will be read next take all the room"
    places.waiting, places.taken = 0, 200
    assert ledgers.is_full(1)
    assert ledgers.is_full(), "not even when nobody knows which shards there are"


async def test_a_shard_that_takes_too_long_refuses_beyond_a_few_until_it_is_quick_again() -> None:
    ledgers = Ledgers(4_000, 0.05)
    for _ in range(2 * PACE_LOOK_UPS // ALWAYS_TAKEN + 2):
        callers = await ledgers.asked_by(ALWAYS_TAKEN)
        assert not refused(callers), "so few are always taken"
        await ledgers.answered_after(0.2)
        await asyncio.gather(*callers)
    callers = await ledgers.asked_by(ALWAYS_TAKEN + 5)
    refusals = refused(callers)
    assert len(refusals) == 5
    assert all(isinstance(each, errors.Overloaded) and 0.05 < (each.retry_after_seconds or 0) < 5 for each in refusals)
    assert ledgers.is_full(1) and not ledgers.is_full(1, 2)
    await ledgers.answered_after(0)
    while refused(callers := await ledgers.asked_by(ALWAYS_TAKEN + 1)):
        await ledgers.answered_after(0)
    await ledgers.answered_after(0)
    assert await asyncio.gather(*callers) == [1] * (ALWAYS_TAKEN + 1)


async def test_neither_single_look_ups_nor_a_storm_that_is_over_keep_a_burst_out() -> None:
    ledgers = Ledgers(4_000, 0.25)
    for _ in range(PACE_LOOK_UPS):
        (caller,) = await ledgers.asked_by(1)
        await ledgers.answered_after(0.1)
        assert await caller == 1
    assert not refused(await ledgers.asked_by(2 * ALWAYS_TAKEN)), "one after the other is no pace"
    await ledgers.answered_after(5)
    for _ in range(4):
        await ledgers.asked_by(ALWAYS_TAKEN)
        await ledgers.answered_after(5)
    assert refused(await ledgers.asked_by(2 * ALWAYS_TAKEN)), "in the storm"
    await ledgers.answered_after(0.01)
    ledgers.now += 2
    assert not refused(await ledgers.asked_by(2 * ALWAYS_TAKEN)), "after it"
    await ledgers.answered_after(0)


async def test_who_gives_up_gives_the_place_back() -> None:
    ledgers = Ledgers(400, 60.0)
    callers = await ledgers.asked_by(100)
    for caller in callers:
        caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    assert not refused(await ledgers.asked_by(100))
    await ledgers.answered_after(0)


@pytest.mark.parametrize(("fullness", "taken"), [(0.1, 72), (0.25, 42), (0.5, 12), (1.0, TAKEN_BESIDE_A_FULL_QUEUE)])
async def test_they_give_way_to_the_transfers_of_their_shard(fullness: float, taken: int) -> None:
    ledgers = Ledgers(400, 60.0)
    ledgers.fullness[1] = fullness
    callers = await ledgers.asked_by(100)
    assert (ledgers.asked, len(refused(callers))) == (taken, 100 - taken)
    assert ledgers.is_full(1) and not ledgers.is_full(1, 2)
    others = await ledgers.asked_by(100, shard_id=2)
    assert not refused(others), "whose transfers do not wait"
    await ledgers.answered_after(0)
    ledgers.fullness[1] = 0.0
    assert not refused(await ledgers.asked_by(100)), "once they have left"
    await ledgers.answered_after(0)
