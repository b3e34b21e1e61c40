"""What is wrong with a request is found whole, named by field, and before anything else is asked."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import status
from services.domain import chart, identifiers, limits
from services.domain.errors import BankError, Malformed
from services.gateway import fields, validation
from services.gateway.columns import (
    FEES_WAIVED,
    LIMITS_OVERRIDDEN,
    Creditor,
    FurtherLeg,
    Special,
    Transfers,
    chart_side,
    pick,
)
from services.gateway.faults import fault

PARTNERS = {"AB": 7, "XYZ": 8}
PAYER, PAYEE, OTHER = (identifiers.account_number(slot, serial) for slot, serial in ((1, 1), (2, 2), (1, 3)))
CZK = 203
TRANSIT = chart.transit_account(1, 2, CZK)
CASH_OF_SHARD_1 = chart.internal_account(1, chart.Code.CASH, CZK)
ID = "01234567-89ab-cdef-0123-456789ABCDEF"


def _leg(**changes: Any) -> bank_pb2.Leg:
    return bank_pb2.Leg(
        **{
            "debit_account": identifiers.account_text(PAYER),
            "credit_account": identifiers.account_text(PAYEE),
            "amount_minor": 100,
            "currency_code": "CZK",
        }
        | changes
    )


def _transfer(*legs: bank_pb2.Leg, **changes: Any) -> bank_pb2.Transfer:
    return bank_pb2.Transfer(**({"transfer_id": ID, "legs": list(legs) or [_leg()]} | changes))


def _read(*messages: bank_pb2.Transfer) -> tuple[Transfers, dict[int, BankError]]:
    return validation.read_transfers(messages, PARTNERS, lambda place: f"transfers[{place}]")


def _faults(message: bank_pb2.Transfer) -> list[tuple[str, str]]:
    _, faults = _read(message)
    if not faults:
        return []
    error = faults[0]
    if not isinstance(error, Malformed):
        return [(error.reason, "")]
    return [(each.reason, each.field.removeprefix("transfers[0].")) for each in (error, *error.further)]


def test_transfers_become_columns() -> None:
    transfers, faults = _read(
        _transfer(reference="rent"),
        _transfer(_leg(debit_account="CASH", amount_minor=limits.AMOUNT_MINOR_MAX, currency_code="EUR")),
        _transfer(_leg(), _leg(credit_account="NOSTRO.AB", amount_minor=1)),
        _transfer(
            _leg(credit_account="NOSTRO.XYZ"),
            creditor={"bank_code": "XYZ", "account": "123", "remittance_text": "thanks"},
            value_date={"year": 1970, "month": 1, "day": 2},
        ),
    )
    assert faults == {}
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
    transfers, faults = _read(
        _transfer(), _transfer(override_limits=True), _transfer(_leg(amount_minor=0), override_limits=True)
    )
    assert list(faults) == [2]
    assert transfers.specials == dict.fromkeys((1, 2), Special(flags=LIMITS_OVERRIDDEN))


def test_columns_that_nobody_uses_stay_empty() -> None:
    transfers, _ = _read(_transfer(), _transfer())
    assert (transfers.specials, transfers.actors, transfers.actor_places) == ({}, [], [])
    assert (transfers.references, transfers.value_dates, transfers.creditors, transfers.further_legs) == (
        [],
        [],
        [],
        [],
    )


def test_what_the_bank_fills_in_is_ignored_when_a_caller_does() -> None:
    plain, _ = _read(_transfer())
    filled, faults = _read(_transfer(name="accounts/x", state="REFUSED", reason="x", business_date={"year": 1}))
    assert faults == {}
    assert filled == plain


NUMBER = identifiers.account_text(PAYER)
FAULTY = [
    (_transfer(transfer_id=""), "UUID_INVALID", "transfer_id"),
    (_transfer(transfer_id=ID.replace("-", "")), "UUID_INVALID", "transfer_id"),
    (_transfer(transfer_id=ID[:-2] + " 1"), "UUID_INVALID", "transfer_id"),
    (_transfer(transfer_id=ID[:-1] + "g"), "UUID_INVALID", "transfer_id"),
    (_transfer(transfer_id=ID[:-1] + "\uff11"), "UUID_INVALID", "transfer_id"),
    (_transfer(transfer_id="0-234567-89ab-cdef-0123-456789abcdef"), "UUID_INVALID", "transfer_id"),
    (_transfer(legs=[]), "LEGS_MISSING", "legs"),
    (_transfer(legs=[_leg()] * (limits.LEGS_PER_TRANSFER_MAX + 1)), "LEGS_TOO_MANY", "legs"),
    (_transfer(_leg(debit_account="")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account=NUMBER[:-1])), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account=NUMBER[:-1] + "x")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account=NUMBER[:-1] + "\uff11")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account=f"{PAYER + 1:016d}")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account="0000000000000001")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account="cash")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(debit_account="TRANSIT")), "ACCOUNT_NUMBER_INVALID", "legs[0].debit_account"),
    (_transfer(_leg(credit_account="NOSTRO")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (_transfer(_leg(credit_account="NOSTRO.")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (_transfer(_leg(credit_account="NOSTRO.ab")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (_transfer(_leg(credit_account="NOSTRO.ABCDEFGHIJKL")), "ACCOUNT_NUMBER_INVALID", "legs[0].credit_account"),
    (_transfer(_leg(credit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[0].credit_account"),
    (_transfer(_leg(debit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[0].debit_account"),
    (_transfer(_leg(credit_account=NUMBER)), "SAME_ACCOUNT", "legs[0].credit_account"),
    (
        _transfer(_leg(debit_account="CASH", credit_account="FEES")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[0].credit_account",
    ),
    (
        _transfer(_leg(debit_account="CASH", credit_account="CASH")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[0].credit_account",
    ),
    (_transfer(_leg(amount_minor=0)), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (_transfer(_leg(amount_minor=-1)), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (_transfer(_leg(amount_minor=-(2**63))), "AMOUNT_NOT_POSITIVE", "legs[0].amount_minor"),
    (_transfer(_leg(amount_minor=limits.AMOUNT_MINOR_MAX + 1)), "AMOUNT_TOO_LARGE", "legs[0].amount_minor"),
    (_transfer(_leg(amount_minor=2**63 - 1)), "AMOUNT_TOO_LARGE", "legs[0].amount_minor"),
    (_transfer(_leg(currency_code="")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (_transfer(_leg(currency_code="czk")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (_transfer(_leg(currency_code="XXX")), "CURRENCY_UNKNOWN", "legs[0].currency_code"),
    (_transfer(_leg(), _leg(amount_minor=0)), "AMOUNT_NOT_POSITIVE", "legs[1].amount_minor"),
    (_transfer(reference="x" * 141), "TEXT_TOO_LONG", "reference"),
    (_transfer(reference="a\nb"), "TEXT_HAS_CONTROL_CHARACTERS", "reference"),
    (_transfer(reference="a\0b"), "TEXT_HAS_CONTROL_CHARACTERS", "reference"),
    (_transfer(value_date=Date(year=2024)), "VALUE_DATE_INVALID", "value_date"),
    (_transfer(value_date=Date(year=2023, month=2, day=29)), "VALUE_DATE_INVALID", "value_date"),
    (_transfer(value_date=Date(year=1970, month=1, day=1)), "VALUE_DATE_INVALID", "value_date"),
    (_transfer(creditor={"account": "1"}), "BANK_CODE_INVALID", "creditor.bank_code"),
    (_transfer(creditor={"bank_code": "AB"}), "CREDITOR_ACCOUNT_MISSING", "creditor.account"),
    (_transfer(creditor={"bank_code": "AB", "account": "1" * 35}), "TEXT_TOO_LONG", "creditor.account"),
    (
        _transfer(creditor={"bank_code": "AB", "account": "1", "creditor_name": "x" * 141}),
        "TEXT_TOO_LONG",
        "creditor.creditor_name",
    ),
    (
        _transfer(creditor={"bank_code": "AB", "account": "1", "remittance_text": "\x7f"}),
        "TEXT_HAS_CONTROL_CHARACTERS",
        "creditor.remittance_text",
    ),
    (
        _transfer(_leg(credit_account="NOSTRO.AB"), creditor={"bank_code": "XYZ", "account": "1"}),
        "CREDITOR_BANK_MISMATCH",
        "creditor.bank_code",
    ),
    (
        _transfer(creditor={"bank_code": "AB", "account": "1", "remittance_text": "x" * 141}),
        "TEXT_TOO_LONG",
        "creditor.remittance_text",
    ),
    (
        _transfer(_leg(), _leg(credit_account="NOSTRO.AB"), creditor={"bank_code": "XYZ", "account": "1"}),
        "CREDITOR_BANK_MISMATCH",
        "creditor.bank_code",
    ),
    (_transfer(_leg(), _leg(credit_account=NUMBER)), "SAME_ACCOUNT", "legs[1].credit_account"),
    (
        _transfer(_leg(), _leg(debit_account="CASH", credit_account="FEES")),
        "CHART_NAMES_ON_BOTH_SIDES",
        "legs[1].credit_account",
    ),
    (_transfer(_leg(), _leg(credit_account=f"{TRANSIT:016d}")), "ACCOUNT_RESERVED", "legs[1].credit_account"),
    (_transfer(_leg(), _leg(currency_code="XXX")), "CURRENCY_UNKNOWN", "legs[1].currency_code"),
    (_transfer(fee_minor_max=-1), "AMOUNT_INVALID", "fee_minor_max"),
    (_transfer(fee_minor_max=limits.AMOUNT_MINOR_MAX + 1), "AMOUNT_INVALID", "fee_minor_max"),
    (_transfer(metadata={"a b": "1"}), "METADATA_KEY_INVALID", "metadata['a b']"),
    (_transfer(metadata={"a": ""}), "METADATA_VALUE_INVALID", "metadata['a']"),
    (_transfer(_leg(credit_account="NOSTRO.NOBODY")), "PARTNER_BANK_NOT_FOUND", ""),
    (_transfer(_leg(), _leg(debit_account="NOSTRO.NOBODY")), "PARTNER_BANK_NOT_FOUND", ""),
]


@pytest.mark.parametrize(("message", "reason", "field"), FAULTY, ids=range(len(FAULTY)))
def test_one_fault_is_one_violation(message: bank_pb2.Transfer, reason: str, field: str) -> None:
    assert _faults(message) == [(reason, field)]


GOOD = [
    _transfer(transfer_id=str(uuid4()).upper()),
    _transfer(_leg(amount_minor=1)),
    _transfer(_leg(amount_minor=limits.AMOUNT_MINOR_MAX)),
    _transfer(legs=[_leg()] * limits.LEGS_PER_TRANSFER_MAX),
    _transfer(_leg(debit_account=f"{CASH_OF_SHARD_1:016d}")),
    _transfer(_leg(debit_account="FEES")),
    _transfer(_leg(debit_account="SUSPENSE")),
    _transfer(_leg(debit_account="NOSTRO.AB")),
    _transfer(reference="ž" * limits.REFERENCE_CHARACTERS_MAX),
    _transfer(value_date=Date(year=2024, month=2, day=29)),
    _transfer(creditor={"bank_code": "XYZ", "account": "1", "creditor_name": "Žofie\u00a0N."}),
    _transfer(_leg(), _leg(credit_account="NOSTRO.XYZ"), creditor={"bank_code": "XYZ", "account": "1"}),
    _transfer(metadata={"k" * 40: "a\u00a0b", "0": "ž" * 256}),
]


@pytest.mark.parametrize("message", GOOD, ids=range(len(GOOD)))
def test_what_is_in_order_has_no_violation(message: bank_pb2.Transfer) -> None:
    assert _faults(message) == []


def test_a_fault_is_found_in_whatever_company_the_transfer_is() -> None:
    company = [GOOD[0], *(message for message, _, _ in FAULTY), GOOD[1]]
    _, faults = _read(*company)
    assert [faults[place].reason for place in sorted(faults)] == [reason for _, reason, _ in FAULTY]
    assert sorted(faults) == list(range(1, len(company) - 1))


texts = st.one_of(
    st.sampled_from([NUMBER, f"{PAYEE:016d}", f"{OTHER:016d}", f"{TRANSIT:016d}", "CASH", "NOSTRO.AB", "NOSTRO.XYZ"]),
    st.text(max_size=17),
)
legs = st.builds(
    bank_pb2.Leg,
    debit_account=texts,
    credit_account=texts,
    amount_minor=st.one_of(st.integers(-1, 2), st.integers(-(2**63), 2**63 - 1)),
    currency_code=st.one_of(st.sampled_from(["CZK", "EUR"]), st.text(max_size=3)),
)
good_legs = st.sampled_from(
    [_leg(), _leg(credit_account="NOSTRO.XYZ", amount_minor=7), _leg(debit_account="CASH", currency_code="EUR")]
)
keys = st.one_of(
    st.sampled_from(["order", "k" * 40, "a.b:c_d-e"]),
    st.text("a0_ \n\u00e9", max_size=3),
    st.text(min_size=39, max_size=42),
)
creditors = st.builds(
    bank_pb2.ExternalCreditor,
    bank_code=st.sampled_from(["AB", "XYZ", "ab", ""]),
    account=st.sampled_from(["19-1", "", "x" * (limits.CREDITOR_ACCOUNT_CHARACTERS_MAX + 1)]) | st.text(max_size=5),
    creditor_name=st.text(max_size=5) | st.just("x" * (limits.DISPLAY_NAME_CHARACTERS_MAX + 1)),
    remittance_text=st.text(max_size=5) | st.just("x" * (limits.REFERENCE_CHARACTERS_MAX + 1)),
)
anything = st.builds(
    bank_pb2.Transfer,
    transfer_id=st.one_of(
        st.uuids().map(str), st.text(max_size=36), st.text("0123456789abcdef- ", min_size=36, max_size=36)
    ),
    legs=st.lists(good_legs, min_size=1, max_size=3) | st.lists(good_legs | legs, max_size=3),
    reference=st.one_of(st.just(""), st.text(max_size=150)),
    creditor=st.none() | creditors,
    value_date=st.none()
    | st.builds(Date, year=st.integers(0, 10_000), month=st.integers(0, 13), day=st.integers(0, 32)),
    metadata=st.just({})
    | st.dictionaries(keys, st.text("a\u00a0\u00fc\u0085\u2028\U0001f600\n", max_size=257), max_size=3),
    override_limits=st.booleans(),
    waive_fees=st.booleans(),
    fee_minor_max=st.none() | st.integers(-1, 1),
)


def _slowly(messages: list[bank_pb2.Transfer]) -> Transfers:
    """Read transfers in which nothing is wrong, in the most obvious way."""
    transfers = Transfers(b"", [], [], [], [])
    for place, message in enumerate(messages):
        first, *further = [_slow_leg(leg) for leg in message.legs]
        transfers.transfer_ids += UUID(message.transfer_id).bytes
        transfers.debit_accounts.append(first[0])
        transfers.credit_accounts.append(first[1])
        transfers.amounts_minor.append(first[2])
        transfers.currencies.append(first[3])
        transfers.references.append(message.reference)
        transfers.value_dates.append(0)
        if message.HasField("value_date"):
            given = message.value_date
            transfers.value_dates[place] = (date(given.year, given.month, given.day) - date(1970, 1, 1)).days
        if message.HasField("creditor"):
            it = message.creditor
            transfers.creditors.append(Creditor(place, it.bank_code, it.account, it.creditor_name, it.remittance_text))
        transfers.further_legs += [FurtherLeg(place, *leg) for leg in further]
        if message.metadata:
            transfers.metadata[place] = tuple(sorted(message.metadata.items()))
        agreed = message.fee_minor_max if message.HasField("fee_minor_max") else None
        flags = LIMITS_OVERRIDDEN * message.override_limits + FEES_WAIVED * message.waive_fees
        if flags or agreed is not None:
            transfers.specials[place] = Special(flags=flags, fee_minor_max=agreed)
    return transfers


def _slow_leg(leg: bank_pb2.Leg) -> tuple[int, int, int, int]:
    names = {"CASH": (chart.Code.CASH, 0), "NOSTRO.AB": (chart.Code.NOSTRO, 7), "NOSTRO.XYZ": (chart.Code.NOSTRO, 8)}
    debit, credit = (
        chart_side(*names[text]) if text in names else int(text) for text in (leg.debit_account, leg.credit_account)
    )
    return debit, credit, leg.amount_minor, {"CZK": CZK, "EUR": 978}[leg.currency_code]


@given(st.lists(anything, min_size=1, max_size=5))
def test_reading_by_column_and_reading_one_by_one_find_the_same(messages: list[bank_pb2.Transfer]) -> None:
    transfers, together = _read(*messages)
    for place, message in enumerate(messages):
        authority = fault(message, PARTNERS, f"transfers[{place}]")
        assert str(authority) == str(together.get(place))
    rare = {row.place for row in (*transfers.further_legs, *transfers.creditors)} | transfers.metadata.keys()
    assert not rare & together.keys()
    good = [place for place in range(len(messages)) if place not in together]
    if good:
        picked = pick(transfers, good)
        # A column that nobody uses may be left out.
        picked.references, picked.value_dates = (
            picked.references or [""] * len(good),
            picked.value_dates or [0] * len(good),
        )
        assert picked == _slowly([messages[place] for place in good])


def test_all_violations_of_a_request_are_told_at_once() -> None:
    message = _transfer(
        _leg(debit_account="1", credit_account="2", amount_minor=0, currency_code="?"), transfer_id="", reference="\t"
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
    _, faults = _read(_transfer(_leg(amount_minor=0, currency_code="?")))
    back = status.from_status(status.to_status(faults[0]))
    assert isinstance(back, Malformed)
    assert [(each.reason, each.field) for each in (back, *back.further)] == [
        ("AMOUNT_NOT_POSITIVE", "transfers[0].legs[0].amount_minor"),
        ("CURRENCY_UNKNOWN", "transfers[0].legs[0].currency_code"),
    ]


def test_the_number_of_violations_told_is_bounded() -> None:
    assert len(_faults(_transfer(legs=[_leg(amount_minor=0, currency_code="?")] * 50))) == fields.FINDINGS_MAX


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_and_too_many_are_refused_as_a_whole(count: int) -> None:
    with pytest.raises(Malformed) as refused:
        validation.check_count(count, 2, "TRANSFERS_COUNT_INVALID", "transfers")
    assert (refused.value.reason, refused.value.field) == ("TRANSFERS_COUNT_INVALID", "transfers")
