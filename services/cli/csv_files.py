"""Files of customers, accounts and payments: from lines of text to rows, with what is wrong said line by line.

Pure: takes bytes, returns values. A wrong header refuses the whole file; a bad row is refused by
itself and the others go on. Each line of the file is one row: a field may be quoted but never holds
a line break, so a stray quote spoils its own line only. Blank lines are skipped and spaces around
fields do not count. Never here: what is done with the rows (`importing.py`, `paying.py`).
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Generic, TypeVar

from services.cli.amounts import AmountInvalid, exponent_of, parse_amount
from services.domain import limits

CUSTOMER_COLUMNS: Final = ("customer_ref", "birth_date", "gender", "district")
ACCOUNT_COLUMNS: Final = ("account_ref", "customer_ref", "currency", "opened_on", "branch_district")
PAYMENT_COLUMNS: Final = (
    "payment_ref",
    "debit_account_ref",
    "creditor_bank",
    "creditor_account",
    "amount",
    "currency",
    "category",
)

PAYROLL_COLUMNS: Final = ("account", "amount")

ROW_MALFORMED: Final = "ROW_MALFORMED"
"""The line is not a row of this file: fields missing or too many, a stray quote, not UTF-8."""
FIELD_INVALID: Final = "FIELD_INVALID"
REFERENCE_REPEATED: Final = "REFERENCE_REPEATED"

_BANK_CODE = re.compile(rf"[A-Z0-9]{{1,{limits.BANK_CODE_CHARACTERS_MAX}}}")


class FileRefused(Exception):
    """The file as a whole is not what it should be; nothing of it was sent. The message says why."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not done: where it stands, what it calls itself, and why."""

    line: int
    """Counted from 1, the header being line 1."""
    reference: str
    """As far as it could be read; may be empty."""
    reason: str
    """UPPER_SNAKE_CASE, for programs."""
    message: str
    """For people."""


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One customer; of its columns the core keeps the reference only."""

    line: int
    reference: str


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account of a customer."""

    line: int
    reference: str
    customer_reference: str
    currency_code: str


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One payment from an account here to an account at a partner bank."""

    line: int
    reference: str
    debit_account_reference: str
    bank_code: str
    creditor_account: str
    amount_minor: int
    currency_code: str
    category: str


@dataclass(frozen=True, slots=True)
class PayrollRow:
    """One payee of a payroll."""

    line: int
    reference: str
    """The payee's account number."""
    amount_minor: int


Row = TypeVar("Row", CustomerRow, AccountRow, PaymentRow, PayrollRow)


@dataclass(slots=True)
class Parsed(Generic[Row]):
    """What a file says: its good rows in order, and the bad ones with reasons."""

    name: str
    rows: list[Row] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)


@dataclass(slots=True)
class ParsedPayments(Parsed[PaymentRow]):
    """Payments, with the file's own sums in minor units by (bank code, currency code).

    A sum takes every row whose bank, amount and currency can be read, refused ones included.
    """

    sum_by_bank: dict[tuple[str, str], int] = field(default_factory=dict)


class _Bad(Exception):
    """A row cannot be taken; carries reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def parse_customers(name: str, data: bytes) -> Parsed[CustomerRow]:
    """Read customers.csv. Raises `FileRefused` for a wrong header."""
    parsed = Parsed[CustomerRow](name)

    def read(line: int, fields: Mapping[str, str]) -> CustomerRow:
        reference = _reference(fields, "customer_ref")
        _day(fields, "birth_date")
        return CustomerRow(line, reference)

    _parse(parsed, data, CUSTOMER_COLUMNS, read)
    return parsed


def parse_accounts(name: str, data: bytes) -> Parsed[AccountRow]:
    """Read accounts.csv. Raises `FileRefused` for a wrong header."""
    parsed = Parsed[AccountRow](name)

    def read(line: int, fields: Mapping[str, str]) -> AccountRow:
        reference = _reference(fields, "account_ref")
        customer = _reference(fields, "customer_ref")
        _day(fields, "opened_on")
        return AccountRow(line, reference, customer, _currency(fields))

    _parse(parsed, data, ACCOUNT_COLUMNS, read)
    return parsed


def parse_payments(name: str, data: bytes) -> ParsedPayments:
    """Read payments.csv. Raises `FileRefused` for a wrong header."""
    parsed = ParsedPayments(name)

    def read(line: int, fields: Mapping[str, str]) -> PaymentRow:
        bank_code, currency_code = fields["creditor_bank"], _currency(fields)
        if not _BANK_CODE.fullmatch(bank_code):
            raise _Bad(FIELD_INVALID, f"creditor_bank: {bank_code!r} is not a bank code, 1 to 11 of A-Z and 0-9")
        try:
            amount_minor = parse_amount(fields["amount"], currency_code)
        except AmountInvalid as error:
            raise _Bad(FIELD_INVALID, f"amount: {error}") from error
        key = (bank_code, currency_code)
        parsed.sum_by_bank[key] = parsed.sum_by_bank.get(key, 0) + amount_minor
        return PaymentRow(
            line=line,
            reference=_reference(fields, "payment_ref"),
            debit_account_reference=_reference(fields, "debit_account_ref"),
            bank_code=bank_code,
            creditor_account=_text(fields, "creditor_account", limits.CREDITOR_ACCOUNT_CHARACTERS_MAX),
            amount_minor=amount_minor,
            currency_code=currency_code,
            category=_text(fields, "category", limits.REFERENCE_CHARACTERS_MAX, at_least=0),
        )

    _parse(parsed, data, PAYMENT_COLUMNS, read)
    return parsed


def parse_payroll(name: str, data: bytes, currency_code: str) -> Parsed[PayrollRow]:
    """Read the payees of a payroll in one currency. Raises `FileRefused` for a wrong header."""
    parsed = Parsed[PayrollRow](name)

    def read(line: int, fields: Mapping[str, str]) -> PayrollRow:
        account = _reference(fields, "account")
        if not (len(account) == 16 and account.isascii() and account.isdigit()):
            raise _Bad(FIELD_INVALID, f"account: {account!r} is not an account number, 16 digits")
        try:
            return PayrollRow(line, account, parse_amount(fields["amount"], currency_code))
        except AmountInvalid as error:
            raise _Bad(FIELD_INVALID, f"amount: {error}") from error

    _parse(parsed, data, PAYROLL_COLUMNS, read)
    return parsed


def _parse(
    parsed: Parsed[Row], data: bytes, columns: Sequence[str], read: Callable[[int, Mapping[str, str]], Row]
) -> None:
    """Fill `parsed` from the bytes of a file whose first column is the row's own reference."""
    lines = _lines(data)
    order = _header(parsed.name, next(lines, ""), columns)
    line_by_reference: dict[str, int] = {}
    for line, text in enumerate(lines, start=2):
        if not text.strip():
            continue
        reference = ""
        try:
            fields = dict(zip(order, _split(text, len(order)), strict=True))
            reference = fields[columns[0]]
            row = read(line, fields)
            _check_repetition(columns[0], row.reference, line, line_by_reference)
        except _Bad as bad:
            parsed.refused.append(RefusedRow(line, _printable(reference), bad.reason, _printable(bad.message)))
        else:
            parsed.rows.append(row)


def _check_repetition(column: str, reference: str, line: int, line_by_reference: dict[str, int]) -> None:
    before = line_by_reference.setdefault(reference, line)
    if before != line:
        raise _Bad(REFERENCE_REPEATED, f"{column}: {reference!r} already stands on line {before}")


def _lines(data: bytes) -> Iterator[str]:
    """Split a file into its lines; bytes that are not UTF-8 stay visible as lone surrogates."""
    for raw in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        yield raw.removesuffix(b"\r").decode("utf-8", errors="surrogateescape")


def _header(name: str, text: str, columns: Sequence[str]) -> list[str]:
    """Check the header and return its columns in the file's order. Raises `FileRefused`."""
    expected = ",".join(columns)
    if not text.strip():
        raise FileRefused(f"{name}: the file has no header; expected {expected}")
    try:
        found = [column.strip() for column in next(csv.reader([text]), [])]
    except csv.Error as error:
        raise FileRefused(f"{name}: the header is not CSV ({error}); expected {expected}") from error
    missing = [column for column in columns if column not in found]
    unknown = [column for column in found if column not in columns]
    repeated = sorted({column for column in found if found.count(column) > 1})
    faults = [
        f"{what} {', '.join(map(repr, names))}"
        for what, names in (("missing", missing), ("unknown", unknown), ("repeated", repeated))
        if names
    ]
    if faults:
        raise FileRefused(f"{name}: the header is wrong ({'; '.join(faults)}); expected {expected}")
    return found


def _split(text: str, count: int) -> list[str]:
    """Split one line into exactly `count` fields."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Bad(ROW_MALFORMED, "the line is not UTF-8") from error
    try:
        fields = next(csv.reader([text], strict=True)) if '"' in text else text.split(",")
    except csv.Error as error:
        raise _Bad(ROW_MALFORMED, f"the line is not CSV: {error}") from error
    if len(fields) != count:
        raise _Bad(ROW_MALFORMED, f"{len(fields)} fields where the header has {count}")
    return [each.strip() for each in fields]


def _text(fields: Mapping[str, str], column: str, characters_max: int, *, at_least: int = 1) -> str:
    """Take a text field, refusing what is too short, too long or not printable."""
    text = fields[column]
    if len(text) < at_least:
        raise _Bad(FIELD_INVALID, f"{column}: empty")
    if len(text) > characters_max:
        raise _Bad(FIELD_INVALID, f"{column}: {len(text)} characters, at most {characters_max} are allowed")
    if not text.isprintable():
        raise _Bad(FIELD_INVALID, f"{column}: has characters that cannot be printed")
    return text


def _reference(fields: Mapping[str, str], column: str) -> str:
    return _text(fields, column, limits.EXTERNAL_REFERENCE_CHARACTERS_MAX)


def _day(fields: Mapping[str, str], column: str) -> None:
    """Check a day; an empty one is not known and no fault."""
    text = fields[column]
    try:
        known = not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        known = False
    if not known:
        raise _Bad(FIELD_INVALID, f"{column}: {text!r} is not a day like 2015-03-24")


def _currency(fields: Mapping[str, str]) -> str:
    code = fields["currency"]
    try:
        exponent_of(code)
    except AmountInvalid as error:
        raise _Bad(FIELD_INVALID, f"currency: {error}") from error
    return code


def _printable(text: str) -> str:
    """Make text safe to show: what cannot be printed is escaped, and at most 200 characters."""
    shown = text[:200]
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode("ascii")
