"""Proves the chain of seals of every shard: each seal when it is committed, by the rows as they are, and all at the end.

The hash is made here a second time, over rows found by their sequences alone. Never here: how blocks are chosen.
"""

from collections.abc import Sequence
from hashlib import sha256

from services.ledger.chain import GENESIS, Leaf, Prover, Seal
from simulation import forms
from simulation.database import Change, Database, Session
from simulation.journal import Violation, claim
from simulation.statements.sealing import all_leaves
from simulation.tables import Row, Table


class Seals:
    """Watches all databases."""

    def __init__(self, databases: dict[int, Database]) -> None:
        self._databases = databases
        self._last: dict[int, tuple[int, bytes]] = dict.fromkeys(databases, (0, GENESIS))
        for database in databases.values():
            database.on_commit.append(self.check)

    def check(self, database: Database, changes: Sequence[Change]) -> None:
        """Check a commit; stop the simulation when it seals wrongly."""
        try:
            for name, row in changes:
                if name == "seal":
                    self._check(database, row)
        except Violation as error:
            database.network.loop.fail(error)

    def _check(self, database: Database, row: Row) -> None:
        through, before = self._last[database.shard_id]
        first, last = row["first_sequence"], row["last_sequence"]
        claim((first, row["previous_hash"]) == (through + 1, before), "a seal does not follow the one before", row)
        claim(last <= database.head["last_sequence"], "a seal reaches beyond the journal", row, database.head)
        digests = _digests(database.tables, first, last)
        hashed = sha256(before + first.to_bytes(8) + last.to_bytes(8) + digests).digest()
        claim(hashed == row["hash"], "a seal is not over its rows", row)
        self._last[database.shard_id] = (last, hashed)

    def unsealed(self) -> list[str]:
        """Name the shards of which not everything is sealed."""
        return [
            f"shard {shard} is sealed through {self._last[shard][0]} of {database.head['last_sequence']}"
            for shard, database in self._databases.items()
            if self._last[shard][0] != database.head["last_sequence"]
        ]

    def finish(self) -> None:
        """Prove the chains as the auditor does."""
        for shard, database in self._databases.items():
            session = Session(database, 0, None)  # type: ignore[arg-type]
            leaves = [Leaf(*row) for row in all_leaves(session, self._last[shard][0])]
            prover = Prover()
            for row in database.tables["seal"].rows:
                seal = Seal(*(row[name] for name in Seal._fields))
                prover.block(seal, leaves[seal.first_sequence - 1 : seal.last_sequence])
            claim(not prover.proof.violations, "a chain does not hold", shard, prover.proof.violations)


def _digests(tables: dict[str, Table], first: int, last: int) -> bytes:
    """Digest the rows of sequences, one after the other: each has some."""
    refused: dict[int, list[bytes]] = {}
    for landed in tables["crossing_landed"].rows:
        if landed["first_sequence"] <= last:
            for number in range(landed["first_number"], landed["last_number"] + 1):
                row = tables["crossing_refused"].get(landed["peer_id"], number)
                if row is not None:
                    sequence = landed["first_sequence"] + number - landed["first_number"]
                    refused.setdefault(sequence, []).append(forms.refused(tables, row))
    digests = []
    for sequence in range(first, last + 1):
        found = [*forms.of_sequence(tables, sequence), *refused.get(sequence, ())]
        found += map(forms.entry, tables["entry"].by("sequence", sequence))
        claim(found, "a sequence without rows", sequence)
        digests.append(sha256(b"".join(sorted(found))).digest())
    return b"".join(digests)
