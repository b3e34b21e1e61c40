"""Who asked for what stands in the trail, on every shard that it concerns, and the chain of seals holds under traffic."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from command_line import User
from google.protobuf.timestamp_pb2 import Timestamp
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, leg, opened, post

from services.cli.auditing import audit_chains

Record = bank.AuditRecord


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with opened(tmp_path_factory.mktemp("bank") / "bank") as world:
        yield world


async def trail(world: World, page_size: int = 0, **asked: Any) -> list[Record]:
    """Read all pages."""
    request = bank.ListAuditTrailRequest(page_size=page_size, **asked)
    records: list[Record] = []
    while True:
        page = await world.ask("ListAuditTrail", request)
        records.extend(page.records)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return records


async def test_a_crossing_says_on_both_shards_who_asked(world: World) -> None:
    token = world.mint("transfers.write")
    await world.ask("PostTransfer", post(leg(world.mine, world.far, 500), reference="rent"), token)
    records = [record for record in await trail(world, subject="somebody") if record.words == "rent"]
    assert [(record.kind, record.subject, record.channel) for record in records] == [
        (Record.TRANSFER, "somebody", "cli"),
        (Record.LANDING, "somebody", "cli"),
    ]
    assert len({record.shard_id for record in records}) == 2
    assert len({record.id for record in records}) == 1


async def test_customers_and_accounts_show_who_opened_them_and_keep_it(world: World) -> None:
    branch, other = (world.mint(channel=channel) for channel in ("branch", "web"))
    wanted = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer())
    customer = await world.ask("OpenCustomer", wanted, branch)
    assert (customer.actor, customer.channel, customer.request_id) == ("somebody", "branch", wanted.request_id)
    account = bank.Account(customer=customer.name, currency_code="CZK")
    opening = bank.OpenAccountRequest(request_id=str(uuid4()), account=account)
    opened = await world.ask("OpenAccount", opening, branch)
    for request, method, token in ((opening, "OpenAccount", other), (opening, "OpenAccount", branch)):
        again = await world.ask(method, request, token)
        assert (again.actor, again.channel, again.request_id) == ("somebody", "branch", opening.request_id)
    assert await world.ask("OpenCustomer", wanted, other) == customer
    many = bank.OpenAccountsRequest(requests=[bank.OpenAccountRequest(request_id=str(uuid4()), account=account)])
    (second,) = (await world.ask("OpenAccounts", many, other)).results
    listed = await world.ask("ListAccounts", bank.ListAccountsRequest(parent=customer.name))
    assert [each.channel for each in listed.accounts] == ["branch", "web"]
    assert listed.accounts[1].request_id == many.requests[0].request_id == second.account.request_id
    shown = await world.ask("GetAccount", bank.GetAccountRequest(name=opened.name))
    assert (shown.actor, shown.channel, shown.request_id) == (opened.actor, "branch", opening.request_id)
    command = await User(world.bank).get("account", "show", opened.account_number)
    assert (command["opened_by"], command["channel"], command["request_id"]) == (
        "somebody",
        "branch",
        opening.request_id,
    )


async def test_refusals_overrides_burials_and_changes_are_there(world: World) -> None:
    subject = str(uuid4())
    token = mint(world, subject)
    await world.told("PostTransfer", post(leg(world.mine, world.neighbour, 10**9), reference="too much"), token)
    await world.ask("PostTransfer", post(leg(world.mine, world.neighbour, 1), override_limits=True), token)
    early = bank.ReverseTransferRequest(transfer_id=str(uuid4()), name=f"accounts/{world.mine}/transfers/{uuid4()}")
    assert (await world.told("ReverseTransfer", early, token)).reason == "ORIGINAL_NOT_FOUND"
    change = bank.ChangeAccountStateRequest(
        name=f"accounts/{world.mine}", request_id=str(uuid4()), state=bank.Account.ACTIVE, reason="as it was"
    )
    await world.ask("ChangeAccountState", change, token)
    records = await trail(world, subject=subject)
    assert [(record.kind, bank.Transfer.State.Name(record.state), record.reason) for record in records] == [
        (Record.TRANSFER, "REFUSED", "INSUFFICIENT_FUNDS"),
        (Record.TRANSFER, "POSTED", ""),
        (Record.BURIED, "REFUSED", "REVERSED_BEFORE_ARRIVAL"),
        (Record.ACCOUNT_CHANGED, "POSTED", ""),
    ]
    assert [record.limits_overridden for record in records] == [False, True, False, False]
    assert records[-1].words == "as it was"


async def test_the_trail_is_read_page_by_page_by_account_and_by_time(world: World) -> None:
    whole = await trail(world)
    assert await trail(world, page_size=1) == whole
    assert [(one.shard_id, one.sequence) for one in whole] == sorted((one.shard_id, one.sequence) for one in whole)
    mine = await trail(world, account_number=world.mine)
    assert mine == [
        one
        for one in whole
        if world.mine in (one.debit_account, one.credit_account) and one.shard_id == mine[0].shard_id
    ]
    middle = mine[len(mine) // 2].decide_time
    first = await trail(world, account_number=world.mine, end_time=middle)
    second = await trail(world, account_number=world.mine, start_time=middle)
    assert first + second == mine
    assert first and second
    assert await trail(world, start_time=Timestamp(seconds=10**10)) == []


async def test_the_trail_is_for_auditors(world: World) -> None:
    request = bank.ListAuditTrailRequest()
    assert (await world.told("ListAuditTrail", request, world.mint("accounts.read"))).reason == "SCOPE_MISSING"
    limited = world.mint(customer=world.customers[0].customer_number)
    assert (await world.told("ListAuditTrail", request, limited)).reason == "TOKEN_LIMITED_TO_CUSTOMER"
    for bad in (
        bank.ListAuditTrailRequest(account_number="1"),
        bank.ListAuditTrailRequest(page_size=-1),
        bank.ListAuditTrailRequest(page_token="x"),
        bank.ListAuditTrailRequest(start_time=Timestamp(seconds=2), end_time=Timestamp(seconds=1)),
    ):
        assert (await world.told("ListAuditTrail", bad)).violations


async def test_the_command_lists_the_trail_and_proves_the_chain(world: World) -> None:
    user = User(world.bank)
    told = await user.get("trail", "--account", world.mine, "--limit", "2")
    assert len(told["records"]) == 2 and told["is_more"]
    for _ in range(200):
        report = await audit_chains(world.bank.shard_dsns, frozenset())
        assert report.clean, [shard.proof.violations for shard in report.shards]
        if all(shard.unsealed_count == 0 for shard in report.shards):
            break
        await asyncio.sleep(0.1)
    proven = await user.get("audit", "--chain", "--expect", report.shards[0].proof.head_hash.hex())
    assert proven["is_clean"] and all(shard["block_count"] for shard in proven["shards"])
    run = await user.run("audit", "--expect", "00" * 32)
    assert run.status == 1 and "no chain has the hash" in run.stdout


def mint(world: World, subject: str) -> str:
    from services.cli import tokens

    return tokens.mint(world.bank.secret(), subject=subject, channel="counter")
