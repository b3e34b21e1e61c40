"""Damages to plant into the books of `audited_bank.py`, and the checks that must find each.

Those of what is more than a plain transfer are `audit_damages_special.py` and
`audit_damages_limits.py`. A check that follows from another is named as well: what an audit finds is
stated whole.
"""

from audited_bank import SLOT
from damage import Damage
from sound_books import CZK, EUR, customer_account

from services.domain import chart
from services.domain.identifiers import account_text

FIRST, SECOND, EMPTIED = (customer_account(SLOT[1], serial) for serial in (1, 2, 3))
CASH = chart.internal_account(1, chart.Code.CASH, CZK)
TRANSIT = chart.transit_account(1, 2, CZK)
MONEY_IS_MISSING = {"transit_differs", "money_not_conserved"}

# Sequences on shard 1: 3 and 4 are twins, 5 is refused, 6 to 8 are one transfer, 9 and 10 a refused one,
# 17 to 19 and 21 to 23 cross to shard 2 as numbers 1 to 6, 20 returns number 3, 24 is a landing.
# On shard 2: 18, 19 and 21 are the landings of 1, 2 and 4; 3 and 5 were refused; 4 to 6 are not acknowledged.
DAMAGES = [
    Damage(
        "the last balance of an account is one more",
        {"balances_not_zero", "balance_broken", "money_not_conserved"},
        f"UPDATE ledger.entry SET balance_after_minor = balance_after_minor + 1"
        f" WHERE account_number = {FIRST} AND version = 13",
        f"account {account_text(FIRST)} version 13 (sequence 23)",
    ),
    Damage(
        "two entries are off by one and make up for each other",
        {"leg_unbalanced"},
        f"UPDATE ledger.entry SET amount_minor = amount_minor - 1, balance_after_minor = balance_after_minor - 1"
        f" WHERE account_number = {FIRST} AND version = 2;"
        f"UPDATE ledger.entry SET amount_minor = amount_minor + 1 WHERE account_number = {FIRST} AND version = 3",
        "sequence 3",
    ),
    Damage(
        "a posted transfer never reached the accounts",
        {"entries_missing"},
        "DELETE FROM ledger.entry WHERE sequence = 14",
        "sequence 14",
        shard_id=3,
    ),
    Damage(
        "a credit without a debit",
        {"entries_without_leg", "balances_not_zero", "money_not_conserved"},
        f"INSERT INTO ledger.entry VALUES ({EMPTIED}, 3, 99, 500, 500, 0)",
        "sequence 99",
    ),
    Damage(
        "two entries that no transfer asked for",
        {"entries_without_leg"},
        f"INSERT INTO ledger.entry SELECT account_number, version + 1, 99, -500, balance_after_minor - 500, 0"
        f" FROM ledger.entry WHERE account_number = {FIRST} AND version = 13;"
        f"INSERT INTO ledger.entry VALUES ({EMPTIED}, 3, 99, 500, 500, 0)",
        "sequence 99",
    ),
    Damage(
        "the transfer says another amount than its entries",
        {"entries_differ"},
        "UPDATE ledger.transfer SET amount_minor = 1001 WHERE sequence = 3",
        "sequence 3",
    ),
    Damage(
        "a later leg says another payer than its entries",
        {"entries_differ"},
        f"UPDATE ledger.further_leg SET debit_account = {EMPTIED} WHERE sequence = 7",
        "sequence 7",
    ),
    Damage(
        "a crossing is booked through the transit account of another peer",
        {
            "entries_differ",
            "value_dated_differs",
            "version_broken",
            "balance_broken",
            "account_missing",
            "balances_not_zero",
            "money_not_conserved",
        },
        f"UPDATE ledger.entry SET account_number = {chart.transit_account(1, 5, CZK)}"
        f" WHERE sequence = 23 AND account_number = {TRANSIT}",
        "sequence 23",
    ),
    Damage(
        "a transfer counts more legs than it has",
        {"legs_incomplete"},
        "UPDATE ledger.transfer SET leg_count = 4 WHERE sequence = 6",
        "sequence 6",
    ),
    Damage(
        "a leg belongs to another transfer",
        {"legs_incomplete"},
        "UPDATE ledger.further_leg SET transfer_sequence = 4 WHERE sequence = 8",
        "sequence 8: a leg of sequence 4",
    ),
    Damage(
        "an account with entries is not in the books",
        {"account_missing"},
        f"DELETE FROM ledger.account WHERE account_number = {EMPTIED}",
        account_text(EMPTIED),
    ),
    Damage(
        "a version is skipped",
        {"version_broken"},
        f"UPDATE ledger.entry SET version = 14 WHERE account_number = {FIRST} AND version = 13",
        f"account {account_text(FIRST)} version 14",
    ),
    Damage(
        "a history begins in the middle",
        {"version_broken", "balance_broken", "leg_unbalanced"},
        f"DELETE FROM ledger.entry WHERE account_number = {EMPTIED} AND version = 1",
        f"account {account_text(EMPTIED)} version 2",
    ),
    Damage(
        "an entry is there twice",
        {"version_broken", "order_broken", "balance_broken", "leg_unbalanced"},
        f"INSERT INTO ledger.entry SELECT * FROM ledger.entry WHERE account_number = {FIRST} AND version = 7",
        f"account {account_text(FIRST)} version 7",
    ),
    Damage(
        "two entries have changed places",
        {"order_broken"},
        f"UPDATE ledger.entry SET sequence = 7 - sequence WHERE account_number = {FIRST} AND sequence IN (3, 4)",
        f"account {account_text(FIRST)} version 3",
    ),
    Damage(
        "a balance in the middle is wrong",
        {"balance_broken"},
        f"UPDATE ledger.entry SET balance_after_minor = 7 WHERE account_number = {FIRST} AND version = 5",
        f"account {account_text(FIRST)} version 5",
    ),
    Damage(
        "a balance in the middle is as large as can be",
        {"balance_broken"},
        f"UPDATE ledger.entry SET balance_after_minor = {2**63 - 1} WHERE account_number = {FIRST} AND version = 5",
        f"account {account_text(FIRST)} version 5",
    ),
    Damage(
        "a transfer between two accounts is in a third currency",
        {"currency_differs"},
        f"UPDATE ledger.transfer SET currency = {EUR} WHERE sequence = 3",
        "sequence 3",
    ),
    Damage(
        "an account has changed its currency",
        {"currency_differs", "balances_not_zero", "money_not_conserved"},
        f"UPDATE ledger.account SET currency = {EUR} WHERE account_number = {FIRST}",
        "sequence 3",
    ),
    Damage(
        "money is held without a hold",
        {"held_broken"},
        f"UPDATE ledger.entry SET held_after_minor = 5 WHERE account_number = {FIRST} AND version = 6",
        f"account {account_text(FIRST)} version 6",
    ),
    Damage(
        "held is negative",
        {"held_broken"},
        f"UPDATE ledger.entry SET held_after_minor = -5 WHERE account_number = {FIRST} AND version = 6",
        f"account {account_text(FIRST)} version 6",
    ),
    Damage(
        "an account was below its floor once",
        {"floor_broken"},
        f"UPDATE ledger.account SET floor_minor = -150010 WHERE account_number = {CASH}",
        f"account {account_text(CASH)} version 4",
    ),
    Damage(
        "two transfers have one id",
        {"id_repeated"},
        "UPDATE ledger.transfer SET transfer_id = (SELECT transfer_id FROM ledger.transfer WHERE sequence = 3)"
        " WHERE sequence = 5",
        "at sequences 3 and 5",
    ),
    Damage(
        "a refused transfer moved money",
        {"refused_has_entries"},
        "UPDATE ledger.transfer SET outcome = 2, refusal = 90 WHERE sequence = 3",
        "sequence 3",
    ),
    Damage(
        "a refused transfer of several legs moved money",
        {"refused_has_entries"},
        "UPDATE ledger.transfer SET outcome = 2, refusal = 90 WHERE sequence = 6",
        "sequence 8",
    ),
    Damage(
        "a refusal is forgotten",
        {"sequence_missing"},
        "DELETE FROM ledger.transfer WHERE sequence = 5",
        "sequences 5 to 5",
    ),
    Damage(
        "a sequence stands for two things",
        {"sequence_repeated"},
        "UPDATE ledger.transfer SET leg_count = 2 WHERE sequence = 5;"
        f"INSERT INTO ledger.further_leg VALUES (6, 5, {FIRST}, {SECOND}, 1, {CZK})",
        "sequence 6",
    ),
    Damage(
        "the head is behind the journal",
        {"head_wrong"},
        "UPDATE ledger.journal_head SET last_sequence = 23",
        "the head is at sequence 23, the last one written is 24",
    ),
    Damage(
        "the journal has no head",
        {"head_wrong"},
        "DELETE FROM ledger.journal_head",
        "the head is at sequence none, the last one written is 24",
    ),
    Damage(
        "a landing has two legs",
        {"crossing_misshapen", "legs_incomplete"},
        "UPDATE ledger.transfer SET leg_count = 2 WHERE sequence = 24",
        "sequence 24",
    ),
    Damage(
        "a crossing has lost its number",
        {"crossing_unnumbered", "watermark_wrong"} | MONEY_IS_MISSING,
        "DELETE FROM ledger.crossing_out WHERE number = 6",
        "sequence 23",
    ),
    Damage(
        "a number stands for a transfer that did not cross",
        {"number_without_crossing", "crossing_unnumbered"} | MONEY_IS_MISSING,
        "UPDATE ledger.crossing_out SET sequence = 15 WHERE number = 6",
        "crossing 6 to shard 2: sequence 15",
    ),
    Damage(
        "a number was skipped",
        {"sent_gap"},
        "UPDATE ledger.crossing_out SET number = 7 WHERE number = 6; UPDATE ledger.peer SET sent_through = 7 WHERE peer_id = 2",
        "crossing 7 to shard 2 (sequence 23) follows number 5",
    ),
    Damage(
        "the watermark of what was sent is too high",
        {"watermark_wrong"},
        "UPDATE ledger.peer SET sent_through = 7 WHERE peer_id = 2",
        "crossings to shard 2: sent through 7, the last number is 6",
    ),
    Damage(
        "a landing is below the watermark, but nowhere else",
        {"watermark_wrong", "crossing_lost"} | MONEY_IS_MISSING,
        "UPDATE ledger.peer SET landed_through = 6 WHERE peer_id = 1",
        "crossing 6 from shard 1 to shard 2 neither landed nor was refused",
        shard_id=2,
    ),
    Damage(
        "a range of landed numbers does not follow the one before",
        {"landed_gap", "landing_unnumbered", "refusal_unnumbered", "crossing_lost", "sequence_missing"},
        "DELETE FROM ledger.crossing_landed WHERE first_number = 1 AND peer_id = 1",
        "crossings 4 to 5 from shard 1 follow number 0",
        shard_id=2,
    ),
    Damage(
        "a range of landed numbers is as long as can be",
        {"landing_missing", "landing_renumbered", "watermark_wrong", "crossing_lost", "entries_differ"}
        | MONEY_IS_MISSING,
        f"UPDATE ledger.crossing_landed SET last_number = {2**62} WHERE last_number = 5",
        "crossing 6 from shard 1",
        shard_id=2,
    ),
    Damage(
        "a landing is gone, with its entries",
        {"landing_missing", "metadata_misplaced", "sequence_missing", "crossing_lost"} | MONEY_IS_MISSING,
        "DELETE FROM ledger.transfer WHERE sequence = 21; DELETE FROM ledger.entry WHERE sequence = 21",
        "crossing 4 from shard 1 (sequence 21) neither landed nor was refused",
        shard_id=2,
    ),
    Damage(
        "a crossing landed and was refused",
        {"landing_refused", "sequence_repeated", "refused_not_returned"},
        "INSERT INTO ledger.crossing_refused VALUES (2, 1, 60)",
        "crossing 2 from shard 1 landed (sequence 19) and was refused",
        shard_id=2,
    ),
    Damage(
        "a landing has no number",
        {"landing_unnumbered", "watermarks_disagree"} | MONEY_IS_MISSING,
        "DELETE FROM ledger.crossing_landed; UPDATE ledger.peer SET landed_through = 0",
        "sequence 24",
    ),
    Damage(
        "a landing has two numbers",
        {
            "landing_renumbered",
            "landing_unnumbered",
            "landing_refused",
            "pair_differs",
            "sequence_repeated",
            "sequence_missing",
        },
        "UPDATE ledger.crossing_landed SET first_sequence = 18 WHERE first_number = 4",
        "sequence 18 belongs to 2 numbers",
        shard_id=2,
    ),
    Damage(
        "a refusal of a crossing that never arrived",
        {"refusal_unnumbered"},
        "INSERT INTO ledger.crossing_refused VALUES (99, 1, 60)",
        "crossing 99 from shard 1",
        shard_id=2,
    ),
    Damage(
        "a crossing is marked as returned without a return",
        {"return_missing", "return_unnumbered"},
        "UPDATE ledger.crossing_returned SET return_sequence = 99",
        "crossing 3 to shard 2 returned at sequence 99",
    ),
    Damage(
        "a return of a crossing that never left",
        {"return_of_nothing", "return_early", "refused_not_returned"},
        "UPDATE ledger.crossing_returned SET number = 99",
        "crossing 99 to shard 2",
    ),
    Damage(
        "a crossing came back before it was acknowledged",
        {"return_early"},
        "UPDATE ledger.peer SET acknowledged_through = 2 WHERE peer_id = 2",
        "crossing 3 to shard 2",
    ),
    Damage(
        "a return names another payee than its crossing",
        {"return_differs"},
        f"UPDATE ledger.transfer SET debit_account = {SECOND} WHERE sequence = 20",
        "crossing 3 to shard 2 returned at sequence 20",
    ),
    Damage(
        "one return serves two crossings",
        {"return_repeated", "return_differs", "landed_and_returned"},
        "INSERT INTO ledger.crossing_returned VALUES (2, 20, 2, 50)",
        "crossing 2 to shard 2 returned at sequence 20",
    ),
    Damage(
        "a return of no crossing",
        {"return_unnumbered", "refused_not_returned"},
        "DELETE FROM ledger.crossing_returned",
        "sequence 20",
    ),
    Damage(
        "a crossing that landed is given back as well",
        {"landed_and_returned"} | MONEY_IS_MISSING,
        "INSERT INTO ledger.transfer (sequence, transfer_id, debit_account, credit_account, amount_minor, fingerprint,"
        " booking_time, business_date, value_date, currency, kind, outcome, refusal, leg_count, reference)"
        " SELECT 25, transfer_id, credit_account, debit_account, amount_minor, 0,"
        " booking_time, business_date, business_date, currency, 3, 1, 0, 1, '' FROM ledger.transfer WHERE sequence = 18;"
        "INSERT INTO ledger.entry SELECT account_number, version + 1, 25, signed, balance_after_minor + signed, 0"
        f" FROM (VALUES ({TRANSIT}, -800), ({FIRST}, 800)) AS given (account_number, signed) CROSS JOIN LATERAL"
        " (SELECT * FROM ledger.entry e WHERE e.account_number = given.account_number ORDER BY version DESC LIMIT 1) l"
        " (_, version, _, _, balance_after_minor);"
        "INSERT INTO ledger.crossing_returned VALUES (2, 25, 2, 50); UPDATE ledger.journal_head SET last_sequence = 25",
        "crossing 2 from shard 1 to shard 2 landed and was given back",
    ),
    Damage(
        "a peer knows to have landed what did not land",
        {"watermarks_disagree"},
        "UPDATE ledger.peer SET acknowledged_through = 1 WHERE peer_id = 3",
        "to shard 3: acknowledged through 1, landed 0",
        shard_id=2,
    ),
    Damage(
        "what landed never left",
        {"landed_unsent", "crossing_unnumbered", "sent_gap"},
        "DELETE FROM ledger.crossing_out WHERE number = 2",
        "crossing 2 from shard 1 to shard 2 never left",
    ),
    Damage(
        "what landed is not what left",
        {"pair_differs"},
        "UPDATE ledger.transfer SET reference = 'invoice 0' WHERE sequence = 18",
        "'invoice 0'",
        shard_id=2,
    ),
    Damage(
        "a crossing landed on another account",
        {"pair_differs", "entries_differ"},
        f"UPDATE ledger.transfer SET credit_account = {customer_account(SLOT[2], 1)} WHERE sequence = 18",
        account_text(customer_account(SLOT[2], 1)),
        shard_id=2,
    ),
    Damage(
        "a crossing was given back for another reason",
        {"refusals_differ"},
        "UPDATE ledger.crossing_returned SET refusal = 80",
        "crossing 3 from shard 1 to shard 2 was refused for 60, given back for 80",
    ),
    Damage(
        "a refused crossing is acknowledged and not given back",
        {"refused_not_returned"} | MONEY_IS_MISSING,
        "UPDATE ledger.peer SET acknowledged_through = 5 WHERE peer_id = 2",
        "crossing 5 from shard 1 to shard 2 was refused and acknowledged, not given back",
    ),
]
