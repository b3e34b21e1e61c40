"""The account service: its own rooms over the simulated PostgreSQL, but for the directory, which is the simulation's.

It knows accounts by their records, publishes the catalogue and moves accounts between products, and its sweeper finishes what nobody asks
for again. Never here: opening customers and accounts (`run.py` puts their records where the service would).
"""

import asyncio
from typing import Any

from hivecore.account.v1 import account_pb2, account_pb2_grpc

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
from services.account.sweeper import Sweeper
from services.account.territory import Territory
from services.chassis import postgres
from services.chassis.clients import LedgerClient
from services.chassis.directory_cache import from_wire
from services.domain.directory import Directory
from simulation.hosts import Host
from simulation.loop import Process
from simulation.network import SimulatedServer

ACCOUNT_SERVICE = "account:1"
SWEEP_SECONDS = 1.0
SWEEP_AGE_SECONDS = 3.0
RESTART_SECONDS = 0.2


class AccountHost(Host):
    """`python -m services.account`."""

    def __init__(self, bank: Any) -> None:
        super().__init__(bank, "account")

    async def main(self, process: Process) -> None:
        bank = self.bank
        service = AccountService()
        server = SimulatedServer(bank.network, process, ACCOUNT_SERVICE)
        account_pb2_grpc.add_AccountsServicer_to_server(service, server.door)
        control = Database("simulated 0", "the control database", store.MIGRATIONS)
        shards = {each: Database(f"simulated {each}", f"shard {each}", records.MIGRATIONS) for each in bank.shard_ids}
        await _open(control)
        async with asyncio.TaskGroup() as group:
            for shard in shards.values():
                group.create_task(_open(shard))
            register: Any = _Register(bank)
            office = _office(register, control, shards, bank.directory)
            service.begin(office)
            if bank.plan.has_products:
                group.create_task(_sweeper(office).run())


async def _open(database: Database) -> None:
    """Open a database, as a process that is started again until it can."""
    while True:
        try:
            return await database.open()
        except postgres.ERRORS:
            await asyncio.sleep(RESTART_SECONDS)


def _office(register: Any, control: Database, shards: dict[int, Database], directory: account_pb2.Directory) -> Office:
    territory = Territory(register, {each: Records(shard) for each, shard in shards.items()}, from_wire(directory))
    books = Books(
        {each.shard_id: LedgerClient(each.shard_id, each.ledger_addresses, None) for each in directory.shards}
    )
    products = ProductStore(control)
    return Office(
        control=register,
        territory=territory,
        lookups=Lookups(territory),
        lifecycle=Lifecycle(register, territory, books, products),
        partners=Partners(register, territory, books),
        payment_files=PaymentFiles(territory),
        products=products,
        mover=Mover(products, territory, {each: Moves(shard) for each, shard in shards.items()}, books),
    )


def _sweeper(office: Office) -> Sweeper:
    return Sweeper(
        office.control,
        office.territory,
        office.lifecycle,
        office.partners,
        office.mover,
        interval_seconds=SWEEP_SECONDS,
        age_seconds=SWEEP_AGE_SECONDS,
    )


class _Register:
    """In the place of the control store: the directory as the simulation has it, and no partner banks."""

    def __init__(self, bank: Any) -> None:
        self._bank = bank

    async def directory(self) -> Directory:
        return from_wire(self._bank.directory)

    async def directory_version(self) -> int:
        version: int = self._bank.directory.version
        return version

    async def shards(self) -> list[Any]:
        return []

    async def partners(self) -> list[Any]:
        return []
