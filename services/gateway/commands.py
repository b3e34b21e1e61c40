"""Holds, captures, reversals and changes of accounts: read, or refused field by field. Pure.

What a ledger carries out by itself becomes its message; what is a transfer, columns. Never here:
who may ask, or whether the books agree.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import chart, errors, identifiers, limits
from services.domain.outcomes import Refusal
from services.gateway import fields, wire
from services.gateway.columns import LIMITS_OVERRIDDEN, OVERDRAW, FurtherLeg, Special, Transfers
from services.gateway.fields import Findings

_NO_ID: Final = b""
_NO_NAME: Final = (0, _NO_ID)
_RESTRICTIONS_BY_STATE: Final = {state: bits for bits, state in wire.STATE_BY_RESTRICTIONS.items()}
_LIMITS: Final = ("balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max")


def read_placing(request: bank_pb2.PlaceHoldRequest) -> ledger_pb2.HoldCommand:
    """Read a hold to place. Raises `Malformed`."""
    hold, findings = request.hold, Findings("hold")
    hold_id = findings.take(identifiers.parse_uuid, hold.hold_id, "hold_id", _NO_ID)
    account = findings.take(identifiers.parse_account_number, hold.account, "account", 0)
    payee = 0
    if hold.payee_account:
        payee = findings.take(identifiers.parse_account_number, hold.payee_account, "payee_account", 0)
    if payee and payee == account:
        findings.add("SAME_ACCOUNT", "payee_account", "must differ from the hold's account")
    _check_amount(hold.amount_minor, findings)
    currency = findings.take(fields.parse_currency, hold.currency_code, "currency_code", 0)
    _check_seconds(hold.hold_seconds, findings)
    reference = findings.text(hold.reference, "reference", limits.REFERENCE_CHARACTERS_MAX)
    findings.raise_if_any()
    return ledger_pb2.HoldCommand(
        kind=ledger_pb2.HoldCommand.PLACE,
        command_id=hold_id,
        hold_id=hold_id,
        account_number=account,
        amount_minor=hold.amount_minor,
        currency=currency,
        seconds=hold.hold_seconds or limits.HOLD_SECONDS_DEFAULT,
        payee_account=payee,
        reference=reference,
        flags=LIMITS_OVERRIDDEN if request.override_limits else 0,
    )


def read_increase(request: bank_pb2.IncreaseHoldRequest) -> ledger_pb2.HoldCommand:
    """Read a hold to increase. Raises `Malformed`."""
    findings = Findings()
    account, hold_id = findings.take(fields.parse_hold_name, request.name, "name", _NO_NAME)
    command_id = _read_request_id(request.request_id, hold_id, findings)
    _check_amount(request.amount_minor, findings)
    currency = findings.take(fields.parse_currency, request.currency_code, "currency_code", 0)
    _check_seconds(request.hold_seconds, findings)
    findings.raise_if_any()
    return ledger_pb2.HoldCommand(
        kind=ledger_pb2.HoldCommand.INCREASE,
        command_id=command_id,
        hold_id=hold_id,
        account_number=account,
        amount_minor=request.amount_minor,
        currency=currency,
        seconds=request.hold_seconds,
    )


def read_release(request: bank_pb2.ReleaseHoldRequest) -> ledger_pb2.HoldCommand:
    """Read a hold to release. Raises `Malformed`."""
    findings = Findings()
    account, hold_id = findings.take(fields.parse_hold_name, request.name, "name", _NO_NAME)
    command_id = _read_request_id(request.request_id, hold_id, findings)
    findings.raise_if_any()
    return ledger_pb2.HoldCommand(
        kind=ledger_pb2.HoldCommand.RELEASE, command_id=command_id, hold_id=hold_id, account_number=account
    )


def capture_fault(
    request: bank_pb2.CaptureHoldRequest, transfers: Transfers, fault: errors.BankError | None
) -> errors.BankError | None:
    """Tell everything that is wrong with a capture, whose transfer has been read; else make it one."""
    findings = Findings()
    account, hold_id = findings.take(fields.parse_hold_name, request.name, "name", _NO_NAME)
    if isinstance(fault, errors.Malformed):
        findings.join(fault)
    legs = request.transfer.legs
    if 1 < len(legs) <= limits.LEGS_PER_TRANSFER_MAX:
        findings.add("LEGS_TOO_MANY", "transfer.legs", "a capture has one leg")
    elif len(legs) == 1 and account and fault is None and transfers.debit_accounts[0] != account:
        findings.add("DEBIT_ACCOUNT_MISMATCH", "transfer.legs[0].debit_account", "must be the hold's account")
    found = findings.error() or fault
    if found is None:
        transfers.specials[0] = transfers.specials.get(0, Special())._replace(hold_id=hold_id)
    return found


class Reversal(NamedTuple):
    """A transfer to be given back, as it was asked for."""

    payer_account: int
    """Of the original."""
    original_id: bytes
    transfer_id: bytes
    amount_minor: int
    """0 for the whole."""
    flags: int
    reference: str


def read_reversal(request: bank_pb2.ReverseTransferRequest) -> Reversal:
    """Read what to reverse. Raises `Malformed`."""
    findings = Findings()
    payer, original_id = findings.take(fields.parse_transfer_name, request.name, "name", _NO_NAME)
    transfer_id = findings.take(identifiers.parse_uuid, request.transfer_id, "transfer_id", _NO_ID)
    if request.amount_minor < 0:
        findings.add("AMOUNT_NEGATIVE", "amount_minor", "at least 1, or 0 for the whole")
    elif request.amount_minor > limits.AMOUNT_MINOR_MAX:
        findings.add("AMOUNT_TOO_LARGE", "amount_minor", f"at most {limits.AMOUNT_MINOR_MAX}")
    if request.policy not in bank_pb2.ReverseTransferRequest.Policy.values():
        findings.add("POLICY_UNKNOWN", "policy", "either REFUSE or OVERDRAW")
    reference = findings.text(request.reference, "reference", limits.REFERENCE_CHARACTERS_MAX)
    findings.raise_if_any()
    flags = OVERDRAW if request.policy == bank_pb2.ReverseTransferRequest.OVERDRAW else 0
    return Reversal(payer, original_id, transfer_id, request.amount_minor, flags, reference)


def reversing(asked: Reversal, original: ledger_pb2.TransferRecord, home_id: int = 0) -> Transfers:
    """Write the transfer that gives a posted one back: its legs the other way round, the last one first.

    So money that a leg passed on is back before it is asked for. Fees stay. `home_id` is the shard that
    decided the original, when that is not its first payer's. Raises `Unavailable` while that
    is on its way, and `Refused`: ORIGINAL_NOT_POSTED, and REVERSAL_MISMATCH for a part of several legs.
    """
    if original.outcome == ledger_pb2.OUTCOME_IN_TRANSIT:
        raise wire.original_in_transit()
    metadata = {"transfer_id": identifiers.uuid_text(asked.transfer_id)}
    if original.outcome != ledger_pb2.OUTCOME_POSTED:
        raise wire.refused(Refusal.ORIGINAL_NOT_POSTED, metadata)
    turned = [leg for leg in reversed(original.legs) if not leg.is_fee]
    if len(turned) > 1 and not _is_whole(asked, turned):
        raise wire.refused(Refusal.REVERSAL_MISMATCH, metadata)
    return _reversal(asked, turned, home_id)


def reversed_before(asked: Reversal, original: ledger_pb2.TransferRecord, home_id: int) -> list[tuple[int, Transfers]]:
    """Write it as earlier releases gave several legs back, each with an account on whose shard it would be known.

    They gave the first leg back first, or of a crossing only that one. For ids that are known already: what they
    mean never changes, and only who asks in the same words is told.
    """
    legs = [leg for leg in original.legs if not leg.is_fee]
    if len(legs) == 1:
        return []
    forms = [(legs[0].credit_account, _reversal(asked, legs[:1], 0))]
    if _is_whole(asked, legs):
        forms.insert(0, (asked.payer_account, _reversal(asked, legs, home_id)))
    return forms


def _is_whole(asked: Reversal, legs: Sequence[ledger_pb2.TransferRecord.Leg]) -> bool:
    return asked.amount_minor in {0, sum(leg.amount_minor for leg in legs)}


def _reversal(asked: Reversal, legs: Sequence[ledger_pb2.TransferRecord.Leg], home_id: int) -> Transfers:
    first, *further = legs
    return Transfers(
        asked.transfer_id,
        [first.credit_account],
        [first.debit_account],
        [first.amount_minor if further else asked.amount_minor or first.amount_minor],
        [first.currency],
        [asked.reference] if asked.reference else [],
        further_legs=[
            FurtherLeg(0, leg.credit_account, leg.debit_account, leg.amount_minor, leg.currency) for leg in further
        ],
        specials={0: Special(original_id=asked.original_id, flags=asked.flags, home_id=home_id)},
    )


def read_state_change(request: bank_pb2.ChangeAccountStateRequest) -> ledger_pb2.ChangeAccountRequest:
    """Read a change of an account's state of life. Raises `Malformed`."""
    findings = Findings()
    change = ledger_pb2.ChangeAccountRequest(
        account_number=findings.take(fields.parse_account_name, request.name, "name", 0),
        change_id=findings.take(identifiers.parse_uuid, request.request_id, "request_id", _NO_ID),
    )
    restrictions = _RESTRICTIONS_BY_STATE.get(request.state)
    if restrictions is None:
        findings.add("STATE_INVALID", "state", "not a state that an account can be given")
    else:
        change.restrictions = restrictions
    change.reason = _read_reason(request.reason, findings)
    findings.raise_if_any()
    return change


def read_limits_change(request: bank_pb2.ChangeAccountLimitsRequest) -> ledger_pb2.ChangeAccountRequest:
    """Read a change of what an account may do. Raises `Malformed`."""
    findings = Findings()
    change = ledger_pb2.ChangeAccountRequest(
        account_number=findings.take(fields.parse_account_name, request.name, "name", 0),
        change_id=findings.take(identifiers.parse_uuid, request.request_id, "request_id", _NO_ID),
    )
    has_floor, has_limits = request.HasField("floor_minor"), request.HasField("limits")
    if has_floor:
        if -limits.BALANCE_MINOR_MAX <= request.floor_minor <= 0:
            change.floor_minor = request.floor_minor
        else:
            findings.add("FLOOR_INVALID", "floor_minor", f"from {-limits.BALANCE_MINOR_MAX} to 0")
    if has_limits:
        _read_limits(request.limits, change, findings)
    if request.HasField("customer_day_minor_max"):
        _read_cap(request.customer_day_minor_max, change, findings)
    elif not has_floor and not has_limits:
        findings.add("CHANGE_MISSING", "limits", "a floor, limits or a customer's cap to change")
    change.reason = _read_reason(request.reason, findings)
    findings.raise_if_any()
    return change


def _read_limits(message: bank_pb2.AccountLimits, change: ledger_pb2.ChangeAccountRequest, findings: Findings) -> None:
    change.allowance.SetInParent()
    for name in _LIMITS:
        if message.HasField(name):
            value = getattr(message, name)
            if 0 <= value <= limits.BALANCE_MINOR_MAX:
                setattr(change.allowance, name, value)
            else:
                findings.add("LIMIT_INVALID", f"limits.{name}", f"from 0 to {limits.BALANCE_MINOR_MAX}")


def _read_cap(cap_minor: int, change: ledger_pb2.ChangeAccountRequest, findings: Findings) -> None:
    field = "customer_day_minor_max"
    if not -1 <= cap_minor <= limits.BALANCE_MINOR_MAX:
        findings.add("LIMIT_INVALID", field, f"from 0 to {limits.BALANCE_MINOR_MAX}, or -1 to lift the cap")
    elif chart.is_internal(change.account_number):
        findings.add("ACCOUNT_WITHOUT_CUSTOMER", field, "the bank's own accounts have no customer")
    else:
        change.customer_day_minor_max = cap_minor


def _read_request_id(text: str, hold_id: bytes, findings: Findings) -> bytes:
    """Read the id of a command; a hold's own id is the one that placed it."""
    command_id = findings.take(identifiers.parse_uuid, text, "request_id", _NO_ID)
    if command_id and command_id == hold_id:
        findings.add("REQUEST_ID_OF_HOLD", "request_id", "must differ from the hold's id")
    return command_id


def _read_reason(text: str, findings: Findings) -> str:
    if not text:
        findings.add("REASON_MISSING", "reason", "at least 1 character")
    return findings.text(text, "reason", limits.REFERENCE_CHARACTERS_MAX)


def _check_amount(amount_minor: int, findings: Findings) -> None:
    if amount_minor < 1:
        findings.add("AMOUNT_NOT_POSITIVE", "amount_minor", "at least 1")
    elif amount_minor > limits.AMOUNT_MINOR_MAX:
        findings.add("AMOUNT_TOO_LARGE", "amount_minor", f"at most {limits.AMOUNT_MINOR_MAX}")


def _check_seconds(seconds: int, findings: Findings) -> None:
    if not 0 <= seconds <= limits.HOLD_SECONDS_MAX:
        findings.add("HOLD_SECONDS_INVALID", "hold_seconds", f"from 0 to {limits.HOLD_SECONDS_MAX}")
