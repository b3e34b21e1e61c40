"""Episode of the walk: a transfer found by its metadata, a statement that adds up, the general ledger.

Never here: the other episodes (`episodes.py`).
"""

from datetime import UTC, datetime, timedelta
from io import BytesIO

from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.cli.demonstration import Walk, transfer_of
from services.cli.ids import new_id
from services.cli.iso20022.statement import Holder, StatementWriter
from services.cli.statements import day_of, entries_of, frame_of

ORDER_MINOR = 99_00


async def history(walk: Walk, payer: str, payee: str) -> None:
    """Pay an order on another shard, find it there, and look at the books from several sides."""
    order = new_id()
    paid = transfer_of(payer, payee, ORDER_MINOR, "order")
    paid.metadata["order"] = order
    today = datetime.now(UTC).date()
    tomorrow = day_of((today + timedelta(days=1)).isoformat())
    paid.value_date.CopyFrom(tomorrow)
    title = f"pay {walk.text(ORDER_MINOR)} with metadata, by tomorrow's value date"
    await walk.step(title, "POSTED", walk.post(paid))
    await walk.step("find it by its metadata on the payee's account", paid.transfer_id, _found(walk, payee, order))
    now = (await walk.balances())[walk.accounts.index(payer)]
    for name, day, expected in (("today", day_of(today.isoformat()), ORDER_MINOR), ("tomorrow", tomorrow, 0)):
        text = walk.text(now + expected)
        await walk.step(f"read the payer's balance by {name}'s value date", text, _by_value(walk, payer, day))
    await walk.step("add up the payer's statement", f"closes at {walk.text(now)}", _statement(walk, payer))
    await walk.step("add up the general ledger", "debits and credits are equal", _general_ledger(walk))


async def _found(walk: Walk, number: str, order: str) -> str:
    request = bank_pb2.SearchTransfersRequest(parent=f"accounts/{number}", metadata={"order": order})
    page = await walk.bank.call(walk.bank.stub.SearchTransfers, request)
    return ", ".join(transfer.transfer_id for transfer in page.transfers)


async def _by_value(walk: Walk, number: str, day: Date) -> str:
    request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance", value_date=day)
    return walk.text((await walk.bank.call(walk.bank.stub.GetBalance, request)).balance_minor)


async def _statement(walk: Walk, number: str) -> str:
    """Write the statement of two days as camt.053; it is checked entry by entry on the way."""
    now = datetime.now(UTC)
    days = [day_of(day.isoformat()) for day in (now.date() - timedelta(days=1), now.date())]
    frame = await frame_of(walk.bank, number, *days)
    writer = StatementWriter(BytesIO(), frame, Holder(number, "", ""), now)
    writer.begin()
    async for entry in entries_of(walk.bank, number, frame):
        writer.entry(entry)
    writer.end()
    return f"closes at {walk.text(frame.closing_balance_minor)}"


async def _general_ledger(walk: Walk) -> str:
    found = await walk.bank.call(walk.bank.stub.GetGeneralLedger, bank_pb2.GetGeneralLedgerRequest())
    difference = sum(line.credit_minor - line.debit_minor for line in found.lines)
    difference += sum(flight.amount_minor for flight in found.in_flight)
    return "debits and credits are equal" if not difference else f"they differ by {difference}"
