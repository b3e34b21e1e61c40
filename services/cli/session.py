"""Finding the bank and talking to its gateway.

A bank on this machine is found by its data directory, whose `bank.json` its supervisor writes, and
a token is minted from its secret; any other bank by the gateway's address and a token. Every
failure leaves here as a `BankError` or a `Failure` whose message is one sentence. Never here: what
a command does with the answers.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from hivecore.gateway.v1 import bank_pb2_grpc

from services.chassis import addresses, status
from services.cli import channels, tokens
from services.cli.bulk import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, NOT_DECIDED_YET, No, Undecided
from services.cli.finding import Where, read_bank_file
from services.cli.output import Failure
from services.domain import errors
from services.domain.errors import BankError

if TYPE_CHECKING:
    from hivecore.gateway.v1.bank_pb2_grpc import BankAsyncStub

DEADLINE_SECONDS: Final = 15.0
BULK_DEADLINE_SECONDS: Final = 45.0
"""Deadline of a call that carries thousands."""

INSIST_SECONDS: Final = 30.0
"""How long a read within a longer piece of work is repeated; a writer's failover takes a few."""

CONNECT_SECONDS: Final = 5.0

Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", covariant=True)
Request = TypeVar("Request")
Response = TypeVar("Response")


class Method(Protocol[Request_contra, Response_co]):
    """One method of the gateway's stub."""

    def __call__(
        self, request: Request_contra, *, timeout: float, metadata: tuple[tuple[str, str], ...]
    ) -> Awaitable[Response_co]:
        """Send one request."""


@dataclass(frozen=True, slots=True)
class Access:
    """A gateway and the token to show it."""

    gateway: str
    token: str
    is_encrypted: bool = False
    authority: bytes | None = None
    """Whose certificates to trust; None: whom this machine trusts."""


TLS_PREFIX: Final = "tls://"
"""Before a gateway's address: it speaks TLS. GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names another authority."""


def find(where: Where) -> Access:
    """Find the gateway and a token. Raises `Failure` when there is none."""
    if where.gateway:
        address = where.gateway.removeprefix(TLS_PREFIX)
        try:
            addresses.split(address)
        except ValueError as error:
            raise Failure(f"--gateway: {error}") from error
        if not where.token:
            raise Failure("--gateway needs a token: give --token or set HIVECORE_TOKEN")
        return Access(address, where.token, is_encrypted=address != where.gateway)
    bank = read_bank_file(where)
    authority = _read_authority(bank.authority_file)
    try:
        token = where.token or tokens.development_token(bank.jwt_secret_file)
    except OSError as error:
        raise Failure(f"{bank.jwt_secret_file}: {error.strerror}; give --token instead") from error
    return Access(bank.gateway, token, is_encrypted=authority is not None, authority=authority)


def _read_authority(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file is not None else None
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from error


class Session:
    """A connection to the gateway, with the token on every call; used as an async context."""

    stub: "BankAsyncStub"

    def __init__(self, access: Access) -> None:
        self.gateway = access.gateway
        self._access = access
        self._metadata = (("authorization", f"Bearer {access.token}"),)

    async def __aenter__(self) -> Self:
        credentials = grpc.ssl_channel_credentials(self._access.authority) if self._access.is_encrypted else None
        self._channel = channels.channel(self.gateway, credentials)
        self.stub = bank_pb2_grpc.BankStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def call(
        self, method: Method[Request, Response], request: Request, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> Response:
        """Send one request and return its answer. Raises `BankError`."""
        try:
            return await method(request, timeout=deadline_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._readable(error) from error

    async def insist(self, method: Method[Request, Response], request: Request) -> Response:
        """Send one request until it is answered, for `INSIST_SECONDS`; for what may be asked twice."""
        loop = asyncio.get_running_loop()
        end, pause_seconds = loop.time() + INSIST_SECONDS, BACKOFF_SECONDS_MIN
        while True:
            try:
                return await self.call(method, request, deadline_seconds=BULK_DEADLINE_SECONDS)
            except NOT_DECIDED_YET:
                if loop.time() > end:
                    raise
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, BACKOFF_SECONDS_MAX)

    async def wait_reachable(self) -> None:
        """Wait until the gateway takes the connection. Raises `Unavailable` when it does not soon."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._channel.channel_ready()
        except TimeoutError:
            raise errors.Unavailable("PEER_UNREACHABLE", f"no gateway answers at {self.gateway}") from None

    def _readable(self, error: grpc.aio.AioRpcError) -> BankError:
        """Turn an RPC error into the `BankError` behind it, or say what the network did."""
        known = status.from_rpc_error(error)
        if status.is_described(error):
            return known
        details = " ".join((error.details() or "").split()) or "no details"
        match error.code():
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return errors.DeadlinePassed(known.reason, f"the gateway at {self.gateway} did not answer in time")
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                return errors.Unavailable(known.reason, f"no gateway answers at {self.gateway}: {details}")
            case code:
                return errors.Unavailable(known.reason, f"the gateway at {self.gateway} failed: {code.name}, {details}")


def answer_of(problem: status_pb2.Status) -> No | Undecided:
    """Read why one item of a call has no result: for good, or not decided yet."""
    error = status.from_status(problem)
    if error is None:
        return Undecided("INTERNAL", problem.message or "internal error")
    if isinstance(error, NOT_DECIDED_YET):
        return Undecided(
            error.reason, error.message, error.retry_after_seconds if isinstance(error, errors.Overloaded) else 0.0
        )
    return No(error.reason, error.message)


def sentence_of(error: BankError) -> str:
    """Say an error in one sentence with its reason; every violated field is named."""
    return f"{_all_violations(error) or error.message} ({error.reason})"


def _all_violations(error: BankError) -> str:
    """List the violations of a malformed request, of which the error names the first only."""
    cause = error.__cause__
    if not isinstance(error, errors.Malformed) or not isinstance(cause, grpc.aio.AioRpcError):
        return ""
    for key, value in cause.trailing_metadata() or ():
        if key == status.DETAILS_KEY and isinstance(value, bytes):
            request = error_details_pb2.BadRequest()
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(request)
            return "; ".join(f"{each.field}: {each.description}" for each in request.field_violations)
    return ""
