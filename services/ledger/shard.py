"""One shard in one process: standing by, writing, stepping down.

The lease says who should write; the epoch taken with it fences off whoever wrote before. A shard
stands by until it gets the lease, takes up its crossings where the tables say they are, and writes
until the fence or the lease says that somebody else does; then it stands by again. Never here:
what is written (`batching.py`), gRPC.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from services.chassis import logs, postgres
from services.domain import errors
from services.ledger import metrics
from services.ledger.batching import Writer, not_the_writer
from services.ledger.command_jobs import ExpireJob
from services.ledger.coordinator import Coordinator, Inquirer
from services.ledger.crossings import Courier, Couriers, PayeeCheck, Peer
from services.ledger.leases import Lease, Patience
from services.ledger.memory import Memory
from services.ledger.reader import Reader
from services.ledger.sealing import SEAL_SECONDS_DEFAULT, Sealer
from services.ledger.store import FenceLost, Head, Store
from services.ledger.watching import LOOK_SECONDS_DEFAULT, Watch

STANDBY_POLL_SECONDS: Final = 0.25
"""How often a standby asks for the lease."""

REST_SECONDS: Final = 0.5
"""Pause after a failure, so that a shard that cannot start does not spin."""

RENEWALS_PER_LEASE: Final = 3

EXPIRY_SECONDS: Final = 0.5
"""How often the ledger looks for holds whose time has come; a capture never outruns the clock."""

EXPIRY_HOLDS_MAX: Final = 1_000

_log = logs.get(__name__)


def now_us() -> int:
    """Tell the time in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


class Shard:
    """Serves one shard's books. `client` gives the ledger of a peer."""

    def __init__(
        self,
        shard_id: int,
        dsn: str,
        instance: str,
        lease_seconds: float,
        client: Callable[[int], Peer],
        look_seconds: float = LOOK_SECONDS_DEFAULT,
        seal_seconds: float = SEAL_SECONDS_DEFAULT,
        accounts_max: int | None = None,
    ) -> None:
        self.shard_id = shard_id
        self.instance = instance
        self.payees = PayeeCheck(client, time.monotonic)
        self._dsn = dsn
        self._lease_seconds = lease_seconds
        self._look_seconds = look_seconds
        self._seal_seconds = seal_seconds
        self._accounts_max = accounts_max
        self._client = client
        self._reader: Reader | None = None
        self._writing: tuple[Writer, Couriers, Coordinator] | None = None
        self._is_writer = metrics.IS_WRITER.labels(str(shard_id))
        self._epoch = metrics.WRITER_EPOCH.labels(str(shard_id))
        self._fence_losses = metrics.FENCE_LOSSES.labels(str(shard_id))

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the shard now."""
        return self._writing is not None

    @property
    def writer(self) -> Writer:
        """The writer. Raises `Unavailable` (NOT_THE_WRITER) while this process stands by."""
        return self._now_writing()[0]

    @property
    def couriers(self) -> Couriers:
        """The couriers to all peers. Raises as `writer`."""
        return self._now_writing()[1]

    @property
    def coordinator(self) -> Coordinator:
        """Brings transfers over several shards to their outcomes. Raises as `writer`."""
        return self._now_writing()[2]

    @property
    def reader(self) -> Reader:
        """Reads the books, writer or not. Raises `Unavailable` before the database was reached."""
        if self._reader is None:
            raise not_the_writer(self.shard_id)
        return self._reader

    def _now_writing(self) -> tuple[Writer, Couriers, Coordinator]:
        if self._writing is None:
            raise not_the_writer(self.shard_id)
        return self._writing

    async def run(self) -> None:
        """Stand by and write, in turns, until cancelled; then let a standby take over at once."""
        store = Store(self._dsn)
        lease = Lease(self._dsn, self.instance, self._lease_seconds)
        patience = Patience(time.monotonic, self._lease_seconds)
        try:
            while True:
                try:
                    if self._reader is None:
                        self._reader = await Reader.open(self._dsn, f"shard {self.shard_id}, readers")
                    await self._write(store, lease, await self._stand_by(store, patience))
                except* FenceLost:
                    self._fence_losses.inc()
                    _log.warning("stepped_down", shard=self.shard_id)
                except* postgres.ERRORS as failures:
                    _log.warning("database_unreachable", shard=self.shard_id, errors=_names(failures))
                except* Exception:  # noqa: BLE001 - a bug must not leave the shard without a writer for ever
                    _log.exception("writer_failed", shard=self.shard_id)
                # Whatever failed may have left the lease's connection of no use too; the next attempt has a new one.
                lease.drop()
                await asyncio.sleep(REST_SECONDS)
        finally:
            store.drop()
            await self._let_go(lease)

    async def _stand_by(self, store: Store, patience: Patience) -> Head:
        """Wait until this process is the writer."""
        await store.connect()
        while (head := await store.take_lease(self.instance, self._lease_seconds, patience.over)) is None:
            patience.see(await store.see_lease())
            await asyncio.sleep(STANDBY_POLL_SECONDS)
        return head

    async def _write(self, store: Store, lease: Lease, head: Head) -> None:
        """Write until something says that somebody else does."""
        # From here on its own connection stands ready to give the lease back.
        if not await lease.renew():
            raise FenceLost
        peers = await store.load_peers()
        async with asyncio.TaskGroup() as tasks:
            couriers = Couriers(
                self.shard_id,
                peers,
                self._client,
                lambda courier: self._start(tasks, courier, writer),
                lambda actor_id: memory.actor(actor_id),  # noqa: PLW0108 - memory is made after its couriers
            )
            promises = await store.load_open_promises()
            memory = Memory(self.shard_id, peers, couriers.is_in_flight, promises, self._accounts_max)
            writer = Writer(self.shard_id, store, head, memory, now_us, couriers.take)
            await couriers.recover(store.unacknowledged_crossings)
            tasks.create_task(writer.run(), name=f"writer of shard {self.shard_id}")
            inquirer = Inquirer(self.shard_id, writer, self._client, now_us)
            tasks.create_task(inquirer.run(), name=f"inquirer of shard {self.shard_id}")
            tasks.create_task(self._expire_holds(writer), name=f"hold expiry of shard {self.shard_id}")
            watch = Watch(self.shard_id, self._dsn, self._look_seconds)
            tasks.create_task(watch.run(head.sequence), name=f"watch over shard {self.shard_id}")
            if self._seal_seconds:
                sealer = Sealer(self.shard_id, self._dsn, self._seal_seconds)
                tasks.create_task(sealer.run(), name=f"sealer of shard {self.shard_id}")
            tasks.create_task(self._keep(lease), name=f"lease of shard {self.shard_id}")
            self._writing = (writer, couriers, Coordinator(self.shard_id, writer, couriers, self._client))
            self._is_writer.set(1)
            self._epoch.set(head.epoch)
            _log.info("writing", shard=self.shard_id, epoch=head.epoch, sequence=head.sequence)
            try:
                await asyncio.Event().wait()
            finally:
                self._writing = None
                self._is_writer.set(0)

    @staticmethod
    def _start(tasks: asyncio.TaskGroup, courier: Courier, writer: Writer) -> None:
        tasks.create_task(courier.run(writer), name=f"courier {courier.shard_id} to {courier.peer_id}")

    async def _keep(self, lease: Lease) -> None:
        """Renew the lease. A database that does not answer costs the lease, not the fence."""
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE)
            try:
                if not await lease.renew():
                    raise FenceLost
                self._is_writer.set(1)
            except postgres.ERRORS as error:
                self._is_writer.set(0)  # Whoever cannot reach the books does not write them.
                _log.warning("lease_not_renewed", shard=self.shard_id, error=type(error).__name__)
                lease.drop()

    async def _expire_holds(self, writer: Writer) -> None:
        """Free holds whose time has come, with no caller involved."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            try:
                due = await self.reader.due_holds(EXPIRY_HOLDS_MAX)
                if due:
                    await writer.ask(ExpireJob(due))
            except errors.BankError as error:
                _log.warning("holds_not_expired", shard=self.shard_id, reason=error.reason)

    async def _let_go(self, lease: Lease) -> None:
        """Give up lease and connections."""
        try:
            await lease.release()
        except postgres.ERRORS as error:
            _log.warning("lease_not_released", shard=self.shard_id, error=type(error).__name__)
        lease.drop()
        if self._reader is not None:
            await self._reader.close()


def _names(group: BaseExceptionGroup[Exception]) -> list[str]:
    """List the kinds of errors in a group."""
    names: list[str] = []
    for error in group.exceptions:
        names.extend(_names(error) if isinstance(error, BaseExceptionGroup) else [type(error).__name__])
    return names
