"""Files are read row by row: a wrong header refuses the file, a bad row refuses itself only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.csv_files import (
    ACCOUNT_COLUMNS,
    AccountRow,
    FileRefused,
    PaymentRow,
    parse_accounts,
    parse_customers,
    parse_payments,
)

CUSTOMERS = "customer_ref,birth_date,gender,district\n"
ACCOUNTS = "account_ref,customer_ref,currency,opened_on,branch_district\n"
PAYMENTS = "payment_ref,debit_account_ref,creditor_bank,creditor_account,amount,currency,category\n"


def test_good_rows_keep_their_line_numbers() -> None:
    parsed = parse_accounts("a.csv", (ACCOUNTS + "A1,C1,CZK,2015-03-24,18\n\nA2,C1,EUR,,\n").encode())
    assert parsed.rows == [AccountRow(2, "A1", "C1", "CZK"), AccountRow(4, "A2", "C1", "EUR")]
    assert parsed.refused == []


def test_a_payment_is_read_exactly() -> None:
    parsed = parse_payments("p.csv", (PAYMENTS + "P1,A1,YZ,87144583,245.20,CZK,household\n").encode())
    assert parsed.rows == [PaymentRow(2, "P1", "A1", "YZ", "87144583", 24_520, "CZK", "household")]


def test_windows_line_ends_a_byte_order_mark_and_spaces_do_not_matter() -> None:
    data = b"\xef\xbb\xbf" + CUSTOMERS.replace("\n", "\r\n").encode() + b" C1 , 1990-12-13,F,18\r\n"
    assert [row.reference for row in parse_customers("c.csv", data).rows] == ["C1"]


def test_columns_may_stand_in_another_order() -> None:
    parsed = parse_customers("c.csv", b"district,gender,birth_date,customer_ref\n18,F,1990-12-13,C1\n")
    assert [row.reference for row in parsed.rows] == ["C1"]


def test_a_quoted_field_may_hold_a_comma() -> None:
    parsed = parse_customers("c.csv", (CUSTOMERS + '"C,1",1990-12-13,"F",18\n').encode())
    assert [row.reference for row in parsed.rows] == ["C,1"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "has no header"),
        ("\n", "has no header"),
        ("customer_ref,birth_date,gender\n", "missing 'district'"),
        ("customer_ref,birth_date,gender,district,age\n", "unknown 'age'"),
        ("customer_ref,birth_date,gender,district,gender\n", "repeated 'gender'"),
        ("customer_ref;birth_date;gender;district\n", "missing 'customer_ref'"),
        ("C1,1990-12-13,F,18\n", "expected customer_ref,birth_date,gender,district"),
    ],
)
def test_a_wrong_header_refuses_the_file_and_says_what_is_wrong(header: str, said: str) -> None:
    with pytest.raises(FileRefused, match=said) as caught:
        parse_customers("some/c.csv", header.encode())
    assert str(caught.value).startswith("some/c.csv: ")


BAD_PAYMENTS = [
    ("P9,A1,YZ,1,1.00,CZK", "ROW_MALFORMED", "6 fields where the header has 7"),
    ("P9,A1,YZ,1,1.00,CZK,x,y", "ROW_MALFORMED", "8 fields"),
    ('P9,A1,YZ,1,1.00,CZK,"x', "ROW_MALFORMED", "not CSV"),
    ("P9,A1,YZ,1,1.00,CZK,\udcff", "ROW_MALFORMED", "not UTF-8"),
    (",A1,YZ,1,1.00,CZK,x", "FIELD_INVALID", "payment_ref: empty"),
    ("P9,,YZ,1,1.00,CZK,x", "FIELD_INVALID", "debit_account_ref: empty"),
    ("P9,A1,,1,1.00,CZK,x", "FIELD_INVALID", "creditor_bank: ''"),
    ("P9,A1,y-z,1,1.00,CZK,x", "FIELD_INVALID", "creditor_bank: 'y-z'"),
    ("P9,A1,YZ,,1.00,CZK,x", "FIELD_INVALID", "creditor_account: empty"),
    (f"P9,A1,YZ,{'1' * 35},1.00,CZK,x", "FIELD_INVALID", "at most 34"),
    ("P9,A1,YZ,1,0.00,CZK,x", "FIELD_INVALID", "amount: '0.00'"),
    ("P9,A1,YZ,1,-1.00,CZK,x", "FIELD_INVALID", "amount: '-1.00'"),
    ("P9,A1,YZ,1,1.005,CZK,x", "FIELD_INVALID", "2 decimal places"),
    ("P9,A1,YZ,1,1.00,KCS,x", "FIELD_INVALID", "currency: 'KCS'"),
    (f"P9,A1,YZ,1,1.00,CZK,{'x' * 141}", "FIELD_INVALID", "category: 141 characters"),
    ("P9,A1,YZ,1,1.00,CZK,a\x07b", "FIELD_INVALID", "cannot be printed"),
    ("P1,A1,YZ,1,1.00,CZK,x", "REFERENCE_REPEATED", "already stands on line 2"),
]


@pytest.mark.parametrize(("row", "reason", "said"), BAD_PAYMENTS)
def test_a_bad_row_is_refused_with_its_line_and_the_others_go_on(row: str, reason: str, said: str) -> None:
    text = PAYMENTS + "P1,A1,YZ,1,1.00,CZK,x\n" + row + "\nP2,A1,YZ,1,2.00,CZK,\n"
    parsed = parse_payments("p.csv", text.encode("utf-8", errors="surrogateescape"))
    assert [good.reference for good in parsed.rows] == ["P1", "P2"]
    (refused,) = parsed.refused
    assert (refused.line, refused.reason) == (3, reason)
    assert said in refused.message


def test_a_day_that_does_not_exist_is_a_bad_row() -> None:
    parsed = parse_accounts("a.csv", (ACCOUNTS + "A1,C1,CZK,2015-02-30,18\nA2,C1,CZK,20150301,18\n").encode())
    assert [(row.line, row.reason) for row in parsed.refused] == [(2, "FIELD_INVALID"), (3, "FIELD_INVALID")]


def test_the_sums_of_a_file_take_every_row_whose_money_can_be_read() -> None:
    rows = "P1,A1,YZ,1,1.00,CZK,\nP1,A1,YZ,1,2.00,CZK,\nP2,A1,AB,1,4.00,EUR,\nP3,A1,AB,1,bad,EUR,\n,A1,YZ,1,8.00,CZK,\n"
    parsed = parse_payments("p.csv", (PAYMENTS + rows).encode())
    assert parsed.sum_by_bank == {("YZ", "CZK"): 1_100, ("AB", "EUR"): 400}
    assert [row.line for row in parsed.refused] == [3, 5, 6]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_the_bytes_every_line_is_a_row_or_a_refusal_or_blank(data: bytes) -> None:
    parsed = parse_accounts("a.csv", ",".join(ACCOUNT_COLUMNS).encode() + b"\n" + data)
    lines = sorted([row.line for row in parsed.rows] + [row.line for row in parsed.refused])
    blank = [number for number, line in enumerate(data.split(b"\n"), start=2) if _is_blank(line)]
    assert sorted(lines + blank) == list(range(2, 3 + data.count(b"\n")))
    assert all(row.message.isprintable() and row.reference.isprintable() for row in parsed.refused)


def _is_blank(line: bytes) -> bool:
    return not line.decode("utf-8", errors="surrogateescape").strip()


def test_a_header_that_is_no_csv_refuses_the_file() -> None:
    with pytest.raises(FileRefused, match="the header is not CSV"):
        parse_customers("customers.csv", b"customer_ref,\rbirth_date,gender,district\n")
