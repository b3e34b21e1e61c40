"""Writes out what a request leaves open: which hold, which transfer, among those that were asked for before.

Never here: which requests there are (`bank_requests.py`), carrying them out.
"""

from collections.abc import Mapping, Sequence
from zlib import crc32

from bank_faces import Work
from bank_requests import Capture, ChangeAccount, Command, Reverse, SpendUp, income, pool
from ledger_model import LedgerModel
from memory_books import CZK, Ask, an_id, cash

from services.domain.outcomes import Outcome
from services.ledger.books import ENGINE, HoldCommand, Kind, Leg
from services.ledger.change_rows import Change

HOUR = 3_600

Prepared = tuple[Work, bool]
"""What a bank is asked to do, and whether what it says of payees elsewhere is believed without asking."""


def known_holds(model: LedgerModel, shard: int, placed: Sequence[HoldCommand]) -> Sequence[HoldCommand]:
    """List the commands that placed holds; while there are none, those that tried."""
    there = model.holds[shard]
    return [one for one in placed if one.hold_id in there and there[one.hold_id].number == one.account_number] or placed


def command(shard: int, asked: Command, placed: Sequence[HoldCommand]) -> HoldCommand:
    """Write a command; what is increased or released was asked for before, if anything was."""
    number, currency, _ = pool(shard)[asked.which]
    kind = asked.kind if placed else Kind.HOLD_PLACED
    before = None if kind == Kind.HOLD_PLACED else placed[asked.amount % len(placed)]
    releases, hours = kind == Kind.HOLD_RELEASED, asked.hours
    if before is None:
        hours = hours or 24
    return HoldCommand(
        kind,
        asked.command_id,
        asked.command_id if before is None else before.hold_id,
        number if before is None else before.account_number,
        0 if releases else asked.amount,
        0 if releases else currency if before is None else before.currency,
        0 if releases else hours * HOUR,
        asked.payee if before is None and asked.payee != number else 0,
        "",
        crc32(repr((kind, number, asked.amount, asked.payee, hours, before and before.hold_id)).encode()),
        0,
        ENGINE,
    )


def capture(shard: int, asked: Capture, placed: Sequence[HoldCommand]) -> Ask:
    """Write a transfer out of a hold that was asked for before."""
    hold = placed[asked.which % len(placed)]
    payee, payees_shard = pool(asked.payees_shard)[asked.payee][0], asked.payees_shard
    if payee == hold.account_number:
        payee, payees_shard = pool(shard)[0][0], shard
    legs = (Leg(hold.account_number, payee, asked.amount, hold.currency),)
    if asked.fee and hold.currency == CZK and hold.account_number != income(shard):
        legs += (Leg(hold.account_number, income(shard), asked.fee, CZK, is_fee=True),)
    peer_id = payees_shard if payees_shard != shard else 0
    return Ask(asked.transfer_id, legs, peer_id=peer_id, hold_id=hold.hold_id)


def reversal(model: LedgerModel, shard: int, asked: Reverse, posted: Mapping[int, Sequence[Ask]]) -> list[Ask]:
    """Write a transfer back, on the shard that it went to, or at times, while it is on its way, on the one that it left; nothing while there is none.

    `posted` are the transfers that were asked for, by their payers' shards. Those that arrived are taken rather than others.
    """
    there = [
        (payer, one)
        for payer, ones in posted.items()
        for one in ones
        if (one.peer_id or payer) == shard and one.transfer_id != asked.transfer_id
    ]
    meanings = model.meanings[shard]
    arrived = [
        (payer, one)
        for payer, one in there
        if one.transfer_id in meanings and meanings[one.transfer_id].legs and not meanings[one.transfer_id].refusal
    ]
    on_their_way = [
        (shard, one)
        for one in posted.get(shard, ())
        if one.transfer_id in meanings and model.outcome(shard, one.transfer_id)[0] == Outcome.IN_TRANSIT
    ]
    there = (on_their_way if asked.which % 3 == 0 else arrived) or arrived or there
    if not there:
        return []
    payer, original = there[asked.which % len(there)]
    legs = [Leg(leg.credit_account, leg.debit_account, leg.amount_minor, leg.currency) for leg in original.asked]
    legs = legs[::-1] if asked.is_turned else legs
    if asked.amount:
        legs = [leg._replace(amount_minor=asked.amount) for leg in legs]
    peer_id = payer if payer != shard else 0
    return [Ask(asked.transfer_id, tuple(legs), peer_id=peer_id, original_id=original.transfer_id, flags=asked.flags)]


def spending(model: LedgerModel, shard: int, asked: SpendUp, number: int) -> list[Ask]:
    """Write transfers that use up a day's limits, all of 1 but the last, after one that brings what is missing; ids from `number` on."""
    name, currency, _ = pool(shard)[asked.which]
    account = model.accounts[shard].get(name)
    if account is None:
        return []
    spent, spent_by_customer = (purse.of(model.today)[0] for purse in (account.own, account.customers))
    bounds = ((account.limits.day_minor_max, spent), (account.customers.day_max, spent_by_customer))
    left = min([most - used for most, used in bounds if most is not None], default=20)
    amounts = [1] * (asked.times - 1) + [max(left - asked.times + 1 + asked.beyond, 1)]
    missing = sum(amounts) - (account.balance - account.held)
    legs = [Leg(cash(shard, currency), name, missing, currency)] if missing > 0 else []
    legs += [Leg(name, cash(shard, currency), amount, currency) for amount in amounts]
    return [Ask(an_id(number + i), (leg,)) for i, leg in enumerate(legs)]


def change(shard: int, asked: ChangeAccount) -> Change:
    """Write a change."""
    body = (pool(shard)[asked.which][0], asked.state, asked.floor, asked.limits, asked.cap, "asked for")
    return Change(asked.change_id, *body, crc32(repr(body).encode()))
