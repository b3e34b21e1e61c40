"""A ledger process: `python -m services.ledger`, told by its environment which shards to serve.

Here everything is put together, and only here is the environment read.
"""

import asyncio
import os

from hivecore.ledger.v1 import ledger_pb2_grpc

from services.chassis import logs, metrics, migrations, process, settings, tracing
from services.chassis.directory_cache import DirectoryCache
from services.chassis.identity import Identity
from services.chassis.server import Server
from services.ledger.service import LedgerService
from services.ledger.settings import LedgerSettings
from services.ledger.shard import Shard


async def main() -> None:
    """Serve until told to stop."""
    options = settings.read(LedgerSettings, os.environ)
    logs.configure(options.log_level, "ledger", options.instance)
    metrics.name_process("ledger")
    tracing.configure(options.traces, "ledger", options.instance, options.traces_file)
    identity = Identity.among_services(options)
    directory = DirectoryCache(options.account_address, identity)
    shards: dict[int, Shard] = {
        shard_id: Shard(
            shard_id,
            dsn.get_secret_value(),
            options.instance,
            options.lease_seconds,
            directory.ledger,
            options.look_seconds,
            options.seal_seconds,
            options.accounts_remembered_max,
        )
        for shard_id, dsn in options.shards.items()
    }
    server = Server(options, identity)
    service = LedgerService(shards, lambda: directory.current, directory.refresh)
    ledger_pb2_grpc.add_LedgerServicer_to_server(service, server.server)
    running: list[asyncio.Task[None]] = []

    async def prepare() -> None:
        for dsn in options.shards.values():
            await migrations.prepare(
                dsn.get_secret_value(), __package__, application="hivecore-ledger-migrate", applies=options.migrate
            )
        await directory.start()
        running.extend(asyncio.create_task(shard.run(), name=f"shard {n}") for n, shard in shards.items())

    try:
        await server.serve(["hivecore.ledger.v1.Ledger"], prepare=prepare)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await directory.close()


if __name__ == "__main__":
    process.run(main)
