"""What an account may do is changed while it is open, and enforced from the next transfer on."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode
from grpc_status import rpc_status
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, absent, leg, post, read_status

from services.domain import chart

State = bank.Account
RACING = 300


async def funded(world: World, amount_minor: int = 1_000, customer: int = 0) -> str:
    account = await world.open_account(world.customers[customer], "CZK")
    if amount_minor:
        await world.ask("PostTransfer", post(leg("CASH", account, amount_minor)))
    return account


def life(account: str, state: Any, reason: str = "court order") -> bank.ChangeAccountStateRequest:
    name = f"accounts/{account}"
    return bank.ChangeAccountStateRequest(name=name, request_id=str(uuid4()), state=state, reason=reason)


def limits(account: str, **changes: Any) -> bank.ChangeAccountLimitsRequest:
    usual = {"name": f"accounts/{account}", "request_id": str(uuid4()), "reason": "agreed"}
    return bank.ChangeAccountLimitsRequest(**(usual | changes))


def place(account: str, amount_minor: int, **more: Any) -> bank.PlaceHoldRequest:
    hold = bank.Hold(hold_id=str(uuid4()), account=account, amount_minor=amount_minor, currency_code="CZK")
    return bank.PlaceHoldRequest(hold=hold, **more)


async def became(world: World, method: str, request: Any, token: str | None = None) -> str:
    """Return POSTED, or the reason why not."""
    try:
        await world.ask(method, request, token)
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)
        assert status is not None
        return read_status(status).reason
    return "POSTED"


async def pay(world: World, debit: str, credit: str, amount_minor: int = 1, **changes: Any) -> str:
    return await became(world, "PostTransfer", post(leg(debit, credit, amount_minor), **changes))


async def state_of(world: World, account: str) -> int:
    """Read the state by number and by customer, which agree."""
    found = await world.ask("GetAccount", bank.GetAccountRequest(name=f"accounts/{account}"))
    listed = await world.ask("ListAccounts", bank.ListAccountsRequest(parent=found.customer, page_size=1_000))
    assert found in listed.accounts
    return int(found.state)


# Life


@pytest.mark.parametrize(
    ("state", "debit", "credit"),
    [
        (State.ACTIVE, "POSTED", "POSTED"),
        (State.DEBITS_FROZEN, "DEBITS_FROZEN", "POSTED"),
        (State.CREDITS_FROZEN, "POSTED", "CREDITS_FROZEN"),
        (State.FROZEN, "DEBITS_FROZEN", "CREDITS_FROZEN"),
        (State.DORMANT, "DEBIT_ACCOUNT_DORMANT", "POSTED"),
    ],
)
async def test_a_state_of_life_is_enforced_by_the_books_until_it_is_lifted(
    world: World, state: Any, debit: str, credit: str
) -> None:
    account = await funded(world)
    changed = await world.ask("ChangeAccountState", life(account, state))
    assert changed.state == state == await state_of(world, account)
    for other in (world.neighbour, world.far):
        assert await pay(world, account, other) == debit
        assert await pay(world, other, account) == credit
    assert await became(world, "PlaceHold", place(account, 1)) == debit
    assert (await world.ask("ChangeAccountState", life(account, State.ACTIVE, "lifted"))).state == State.ACTIVE
    assert [await pay(world, account, world.far), await pay(world, world.far, account)] == ["POSTED"] * 2


async def test_an_account_is_closed_only_when_it_is_empty_and_then_for_good(world: World) -> None:
    account = await funded(world)
    hold = await world.ask("PlaceHold", place(account, 400))
    assert await became(world, "ChangeAccountState", life(account, State.CLOSED)) == "ACCOUNT_NOT_EMPTY"
    assert await pay(world, account, world.far, 600) == "POSTED"
    assert await became(world, "ChangeAccountState", life(account, State.CLOSED)) == "ACCOUNT_NOT_EMPTY"
    wanted = post(leg(account, world.far, 400)).transfer
    await world.ask("CaptureHold", bank.CaptureHoldRequest(name=hold.name, transfer=wanted))
    await world.ask("ChangeAccountState", life(account, State.FROZEN))
    assert await became(world, "ChangeAccountState", life(account, State.CLOSED)) == "STATE_MAY_NOT_FOLLOW"
    await world.ask("ChangeAccountState", life(account, State.ACTIVE))
    request = life(account, State.CLOSED)
    assert (await world.ask("ChangeAccountState", request)).state == State.CLOSED
    assert (await world.ask("ChangeAccountState", request)).state == State.CLOSED == await state_of(world, account)
    assert await became(world, "ChangeAccountState", life(account, State.ACTIVE)) == "DEBIT_ACCOUNT_CLOSED"
    assert await became(world, "ChangeAccountLimits", limits(account, floor_minor=-5)) == "DEBIT_ACCOUNT_CLOSED"
    assert await pay(world, account, world.neighbour) == "DEBIT_ACCOUNT_CLOSED"
    assert await pay(world, world.neighbour, account) == "CREDIT_ACCOUNT_CLOSED"
    assert await pay(world, world.far, account) == "CREDIT_ACCOUNT_CLOSED"


async def test_a_refused_change_stays_refused_and_an_id_means_one_change(world: World) -> None:
    account = await funded(world)
    request = life(account, State.PENDING)
    for _ in range(2):
        assert await became(world, "ChangeAccountState", request) == "STATE_MAY_NOT_FOLLOW"
    request.reason = "something else"
    told = await world.told("ChangeAccountState", request)
    assert (told.code, told.reason) == (StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    for number in (absent(account), absent(world.far)):
        told = await world.told("ChangeAccountState", life(number, State.FROZEN))
        assert (told.code, told.reason) == (StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
        told = await world.told("ChangeAccountLimits", limits(number, floor_minor=0))
        assert (told.code, told.reason) == (StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")


async def test_only_whoever_manages_accounts_changes_them(world: World) -> None:
    account = await funded(world)
    limited = world.limited()
    narrow = world.mint("accounts.read", "accounts.write", "transfers.write", "operator")
    for method, request in (
        ("ChangeAccountState", life(account, State.FROZEN)),
        ("ChangeAccountLimits", limits(account, floor_minor=-100)),
    ):
        told = await world.told(method, request, narrow)
        assert (told.reason, told.metadata["scope"]) == ("SCOPE_MISSING", "accounts.manage")
        assert (await world.told(method, request, limited)).reason == "TOKEN_LIMITED_TO_CUSTOMER"
    assert await state_of(world, account) == State.ACTIVE


# Limits


async def test_each_limit_has_its_own_reason_and_is_in_force_at_once(world: World) -> None:
    account = await funded(world)

    async def limited(**changes: Any) -> None:
        await world.ask("ChangeAccountLimits", limits(account, limits=bank.AccountLimits(**changes)))

    await limited(transfer_minor_max=100)
    assert [await pay(world, account, world.far, amount) for amount in (100, 101)] == ["POSTED", "TRANSFER_LIMIT"]
    assert await became(world, "PlaceHold", place(account, 101)) == "TRANSFER_LIMIT"
    await limited(balance_minor_max=950)
    assert [await pay(world, world.far, account, amount) for amount in (51, 50)] == ["CREDIT_BALANCE_LIMIT", "POSTED"]
    await limited(day_minor_max=300)
    assert await pay(world, account, world.neighbour, 200) == "POSTED"
    assert await became(world, "PlaceHold", place(account, 101)) == "DAY_AMOUNT_LIMIT"
    assert await became(world, "PlaceHold", place(account, 100)) == "POSTED"
    assert await pay(world, account, world.neighbour) == "DAY_AMOUNT_LIMIT"
    await limited(day_count_max=4)
    answers = [await pay(world, account, world.neighbour) for _ in range(3)]
    assert answers == ["POSTED", "POSTED", "DAY_COUNT_LIMIT"]
    await limited()
    assert await pay(world, account, world.neighbour, 500) == "POSTED"


async def test_a_floor_lets_an_account_go_below_zero_and_no_further(world: World) -> None:
    account = await funded(world, 0)
    assert await pay(world, account, world.far) == "INSUFFICIENT_FUNDS"
    await world.ask("ChangeAccountLimits", limits(account, floor_minor=-500))
    found = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"))
    assert (found.balance_minor, found.available_minor) == (0, 500)
    assert [await pay(world, account, world.far, 400), await pay(world, account, world.far, 101)] == [
        "POSTED",
        "INSUFFICIENT_FUNDS",
    ]


async def test_racing_debits_never_break_a_daily_limit(world: World) -> None:
    account = await funded(world, 100_000)
    before = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"))
    changed = bank.AccountLimits(day_minor_max=1_000, day_count_max=RACING)
    await world.ask("ChangeAccountLimits", limits(account, limits=changed))
    payees = (world.neighbour, world.far)
    answers = Counter(await asyncio.gather(*(pay(world, account, payees[number % 2], 9) for number in range(RACING))))
    assert answers == {"POSTED": 111, "DAY_AMOUNT_LIMIT": RACING - 111}
    after = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"))
    assert before.balance_minor - after.balance_minor == 999
    counted = await funded(world, 100_000)
    await world.ask("ChangeAccountLimits", limits(counted, limits=bank.AccountLimits(day_count_max=50)))
    answers = Counter(await asyncio.gather(*(pay(world, counted, payees[number % 2]) for number in range(RACING))))
    assert answers == {"POSTED": 50, "DAY_COUNT_LIMIT": RACING - 50}


async def test_a_customers_cap_counts_over_all_accounts_of_the_currency(world: World) -> None:
    customer = 3
    first, second = await funded(world, 10_000, customer), await funded(world, 10_000, customer)
    await world.ask("ChangeAccountLimits", limits(first, customer_day_minor_max=1_000))
    debits = [pay(world, account, world.far, 10) for account in (first, second) for _ in range(75)]
    assert Counter(await asyncio.gather(*debits)) == {"POSTED": 100, "CUSTOMER_DAY_LIMIT": 50}
    third = await funded(world, 500, customer)
    assert await pay(world, third, world.far) == "CUSTOMER_DAY_LIMIT"
    await world.ask("ChangeAccountLimits", limits(second, customer_day_minor_max=-1))
    assert [await pay(world, account, world.far) for account in (first, second, third)] == ["POSTED"] * 3


async def test_an_override_needs_its_scope_and_is_shown(world: World) -> None:
    account = await funded(world)
    await world.ask("ChangeAccountLimits", limits(account, limits=bank.AccountLimits(transfer_minor_max=10)))
    plain = world.mint("transfers.write", "accounts.read")
    overriding = post(leg(account, world.far, 500), override_limits=True)
    told = await world.told("PostTransfer", overriding, plain)
    assert (told.code, told.reason, told.metadata) == (
        StatusCode.PERMISSION_DENIED,
        "SCOPE_MISSING",
        {"scope": "limits.override"},
    )
    assert await became(world, "PlaceHold", place(account, 500, override_limits=True), plain) == "SCOPE_MISSING"
    batch = [overriding.transfer, post(leg(account, world.far, 5)).transfer]
    results = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=batch), plain)).results
    assert [result.state for result in results] == [0, bank.Transfer.POSTED]
    assert read_status(results[0].error).reason == "SCOPE_MISSING"

    granted = world.mint("transfers.write", "limits.override")
    posted = await world.ask("PostTransfer", overriding, granted)
    assert posted.override_limits
    assert (await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))).override_limits
    assert not (await world.ask("PostTransfer", post(leg(account, world.far)))).override_limits
    assert await became(world, "PlaceHold", place(account, 400, override_limits=True), granted) == "POSTED"
    too_much = post(leg(account, world.far, 500), override_limits=True)
    assert await became(world, "PostTransfer", too_much, granted) == "INSUFFICIENT_FUNDS"


async def test_a_cap_needs_a_customer(world: World) -> None:
    cash = f"{chart.internal_account(1, chart.Code.CASH, 203):016d}"
    told = await world.told("ChangeAccountLimits", limits(cash, customer_day_minor_max=5))
    assert told.violations == [("customer_day_minor_max", "ACCOUNT_WITHOUT_CUSTOMER")]
