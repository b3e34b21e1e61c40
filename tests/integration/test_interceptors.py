"""What callers see of a servicer's errors and deadlines, through a real server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from prometheus_client import REGISTRY

from services.chassis import bounds, status
from services.chassis.interceptors import Observed
from services.cli import channels
from services.domain import errors, limits
from services.domain.errors import BankError
from services.transport import server as transport

METHOD = {"grpc_type": "unary", "grpc_service": "hivecore.ledger.v1.Ledger", "grpc_method": "GetShardStatus"}

ONE_OF_EACH: list[BankError] = [
    errors.Malformed("AMOUNT_INVALID", "amount_minor", "must be at least 1"),
    errors.Unauthenticated("TOKEN_EXPIRED", "the token is too old"),
    errors.Forbidden("SCOPE_MISSING", "the token lacks transfers.write", {"scope": "transfers.write"}),
    errors.NotFound("ACCOUNT_NOT_FOUND", "no account 1", {"account": "1"}),
    errors.Conflict("TRANSFER_ID_REUSED", "the id names another transfer"),
    errors.Refused("INSUFFICIENT_FUNDS", "na účtu není dost peněz", {"state": "REFUSED"}),
    errors.Overloaded("QUEUE_FULL", "the queue is full", 0.25),
    errors.Unavailable("NOT_THE_WRITER", "another process writes this shard"),
    errors.WrongShard("WRONG_SHARD", "the slot lives elsewhere", {"directory_version": "7"}),
    errors.OutcomeUnknown("OUTCOME_UNKNOWN", "send the same ids again"),
    errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came first"),
]

Behaviour = Callable[[grpc.aio.ServicerContext], Awaitable[ledger_pb2.ShardStatus]]


class Room(ledger_pb2_grpc.LedgerServicer):
    """A servicer that does what the test says."""

    behaviour: Behaviour

    async def GetShardStatus(self, request, context):
        return await self.behaviour(context)


@pytest.fixture(scope="module")
async def room() -> AsyncIterator[tuple[Room, grpc.aio.Channel]]:
    room = Room()
    server = transport.Server(bounds.server_limits(), bounds.REFUSALS)
    observed: Any = Observed(server)
    ledger_pb2_grpc.add_LedgerServicer_to_server(room, observed)
    port = server.bind("127.0.0.1", 0)
    server.start()
    async with channels.channel(f"127.0.0.1:{port}") as channel:
        yield room, channel
    await server.stop(None)


@pytest.fixture
def call(room: tuple[Room, grpc.aio.Channel]) -> Callable[..., Awaitable[ledger_pb2.ShardStatus]]:
    servicer, channel = room
    stub = ledger_pb2_grpc.LedgerStub(channel)

    async def call(behaviour: Behaviour, seconds: float | None = 5.0) -> ledger_pb2.ShardStatus:
        servicer.behaviour = behaviour
        return await stub.GetShardStatus(ledger_pb2.GetShardStatusRequest(shard_id=1), timeout=seconds)

    return call


def _raising(error: BaseException) -> Behaviour:
    async def behaviour(_context):
        raise error

    return behaviour


def _sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, METHOD | labels) or 0.0


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
async def test_an_error_raised_in_a_servicer_arrives_as_the_same_class_reason_and_words(call, error) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_raising(error))
    assert caught.value.code() is status.CODE_BY_ERROR[type(error)]
    again = status.from_rpc_error(caught.value)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert status.is_described(caught.value)


async def test_google_rpc_details_are_readable_by_any_grpc_client(call) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_raising(ONE_OF_EACH[0]))
    told = rpc_status.from_call(caught.value)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert told.details[0].Unpack(info)
    assert told.details[1].Unpack(request)
    assert (info.reason, request.field_violations[0].field) == ("AMOUNT_INVALID", "amount_minor")


@pytest.mark.parametrize("bug", [ValueError("secret"), AssertionError("secret"), KeyError("secret")])
async def test_a_bug_leaves_as_internal_error_with_nothing_inside(call, bug) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_raising(bug))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert b"secret" not in b"".join(value for _, value in caught.value.trailing_metadata())
    assert status.from_rpc_error(caught.value).reason == "PEER_FAILED"


async def test_a_handler_sees_the_deadline_of_its_caller(call) -> None:
    assert 4.0 < await _seconds_seen(call, 5.0) < 5.1  # gRPC rounds up what it sends.


async def test_a_call_without_deadline_gets_the_default_one(call) -> None:
    assert limits.DEADLINE_SECONDS_DEFAULT - 1 < await _seconds_seen(call, None) <= limits.DEADLINE_SECONDS_DEFAULT


async def test_a_deadline_too_far_away_is_cut(call) -> None:
    assert limits.DEADLINE_SECONDS_MAX - 1 < await _seconds_seen(call, 3600.0) <= limits.DEADLINE_SECONDS_MAX


async def _seconds_seen(call, seconds: float | None) -> float:
    async def behaviour(context):
        return ledger_pb2.ShardStatus(last_sequence=round(context.time_remaining() * 1000))

    return (await call(behaviour, seconds)).last_sequence / 1000


async def test_a_handler_that_outlives_our_own_deadline_leaves_doubt_and_is_cancelled(call, monkeypatch) -> None:
    monkeypatch.setattr(limits, "DEADLINE_SECONDS_DEFAULT", 0.05)
    cancelled = asyncio.Event()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_waiting(cancelled), None)
    assert type(status.from_rpc_error(caught.value)) is errors.OutcomeUnknown
    assert cancelled.is_set()


async def test_a_handler_is_cancelled_when_its_callers_deadline_ends(call) -> None:
    cancelled = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_waiting(cancelled), 0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await cancelled.wait()


def _waiting(cancelled: asyncio.Event) -> Behaviour:
    async def behaviour(_context):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    return behaviour


async def test_a_timeout_inside_a_handler_is_a_bug_not_a_deadline(call) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(_raising(TimeoutError()), None)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("behaviour", "code_label"),
    [
        (_raising(errors.Refused("INSUFFICIENT_FUNDS", "no")), "FailedPrecondition"),
        (_raising(ValueError()), "Internal"),
    ],
)
async def test_every_call_is_counted_under_its_code_and_timed(call, behaviour, code_label) -> None:
    before = _counts(code_label)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(behaviour)
    assert _counts(code_label) == [count + 1 for count in before]


async def test_an_abort_by_the_handler_itself_keeps_its_code(call) -> None:
    async def behaviour(context):
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far")

    before = _counts("OutOfRange")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(behaviour)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert _counts("OutOfRange") == [count + 1 for count in before]


def _counts(code_label: str) -> list[float]:
    return [
        _sample("grpc_server_started_total"),
        _sample("grpc_server_handled_total", grpc_code=code_label),
        _sample("grpc_server_handling_seconds_count"),
    ]
