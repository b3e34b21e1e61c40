"""Decimal amounts are read and written exactly, by the currency's own decimals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.amounts import AmountInvalid, format_amount, parse_amount, parse_limit
from services.domain import limits
from services.domain.currencies import EXPONENT_BY_CODE

AMOUNTS = [
    ("12.50", "CZK", 1_250),
    ("12.5", "CZK", 1_250),
    ("12", "CZK", 1_200),
    ("0.01", "EUR", 1),
    ("007", "EUR", 700),
    (".80", "CZK", 80),
    ("12", "JPY", 12),
    ("1.234", "BHD", 1_234),
    ("1.2345", "CLF", 12_345),
    ("10000000000000.00", "CZK", limits.AMOUNT_MINOR_MAX),
]


@pytest.mark.parametrize(("text", "code", "minor"), AMOUNTS)
def test_an_amount_is_read_by_the_decimals_of_its_currency(text: str, code: str, minor: int) -> None:
    assert parse_amount(text, code) == minor


@pytest.mark.parametrize(
    "text",
    ["", " ", "12,50", "1 000", "1_000", "+1", "-1", "1.", ".", "1e3", "0x1", "NaN", "inf", "1.2.3", "٣", "1\n"],
)
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountInvalid, match="is not an amount"):
        parse_amount(text, "CZK")


@pytest.mark.parametrize(("text", "minor"), [("0", 0), ("0.00", 0), (".0", 0), ("12.5", 1_250)])
def test_a_limit_may_be_zero(text: str, minor: int) -> None:
    assert parse_limit(text, "CZK") == minor


@pytest.mark.parametrize("text", ["", ".", "-1", "0.", "none"])
def test_what_is_not_a_limit_is_refused(text: str) -> None:
    with pytest.raises(AmountInvalid):
        parse_limit(text, "CZK")


@pytest.mark.parametrize(("text", "code"), [("1.005", "CZK"), ("1.0", "JPY"), ("0.0001", "BHD")])
def test_more_decimals_than_the_currency_has_are_refused_not_rounded(text: str, code: str) -> None:
    with pytest.raises(AmountInvalid, match="decimal places"):
        parse_amount(text, code)


@pytest.mark.parametrize("text", ["0", "0.00", "10000000000000.01", "9999999999999999999"])
def test_an_amount_outside_of_what_one_leg_may_move_is_refused(text: str) -> None:
    with pytest.raises(AmountInvalid, match=r"0\.01 to 10000000000000\.00 CZK"):
        parse_amount(text, "CZK")


@pytest.mark.parametrize("code", ["czk", "XXX", "", "CZKK"])
def test_an_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(AmountInvalid, match="not an ISO 4217 currency code"):
        parse_amount("1", code)


@pytest.mark.parametrize(
    ("minor", "code", "text"),
    [(0, "CZK", "0.00"), (-5, "CZK", "-0.05"), (5, "JPY", "5"), (-1_234, "BHD", "-1.234"), (123_456, "EUR", "1234.56")],
)
def test_minor_units_are_written_with_all_decimals(minor: int, code: str, text: str) -> None:
    assert format_amount(minor, code) == text


@settings(deadline=None)
@given(st.integers(1, limits.AMOUNT_MINOR_MAX), st.sampled_from(sorted(EXPONENT_BY_CODE)))
def test_what_is_written_is_read_back(minor: int, code: str) -> None:
    assert parse_amount(format_amount(minor, code), code) == minor
