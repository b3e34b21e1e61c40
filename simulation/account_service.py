"""The account service: its own rooms over the simulated PostgreSQL.

It opens customers and accounts, publishes the directory and the catalogue, moves accounts between products, and its sweeper finishes what
nobody asks for again. Never here: what a bank begins with (`run.py` puts records where the service would).
"""

import asyncio
from collections.abc import Callable
from typing import Any

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
from services.account.store import ControlStore
from services.account.sweeper import Sweeper
from services.account.territory import Territory
from services.chassis import postgres
from services.chassis.clients import LedgerClient
from services.domain import errors
from services.domain.directory import Directory
from simulation.hosts import Host
from simulation.loop import Process
from simulation.network import SimulatedServer

ACCOUNT_SERVICES = ("account:1", "account-2:1")
"""The second is there where callers open accounts."""
ACCOUNT_SERVICE = ACCOUNT_SERVICES[0]
SWEEP_SECONDS = 1.0
SWEEP_AGE_SECONDS = 3.0
RESTART_SECONDS = 0.2


class AccountHost(Host):
    """`python -m services.account`."""

    def __init__(self, bank: Any, address: str) -> None:
        super().__init__(bank, address.split(":", maxsplit=1)[0])
        self._address = address

    async def main(self, process: Process) -> None:
        bank = self.bank
        service = AccountService()
        server = SimulatedServer(bank.network, process, self._address)
        account_pb2_grpc.add_AccountsServicer_to_server(service, server.door)
        control = Database("simulated 0", "the control database", store.MIGRATIONS)
        shards = {each: Database(f"simulated {each}", f"shard {each}", records.MIGRATIONS) for each in bank.shard_ids}
        await _open(control)
        async with asyncio.TaskGroup() as group:
            for shard in shards.values():
                group.create_task(_open(shard))
            ledgers = {each: LedgerClient(each, bank.addresses(each), None) for each in bank.shard_ids}
            office = _office(ControlStore(control), control, shards, await _directory(control), ledgers, self._before)
            service.begin(office)
            if bank.plan.has_products or bank.plan.has_openings:
                group.create_task(_sweeper(office).run())

    def _before(self, step: str) -> None:
        """Die before a step of an opening: nothing of it is sent, and nothing that came before is taken back."""
        network, loop = self.bank.network, self.bank.loop
        if network.happens(self.bank.crash_midway):
            network.story.fault("a crash in the middle of an opening", self.name, step)
            self.kill()
            loop.root.call(network.chance.uniform(0.01, 2.0), self._start_again)
            raise asyncio.CancelledError

    def _start_again(self) -> None:
        if not self.is_up:
            self.start()


async def _open(database: Database) -> None:
    """Open a database, as a process that is started again until it can."""
    while True:
        try:
            return await database.open()
        except postgres.ERRORS:
            await asyncio.sleep(RESTART_SECONDS)


async def _directory(control: Database) -> Directory:
    """Read the directory, as a process that is started again until it can."""
    while True:
        try:
            return await ControlStore(control).directory()
        except errors.Unavailable:
            await asyncio.sleep(RESTART_SECONDS)


def _office(
    register: ControlStore,
    control: Database,
    shards: dict[int, Database],
    directory: Directory,
    ledgers: dict[int, LedgerClient],
    before_part: Callable[[str], None],
) -> Office:
    territory = Territory(register, {each: Records(shard) for each, shard in shards.items()}, directory)
    books = Books(ledgers)
    products = ProductStore(control)
    return Office(
        control=register,
        territory=territory,
        lookups=Lookups(territory),
        lifecycle=Lifecycle(register, territory, books, products, before_part=before_part),
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
