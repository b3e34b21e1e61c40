"""The bank's own accounts: a number says whose, what for, and in which currency.

Every shard has one slot for its internal accounts, counted down from 9999: shard 1 has 9999, shard
2 has 9998. Such a slot never moves. The serial reads code (4), sub-number (3), currency (3, ISO
4217 numeric): 9999 1020 007 203 is shard 1's nostro account with partner bank 7 in CZK. So every
room can name an internal account without asking. The chart itself is data: `chart.toml` of the
account service says which accounts a bank opens; the codes that code refers to stand here.
"""

from enum import IntEnum
from functools import cache

from services.domain import limits
from services.domain.identifiers import SHARD_ID_MAX, SLOTS, AccountNumber, Slot, account_number


class Code(IntEnum):
    """Internal accounts that the engine itself names."""

    CASH = 1010
    """Asset: what tellers and machines hold."""
    NOSTRO = 1020
    """Asset: our account at a partner bank; the sub-number is the partner."""
    TRANSIT = 1090
    """Clearing: crossings to and from a peer shard; the sub-number is the peer."""
    SUSPENSE = 2900
    """Liability: money whose owner is being looked for."""
    FEES = 4010
    """Income."""


def internal_slot(shard_id: int) -> Slot:
    """Tell the slot of a shard's own accounts."""
    assert 1 <= shard_id <= SHARD_ID_MAX
    return Slot(SLOTS - shard_id)


def shard_of_internal_slot(slot: int) -> int | None:
    """Tell whose own accounts lie in `slot`; None for a slot that takes customers."""
    shard_id = SLOTS - slot
    return shard_id if shard_id <= SHARD_ID_MAX else None


def internal_account(shard_id: int, code: int, currency: int, sub_number: int = 0) -> AccountNumber:
    """Name an internal account; `currency` is ISO 4217 numeric."""
    assert 1000 <= code <= 9999 and 0 <= sub_number <= limits.PARTNER_BANKS_MAX and 0 < currency < 1000
    return account_number(internal_slot(shard_id), (code * 1000 + sub_number) * 1000 + currency)


@cache
def transit_account(shard_id: int, peer_id: int, currency: int) -> AccountNumber:
    """Name the account on `shard_id` through which crossings to and from `peer_id` pass."""
    return internal_account(shard_id, Code.TRANSIT, currency, peer_id)


def code_of(number: int) -> tuple[int, int]:
    """Read the code and the sub-number out of an internal account's number."""
    assert is_internal(number)
    return number // 10**8 % 10**4, number // 10**5 % 10**3


def own_accounts(shard_id: int) -> range:
    """Tell the numbers among which a shard's own accounts lie."""
    first = internal_slot(shard_id) * 10**12
    return range(first, first + 10**12)


def is_transit(number: int) -> bool:
    """Tell whether an account is one that only the engine moves."""
    return is_internal(number) and code_of(number)[0] == Code.TRANSIT


def is_internal(number: int) -> bool:
    """Tell whether an account is the bank's own."""
    return SLOTS - number // 10**12 <= SHARD_ID_MAX
