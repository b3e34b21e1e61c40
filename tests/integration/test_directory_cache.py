"""Everybody's copy of the directory: fetched once for all who ask, kept when nobody answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hivecore.account.v1 import account_pb2, account_pb2_grpc

from services.chassis import addresses, bounds, children, directory_cache
from services.chassis.directory_cache import DirectoryCache
from services.chassis.interceptors import Observed
from services.domain import errors
from services.transport import server as transport


class Accounts(account_pb2_grpc.AccountsServicer):
    """Knows one directory and lets the test hold its answers back."""

    def __init__(self) -> None:
        self.version = 1
        self.addresses = {1: ["127.0.0.1:7101"], 2: ["127.0.0.1:7201", "127.0.0.1:7202"]}
        self.call_count = 0
        self.open = asyncio.Event()
        self.open.set()

    async def GetDirectory(self, request, context):
        self.call_count += 1
        version, addresses = self.version, dict(self.addresses)
        await self.open.wait()
        if request.known_version >= version:
            return account_pb2.Directory(version=version, unchanged=True)
        return account_pb2.Directory(
            version=version,
            shards=[
                account_pb2.Directory.Shard(shard_id=n, ledger_addresses=where, customer_quota=500, customer_count=3)
                for n, where in addresses.items()
            ],
            slots=[
                account_pb2.Directory.SlotRange(first_slot=0, last_slot=4499, shard_id=1, epoch=1),
                account_pb2.Directory.SlotRange(first_slot=4500, last_slot=8999, shard_id=2, epoch=1),
            ],
            partner_banks=[account_pb2.Directory.PartnerBank(bank_code="KB", partner_number=7)],
            currencies=[203, 978],
        )


@asynccontextmanager
async def _serving(accounts: Accounts, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = transport.Server(bounds.server_limits(), bounds.REFUSALS)
    observed: Any = Observed(server)
    account_pb2_grpc.add_AccountsServicer_to_server(accounts, observed)
    port = server.bind(*addresses.split(address))
    server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
async def cache(accounts: Accounts) -> AsyncIterator[DirectoryCache]:
    async with _serving(accounts) as address:
        cache = DirectoryCache(address)
        await cache.start()
        yield cache
        await cache.close()


async def test_the_first_copy_says_where_everything_is(cache: DirectoryCache) -> None:
    directory = cache.current
    assert directory.version == 1
    assert [directory.shard_by_slot[slot] for slot in (0, 4499, 4500, 8999, 9998, 9999)] == [1, 1, 2, 2, 2, 1]
    assert directory.partner_numbers == {"KB": 7}
    assert directory.currencies == (203, 978)
    assert [(shard.customer_quota, shard.customer_count) for shard in directory.shards] == [(500, 3), (500, 3)]


async def test_before_the_first_copy_there_is_none_to_use() -> None:
    cache = DirectoryCache("127.0.0.1:1")
    with pytest.raises(errors.Unavailable) as caught:
        _ = cache.current
    assert caught.value.reason == "DIRECTORY_NOT_LOADED"
    await cache.close()


async def test_starting_waits_until_the_account_service_is_there(accounts: Accounts) -> None:
    async with _serving(accounts) as address:
        pass
    cache = DirectoryCache(address)
    starting = asyncio.ensure_future(cache.start())
    with pytest.raises(errors.Unavailable):
        await cache.refresh()
    assert not starting.done()
    async with _serving(accounts, address), asyncio.timeout(10):
        await starting
    assert cache.current.version == 1
    await cache.close()


async def test_many_who_refresh_at_once_share_one_call(accounts: Accounts, cache: DirectoryCache) -> None:
    before = accounts.call_count
    accounts.version = 2
    copies = await asyncio.gather(*(cache.refresh() for _ in range(50)))
    assert {copy.version for copy in copies} == {2}
    assert accounts.call_count == before + 1


async def test_a_copy_that_is_new_enough_is_not_fetched_again(accounts: Accounts, cache: DirectoryCache) -> None:
    before = accounts.call_count
    assert (await cache.refresh(at_least=1)).version == 1
    assert accounts.call_count == before


async def test_a_fetch_that_began_too_early_is_not_good_enough_for_a_newer_version(
    accounts: Accounts, cache: DirectoryCache
) -> None:
    accounts.open.clear()
    before = accounts.call_count
    early = asyncio.ensure_future(cache.refresh())
    assert await children.until(lambda: accounts.call_count > before, 10)
    accounts.version = 2
    late = asyncio.ensure_future(cache.refresh(at_least=2))
    await asyncio.sleep(0)
    accounts.open.set()
    assert (await early).version == 1
    assert (await late).version == 2


async def test_a_caller_that_gives_up_does_not_spoil_the_fetch_of_the_others(
    accounts: Accounts, cache: DirectoryCache
) -> None:
    accounts.open.clear()
    accounts.version = 2
    impatient = asyncio.ensure_future(cache.refresh())
    patient = asyncio.ensure_future(cache.refresh())
    await asyncio.sleep(0)
    impatient.cancel()
    accounts.open.set()
    assert (await patient).version == 2
    assert impatient.cancelled()


async def test_a_new_version_arrives_by_itself(monkeypatch: pytest.MonkeyPatch, accounts: Accounts) -> None:
    monkeypatch.setattr(directory_cache, "REFRESH_SECONDS", 0.01)
    async with _serving(accounts) as address:
        cache = DirectoryCache(address)
        await cache.start()
        accounts.version = 5
        assert await children.until(lambda: cache.current.version == 5, 10)
        await cache.close()


async def test_the_copy_outlives_the_account_service(accounts: Accounts) -> None:
    async with _serving(accounts) as address:
        cache = DirectoryCache(address)
        await cache.start()
    with pytest.raises(errors.Unavailable) as caught:
        await cache.refresh()
    assert caught.value.reason == "PEER_UNREACHABLE"
    assert cache.current.version == 1
    await cache.close()


async def test_a_shards_client_is_kept_and_follows_its_ledgers(accounts: Accounts, cache: DirectoryCache) -> None:
    first, second = cache.ledger(1), cache.ledger(2)
    assert first.addresses == {"127.0.0.1:7101"}
    accounts.version = 2
    accounts.addresses = {1: ["127.0.0.1:7109"], 2: ["127.0.0.1:7202", "127.0.0.1:7201"]}
    await cache.refresh()
    assert (cache.ledger(1), cache.ledger(2)) == (first, second)
    assert first.addresses == {"127.0.0.1:7109"}


async def test_a_shard_without_ledgers_is_unavailable(accounts: Accounts, cache: DirectoryCache) -> None:
    with pytest.raises(errors.Unavailable, match="shard 3 has no ledger"):
        cache.ledger(3)
    accounts.version = 2
    accounts.addresses[2] = []
    await cache.refresh()
    with pytest.raises(errors.Unavailable) as caught:
        cache.ledger(2)
    assert caught.value.metadata == {"shard": "2"}
