"""Bugs in sealing: what a seal covers, what it follows, how far it reaches.

Each docstring says what is wrong.
"""

from typing import Any
from unittest.mock import patch

from services.ledger import chain, sealing
from simulation import statements
from simulation.planted.bug import Patches, bug


@bug("crossing", shards=2, weights={"crossing": 1.0}, faults=(), seal_seconds=0.1, intentions=40)
def seal_without_transits() -> Patches:
    """A seal leaves out the entries of transit accounts."""

    class Nowhere:
        @staticmethod
        def transit_account(*_: int) -> int:
            return 0

    yield patch.object(sealing, "chart", Nowhere)


@bug("transfer", weights={"transfer": 1.0}, faults=("pause ledger",), seal_seconds=0.1, seal_block_max=7, intentions=40)
def forget_the_last_seal() -> Patches:
    """Each seal begins a chain of its own."""

    class Forgetful:
        GENESIS = chain.GENESIS

        @staticmethod
        def seal(first: int, last: int, row_count: int, _: bytes, leaves: bytes) -> chain.Seal:
            return chain.seal(first, last, row_count, chain.GENESIS, leaves)

    yield patch.object(sealing, "chain", Forgetful)


@bug(
    "slow disk", shards=1, faults=("slow disk",), fault_seconds=0.2, seal_seconds=0.1, small_batch_max=0, intentions=80
)
def seal_before_the_commit() -> Patches:
    """A seal reaches as far as the writer has written, committed or not."""

    def ahead(session: Any) -> Any:
        last = session.database.head["last_sequence"]
        open_ones = (other.transaction for other in session.database.sessions.values() if other.transaction is not None)
        rows = [row for each in open_ones for name, row in each.changes if name == "transfer"]
        return statements.one(last_sequence=max([last, *(row["sequence"] for row in rows)]))

    yield patch.dict(statements.RUN, head=ahead)
