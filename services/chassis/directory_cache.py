"""The directory, cached whole and kept fresh, and a client for each shard's ledger.

A copy may be old: whoever is told WRONG_SHARD refreshes it and asks again. Never here: what the
directory means (`services/domain/directory.py`) or changing it (`services/account`).
"""

import asyncio
from typing import Final

from hivecore.account.v1 import account_pb2, account_pb2_grpc

from services.chassis import clients, logs, metrics, status
from services.chassis.identity import Identity
from services.domain import errors
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.errors import BankError
from services.transport.channel import CallError

REFRESH_SECONDS: Final = 5.0
FIRST_COPY_RETRY_SECONDS: Final = 0.2
FETCH_SECONDS_MAX: Final = 3.0

_log = logs.get(__name__)


class DirectoryCache:
    """One copy per process. Made inside the running event loop."""

    def __init__(self, account_address: str, identity: Identity | None = None) -> None:
        self._accounts = clients.Line(account_address, account_pb2_grpc.AccountsStub, identity)
        self._identity = identity
        self._directory: Directory | None = None
        self._ledgers: dict[int, clients.LedgerClient] = {}
        self._fetching: asyncio.Task[Directory] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def current(self) -> Directory:
        """The copy at hand. Raises `Unavailable` (DIRECTORY_NOT_LOADED) before the first."""
        if self._directory is None:
            raise errors.Unavailable("DIRECTORY_NOT_LOADED", "this service is still starting")
        return self._directory

    async def start(self) -> None:
        """Wait for the first copy, however long that takes, then keep it fresh in the background."""
        while True:
            try:
                await self.refresh()
                break
            except BankError as error:
                _log.info("directory_not_there_yet", reason=error.reason)
                await asyncio.sleep(FIRST_COPY_RETRY_SECONDS)
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="directory refresh")

    async def refresh(self, at_least: int = 0) -> Directory:
        """Return a copy of version `at_least` if there is one, else the newest there is.

        Calls at the same time share one fetch. A copy that is new enough is returned at once;
        0 always asks. Raises `BankError` when the account service does not answer.
        """
        if 0 < at_least <= self._version():
            return self.current
        joined = self._fetching is not None
        directory = await self._fetch_shared()
        if joined and directory.version < at_least:
            # The fetch under way may have been answered before that version was made.
            directory = await self._fetch_shared()
        return directory

    def ledger(self, shard_id: int) -> clients.LedgerClient:
        """Return the client of a shard's ledger. Raises `Unavailable` for a shard without one."""
        client = self._ledgers.get(shard_id)
        if client is None:
            raise errors.Unavailable("SHARD_UNAVAILABLE", f"shard {shard_id} has no ledger", {"shard": str(shard_id)})
        return client

    def ledger_at(self, shard_id: int, address: str) -> clients.LedgerClient:
        """Make a client of one of a shard's ledgers, writer or not; whoever asks closes it."""
        return clients.LedgerClient(shard_id, [address], self._identity)

    async def close(self) -> None:
        """Stop refreshing and close all channels; calls under way fail."""
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._ledgers.values():
            await client.close()
        await self._accounts.close()

    def _version(self) -> int:
        return self._directory.version if self._directory is not None else 0

    async def _fetch_shared(self) -> Directory:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="directory fetch")
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)

    def _fetched(self, fetching: asyncio.Task[Directory]) -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # Whoever waited has it; if nobody did any more, it is no matter.

    async def _fetch(self) -> Directory:
        request = account_pb2.GetDirectoryRequest(known_version=self._version())
        try:
            answer = await self._accounts.stub.GetDirectory(request, timeout=FETCH_SECONDS_MAX)
        except CallError as error:
            metrics.DIRECTORY_REFRESHES.labels("failed").inc()
            raise status.from_rpc_error(error) from None
        if not answer.unchanged and answer.version >= self._version():
            self._replace(from_wire(answer))
        metrics.DIRECTORY_REFRESHES.labels("unchanged" if answer.unchanged else "fresh").inc()
        return self.current

    def _replace(self, directory: Directory) -> None:
        """Take a new copy; a client whose ledgers moved follows them."""
        kept = {shard.shard_id: shard.ledger_addresses for shard in directory.shards if shard.ledger_addresses}
        for shard_id in self._ledgers.keys() - kept.keys():
            del self._ledgers[shard_id]
        for shard_id, addresses in kept.items():
            client = self._ledgers.get(shard_id)
            if client is None:
                self._ledgers[shard_id] = clients.LedgerClient(shard_id, addresses, self._identity)
            elif client.addresses != set(addresses):
                client.move_to(addresses)
        self._directory = directory
        metrics.DIRECTORY_VERSION.set(directory.version)
        _log.info("directory", version=directory.version, shard_count=len(directory.shards))

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except BankError as error:
                _log.warning("directory_not_refreshed", reason=error.reason, version=self._version())


def from_wire(message: account_pb2.Directory) -> Directory:
    """Read the directory of `hivecore.account.v1`."""
    return Directory(
        version=message.version,
        shards=tuple(
            ShardFacts(shard.shard_id, tuple(shard.ledger_addresses), shard.customer_quota, shard.customer_count)
            for shard in message.shards
        ),
        slots=tuple(SlotRange(span.first_slot, span.last_slot, span.shard_id, span.epoch) for span in message.slots),
        partner_numbers={bank.bank_code: bank.partner_number for bank in message.partner_banks},
        currencies=tuple(message.currencies),
    )
