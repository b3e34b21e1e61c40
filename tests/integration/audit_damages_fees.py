"""Damages to fees, planted on shard 4; `audited_bank.Bank` says what stands at which sequence."""

from audit_damages_special import SpecialDamage, transfer
from audited_bank import SLOT
from sound_books import CZK, EUR, customer_account

from services.domain import chart

CASH, INCOME = (chart.internal_account(4, code, CZK) for code in (chart.Code.CASH, chart.Code.FEES))
STRANGER = customer_account(SLOT[4], 15)


def fee(sequence: int, setting: str) -> str:
    return f"UPDATE ledger.further_leg SET {setting} WHERE sequence = {sequence}"


FEE_DAMAGES = [
    SpecialDamage(
        "a fee is passed off as what the caller asked for",
        {"reversal_differs"},
        fee(87, "is_fee = false"),
        "sequence 88",
    ),
    SpecialDamage(
        "an ordinary leg is passed off as a fee",
        {"fee_misplaced", "fee_income_differs"},
        fee(93, "is_fee = true"),
        "income of this shard is",
    ),
    SpecialDamage(
        "a fee goes to another account of the bank",
        {"fee_misplaced", "entries_differ"},
        fee(91, f"credit_account = {CASH}"),
        "sequence 91",
    ),
    SpecialDamage(
        "a fee is taken from somebody who pays nothing",
        {"fee_misplaced", "entries_differ"},
        fee(87, f"debit_account = {STRANGER}"),
        "not from a payer of the transfer",
    ),
    SpecialDamage(
        "a payer is charged twice",
        {"fee_misplaced", "entries_differ"},
        fee(95, "debit_account = (SELECT debit_account FROM ledger.further_leg WHERE sequence = 94)"),
        "not the last of its payer",
    ),
    SpecialDamage(
        "a fee is taken though fees were waived",
        {"fee_despite_waiver"},
        transfer(86, "flags = 4"),
        "sequence 87",
    ),
    SpecialDamage(
        "fee income is less than the fees",
        {"fee_income_differs", "leg_unbalanced", "balances_not_zero", "money_not_conserved"},
        "UPDATE ledger.entry SET amount_minor = amount_minor - 1, balance_after_minor = balance_after_minor - 1"
        f" WHERE account_number = {INCOME} AND sequence = 104",
        "no such entry on the income account",
    ),
    SpecialDamage(
        "a fee that came back is no fee any more",
        {"return_differs"},
        fee(104, "is_fee = false"),
        "crossing 2 to shard 2",
    ),
    SpecialDamage(
        "a fee in another currency",
        {"fee_misplaced"},
        fee(98, f"currency = {EUR}"),
        "sequence 98",
    ),
]
