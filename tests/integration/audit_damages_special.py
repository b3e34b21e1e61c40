"""Damages to dates, holds and reversals on the fourth shard of `audited_bank.py`.

What they are and how they are read is `audit_damages.py`.
"""

from dataclasses import dataclass

from audited_bank import SLOT
from damage import Damage
from sound_books import customer_account

from services.domain.identifiers import account_text


@dataclass(frozen=True)
class SpecialDamage(Damage):
    """A damage on the fourth shard."""

    shard_id: int = 4


HOLDER, LIMITED, SIBLING, CHANGING, POOR = (customer_account(SLOT[4], serial) for serial in range(11, 16))
FIRST, SECOND, EMPTIED = (customer_account(SLOT[4], serial) for serial in (1, 2, 3))
HOLDS = {"captured": 21, "released": 24, "expired": 27, "open": 29, "crossed": 30}


def id_at(sequence: int) -> str:
    return f"(SELECT transfer_id FROM ledger.transfer WHERE sequence = {sequence})"


def hold(name: str) -> str:
    return f"WHERE hold_id = {id_at(HOLDS[name])}"


def transfer(sequence: int, setting: str) -> str:
    return f"UPDATE ledger.transfer SET {setting} WHERE sequence = {sequence};"


def relation(sequence: int, setting: str) -> str:
    return f"UPDATE ledger.relation SET {setting} WHERE sequence = {sequence};"


def change(sequence: int, setting: str) -> str:
    return f"UPDATE ledger.account_change SET {setting} WHERE sequence = {sequence};"


def limit(name: str, value: int) -> str:
    """Say that the limited account had another limit; two later changes found it."""
    kind, unit = name.split("_", 1)
    return change(33, f"{name} = {value}") + "".join(
        change(later, f"{kind}_before_{unit} = {value}") for later in (43, 46)
    )


# Sequences on shard 4: on the holder's account, holds are placed at 21, 24, 27, 29 and 30, the first is increased
# at 22 and captured at 23, the second released at 25 and once more in vain at 26, the third expires at 28, the
# fourth is open, the fifth is captured by the crossing at 31.
# The limited account gets limits at 33, pays at 34, is paid at 35, places at 36, releases at 37, pays over its limits
# at 38 and is refused at 39; on the next day it pays two legs at 40, places at 42, its customer gets a cap at
# 43, its sibling pays at 44 and is refused at 45, it loses its limits at 46 and pays over the cap at 47.
# On the third day the changing account is frozen at 48, paid at 49, thawed with a floor of -500 at 51, pays at 52,
# gets its floor back at 53, is paid at 54 and not closed at 55; the emptied one is closed at 56.
# The poor account is paid at 58, gives back at 59 and 60, is paid at 62, pays at 63, gives back what it has not
# at 64, is paid at 65; 66 to 68 are given back at 69 to 71; 72 is buried.
# 73, 75 and 81 cross to shard 3 with fees, 75 comes back at 78 to 80, 83 and 85 land what shard 3 reversed.
SPECIAL_DAMAGES = [
    SpecialDamage(
        "a transfer was booked before the ones before it",
        {"booked_out_of_order"},
        transfer(49, "booking_time = booking_time - interval '1 second'"),
        "up to sequence 49 was booked before",
    ),
    SpecialDamage(
        "a change was made on another day",
        {"booked_out_of_order", "day_differs"},
        change(57, "change_time = change_time + interval '1 day'"),
        "sequences 57 to 57",
    ),
    SpecialDamage(
        "a transfer counts for another day than it was booked on",
        {"booked_out_of_order", "day_differs"},
        transfer(72, "business_date = business_date - 1"),
        "sequences 72 to 72",
    ),
    SpecialDamage(
        "a business day begins too late",
        {"day_differs"},
        "UPDATE ledger.day SET first_sequence = 41 WHERE first_sequence = 40",
        "it and days after it begin at 40",
    ),
    SpecialDamage(
        "a business day begins too early",
        {"day_differs"},
        "UPDATE ledger.day SET first_sequence = 38 WHERE first_sequence = 40",
        "days before it end at 39",
    ),
    SpecialDamage(
        "a business day has no beginning",
        {"day_differs"},
        "DELETE FROM ledger.day WHERE first_sequence = 40",
        "begins at sequence none",
    ),
    SpecialDamage(
        "an entry by value date is not listed",
        {"value_dated_differs", "value_sum_differs"},
        f"INSERT INTO ledger.value_dated VALUES ({HOLDER}, 17, 10000, '2026-01-01', '2026-01-02')",
        f"account {account_text(HOLDER)} sequence 17: listed as 10000 of 2026-01-01 by value date 2026-01-02",
    ),
    SpecialDamage(
        "money is held in the middle of a history with holds",
        {"held_broken"},
        f"UPDATE ledger.entry SET held_after_minor = 1001 WHERE account_number = {HOLDER} AND sequence = 24",
        f"account {account_text(HOLDER)} version 5 (sequence 24): held 1001, open holds and promises 1000",
    ),
    SpecialDamage(
        "what is held is left out in the middle of a history with holds",
        {"held_broken"},
        f"UPDATE ledger.entry SET held_after_minor = NULL WHERE account_number = {HOLDER} AND sequence = 24",
        f"account {account_text(HOLDER)} version 5 (sequence 24): held 0, open holds and promises 1000",
    ),
    SpecialDamage(
        "a hold set nothing aside",
        {"entries_missing", "version_broken", "held_broken"},
        f"DELETE FROM ledger.entry WHERE account_number = {HOLDER} AND sequence = 24",
        "sequence 24",
    ),
    SpecialDamage(
        "a hold has set money aside on another account as well",
        {"entries_differ", "held_broken"},
        f"INSERT INTO ledger.entry VALUES ({SIBLING}, 3, 24, 0, 5000, 1000);"
        f"UPDATE ledger.entry SET sequence = 46 WHERE account_number = {SIBLING} AND version = 3;"
        f"UPDATE ledger.entry SET sequence = 24 WHERE account_number = {SIBLING} AND version = 3;"
        f"UPDATE ledger.entry SET version = version + 1 WHERE account_number = {SIBLING} AND sequence = 44;"
        f"UPDATE ledger.entry SET version = 2, balance_after_minor = 10000 WHERE account_number = {SIBLING}"
        f" AND sequence = 24",
        f"account {account_text(SIBLING)} version 2 (sequence 24): held 1000, there never was a hold",
    ),
    SpecialDamage(
        "a hold moved money",
        {"leg_unbalanced", "balance_broken"},
        f"UPDATE ledger.entry SET amount_minor = 1 WHERE account_number = {HOLDER} AND sequence = 24",
        "sequence 24",
    ),
    SpecialDamage(
        "a hold that was refused has an entry",
        {"refused_has_entries", "hold_differs", "hold_unplaced", "held_broken"},
        transfer(24, "outcome = 2, refusal = 90"),
        "sequence 24",
    ),
    SpecialDamage(
        "a hold is released that never was",
        {"hold_unplaced", "hold_differs", "held_broken"},
        relation(25, "target_id = gen_random_uuid()"),
        "kind 6, but it was not placed before",
    ),
    SpecialDamage(
        "a hold is captured and released",
        {"hold_resolved_twice", "hold_differs", "held_broken"},
        relation(25, f"target_id = {id_at(21)}"),
        "kind 6, but it was resolved before",
    ),
    SpecialDamage(
        "a hold is increased after its capture",
        {"hold_resolved_twice", "hold_differs"},
        "INSERT INTO ledger.transfer SELECT (jsonb_populate_record(t, jsonb_build_object('sequence', 105, 'transfer_id',"
        " gen_random_uuid(), 'kind', 5, 'amount_minor', 500))).* FROM ledger.transfer t WHERE sequence = 72;"
        + transfer(105, f"debit_account = {HOLDER}, outcome = 1, refusal = 0")
        + f"INSERT INTO ledger.relation VALUES (105, {id_at(21)}, 500, 3);"
        f"INSERT INTO ledger.entry VALUES ({HOLDER}, 15, 105, 0, 7346, 900);"
        "UPDATE ledger.journal_head SET last_sequence = 105",
        "kind 5, but it was resolved before",
    ),
    SpecialDamage(
        "a hold for one payee was captured for another",
        {"hold_step_differs"},
        transfer(21, f"credit_account = {POOR}") + f"UPDATE ledger.hold SET payee_account = {POOR} {hold('captured')}",
        f"3500 203 are held on account {account_text(HOLDER)} for {account_text(POOR)}",
    ),
    SpecialDamage(
        "a hold is released by another account",
        {"hold_step_differs", "entries_differ", "held_broken"},
        transfer(25, f"debit_account = {POOR}"),
        f"on account {account_text(POOR)}",
    ),
    SpecialDamage(
        "an expiry says another amount than the hold",
        {"hold_step_differs"},
        transfer(28, "amount_minor = 699"),
        "kind 7 of 699 203",
    ),
    SpecialDamage(
        "a capture took more than was held",
        {"capture_exceeds_hold", "hold_differs", "held_broken"},
        transfer(21, "amount_minor = 1000"),
        "captures 2000 of 1500",
    ),
    SpecialDamage(
        "a hold is larger than its steps say",
        {"hold_differs"},
        f"UPDATE ledger.hold SET amount_minor = 401 {hold('open')}",
        "0 of 401 captured",
    ),
    SpecialDamage(
        "an expired hold is said to be open",
        {"hold_differs"},
        f"UPDATE ledger.hold SET state = 1 {hold('expired')}",
        "state 1; its steps say",
    ),
    SpecialDamage(
        "a hold's capture is forgotten",
        {"hold_differs"},
        f"UPDATE ledger.hold SET captured_minor = 599 {hold('crossed')}",
        "599 of 600 captured",
    ),
    SpecialDamage(
        "a hold is forgotten",
        {"hold_differs"},
        f"DELETE FROM ledger.hold {hold('open')}",
        "400",
    ),
    SpecialDamage(
        "a hold expired before its time",
        {"hold_untimely"},
        f"UPDATE ledger.hold SET expire_time = expire_time + interval '1 hour' {hold('expired')}",
        "it was expired at",
    ),
    SpecialDamage(
        "a hold was captured after its time",
        {"hold_untimely"},
        f"UPDATE ledger.hold SET expire_time = expire_time - interval '2 hours' {hold('captured')}",
        "it was captured or released at",
    ),
    SpecialDamage(
        "a refused release does not say what it was to release",
        {"hold_misshapen"},
        "DELETE FROM ledger.relation WHERE sequence = 26",
        "sequence 26",
    ),
    SpecialDamage(
        "an account was below the floor of the time",
        {"floor_broken"},
        change(51, "floor_minor = -249") + change(53, "floor_before_minor = -249"),
        f"account {account_text(CHANGING)} version 3 (sequence 52): balance -250 less held 0 is below floor -249",
    ),
    SpecialDamage(
        "a reversal overdrew without leave",
        {"floor_broken"},
        transfer(64, "flags = 0"),
        f"account {account_text(POOR)} version 6 (sequence 64)",
    ),
    SpecialDamage(
        "leave to overdraw was given to what reverses nothing",
        {"floor_broken"},
        "DELETE FROM ledger.relation WHERE sequence = 64",
        f"account {account_text(POOR)} version 6 (sequence 64)",
    ),
    SpecialDamage(
        "a buried id was posted",
        {"burial_misshapen"},
        transfer(72, "outcome = 1, refusal = 0"),
        "sequence 72",
    ),
    SpecialDamage(
        "a buried id has two outcomes",
        {"id_repeated"},
        transfer(72, f"transfer_id = {id_at(58)}"),
        "at sequences 58 and 72",
    ),
    SpecialDamage(
        "a capture says another amount than its transfer",
        {"relation_misplaced"},
        relation(23, "amount_minor = 2001"),
        "sequence 23",
    ),
    SpecialDamage(
        "a refused transfer reverses something",
        {"relation_misplaced"},
        relation(59, "sequence = 61, amount_minor = 1"),
        "sequence 61",
    ),
    SpecialDamage(
        "a reversal of nothing",
        {"reversal_of_nothing"},
        relation(59, "target_id = gen_random_uuid()"),
        "sequence 59",
    ),
    SpecialDamage(
        "a reversal of what was refused",
        {"reversal_of_nothing", "reversal_differs", "reversal_exceeds"},
        relation(59, f"target_id = {id_at(50)}"),
        "sequence 50, outcome 2",
    ),
    SpecialDamage(
        "a reversal of what came later",
        {"reversal_of_nothing", "reversal_exceeds"},
        relation(59, f"target_id = {id_at(62)}"),
        "reverses",
    ),
    SpecialDamage(
        "a reversal gives back to another account",
        {"reversal_differs"},
        relation(59, f"target_id = {id_at(17)}"),
        "sequence 59",
    ),
    SpecialDamage(
        "a reversal of several legs gives one of them back in part",
        {"reversal_differs", "reversal_exceeds"},
        "UPDATE ledger.further_leg SET amount_minor = 19 WHERE sequence = 67;"
        "UPDATE ledger.entry SET amount_minor = sign(amount_minor) * 19 WHERE sequence = 67;"
        "UPDATE ledger.entry SET balance_after_minor = balance_after_minor"
        f" + CASE account_number WHEN {FIRST} THEN -1 ELSE 1 END"
        f" WHERE account_number IN ({FIRST}, {SECOND}) AND sequence >= 67",
        "1 reversals that stand give back 60",
    ),
    SpecialDamage(
        "more is given back than there was",
        {"reversal_exceeds"},
        relation(64, f"target_id = {id_at(58)}"),
        "3 reversals that stand give back 1500",
    ),
]
