"""From reasons to ISO 20022's external status reason codes: the one table.

Every refusal of the books is here, and every reason that a payment file itself gives; a reason that is
not becomes MS03, and its name stands in the additional information in any case. Never here: deciding.
"""

from typing import Final

from services.domain.outcomes import Refusal

UNSPECIFIED: Final = "MS03"
"""Not specified by the agent."""

CODE_BY_REFUSAL: Final[dict[Refusal, str]] = {
    Refusal.REVERSED_BEFORE_ARRIVAL: "DS02",  # an authorised user has cancelled the order
    Refusal.DEBIT_ACCOUNT_NOT_FOUND: "AC02",
    Refusal.CREDIT_ACCOUNT_NOT_FOUND: "AC03",
    Refusal.HOLD_NOT_FOUND: "MS03",
    Refusal.HOLD_ALREADY_CAPTURED: "MS03",
    Refusal.HOLD_ALREADY_RELEASED: "MS03",
    Refusal.HOLD_ALREADY_EXPIRED: "MS03",
    Refusal.ORIGINAL_NOT_FOUND: "MS03",
    Refusal.ORIGINAL_NOT_POSTED: "MS03",
    Refusal.REVERSAL_MISMATCH: "MS03",
    Refusal.DEBIT_CURRENCY_MISMATCH: "AC10",
    Refusal.CREDIT_CURRENCY_MISMATCH: "AC11",
    Refusal.DEBIT_ACCOUNT_CLOSED: "AC05",
    Refusal.DEBIT_ACCOUNT_PENDING: "AC06",
    Refusal.CREDIT_ACCOUNT_CLOSED: "AC07",
    Refusal.CREDIT_ACCOUNT_PENDING: "AC06",
    Refusal.DEBITS_FROZEN: "AC06",
    Refusal.DEBIT_ACCOUNT_DORMANT: "AC06",
    Refusal.CREDITS_FROZEN: "AC06",
    Refusal.HOLD_PAYEE_MISMATCH: "MS03",
    Refusal.CAPTURE_EXCEEDS_HOLD: "MS03",
    Refusal.REVERSAL_EXCEEDS_ORIGINAL: "MS03",
    Refusal.FEE_EXCEEDS_MAXIMUM: "MS03",
    Refusal.INSUFFICIENT_FUNDS: "AM04",
    Refusal.TRANSFER_LIMIT: "AM14",
    Refusal.DAY_AMOUNT_LIMIT: "AM14",
    Refusal.DAY_COUNT_LIMIT: "AM21",
    Refusal.CUSTOMER_DAY_LIMIT: "AM14",
    Refusal.CREDIT_BALANCE_LIMIT: "AM21",
    Refusal.CUSTOMER_MISSING: "MS03",
    Refusal.STATE_MAY_NOT_FOLLOW: "MS03",
    Refusal.ACCOUNT_NOT_EMPTY: "MS03",
    Refusal.TRANSFER_ID_TAKEN: "DU03",
    Refusal.PROMISE_TIMED_OUT: "AB06",
}

CODE_BY_REASON: Final[dict[str, str]] = {
    **{refusal.name: code for refusal, code in CODE_BY_REFUSAL.items()},
    # What the file itself gives (`checking.py`, `filing.py`).
    "FILE_EMPTY": "FF01",
    "MESSAGE_ID_REUSED": "DU01",
    "GROUP_COUNT_MISMATCH": "AM19",
    "GROUP_SUM_MISMATCH": "AM16",
    "COUNT_MISMATCH": "AM20",
    "SUM_MISMATCH": "AM17",
    "IDENTIFICATION_INVALID": "FF01",
    "PAYMENT_INFORMATION_ID_REPEATED": "DU02",
    "TRANSFER_IDENTIFICATION_REPEATED": "DU05",
    "PAYMENT_METHOD_NOT_SUPPORTED": "AG03",
    "ELEMENT_NOT_SUPPORTED": "AG03",
    "EXECUTION_DATE_INVALID": "DT01",
    "EXECUTION_DATE_TOO_FAR": "DT01",
    "DEBTOR_ACCOUNT_MISSING": "AC02",
    "DEBTOR_ACCOUNT_NOT_FOUND": "AC02",
    "CREDITOR_ACCOUNT_MISSING": "AC03",
    "CREDITOR_ACCOUNT_INVALID": "AC03",
    "CREDITOR_ACCOUNT_NOT_FOUND": "AC03",
    "CREDITOR_BANK_INVALID": "RC01",
    "REMITTANCE_TOO_LONG": "FF01",
    "AMOUNT_INVALID": "AM12",
    # What the public door says of a single transfer.
    "ACCOUNT_NUMBER_INVALID": "AC01",
    "ACCOUNT_RESERVED": "AG01",
    "PARTNER_BANK_NOT_FOUND": "RC04",
    "ACCOUNT_NOT_FOUND": "AC01",
    "SAME_ACCOUNT": "AG01",
    "CURRENCY_UNKNOWN": "AM11",
    "TEXT_HAS_CONTROL_CHARACTERS": "FF01",
    "TEXT_TOO_LONG": "FF01",
    "TRANSFER_ID_REUSED": "DU03",
    "ACCOUNT_OF_ANOTHER_CUSTOMER": "AG01",
    "INTERNAL_ACCOUNT": "AG01",
    "SCOPE_MISSING": "AG01",
}


def code_of(reason: str) -> str:
    """Tell the external status reason code for a reason."""
    return CODE_BY_REASON.get(reason, UNSPECIFIED)
