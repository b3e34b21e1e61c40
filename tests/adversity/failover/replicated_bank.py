"""A bank whose first shard is on a replicated cluster of machines that can fail, the rest on one PostgreSQL.

Never here: faults.
"""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import crowd
import patroni_cluster
from banks import directory
from crowd import Crowd, Place
from patroni_cluster import Cluster

from services.cli.bank import Bank
from services.cli.migrating import migrate_bank
from services.cli.topology import BankOptions, shard_database

PATIENCE_SECONDS = 300.0
"""Of callers with all outages of one test."""

LOGS = Path("build/failover")

REPLICATED = 1
"""The shard on the cluster."""

UNHARMED = 2
"""The shard that has no fault."""


class Replicated(NamedTuple):
    """A bank, its customers, and the cluster below its first shard."""

    bank: Bank
    people: Crowd
    cluster: Cluster


@contextmanager
def _kept_logs(place: Path) -> Iterator[None]:
    """Keep what all programs said in `build/failover` of the working directory, until the next run."""
    try:
        yield
    finally:
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir(parents=True)
        for log in (*place.glob("cluster/*.log"), *place.glob("bank/logs/*.log")):
            shutil.copy(log, LOGS)


@asynccontextmanager
async def opened() -> AsyncIterator[Replicated]:
    """Open it in a directory of its own, for the length of the context."""
    database = shard_database(REPLICATED)
    with directory() as place, _kept_logs(place):
        (place / "cluster").mkdir()
        async with patroni_cluster.opened(place / "cluster") as cluster:
            await cluster.execute(f"CREATE DATABASE {database}")
            await migrate_bank(None, {REPLICATED: cluster.dsn(database)}, makes_roles=True)
            options = BankOptions(data=place / "bank", port=0, shards=2)
            async with Bank.open(options, elsewhere={database: cluster.dsn}) as bank:
                where = Place(bank.gateway, bank.topology.account, bank.token(), bank.control_dsn, bank.shard_dsns)
                async with crowd.opened(where) as people:
                    yield Replicated(bank, people, cluster)
