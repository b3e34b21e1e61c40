"""A shard's ledger is found wherever its writer is, and doubt about a write is never hidden."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc

from services.chassis import addresses, bounds, clients
from services.chassis.clients import LedgerClient
from services.chassis.interceptors import Observed
from services.cli import channels
from services.domain import errors
from services.domain.errors import BankError
from services.transport import server as transport

READ = ledger_pb2.GetShardStatusRequest(shard_id=1)
WRITE = ledger_pb2.PostTransfersRequest(shard_id=1)


class Ledger(ledger_pb2_grpc.LedgerServicer):
    """Does, call by call, what the test says; the last thing again and again."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], object]] = []
        self.call_count = 0
        self.server = transport.Server(bounds.server_limits(), bounds.REFUSALS)
        self.address = ""
        self.stopping: asyncio.Future[None] | None = None

    async def die(self) -> None:
        """Stop the server with the call under way unanswered."""
        self.stopping = asyncio.ensure_future(self.server.stop(None))
        await asyncio.Event().wait()

    async def _next(self) -> None:
        step = self.steps[min(self.call_count, len(self.steps) - 1)] if self.steps else lambda: None
        self.call_count += 1
        outcome = step()
        if asyncio.iscoroutine(outcome):
            await outcome

    async def GetShardStatus(self, request, context):
        await self._next()
        return ledger_pb2.ShardStatus(instance=self.address)

    async def PostTransfers(self, request, context):
        await self._next()
        return ledger_pb2.PostTransfersResponse(outcomes=[ledger_pb2.OUTCOME_POSTED])


def _raises(error: BankError) -> Callable[[], object]:
    def step() -> None:
        raise error

    return step


NOT_THE_WRITER = _raises(errors.Unavailable("NOT_THE_WRITER", "another process writes this shard"))
QUEUE_FULL = _raises(errors.Overloaded("QUEUE_FULL", "the queue is full", 0.01))
UNKNOWN = _raises(errors.OutcomeUnknown("OUTCOME_UNKNOWN", "the database did not answer"))


@asynccontextmanager
async def _ledger(*steps: Callable[[], object], address: str = "127.0.0.1:0") -> AsyncIterator[Ledger]:
    ledger = Ledger()
    ledger.steps = list(steps)
    observed: Any = Observed(ledger.server)
    ledger_pb2_grpc.add_LedgerServicer_to_server(ledger, observed)
    ledger.address = f"127.0.0.1:{ledger.server.bind(*addresses.split(address))}"
    ledger.server.start()
    try:
        yield ledger
    finally:
        await (ledger.stopping or ledger.server.stop(None))


@asynccontextmanager
async def _client(*addresses: str) -> AsyncIterator[LedgerClient]:
    client = LedgerClient(1, addresses)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def nobody() -> str:
    """Give an address on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"127.0.0.1:{closed.getsockname()[1]}"


async def test_the_writer_is_found_behind_a_standby_and_asked_first_from_then_on() -> None:
    async with _ledger(NOT_THE_WRITER) as standby, _ledger() as writer:
        async with _client(standby.address, writer.address) as client:
            for _ in range(3):
                answer = await client.call("GetShardStatus", READ, deadline_seconds=5)
                assert answer.instance == writer.address
        assert (standby.call_count, writer.call_count) == (1, 3)


async def test_a_dead_address_is_passed_over(nobody: str) -> None:
    async with _ledger() as writer, _client(nobody, writer.address) as client:
        assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]


async def test_an_address_that_never_speaks_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        async with _ledger() as writer, _client(mute, writer.address) as client:
            assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]


async def test_one_that_let_a_calls_time_pass_is_asked_last_by_the_next() -> None:
    async with (
        _ledger(lambda: asyncio.Event().wait()) as silent,
        _ledger() as writer,
        _client(silent.address, writer.address) as client,
    ):
        with pytest.raises(errors.OutcomeUnknown):
            await client.call("PostTransfers", WRITE, deadline_seconds=1.0)
        assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]
        assert (silent.call_count, writer.call_count) == (1, 1)
        assert client.addresses == {silent.address, writer.address}


async def test_an_address_that_never_speaks_does_not_take_the_time_of_every_short_call() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        async with _ledger() as writer, _client(mute, writer.address) as client:
            short = clients.CONNECT_SECONDS_MAX * 0.8
            with pytest.raises(errors.Unavailable):
                await client.call("PostTransfers", WRITE, deadline_seconds=short)
            assert (await client.call("PostTransfers", WRITE, deadline_seconds=short)).outcomes == [1]


async def test_a_standby_that_becomes_the_writer_in_time_answers() -> None:
    async with (
        _ledger(NOT_THE_WRITER, NOT_THE_WRITER, NOT_THE_WRITER, lambda: None) as ledger,
        _client(ledger.address) as client,
    ):
        assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]
        assert ledger.call_count == 4


async def test_a_ledger_started_again_at_its_address_is_found_again() -> None:
    async with _ledger() as first:
        client = LedgerClient(1, [first.address])
        await client.call("GetShardStatus", READ, deadline_seconds=5)
    waiting = asyncio.ensure_future(client.call("PostTransfers", WRITE, deadline_seconds=10))
    async with _ledger(address=first.address):
        assert (await waiting).outcomes == [1]
    await client.close()


async def test_a_shard_that_nobody_serves_is_unavailable_not_in_doubt(nobody: str) -> None:
    async with _client(nobody) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.call("PostTransfers", WRITE, deadline_seconds=0.3)
    assert (caught.value.reason, caught.value.metadata) == ("SHARD_UNAVAILABLE", {"shard": "1"})


async def test_a_write_refused_by_every_standby_is_unavailable_not_in_doubt() -> None:
    async with _ledger(NOT_THE_WRITER) as standby, _client(standby.address) as client:
        with pytest.raises(errors.Unavailable, match="shard 1 does not answer"):
            await client.call("PostTransfers", WRITE, deadline_seconds=0.3)


@pytest.mark.parametrize("error", [errors.WrongShard("WRONG_SHARD", "no"), errors.NotFound("TRANSFER_NOT_FOUND", "no")])
async def test_a_definite_answer_is_raised_as_it_is_and_not_tried_again(error: BankError) -> None:
    async with _ledger(_raises(error)) as ledger, _client(ledger.address) as client:
        with pytest.raises(type(error)) as caught:
            await client.call("PostTransfers", WRITE, deadline_seconds=5)
        assert caught.value.reason == error.reason
        assert ledger.call_count == 1


async def test_a_full_queue_is_told_at_once_with_its_hint() -> None:
    async with _ledger(QUEUE_FULL) as ledger, _client(ledger.address) as client:
        with pytest.raises(errors.Overloaded) as caught:
            await client.call("PostTransfers", WRITE, deadline_seconds=5)
        assert caught.value.retry_after_seconds == 0.01


async def test_an_answer_that_gets_lost_is_asked_for_again_and_the_repeat_answers() -> None:
    async with _ledger() as writer, _ledger() as dying:
        dying.steps = [dying.die]
        async with _client(dying.address, writer.address) as client:
            assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]
        assert (dying.call_count, writer.call_count) == (1, 1)


@pytest.mark.parametrize(
    ("method", "request_", "kind"),
    [("PostTransfers", WRITE, errors.OutcomeUnknown), ("GetShardStatus", READ, errors.Unavailable)],
)
async def test_a_lost_answer_leaves_doubt_for_a_write_only(method: str, request_: object, kind: type) -> None:
    async with _ledger() as dying, _client(dying.address) as client:
        dying.steps = [dying.die]
        with pytest.raises(kind):
            await client.call(method, request_, deadline_seconds=1.0)


@pytest.mark.parametrize("afterwards", [QUEUE_FULL, NOT_THE_WRITER, _raises(errors.WrongShard("WRONG_SHARD", "no"))])
async def test_doubt_is_not_cleared_by_a_clean_failure_afterwards(afterwards: Callable[[], object]) -> None:
    async with _ledger(UNKNOWN, afterwards) as ledger, _client(ledger.address) as client:
        with pytest.raises(errors.OutcomeUnknown):
            await client.call("PostTransfers", WRITE, deadline_seconds=1.0)
        assert ledger.call_count >= 2


async def test_doubt_is_cleared_by_an_answer() -> None:
    async with _ledger(UNKNOWN, QUEUE_FULL, NOT_THE_WRITER, lambda: None) as ledger, _client(ledger.address) as client:
        assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]


@pytest.mark.parametrize(
    ("method", "request_", "kind"),
    [("PostTransfers", WRITE, errors.OutcomeUnknown), ("GetShardStatus", READ, errors.DeadlinePassed)],
)
async def test_a_deadline_that_ends_while_waiting_is_doubt_for_a_write_only(
    method: str, request_: object, kind: type
) -> None:
    async with _ledger(lambda: asyncio.Event().wait()) as stuck, _client(stuck.address) as client:
        with pytest.raises(kind):
            await client.call(method, request_, deadline_seconds=1.0)


async def test_a_deadline_that_the_ledger_itself_kept_is_no_doubt() -> None:
    passed = _raises(errors.DeadlinePassed("DEADLINE_EXCEEDED", "nothing was written"))
    async with _ledger(passed) as ledger, _client(ledger.address) as client:
        with pytest.raises(errors.DeadlinePassed):
            await client.call("PostTransfers", WRITE, deadline_seconds=5)


async def test_a_bug_in_the_ledger_is_doubt_for_a_write_and_not_tried_again() -> None:
    def trip() -> None:
        raise LookupError

    async with _ledger(trip) as ledger, _client(ledger.address) as client:
        with pytest.raises(errors.OutcomeUnknown):
            await client.call("PostTransfers", WRITE, deadline_seconds=5)
        with pytest.raises(errors.Unavailable, match="failed"):
            await client.call("GetShardStatus", READ, deadline_seconds=5)
        assert ledger.call_count == 2


async def test_a_client_follows_a_move_while_a_call_waits(nobody: str) -> None:
    async with _ledger() as writer, _client(nobody) as client:
        waiting = asyncio.ensure_future(client.call("PostTransfers", WRITE, deadline_seconds=5))
        await asyncio.sleep(0)
        client.move_to([writer.address])
        assert (await waiting).outcomes == [1]
        assert client.addresses == {writer.address}


async def test_our_own_connections_never_go_through_a_proxy(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://{nobody}")
    async with _ledger() as writer, _client(writer.address) as client:
        assert (await client.call("PostTransfers", WRITE, deadline_seconds=5)).outcomes == [1]
        async with channels.channel(writer.address) as channel:
            assert (await ledger_pb2_grpc.LedgerStub(channel).GetShardStatus(READ, timeout=5)).instance
