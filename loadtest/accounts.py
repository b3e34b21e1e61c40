"""Opens the accounts that a load test moves money between, funds them, and sorts them by shard.

Opening goes through the public door like everybody's; only which slot lives on which shard is asked
of the account service, since the public door does not tell.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import grpc
from hivecore.account.v1 import account_pb2, account_pb2_grpc
from hivecore.gateway.v1 import bank_pb2

from loadtest.client import CHANNEL_OPTIONS, DEADLINE_SECONDS, Access, Client

ACCOUNTS_PER_CALL: Final = 4_000
CALLS_IN_FLIGHT: Final = 3
"""While one process of the bank works for one call, another works for the next."""
FUNDING_MINOR: Final = 1_000_000_00
"""What each account starts with: a run cannot spend it."""

INSISTENCE_SECONDS: Final = 60.0
"""How long funding is asked for again while the bank says that too much waits."""
PAUSE_SECONDS: Final = 0.2

SLOT_DIGITS: Final = 4


class OpeningFailed(Exception):
    """The bank did not open or fund an account; the message says why."""


async def open_accounts(
    access: Access,
    count: int,
    currency_code: str,
    progress: Callable[[int, float], None] = lambda _, __: None,
    *,
    product_code: str = "",
) -> list[str]:
    """Open `count` customers with one funded account each; return the account numbers.

    Without a product they get the bank's default, if it has one. `progress` hears how many there are and
    after how many seconds. Raises OpeningFailed and grpc.aio.AioRpcError.
    """
    numbers: list[str] = []
    began = time.monotonic()
    counts = iter([ACCOUNTS_PER_CALL] * (count // ACCOUNTS_PER_CALL) + [count % ACCOUNTS_PER_CALL])

    async def open_some(client: Client) -> None:
        for some in counts:
            if some:
                customers = await _open_customers(client, some)
                opened = await _open_accounts(client, customers, currency_code, product_code)
                await _fund(client, opened, currency_code)
                numbers.extend(opened)
                progress(len(numbers), time.monotonic() - began)

    async with Client(access) as client:
        tasks = [asyncio.ensure_future(open_some(client)) for _ in range(CALLS_IN_FLIGHT)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return numbers


async def by_shard(account_service: str, numbers: list[str]) -> list[list[str]]:
    """Sort account numbers by the shard that has their slot, asking the account service at host:port."""
    async with grpc.aio.insecure_channel(account_service, options=CHANNEL_OPTIONS) as channel:
        request = account_pb2.GetDirectoryRequest()
        directory = await account_pb2_grpc.AccountsStub(channel).GetDirectory(request, timeout=DEADLINE_SECONDS)
    shard_by_slot = {
        slot: stretch.shard_id
        for stretch in directory.slots
        for slot in range(stretch.first_slot, stretch.last_slot + 1)
    }
    found: dict[int, list[str]] = {shard_id: [] for shard_id in sorted(set(shard_by_slot.values()))}
    for number in numbers:
        found[shard_by_slot[int(number[:SLOT_DIGITS])]].append(number)
    return list(found.values())


async def _open_customers(client: Client, count: int) -> list[str]:
    requests = [
        bank_pb2.OpenCustomerRequest(request_id=str(uuid4()), customer=bank_pb2.Customer()) for _ in range(count)
    ]
    response = await client.call(client.stub.OpenCustomers, bank_pb2.OpenCustomersRequest(requests=requests))
    return [_opened(result, "customer").name for result in response.results]


async def _open_accounts(client: Client, customers: list[str], currency_code: str, product_code: str) -> list[str]:
    product = f"products/{product_code}" if product_code else ""
    requests = [
        bank_pb2.OpenAccountRequest(
            request_id=str(uuid4()),
            account=bank_pb2.Account(customer=customer, currency_code=currency_code, product=product),
        )
        for customer in customers
    ]
    response = await client.call(client.stub.OpenAccounts, bank_pb2.OpenAccountsRequest(requests=requests))
    return [_opened(result, "account").account_number for result in response.results]


async def _fund(client: Client, numbers: list[str], currency_code: str) -> None:
    transfers = [
        bank_pb2.Transfer(
            transfer_id=str(uuid4()),
            legs=[
                bank_pb2.Leg(
                    debit_account="CASH", credit_account=number, amount_minor=FUNDING_MINOR, currency_code=currency_code
                )
            ],
        )
        for number in numbers
    ]
    until = time.monotonic() + INSISTENCE_SECONDS
    while transfers:
        try:
            response = await client.call(client.stub.PostTransfers, bank_pb2.PostTransfersRequest(transfers=transfers))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > until:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        results = list(zip(transfers, response.results, strict=True))
        for _, result in results:
            if result.state != bank_pb2.Transfer.POSTED and not _was_too_much(result):
                raise OpeningFailed(f"an account was not funded: {result.reason or result.error.message}")
        transfers = [transfer for transfer, result in results if _was_too_much(result)]
        if transfers and time.monotonic() > until:
            raise OpeningFailed("accounts were not funded: too much waited all the time")


def _was_too_much(result: bank_pb2.TransferResult) -> bool:
    return bool(result.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


def _opened(result: bank_pb2.OpenCustomersResponse.Result | bank_pb2.OpenAccountsResponse.Result, kind: str) -> Any:
    if result.WhichOneof("result") != kind:
        raise OpeningFailed(f"a {kind} was not opened: {result.error.message}")
    return getattr(result, kind)
