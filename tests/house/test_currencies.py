"""The domain's table of currencies is ISO 4217's."""

from iso4217 import Currency

from services.domain import currencies

NO_ACCOUNT_CURRENCIES = {"XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
"""Metals, units of account, test codes: they have no minor units."""


def test_the_table_is_that_of_the_standard() -> None:
    standard = {one.code: (one.number, one.exponent) for one in Currency if one.exponent is not None}
    ours = {code: (currencies.NUMBER_BY_CODE[code], currencies.EXPONENT_BY_CODE[code]) for code in standard}
    assert ours == standard
    assert currencies.NUMBER_BY_CODE.keys() == standard.keys()


def test_what_has_no_minor_units_is_no_account_currency() -> None:
    assert {one.code for one in Currency if one.exponent is None} == NO_ACCOUNT_CURRENCIES
    assert not NO_ACCOUNT_CURRENCIES & currencies.NUMBER_BY_CODE.keys()


def test_codes_and_numbers_name_each_other() -> None:
    assert {number: code for code, number in currencies.NUMBER_BY_CODE.items()} == currencies.CODE_BY_NUMBER
    assert all(1 <= number <= 999 for number in currencies.CODE_BY_NUMBER)
