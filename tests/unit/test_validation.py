"""What is wrong with a request is found whole, named by field, and before anything else is asked."""

from typing import Any
from uuid import uuid4

import pytest
from asked_transfers import (
    CASH_OF_SHARD_1,
    CZK,
    HIGHEST,
    ID,
    LOWEST,
    PARTNERS,
    PAYEE,
    PAYER,
    TRANSIT,
    TWINS,
    leg,
    read,
    transfer,
)
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.chassis import status
from services.domain import chart, identifiers, limits
from services.domain.errors import Malformed
from services.gateway import faults, fields, validation
from services.gateway.columns import FEES_WAIVED, LIMITS_OVERRIDDEN, Creditor, FurtherLeg, Special, chart_side


def _faults(message: bank_pb2.Transfer) -> list[tuple[str, str]]:
    _, found = read(message)
    if not found:
        return []
    error = found[0]
    if not isinstance(error, Malformed):
        return [(error.reason, "")]
    return [(each.reason, each.field.removeprefix("transfers[0].")) for each in (error, *error.further)]


def test_transfers_become_columns() -> None:
    transfers, found = read(
        transfer(reference="rent"),
        transfer(leg(debit_account="CASH", amount_minor=limits.AMOUNT_MINOR_MAX, currency_code="EUR")),
        transfer(leg(), leg(credit_account="NOSTRO.AB", amount_minor=1)),
        transfer(
            leg(credit_account="NOSTRO.XYZ"),
            creditor={"bank_code": "XYZ", "account": "123", "remittance_text": "thanks"},
            value_date={"year": 1970, "month": 1, "day": 2},
        ),
    )
    assert found == {}
    assert transfers.transfer_ids == bytes.fromhex(ID.replace("-", "")) * 4
    assert transfers.debit_accounts == [PAYER, chart_side(chart.Code.CASH), PAYER, PAYER]
    assert transfers.credit_accounts == [PAYEE, PAYEE, PAYEE, chart_side(chart.Code.NOSTRO, 8)]
    assert transfers.amounts_minor == [100, limits.AMOUNT_MINOR_MAX, 100, 100]
    assert transfers.currencies == [CZK, 978, CZK, CZK]
    assert transfers.references == ["rent", "", "", ""]
    assert transfers.value_dates == [0, 0, 0, 1]
    assert transfers.creditors == [Creditor(3, "XYZ", "123", "", "thanks")]
    assert transfers.further_legs == [FurtherLeg(2, PAYER, chart_side(chart.Code.NOSTRO, 7), 1, CZK)]


def test_who_would_override_limits_is_noted_even_where_something_is_wrong() -> None:
    transfers, found = read(
        transfer(), transfer(override_limits=True), transfer(leg(amount_minor=0), override_limits=True)
    )
    assert list(found) == [2]
    assert transfers.specials == dict.fromkeys((1, 2), Special(flags=LIMITS_OVERRIDDEN))


@pytest.mark.parametrize(
    ("wishes", "special"),
    [
        ({"override_limits": True}, Special(flags=LIMITS_OVERRIDDEN)),
        ({"waive_fees": True}, Special(flags=FEES_WAIVED)),
        ({"fee_minor_max": 0}, Special(fee_minor_max=0)),
        (
            {"override_limits": True, "waive_fees": True, "fee_minor_max": 7},
            Special(flags=LIMITS_OVERRIDDEN | FEES_WAIVED, fee_minor_max=7),
        ),
    ],
)
def test_wishes_are_noted_each_by_itself_and_together(wishes: dict[str, Any], special: Special) -> None:
    transfers, _ = read(transfer(), transfer(**wishes))
    assert transfers.specials == {1: special}


def test_columns_that_nobody_uses_stay_empty() -> None:
    transfers, _ = read(transfer(), transfer())
    assert (transfers.specials, transfers.actors, transfers.actor_places) == ({}, [], [])
    assert (transfers.references, transfers.value_dates, transfers.creditors, transfers.further_legs) == (
        [],
        [],
        [],
        [],
    )


def test_what_the_bank_fills_in_is_ignored_when_a_caller_does() -> None:
    plain, _ = read(transfer())
    filled, found = read(transfer(name="accounts/x", state="REFUSED", reason="x", business_date={"year": 1}))
    assert found == {}
    assert filled == plain


NUMBER = identifiers.account_text(PAYER)
FAULTY = [
    (transfer(transfer_id=""), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id=ID.replace("-", "")), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id=ID[:-2] + " 1"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id=ID[:-1] + "g"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id=ID[:-1] + "\uff11"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="0-234567-89ab-cdef-0123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id=ID[:-2] + "  "), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="01-34-67-89ab-cdef-0123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="012345678-9ab-cdef-0123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="01234567-89abc-def-0123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="01234567-89ab-cdef0-123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(transfer_id="01234567-89ab-cdef-01234-56789abcdef"), "UUID_INVALID", "transfer_id"),
    (transfer(legs=[]), "LEGS_MISSING", "legs"),
    (transfer(legs=[leg()] * (limits.LEGS_PER_TRANSFER_MAX + 1)), "LEGS_TOO_MANY", "legs"),
    (transfer(leg(debit_account="")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account=NUMBER[:-1])), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account=NUMBER[:-1] + "x")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account=NUMBER[:-1] + "\uff11")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account=f"{PAYER + 1:016d}")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account="0000000000000001")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    *((transfer(leg(debit_account=text)), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account") for text in TWINS),
    (transfer(leg(), leg(credit_account=TWINS[0])), "ACCOUNT_NUMBER_INVALID", "legs[1].credit_account"),
    (transfer(leg(debit_account="cash")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(debit_account="TRANSIT")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (transfer(leg(credit_account="NOSTRO")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (transfer(leg(credit_account="NOSTRO.")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (transfer(leg(credit_account="NOSTRO.ab")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (transfer(leg(credit_account="NOSTRO.ABCDEFGHIJKL")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (transfer(leg(credit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[0].credit_account"),
    (transfer(leg(debit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[0].debit_account"),
    (transfer(leg(credit_account=NUMBER)), "SAME_ACCOUNT", "legs[0].credit_account"),
    (
        transfer(leg(debit_account="CASH", credit_account="FEES")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[0].credit_account",
    ),
    (
        transfer(leg(debit_account="CASH", credit_account="CASH")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[0].credit_account",
    ),
    (transfer(leg(amount_minor=0)), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (transfer(leg(amount_minor=-1)), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (transfer(leg(amount_minor=-(2**63))), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (transfer(leg(amount_minor=limits.AMOUNT_MINOR_MAX + 1)), "AMOUNT_TOO_LARGE", "legs[0].amount_minor"),
    (transfer(leg(amount_minor=2**63 - 1)), "AMOUNT_TOO_LARGE", "legs[0].amount_minor"),
    (transfer(leg(currency_code="")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (transfer(leg(currency_code="czk")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (transfer(leg(currency_code="XXX")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (transfer(leg(), leg(amount_minor=0)), "AMOUNT_NOT_POSITIVE", "legs[1].amount_minor"),
    (transfer(reference="x" * 141), "TEXT_TOO_LONG", "reference"),
    (transfer(reference="a\nb"), "TEXT_HAS_CONTROL_CHARACTERS", "reference"),
    (transfer(reference="a\0b"), "TEXT_HAS_CONTROL_CHARACTERS", "reference"),
    (transfer(value_date=Date(year=2024)), "VALUE_DATE_INVALID", "value_date"),
    (transfer(value_date=Date(year=2023, month=2, day=29)), "VALUE_DATE_INVALID", "value_date"),
    (transfer(value_date=Date(year=1970, month=1, day=1)), "VALUE_DATE_INVALID", "value_date"),
    (transfer(creditor={"account": "1"}), "BANK_CODE_INVALID", "creditor.bank_code"),
    (transfer(creditor={"bank_code": "AB"}), "CREDITOR_ACCOUNT_MISSING", "creditor.account"),
    (transfer(creditor={"bank_code": "AB", "account": "1" * 35}), "TEXT_TOO_LONG", "creditor.account"),
    (
        transfer(creditor={"bank_code": "AB", "account": "1", "creditor_name": "x" * 141}),
        "TEXT_TOO_LONG",
        "creditor.creditor_name",
    ),
    (
        transfer(creditor={"bank_code": "AB", "account": "1", "remittance_text": "\x7f"}),
        "TEXT_HAS_CONTROL_CHARACTERS",
        "creditor.remittance_text",
    ),
    (
        transfer(leg(credit_account="NOSTRO.AB"), creditor={"bank_code": "XYZ", "account": "1"}),
        "CREDITOR_BANK_MISMATCH",
        "creditor.bank_code",
    ),
    (
        transfer(creditor={"bank_code": "AB", "account": "1", "remittance_text": "x" * 141}),
        "TEXT_TOO_LONG",
        "creditor.remittance_text",
    ),
    (
        transfer(leg(), leg(credit_account="NOSTRO.AB"), creditor={"bank_code": "XYZ", "account": "1"}),
        "CREDITOR_BANK_MISMATCH",
        "creditor.bank_code",
    ),
    (transfer(leg(), leg(credit_account=NUMBER)), "SAME_ACCOUNT", "legs[1].credit_account"),
    (
        transfer(leg(), leg(debit_account="CASH", credit_account="FEES")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[1].credit_account",
    ),
    (transfer(leg(), leg(credit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[1].credit_account"),
    (transfer(leg(), leg(currency_code="XXX")), "CURRENCY_UNKNOWN", "legs[1].currency_code"),
    (transfer(fee_minor_max=-1), "AMOUNT_INVALID", "fee_minor_max"),
    (transfer(fee_minor_max=limits.AMOUNT_MINOR_MAX + 1), "AMOUNT_INVALID", "fee_minor_max"),
    (transfer(metadata={"a b": "1"}), "METADATA_KEY_INVALID", "metadata['a b']"),
    (transfer(metadata={"a": ""}), "METADATA_VALUE_INVALID", "metadata['a']"),
    (transfer(leg(credit_account="NOSTRO.NOBODY")), "PARTNER_BANK_NOT_FOUND", ""),
    (transfer(leg(), leg(debit_account="NOSTRO.NOBODY")), "PARTNER_BANK_NOT_FOUND", ""),
]


@pytest.mark.parametrize(("message", "reason", "field"), FAULTY, ids=range(len(FAULTY)))
def test_one_fault_is_one_violation(message: bank_pb2.Transfer, reason: str, field: str) -> None:
    assert _faults(message) == [(reason, field)]


GOOD = [
    transfer(transfer_id=str(uuid4()).upper()),
    transfer(leg(amount_minor=1)),
    transfer(leg(amount_minor=limits.AMOUNT_MINOR_MAX)),
    transfer(legs=[leg()] * limits.LEGS_PER_TRANSFER_MAX),
    transfer(leg(debit_account=f"{CASH_OF_SHARD_1:016d}")),
    transfer(leg(debit_account=f"{LOWEST:016d}"), leg(debit_account=f"{HIGHEST:016d}")),
    transfer(leg(debit_account="FEES")),
    transfer(leg(debit_account="SUSPENSE")),
    transfer(leg(debit_account="NOSTRO.AB")),
    transfer(reference="ž" * limits.REFERENCE_CHARACTERS_MAX),
    transfer(value_date=Date(year=2024, month=2, day=29)),
    transfer(creditor={"bank_code": "XYZ", "account": "1", "creditor_name": "Žofie\u00a0N."}),
    transfer(leg(), leg(credit_account="NOSTRO.XYZ"), creditor={"bank_code": "XYZ", "account": "1"}),
    transfer(
        leg(credit_account="NOSTRO.AB"),
        creditor={"bank_code": "AB", "account": "1" * 34, "creditor_name": "x" * 140, "remittance_text": "x" * 140},
    ),
    transfer(metadata={"k" * 40: "a\u00a0b", "0": "ž" * 256}),
    transfer(override_limits=True, fee_minor_max=0),
    transfer(fee_minor_max=limits.AMOUNT_MINOR_MAX),
]


@pytest.mark.parametrize("message", GOOD, ids=range(len(GOOD)))
def test_what_is_in_order_has_no_violation(message: bank_pb2.Transfer) -> None:
    assert _faults(message) == []
    assert faults.fault(message, PARTNERS, "") is None


def test_a_fault_is_found_in_whatever_company_the_transfer_is() -> None:
    company = [GOOD[0], *(message for message, _, _ in FAULTY), GOOD[1]]
    _, found = read(*company)
    assert [found[place].reason for place in sorted(found)] == [reason for _, reason, _ in FAULTY]
    assert sorted(found) == list(range(1, len(company) - 1))


NO_NUMBERS = [
    (f"{PAYER + 1:016d}", f"{PAYEE + 1:016d}"),
    ("0001000000000048", "0002000000000095"),
    TWINS[:2],
    TWINS[:0:-1],
]


@pytest.mark.parametrize("texts", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_no_wrong_number_hides_behind_another(texts: tuple[str, str]) -> None:
    assert _faults(transfer(leg(debit_account=texts[0], credit_account=texts[1]))) == [
        ("ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
        ("ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    ]


@pytest.mark.parametrize(
    ("side", "other_side"), [("debit_account", "credit_account"), ("credit_account", "debit_account")]
)
def test_what_cannot_be_read_is_no_chart_name(side: str, other_side: str) -> None:
    message = transfer(leg(**{side: "?", other_side: "CASH"}))
    assert _faults(message) == [("ACCOUNT_NUMBER_INVALID", f"legs[0].{side}")]


def test_all_violations_of_a_request_are_told_at_once() -> None:
    message = transfer(
        leg(debit_account="1", credit_account="2", amount_minor=0, currency_code="?"), transfer_id="", reference="\t"
    )
    assert _faults(message) == [
        ("UUID_INVALID", "transfer_id"),
        ("ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
        ("ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
        ("AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
        ("CURRENCY_UNKNOWN", "legs[0].currency_code"),
        ("TEXT_HAS_CONTROL_CHARACTERS", "reference"),
    ]


def test_violations_travel_to_the_caller_and_back() -> None:
    _, found = read(transfer(leg(amount_minor=0, currency_code="?")))
    back = status.from_status(status.to_status(found[0]))
    assert isinstance(back, Malformed)
    assert [(each.reason, each.field) for each in (back, *back.further)] == [
        ("AMOUNT_NOT_POSITIVE", "transfers[0].legs[0].amount_minor"),
        ("CURRENCY_UNKNOWN", "transfers[0].legs[0].currency_code"),
    ]


def test_the_number_of_violations_told_is_bounded() -> None:
    assert len(_faults(transfer(legs=[leg(amount_minor=0, currency_code="?")] * 50))) == fields.FINDINGS_MAX


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_and_too_many_are_refused_as_a_whole(count: int) -> None:
    with pytest.raises(Malformed) as refused:
        validation.check_count(count, 2, "TRANSFERS_COUNT_INVALID", "transfers")
    assert (refused.value.reason, refused.value.field) == ("TRANSFERS_COUNT_INVALID", "transfers")


@pytest.mark.parametrize("count", [1, 2])
def test_the_bounds_of_a_count_are_taken(count: int) -> None:
    validation.check_count(count, 2, "TRANSFERS_COUNT_INVALID", "transfers")
