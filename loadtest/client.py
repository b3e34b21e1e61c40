"""A client of the bank's public door, and what its answers mean to a load test.

Never here: what to send. Knows the wire only.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc
from google.rpc import error_details_pb2, status_pb2
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)

CONNECT_SECONDS_MAX: Final = 10.0
DEADLINE_SECONDS: Final = 15.0
DETAILS: Final = "grpc-status-details-bin"

POSTED: Final = "posted"
IN_TRANSIT: Final = "in_transit"
REFUSED: Final = "refused"
RETURNED: Final = "returned"
ERROR: Final = "error"
"""Nothing was written."""
UNKNOWN: Final = "unknown"
"""It may have been written, or not."""

KINDS: Final = (POSTED, IN_TRANSIT, REFUSED, RETURNED, ERROR, UNKNOWN)

_KIND_BY_STATE: Final = {
    bank_pb2.Transfer.POSTED: POSTED,
    bank_pb2.Transfer.IN_TRANSIT: IN_TRANSIT,
    bank_pb2.Transfer.REFUSED: REFUSED,
    bank_pb2.Transfer.RETURNED: RETURNED,
}
_IN_DOUBT: Final = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class Outcome(NamedTuple):
    """What became of one transfer, as its caller learned it."""

    kind: str
    """One of `KINDS`."""
    reason: str = ""


DONE: Final = Outcome(POSTED)


@dataclass(frozen=True, slots=True)
class Access:
    """A gateway and the token to show it."""

    gateway: str
    """host:port."""
    token: str = field(repr=False)
    authority: bytes | None = None
    """Whose certificates to trust (PEM); None where the gateway speaks plain text."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return (("authorization", f"Bearer {self.token}"),)


class Client:
    """One connection to the gateway. Made inside the running event loop, used as a context manager."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._metadata = access.metadata
        self._channel = _channel(access)
        self.stub = bank_pb2_grpc.BankStub(self._channel)
        service = bank_pb2.DESCRIPTOR.services_by_name["Bank"].full_name
        # Requests come as bytes from the stencil, so these two are not the stub's.
        self._service = service
        self._post_transfer: Callable[..., Awaitable[bank_pb2.Transfer]] = self._channel.unary_unary(
            f"/{service}/PostTransfer", response_deserializer=bank_pb2.Transfer.FromString
        )
        self._post_transfers: Callable[..., Awaitable[bank_pb2.PostTransfersResponse]] = self._channel.unary_unary(
            f"/{service}/PostTransfers", response_deserializer=bank_pb2.PostTransfersResponse.FromString
        )

    async def __aenter__(self) -> Self:
        """Open it; connects with the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close it before the context ends."""
        await self._channel.close()

    async def call(self, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """Call a method of `stub`, waiting for the connection. Raises grpc.aio.AioRpcError."""
        return await method(request, metadata=self._metadata, timeout=DEADLINE_SECONDS * 4, wait_for_ready=True)

    async def send(self, method: str, request: Any, transfers: int, seconds: float = DEADLINE_SECONDS) -> list[Outcome]:
        """Call a method of `stub` by name; give one outcome for each of the transfers in it, or one of a call without.

        `seconds` is the deadline.
        """
        try:
            answer = await getattr(self.stub, method)(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            return [outcome_of_failure(failure)] * max(1, transfers)
        return outcomes_of_answer(answer)

    async def post_one(self, request: bytes, seconds: float = DEADLINE_SECONDS) -> list[Outcome]:
        """Post one transfer from a PostTransferRequest's bytes; `seconds` is the deadline."""
        try:
            transfer = await self._post_transfer(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            return [outcome_of_failure(failure)]
        return [outcome_of_transfer(transfer)]

    async def repeat(self, method: str, request: bytes, seconds: float = DEADLINE_SECONDS) -> Outcome:
        """Send the bytes of a request whose answer is a transfer, by the name of its method."""
        send: Callable[..., Awaitable[bank_pb2.Transfer]] = self._channel.unary_unary(
            f"/{self._service}/{method}", response_deserializer=bank_pb2.Transfer.FromString
        )
        try:
            transfer = await send(request, metadata=self._metadata, timeout=seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as failure:
            return outcome_of_failure(failure)
        return outcome_of_transfer(transfer)

    async def post_many(self, request: bytes, count: int, seconds: float = DEADLINE_SECONDS) -> list[Outcome]:
        """Post `count` transfers from a PostTransfersRequest's bytes; `seconds` is the deadline."""
        try:
            response = await self._post_transfers(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            return [outcome_of_failure(failure)] * count
        return outcomes_of_answer(response)


def _channel(access: Access) -> grpc.aio.Channel:
    if access.authority is None:
        return grpc.aio.insecure_channel(access.gateway, options=CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(access.authority)
    return grpc.aio.secure_channel(access.gateway, credentials, options=CHANNEL_OPTIONS)


def outcomes_of_answer(answer: Any) -> list[Outcome]:
    """Tell what an answer means, for each of its transfers; of a call without transfers, that it succeeded."""
    match answer:
        case bank_pb2.PostTransfersResponse():
            posted = bank_pb2.Transfer.POSTED
            return [DONE if result.state == posted else _outcome_of_result(result) for result in answer.results]
        case bank_pb2.Transfer():
            return [outcome_of_transfer(answer)]
        case _:
            return [DONE]


def outcome_of_transfer(transfer: bank_pb2.Transfer) -> Outcome:
    """Tell what the answer to a single transfer means."""
    return DONE if transfer.state == bank_pb2.Transfer.POSTED else Outcome(_KIND_BY_STATE[transfer.state])


def outcome_of_failure(failure: Any) -> Outcome:
    """Tell what a failed call (of either of grpc's two APIs) means for its transfers."""
    code: grpc.StatusCode = failure.code()
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS:
            return _outcome_of_status(status_pb2.Status.FromString(value), code.name)
    # The bank describes its errors, so this one comes from the way there or back.
    in_doubt = code in _IN_DOUBT or code is grpc.StatusCode.UNAVAILABLE
    return Outcome(UNKNOWN if in_doubt else ERROR, code.name)


def _outcome_of_result(result: bank_pb2.TransferResult) -> Outcome:
    if result.HasField("error"):
        return _outcome_of_status(result.error, str(result.error.code))
    return Outcome(_KIND_BY_STATE[result.state], result.reason)


def _outcome_of_status(status: Any, code: str) -> Outcome:
    information = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(information):
            break
    reason = information.reason or code
    if information.metadata.get("state") == "REFUSED":
        return Outcome(REFUSED, reason)
    if information.metadata.get("state") == "RETURNED":
        return Outcome(RETURNED, reason)
    in_doubt = reason == "OUTCOME_UNKNOWN" or status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    return Outcome(UNKNOWN if in_doubt else ERROR, reason)
