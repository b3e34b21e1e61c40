"""Names, pages, openings and what is looked for are read, or refused with all that is wrong with them."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.domain import errors, identifiers, products
from services.domain.errors import BankError, Malformed
from services.gateway import fields, validation

CZK = 203
PAYER = identifiers.account_number(1, 1)
NUMBER = identifiers.account_text(PAYER)
ID = "01234567-89ab-cdef-0123-456789ABCDEF"


def test_an_opening_names_all_that_is_wrong_with_it() -> None:
    customer = validation.read_customer_opening(
        bank_pb2.OpenCustomerRequest(
            request_id="x", customer={"external_reference": "x" * 65, "display_name": "a\u2028b"}
        ),
        "requests[3]",
    )
    account = validation.read_account_opening(
        bank_pb2.OpenAccountRequest(account={"customer": "customers/x", "currency_code": "?"}), ""
    )
    assert isinstance(customer, Malformed)
    assert isinstance(account, Malformed)
    assert [(each.reason, each.field) for each in (customer, *customer.further)] == [
        ("UUID_INVALID", "requests[3].request_id"),
        ("TEXT_TOO_LONG", "requests[3].customer.external_reference"),
        ("TEXT_HAS_CONTROL_CHARACTERS", "requests[3].customer.display_name"),
    ]
    assert [(each.reason, each.field) for each in (account, *account.further)] == [
        ("UUID_INVALID", "request_id"),
        ("CUSTOMER_NUMBER_INVALID", "account.customer"),
        ("CURRENCY_UNKNOWN", "account.currency_code"),
    ]


def test_an_account_is_opened_with_the_highest_version_of_its_product_so_that_none_is_named() -> None:
    def violations(product: str) -> list[tuple[str, str]]:
        account = {"customer": f"customers/{identifiers.customer_number(1, 1):014d}", "currency_code": "CZK"}
        asked = bank_pb2.OpenAccountRequest(request_id=ID, account=account | {"product": product})
        read = validation.read_account_opening(asked, "")
        return [(each.reason, each.field) for each in (read, *read.further)] if isinstance(read, Malformed) else []

    assert violations("products/PAID") == []
    assert violations("products/PAID/versions/1") == [("PRODUCT_VERSION_GIVEN", "account.product")]
    assert violations("products/paid") == [("PRODUCT_CODE_INVALID", "account.product")]


def test_a_customer_in_order_is_read() -> None:
    customer = {"external_reference": "x" * 64, "display_name": "\u017dofie N."}
    item = validation.read_customer_opening(bank_pb2.OpenCustomerRequest(request_id=ID, customer=customer), "")
    assert not isinstance(item, BankError)
    assert (item.request_id, item.external_reference, item.display_name) == (
        bytes.fromhex(ID.replace("-", "")),
        "x" * 64,
        "\u017dofie N.",
    )


def test_an_opening_in_order_is_read() -> None:
    number = identifiers.customer_number(1, 1)
    item = validation.read_account_opening(
        bank_pb2.OpenAccountRequest(
            request_id=ID,
            account={"customer": f"customers/{number:014d}", "currency_code": "CZK", "external_reference": "576"},
        ),
        "",
    )
    assert not isinstance(item, BankError)
    assert (item.request_id, item.customer_number, item.currency, item.external_reference) == (
        bytes.fromhex(ID.replace("-", "")),
        number,
        CZK,
        "576",
    )


@pytest.mark.parametrize(
    ("read", "name", "reason"),
    [
        (fields.parse_account_name, "accounts/", "ACCOUNT_NUMBER_INVALID"),
        (fields.parse_account_name, "", "NAME_INVALID"),
        (fields.parse_account_name, NUMBER, "NAME_INVALID"),
        (fields.parse_account_name, f"account/{NUMBER}", "NAME_INVALID"),
        (fields.parse_account_name, f"accounts/{NUMBER}/balance", "NAME_INVALID"),
        (fields.parse_account_name, f"accounts/{PAYER + 1:016d}", "ACCOUNT_NUMBER_INVALID"),
        (fields.parse_balance_name, f"accounts/{NUMBER}", "NAME_INVALID"),
        (fields.parse_balance_name, f"accounts/{NUMBER}0/balance", "ACCOUNT_NUMBER_INVALID"),
        (fields.parse_balance_name, f"accounts/{PAYER + 1:016d}/balance", "ACCOUNT_NUMBER_INVALID"),
        (fields.parse_customer_name, "customers/12345678901234", "CUSTOMER_NUMBER_INVALID"),
        (fields.parse_customer_name, "customers", "NAME_INVALID"),
        (fields.parse_transfer_name, f"accounts/{NUMBER}/transfers/x", "UUID_INVALID"),
        (fields.parse_transfer_name, f"accounts/{NUMBER}/entries/{ID}", "NAME_INVALID"),
        (fields.parse_hold_name, f"accounts/{NUMBER}/transfers/{ID}", "NAME_INVALID"),
        (fields.parse_hold_name, f"accounts/{NUMBER}/holds/x", "UUID_INVALID"),
    ],
)
def test_a_wrong_resource_name_is_refused(read: Any, name: str, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        read(name)
    assert refused.value.reason == reason
    assert refused.value.field == "name"


def test_a_right_resource_name_is_read() -> None:
    assert fields.parse_account_name(f"accounts/{NUMBER}") == PAYER
    assert fields.parse_balance_name(f"accounts/{NUMBER}/balance") == PAYER
    assert fields.parse_transfer_name(f"accounts/{NUMBER}/transfers/{ID}") == (
        PAYER,
        bytes.fromhex(ID.replace("-", "")),
    )


def test_a_refused_name_is_shown_the_form_that_it_ought_to_have() -> None:
    with pytest.raises(Malformed, match=r"accounts/\{\.\.\.\}/holds/\{\.\.\.\}$"):
        fields.parse_hold_name("holds/1")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("", ("", 0)),
        ("products/PAID-2", ("PAID-2", 0)),
        ("products/PAID/versions/1", ("PAID", 1)),
        (f"products/PAID/versions/{products.VERSION_MAX}", ("PAID", products.VERSION_MAX)),
    ],
)
def test_a_products_name_is_read_with_its_version_or_without(name: str, read: tuple[str, int]) -> None:
    assert fields.parse_product_name(name) == read


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("PAID", "NAME_INVALID"),
        ("products/PAID/versions", "NAME_INVALID"),
        ("products/PAID/versions/1/", "NAME_INVALID"),
        ("products/", "PRODUCT_CODE_INVALID"),
        ("products/paid", "PRODUCT_CODE_INVALID"),
        ("products/PAID/versions/", "PRODUCT_VERSION_INVALID"),
        ("products/PAID/versions/0", "PRODUCT_VERSION_INVALID"),
        ("products/PAID/versions/01", "PRODUCT_VERSION_INVALID"),
        ("products/PAID/versions/\u0661", "PRODUCT_VERSION_INVALID"),
        ("products/PAID/versions/-1", "PRODUCT_VERSION_INVALID"),
        (f"products/PAID/versions/{products.VERSION_MAX + 1}", "PRODUCT_VERSION_INVALID"),
        (f"products/PAID/versions/{10**9}", "PRODUCT_VERSION_INVALID"),
        ("products/PAID/versions/00000000199999999999", "PRODUCT_VERSION_INVALID"),
        (f"products/PAID/versions/{'1' * 5_000}", "PRODUCT_VERSION_INVALID"),
    ],
)
def test_what_is_no_products_name_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        fields.parse_product_name(name)
    assert refused.value.reason == reason


def test_dates_are_days_since_1970_and_begin_after_its_first() -> None:
    assert fields.parse_value_date(Date(year=1970, month=1, day=2), "value_date") == 1
    assert fields.parse_value_date(Date(year=2024, month=2, day=29), "value_date") == 19_782
    for wrong in (Date(), Date(year=1970, month=1, day=1), Date(year=2023, month=2, day=29)):
        with pytest.raises(Malformed) as refused:
            fields.parse_value_date(wrong, "value_date")
        assert (refused.value.reason, refused.value.field) == ("VALUE_DATE_INVALID", "value_date")


def test_a_period_is_open_where_no_day_is_given_and_may_be_one_day_long() -> None:
    first, second = Date(year=1970, month=1, day=2), Date(year=1970, month=1, day=3)
    assert fields.read_period(None, None) == (0, 0)
    assert fields.read_period(second, None) == (2, 0)
    assert fields.read_period(None, second) == (0, 2)
    assert fields.read_period(first, second) == (1, 2)
    assert fields.read_period(second, second) == (2, 2)


@pytest.mark.parametrize(
    ("period", "field"),
    [
        ((Date(year=1970, month=1, day=3), Date(year=1970, month=1, day=2)), "last_date"),
        ((Date(), None), "first_date"),
        ((None, Date()), "last_date"),
    ],
)
def test_a_period_that_is_none_is_refused(period: tuple[Date | None, Date | None], field: str) -> None:
    with pytest.raises(Malformed) as refused:
        fields.read_period(*period)
    assert (refused.value.reason, refused.value.field) == ("PERIOD_INVALID", field)


def test_times_are_microseconds_since_1970() -> None:
    assert fields.parse_time(Timestamp(seconds=7, nanos=5_999), "start_time") == 7_000_005
    with pytest.raises(Malformed) as refused:
        fields.parse_time(Timestamp(seconds=2**40), "start_time")
    assert (refused.value.reason, refused.value.field) == ("TIME_INVALID", "start_time")


def test_what_was_found_elsewhere_is_told_whole() -> None:
    findings = fields.Findings("transfer")
    findings.join(Malformed("NAME_INVALID", "name", "x", [Malformed("UUID_INVALID", "request_id", "y")]))
    findings.add("REASON_MISSING", "reason", "z")
    error = findings.error()
    assert error is not None
    assert [each.field for each in (error, *error.further)] == ["name", "request_id", "transfer.reason"]


def test_page_sizes_and_orders_are_read_or_refused() -> None:
    assert [fields.read_page_size(size) for size in (0, 1, 1000, 1001)] == [100, 1, 1000, 1000]
    assert [fields.read_descending(order) for order in ("", "version desc", "version")] == [True, True, False]
    with pytest.raises(Malformed, match="page_size"):
        fields.read_page_size(-1)
    with pytest.raises(Malformed, match="order_by"):
        fields.read_descending("amount")


def test_bank_codes_are_read_or_refused() -> None:
    assert fields.parse_bank_code("AB", "bank_code") == "AB"
    assert validation.read_bank_codes(["AB", "KOMBCZPPXXX"]) == ["AB", "KOMBCZPPXXX"]
    for codes in ([], ["AB"] * 101, ["ab"], ["ABCDEFGHIJKL"], ["A B"]):
        with pytest.raises(Malformed):
            validation.read_bank_codes(codes)


def test_references_to_look_for_are_read_or_refused() -> None:
    assert validation.read_references(["576"], "external_references") == ["576"]
    with pytest.raises(errors.Malformed) as refused:
        validation.read_references(["1", "", "x" * 65], "external_references")
    assert [each.field for each in (refused.value, *refused.value.further)] == [
        "external_references[1]",
        "external_references[2]",
    ]


def _file(**changes: Any) -> bank_pb2.PaymentFile:
    return bank_pb2.PaymentFile(**({"message_id": "m" * 35, "digest": bytes(32)} | changes))


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"initiating_party": "x" * 141}, "TEXT_TOO_LONG", "initiating_party"),
        ({"message_id": "m" * 36}, "TEXT_TOO_LONG", "message_id"),
        ({"message_id": "a\nb"}, "TEXT_HAS_CONTROL_CHARACTERS", "message_id"),
        ({"message_id": ""}, "MESSAGE_ID_MISSING", "message_id"),
        ({"digest": bytes(31)}, "DIGEST_INVALID", "digest"),
        ({"digest": bytes(33)}, "DIGEST_INVALID", "digest"),
        ({"transfer_count": -1}, "TRANSFERS_COUNT_INVALID", "transfer_count"),
    ],
)
def test_a_payment_file_that_could_not_be_told_from_others_is_refused(
    changes: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(Malformed) as refused:
        validation.check_payment_file(_file(**changes))
    assert [(each.reason, each.field) for each in (refused.value, *refused.value.further)] == [
        (reason, f"payment_file.{field}")
    ]


def test_a_payment_file_needs_neither_a_sender_nor_a_payment() -> None:
    validation.check_payment_file(_file())
    validation.check_payment_file(_file(initiating_party="x" * 140, transfer_count=2**31 - 1))
