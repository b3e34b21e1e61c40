"""Customers, accounts and the directory.

Start at `opening.py`: what a call may open, decided without touching anything; `placing.py` says on
which shard and slot. `lifecycle.py` performs an opening step by step; `store.py` speaks to the
control database, `records.py` to the customer and account records of one shard, `books.py` to its
ledger. `sweeper.py` finishes what a crash left half done; `service.py` is only the door.

Never here: balances, transfers, tokens. Nothing in the control database grows with customers.
"""
