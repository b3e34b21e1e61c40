"""What any account may do, whatever for: pay, be paid, pass money on. Pure rules.

Each returns the first refusal that applies, by the public order of precedence, or 0. Never here:
allowances (`spending.py`), holds, what follows from a yes.
"""

from typing import Final

from services.domain import limits
from services.domain.outcomes import Refusal
from services.ledger.books import AccountState, Restriction

_RESERVED: Final = int(Restriction.RESERVED)
"""A plain integer: an IntFlag's operator costs as much as a whole rule."""


def payer_refusal(debit: AccountState, currency: int) -> int:
    """Tell what forbids an account to pay at all, funds aside; 0 when nothing does."""
    if debit.restrictions & _RESERVED:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    if debit.currency != currency:
        return Refusal.DEBIT_CURRENCY_MISMATCH
    if debit.restrictions:
        if debit.restrictions & Restriction.CLOSED:
            return Refusal.DEBIT_ACCOUNT_CLOSED
        if debit.restrictions & Restriction.PENDING:
            return Refusal.DEBIT_ACCOUNT_PENDING
        if debit.restrictions & Restriction.DEBITS_FROZEN:
            return Refusal.DEBITS_FROZEN
        if debit.restrictions & Restriction.DORMANT:
            return Refusal.DEBIT_ACCOUNT_DORMANT
    return 0


def debit_refusal(debit: AccountState, amount_minor: int, currency: int) -> int:
    """Tell why `debit` may not pay an amount; 0 when it may. Allowances are `spending.py`."""
    refusal = payer_refusal(debit, currency)
    if not refusal and debit.balance_minor - debit.held_minor - amount_minor < debit.floor_minor:
        return Refusal.INSUFFICIENT_FUNDS
    return refusal


def credit_refusal(credit: AccountState | None, amount_minor: int, currency: int) -> int:
    """Tell why `credit` may not be paid; 0 when it may. Only reasons that concern the payee's account."""
    if credit is None or credit.restrictions & _RESERVED:
        return Refusal.CREDIT_ACCOUNT_NOT_FOUND
    if credit.currency != currency:
        return Refusal.CREDIT_CURRENCY_MISMATCH
    if credit.restrictions:
        if credit.restrictions & Restriction.CLOSED:
            return Refusal.CREDIT_ACCOUNT_CLOSED
        if credit.restrictions & Restriction.PENDING:
            return Refusal.CREDIT_ACCOUNT_PENDING
        if credit.restrictions & Restriction.CREDITS_FROZEN:
            return Refusal.CREDITS_FROZEN
    balance = credit.balance_minor + amount_minor
    if balance > limits.BALANCE_MINOR_MAX:
        return Refusal.CREDIT_BALANCE_LIMIT
    allowance = credit.allowance
    if (
        allowance is not None
        and allowance.balance_minor_max is not None
        and balance + credit.promised_minor > allowance.balance_minor_max
    ):
        return Refusal.CREDIT_BALANCE_LIMIT
    return 0


def transit_refusal(transit: AccountState, change_minor: int) -> int:
    """Tell why money may not pass a transit account; 0 when it may, as it does for centuries."""
    if abs(transit.balance_minor + change_minor) > limits.BALANCE_MINOR_MAX:
        return Refusal.CREDIT_BALANCE_LIMIT
    return 0


def first_refusal(debit: int, credit: int) -> int:
    """Choose between a payer's and a payee's refusal by the public order of precedence."""
    return min(debit, credit) if debit and credit else debit or credit
