"""A transfer in the books is shown with what it refers to, and nothing that it does not have."""

from typing import Any
from uuid import UUID

import pytest
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import identifiers
from services.domain.outcomes import Refusal
from services.gateway import wire_records

CZK = 203
ME, PAYEE, COLLEAGUE, INCOME = (identifiers.account_number(3, serial) for serial in range(1, 5))
ID, HOLD, ORIGINAL = UUID(int=7), UUID(int=8), UUID(int=9)
ASKED, LANDED, BURIED, PROMISED, KEPT = 1, 2, 8, 9, 10


def record(**given: Any) -> ledger_pb2.TransferRecord:
    """Have a payer pay two and a fee, except for what is given."""
    leg = ledger_pb2.TransferRecord.Leg
    legs = [
        leg(debit_account=ME, credit_account=PAYEE, amount_minor=100, currency=CZK),
        leg(debit_account=ME, credit_account=COLLEAGUE, amount_minor=200, currency=CZK),
        leg(debit_account=ME, credit_account=INCOME, amount_minor=3, currency=CZK, is_fee=True),
    ]
    usual: dict[str, Any] = {"transfer_id": ID.bytes, "legs": legs, "outcome": 1, "kind": ASKED, "refused_leg": -1}
    return ledger_pb2.TransferRecord(**{**usual, **given})


def text(number: int) -> str:
    return identifiers.account_text(number)


def test_a_plain_transfer_is_shown_without_what_it_does_not_have() -> None:
    shown = wire_records.transfer(record(value_date=1, business_date=2, booking_time_us=3_000_000))
    assert shown.name == f"accounts/{text(ME)}/transfers/{ID}"
    assert [(leg.credit_account, leg.amount_minor, leg.is_fee) for leg in shown.legs] == [
        (text(PAYEE), 100, False),
        (text(COLLEAGUE), 200, False),
        (text(INCOME), 3, True),
    ]
    assert (shown.captured_hold, shown.reversed_transfer, shown.reason, shown.fee_minor) == ("", "", "", 3)
    assert not any(shown.HasField(field) for field in ("creditor", "refused_leg"))  # type: ignore[arg-type]
    assert not any((shown.override_limits, shown.waive_fees, shown.is_part))
    assert (shown.value_date, shown.business_date) == (Date(year=1970, month=1, day=2), Date(year=1970, month=1, day=3))
    assert shown.booking_time.seconds == 3


def test_what_a_transfer_refers_to_is_shown() -> None:
    paid = ledger_pb2.ExternalCreditor(bank_code="0800", account="123", creditor_name="Jan")
    assert wire_records.transfer(record(creditor=paid)).creditor == bank_pb2.ExternalCreditor(
        bank_code="0800", account="123", creditor_name="Jan"
    )
    assert wire_records.transfer(record(hold_id=HOLD.bytes)).captured_hold == f"accounts/{text(ME)}/holds/{HOLD}"


def test_a_reversal_names_its_original_by_the_first_payer_whom_it_pays_last() -> None:
    leg = ledger_pb2.TransferRecord.Leg
    back = [
        leg(debit_account=COLLEAGUE, credit_account=INCOME, amount_minor=9, currency=CZK),
        leg(debit_account=PAYEE, credit_account=COLLEAGUE, amount_minor=200, currency=CZK),
        leg(debit_account=INCOME, credit_account=ME, amount_minor=100, currency=CZK),
    ]
    reversal = wire_records.transfer(record(legs=back, original_id=ORIGINAL.bytes))
    assert reversal.name == f"accounts/{text(COLLEAGUE)}/transfers/{ID}"
    assert reversal.reversed_transfer == f"accounts/{text(ME)}/transfers/{ORIGINAL}"


@pytest.mark.parametrize("flags", range(8))
def test_what_was_set_aside_for_it_is_shown(flags: int) -> None:
    shown = wire_records.transfer(record(flags=flags))
    assert (shown.override_limits, shown.waive_fees) == (bool(flags & 1), bool(flags & 4))


@pytest.mark.parametrize(
    ("owned", "to", "refused", "fee"),
    [
        (None, [PAYEE, COLLEAGUE, INCOME], 1, 3),
        ({ME}, [PAYEE, COLLEAGUE, INCOME], 1, 3),
        ({COLLEAGUE}, [COLLEAGUE], 0, 0),
        ({PAYEE}, [PAYEE], None, 0),
    ],
)
def test_a_payee_sees_its_own_leg_alone_and_which_was_refused_only_if_it_is_that_one(
    owned: set[int] | None, to: list[int], refused: int | None, fee: int
) -> None:
    kept = record(outcome=2, refusal=Refusal.CREDITS_FROZEN, refused_leg=1)
    shown = wire_records.transfer(kept, owned)
    assert [leg.credit_account for leg in shown.legs] == [text(number) for number in to]
    assert (shown.refused_leg if shown.HasField("refused_leg") else None, shown.fee_minor) == (refused, fee)
    assert shown.reason == "CREDITS_FROZEN"


def test_what_was_buried_has_no_legs_to_show() -> None:
    assert not wire_records.transfer(record(kind=BURIED)).legs


def test_what_stands_in_the_books_is_told_apart_by_its_kind() -> None:
    kinds = range(KEPT + 1)

    def those(tells: Any) -> set[int]:
        return {kind for kind in kinds if tells(record(kind=kind))}

    assert those(wire_records.is_transfer) == {ASKED, LANDED, BURIED, PROMISED}
    assert those(wire_records.was_asked_for) == {ASKED}
    assert those(wire_records.is_landing) == {LANDED}
    assert those(wire_records.is_part) == {LANDED, PROMISED, KEPT}


def test_a_part_has_legs_of_the_whole_in_their_order() -> None:
    whole = record()
    first, second, fee = whole.legs
    for legs in ([first], [second, fee], [first, second, fee]):
        assert wire_records.is_part_of(record(legs=legs, kind=PROMISED), whole)
    other = ledger_pb2.TransferRecord.Leg(debit_account=ME, credit_account=PAYEE, amount_minor=101, currency=CZK)
    for legs in ([second, first], [first, other]):
        assert not wire_records.is_part_of(record(legs=legs, kind=PROMISED), whole)
    assert not wire_records.is_part_of(record(legs=[first], kind=PROMISED), record(kind=BURIED))


def test_the_accounts_of_all_legs_are_its_sides() -> None:
    assert wire_records.sides(record()) == {ME, PAYEE, COLLEAGUE, INCOME}
