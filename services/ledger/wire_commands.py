"""Between the messages about accounts and holds and their values: openings, changes, holds' commands.

What would break the books' shape is refused as malformed. Never here: what may be done.
"""

from collections.abc import Sequence

from hivecore.ledger.v1 import ledger_pb2

from services.domain import chart, errors, limits
from services.ledger import changes
from services.ledger.books import AccountState, Allowance, Flag, Hold, HoldCommand
from services.ledger.change_rows import Change
from services.ledger.wire import actor, fingerprint, one_id

ACCOUNTS_PER_CALL_MAX = limits.OPENINGS_PER_CALL_MAX
HOLDS_PER_CALL_MAX = 1_000


def openings(request: ledger_pb2.OpenAccountsRequest) -> list[AccountState]:
    """Read accounts to open. Raises `Malformed`."""
    numbers, currencies, floors = request.account_numbers, request.currencies, request.floors_minor
    count = len(numbers)
    customers = list(request.customer_numbers) or [0] * count
    restrictions = list(request.restrictions) or [0] * count
    columns: Sequence[Sequence[int]] = (currencies, floors, customers, restrictions)
    if not 1 <= count <= ACCOUNTS_PER_CALL_MAX or any(len(column) != count for column in columns):
        raise errors.Malformed("COLUMNS_INVALID", "account_numbers", "columns differ in length, or are too long")
    if any(number % 97 != 1 or not 0 < number < 10**16 for number in numbers):
        raise errors.Malformed("ACCOUNT_NUMBER_INVALID", "account_numbers", "an account number has 16 digits")
    if any(chart.is_transit(number) for number in numbers):
        raise errors.Malformed("ACCOUNT_RESERVED", "account_numbers", "the ledger opens transit accounts itself")
    if not all(0 < currency < 1000 for currency in currencies):
        raise errors.Malformed("CURRENCY_UNKNOWN", "currencies", "not an ISO 4217 number")
    if not all(-limits.BALANCE_MINOR_MAX <= floor <= 0 for floor in floors):
        raise errors.Malformed("FLOOR_INVALID", "floors_minor", "a floor is at most 0")
    if not all(bits in {changes.ACTIVE, changes.PENDING} for bits in restrictions):
        raise errors.Malformed("STATE_INVALID", "restrictions", "an account begins active or pending")
    read = [
        AccountState(number, currency, floor, bits, customer_number=customer)
        for number, currency, floor, customer, bits in zip(
            numbers, currencies, floors, customers, restrictions, strict=True
        )
    ]
    for allowance in request.allowances:
        if not 0 <= allowance.place < count:
            raise errors.Malformed("PLACE_INVALID", "allowances", f"place {allowance.place} is not in the call")
        read[allowance.place].allowance = _allowance(allowance)
    return read


def hold_commands(request: ledger_pb2.CommandHoldsRequest) -> list[HoldCommand]:
    """Read what to do with holds. Raises `Malformed`."""
    if not 1 <= len(request.commands) <= HOLDS_PER_CALL_MAX:
        raise errors.Malformed("COMMANDS_COUNT_INVALID", "commands", f"from 1 to {HOLDS_PER_CALL_MAX}")
    asks = actor(request.actor)
    read = []
    for one in request.commands:
        places = one.kind == ledger_pb2.HoldCommand.PLACE
        releases = one.kind == ledger_pb2.HoldCommand.RELEASE
        amount_min = 0 if releases else 1
        if not amount_min <= one.amount_minor <= limits.AMOUNT_MINOR_MAX:
            raise errors.Malformed("AMOUNT_INVALID", "amount_minor", f"from {amount_min} to {limits.AMOUNT_MINOR_MAX}")
        if not (1 if places else 0) <= one.seconds <= limits.HOLD_SECONDS_MAX:
            raise errors.Malformed("HOLD_SECONDS_INVALID", "seconds", f"at most {limits.HOLD_SECONDS_MAX}")
        if (
            not (places or releases or one.kind == ledger_pb2.HoldCommand.INCREASE)
            or one.flags & ~Flag.LIMITS_OVERRIDDEN
        ):
            raise errors.Malformed("HOLD_COMMAND_INVALID", "commands", "no such command")
        command_id, hold_id = one_id(one.command_id, "command_id"), one_id(one.hold_id, "hold_id")
        if not 0 <= one.currency < 1000:
            raise errors.Malformed("CURRENCY_UNKNOWN", "currency", "not an ISO 4217 number")
        _check_text(one.reference, "reference")
        if one.account_number == one.payee_account:
            raise errors.Malformed("SAME_ACCOUNT", "payee_account", "is the hold's own account")
        if places != (command_id == hold_id):
            raise errors.Malformed("HOLD_COMMAND_INVALID", "command_id", "a hold is placed under its own id only")
        body = ledger_pb2.HoldCommand()
        body.CopyFrom(one)
        read.append(
            HoldCommand(
                one.kind,
                command_id,
                hold_id,
                one.account_number,
                one.amount_minor,
                one.currency,
                one.seconds,
                one.payee_account,
                one.reference,
                fingerprint(body.SerializeToString(deterministic=True)),
                one.flags,
                asks,
            )
        )
    return read


def hold(value: Hold, reference: str) -> ledger_pb2.Hold:
    """Write a hold and the words it was placed with."""
    return ledger_pb2.Hold(
        hold_id=value.hold_id,
        account_number=value.account_number,
        currency=value.currency,
        amount_minor=value.amount_minor,
        expire_time_us=value.expire_time_us,
        payee_account=value.payee_account,
        state=value.state,
        captured_minor=value.captured_minor,
        reference=reference,
    )


def change(request: ledger_pb2.ChangeAccountRequest) -> Change:
    """Read a change. Raises `Malformed`."""
    has = request.HasField
    restrictions = request.restrictions if has("restrictions") else None
    if restrictions is not None and restrictions not in changes.FOLLOWERS:
        raise errors.Malformed("STATE_INVALID", "restrictions", "no such state")
    floor = request.floor_minor if has("floor_minor") else None
    if floor is not None and not -limits.BALANCE_MINOR_MAX <= floor <= 0:
        raise errors.Malformed("FLOOR_INVALID", "floor_minor", "a floor is at most 0")
    cap = request.customer_day_minor_max if has("customer_day_minor_max") else None
    if cap is not None and not -1 <= cap <= limits.BALANCE_MINOR_MAX:
        raise errors.Malformed("LIMIT_INVALID", "customer_day_minor_max", "at least 0, or -1 to lift it")
    _check_text(request.reason, "reason")
    replaced, has_replaced = request.replaced, has("replaced")
    if has_replaced and not (has("allowance") and has("floor_minor")):
        raise errors.Malformed("LIMIT_INVALID", "replaced", "goes with a new floor and new limits")
    body = ledger_pb2.ChangeAccountRequest()
    body.CopyFrom(request)
    body.ClearField("actor")
    return Change(
        one_id(request.change_id, "change_id"),
        request.account_number,
        restrictions,
        floor,
        _allowance(request.allowance) if has("allowance") else None,
        cap,
        request.reason,
        fingerprint(body.SerializeToString(deterministic=True)),
        replaced.floor_minor,
        _allowance(replaced.allowance) if has_replaced else None,
    )


def _check_text(text: str, field: str) -> None:
    if "\0" in text:
        raise errors.Malformed("TEXT_INVALID", field, "contains NUL")


def _allowance(message: ledger_pb2.Allowance) -> Allowance:
    values = (
        message.balance_minor_max if message.HasField("balance_minor_max") else None,
        message.transfer_minor_max if message.HasField("transfer_minor_max") else None,
        message.day_minor_max if message.HasField("day_minor_max") else None,
        message.day_count_max if message.HasField("day_count_max") else None,
    )
    if any(value is not None and not 0 <= value <= limits.BALANCE_MINOR_MAX for value in values):
        raise errors.Malformed("LIMIT_INVALID", "allowance", "a limit is at least 0")
    return Allowance(*values)
