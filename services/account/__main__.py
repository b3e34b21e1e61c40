"""The account process: `python -m services.account`, told by its environment which shards the bank has.

Here everything is put together, and only here is the environment read.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

from hivecore.account.v1 import account_pb2_grpc

from services.account import records, store
from services.account.books import Books
from services.account.database import Database
from services.account.lifecycle import Lifecycle
from services.account.lookups import Lookups
from services.account.moves import Moves
from services.account.moving import Mover
from services.account.partners import Partners
from services.account.payment_files import PaymentFiles
from services.account.product_store import ProductStore
from services.account.records import Records
from services.account.service import AccountService, Office
from services.account.settings import AccountSettings
from services.account.store import ControlStore
from services.account.sweeper import Sweeper
from services.account.territory import Territory
from services.chassis import logs, metrics, process, settings, tracing
from services.chassis.clients import LedgerClient
from services.chassis.identity import Identity
from services.chassis.server import Server

SHARD_DATABASES_SECONDS_MAX: Final = 10.0
"""Health says SERVING without the shards whose databases have not answered by then."""

_log = logs.get(__name__)


async def main() -> None:
    """Serve until told to stop."""
    options = settings.read(AccountSettings, os.environ)
    logs.configure(options.log_level, "account", options.instance)
    metrics.name_process("account")
    tracing.configure(options.traces, "account", options.instance, options.traces_file)
    identity = Identity.among_services(options)
    server = Server(options, identity)
    service = AccountService()
    account_pb2_grpc.add_AccountsServicer_to_server(service, server.server)
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as group:
        background: list[asyncio.Task[None]] = []

        async def prepare() -> None:
            control = await _control_database(options, opened)
            shards = {shard_id: _shard_database(options, shard_id, opened) for shard_id in options.shards}
            opening = [group.create_task(shard.open(), name=f"shard {n}") for n, shard in shards.items()]
            background.extend(opening)
            office = await _office(options, control, shards, identity, opened)
            # A shard whose database is away must not keep the directory from everybody else.
            service.begin(office)
            await asyncio.wait(opening, timeout=SHARD_DATABASES_SECONDS_MAX)
            background.append(group.create_task(_sweeper(options, office).run(), name="sweeper"))

        await server.serve(["hivecore.account.v1.Accounts"], prepare=prepare)
        for task in background:
            task.cancel()


async def _control_database(options: AccountSettings, opened: AsyncExitStack) -> Database:
    database = Database(
        options.control_dsn.get_secret_value(), "the control database", store.MIGRATIONS, migrates=options.migrate
    )
    opened.push_async_callback(database.close)
    await database.open()
    return database


def _shard_database(options: AccountSettings, shard_id: int, opened: AsyncExitStack) -> Database:
    dsn = options.shards[shard_id].dsn.get_secret_value()
    database = Database(dsn, f"shard {shard_id}", records.MIGRATIONS, migrates=options.migrate)
    opened.push_async_callback(database.close)
    return database


async def _office(
    options: AccountSettings,
    database: Database,
    shards: Mapping[int, Database],
    identity: Identity | None,
    opened: AsyncExitStack,
) -> Office:
    """Make the directory say what the operator says, and put everything together."""
    control, products = ControlStore(database), ProductStore(database)
    plans = {shard_id: shard.plan for shard_id, shard in options.shards.items()}
    for shard_id in await control.register(plans, options.currencies):
        _log.warning("shard_without_slots", shard=shard_id)
    shard_records = {shard_id: Records(database) for shard_id, database in shards.items()}
    territory = Territory(control, shard_records, await control.directory())
    books = Books(
        {shard_id: LedgerClient(shard_id, shard.ledgers, identity) for shard_id, shard in options.shards.items()}
    )
    opened.push_async_callback(books.close)
    return Office(
        control=control,
        territory=territory,
        lookups=Lookups(territory),
        lifecycle=Lifecycle(control, territory, books, products),
        partners=Partners(control, territory, books),
        payment_files=PaymentFiles(territory),
        products=products,
        mover=Mover(products, territory, {shard_id: Moves(shards[shard_id]) for shard_id in shards}, books),
    )


def _sweeper(options: AccountSettings, office: Office) -> Sweeper:
    return Sweeper(
        office.control,
        office.territory,
        office.lifecycle,
        office.partners,
        office.mover,
        interval_seconds=options.sweep_seconds,
        age_seconds=options.sweep_age_seconds,
    )


if __name__ == "__main__":
    process.run(main)
