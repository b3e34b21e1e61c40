"""The one table from error to gRPC status, and the way back."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.chassis import status
from services.domain import errors
from services.domain.errors import BankError

ONE_OF_EACH: list[BankError] = [
    errors.Malformed("AMOUNT_INVALID", "transfer.legs[0].amount_minor", "must be at least 1"),
    errors.Unauthenticated("TOKEN_EXPIRED", "the token is too old"),
    errors.Forbidden("SCOPE_MISSING", "the token lacks transfers.write", {"scope": "transfers.write"}),
    errors.NotFound("ACCOUNT_NOT_FOUND", "no account 1", {"account": "1"}),
    errors.Conflict("TRANSFER_ID_REUSED", "the id names another transfer"),
    errors.Refused("INSUFFICIENT_FUNDS", "not enough money", {"state": "REFUSED"}),
    errors.Overloaded("QUEUE_FULL", "the queue is full", 0.25),
    errors.Unavailable("NOT_THE_WRITER", "another process writes this shard"),
    errors.WrongShard("WRONG_SHARD", "the slot lives elsewhere", {"directory_version": "7"}),
    errors.OutcomeUnknown("OUTCOME_UNKNOWN", "send the same ids again"),
    errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came first"),
]


def _kinds() -> set[type[BankError]]:
    found = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BankError)}
    return found - {BankError}


def _details(described: status_pb2.Status, kind: type) -> list[object]:
    found = []
    for detail in described.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def test_every_kind_of_error_has_exactly_one_status() -> None:
    assert status.CODE_BY_ERROR.keys() == _kinds()
    assert {type(error) for error in ONE_OF_EACH} == _kinds()


def test_only_doubt_shares_its_code_with_another_kind() -> None:
    codes = [code for kind, code in status.CODE_BY_ERROR.items() if kind is not errors.OutcomeUnknown]
    assert len(set(codes)) == len(codes)
    assert grpc.StatusCode.OK not in codes
    assert grpc.StatusCode.INTERNAL not in codes


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_every_status_carries_exactly_one_error_info_with_reason_and_metadata(error: BankError) -> None:
    (info,) = _details(status.to_status(error), error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason, dict(info.metadata)) == ("hivecore", error.reason, error.metadata)


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_a_status_reads_back_as_the_error_it_was_made_of(error: BankError) -> None:
    again = status.from_status(status.to_status(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)


def test_a_malformed_request_names_the_field_that_is_wrong() -> None:
    (request,) = _details(status.to_status(ONE_OF_EACH[0]), error_details_pb2.BadRequest)
    (violation,) = request.field_violations
    assert violation.field == "transfer.legs[0].amount_minor"
    assert violation.description == "must be at least 1"
    assert violation.reason == "AMOUNT_INVALID"


def test_overload_says_when_to_come_back() -> None:
    (retry,) = _details(status.to_status(errors.Overloaded("QUEUE_FULL", "full", 1.25)), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.25


def test_a_bug_looks_the_same_whatever_it_was() -> None:
    assert status.INTERNAL_STATUS.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.INTERNAL_STATUS.message == "internal error"
    assert status.from_status(status.INTERNAL_STATUS) is None


def _rpc_error(code: grpc.StatusCode, *trailing: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), "words")


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable, "PEER_UNREACHABLE"),
        (grpc.StatusCode.CANCELLED, errors.Unavailable, "PEER_UNREACHABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlinePassed, "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.INTERNAL, errors.Unavailable, "PEER_FAILED"),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unavailable, "PEER_FAILED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Unavailable, "PEER_FAILED"),
    ],
)
def test_a_failure_that_nobody_described_is_named_by_its_code(
    code: grpc.StatusCode, kind: type[BankError], reason: str
) -> None:
    failure = _rpc_error(code)
    error = status.from_rpc_error(failure)
    assert (type(error), error.reason) == (kind, reason)
    assert not status.is_described(failure)


def test_somebody_elses_details_do_not_pass_for_ours() -> None:
    foreign = status.to_status(ONE_OF_EACH[3])
    info = error_details_pb2.ErrorInfo(reason="X", domain="example.com")
    foreign.details[0].Pack(info)
    for blob in (foreign.SerializeToString(), b"\xff not a status"):
        failure = _rpc_error(grpc.StatusCode.NOT_FOUND, (status.DETAILS_KEY, blob))
        assert status.from_rpc_error(failure).reason == "PEER_FAILED"


def test_doubt_has_one_reason_and_nothing_else_has_it() -> None:
    with pytest.raises(AssertionError):
        status.to_status(errors.OutcomeUnknown("SOMETHING_ELSE", "no"))
    with pytest.raises(AssertionError):
        status.to_status(errors.Unavailable("OUTCOME_UNKNOWN", "no"))
