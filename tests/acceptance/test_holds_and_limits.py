"""Where holds, limits and an account's life meet, as a channel app would try it: each step with its reason."""

import asyncio
import os
import signal
from typing import Any
from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, leg, post

from services.cli.auditing import audit_bank


async def reason(world: World, method: str, request: Any) -> str:
    return (await world.told(method, request)).reason


async def funded(world: World, customer: int = 0, amount_minor: int = 1_000) -> str:
    account = await world.open_account(world.customers[customer], "CZK")
    if amount_minor:
        await world.ask("PostTransfer", post(leg("CASH", account, amount_minor)))
    return account


def placing(account: str, amount_minor: int, **more: Any) -> bank.PlaceHoldRequest:
    usual = {"hold_id": str(uuid4()), "account": account, "amount_minor": amount_minor, "currency_code": "CZK"}
    return bank.PlaceHoldRequest(hold=bank.Hold(**(usual | more)))


async def held(world: World, account: str, amount_minor: int, **more: Any) -> bank.Hold:
    found: bank.Hold = await world.ask("PlaceHold", placing(account, amount_minor, **more))
    return found


def capture(hold: bank.Hold, payee: str, amount_minor: int) -> bank.CaptureHoldRequest:
    return bank.CaptureHoldRequest(name=hold.name, transfer=post(leg(hold.account, payee, amount_minor)).transfer)


def release(hold: bank.Hold) -> bank.ReleaseHoldRequest:
    return bank.ReleaseHoldRequest(name=hold.name, request_id=str(uuid4()))


def limits(account: str, **more: Any) -> bank.ChangeAccountLimitsRequest:
    return bank.ChangeAccountLimitsRequest(name=f"accounts/{account}", request_id=str(uuid4()), reason="test", **more)


def state(account: str, wanted: Any) -> bank.ChangeAccountStateRequest:
    return bank.ChangeAccountStateRequest(
        name=f"accounts/{account}", request_id=str(uuid4()), state=wanted, reason="test"
    )


async def test_holds_of_two_accounts_share_their_customers_cap(world: World) -> None:
    one, two = await funded(world, 1), await funded(world, 1)
    await world.ask("ChangeAccountLimits", limits(one, customer_day_minor_max=500))
    first = await held(world, one, 300)
    assert await reason(world, "PlaceHold", placing(two, 201)) == "CUSTOMER_DAY_LIMIT"
    second = await held(world, two, 200)
    assert await reason(world, "PostTransfer", post(leg(two, world.far))) == "CUSTOMER_DAY_LIMIT"
    spread = post(leg(one, world.neighbour), leg(two, world.far))
    assert await reason(world, "PostTransfer", spread) == "CUSTOMER_DAY_LIMIT"
    await world.ask("ReleaseHold", release(first))
    await world.ask("PostTransfer", post(leg(two, world.far, 300)))
    await world.ask("CaptureHold", capture(second, world.far, 50))
    assert await reason(world, "PostTransfer", post(leg(one, world.far, 151))) == "CUSTOMER_DAY_LIMIT"
    await world.ask("PostTransfer", post(leg(one, world.neighbour, 75), leg(one, world.far, 75)))
    assert await reason(world, "PlaceHold", placing(two, 1)) == "CUSTOMER_DAY_LIMIT"


async def test_a_hold_keeps_what_was_allowed_when_it_was_placed(world: World) -> None:
    account = await funded(world)
    hold = await held(world, account, 300)
    lower = bank.AccountLimits(transfer_minor_max=100, day_minor_max=100)
    await world.ask("ChangeAccountLimits", limits(account, limits=lower))
    await world.ask("CaptureHold", capture(hold, world.far, 300))
    assert await reason(world, "PostTransfer", post(leg(account, world.far))) == "DAY_AMOUNT_LIMIT"
    assert await reason(world, "PlaceHold", placing(account, 1)) == "DAY_AMOUNT_LIMIT"


async def test_a_frozen_account_captures_nothing_and_frees_what_it_must(world: World) -> None:
    account = await funded(world)
    kept, freed = await held(world, account, 100), await held(world, account, 50)
    await held(world, account, 7, hold_seconds=1)
    await world.ask("ChangeAccountState", state(account, bank.Account.DEBITS_FROZEN))
    assert await reason(world, "CaptureHold", capture(kept, world.far, 100)) == "DEBITS_FROZEN"
    assert await reason(world, "PlaceHold", placing(account, 1)) == "DEBITS_FROZEN"
    await world.ask("ReleaseHold", release(freed))
    name = bank.GetBalanceRequest(name=f"accounts/{account}/balance")
    async with asyncio.timeout(20):
        while (await world.ask("GetBalance", name)).held_minor != 100:
            await asyncio.sleep(0.1)
    await world.ask("ChangeAccountState", state(account, bank.Account.ACTIVE))
    assert (await world.ask("CaptureHold", capture(kept, world.far, 100))).state == bank.Transfer.POSTED


async def test_an_account_of_balance_0_is_not_closed_under_a_hold_of_its_overdraft(world: World) -> None:
    account = await funded(world, amount_minor=0)
    await world.ask("ChangeAccountLimits", limits(account, floor_minor=-50))
    assert await reason(world, "PlaceHold", placing(account, 51)) == "INSUFFICIENT_FUNDS"
    hold = await held(world, account, 50)
    closing = bank.Account.CLOSED
    assert await reason(world, "ChangeAccountState", state(account, closing)) == "ACCOUNT_NOT_EMPTY"
    await world.ask("ReleaseHold", release(hold))
    assert (await world.ask("ChangeAccountState", state(account, closing))).state == closing
    assert await reason(world, "PlaceHold", placing(account, 1)) == "DEBIT_ACCOUNT_CLOSED"


async def test_an_account_is_not_closed_while_its_money_may_come_back(world: World) -> None:
    account = await funded(world, amount_minor=100)
    # From here on the payee is believed to be open, and not asked about again.
    await world.ask("PostTransfer", post(leg(account, world.far, 1)))
    stopped = world.bank.kill("ledger-2", signal.SIGSTOP)
    try:
        paying = asyncio.ensure_future(world.ask("PostTransfer", post(leg(account, world.far, 99))))
        name = bank.GetBalanceRequest(name=f"accounts/{account}/balance")
        async with asyncio.timeout(20):
            while (await world.ask("GetBalance", name)).balance_minor:
                await asyncio.sleep(0.02)
        closing = state(account, bank.Account.CLOSED)
        assert await reason(world, "ChangeAccountState", closing) == "ACCOUNT_NOT_EMPTY"
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert (await paying).state in {bank.Transfer.POSTED, bank.Transfer.IN_TRANSIT}
    await world.until_settled()
    assert await reason(world, "ChangeAccountState", closing) == "ACCOUNT_NOT_EMPTY"  # Its id means that for ever.
    closed = await world.ask("ChangeAccountState", state(account, bank.Account.CLOSED))
    assert closed.state == bank.Account.CLOSED


async def test_the_books_are_sound_after_all_that(world: World) -> None:
    await world.until_settled()
    report = await audit_bank(world.bank.control_dsn, world.bank.shard_dsns, 0)
    assert report.clean, [line for result in report.results for line in result.evidence]
