"""The chain of seals over a shard's journal: how a block's hash is made, and what proves it. Pure.

A block is a stretch of sequences without a gap; each sequence has a leaf, the digest of all rows that
belong to it. A hash covers the hash before, the block's bounds and its leaves. Never here: rows, SQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
MARK_BYTES: Final = 4
GENESIS: Final = bytes(HASH_BYTES)
"""The hash before the first block."""

NO_ROWS: Final = bytes(HASH_BYTES)
"""The leaf of a sequence without rows: no sound journal has one."""

EVIDENCE_MAX: Final = 10
"""Sequences named of one block; the rest is counted."""

_bounds = Struct(">qq").pack


class Seal(NamedTuple):
    """One block of the chain, as it stands in the books."""

    first_sequence: int
    last_sequence: int
    row_count: int
    previous_hash: bytes
    hash: bytes
    marks: bytes


class Leaf(NamedTuple):
    """What the rows of one sequence say now."""

    sequence: int
    digest: bytes
    row_count: int


@dataclass(slots=True)
class Proof:
    """What became of proving a chain."""

    block_count: int = 0
    row_count: int = 0
    sealed_through: int = 0
    head_hash: bytes = GENESIS
    violations: list[str] = field(default_factory=list)
    found: set[bytes] = field(default_factory=set)
    """Those of the expected hashes that the chain has."""


def seal(first: int, last: int, row_count: int, previous_hash: bytes, leaves: bytes) -> Seal:
    """Seal a block; `leaves` are its sequences' digests, one after the other."""
    assert len(leaves) == (last - first + 1) * HASH_BYTES
    digest = sha256(previous_hash + _bounds(first, last) + leaves).digest()
    marks = b"".join([leaves[place : place + MARK_BYTES] for place in range(0, len(leaves), HASH_BYTES)])
    return Seal(first, last, row_count, previous_hash, digest, marks)


class Prover:
    """Holds a chain against the rows as they are now, block by block in order.

    Each block is proven by itself, on the hash that it names as the one before, so that one that is
    broken does not hide the others.
    """

    def __init__(self, expected: frozenset[bytes] = frozenset()) -> None:
        self.proof = Proof()
        self._expected = expected

    def block(self, each: Seal, rows: Sequence[Leaf]) -> None:
        """Prove one block; `rows` are all leaves up to its end that no earlier block had."""
        proof = self.proof
        if each.first_sequence != proof.sealed_through + 1 or each.previous_hash != proof.head_hash:
            proof.violations.append(
                f"block {_name(each)}: does not follow the one before, which ends with {proof.sealed_through}:"
                " a seal was changed, deleted or inserted"
            )
        proof.violations.extend(
            f"sequence {row.sequence}: has rows and lies in no block"
            for row in rows
            if row.sequence < each.first_sequence
        )
        _prove_block(each, rows, proof)
        proof.block_count += 1
        proof.row_count += each.row_count
        proof.sealed_through = max(proof.sealed_through, each.last_sequence)
        proof.head_hash = each.hash
        if each.hash in self._expected:
            proof.found.add(each.hash)


def _prove_block(each: Seal, rows: Sequence[Leaf], proof: Proof) -> None:
    by_sequence = {row.sequence: row for row in rows}
    digests = [
        by_sequence[sequence].digest if sequence in by_sequence else NO_ROWS
        for sequence in range(each.first_sequence, each.last_sequence + 1)
    ]
    row_count = sum(row.row_count for row in rows if row.sequence >= each.first_sequence)
    now = seal(each.first_sequence, each.last_sequence, row_count, each.previous_hash, b"".join(digests))
    if now == each:
        return
    changed = [
        each.first_sequence + place
        for place in range(len(digests))
        if now.marks[place * MARK_BYTES :][:MARK_BYTES] != each.marks[place * MARK_BYTES :][:MARK_BYTES]
    ]
    for sequence in changed[:EVIDENCE_MAX]:
        said = "has no rows any more" if sequence not in by_sequence else "has other rows than were sealed"
        proof.violations.append(f"block {_name(each)}: sequence {sequence} {said}")
    if len(changed) > EVIDENCE_MAX:
        proof.violations.append(f"block {_name(each)}: and {len(changed) - EVIDENCE_MAX} sequences more")
    if not changed:
        proof.violations.append(
            f"block {_name(each)}: its rows are as they were by their marks, its hash is another: the seal was changed"
        )


def _name(each: Seal) -> str:
    return f"{each.first_sequence} to {each.last_sequence}"
