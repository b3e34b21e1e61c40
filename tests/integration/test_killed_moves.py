"""An account process is killed by SIGKILL between the steps of a product move: it is carried out once all the same.

Killed after the move was begun, and after the books carried it out; finished by the same request or by the sweeper.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from account_bank import SECONDS, Bank, Stores, accounts, new_customers, open_accounts, reason_of, running_bank
from hivecore.account.v1 import account_pb2 as pb
from hivecore.product.v1 import product_pb2

from services.chassis.embedded_postgres import EmbeddedPostgres

OLD, NEW = 100, 200
"""The most that may be paid at once by version 1 and by version 2."""

STEPS = """
    SELECT m.state, a.product_version,
           (SELECT count(*) FROM ledger.account_change c WHERE c.account_number = $1 AND c.refusal = 0) AS change_count,
           (SELECT transfer_minor_max FROM ledger.account WHERE account_number = $1) AS transfer_minor_max
      FROM account.account a LEFT JOIN account.product_move m USING (account_number)
     WHERE account_number = $1
"""
ORDER = "SELECT array_agg(done_sequence ORDER BY done_sequence) AS done FROM account.product_move WHERE state = 2"
LOCK = "SELECT pg_advisory_lock(hashtext('hivecore account.product_move'))"
BEGUN, CARRIED_OUT, DONE = (1, 1, 0, OLD), (1, 1, 1, NEW), (2, 2, 1, NEW)


async def publish(bank: Bank, code: str, version: int, transfer_minor_max: int) -> None:
    product = product_pb2.Product(
        code=code,
        version=version,
        display_name="Killed",
        currency_code="CZK",
        kind=product_pb2.Product.CURRENT,
        transfer_minor_max=transfer_minor_max,
    )
    await bank.accounts.LoadProducts(pb.LoadProductsRequest(products=[product]), timeout=SECONDS)


@pytest.fixture(scope="module")
async def bank(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with running_bank(postgres, tmp_path_factory.mktemp("bank"), "killed_moves") as bank:
        yield bank


@pytest.fixture(scope="module")
async def stores(bank: Bank) -> AsyncIterator[Stores]:
    async with bank.stores() as stores:
        yield stores


async def steps(stores: Stores, shard_id: int, account: int) -> tuple[Any, ...]:
    """Tell how far a move is: in the records, and in the books."""
    (row,) = await stores.ask(shard_id, STEPS, account)
    return tuple(row)


async def reach(stores: Stores, shard_id: int, account: int, wanted: tuple[Any, ...]) -> None:
    async with asyncio.timeout(SECONDS):
        while await steps(stores, shard_id, account) != wanted:
            await asyncio.sleep(0.02)


def move(account: int, code: str) -> pb.MoveAccountRequest:
    return pb.MoveAccountRequest(
        request_id=os.urandom(16),
        account_number=account,
        product_code=code,
        product_version=2,
        reason="asked for",
        channel="test",
        subject="tester",
    )


@pytest.mark.parametrize("finisher", ["the caller", "the sweeper"])
@pytest.mark.parametrize("killed_when", ["begun", "carried out"])
async def test_a_move_killed_between_its_steps_is_carried_out_once(
    bank: Bank, stores: Stores, killed_when: str, finisher: str
) -> None:
    (owner,) = await new_customers(bank, 1)
    code = f"KILLED-{os.urandom(4).hex().upper()}"
    await publish(bank, code, 1, OLD)
    (opened,) = await open_accounts(bank, [accounts([owner])[0]._replace(product_code=code)])
    await publish(bank, code, 2, NEW)
    account = opened.account_number
    shard_id = await shard_of(stores, account)
    asked = move(account, code)
    blocker = await asyncpg.connect(bank.shard_dsns[shard_id])
    try:
        if killed_when == "begun":
            bank.kill("ledger")
        else:
            await blocker.execute(LOCK)  # The last step waits for it.
        asking = asyncio.ensure_future(bank.accounts.MoveAccount(asked, timeout=SECONDS))
        await reach(stores, shard_id, account, BEGUN if killed_when == "begun" else CARRIED_OUT)
        bank.kill("account")
        with pytest.raises(grpc.aio.AioRpcError):
            await asking
    finally:
        await blocker.close()
    if killed_when == "begun":
        bank.start_ledger()
    if finisher == "the sweeper":
        bank.start_account(SWEEP_SECONDS="0.2", SWEEP_AGE_SECONDS="0")
        await reach(stores, shard_id, account, DONE)
    else:
        bank.start_account()
        await bank.account_serves()
        another = bank.accounts.MoveAccount(move(account, code), timeout=SECONDS)
        assert await reason_of(another) == (grpc.StatusCode.UNAVAILABLE, "MOVE_UNDER_WAY")
    await bank.account_serves()
    for _ in range(2):
        answer = await bank.accounts.MoveAccount(asked, timeout=SECONDS)
        assert (answer.account.product_code, answer.account.product_version) == (code, 2), answer.error
        assert await steps(stores, shard_id, account) == DONE
    (row,) = await stores.ask(shard_id, ORDER)
    assert row["done"] == list(range(1, len(row["done"]) + 1))
    listed = await bank.accounts.ListMovedAccounts(
        pb.ListMovedAccountsRequest(marks=[pb.ListMovedAccountsRequest.Mark(shard_id=shard_id, after=0)]),
        timeout=SECONDS,
    )
    assert list(listed.moves[0].account_numbers).count(account) == 1


async def shard_of(stores: Stores, account: int) -> int:
    """Find the shard that has an account."""
    for shard_id in stores.shards:
        if await stores.ask(shard_id, "SELECT FROM account.account WHERE account_number = $1", account):
            return shard_id
    raise AssertionError("no shard has the account")
