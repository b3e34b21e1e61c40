"""The benchmark's own HTTP/2 against gRPC's: the same outcomes as grpc.aio's client, whatever the server does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from loadtest.client import DONE, Access, Client, Outcome
from loadtest.lean_client import LeanClient
from loadtest.mix import MIXES
from loadtest.open_loop.arrivals import CONSTANT
from loadtest.open_loop.callers import CLIENTS, OpenCallers, OpenLoad
from loadtest.stencil import Stencil
from services.chassis import status
from services.domain import errors
from services.domain.errors import BankError

TOKEN = "a token " * 40
MANY = 8_000
REASON = "WHY " * 100
PAYMENT = ("0000000000000195", "2250000000000118")

FAILURES: dict[int, BankError] = {
    1: errors.Refused("INSUFFICIENT_FUNDS", "too little", {"state": "REFUSED"}),
    2: errors.Unavailable("SHARD_UNAVAILABLE", "Žofie is away"),
    3: errors.OutcomeUnknown("OUTCOME_UNKNOWN", "who knows"),
}
"""By amount, what a transfer comes to that is not posted."""
PLAIN_FAILURE, SLOW = 4, 5
NOBODY = "accounts/0000000000000018/balance"


class Bank(bank_pb2_grpc.BankServicer):
    """Answers by amount."""

    async def PostTransfer(self, request: bank_pb2.PostTransferRequest, context: Any) -> bank_pb2.Transfer:
        """Answer one transfer."""
        assert dict(context.invocation_metadata())["authorization"] == f"Bearer {TOKEN}"
        assert context.time_remaining() < 17
        amount = request.transfer.legs[0].amount_minor
        if amount == SLOW:
            await asyncio.Event().wait()
        if amount == PLAIN_FAILURE:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "from on the way")
        if amount in FAILURES:
            error = FAILURES[amount]
            described = status.to_status(error)
            details = ((status.DETAILS_KEY, described.SerializeToString()),)
            await context.abort(status.CODE_BY_ERROR[type(error)], described.message, details)
        return bank_pb2.Transfer(state=bank_pb2.Transfer.POSTED)

    async def GetBalance(self, request: bank_pb2.GetBalanceRequest, context: Any) -> bank_pb2.Balance:
        """Answer a look-up, or say that there is no such account."""
        if request.name == NOBODY:
            missing = errors.NotFound("ACCOUNT_NOT_FOUND", "nobody")
            details = ((status.DETAILS_KEY, status.to_status(missing).SerializeToString()),)
            await context.abort(grpc.StatusCode.NOT_FOUND, "nobody", details)
        return bank_pb2.Balance(name=request.name)

    async def PlaceHold(self, request: bank_pb2.PlaceHoldRequest, context: Any) -> bank_pb2.Hold:
        """Set aside whatever is asked for."""
        return request.hold

    async def CaptureHold(self, request: bank_pb2.CaptureHoldRequest, context: Any) -> bank_pb2.Transfer:
        """Capture as a transfer is posted."""
        return await self.PostTransfer(bank_pb2.PostTransferRequest(transfer=request.transfer), context)

    async def ListEntries(self, request: bank_pb2.ListEntriesRequest, context: Any) -> bank_pb2.ListEntriesResponse:
        """Answer at length."""
        return bank_pb2.ListEntriesResponse(entries=[bank_pb2.Entry(reference=REASON)] * 500)

    async def PostTransfers(
        self, request: bank_pb2.PostTransfersRequest, context: Any
    ) -> bank_pb2.PostTransfersResponse:
        """Refuse every second transfer, at length."""
        result, state = bank_pb2.TransferResult, bank_pb2.Transfer
        answers = (result(state=state.POSTED), result(state=state.REFUSED, reason=REASON))
        return bank_pb2.PostTransfersResponse(results=[answers[n % 2] for n in range(len(request.transfers))])


@asynccontextmanager
async def served(port: int = 0, **options: int) -> AsyncIterator[tuple[Access, int]]:
    """Serve for the length of the context."""
    named = [(f"grpc.{name}", value) for name, value in options.items()]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *named])
    bank_pb2_grpc.add_BankServicer_to_server(Bank(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Access(f"127.0.0.1:{port}", TOKEN), port
    finally:
        await server.stop(None)


def request(amount: int, count: int = 1) -> bytes:
    """Write a request of so many transfers."""
    return Stencil("CZK").write([(f"{number:036}", *PAYMENT, amount) for number in range(count)])


async def test_every_outcome_is_what_the_other_client_says() -> None:
    async with served() as (access, _), LeanClient(access) as lean, Client(access) as client:
        for amount in (6, *FAILURES, PLAIN_FAILURE, 6):
            assert await lean.post_one(request(amount)) == await client.post_one(request(amount)), amount
        outcomes = await lean.post_many(request(6, 4), 4)
        assert outcomes == await client.post_many(request(6, 4), 4)
        assert outcomes == [DONE, Outcome("refused", REASON)] * 2


async def test_any_method_comes_to_what_the_other_client_says() -> None:
    one = bank_pb2.PostTransferRequest.FromString(request(6))
    refused = bank_pb2.PostTransferRequest.FromString(request(1))
    calls = (
        ("GetBalance", bank_pb2.GetBalanceRequest(name="accounts/0000000000000195/balance"), 0),
        ("GetBalance", bank_pb2.GetBalanceRequest(name=NOBODY), 0),
        ("ListEntries", bank_pb2.ListEntriesRequest(parent="accounts/0000000000000195"), 0),
        ("PostTransfer", one, 1),
        ("PostTransfer", refused, 1),
        ("PostTransfers", bank_pb2.PostTransfersRequest.FromString(request(6, 5)), 5),
        ("PlaceHold", bank_pb2.PlaceHoldRequest(hold=bank_pb2.Hold(account=PAYMENT[0])), 0),
        ("ListShards", bank_pb2.ListShardsRequest(), 0),
    )
    async with served() as (access, _), LeanClient(access) as lean, Client(access) as client:
        told = [await lean.send(*call) for call in calls]
        assert told == [await client.send(*call) for call in calls]
    assert [outcomes[0].kind for outcomes in told] == [
        "posted",
        "error",
        "posted",
        "posted",
        "refused",
        "posted",
        "posted",
        "error",
    ]


async def test_a_call_begun_without_a_task_is_told_the_same() -> None:
    async with served() as (access, _):
        lean = LeanClient(access, seconds=1.0)
        assert lean.begin("PostTransfer", request(6)) is None, "not connected"
        async with lean:
            for amount in (6, *FAILURES, PLAIN_FAILURE, SLOW):
                answer = lean.begin("PostTransfer", request(amount))
                assert answer is not None
                await asyncio.wait([answer])
                assert lean.told("PostTransfer", answer, 1) == await lean.post_one(request(amount)), amount
            answer = lean.begin("PostTransfers", request(6, 4))
            assert answer is not None
            await asyncio.wait([answer])
            assert lean.told("PostTransfers", answer, 4) == [DONE, Outcome("refused", REASON)] * 2
            under_way = lean.begin("PostTransfer", request(SLOW))
            assert under_way is not None
        await asyncio.wait([under_way])
        assert lean.told("PostTransfer", under_way, 1) == [Outcome("unknown", "UNAVAILABLE")]


async def test_an_open_loop_offers_and_sees_the_same_by_either_client() -> None:
    """In this process: the same arrivals and payments by seed, and lateness is part of what callers wait."""
    by_client = {}
    async with served() as (access, _):
        for kind in CLIENTS:
            load = OpenLoad(
                access,
                [PAYMENT],
                "CZK",
                MIXES["transfers"],
                per_second=600.0,
                seconds=1.0,
                warm_up_seconds=0.0,
                arrival=CONSTANT,
                deadline_seconds=3.0,
                client=kind,
            )
            callers = OpenCallers(load)
            await callers.connect()
            await callers.run(time.monotonic() - 0.2)
            by_client[kind] = callers.seen()
    lean, usual = by_client.values()
    assert (lean.due, lean.dropped) == (usual.due, usual.dropped) == (600, 0)
    assert lean.outcomes == usual.outcomes
    assert {outcome.kind for _, outcome in lean.outcomes} == {"posted", "refused", "error", "unknown"}
    assert (lean.done, lean.posted) == (usual.done, usual.posted)
    for seen in by_client.values():
        counts = [each.get_total_count() for each in (seen.all_latencies(), seen.service, seen.late)]
        assert counts == [600] * 3
        assert seen.late.get_max_value() > 150_000, "the first was due before it could be sent"
        assert seen.all_latencies().get_max_value() > 3_000_000, "who was never answered waited until the deadline"


async def test_an_open_loop_loses_nothing_to_a_server_that_renews_its_connections() -> None:
    async with served(max_connection_age_ms=150) as (access, _):
        mix, accounts = MIXES["look_ups"], [PAYMENT]
        callers = OpenCallers(OpenLoad(access, accounts, "CZK", mix, 400.0, 1.0, warm_up_seconds=0.0, arrival=CONSTANT))
        await callers.connect()
        first = callers._lean and callers._lean._connection
        await callers.run(time.monotonic())
        assert callers._lean and callers._lean._connection is not first
    seen = callers.seen()
    assert seen.due == seen.all_latencies().get_total_count() == 400
    assert {outcome for _, outcome in seen.outcomes} == {DONE}


@pytest.mark.parametrize("kept", [0, 7])
async def test_what_is_too_much_to_keep_is_drawn_when_due_and_looked_at_meanwhile(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr("loadtest.open_loop.callers.KEPT_MAX", kept)
    async with served() as (access, _):
        load = OpenLoad(access, [PAYMENT], "CZK", MIXES["look_ups"], 400.0, 1.0, warm_up_seconds=0.0, arrival=CONSTANT)
        callers = OpenCallers(load)
        await callers.connect()
        await callers.run(time.monotonic())
    seen = callers.seen()
    assert seen.due == seen.all_latencies().get_total_count() == seen.done == 400


async def test_an_answer_that_nobody_can_read_ends_an_open_loop_with_its_error() -> None:
    async def answer(_: bytes, __: Any) -> bytes:
        return b"\xff"

    async with served() as (access, _):
        callers = OpenCallers(OpenLoad(access, [PAYMENT], "CZK", MIXES["transfers"], 200.0, 1.0, warm_up_seconds=0.0))
        await callers.connect()
        assert callers._lean is not None
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("hivecore.gateway.v1.Bank", {"PostTransfer": handler}),)
        )
        callers._lean._port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            callers._lean._connection = None
            with pytest.raises(ExceptionGroup) as raised:
                await callers.run(time.monotonic())
        finally:
            await server.stop(None)
    assert raised.group_contains(DecodeError)


async def test_what_is_larger_than_every_window_arrives_whole_while_others_call() -> None:
    limits = {"max_receive_message_length": 2**23, "http2.bdp_probe": 0, "http2.lookahead_bytes": 65_535}
    async with served(**limits) as (access, _), LeanClient(access) as lean:
        assert len(request(6, MANY)) > 10 * 65_535
        large = [lean.post_many(request(6, MANY), MANY) for _ in range(6)]
        single = [lean.post_one(request(6)) for _ in range(50)]
        answers = await asyncio.gather(*large, *single)
        assert answers[:6] == [[DONE, Outcome("refused", REASON)] * (MANY // 2)] * 6
        assert answers[6:] == [[DONE]] * 50


async def test_a_deadline_leaves_doubt_and_the_connection_as_it_was() -> None:
    async with served() as (access, _), LeanClient(access, seconds=0.3) as lean:
        slow, quick = await asyncio.gather(lean.post_one(request(SLOW)), lean.post_one(request(6)))
        assert (slow, quick) == ([Outcome("unknown", "DEADLINE_EXCEEDED")], [DONE])
        assert await lean.post_one(request(6)) == [DONE]


async def test_a_server_that_renews_its_connections_loses_no_call() -> None:
    async with served(max_connection_age_ms=200) as (access, _), LeanClient(access) as lean:
        first = lean._connection
        async with asyncio.timeout(30):
            while lean._connection is first:
                assert await asyncio.gather(*(lean.post_one(request(6)) for _ in range(8))) == [[DONE]] * 8


async def test_a_server_that_goes_leaves_doubt_until_another_is_there() -> None:
    async with served() as (access, port):
        lean = LeanClient(access)
        await lean.__aenter__()
        assert await lean.post_one(request(6)) == [DONE]
        under_way = asyncio.ensure_future(lean.post_one(request(SLOW)))
        assert await lean.post_one(request(6)) == [DONE]
    (outcome,) = await under_way
    assert outcome.kind == "unknown"
    assert await lean.post_one(request(6)) == [Outcome("unknown", "UNAVAILABLE")]
    async with served(port):
        assert await lean.post_one(request(6)) == [DONE]
        await lean.__aexit__()
