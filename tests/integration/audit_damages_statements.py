"""Damages to plant into metadata and sums by value date of `audited_bank.py`, and the checks that must find each.

Sequence 3 of every shard is a transfer with metadata; crossing 4 from shard 1 to shard 2 is sequence 21 on both.
"""

from damage import Damage

STATEMENT_DAMAGES = [
    Damage(
        "metadata belongs to nothing",
        {"metadata_misplaced"},
        "UPDATE ledger.metadata SET sequence = 7 WHERE sequence = 3",
        "sequence 7 has 2 keys of metadata, but is no transfer",
    ),
    Damage(
        "metadata belongs to a return",
        {"metadata_misplaced"},
        "UPDATE ledger.metadata SET sequence = 20 WHERE sequence = 3",
        "sequence 20 has 2 keys of metadata, but is a transfer of kind 3",
    ),
    Damage(
        "a transfer has more metadata than may be",
        {"metadata_misshapen"},
        "INSERT INTO ledger.metadata SELECT 3, 'key' || n, 'value' FROM generate_series(1, 15) n",
        "sequence 3 has 17 keys of metadata",
    ),
    Damage(
        "metadata is longer than may be",
        {"metadata_misshapen"},
        "UPDATE ledger.metadata SET value = repeat('x', 1100) WHERE sequence = 3 AND key = 'order'",
        "sequence 3 has 2 keys of metadata, 11",
    ),
    Damage(
        "a crossing's metadata is not what landed",
        {"pair_differs"},
        "UPDATE ledger.metadata SET value = 'another' WHERE sequence = 21 AND key = 'order'",
        "order='another'",
        shard_id=2,
    ),
    Damage(
        "a landing has lost its metadata",
        {"pair_differs"},
        "DELETE FROM ledger.metadata WHERE sequence = 21",
        "crossing 4 from shard 1 to shard 2 left as",
        shard_id=2,
    ),
    Damage(
        "a sum by value date is off by one",
        {"value_sum_differs"},
        "UPDATE ledger.value_sum SET amount_minor = amount_minor + 1 WHERE width_days = 64 AND account_number ="
        " (SELECT min(account_number) FROM ledger.value_sum)",
        "64 days from",
    ),
    Damage(
        "the sums by value date are gone",
        {"value_sum_differs"},
        "DELETE FROM ledger.value_sum",
        "the books say 0",
    ),
    Damage(
        "a sum of what never was",
        {"value_sum_differs"},
        "INSERT INTO ledger.value_sum (account_number, first_day, width_days, amount_minor) VALUES (1, 64, 64, 5)",
        "64 days from 1970-03-06: entries add up to 0, the books say 5",
    ),
]
