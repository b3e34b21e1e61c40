"""The one table from error to gRPC status, and the way back.

The code says what to do next, `ErrorInfo.reason` says why. `interceptors.py` applies it to what
servicers raise; clients read it back into the same class. Never here: deciding to retry.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from services.domain import errors
from services.domain.errors import BankError

DOMAIN: Final = "hivecore"
DETAILS_KEY: Final = "grpc-status-details-bin"
"""Metadata key under which gRPC carries google.rpc.Status."""

DOUBT_REASON: Final = "OUTCOME_UNKNOWN"
"""The one reason of `OutcomeUnknown`; it tells it from `Unavailable`, whose code it shares."""

CODE_BY_ERROR: Final[dict[type[BankError], grpc.StatusCode]] = {
    errors.Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.Refused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.WrongShard: grpc.StatusCode.ABORTED,
    errors.OutcomeUnknown: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_KIND_BY_NUMBER: Final = {
    code.value[0]: kind for kind, code in CODE_BY_ERROR.items() if kind is not errors.OutcomeUnknown
}
_RETRY_AFTER_SECONDS_DEFAULT: Final = 0.1


class Failure(Protocol):
    """A failed call: grpc's own error, or our transport's."""

    def code(self) -> grpc.StatusCode:
        """Tell the status code."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Give what came with the status."""


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number


def _packed(details: Iterable[Message]) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return packed


def _details(error: BankError) -> list[Message]:
    found: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, errors.Malformed):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(
                field=each.field, description=each.description, reason=each.reason
            )
            for each in (error, *error.further)
        ]
        found.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, errors.Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_seconds * 1_000_000_000))
        found.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return found


def to_status(error: BankError, request_id: str = "") -> status_pb2.Status:
    """Say an error as google.rpc.Status, with ErrorInfo and, where they help, BadRequest, RetryInfo and RequestInfo."""
    assert isinstance(error, errors.OutcomeUnknown) == (error.reason == DOUBT_REASON), "doubt has one reason"
    code = CODE_BY_ERROR[type(error)]
    details = [*_details(error), *_request_info(request_id)]
    return status_pb2.Status(code=_number(code), message=error.message, details=_packed(details))


def internal_status(request_id: str) -> status_pb2.Status:
    """Say that there is a bug, and under which name its traceback stands in the log."""
    if not request_id:
        return INTERNAL_STATUS
    described = status_pb2.Status()
    described.CopyFrom(INTERNAL_STATUS)
    described.details.extend(_packed(_request_info(request_id)))
    return described


def _request_info(request_id: str) -> list[Message]:
    return [error_details_pb2.RequestInfo(request_id=request_id)] if request_id else []


INTERNAL_STATUS: Final = status_pb2.Status(
    code=_number(grpc.StatusCode.INTERNAL),
    message="internal error",
    details=_packed([error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN)]),
)
"""What a bug looks like from outside: nothing inside."""


def from_rpc_error(error: Failure) -> BankError:
    """Read an error back into the class and reason that the peer raised.

    A failure that no servicer of ours described is `DeadlinePassed` (DEADLINE_EXCEEDED),
    `Unavailable` (PEER_UNREACHABLE) when the connection failed or the peer was stopping, otherwise
    `Unavailable` (PEER_FAILED). Whether such a call was carried out is for its caller to judge.
    """
    described = _described(error)
    if described is not None:
        return described
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came before the answer")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return errors.Unavailable("PEER_UNREACHABLE", "a service needed for this does not answer")
        case _:
            return errors.Unavailable("PEER_FAILED", "a service needed for this failed")


def is_described(error: Failure) -> bool:
    """Tell whether one of our servicers raised this, rather than gRPC itself or a bug."""
    return _described(error) is not None


def from_status(status: status_pb2.Status) -> BankError | None:
    """Read an error out of google.rpc.Status; None when it is not one of ours."""
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, request, retry):
            detail.Unpack(message)  # Does nothing to a message of another type.
    kind = _KIND_BY_NUMBER.get(status.code)
    if info.domain != DOMAIN or kind is None:
        return None
    if kind is errors.Malformed:
        field = info.metadata.get("field", "")
        description = request.field_violations[0].description if request.field_violations else status.message
        further = [errors.Malformed(each.reason, each.field, each.description) for each in request.field_violations[1:]]
        return errors.Malformed(info.reason, field, description, further)
    if kind is errors.Overloaded:
        seconds = retry.retry_delay.ToNanoseconds() / 1_000_000_000 or _RETRY_AFTER_SECONDS_DEFAULT
        return errors.Overloaded(info.reason, status.message, seconds)
    if info.reason == DOUBT_REASON:
        kind = errors.OutcomeUnknown
    return kind(info.reason, status.message, info.metadata)


def _described(error: Failure) -> BankError | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                return None
    return None
