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

    DEBIT_ACCOUNT_NOT_FOUND = 10
    CREDIT_ACCOUNT_NOT_FOUND = 20
    DEBIT_CURRENCY_MISMATCH = 30
    CREDIT_CURRENCY_MISMATCH = 40
    DEBIT_ACCOUNT_CLOSED = 50
    CREDIT_ACCOUNT_CLOSED = 60
    DEBITS_FROZEN = 70
    CREDITS_FROZEN = 80
    INSUFFICIENT_FUNDS = 90
    """Balance - held would fall below the account's floor."""
    CREDIT_BALANCE_LIMIT = 110
    """The payee's balance would rise above 9 * 10^18."""
    TRANSFER_ID_TAKEN = 120
    """Only as the reason of a return: the payee's shard knows the id for another transfer."""


UNKNOWN_ACCOUNT: Final = frozenset({Refusal.DEBIT_ACCOUNT_NOT_FOUND, Refusal.CREDIT_ACCOUNT_NOT_FOUND})
"""Refusals that say there is no such account, rather than that its state forbids the transfer."""
