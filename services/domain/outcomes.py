"""What a transfer id means, for ever, and why not when it is a no.

The numbers are stored in the books and travel between the services; the names are the public
`state` and `reason`. Never here: how it is decided (`services/ledger/posting.py`).
"""

from enum import IntEnum
from typing import Final


class Outcome(IntEnum):
    """What became of a transfer."""

    POSTED = 1
    REFUSED = 2
    IN_TRANSIT = 3
    """Debited; the payee's shard has not acknowledged yet. The only outcome that still changes."""
    RETURNED = 4


class Refusal(IntEnum):
    """Why a transfer is not posted, in order of precedence: the first that applies is given.

    The order is part of the API. For a transfer of several legs it is: the first leg that fails,
    then this order.
    """

    REVERSED_BEFORE_ARRIVAL = 5
    """Somebody reversed the transfer before it was asked for."""
    PROMISE_TIMED_OUT = 7
    """Of a transfer over several shards: it was given up before all of them had promised their parts."""
    DEBIT_ACCOUNT_NOT_FOUND = 10
    CREDIT_ACCOUNT_NOT_FOUND = 20
    HOLD_NOT_FOUND = 21
    """There is no such hold on the payer's account."""
    HOLD_ALREADY_CAPTURED = 22
    HOLD_ALREADY_RELEASED = 23
    HOLD_ALREADY_EXPIRED = 24
    ORIGINAL_NOT_FOUND = 25
    """The transfer to be reversed is not in the books; it will be refused if it comes."""
    ORIGINAL_NOT_POSTED = 26
    """The transfer to be reversed was refused or returned."""
    REVERSAL_MISMATCH = 27
    """A reversal runs from the original's payee to its payer, in its currency; of several legs, whole."""
    DEBIT_CURRENCY_MISMATCH = 30
    CREDIT_CURRENCY_MISMATCH = 40
    DEBIT_ACCOUNT_CLOSED = 50
    DEBIT_ACCOUNT_PENDING = 55
    CREDIT_ACCOUNT_CLOSED = 60
    CREDIT_ACCOUNT_PENDING = 65
    DEBITS_FROZEN = 70
    DEBIT_ACCOUNT_DORMANT = 75
    CREDITS_FROZEN = 80
    HOLD_PAYEE_MISMATCH = 84
    """The hold was placed for another payee."""
    CAPTURE_EXCEEDS_HOLD = 86
    REVERSAL_EXCEEDS_ORIGINAL = 88
    """This reversal and those before it would give back more than the original moved."""
    FEE_EXCEEDS_MAXIMUM = 89
    """The fee is more than the caller agreed to pay."""
    INSUFFICIENT_FUNDS = 90
    """Balance - held would fall below the account's floor, the fee taken with the amount."""
    TRANSFER_LIMIT = 92
    """More than the account may pay at a time."""
    DAY_AMOUNT_LIMIT = 94
    """More than the account may pay, or set aside, in a business day."""
    DAY_COUNT_LIMIT = 96
    """More often than the account may pay, or set aside, in a business day."""
    CUSTOMER_DAY_LIMIT = 98
    """More than the customer may pay in a business day over all accounts of this currency."""
    CREDIT_BALANCE_LIMIT = 110
    """The payee's balance would rise above what it may hold: its own maximum, or 9 * 10^18."""
    CUSTOMER_MISSING = 112
    """A cap over all of a customer's accounts was asked for through an account that has no customer."""
    STATE_MAY_NOT_FOLLOW = 114
    """The account's state of life does not allow that one next."""
    ACCOUNT_NOT_EMPTY = 116
    """Closing needs a balance of 0, no holds and nothing on its way to another shard."""
    TRANSFER_ID_TAKEN = 120
    """Another shard that takes part, or the payee's in a return, knows the id for another transfer."""


NOT_THERE: Final = frozenset(
    {
        Refusal.DEBIT_ACCOUNT_NOT_FOUND,
        Refusal.CREDIT_ACCOUNT_NOT_FOUND,
        Refusal.HOLD_NOT_FOUND,
        Refusal.ORIGINAL_NOT_FOUND,
    }
)
"""Refusals that say there is no such thing, rather than that its state forbids what was asked."""
