"""Every limit that only a release may change, with its reason and its neighbours.

What an operator may change is a setting and lives with the process that reads it.
"""

from typing import Final

INT64_MAX: Final = 2**63 - 1

AMOUNT_MINOR_MAX: Final = 10**15
"""Largest amount of one leg: ten trillion euros in cents; a larger one is a mistake."""

BALANCE_MINOR_MAX: Final = 9 * 10**18
"""Largest balance either way; just under int64, so that a sum can be tested after it is made."""

LEGS_PER_TRANSFER_MAX: Final = 2_000
"""Legs of one transfer, a payroll for instance: decided without interruption, some 20 ms on one shard."""

LEGS_PER_CALL_MAX: Final = 16_000
"""Legs of all transfers of one call: twice a batch, 0.5 MiB on the wire."""

TRANSFERS_PER_CALL_MAX: Final = 8_000
"""Transfers of one call; about 1 MiB on the wire, and one batch of a shard."""

OPENINGS_PER_CALL_MAX: Final = 8_000
"""Customers or accounts of one opening call."""

BATCH_TRANSFERS_MAX: Final = 8_000
"""Transfers that share one database transaction; past this, latency grows and throughput not."""

QUEUE_TRANSFERS_MAX: Final = 32_000
"""Transfers that wait for one shard's writer; beyond, callers are refused at once, unless only a few calls wait."""

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

SEARCH_PAGE_SIZE_DEFAULT: Final = 25
SEARCH_PAGE_SIZE_MAX: Final = 100
"""Transfers with their legs: 100 of 200 legs each fit a message, of the largest 10."""

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest message in either direction: 8,000 transfers with every text at its longest do not fit,
8,000 with the usual ones do, several times."""

REFERENCE_CHARACTERS_MAX: Final = 140
"""ISO 20022 Max140Text."""

EXTERNAL_REFERENCE_CHARACTERS_MAX: Final = 64
DISPLAY_NAME_CHARACTERS_MAX: Final = 140
MESSAGE_ID_CHARACTERS_MAX: Final = 35
"""ISO 20022 Max35Text."""

BANK_CODE_CHARACTERS_MAX: Final = 11
"""A BIC has 8 or 11."""

CREDITOR_ACCOUNT_CHARACTERS_MAX: Final = 34
"""An IBAN has at most 34."""

HOLD_SECONDS_DEFAULT: Final = 7 * 86_400
HOLD_SECONDS_MAX: Final = 366 * 86_400
"""A hold for longer than a year is a mistake."""

PARTNER_BANKS_MAX: Final = 999
"""Partner banks: three digits of a nostro account's number."""

DEADLINE_SECONDS_MAX: Final = 60.0
"""A call's deadline is cut to this; a call without one gets `DEADLINE_SECONDS_DEFAULT`."""

DEADLINE_SECONDS_DEFAULT: Final = 15.0

CROSSINGS_PER_CALL_MAX: Final = 8_000
"""Crossings handed to a peer in one call."""

PROMISED_LEGS_MAX: Final = 100_000
"""Legs of open promises of one shard, some 40 MB; beyond, transfers over several shards wait."""

PROMISED_MINOR_MAX: Final = 2 * 10**17
"""The most that open promises may credit to one account: 200 of the largest amounts."""

# One batch of the largest transfers into an empty account must not overflow its balance.
assert AMOUNT_MINOR_MAX * BATCH_TRANSFERS_MAX <= BALANCE_MINOR_MAX
# A balance beyond the limit by one largest amount still fits int64, so it can be compared.
assert BALANCE_MINOR_MAX + AMOUNT_MINOR_MAX <= INT64_MAX
# What was promised can be credited, whatever else was credited since.
assert BALANCE_MINOR_MAX + PROMISED_MINOR_MAX + AMOUNT_MINOR_MAX <= INT64_MAX
# What may be posted may be promised.
assert AMOUNT_MINOR_MAX <= PROMISED_MINOR_MAX
# What all legs of a transfer move still fits int64.
assert AMOUNT_MINOR_MAX * LEGS_PER_TRANSFER_MAX <= BALANCE_MINOR_MAX
assert LEGS_PER_TRANSFER_MAX <= LEGS_PER_CALL_MAX
# Whatever may be asked for in one call fits one batch and, alone, an empty queue.
assert TRANSFERS_PER_CALL_MAX <= BATCH_TRANSFERS_MAX <= QUEUE_TRANSFERS_MAX
# Whoever says nothing gets what may be asked for.
assert PAGE_SIZE_DEFAULT <= PAGE_SIZE_MAX and SEARCH_PAGE_SIZE_DEFAULT <= SEARCH_PAGE_SIZE_MAX
assert 0 < HOLD_SECONDS_DEFAULT <= HOLD_SECONDS_MAX and DEADLINE_SECONDS_DEFAULT <= DEADLINE_SECONDS_MAX
