"""One request is found again in every service it passed, in logs and traces, and nothing in them that must not be."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc
from small_bank import World, leg, post

from services.cli import channels
from services.cli.bank import Bank
from services.cli.topology import BankOptions

NAME = "Xaverius Quodlibet"
AMOUNT_MINOR = 731_17
PATIENCE_SECONDS = 20.0


class Followed(World):
    """A bank whose services log every call and trace every request."""

    def __init__(self, opened: Bank, stub: Any, traces: Path) -> None:
        super().__init__(opened, stub)
        self.traces = traces

    async def ask_as(self, name: str, method: str, request: Any) -> Any:
        metadata = (("authorization", f"Bearer {self.token}"), ("x-request-id", name))
        return await getattr(self.stub, method)(request, metadata=metadata, timeout=20)

    def log_text(self) -> str:
        return "".join(file.read_text() for file in self.bank.places.logs.glob("*.log"))

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """Return the log lines of all services that name a request, also among others."""
        lines = []
        for file in self.bank.places.logs.glob("*.log"):
            for text in file.read_text().splitlines():
                line = json.loads(text) if text.startswith("{") else {}
                if request_id in line.get("request_id", "").split(","):
                    lines.append(line)
        return lines

    def spans(self) -> list[dict[str, Any]]:
        files = self.traces.glob("*.jsonl")
        return [json.loads(text) for file in files for text in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def traced_place() -> Iterator[Path]:
    """Give a directory that PostgreSQL's account can pass through."""
    with tempfile.TemporaryDirectory(prefix="hivecore-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
async def followed(traced_place: Path) -> AsyncIterator[Followed]:
    pytest.importorskip("opentelemetry.sdk", reason="traces need the extra otel")
    settings = {
        room: {"HIVECORE_TRACES": "file", "HIVECORE_TRACES_FILE": str(traced_place / f"{room}.jsonl")}
        for room in ("gateway", "ledger", "account")
    }
    options = BankOptions(data=traced_place / "bank", shards=2, port=0, log_level="DEBUG", settings=settings)
    async with Bank.open(options) as running, channels.channel(running.gateway) as channel:
        world = Followed(running, bank_pb2_grpc.BankStub(channel), traced_place)
        await world.fill()
        yield world


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.1)


async def test_the_logs_of_every_service_name_the_request(followed: Followed) -> None:
    customer = bank.Customer(display_name=NAME)
    await followed.ask_as(
        "req-open", "OpenCustomer", bank.OpenCustomerRequest(request_id=str(uuid4()), customer=customer)
    )
    transfer = post(leg(followed.mine, followed.far, AMOUNT_MINOR))
    await followed.ask_as("req-pay", "PostTransfer", transfer)
    await until(lambda: {line["service"] for line in followed.lines("req-open")} == {"gateway", "account"})
    await until(lambda: {line["service"] for line in followed.lines("req-pay")} == {"gateway", "ledger"})
    calls = [line for line in followed.lines("req-pay") if line["event"] == "call"]
    assert {line["method"].split("/")[-1] for line in calls} >= {"PostTransfer", "PostTransfers", "CheckPayees"}
    (decided,) = (line for line in followed.lines("req-pay") if line["event"] == "transfer_decided")
    assert decided["transfer_id"] == transfer.transfer.transfer_id
    written = [json.loads(text) for text in followed.log_text().splitlines() if '"batch_written"' in text]
    shards = {line["shard"] for line in written if transfer.transfer.transfer_id in line["transfer_ids"]}
    assert shards == {1, 2}, "the crossing is found by its id on both sides"


async def test_a_failed_call_tells_its_caller_under_which_name_it_is_logged(followed: Followed) -> None:
    for given, expected in (("req-fail", r"req-fail"), ("not well formed", r"[0-9a-f]{32}")):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await followed.ask_as(given, "PostTransfer", post(leg(followed.mine, followed.far, 10**12)))
        status = rpc_status.from_call(failed.value)
        assert status is not None
        told = error_details_pb2.RequestInfo()
        assert any(detail.Unpack(told) for detail in status.details)
        assert re.fullmatch(expected, told.request_id)
        await until(lambda name=told.request_id: followed.lines(name))


async def test_one_trace_leads_from_the_gateway_to_sql(followed: Followed) -> None:
    await followed.ask_as("req-traced", "PostTransfer", post(leg(followed.mine, followed.neighbour)))

    def services_of_the_trace() -> dict[str, set[str]]:
        spans = followed.spans()
        door = [span for span in spans if span["attributes"].get("hivecore.request_id") == "req-traced"]
        traces = {span["context"]["trace_id"] for span in door}
        found: dict[str, set[str]] = {}
        for span in spans:
            if span["context"]["trace_id"] in traces:
                found.setdefault(span["resource"]["attributes"]["service.name"], set()).add(span["name"])
        return found

    await until(lambda: {"gateway", "ledger"} <= services_of_the_trace().keys())
    await until(lambda: "batch" in services_of_the_trace()["ledger"])
    found = services_of_the_trace()
    assert {"hivecore.gateway.v1.Bank/PostTransfer", "PostTransfers"} <= found["gateway"]
    assert "hivecore.ledger.v1.Ledger/PostTransfers" in found["ledger"]
    statements = [
        span
        for span in followed.spans()
        if "UPDATE ledger.journal_head"
        in str(span["attributes"].get("db.statement", span["attributes"].get("db.query.text")))
    ]
    assert {span["context"]["trace_id"] for span in statements} & {
        span["context"]["trace_id"]
        for span in followed.spans()
        if span["attributes"].get("hivecore.request_id") == "req-traced"
    }


async def test_no_log_has_a_token_a_name_or_an_amount(followed: Followed) -> None:
    text = followed.log_text()
    assert '"call"' in text
    assert followed.token not in text
    assert followed.token.split(".")[2] not in text
    assert NAME not in text
    assert not re.search(rf"\b{AMOUNT_MINOR}\b", text)
    assert followed.bank.secret() not in text
    assert "postgresql://" not in text
