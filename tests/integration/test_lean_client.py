"""The benchmark's own HTTP/2 against gRPC's: the same outcomes as grpc.aio's client, whatever the server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from loadtest.client import DONE, Access, Client, Outcome
from loadtest.lean_client import LeanClient
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
