"""Which scope each call of the public API needs, in the one table.

Never here: which accounts and customers a token limited to one customer may see (`ownership.py`).
"""

from typing import Final

ACCOUNTS_READ: Final = "accounts.read"
ACCOUNTS_WRITE: Final = "accounts.write"
CUSTOMERS_WRITE: Final = "customers.write"
TRANSFERS_WRITE: Final = "transfers.write"
OPERATOR: Final = "operator"

SCOPE_BY_CALL: Final = {
    "OpenCustomer": CUSTOMERS_WRITE,
    "OpenCustomers": CUSTOMERS_WRITE,
    "GetCustomer": ACCOUNTS_READ,
    "OpenAccount": ACCOUNTS_WRITE,
    "OpenAccounts": ACCOUNTS_WRITE,
    "GetAccount": ACCOUNTS_READ,
    "FindAccounts": ACCOUNTS_READ,
    "ListAccounts": ACCOUNTS_READ,
    "GetBalance": ACCOUNTS_READ,
    "PostTransfer": TRANSFERS_WRITE,
    "PostTransfers": TRANSFERS_WRITE,
    "GetTransfer": ACCOUNTS_READ,
    "ListEntries": ACCOUNTS_READ,
    "RegisterPartnerBanks": OPERATOR,
    "ListShards": OPERATOR,
}

BANK_WIDE_CALLS: Final = frozenset(
    {"OpenCustomer", "OpenCustomers", "FindAccounts", "RegisterPartnerBanks", "ListShards"}
)
"""Calls that a token limited to one customer may not make, whatever its scopes."""

assert SCOPE_BY_CALL.keys() >= BANK_WIDE_CALLS
