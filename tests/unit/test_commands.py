"""Holds, captures, reversals and changes are read whole, or refused with every field that is wrong."""

from typing import Any
from uuid import UUID

import pytest
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import chart, errors, identifiers, limits
from services.domain.errors import BankError, Malformed
from services.domain.outcomes import Outcome
from services.gateway import commands, validation, wire
from services.gateway.columns import LIMITS_OVERRIDDEN, OVERDRAW, FurtherLeg, Special
from services.ledger import changes

CZK = 203
A, B, FAR = (identifiers.account_number(slot, serial) for slot, serial in ((1, 1), (1, 2), (2, 1)))
ACCOUNT, OTHER = f"{A:016d}", f"{B:016d}"
CASH = f"{chart.internal_account(1, chart.Code.CASH, CZK):016d}"
ID, REQUEST_ID = "01234567-89ab-cdef-0123-456789abcdef", "fedcba98-7654-3210-fedc-ba9876543210"
RAW, REQUEST_RAW = bytes.fromhex(ID.replace("-", "")), bytes.fromhex(REQUEST_ID.replace("-", ""))
HOLD, TRANSFER = f"accounts/{ACCOUNT}/holds/{ID}", f"accounts/{ACCOUNT}/transfers/{ID}"


def violations(error: BankError | None) -> list[tuple[str, str]]:
    assert isinstance(error, Malformed)
    return [(each.field, each.reason) for each in (error, *error.further)]


def refused(read: Any, request: Any) -> list[tuple[str, str]]:
    with pytest.raises(Malformed) as raised:
        read(request)
    return violations(raised.value)


def placing(**changes: Any) -> bank_pb2.PlaceHoldRequest:
    override = changes.pop("override_limits", False)
    usual = {"hold_id": ID, "account": ACCOUNT, "amount_minor": 5, "currency_code": "CZK"}
    return bank_pb2.PlaceHoldRequest(hold=bank_pb2.Hold(**(usual | changes)), override_limits=override)


def increase(**changes: Any) -> bank_pb2.IncreaseHoldRequest:
    usual = {"name": HOLD, "request_id": REQUEST_ID, "amount_minor": 5, "currency_code": "CZK"}
    return bank_pb2.IncreaseHoldRequest(**(usual | changes))


def reversal(**changes: Any) -> bank_pb2.ReverseTransferRequest:
    return bank_pb2.ReverseTransferRequest(**({"name": TRANSFER, "transfer_id": REQUEST_ID} | changes))


def state_change(**changes: Any) -> bank_pb2.ChangeAccountStateRequest:
    usual = {"name": f"accounts/{ACCOUNT}", "request_id": ID, "state": bank_pb2.Account.FROZEN, "reason": "x"}
    return bank_pb2.ChangeAccountStateRequest(**(usual | changes))


def limits_change(**changes: Any) -> bank_pb2.ChangeAccountLimitsRequest:
    usual = {"name": f"accounts/{ACCOUNT}", "request_id": ID, "reason": "x"}
    return bank_pb2.ChangeAccountLimitsRequest(**(usual | changes))


# Holds


def test_a_hold_to_place_is_read() -> None:
    command = commands.read_placing(placing(payee_account=OTHER, reference="hotel", override_limits=True))
    assert command == ledger_pb2.HoldCommand(
        kind=ledger_pb2.HoldCommand.PLACE,
        command_id=RAW,
        hold_id=RAW,
        account_number=A,
        amount_minor=5,
        currency=CZK,
        seconds=limits.HOLD_SECONDS_DEFAULT,
        payee_account=B,
        reference="hotel",
        flags=LIMITS_OVERRIDDEN,
    )
    assert commands.read_placing(placing(hold_seconds=limits.HOLD_SECONDS_MAX)).seconds == limits.HOLD_SECONDS_MAX


def test_a_hold_needs_neither_a_payee_nor_a_reference_and_overrides_nothing_unasked() -> None:
    command = commands.read_placing(placing())
    assert (command.payee_account, command.reference, command.flags) == (0, "", 0)


@pytest.mark.parametrize("amount_minor", [1, limits.AMOUNT_MINOR_MAX])
def test_the_smallest_and_the_largest_amount_are_taken(amount_minor: int) -> None:
    assert commands.read_placing(placing(amount_minor=amount_minor)).amount_minor == amount_minor
    assert commands.read_increase(increase(amount_minor=amount_minor)).amount_minor == amount_minor
    assert commands.read_reversal(reversal(amount_minor=amount_minor)).amount_minor == amount_minor


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"hold_id": "x"}, [("hold.hold_id", "UUID_INVALID")]),
        ({"account": "CASH"}, [("hold.account", "ACCOUNT_NUMBER_INVALID")]),
        ({"payee_account": "CASH"}, [("hold.payee_account", "ACCOUNT_NUMBER_INVALID")]),
        ({"payee_account": ACCOUNT}, [("hold.payee_account", "SAME_ACCOUNT")]),
        ({"amount_minor": 0}, [("hold.amount_minor", "AMOUNT_NOT_POSITIVE")]),
        ({"amount_minor": limits.AMOUNT_MINOR_MAX + 1}, [("hold.amount_minor", "AMOUNT_TOO_LARGE")]),
        ({"currency_code": "?"}, [("hold.currency_code", "CURRENCY_UNKNOWN")]),
        ({"hold_seconds": -1}, [("hold.hold_seconds", "HOLD_SECONDS_INVALID")]),
        ({"hold_seconds": limits.HOLD_SECONDS_MAX + 1}, [("hold.hold_seconds", "HOLD_SECONDS_INVALID")]),
        ({"reference": "x" * 141}, [("hold.reference", "TEXT_TOO_LONG")]),
    ],
)
def test_what_is_wrong_with_a_hold_is_named(changes: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert refused(commands.read_placing, placing(**changes)) == found


def test_all_that_is_wrong_with_a_hold_is_told_at_once() -> None:
    found = refused(commands.read_placing, bank_pb2.PlaceHoldRequest())
    assert [field for field, _ in found] == ["hold.hold_id", "hold.account", "hold.amount_minor", "hold.currency_code"]


def test_commands_on_a_hold_are_read() -> None:
    command = commands.read_increase(increase())
    assert (command.kind, command.command_id, command.hold_id) == (5, REQUEST_RAW, RAW)
    assert (command.account_number, command.amount_minor, command.currency, command.seconds) == (A, 5, CZK, 0)
    command = commands.read_release(bank_pb2.ReleaseHoldRequest(name=HOLD, request_id=REQUEST_ID))
    assert (command.kind, command.command_id, command.hold_id) == (6, REQUEST_RAW, RAW)
    assert (command.account_number, command.amount_minor) == (A, 0)


def test_a_command_on_a_hold_has_an_id_of_its_own() -> None:
    found = [("request_id", "REQUEST_ID_OF_HOLD")]
    assert refused(commands.read_increase, increase(request_id=ID)) == found
    assert refused(commands.read_release, bank_pb2.ReleaseHoldRequest(name=HOLD, request_id=ID)) == found
    nobody = str(UUID(int=0))
    request = bank_pb2.ReleaseHoldRequest(name=f"accounts/{ACCOUNT}/holds/{nobody}", request_id=nobody)
    assert refused(commands.read_release, request) == found
    request = bank_pb2.ReleaseHoldRequest(name="x", request_id=nobody)
    assert refused(commands.read_release, request) == [("name", "NAME_INVALID")]
    found = refused(commands.read_increase, bank_pb2.IncreaseHoldRequest(hold_seconds=-1))
    assert [field for field, _ in found] == ["name", "request_id", "amount_minor", "currency_code", "hold_seconds"]


def capture(*legs: bank_pb2.Leg, name: str = HOLD, **changes: Any) -> tuple[BankError | None, dict[int, Special]]:
    asked = bank_pb2.Transfer(**({"transfer_id": REQUEST_ID, "legs": legs} | changes))
    request = bank_pb2.CaptureHoldRequest(name=name, transfer=asked)
    transfers, faults = validation.read_transfers([asked], {}, lambda _: "transfer")
    return commands.capture_fault(request, transfers, faults.get(0)), transfers.specials


def leg(debit: str = ACCOUNT, credit: str = OTHER, amount_minor: int = 5) -> bank_pb2.Leg:
    return bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code="CZK")


def test_a_capture_becomes_a_transfer_that_names_its_hold() -> None:
    assert capture(leg()) == (None, {0: Special(hold_id=RAW)})
    assert capture(leg(), override_limits=True) == (None, {0: Special(hold_id=RAW, flags=LIMITS_OVERRIDDEN)})


def test_what_is_wrong_with_a_capture_is_told_at_once() -> None:
    fault, _ = capture(leg(), leg())
    assert violations(fault) == [("transfer.legs", "LEGS_TOO_MANY")]
    fault, _ = capture(leg(OTHER, ACCOUNT))
    assert violations(fault) == [("transfer.legs[0].debit_account", "DEBIT_ACCOUNT_MISMATCH")]
    fault, _ = capture(leg(), name="holds/x")
    assert violations(fault) == [("name", "NAME_INVALID")]
    fault, _ = capture(leg("CASH", OTHER))
    assert violations(fault) == [("transfer.legs[0].debit_account", "DEBIT_ACCOUNT_MISMATCH")]
    fault, _ = capture(leg(amount_minor=0), name="holds/x", transfer_id="")
    assert violations(fault) == [
        ("name", "NAME_INVALID"),
        ("transfer.transfer_id", "UUID_INVALID"),
        ("transfer.legs[0].amount_minor", "AMOUNT_NOT_POSITIVE"),
    ]
    fault, _ = capture(leg(credit="NOSTRO.NOBODY"))
    assert isinstance(fault, errors.NotFound)


# Reversals


def test_a_reversal_is_read() -> None:
    asked = commands.read_reversal(reversal(amount_minor=7, policy="OVERDRAW", reference="sorry"))
    assert asked == (A, RAW, REQUEST_RAW, 7, OVERDRAW, "sorry")
    for policy in ("POLICY_UNSPECIFIED", "REFUSE"):
        assert commands.read_reversal(reversal(policy=policy)).flags == 0


def test_what_is_wrong_with_a_reversal_is_told_at_once() -> None:
    wrong = reversal(name="x", transfer_id="x", amount_minor=-1, policy=9, reference="\n")
    assert refused(commands.read_reversal, wrong) == [
        ("name", "NAME_INVALID"),
        ("transfer_id", "UUID_INVALID"),
        ("amount_minor", "AMOUNT_NEGATIVE"),
        ("policy", "POLICY_UNKNOWN"),
        ("reference", "TEXT_HAS_CONTROL_CHARACTERS"),
    ]
    too_large = reversal(amount_minor=limits.AMOUNT_MINOR_MAX + 1)
    assert refused(commands.read_reversal, too_large) == [("amount_minor", "AMOUNT_TOO_LARGE")]


def original(*legs: tuple[int, int, int], outcome: int = Outcome.POSTED) -> ledger_pb2.TransferRecord:
    rows = [
        ledger_pb2.TransferRecord.Leg(debit_account=debit, credit_account=credit, amount_minor=amount, currency=CZK)
        for debit, credit, amount in legs
    ]
    return ledger_pb2.TransferRecord(transfer_id=RAW, legs=rows, outcome=outcome)  # type: ignore[arg-type]


def test_a_single_leg_is_given_back_whole_or_in_part() -> None:
    for asked, given in ((0, 100), (100, 100), (30, 30), (101, 101)):
        request = commands.read_reversal(reversal(amount_minor=asked))
        transfers = commands.reversing(request, original((A, B, 100)))
        assert (transfers.debit_accounts, transfers.credit_accounts) == ([B], [A])
        assert (transfers.amounts_minor, transfers.currencies) == ([given], [CZK])
        assert (transfers.transfer_ids, transfers.further_legs) == (REQUEST_RAW, [])
        assert transfers.specials == {0: Special(original_id=RAW)}
        assert transfers.references == [], "a column that nobody uses stays empty"
    request = commands.read_reversal(reversal(reference="sorry"))
    assert commands.reversing(request, original((A, B, 100))).references == ["sorry"]


def test_several_legs_are_given_back_whole_the_last_one_first() -> None:
    several = original((A, B, 100), (B, A, 40), (A, FAR, 5))
    for amount_minor in (0, 145):
        asked = commands.read_reversal(reversal(amount_minor=amount_minor))
        transfers = commands.reversing(asked, several)
        assert (transfers.debit_accounts, transfers.credit_accounts, transfers.amounts_minor) == ([FAR], [A], [5])
        assert transfers.further_legs == [FurtherLeg(0, A, B, 40, CZK), FurtherLeg(0, B, A, 100, CZK)]
    for more_than_one in (several, original((A, B, 100), (B, A, 40))):
        with pytest.raises(errors.Refused, match="whole") as raised:
            commands.reversing(commands.read_reversal(reversal(amount_minor=100)), more_than_one)
        assert raised.value.reason == "REVERSAL_MISMATCH"


def test_a_crossing_with_further_legs_is_given_back_whole_but_for_fees() -> None:
    crossing = original((A, FAR, 100), (A, B, 5))
    asked = commands.read_reversal(reversal())
    transfers = commands.reversing(asked, crossing)
    assert (transfers.debit_accounts, transfers.amounts_minor) == ([B], [5])
    assert transfers.further_legs == [FurtherLeg(0, FAR, A, 100, CZK)]
    crossing.legs[1].is_fee = True
    transfers = commands.reversing(asked, crossing)
    assert (transfers.debit_accounts, transfers.amounts_minor, transfers.further_legs) == ([FAR], [100], [])


def test_several_legs_were_once_given_back_the_first_one_first_or_alone() -> None:
    several = original((A, B, 100), (B, FAR, 40), (A, B, 3))
    several.legs[2].is_fee = True
    (first, forward), (second, alone) = commands.reversed_before(commands.read_reversal(reversal()), several, 4)
    assert (first, second) == (A, B), "who is asked whether the id is known"
    assert (
        (forward.debit_accounts, forward.amounts_minor) == (alone.debit_accounts, alone.amounts_minor) == ([B], [100])
    )
    assert (forward.further_legs, alone.further_legs) == ([FurtherLeg(0, FAR, B, 40, CZK)], [])
    assert (forward.specials[0].home_id, alone.specials[0].home_id) == (4, 0)
    part = commands.read_reversal(reversal(amount_minor=7))
    ((account, alone),) = commands.reversed_before(part, several, 4)
    assert (account, alone.amounts_minor) == (B, [7])
    assert commands.reversed_before(commands.read_reversal(reversal()), original((A, B, 100)), 4) == []


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.RETURNED])
def test_what_is_not_posted_is_not_given_back(outcome: Outcome) -> None:
    with pytest.raises(errors.Refused) as raised:
        commands.reversing(commands.read_reversal(reversal()), original((A, B, 1), outcome=outcome))
    assert raised.value.reason == "ORIGINAL_NOT_POSTED"


def test_what_is_on_its_way_is_not_given_back_yet() -> None:
    with pytest.raises(errors.Unavailable) as raised:
        commands.reversing(commands.read_reversal(reversal()), original((A, B, 1), outcome=Outcome.IN_TRANSIT))
    assert raised.value.reason == "ORIGINAL_IN_TRANSIT"


# Changes


def test_every_state_of_the_books_is_a_public_one() -> None:
    assert wire.STATE_BY_RESTRICTIONS.keys() == changes.FOLLOWERS.keys()
    for bits, state in wire.STATE_BY_RESTRICTIONS.items():
        change = commands.read_state_change(state_change(state=state))
        assert (change.HasField("restrictions"), change.restrictions) == (True, bits)
        assert (change.account_number, change.change_id, change.reason) == (A, RAW, "x")


def test_what_is_wrong_with_a_change_of_state_is_told_at_once() -> None:
    assert refused(commands.read_state_change, bank_pb2.ChangeAccountStateRequest()) == [
        ("name", "NAME_INVALID"),
        ("request_id", "UUID_INVALID"),
        ("state", "STATE_INVALID"),
        ("reason", "REASON_MISSING"),
    ]
    assert refused(commands.read_state_change, state_change(state="OPENING")) == [("state", "STATE_INVALID")]
    assert refused(commands.read_state_change, state_change(reason="x" * 141)) == [("reason", "TEXT_TOO_LONG")]


def test_a_change_of_limits_says_what_changes_and_nothing_else() -> None:
    change = commands.read_limits_change(limits_change(floor_minor=-5, reason="agreed"))
    assert (change.account_number, change.change_id, change.reason) == (A, RAW, "agreed")
    assert (change.floor_minor, change.HasField("allowance"), change.HasField("customer_day_minor_max")) == (
        -5,
        False,
        False,
    )
    change = commands.read_limits_change(limits_change(limits={"day_minor_max": 0, "day_count_max": 3}))
    given = {field.name: value for field, value in change.allowance.ListFields()}
    assert given == {"day_minor_max": 0, "day_count_max": 3}
    assert not change.HasField("floor_minor")
    lifted = commands.read_limits_change(limits_change(limits={}))
    assert lifted.HasField("allowance")
    assert not lifted.allowance.ListFields()
    assert commands.read_limits_change(limits_change(customer_day_minor_max=-1)).customer_day_minor_max == -1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, [("limits", "CHANGE_MISSING")]),
        ({"floor_minor": 1}, [("floor_minor", "FLOOR_INVALID")]),
        ({"floor_minor": -limits.BALANCE_MINOR_MAX - 1}, [("floor_minor", "FLOOR_INVALID")]),
        ({"limits": {"balance_minor_max": -1}}, [("limits.balance_minor_max", "LIMIT_INVALID")]),
        ({"limits": {"day_count_max": limits.INT64_MAX}}, [("limits.day_count_max", "LIMIT_INVALID")]),
        ({"customer_day_minor_max": -2}, [("customer_day_minor_max", "LIMIT_INVALID")]),
        (
            {"customer_day_minor_max": 5, "name": f"accounts/{CASH}"},
            [("customer_day_minor_max", "ACCOUNT_WITHOUT_CUSTOMER")],
        ),
        ({"floor_minor": 0, "reason": ""}, [("reason", "REASON_MISSING")]),
    ],
)
def test_what_is_wrong_with_a_change_of_limits_is_named(changes: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert refused(commands.read_limits_change, limits_change(**changes)) == found


@pytest.mark.parametrize("floor_minor", [0, -limits.BALANCE_MINOR_MAX])
def test_a_floor_is_none_or_as_low_as_a_balance_can_be(floor_minor: int) -> None:
    assert commands.read_limits_change(limits_change(floor_minor=floor_minor)).floor_minor == floor_minor


def test_a_refused_floor_is_told_which_could_be_taken() -> None:
    with pytest.raises(Malformed, match=f"from -{limits.BALANCE_MINOR_MAX} to 0"):
        commands.read_limits_change(limits_change(floor_minor=1))
