"""Damages to changes, limits, caps and fees on the fourth shard of `audited_bank.py`.

What they are and how they are read is `audit_damages.py`.
"""

from audit_damages_special import (
    CHANGING,
    FIRST,
    LIMITED,
    POOR,
    SECOND,
    SIBLING,
    SpecialDamage,
    change,
    limit,
    transfer,
)
from audited_bank import CUSTOMER
from sound_books import CZK

from services.domain.identifiers import account_text

LIMIT_DAMAGES = [
    SpecialDamage(
        "a change was decided twice",
        {"change_repeated"},
        "UPDATE ledger.account_change SET change_id = (SELECT change_id FROM ledger.account_change WHERE sequence = 33)"
        " WHERE sequence = 48",
        "at sequences 33 and 48",
    ),
    SpecialDamage(
        "a change is forgotten",
        {"change_broken", "sequence_missing"},
        "DELETE FROM ledger.account_change WHERE sequence = 51",
        "sequences 51 to 51",
    ),
    SpecialDamage(
        "a change found other limits than there were",
        {"change_broken"},
        change(46, "balance_before_minor_max = 20001"),
        f"sequence 46 changes account {account_text(LIMITED)}",
    ),
    SpecialDamage(
        "a change names a limit that it does not set",
        {"change_broken"},
        change(48, "day_count_max = 3"),
        f"sequence 48 changes account {account_text(CHANGING)}",
    ),
    SpecialDamage(
        "a closed account was changed",
        {"change_broken", "state_ignored", "closed_not_empty"},
        change(51, f"account_number = {CHANGING}, restrictions_before = 4, restrictions = 4")
        + change(53, "restrictions_before = 4"),
        f"sequence 53 changes account {account_text(CHANGING)}",
    ),
    SpecialDamage(
        "an account is frozen without a change",
        {"account_differs"},
        f"UPDATE ledger.account SET restrictions = 3 WHERE account_number = {CHANGING}",
        f"account {account_text(CHANGING)} has restrictions, floor and limits",
    ),
    SpecialDamage(
        "a floor was lowered without a change",
        {"account_differs"},
        f"UPDATE ledger.account SET floor_minor = -1 WHERE account_number = {CHANGING}",
        account_text(CHANGING),
    ),
    SpecialDamage(
        "an account was closed with money on it",
        {"closed_not_empty", "account_differs"},
        change(56, f"account_number = {SIBLING}"),
        f"account {account_text(SIBLING)} was closed at sequence 56 with balance 5000",
    ),
    SpecialDamage(
        "an account was closed before its last entry",
        {"closed_not_empty", "account_differs"},
        change(55, f"account_number = {SECOND}, refusal = 0"),
        f"account {account_text(SECOND)} was closed at sequence 55",
    ),
    SpecialDamage(
        "a cap is not what it was set to",
        {"cap_differs"},
        "UPDATE ledger.customer_cap SET day_minor_max = 6001",
        f"customer {CUSTOMER} has a cap of 6001 in currency {CZK}",
    ),
    SpecialDamage(
        "a cap is gone without a change",
        {"cap_differs"},
        "DELETE FROM ledger.customer_cap",
        "has a cap of none",
    ),
    SpecialDamage(
        "a frozen account was paid",
        {"state_ignored"},
        change(48, "restrictions = 3") + change(51, "restrictions_before = 3"),
        f"account {account_text(CHANGING)} version 2 (sequence 49): amount 50 against restrictions 3",
    ),
    SpecialDamage(
        "an account has more than it may",
        {"balance_limit_broken"},
        limit("balance_minor_max", 15_999),
        "balance 16000 is above the largest, 15999",
    ),
    SpecialDamage(
        "an account paid more at a time than it may",
        {"transfer_limit_broken"},
        limit("transfer_minor_max", 2_999),
        f"account {account_text(LIMITED)}, sequence 34: 3000 at a time, where 2999 may be",
    ),
    SpecialDamage(
        "an account spent more on a day than it may",
        {"day_limit_broken"},
        limit("day_minor_max", 3_999),
        f"account {account_text(LIMITED)}, sequence 36: 4000 spent",
    ),
    SpecialDamage(
        "an account spent more often on a day than it may",
        {"day_limit_broken"},
        limit("day_count_max", 2),
        f"account {account_text(LIMITED)}, sequence 42: 3020 spent",
    ),
    SpecialDamage(
        "leave to pass over limits was never given",
        {"transfer_limit_broken", "day_limit_broken"},
        transfer(38, "flags = 0"),
        f"account {account_text(LIMITED)}, sequence 38: 9000 spent",
    ),
    SpecialDamage(
        "a customer spent more on a day than the cap",
        {"customer_limit_broken"},
        change(43, "customer_day_minor_max = 5999") + "UPDATE ledger.customer_cap SET day_minor_max = 5999",
        f"customer {CUSTOMER} in currency {CZK}, sequence 44: 6000 spent",
    ),
    SpecialDamage(
        "an account is said to have spent less",
        {"spending_differs"},
        "UPDATE ledger.spending SET minor = minor - 1 WHERE sequence = 38",
        f"account {account_text(LIMITED)}, sequence 38: 8999 is said to be spent",
    ),
    SpecialDamage(
        "an account is said to have spent more often",
        {"spending_differs"},
        "UPDATE ledger.spending SET count = count + 1 WHERE sequence = 38",
        "in 3 times, it was 9000 in 2",
    ),
    SpecialDamage(
        "a customer is said to have spent nothing when counting began",
        {"spending_differs"},
        "UPDATE ledger.customer_spending SET minor = 0, count = 0 WHERE sequence = 43",
        "0 is said to be spent",
    ),
    SpecialDamage(
        "spending is said of an account without limits",
        {"spending_differs"},
        f"INSERT INTO ledger.spending VALUES ({POOR}, 63, 500, 1, '2026-01-01')",
        f"account {account_text(POOR)}, sequence 63",
    ),
    SpecialDamage(
        "the last spending of a day is forgotten",
        {"spending_missing"},
        "DELETE FROM ledger.spending WHERE sequence = 38",
        f"account {account_text(LIMITED)}, sequence 38: nothing is said about 9000 spent",
    ),
    SpecialDamage(
        "the last spending of a customer's day is forgotten",
        {"spending_missing"},
        "DELETE FROM ledger.customer_spending WHERE sequence = 47",
        f"customer {CUSTOMER} in currency {CZK}, sequence 47: nothing is said about 6100 spent",
    ),
    SpecialDamage(
        "a return gives a fee back in another order",
        {"return_differs"},
        "UPDATE ledger.further_leg SET sequence = 159 - sequence WHERE sequence IN (79, 80);"
        "UPDATE ledger.entry SET sequence = 159 - sequence WHERE sequence IN (79, 80)"
        f" AND account_number IN ({FIRST}, {SECOND});"
        "UPDATE ledger.entry SET amount_minor = CASE sequence WHEN 79 THEN -17 ELSE -16 END,"
        " balance_after_minor = balance_after_minor - CASE sequence WHEN 79 THEN 1 ELSE 0 END"
        f" WHERE sequence IN (79, 80) AND account_number NOT IN ({FIRST}, {SECOND})",
        "crossing 3 to shard 3 returned at sequence 78",
    ),
    SpecialDamage(
        "a return keeps a fee",
        {"return_differs", "legs_incomplete"},
        transfer(78, "leg_count = 2"),
        "crossing 3 to shard 3 returned at sequence 78",
    ),
    SpecialDamage(
        "the fee of a crossing was never charged",
        {"entries_differ"},
        f"UPDATE ledger.further_leg SET debit_account = {POOR} WHERE sequence = 74",
        "sequence 74",
    ),
]
