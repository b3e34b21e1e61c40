"""Episodes of the walk: holds, limits, a frozen account, reversals, transfers over all shards. Each checks itself.

Never here: how a step is told (`demo.py`).
"""

import asyncio
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from services.cli.demonstration import CURRENCY, TOO_MUCH_MINOR, Walk, transfer_of
from services.cli.ids import new_id
from services.domain.errors import BankError

HELD_MINOR: Final = 200_00
CAPTURED_MINOR: Final = 150_00
BRIEF_SECONDS: Final = 1
EXPIRY_SECONDS_MAX: Final = 15.0
POLL_SECONDS: Final = 0.05
LIMIT_MINOR: Final = 50_00
OVER_LIMIT_MINOR: Final = 80_00
GIFT_MINOR: Final = 90_00
PART_MINOR: Final = 60_00
BILL_MINOR: Final = 5_00


async def holds(walk: Walk, payer: str, payee: str) -> None:
    """Set money aside: use one hold in part, let another one expire."""
    text, reserved = walk.text, _hold(payer, HELD_MINOR, payee)
    title = f"set {text(HELD_MINOR)} aside"
    await walk.step(title, f"{text(HELD_MINOR)} held", _place(walk, reserved))
    name = f"accounts/{payer}/holds/{reserved.hold_id}"
    too_much = transfer_of(payer, payee, HELD_MINOR + 1, "hotel")
    await walk.step("capture more than that", "CAPTURE_EXCEEDS_HOLD", _capture(walk, name, too_much))
    captured = transfer_of(payer, payee, CAPTURED_MINOR, "hotel")
    title = f"capture {text(CAPTURED_MINOR)} of it across shards"
    await walk.step(title, f"POSTED, {text(0)} held", _capture(walk, name, captured))
    again = transfer_of(payer, payee, 1, "hotel")
    await walk.step("capture it once more", "HOLD_ALREADY_CAPTURED", _capture(walk, name, again))
    brief = _hold(payer, HELD_MINOR, payee, BRIEF_SECONDS)
    title = f"set {text(HELD_MINOR)} aside for a second"
    await walk.step(title, f"{text(HELD_MINOR)} held", _place(walk, brief))
    await walk.step("wait until that is over by itself", f"EXPIRED, {text(0)} held", _expired(walk, brief))


async def limits(walk: Walk, payer: str, payee: str) -> None:
    """Limit what an account may pay at a time, override the limit once, lift it."""
    text = walk.text
    limited = bank_pb2.AccountLimits(transfer_minor_max=LIMIT_MINOR)
    await walk.step(f"limit a payment to {text(LIMIT_MINOR)}", "changed", _limit(walk, payer, limited))
    over = transfer_of(payer, payee, OVER_LIMIT_MINOR, "shopping")
    await walk.step(f"pay {text(OVER_LIMIT_MINOR)}", "TRANSFER_LIMIT", walk.post(over))
    overriding = transfer_of(payer, payee, OVER_LIMIT_MINOR, "shopping")
    overriding.override_limits = True
    await walk.step("pay it with the limits overridden", "POSTED", walk.post(overriding))
    await walk.step("lift the limit", "changed", _limit(walk, payer, bank_pb2.AccountLimits()))


async def freeze(walk: Walk, payer: str, payee: str) -> None:
    """Freeze an account and thaw it again."""
    await walk.step("freeze the payer's debits", "DEBITS_FROZEN", _live(walk, payer, "DEBITS_FROZEN"))
    refused = transfer_of(payer, payee, 1, "shopping")
    await walk.step("pay from the frozen account", "DEBITS_FROZEN", walk.post(refused))
    await walk.step("thaw it", "ACTIVE", _live(walk, payer, "ACTIVE"))
    await walk.step("close it with money on it", "ACCOUNT_NOT_EMPTY", _live(walk, payer, "CLOSED"))


async def reversals(walk: Walk, payer: str, payee: str) -> None:
    """Give a transfer back in two parts and ask for a third."""
    text = walk.text
    gift = transfer_of(payer, payee, GIFT_MINOR, "gift")
    name = f"accounts/{payer}/transfers/{gift.transfer_id}"
    await walk.step(f"transfer {text(GIFT_MINOR)} to the other shard", "POSTED", walk.post(gift))
    await walk.step(f"give {text(PART_MINOR)} of it back", "POSTED", _reverse(walk, name, PART_MINOR))
    rest = GIFT_MINOR - PART_MINOR
    await walk.step(f"give the other {text(rest)} back", "POSTED", _reverse(walk, name, rest))
    await walk.step("give one more back", "REVERSAL_EXCEEDS_ORIGINAL", _reverse(walk, name, 1))


async def several_shards(walk: Walk, payer: str, payee: str) -> None:
    """Pay everybody in one transfer, find one who cannot be paid, give it all back."""
    text, others = walk.text, [account for account in walk.accounts if account != payer]
    legs = [transfer_of(payer, other, BILL_MINOR, "").legs[0] for other in others]
    bills = bank_pb2.Transfer(transfer_id=new_id(), legs=legs, reference="bills")
    title = f"pay {text(BILL_MINOR)} each to {len(others)} accounts on all shards in one transfer"
    await walk.step(title, "POSTED", walk.post(bills))
    too_much = bank_pb2.Transfer(transfer_id=new_id(), legs=legs, reference="bills")
    too_much.legs.append(transfer_of(payee, payer, TOO_MUCH_MINOR, "").legs[0])
    title = f"do so again, with one leg too much: leg {len(others)} is refused, nobody is paid"
    await walk.step(title, f"INSUFFICIENT_FUNDS, leg {len(others)}", _refused_leg(walk, too_much))
    name = f"accounts/{payer}/transfers/{bills.transfer_id}"
    await walk.step("give all of it back in one transfer", "POSTED", _reverse(walk, name, 0))


async def _refused_leg(walk: Walk, wanted: bank_pb2.Transfer) -> str:
    """Post a transfer that is refused, and tell why and for which leg."""
    try:
        return await walk.post(wanted)
    except BankError as error:
        return f"{error.reason}, leg {error.metadata.get('leg')}"


def _hold(account: str, amount_minor: int, payee: str, seconds: int = 0) -> bank_pb2.Hold:
    return bank_pb2.Hold(
        hold_id=new_id(),
        account=account,
        amount_minor=amount_minor,
        currency_code=CURRENCY,
        hold_seconds=seconds,
        payee_account=payee,
    )


async def _held(walk: Walk, account: str) -> str:
    request = bank_pb2.GetBalanceRequest(name=f"accounts/{account}/balance")
    return f"{walk.text((await walk.bank.call(walk.bank.stub.GetBalance, request)).held_minor)} held"


async def _place(walk: Walk, hold: bank_pb2.Hold) -> str:
    await walk.bank.call(walk.bank.stub.PlaceHold, bank_pb2.PlaceHoldRequest(hold=hold))
    return await _held(walk, hold.account)


async def _capture(walk: Walk, name: str, wanted: bank_pb2.Transfer) -> str:
    request = bank_pb2.CaptureHoldRequest(name=name, transfer=wanted)
    posted = await walk.bank.call(walk.bank.stub.CaptureHold, request)
    return f"{bank_pb2.Transfer.State.Name(posted.state)}, {await _held(walk, wanted.legs[0].debit_account)}"


async def _expired(walk: Walk, hold: bank_pb2.Hold) -> str:
    """Watch a hold until it is no longer open."""
    request = bank_pb2.GetHoldRequest(name=f"accounts/{hold.account}/holds/{hold.hold_id}")
    end = asyncio.get_running_loop().time() + EXPIRY_SECONDS_MAX
    while True:
        found = await walk.bank.call(walk.bank.stub.GetHold, request)
        if found.state != bank_pb2.Hold.OPEN or asyncio.get_running_loop().time() > end:
            return f"{bank_pb2.Hold.State.Name(found.state)}, {await _held(walk, hold.account)}"
        await asyncio.sleep(POLL_SECONDS)


async def _limit(walk: Walk, account: str, limits: bank_pb2.AccountLimits) -> str:
    request = bank_pb2.ChangeAccountLimitsRequest(
        name=f"accounts/{account}", request_id=new_id(), limits=limits, reason="demonstration"
    )
    await walk.bank.call(walk.bank.stub.ChangeAccountLimits, request)
    return "changed"


async def _live(walk: Walk, account: str, state: str) -> str:
    request = bank_pb2.ChangeAccountStateRequest(
        name=f"accounts/{account}",
        request_id=new_id(),
        state=bank_pb2.Account.State.Value(state),
        reason="demonstration",
    )
    changed = await walk.bank.call(walk.bank.stub.ChangeAccountState, request)
    return bank_pb2.Account.State.Name(changed.state)


async def _reverse(walk: Walk, name: str, amount_minor: int) -> str:
    request = bank_pb2.ReverseTransferRequest(name=name, transfer_id=new_id(), amount_minor=amount_minor)
    reversal = await walk.bank.call(walk.bank.stub.ReverseTransfer, request)
    return bank_pb2.Transfer.State.Name(reversal.state)
