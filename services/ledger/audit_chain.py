"""Proves the chains of seals of all shards against the rows as they are, while traffic flows.

Every row up to the last seal is read and digested anew by PostgreSQL, in one snapshot per shard; what is
not sealed yet is counted and not judged. Never here: how a hash is made (`chain.py`), repairing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import asyncpg

from services.chassis import postgres
from services.ledger.chain import Leaf, Proof, Prover, Seal
from services.ledger.sealing import SQL

APPLICATION: Final = "hivecore-audit-chain"
SEALS_PER_PAGE: Final = 256
LEAVES_PER_PAGE: Final = 16_384
SHARDS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class ShardChain:
    """What was proven of one shard."""

    shard_id: int
    proof: Proof
    head_sequence: int

    @property
    def unsealed_count(self) -> int:
        """Sequences that no block covers yet."""
        return self.head_sequence - self.proof.sealed_through


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What was proven of all shards."""

    shards: list[ShardChain]
    missing: frozenset[bytes]
    """Expected hashes that no chain has: a whole chain was written anew, or they are another bank's."""
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing speaks against any chain."""
        return not self.missing and not any(shard.proof.violations for shard in self.shards)


async def prove_chains(shard_dsns: Mapping[int, str], expected: frozenset[bytes] = frozenset()) -> ChainReport:
    """Prove the chains of all shards; each hash of `expected` must be some block's of some shard.

    Raises what the driver raises when a database cannot be asked.
    """
    started = perf_counter()
    limit = asyncio.Semaphore(SHARDS_AT_ONCE)

    async def bounded(shard_id: int, dsn: str) -> ShardChain:
        async with limit:
            return await _prove(shard_id, dsn, expected)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bounded(*each)) for each in sorted(shard_dsns.items())]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    shards = [task.result() for task in tasks]
    found = frozenset[bytes]().union(*(shard.proof.found for shard in shards))
    return ChainReport(shards, expected - found, perf_counter() - started)


async def _prove(shard_id: int, dsn: str, expected: frozenset[bytes]) -> ShardChain:
    connection = await postgres.connect(dsn, application=APPLICATION, statement_seconds=0, only_reads=True)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(SQL["settle"])
            head = await connection.fetchval(SQL["head"])
            prover = Prover(expected)
            last = await connection.fetchval(SQL["sealed_through"])
            leaves = _Ahead(_leaves(connection, last))
            async for seal in _seals(connection):
                prover.block(seal, [leaf async for leaf in leaves.through(seal.last_sequence)])
            return ShardChain(shard_id, prover.proof, head)
    finally:
        await connection.close()


async def _seals(connection: asyncpg.Connection) -> AsyncIterator[Seal]:
    after = 0
    while page := await connection.fetch(SQL["seals"], after, SEALS_PER_PAGE):
        for row in page:
            yield Seal(*row)
        after = page[-1]["last_sequence"]


async def _leaves(connection: asyncpg.Connection, last: int) -> AsyncIterator[Leaf]:
    async for row in connection.cursor(SQL["all_leaves"], last, prefetch=LEAVES_PER_PAGE):
        yield Leaf(*row)


class _Ahead:
    """Leaves in order, given stretch by stretch."""

    def __init__(self, leaves: AsyncIterator[Leaf]) -> None:
        self._leaves = leaves
        self._held: Leaf | None = None

    async def through(self, last: int) -> AsyncIterator[Leaf]:
        """Give those up to a sequence that were not given before."""
        while True:
            if self._held is None:
                self._held = await anext(self._leaves, None)
            if self._held is None or self._held.sequence > last:
                return
            yield self._held
            self._held = None
