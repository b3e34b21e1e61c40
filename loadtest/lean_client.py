"""Calls the bank's public door for a closed or an open loop, with as little processor time as Python allows.

In plain text only; where TLS is spoken, `client.py` calls. The requests, the metadata and what is made of the answers are `client.py`'s; only grpc.aio is left out. A
test lets both talk to the same server. Never here: HTTP/2 (`http2.py`).
"""

import asyncio
import base64
from functools import lru_cache
from typing import Any, Final, Self, TypeAlias

import grpc
from hivecore.gateway.v1 import bank_pb2

from loadtest import client
from loadtest.client import DETAILS, MESSAGE_BYTES_MAX, Access, Outcome
from loadtest.http2 import Connection, ConnectionLost, Headers, NotInTime

PREFIX_BYTES: Final = 5
"""Before a message: whether it is compressed, and its length."""

FAILURES_REMEMBERED_MAX: Final = 256
"""Refusals that are the same to the last byte are read once."""

_BANK: Final = bank_pb2.DESCRIPTOR.services_by_name["Bank"]

CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Answer: TypeAlias = asyncio.Future[tuple[Headers, bytes]]
"""Of a call under way; `LeanClient.told` says what it means, failures included."""


class LeanClient:
    """One connection to the gateway at a time. Made inside the running event loop, used as a context manager."""

    def __init__(self, access: Access, seconds: float = client.DEADLINE_SECONDS) -> None:
        """`seconds` is every call's deadline."""
        self._host, _, port = access.gateway.rpartition(":")
        self._port = int(port)
        self._seconds = seconds
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._headers = {method: headers_of(method, access, seconds) for method in _BANK.methods_by_name}
        self._readers = {
            name: _message(method.output_type).FromString for name, method in _BANK.methods_by_name.items()
        }

    async def __aenter__(self) -> Self:
        """Connect. Raises OSError."""
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        if self._connection is not None:
            self._connection.close()

    async def send(self, method: str, request: Any, transfers: int) -> list[Outcome]:
        """Call a method by name; give one outcome for each of the transfers in it, or one of a call without."""
        written = request if isinstance(request, bytes) else request.SerializeToString()
        answer = await self._call(self._headers[method], written)
        if isinstance(answer, Outcome):
            return [answer] * max(1, transfers)
        return client.outcomes_of_answer(self._readers[method](answer))

    def begin(self, method: str, request: bytes) -> Answer | None:
        """Call a method by name without a task that waits; None when there is no connection, and one must wait for it."""
        connection = self._connection
        if connection is None or not connection.is_open:
            return None
        return connection.call(self._headers[method], prefixed(request))

    def told(self, method: str, answer: Answer, transfers: int) -> list[Outcome]:
        """Tell what `send` would have returned, of a call begun and now answered, failed or given up."""
        body = _body_or_failure(answer)
        if isinstance(body, Outcome):
            return [body] * max(1, transfers)
        return client.outcomes_of_answer(self._readers[method](body))

    async def post_one(self, request: bytes) -> list[Outcome]:
        """Post one transfer from a PostTransferRequest's bytes."""
        answer = await self._call(self._headers["PostTransfer"], request)
        if isinstance(answer, Outcome):
            return [answer]
        return [client.outcome_of_transfer(bank_pb2.Transfer.FromString(answer))]

    async def post_many(self, request: bytes, count: int) -> list[Outcome]:
        """Post `count` transfers from a PostTransfersRequest's bytes."""
        answer = await self._call(self._headers["PostTransfers"], request)
        if isinstance(answer, Outcome):
            return [answer] * count
        return client.outcomes_of_answer(bank_pb2.PostTransfersResponse.FromString(answer))

    async def _call(self, headers: tuple[tuple[str, str], ...], request: bytes) -> bytes | Outcome:
        """Return an answer's bytes, or what its failure means."""
        connection = self._connection
        try:
            if connection is None or not connection.is_open:
                connection = await self._connected()
            return _body(*await connection.call(headers, prefixed(request)))
        except (ConnectionLost, OSError):
            return _outcome_of_failure(grpc.StatusCode.UNAVAILABLE)
        except NotInTime:
            return _outcome_of_failure(grpc.StatusCode.DEADLINE_EXCEEDED)

    async def _connected(self) -> Connection:
        """Connect, unless another caller has meanwhile. Raises OSError."""
        async with self._connecting:
            if self._connection is None or not self._connection.is_open:
                loop = asyncio.get_running_loop()
                _, self._connection = await loop.create_connection(
                    lambda: Connection(self._seconds), self._host, self._port
                )
            return self._connection


def headers_of(method: str, access: Access, seconds: float) -> tuple[tuple[str, str], ...]:
    """Give the headers of a call of a method by name; `seconds` is its deadline."""
    return (
        *((":method", "POST"), (":scheme", "http"), (":path", f"/{_BANK.full_name}/{method}")),
        *((":authority", access.gateway), ("te", "trailers"), ("content-type", "application/grpc")),
        ("grpc-timeout", f"{round(seconds * 1000)}m"),
        *access.metadata,
    )


def prefixed(request: bytes) -> bytes:
    """Write a message as gRPC sends it, uncompressed."""
    return b"\0" + len(request).to_bytes(4) + request


def _body_or_failure(answer: Answer) -> bytes | Outcome:
    match answer.exception():
        case None:
            return _body(*answer.result())
        case ConnectionLost():
            return _outcome_of_failure(grpc.StatusCode.UNAVAILABLE)
        case NotInTime():
            return _outcome_of_failure(grpc.StatusCode.DEADLINE_EXCEEDED)
        case error:
            raise error


def failure_of(told: Headers) -> Outcome | None:
    """Tell what the failure means that an answer's headers, trailers among them, tell of; None when they tell of none."""
    code = details = ""
    for name, value in told:
        if name == "grpc-status":
            code = value
        elif name == DETAILS:
            details = value
    if code == "0":
        return None
    return _outcome_of_failure(CODES.get(int(code or "2"), grpc.StatusCode.UNKNOWN), details)


def _body(told: Headers, body: bytes) -> bytes | Outcome:
    """Give an answer's message, or what the failure that it tells means."""
    failure = failure_of(told)
    if failure is not None:
        return failure
    assert body[0] == 0, "nobody was told that messages may be compressed"
    assert PREFIX_BYTES + int.from_bytes(body[1:PREFIX_BYTES]) == len(body) <= MESSAGE_BYTES_MAX
    return body[PREFIX_BYTES:]


def _message(described: Any) -> Any:
    """Give the class of a message."""
    return getattr(bank_pb2, described.name)


@lru_cache(FAILURES_REMEMBERED_MAX)
def _outcome_of_failure(code: grpc.StatusCode, details: str = "") -> Outcome:
    return client.outcome_of_failure(_Failure(code, details))


class _Failure:
    """A failed call, as grpc shows one."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        """`details` are base64, without the padding, which gRPC leaves out."""
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Tell the status code."""
        return self._code

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        """Give the details, if there are any."""
        details = self._details
        return [(DETAILS, base64.b64decode(details + "=" * (-len(details) % 4)))] if details else []
