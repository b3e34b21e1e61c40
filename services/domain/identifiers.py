"""Account and customer numbers: how they are built, checked and read.

A number carries its slot in front, so it routes without a look-up, and two check digits at its end
(ISO 7064 MOD 97-10), so a mistyped one is refused before any look-up. Inside, a number is an `int`;
on the public wire it is its digits. Never here: which shard has a slot (`directory.py`).
"""

import re
from typing import Final, NewType

from services.domain import errors

AccountNumber = NewType("AccountNumber", int)
CustomerNumber = NewType("CustomerNumber", int)
Slot = NewType("Slot", int)
ShardId = NewType("ShardId", int)

SLOTS: Final = 10_000
SHARD_ID_MAX: Final = 999
CUSTOMER_SLOTS: Final = range(SLOTS - SHARD_ID_MAX - 1)
"""Slots that take customers, 0000 to 8999; those above belong to the shards' own accounts."""

ACCOUNT_SERIAL_MAX: Final = 10**10 - 1
CUSTOMER_SERIAL_MAX: Final = 10**8 - 1

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _with_check_digits(number: int) -> int:
    """Append two digits so that the whole leaves 1 when divided by 97."""
    return number * 100 + 98 - number * 100 % 97


def _is_checked(number: int) -> bool:
    """Tell whether the check digits are right; 00, 01 and 99 leave the same remainders as 97, 98 and 02."""
    return number % 97 == 1 and 2 <= number % 100 <= 98


def account_number(slot: int, serial: int) -> AccountNumber:
    """Build the number of the account with `serial` (from 1) in `slot`."""
    assert 0 <= slot < SLOTS and 1 <= serial <= ACCOUNT_SERIAL_MAX
    return AccountNumber(_with_check_digits(slot * 10**10 + serial))


def customer_number(slot: int, serial: int) -> CustomerNumber:
    """Build the number of the customer with `serial` (from 1) in `slot`."""
    assert 0 <= slot < SLOTS and 1 <= serial <= CUSTOMER_SERIAL_MAX
    return CustomerNumber(_with_check_digits(slot * 10**8 + serial))


def slot_of_account(number: int) -> Slot:
    """Tell the slot that an account number carries."""
    return Slot(number // 10**12)


def slot_of_customer(number: int) -> Slot:
    """Tell the slot that a customer number carries."""
    return Slot(number // 10**10)


def account_text(number: int) -> str:
    """Write an account number as its 16 digits."""
    return f"{number:016d}"


def customer_text(number: int) -> str:
    """Write a customer number as its 14 digits."""
    return f"{number:014d}"


def parse_account_number(text: str, field: str = "account_number") -> AccountNumber:
    """Read 16 digits. Raises `Malformed` (ACCOUNT_NUMBER_INVALID), naming `field`."""
    if len(text) == 16 and text.isascii() and text.isdigit():
        number = int(text)
        if _is_checked(number) and number // 100 % 10**10:
            return AccountNumber(number)
    raise errors.Malformed("ACCOUNT_NUMBER_INVALID", field, "not an account number: 16 digits with two check digits")


def parse_customer_number(text: str, field: str = "customer_number") -> CustomerNumber:
    """Read 14 digits. Raises `Malformed` (CUSTOMER_NUMBER_INVALID), naming `field`."""
    if len(text) == 14 and text.isascii() and text.isdigit():
        number = int(text)
        if _is_checked(number) and number // 100 % 10**8:
            return CustomerNumber(number)
    raise errors.Malformed("CUSTOMER_NUMBER_INVALID", field, "not a customer number: 14 digits with two check digits")


def parse_uuid(text: str, field: str) -> bytes:
    """Read a hyphenated UUID into its 16 bytes. Raises `Malformed` (UUID_INVALID), naming `field`."""
    if _UUID.fullmatch(text) is None:
        raise errors.Malformed("UUID_INVALID", field, "not a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12")
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(raw: bytes) -> str:
    """Write 16 bytes as a hyphenated UUID."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
