"""An account process crashes before every part of every step of an opening, and nothing is lost.

What crashes is the inside of a second account process, in the test, on the same databases as the
real one, which goes on, as does the sweeper. The real processes are killed, too.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import count

import grpc
import pytest
from account_bank import (
    CZK,
    SECONDS,
    SHARDS,
    Bank,
    Crash,
    CrashAt,
    Stores,
    accounts,
    asked_for,
    books_of,
    customers,
    new_customers,
    open_accounts,
    open_customers,
    reason_of,
    running_bank,
)
from hivecore.account.v1 import account_pb2 as pb
from hivecore.ledger.v1 import ledger_pb2

from services.account.books import Books
from services.account.opening import AccountWanted, CustomerWanted, Refusal, State
from services.account.partners import Partners
from services.account.sweeper import Sweeper
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain.identifiers import slot_of_account


@pytest.fixture(scope="module")
async def bank(postgres: EmbeddedPostgres, tmp_path_factory) -> AsyncIterator[Bank]:
    async with running_bank(postgres, tmp_path_factory.mktemp("bank"), "account_crashes") as bank:
        yield bank


@pytest.fixture(scope="module")
async def stores(bank: Bank) -> AsyncIterator[Stores]:
    async with bank.stores() as stores:
        yield stores


async def opens_customers(bank: Bank, stores: Stores, wants: Sequence[CustomerWanted], crash: CrashAt | None = None):
    return await (await bank.lifecycle(stores, crash)).open_customers(wants)


async def opens_accounts(bank: Bank, stores: Stores, wants: Sequence[AccountWanted], crash: CrashAt | None = None):
    return await (await bank.lifecycle(stores, crash)).open_accounts(wants, deadline_seconds=SECONDS)


async def sweep(bank: Bank, stores: Stores) -> None:
    lifecycle, territory = await bank.lifecycle(stores), await stores.territory()
    partners = Partners(stores.control, territory, Books(bank.ledgers))
    mover = stores.mover(territory, Books(bank.ledgers))
    sweeper = Sweeper(stores.control, territory, lifecycle, partners, mover, interval_seconds=SECONDS, age_seconds=-1.0)
    await sweeper.sweep()


async def crashes(bank: Bank, stores: Stores, opens, new_wants) -> AsyncIterator[tuple[list, str]]:
    """Crash one opening after the other, each a part later than the one before, until one is through.

    Yields what each wanted and the step before a part of which it crashed.
    """
    for parts in count():
        wants, crash = new_wants(), CrashAt(parts)
        try:
            await opens(bank, stores, wants, crash)
        except Crash:
            yield wants, crash.steps[parts]
        else:
            return


CUSTOMER_STEPS = {"look_up", "reserve_numbers", "claim_requests", "write_records", "claim_references", "activate"}
ACCOUNT_STEPS = CUSTOMER_STEPS | {"find_customers", "enter_books"}


@pytest.fixture(params=["customers", "accounts"])
async def opening(request, bank: Bank, stores: Stores):
    """Give how to open with crashes, what to open, how to ask for it over gRPC, and the steps it takes."""
    if request.param == "customers":
        return opens_customers, lambda: customers(12), open_customers, CUSTOMER_STEPS
    owners = await new_customers(bank, 12)
    return opens_accounts, lambda: accounts(owners), open_accounts, ACCOUNT_STEPS


async def found(stores: Stores, wants: list) -> Counter[str]:
    """Count the records by external reference, over all shards."""
    table = "customer" if isinstance(wants[0], CustomerWanted) else "account"
    sql = f"SELECT external_reference, state FROM account.{table} WHERE external_reference = ANY ($1)"
    rows = [
        row for shard_id in SHARDS for row in await stores.ask(shard_id, sql, [w.external_reference for w in wants])
    ]
    assert {row["state"] for row in rows} == {State.ACTIVE}
    return Counter(row["external_reference"] for row in rows)


async def test_after_a_crash_anywhere_the_same_requests_finish_the_opening(bank: Bank, stores: Stores, opening) -> None:
    opens, new_wants, ask, steps = opening
    seen = set()
    async for wants, step in crashes(bank, stores, opens, new_wants):
        results = await ask(bank, wants)
        assert await found(stores, wants) == dict.fromkeys((result.external_reference for result in results), 1)
        assert await ask(bank, wants) == results
        seen.add(step)
    assert seen == steps
    assert await stores.half_open() == []


async def test_after_a_crash_anywhere_the_sweeper_leaves_nothing_half_open(bank: Bank, stores: Stores, opening) -> None:
    opens, new_wants, ask, _ = opening
    async for wants, _step in crashes(bank, stores, opens, new_wants):
        await sweep(bank, stores)
        assert await stores.half_open() == []
        results = await ask(bank, wants)
        assert await found(stores, wants) == dict.fromkeys((result.external_reference for result in results), 1)


async def test_after_a_crash_anywhere_a_reference_belongs_to_one_request(bank: Bank, stores: Stores, opening) -> None:
    opens, new_wants, ask, _ = opening
    async for wants, _step in crashes(bank, stores, opens, new_wants):
        rivals = [want._replace(request_id=os.urandom(16)) for want in wants]
        for first, second in zip(await ask(bank, rivals), await ask(bank, wants), strict=True):
            assert [first, second].count("EXTERNAL_REFERENCE_TAKEN") == 1
        await sweep(bank, stores)
        assert await stores.half_open() == []
        assert set((await found(stores, wants)).values()) == {1}


async def test_a_crashed_request_with_another_body_is_refused_from_its_claim_on(bank: Bank, stores: Stores) -> None:
    async for wants, step in crashes(bank, stores, opens_customers, lambda: customers(1)):
        changed = [wants[0]._replace(display_name="Somebody else")]
        results = await open_customers(bank, changed)
        claimed = step in {"write_records", "claim_references", "activate"}
        assert (results == [Refusal.REQUEST_ID_REUSED]) == claimed, step
    await sweep(bank, stores)


async def test_without_the_ledger_an_account_is_in_doubt_until_the_sweeper_finishes_it(
    bank: Bank, stores: Stores
) -> None:
    wanted = accounts(await new_customers(bank, 6))
    bank.kill("ledger")
    items = [pb.OpenAccountsRequest.Item(**asked_for(want)) for want in wanted]
    call = bank.accounts.OpenAccounts(pb.OpenAccountsRequest(items=items), timeout=1)
    assert await reason_of(call) == (grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
    assert len(await stores.half_open()) == 6
    asked = pb.RegisterPartnerBanksRequest(bank_codes=["UV"])
    assert (await reason_of(bank.accounts.RegisterPartnerBanks(asked, timeout=1)))[0] == grpc.StatusCode.UNAVAILABLE
    directory = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(), timeout=SECONDS)
    assert "UV" not in {partner.bank_code for partner in directory.partner_banks}
    bank.start_ledger()
    await sweep(bank, stores)
    assert await stores.half_open() == []
    directory = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(), timeout=SECONDS)
    assert "UV" in {partner.bank_code for partner in directory.partner_banks}
    made = await open_accounts(bank, wanted)
    assert await books_of(bank, [account.account_number for account in made]) == [(True, CZK, 0)] * 6


async def test_who_comes_late_to_an_opening_finds_the_account_open_although_it_was_changed_since(
    bank: Bank, stores: Stores
) -> None:
    (account,) = await opens_accounts(bank, stores, accounts(await new_customers(bank, 1)))
    (shard_id,) = (await stores.territory()).by_shard([account.account_number], slot_of_account)
    change = ledger_pb2.ChangeAccountRequest(
        shard_id=shard_id,
        change_id=os.urandom(16),
        account_number=account.account_number,
        floor_minor=-100,
        reason="an overdraft",
        actor=ledger_pb2.Actor(channel="desk", subject="teller"),
    )
    answer = await bank.ledgers[shard_id].call("ChangeAccount", change, deadline_seconds=SECONDS)
    assert answer.refusal == 0
    late = [account._replace(state=State.OPENING)]
    finished = await (await bank.lifecycle(stores)).finish_accounts(late, deadline_seconds=SECONDS)
    assert finished == {account.account_number: account}


async def test_an_account_process_killed_amid_openings_loses_nothing(bank: Bank, stores: Stores) -> None:
    owners = await new_customers(bank, 3_000)
    calls = [accounts(owners) for _ in range(4)]
    asking = [asyncio.ensure_future(open_accounts(bank, wanted)) for wanted in calls]
    async with asyncio.timeout(SECONDS):
        while not await stores.half_open():
            pass
    bank.kill("account")
    assert all(isinstance(end, grpc.aio.AioRpcError) for end in await asyncio.gather(*asking, return_exceptions=True))
    bank.start_account(SWEEP_SECONDS="0.2", SWEEP_AGE_SECONDS="0")
    await bank.account_serves()
    async with asyncio.timeout(SECONDS):
        while await stores.half_open():
            pass
    for wanted in calls:
        made = await open_accounts(bank, wanted)
        assert len({account.account_number for account in made}) == 3_000
        assert await found(stores, wanted) == dict.fromkeys((want.external_reference for want in wanted), 1)
    numbers = [account.account_number for account in made]
    assert await books_of(bank, numbers) == [(True, CZK, 0)] * 3_000
