"""Which scope each call of the public API needs, in the one table.

Never here: which accounts and customers a token limited to one customer may see (`ownership.py`).
"""

from typing import Final

ACCOUNTS_READ: Final = "accounts.read"
ACCOUNTS_WRITE: Final = "accounts.write"
CUSTOMERS_WRITE: Final = "customers.write"
TRANSFERS_WRITE: Final = "transfers.write"
OPERATOR: Final = "operator"
AUDIT_READ: Final = "audit.read"
LIMITS_OVERRIDE: Final = "limits.override"
TRANSFERS_REVERSE: Final = "transfers.reverse"
OVERDRAFT_FORCE: Final = "overdraft.force"
ACCOUNTS_MANAGE: Final = "accounts.manage"
GL_READ: Final = "gl.read"
FEES_WAIVE: Final = "fees.waive"

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
    "QuoteTransfer": TRANSFERS_WRITE,
    "GetTransfer": ACCOUNTS_READ,
    "GetStatement": ACCOUNTS_READ,
    "ListEntries": ACCOUNTS_READ,
    "SearchTransfers": ACCOUNTS_READ,
    "GetGeneralLedger": GL_READ,
    "PlaceHold": TRANSFERS_WRITE,
    "IncreaseHold": TRANSFERS_WRITE,
    "CaptureHold": TRANSFERS_WRITE,
    "ReleaseHold": TRANSFERS_WRITE,
    "GetHold": ACCOUNTS_READ,
    "ListHolds": ACCOUNTS_READ,
    "ReverseTransfer": TRANSFERS_REVERSE,
    "ChangeAccountState": ACCOUNTS_MANAGE,
    "ChangeAccountLimits": ACCOUNTS_MANAGE,
    "LoadProducts": OPERATOR,
    "ListProducts": ACCOUNTS_READ,
    "MoveAccountProduct": ACCOUNTS_MANAGE,
    "RegisterPartnerBanks": OPERATOR,
    "RegisterPaymentFile": TRANSFERS_WRITE,
    "ListAuditTrail": AUDIT_READ,
    "ListShards": OPERATOR,
}

LOOK_UP_CALLS: Final = frozenset(
    call for call in SCOPE_BY_CALL if call.startswith(("Get", "Find", "List", "Search", "Quote"))
)
"""Calls that only read, by the API's own naming; they have an allowance of their own."""

UNBOUNDED_LOOK_UPS: Final = frozenset({"ListShards"})
"""What an operator sees of the bank while it is overloaded."""

SCOPE_BY_DISPENSATION: Final = {
    "override_limits": LIMITS_OVERRIDE,
    "OVERDRAW": OVERDRAFT_FORCE,
    "waive_fees": FEES_WAIVE,
}
"""What asking to be let off a rule needs besides the call's own scope."""

BANK_WIDE_CALLS: Final = frozenset(
    {
        "OpenCustomer",
        "OpenCustomers",
        "FindAccounts",
        "ReverseTransfer",
        "ChangeAccountState",
        "ChangeAccountLimits",
        "GetGeneralLedger",
        "LoadProducts",
        "MoveAccountProduct",
        "RegisterPartnerBanks",
        "ListAuditTrail",
        "ListShards",
    }
)
"""Calls that a token limited to one customer may not make, whatever its scopes."""

assert SCOPE_BY_CALL.keys() >= BANK_WIDE_CALLS
