"""Single fields of the public wire: names, numbers, texts, dates, page sizes. Pure.

A reader returns the value or raises `Malformed`, naming the field; `Findings` gathers what several
readers object to. Never here: whole messages (`validation.py`), or whether a thing exists.
"""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from services.domain import currencies, errors, identifiers, limits, products

T = TypeVar("T")

FINDINGS_MAX: Final = 20
"""Violations reported for one request; its sender will see the others after mending these."""

CONTROL_CHARACTERS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that break lines or terminals, or that PostgreSQL cannot store."""

_BANK_CODE: Final = re.compile(f"[A-Z0-9]{{1,{limits.BANK_CODE_CHARACTERS_MAX}}}")
_PRODUCT_VERSION: Final = re.compile("[1-9][0-9]{0,6}")
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class Findings:
    """What is wrong with one request, gathered so that its sender mends it at once."""

    __slots__ = ("_found", "_path")

    def __init__(self, path: str = "") -> None:
        self._found: list[errors.Malformed] = []
        self._path = f"{path}." if path else ""

    def add(self, reason: str, field: str, message: str) -> None:
        """Note that `field` (below the path) breaks a rule."""
        self._found.append(errors.Malformed(reason, self._path + field, message))

    def join(self, fault: errors.Malformed) -> None:
        """Take over what was found elsewhere."""
        self._found += (fault, *fault.further)

    def take(self, read: Callable[[str, str], T], text: str, field: str, otherwise: T) -> T:
        """Read a field, or note why it cannot be read and go on with `otherwise`."""
        try:
            return read(text, self._path + field)
        except errors.Malformed as fault:
            self._found.append(fault)
            return otherwise

    def text(self, text: str, field: str, characters_max: int) -> str:
        """Read free text of at most so many characters."""
        return self.take(lambda value, name: parse_text(value, name, characters_max), text, field, "")

    def error(self) -> errors.Malformed | None:
        """Join what was found into one error; None when all is well."""
        if not self._found:
            return None
        first, *others = self._found[:FINDINGS_MAX]
        return errors.Malformed(first.reason, first.field, first.description, others)

    def raise_if_any(self) -> None:
        """Raise what was found."""
        if (error := self.error()) is not None:
            raise error


def parse_text(text: str, field: str, characters_max: int) -> str:
    """Read free text. Raises `Malformed` (TEXT_TOO_LONG, TEXT_HAS_CONTROL_CHARACTERS)."""
    if len(text) > characters_max:
        raise errors.Malformed("TEXT_TOO_LONG", field, f"at most {characters_max} characters")
    if CONTROL_CHARACTERS.search(text):
        raise errors.Malformed("TEXT_HAS_CONTROL_CHARACTERS", field, "no control characters or line breaks")
    return text


def parse_currency(code: str, field: str) -> int:
    """Read an alphabetic code into its ISO 4217 number. Raises `Malformed` (CURRENCY_UNKNOWN)."""
    number = currencies.NUMBER_BY_CODE.get(code)
    if number is None:
        raise errors.Malformed("CURRENCY_UNKNOWN", field, "not an ISO 4217 alphabetic currency code")
    return number


def parse_bank_code(code: str, field: str) -> str:
    """Read a partner bank's code. Raises `Malformed` (BANK_CODE_INVALID)."""
    if _BANK_CODE.fullmatch(code) is None:
        raise errors.Malformed("BANK_CODE_INVALID", field, "1 to 11 characters of A to Z and 0 to 9")
    return code


def _inside(name: str, pattern: tuple[str, ...], field: str) -> list[str]:
    """Return the ids of a resource name; `pattern` has an empty place for each of them."""
    parts = name.split("/")
    if len(parts) == len(pattern) and all(want in ("", part) for want, part in zip(pattern, parts, strict=True)):
        return [part for want, part in zip(pattern, parts, strict=True) if not want]
    shape = "/".join(part or "{...}" for part in pattern)
    raise errors.Malformed("NAME_INVALID", field, f"not a resource name of the form {shape}")


def parse_account_name(name: str, field: str = "name") -> int:
    """Read `accounts/{account_number}`. Raises `Malformed` (NAME_INVALID, ACCOUNT_NUMBER_INVALID)."""
    (number,) = _inside(name, ("accounts", ""), field)
    return identifiers.parse_account_number(number, field)


def parse_balance_name(name: str, field: str = "name") -> int:
    """Read `accounts/{account_number}/balance`. Raises as `parse_account_name`."""
    if len(name) == 33 and name.startswith("accounts/") and name.endswith("/balance"):
        return identifiers.parse_account_number(name[9:25], field)
    (number,) = _inside(name, ("accounts", "", "balance"), field)
    return identifiers.parse_account_number(number, field)


def parse_customer_name(name: str, field: str = "name") -> int:
    """Read `customers/{customer_number}`. Raises `Malformed` (NAME_INVALID, CUSTOMER_NUMBER_INVALID)."""
    (number,) = _inside(name, ("customers", ""), field)
    return identifiers.parse_customer_number(number, field)


def parse_transfer_name(name: str, field: str = "name") -> tuple[int, bytes]:
    """Read `accounts/{account_number}/transfers/{transfer_id}`. Raises also UUID_INVALID."""
    number, transfer_id = _inside(name, ("accounts", "", "transfers", ""), field)
    return identifiers.parse_account_number(number, field), identifiers.parse_uuid(transfer_id, field)


def parse_hold_name(name: str, field: str = "name") -> tuple[int, bytes]:
    """Read `accounts/{account_number}/holds/{hold_id}`. Raises also UUID_INVALID."""
    number, hold_id = _inside(name, ("accounts", "", "holds", ""), field)
    return identifiers.parse_account_number(number, field), identifiers.parse_uuid(hold_id, field)


def parse_product_name(name: str, field: str = "product") -> tuple[str, int]:
    """Read `products/{code}` or `products/{code}/versions/{version}` into code and version.

    Without a version that is 0; an empty name is no product. Raises `Malformed` (NAME_INVALID,
    PRODUCT_CODE_INVALID, PRODUCT_VERSION_INVALID).
    """
    if not name:
        return "", 0
    if name.count("/") > 1:
        code, version = _inside(name, ("products", "", "versions", ""), field)
    else:
        (code,), version = _inside(name, ("products", ""), field), None
    if products.CODE.fullmatch(code) is None:
        raise errors.Malformed("PRODUCT_CODE_INVALID", field, "1 to 32 characters of A to Z, 0 to 9 and -")
    if version is None:
        return code, 0
    if _PRODUCT_VERSION.fullmatch(version) is None or int(version) > products.VERSION_MAX:
        raise errors.Malformed("PRODUCT_VERSION_INVALID", field, f"from 1 to {products.VERSION_MAX}")
    return code, int(version)


def parse_value_date(message: Date, field: str) -> int:
    """Read a date into days since 1970-01-01, at least 1. Raises `Malformed` (VALUE_DATE_INVALID)."""
    days = days_of(message.year, message.month, message.day)
    if not days:
        raise errors.Malformed("VALUE_DATE_INVALID", field, "not a whole date after 1970-01-01")
    return days


@lru_cache(maxsize=4096)
def days_of(year: int, month: int, day: int) -> int:
    """Return days since 1970-01-01, or 0 for what is no whole date after it. Most callers mean one of a few days."""
    try:
        return max(date(year, month, day).toordinal() - _EPOCH_ORDINAL, 0)
    except ValueError:
        return 0


def parse_day(message: Date, field: str, reason: str) -> int:
    """Read a date into days since 1970-01-01, at least 1. Raises `Malformed` with `reason`."""
    try:
        return parse_value_date(message, field)
    except errors.Malformed as fault:
        raise errors.Malformed(reason, field, fault.description) from None


def read_period(first_date: Date | None, last_date: Date | None) -> tuple[int, int]:
    """Read two business days, 0 for each that is not given. Raises `Malformed` (PERIOD_INVALID)."""
    first = parse_day(first_date, "first_date", "PERIOD_INVALID") if first_date is not None else 0
    last = parse_day(last_date, "last_date", "PERIOD_INVALID") if last_date is not None else 0
    if last and first > last:
        raise errors.Malformed("PERIOD_INVALID", "last_date", "the last day comes before the first")
    return first, last


def read_page_size(
    page_size: int,
    field: str = "page_size",
    default: int = limits.PAGE_SIZE_DEFAULT,
    page_size_max: int = limits.PAGE_SIZE_MAX,
) -> int:
    """Tell how many rows a page has. Raises `Malformed` (PAGE_SIZE_INVALID) below 0."""
    if page_size < 0:
        raise errors.Malformed("PAGE_SIZE_INVALID", field, "not negative; 0 means the default")
    return min(page_size or default, page_size_max)


def read_descending(order_by: str, field: str = "order_by") -> bool:
    """Tell whether entries are wanted newest first. Raises `Malformed` (ORDER_BY_INVALID)."""
    if order_by not in ("", "version", "version desc"):
        raise errors.Malformed("ORDER_BY_INVALID", field, "either `version desc` or `version`")
    return order_by != "version"


def parse_time(time: Timestamp, path: str) -> int:
    """Return microseconds since 1970-01-01 UTC. Raises `Malformed` for what is no time of the years 1 to 9999."""
    try:
        return time.ToMicroseconds()
    except ValueError:
        raise errors.Malformed(
            "TIME_INVALID", path, "a time of the years 1 to 9999, with 0 to 999,999,999 nanos"
        ) from None
