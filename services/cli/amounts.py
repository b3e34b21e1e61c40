"""Decimal amounts as people write them, to and from minor units, exactly.

`12.50 CZK` is 1250. Digits are counted, never rounded, and no float is involved. Never here: which
currencies a bank offers, sums, rates.
"""

import re

from services.domain import limits
from services.domain.currencies import EXPONENT_BY_CODE

_AMOUNT = re.compile(r"(?=\.?[0-9])([0-9]{0,19})(?:\.([0-9]{1,4}))?")
"""Digits, then perhaps a point and digits; those before a point may be missing: some systems write .80 for 0.80."""


class AmountInvalid(ValueError):
    """The text is not an amount of that currency; the message says why, in one sentence."""


def exponent_of(currency_code: str) -> int:
    """Tell the decimal places of a currency. Raises `AmountInvalid` for one that ISO 4217 does not know."""
    exponent = EXPONENT_BY_CODE.get(currency_code)
    if exponent is None:
        raise AmountInvalid(f"{currency_code!r} is not an ISO 4217 currency code")
    return exponent


def parse_amount(text: str, currency_code: str) -> int:
    """Read a positive decimal amount into minor units of `currency_code`.

    Digits with at most as many decimals as the currency has, a point before them, and nothing else;
    `.80` is 0.80. Raises `AmountInvalid`.
    """
    exponent = exponent_of(currency_code)
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise AmountInvalid(f"{text!r} is not an amount: digits, with a point before the decimals, like 12.50")
    whole, decimals = match[1], match[2] or ""
    if len(decimals) > exponent:
        places = f"{exponent} decimal places" if exponent else "no decimal places"
        raise AmountInvalid(f"{text!r} is not an amount of {currency_code}, which has {places}")
    amount_minor = int(whole + decimals.ljust(exponent, "0"))
    if not 1 <= amount_minor <= limits.AMOUNT_MINOR_MAX:
        least, most = format_amount(1, currency_code), format_amount(limits.AMOUNT_MINOR_MAX, currency_code)
        raise AmountInvalid(f"{text!r} is outside of what one transfer may move: {least} to {most} {currency_code}")
    return amount_minor


def parse_limit(text: str, currency_code: str) -> int:
    """Read a decimal amount that may also be zero. Raises `AmountInvalid`."""
    if text.strip("0.") == "" and _AMOUNT.fullmatch(text) is not None:
        exponent_of(currency_code)
        return 0
    return parse_amount(text, currency_code)


def format_amount(amount_minor: int, currency_code: str) -> str:
    """Write minor units as a decimal with all the currency's decimals: -5 in CZK is `-0.05`.

    Raises `AmountInvalid` for an unknown currency.
    """
    exponent = exponent_of(currency_code)
    digits = str(abs(amount_minor)).rjust(exponent + 1, "0")
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else sign + digits
