"""Money set aside is used or freed exactly once, and what was given back is never more than what was moved."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import World, absent, leg, post

EXPIRY_SECONDS_MAX = 10
REFUSE, OVERDRAW = bank.ReverseTransferRequest.REFUSE, bank.ReverseTransferRequest.OVERDRAW


def place(account: str, amount_minor: int, **more: Any) -> bank.PlaceHoldRequest:
    override = more.pop("override_limits", False)
    usual = {"hold_id": str(uuid4()), "account": account, "amount_minor": amount_minor, "currency_code": "CZK"}
    return bank.PlaceHoldRequest(hold=bank.Hold(**(usual | more)), override_limits=override)


def increase(hold: bank.Hold, amount_minor: int, **more: Any) -> bank.IncreaseHoldRequest:
    usual = {"name": hold.name, "request_id": str(uuid4()), "amount_minor": amount_minor, "currency_code": "CZK"}
    return bank.IncreaseHoldRequest(**(usual | more))


def release(hold: bank.Hold) -> bank.ReleaseHoldRequest:
    return bank.ReleaseHoldRequest(name=hold.name, request_id=str(uuid4()))


def capture(hold: bank.Hold, credit: str, amount_minor: int, **changes: Any) -> bank.CaptureHoldRequest:
    wanted = post(leg(hold.account, credit, amount_minor), **changes).transfer
    return bank.CaptureHoldRequest(name=hold.name, transfer=wanted)


def reverse(original: bank.Transfer, amount_minor: int = 0, **more: Any) -> bank.ReverseTransferRequest:
    usual = {"name": original.name, "transfer_id": str(uuid4()), "amount_minor": amount_minor}
    return bank.ReverseTransferRequest(**(usual | more))


async def funded(world: World, amount_minor: int = 1_000, *, far: bool = False) -> str:
    account = await world.open_account(world.customers[2 if far else 0], "CZK")
    assert world.home(account) == world.home(world.far if far else world.mine)
    if amount_minor:
        await world.ask("PostTransfer", post(leg("CASH", account, amount_minor)))
    return account


async def standing(world: World, account: str) -> tuple[int, int, int]:
    """Read balance, held and available."""
    found = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"))
    return found.balance_minor, found.held_minor, found.available_minor


async def refused(world: World, method: str, request: Any) -> str:
    told = await world.told(method, request)
    assert told.code in {StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND}
    assert (told.code is StatusCode.NOT_FOUND) == told.reason.endswith("_NOT_FOUND")
    return told.reason


# Holds


async def test_a_hold_is_placed_increased_and_captured_in_part(world: World) -> None:
    account = await funded(world)
    hold = await world.ask("PlaceHold", place(account, 300, reference="hotel", hold_seconds=3_600))
    assert (hold.state, hold.amount_minor, hold.reference) == (bank.Hold.OPEN, 300, "hotel")
    assert hold.name == f"accounts/{account}/holds/{hold.hold_id}"
    assert await standing(world, account) == (1_000, 300, 700)
    more = await world.ask("IncreaseHold", increase(hold, 200))
    assert (more.amount_minor, more.expire_time) == (500, hold.expire_time)
    later = await world.ask("IncreaseHold", increase(hold, 100, hold_seconds=7_200))
    assert later.expire_time.seconds > hold.expire_time.seconds + 3_000
    assert await standing(world, account) == (1_000, 600, 400)
    captured = await world.ask("CaptureHold", capture(hold, world.neighbour, 450, reference="room 7"))
    assert (captured.state, captured.captured_hold) == (bank.Transfer.POSTED, hold.name)
    assert await standing(world, account) == (550, 0, 550)
    over = await world.ask("GetHold", bank.GetHoldRequest(name=hold.name))
    assert (over.state, over.captured_minor) == (bank.Hold.CAPTURED, 450)
    shown = await world.ask("GetTransfer", bank.GetTransferRequest(name=captured.name))
    assert (shown.captured_hold, shown.reference, shown.legs) == (hold.name, "room 7", captured.legs)


async def test_a_statement_tells_what_a_hold_did(world: World) -> None:
    account = await funded(world)
    first, second = [await world.ask("PlaceHold", place(account, 100, reference=text)) for text in ("one", "two")]
    await world.ask("IncreaseHold", increase(first, 50))
    await world.ask("ReleaseHold", release(first))
    await world.ask("CaptureHold", capture(second, world.far, 60))
    asked = {"parent": f"accounts/{account}", "order_by": "version"}
    entries: list[bank.Entry] = []
    token = ""
    while True:  # In pages, of which a hold's entries are part like any other.
        page = await world.ask("ListEntries", bank.ListEntriesRequest(**asked, page_size=2, page_token=token))
        entries += page.entries
        token = page.next_page_token
        if not token:
            break
    kinds = [bank.Entry.Kind.Name(entry.kind) for entry in entries]
    assert kinds == ["TRANSFER", "HOLD_PLACED", "HOLD_PLACED", "HOLD_INCREASED", "HOLD_RELEASED", "TRANSFER"]
    assert [entry.version for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [entry.amount_minor for entry in entries] == [1_000, 0, 0, 0, 0, -60]
    assert [entry.held_after_minor for entry in entries] == [0, 100, 200, 250, 100, 0]
    assert [bool(entry.transfer) for entry in entries] == [True, False, False, False, False, True]
    landed = (await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{world.far}"))).entries[0]
    assert (landed.kind, landed.amount_minor) == (bank.Entry.LANDING, 60)


async def test_open_holds_are_listed_by_their_expiry(world: World) -> None:
    account = await funded(world)
    parent = bank.ListHoldsRequest(parent=f"accounts/{account}")
    assert list((await world.ask("ListHolds", parent)).holds) == []
    placed = [
        await world.ask("PlaceHold", place(account, 10, hold_seconds=seconds, reference=f"{seconds}"))
        for seconds in (300, 100, 200)
    ]
    assert [hold.reference for hold in (await world.ask("ListHolds", parent)).holds] == ["100", "200", "300"]
    await world.ask("ReleaseHold", release(placed[1]))
    assert [hold.name for hold in (await world.ask("ListHolds", parent)).holds] == [placed[2].name, placed[0].name]
    nobody = bank.ListHoldsRequest(parent=f"accounts/{absent(account)}")
    assert await refused(world, "ListHolds", nobody) == "ACCOUNT_NOT_FOUND"


async def test_a_captured_hold_crosses_to_another_shard(world: World) -> None:
    account = await funded(world)
    before = await standing(world, world.far)
    hold = await world.ask("PlaceHold", place(account, 500, payee_account=world.far))
    told = await refused(world, "CaptureHold", capture(hold, world.neighbour, 100))
    assert told == "HOLD_PAYEE_MISMATCH"
    request = capture(hold, world.far, 400)
    answers = [await world.ask("CaptureHold", request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].state == bank.Transfer.POSTED
    assert await standing(world, account) == (600, 0, 600)
    assert (await standing(world, world.far))[0] == before[0] + 400


async def test_each_rule_of_holds_has_its_own_reason(world: World) -> None:
    account, other = await funded(world), await funded(world)
    euros = await world.open_account(world.customers[0], "EUR")
    assert await refused(world, "PlaceHold", place(account, 1_001)) == "INSUFFICIENT_FUNDS"
    assert await refused(world, "PlaceHold", place(absent(account), 1)) == "DEBIT_ACCOUNT_NOT_FOUND"
    assert await refused(world, "PlaceHold", place(euros, 1)) == "DEBIT_CURRENCY_MISMATCH"
    hold = await world.ask("PlaceHold", place(account, 600))
    assert await refused(world, "IncreaseHold", increase(hold, 401)) == "INSUFFICIENT_FUNDS"
    assert await refused(world, "PostTransfer", post(leg(account, other, 401))) == "INSUFFICIENT_FUNDS"
    assert await refused(world, "CaptureHold", capture(hold, other, 601)) == "CAPTURE_EXCEEDS_HOLD"
    stranger = bank.Hold(name=f"accounts/{other}/holds/{hold.hold_id}", account=other)
    for method, request in (
        ("IncreaseHold", increase(stranger, 1)),
        ("CaptureHold", capture(stranger, account, 1)),
        ("ReleaseHold", release(stranger)),
        ("GetHold", bank.GetHoldRequest(name=stranger.name)),
    ):
        assert await refused(world, method, request) == "HOLD_NOT_FOUND"
    await world.ask("CaptureHold", capture(hold, other, 600))
    freed = await world.ask("PlaceHold", place(account, 400))
    assert (await world.ask("ReleaseHold", release(freed))).state == bank.Hold.RELEASED
    for over, reason in ((hold, "HOLD_ALREADY_CAPTURED"), (freed, "HOLD_ALREADY_RELEASED")):
        assert await refused(world, "IncreaseHold", increase(over, 1)) == reason
        assert await refused(world, "CaptureHold", capture(over, other, 1)) == reason
        assert await refused(world, "ReleaseHold", release(over)) == reason
    assert await standing(world, account) == (400, 0, 400)


async def test_a_holds_command_means_one_thing_for_ever(world: World) -> None:
    account = await funded(world)
    request = place(account, 400)
    hold = await world.ask("PlaceHold", request)
    assert await world.ask("PlaceHold", request) == hold
    request.hold.amount_minor = 401
    assert (await world.told("PlaceHold", request)).reason == "HOLD_ID_REUSED"
    more = increase(hold, 100)
    assert (await world.ask("IncreaseHold", more)) == (await world.ask("IncreaseHold", more))
    more.amount_minor = 101
    assert (await world.told("IncreaseHold", more)).reason == "REQUEST_ID_REUSED"
    assert await standing(world, account) == (1_000, 500, 500)
    refusal = place(account, 900)
    assert await refused(world, "PlaceHold", refusal) == "INSUFFICIENT_FUNDS"
    await world.ask("PostTransfer", post(leg("CASH", account, 5_000)))
    assert await refused(world, "PlaceHold", refusal) == "INSUFFICIENT_FUNDS"
    freeing = release(hold)
    assert (await world.ask("ReleaseHold", freeing)) == (await world.ask("ReleaseHold", freeing))
    reused = post(leg(account, world.neighbour), transfer_id=hold.hold_id)
    assert (await world.told("PostTransfer", reused)).reason == "TRANSFER_ID_REUSED"
    name = f"accounts/{account}/transfers/{hold.hold_id}"
    assert (await world.told("GetTransfer", bank.GetTransferRequest(name=name))).reason == "TRANSFER_NOT_FOUND"


async def test_a_hold_expires_with_no_caller_involved(world: World) -> None:
    account = await funded(world)
    hold = await world.ask("PlaceHold", place(account, 700, hold_seconds=1))
    async with asyncio.timeout(EXPIRY_SECONDS_MAX):
        while (await standing(world, account))[1]:
            await asyncio.sleep(0.05)
    assert await standing(world, account) == (1_000, 0, 1_000)
    assert (await world.ask("GetHold", bank.GetHoldRequest(name=hold.name))).state == bank.Hold.EXPIRED
    for method, request in (
        ("IncreaseHold", increase(hold, 1)),
        ("CaptureHold", capture(hold, world.far, 1)),
        ("ReleaseHold", release(hold)),
    ):
        assert await refused(world, method, request) == "HOLD_ALREADY_EXPIRED"
    entries = (await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{account}"))).entries
    assert (entries[0].kind, entries[0].held_after_minor) == (bank.Entry.HOLD_EXPIRED, 0)


async def test_of_many_who_would_end_a_hold_one_does(world: World) -> None:
    account = await funded(world)
    hold = await world.ask("PlaceHold", place(account, 1_000))
    tries = [("CaptureHold", capture(hold, world.far, 100 + number)) for number in range(20)]
    tries += [("ReleaseHold", release(hold)) for _ in range(20)]
    answers = await asyncio.gather(*(world.ask(*each) for each in tries), return_exceptions=True)
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(done) == 1
    assert all(isinstance(answer, grpc.aio.AioRpcError) for answer in answers if answer is not done[0])
    taken = done[0].legs[0].amount_minor if isinstance(done[0], bank.Transfer) else 0
    assert await standing(world, account) == (1_000 - taken, 0, 1_000 - taken)


async def test_a_customers_token_holds_only_that_customers_money(world: World) -> None:
    token = world.limited()
    account = await funded(world)
    hold = await world.ask("PlaceHold", place(account, 10), token)
    assert await world.ask("GetHold", bank.GetHoldRequest(name=hold.name), token) == hold
    assert len((await world.ask("ListHolds", bank.ListHoldsRequest(parent=f"accounts/{account}"), token)).holds) == 1
    theirs = await world.ask("PlaceHold", place(world.neighbour, 10))
    for method, request in (
        ("PlaceHold", place(world.neighbour, 10)),
        ("IncreaseHold", increase(theirs, 1)),
        ("CaptureHold", capture(theirs, account, 1)),
        ("ReleaseHold", release(theirs)),
        ("GetHold", bank.GetHoldRequest(name=theirs.name)),
        ("ListHolds", bank.ListHoldsRequest(parent=f"accounts/{world.neighbour}")),
    ):
        told = await world.told(method, request, token)
        assert (told.code, told.reason) == (StatusCode.PERMISSION_DENIED, "ACCOUNT_OF_ANOTHER_CUSTOMER")
    await world.ask("CaptureHold", capture(hold, world.far, 10), token)
    await world.ask("ReleaseHold", release(theirs))


@pytest.mark.parametrize("is_far_first", [True, False])
async def test_payees_here_and_there_are_paid_together_and_give_it_back_together(
    world: World, is_far_first: bool
) -> None:
    account = await funded(world)
    legs = [leg(account, world.far, 500), leg(account, "FEES", 20), leg(account, world.neighbour, 30)]
    posted = await world.ask("PostTransfer", post(*(legs if is_far_first else legs[::-1])))
    assert (posted.state, len(posted.legs)) == (bank.Transfer.POSTED, 3)
    assert (await standing(world, account))[0] == 450
    assert await refused(world, "ReverseTransfer", reverse(posted, 500)) == "REVERSAL_MISMATCH"
    reversal = await world.ask("ReverseTransfer", reverse(posted))
    assert [each.amount_minor for each in reversal.legs] == ([30, 20, 500] if is_far_first else [500, 20, 30])
    assert (await standing(world, account))[0] == 1_000
    assert await refused(world, "ReverseTransfer", reverse(posted)) == "REVERSAL_EXCEEDS_ORIGINAL"
    paid_again = await world.ask("ReverseTransfer", reverse(reversal))
    assert [each.amount_minor for each in paid_again.legs] == [each.amount_minor for each in posted.legs]
    assert (await standing(world, account))[0] == 450
    await world.ask("ReverseTransfer", reverse(paid_again))
    assert (await standing(world, account))[0] == 1_000


# Reversals


@pytest.mark.parametrize("far", [False, True], ids=["on one shard", "across shards"])
async def test_a_transfer_is_given_back_in_parts_and_never_more_than_it_moved(world: World, far: bool) -> None:
    payer, payee = await funded(world), await funded(world, far=far)
    original = await world.ask("PostTransfer", post(leg(payer, payee, 500)))
    request = reverse(original, 200, reference="sorry")
    first = await world.ask("ReverseTransfer", request)
    assert (first.state, first.reversed_transfer, first.reference) == (bank.Transfer.POSTED, original.name, "sorry")
    assert first.legs == [leg(payee, payer, 200)]
    assert await world.ask("ReverseTransfer", request) == first
    shown = await world.ask("GetTransfer", bank.GetTransferRequest(name=first.name))
    assert shown.reversed_transfer == original.name
    assert (await standing(world, payer))[0] == 700
    assert await refused(world, "ReverseTransfer", reverse(original)) == "REVERSAL_EXCEEDS_ORIGINAL"
    assert await refused(world, "ReverseTransfer", reverse(original, 301)) == "REVERSAL_EXCEEDS_ORIGINAL"
    await world.ask("ReverseTransfer", reverse(original, 300))
    assert await refused(world, "ReverseTransfer", reverse(original, 1)) == "REVERSAL_EXCEEDS_ORIGINAL"
    assert [(await standing(world, account))[0] for account in (payer, payee)] == [1_000, 1_000]
    request.amount_minor = 100
    assert (await world.told("ReverseTransfer", request)).reason == "TRANSFER_ID_REUSED"


@pytest.mark.parametrize("far", [False, True], ids=["on one shard", "across shards"])
async def test_however_many_reverse_at_once_no_more_comes_back_than_was_moved(world: World, far: bool) -> None:
    payer, payee = await funded(world), await funded(world, far=far)
    original = await world.ask("PostTransfer", post(leg(payer, payee, 500)))
    requests = [reverse(original, 120) for _ in range(30)]
    answers = await asyncio.gather(*(world.ask("ReverseTransfer", each) for each in requests), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 4
    assert [(await standing(world, account))[0] for account in (payer, payee)] == [980, 1_020]


async def test_several_legs_are_given_back_whole(world: World) -> None:
    payer, payee = await funded(world), await funded(world)
    legs = leg(payer, payee, 100), leg(payee, payer, 30), leg(payer, "FEES", 7)
    original = await world.ask("PostTransfer", post(*legs))
    assert await refused(world, "ReverseTransfer", reverse(original, 100)) == "REVERSAL_MISMATCH"
    reversal = await world.ask("ReverseTransfer", reverse(original, 137))
    assert [(each.debit_account, each.amount_minor) for each in reversal.legs][1:] == [(payer, 30), (payee, 100)]
    assert [(await standing(world, account))[0] for account in (payer, payee)] == [1_000, 1_000]
    assert await refused(world, "ReverseTransfer", reverse(original)) == "REVERSAL_EXCEEDS_ORIGINAL"


async def test_only_what_is_posted_can_be_given_back(world: World) -> None:
    payer, payee = await funded(world), await funded(world)
    too_much = post(leg(payer, payee, 5_000))
    assert await refused(world, "PostTransfer", too_much) == "INSUFFICIENT_FUNDS"
    name = f"accounts/{payer}/transfers/{too_much.transfer.transfer_id}"
    assert await refused(world, "ReverseTransfer", reverse(bank.Transfer(name=name))) == "ORIGINAL_NOT_POSTED"
    hold = await world.ask("PlaceHold", place(payer, 1))
    name = f"accounts/{payer}/transfers/{hold.hold_id}"
    assert await refused(world, "ReverseTransfer", reverse(bank.Transfer(name=name))) == "ORIGINAL_NOT_FOUND"
    posted = await world.ask("PostTransfer", post(leg(payer, payee, 5)))
    name = f"accounts/{payee}/transfers/{posted.transfer_id}"
    assert await refused(world, "ReverseTransfer", reverse(bank.Transfer(name=name))) == "ORIGINAL_NOT_FOUND"


@pytest.mark.parametrize("far", [False, True], ids=["on one shard", "across shards"])
async def test_an_original_that_comes_after_its_reversal_is_refused(world: World, far: bool) -> None:
    payer, payee = await funded(world), await funded(world, far=far)
    late = post(leg(payer, payee, 100))
    name = f"accounts/{payer}/transfers/{late.transfer.transfer_id}"
    request = reverse(bank.Transfer(name=name))
    for _ in range(2):
        assert await refused(world, "ReverseTransfer", request) == "ORIGINAL_NOT_FOUND"
    for _ in range(2):
        assert await refused(world, "PostTransfer", late) == "REVERSED_BEFORE_ARRIVAL"
    shown = await world.ask("GetTransfer", bank.GetTransferRequest(name=name))
    assert (shown.state, shown.reason) == (bank.Transfer.REFUSED, "REVERSED_BEFORE_ARRIVAL")
    assert [(await standing(world, account))[0] for account in (payer, payee)] == [1_000, 1_000]


async def test_originals_racing_with_their_reversals_end_one_way_or_the_other(world: World) -> None:
    payer, payee = await funded(world), await funded(world, 0, far=True)
    originals = [post(leg(payer, payee, 10)) for _ in range(30)]
    names = [f"accounts/{payer}/transfers/{each.transfer.transfer_id}" for each in originals]
    reversals = [reverse(bank.Transfer(name=name)) for name in names]
    pairs = [
        each
        for original, reversal in zip(originals, reversals, strict=True)
        for each in (("PostTransfer", original), ("ReverseTransfer", reversal))
    ]
    answers = await asyncio.gather(*(world.ask(*pair) for pair in pairs), return_exceptions=True)
    posted = sum(isinstance(answer, bank.Transfer) for answer in answers[::2])
    reversed_ = sum(isinstance(answer, bank.Transfer) for answer in answers[1::2])
    assert (await standing(world, payee))[0] == 10 * (posted - reversed_) >= 0
    assert (await standing(world, payer))[0] == 1_000 - 10 * (posted - reversed_)


async def test_a_payee_without_the_money_is_overdrawn_only_by_whoever_may(world: World) -> None:
    payer, payee = await funded(world), await funded(world, 0, far=True)
    original = await world.ask("PostTransfer", post(leg(payer, payee, 500)))
    await world.ask("PostTransfer", post(leg(payee, world.far, 400)))
    assert await refused(world, "ReverseTransfer", reverse(original)) == "INSUFFICIENT_FUNDS"
    token = world.mint("transfers.reverse", "transfers.write")
    told = await world.told("ReverseTransfer", reverse(original, policy=OVERDRAW), token)
    assert (told.reason, told.metadata["scope"]) == ("SCOPE_MISSING", "overdraft.force")
    both = world.mint("transfers.reverse", "overdraft.force")
    assert (await world.ask("ReverseTransfer", reverse(original, policy=OVERDRAW), both)).state == bank.Transfer.POSTED
    assert await standing(world, payee) == (-400, 0, -400)
    assert (await standing(world, payer))[0] == 1_000


async def test_who_asked_is_shown_with_a_transfer(world: World) -> None:
    payer = await funded(world)
    token = world.mint("transfers.write", "transfers.reverse", channel="mobile")
    posted = await world.ask("PostTransfer", post(leg(payer, world.far, 5)), token)
    hold = await world.ask("PlaceHold", place(payer, 5), token)
    captured = await world.ask("CaptureHold", capture(hold, world.neighbour, 5), token)
    reversal = await world.ask("ReverseTransfer", reverse(posted), token)
    for transfer in (posted, captured, reversal):
        assert (transfer.actor, transfer.channel) == ("somebody", "mobile")
        shown = await world.ask("GetTransfer", bank.GetTransferRequest(name=transfer.name))
        assert (shown.actor, shown.channel) == ("somebody", "mobile")


async def test_many_callers_whose_transfers_travel_together_keep_their_names(world: World) -> None:
    payer = await funded(world)
    tokens = [world.mint("transfers.write", channel=f"channel {number}") for number in range(5)]
    requests = [post(leg(payer, world.neighbour)) for _ in range(50)]
    posted = await asyncio.gather(
        *(world.ask("PostTransfer", request, tokens[number % 5]) for number, request in enumerate(requests))
    )
    for number, transfer in enumerate(posted):
        shown = await world.ask("GetTransfer", bank.GetTransferRequest(name=transfer.name))
        assert shown.channel == f"channel {number % 5}"
