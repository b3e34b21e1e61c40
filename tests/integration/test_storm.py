"""A storm of look-ups: as many as are due are sent, or counted as dropped; what came of them is told by reason."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from hivecore.gateway.v1 import bank_pb2

from loadtest.client import Access
from loadtest.overload import look_ups, storm
from loadtest.overload.inside import Inside
from loadtest.overload.storm import BALANCE, MIX, STATEMENT, STATUS, Storm, StormLoad
from services.chassis import bounds
from services.transport.calls import Call, Method
from services.transport.server import Server

SERVICE = bank_pb2.DESCRIPTOR.services_by_name["Bank"].full_name
ACCOUNTS = ["1", "2", "3"]
PAID = [("1", "transfer"), ("2", "another")]
SECONDS = 0.25


class Gateway:
    """Answers statements, turns balances away unread, and transfers when it has read them, or answers nobody."""

    def __init__(self) -> None:
        self.silent = False
        self.under_way = 0
        self.most = 0
        self.asked: Counter[str] = Counter()

    async def answer(self, request: bytes | None, _: Call) -> bytes:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.silent:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            self.asked[bank_pb2.ListEntriesRequest.FromString(request or b"").parent] += 1
        finally:
            self.under_way -= 1
        return b""

    async def refuse(self, request: bytes | None, call: Call) -> bytes:
        self.asked[bank_pb2.GetTransferRequest.FromString(request or b"").name] += 1
        refused = bounds.REFUSALS.no_place_for_call
        call._connection.refuse(call, refused.given())
        return b""


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Access]:
    server = Server(bounds.server_limits(), bounds.REFUSALS)
    server.methods[f"/{SERVICE}/{STATEMENT}"] = Method(gateway.answer)
    server.methods[f"/{SERVICE}/{STATUS}"] = Method(gateway.refuse)
    server.methods[f"/{SERVICE}/{BALANCE}"] = Method(gateway.answer, refuses=lambda: bounds.NO_LOOK_UP)
    address = f"127.0.0.1:{server.bind('127.0.0.1', 0)}"
    server.start()
    try:
        yield Access(address, "token")
    finally:
        await server.stop(0.0)


async def let_loose(access: Access, **given: Any) -> storm.StormSeen:
    weights = given.pop("weights", MIX)
    asked = storm.draw(500, weights, ACCOUNTS, PAID, Random(1))
    load = StormLoad(access, asked, seconds=SECONDS, **{"deadline_seconds": 10.0, "per_second": 4_000.0, **given})
    one = Storm(load)
    await one.connect()
    async with asyncio.timeout(30):
        await one.run(time.monotonic() + 0.01)
    return one.seen()


def test_look_ups_are_of_all_kinds_and_of_what_there_is() -> None:
    asked = storm.draw(1_000, MIX, ACCOUNTS, PAID, Random(1))
    kinds = Counter(method for method, _ in asked)
    assert kinds.keys() == {BALANCE, STATEMENT, STATUS} and kinds[STATUS] > 400
    balances = {bank_pb2.GetBalanceRequest.FromString(octets).name for method, octets in asked if method == BALANCE}
    assert balances == {f"accounts/{number}/balance" for number in ACCOUNTS}
    transfers = {bank_pb2.GetTransferRequest.FromString(octets).name for method, octets in asked if method == STATUS}
    assert transfers == {"accounts/1/transfers/transfer", "accounts/2/transfers/another"}
    assert {method for method, _ in storm.draw(50, {BALANCE: 1}, ACCOUNTS, PAID, Random(1))} == {BALANCE}


async def test_all_that_is_due_is_sent_and_told_apart_by_reason() -> None:
    gateway = Gateway()
    async with serving(gateway) as access:
        seen = await let_loose(access)
    assert 0 < seen.due <= 4_000 * SECONDS, "nothing is sent after the end"
    assert (seen.sent, seen.reset, seen.unanswered) == (seen.due, 0, 0)
    counts = {reason: len(seconds) for reason, seconds in seen.seconds_by_reason.items()}
    assert counts.keys() == {"", "QUEUE_FULL", "TOO_MANY_CALLS"}
    assert sum(counts.values()) == seen.sent
    assert 0.2 * seen.sent < counts["QUEUE_FULL"] < 0.4 * seen.sent, "in the proportions of the mix"
    by_kind = Counter(name.count("/") for name in gateway.asked.elements())
    assert (counts[""], counts["TOO_MANY_CALLS"]) == (by_kind[1], by_kind[3])
    assert gateway.asked.keys() >= {f"accounts/{number}" for number in ACCOUNTS}


async def test_what_finds_no_room_is_dropped_and_what_is_never_answered_is_said() -> None:
    gateway = Gateway()
    gateway.silent = True
    async with serving(gateway) as access:
        # No deadline may come while there is a storm, however slow the machine: it would make room.
        load = {"weights": {STATEMENT: 1}, "connections": 2, "per_second": 100_000.0, "deadline_seconds": 16 * SECONDS}
        seen = await let_loose(access, **load)
    assert seen.sent == 2 * bounds.STREAMS_PER_CONNECTION_MAX == gateway.most
    assert seen.due - seen.sent > 1_000
    assert {reason: len(each) for reason, each in seen.seconds_by_reason.items()} == {"DEADLINE_EXCEEDED": seen.sent}


async def test_without_a_pause_no_more_are_under_way_than_there_are_callers() -> None:
    gateway = Gateway()
    async with serving(gateway) as access:
        seen = await let_loose(access, weights={STATEMENT: 1}, per_second=math.inf, in_flight_max=7)
    assert gateway.most <= 7
    asked_again = 2 * 7
    assert seen.due == seen.sent == len(seen.seconds_by_reason[""]) > asked_again


async def test_figures_are_those_of_what_was_sent() -> None:
    gateway = Gateway()
    async with serving(gateway) as access:
        seen = await let_loose(access)
        load = StormLoad(access, [], 4_000.0, SECONDS, 10.0)
    told = look_ups.figures(seen, load, Inside({}, {"look_ups": 5.0}))
    assert told["offered_per_s"] == round(seen.sent / SECONDS)
    assert told["answered_per_s"] + sum(told["refused_per_s"].values()) == pytest.approx(told["offered_per_s"], abs=2)
    assert (told["dropped"], told["turned_away_unread"], told["inside_p99_ms"]) == (0, 5, None)
    assert 0 <= told["seen_p50_ms"] <= told["seen_p99_ms"]
    twice = storm.StormSeen()
    twice.add(seen)
    twice.add(seen)
    assert look_ups.figures(twice, load, Inside({}, {}))["answered_per_s"] == pytest.approx(
        2 * told["answered_per_s"], abs=1
    )
