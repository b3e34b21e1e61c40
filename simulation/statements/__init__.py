"""What each query of the services' `.sql` files answers and changes, on tables in memory.

One short function per query, of the same name: `lease.py` has those about who writes, `loading.py` what a batch
needs, `writing.py` what it changes besides COPY, `promising.py` what transfers over several shards need and
change, `reading.py` what readers ask, `accounts.py` what the account service asks and changes, `control.py` what it asks of the directory, `sealing.py` what seals. A query that is not here is an
error that says so, and tests compare every one with the real one. Never here: when a statement runs, or what
becomes of it (`simulation/database.py`).
"""

from simulation.statements import accounts, control, lease, loading, promising, reading, sealing, writing
from simulation.statements.registry import CONDITIONS, LOCKS, RUN, known, name_of, one, records, run

__all__ = [
    "CONDITIONS",
    "LOCKS",
    "RUN",
    "accounts",
    "control",
    "known",
    "lease",
    "loading",
    "name_of",
    "one",
    "promising",
    "reading",
    "records",
    "run",
    "sealing",
    "writing",
]
