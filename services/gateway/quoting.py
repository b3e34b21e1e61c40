"""Quotes: a transfer with its fees and what would become of it now, without writing anything.

Goes the whole way of a transfer up to the books, whose writer judges it on a draft that is dropped.
Never here: prices, rules.
"""

from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.gateway import columns, commands, peers, routing, wire
from services.gateway.authentication import Caller
from services.gateway.routing import Part
from services.gateway.transfers import Posting


class Quotes:
    """Quotes transfers. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(self, directory: DirectoryCache, posting: Posting) -> None:
        self._directory = directory
        self._posting = posting

    async def quote(self, caller: Caller, request: bank_pb2.QuoteTransferRequest, deadline: float) -> bank_pb2.Quote:
        """Tell what a transfer would cost, and why it would be refused."""
        asked = bank_pb2.Transfer()
        asked.CopyFrom(request.transfer)
        if not asked.transfer_id:
            asked.transfer_id = str(uuid4())
        transfers, faults = await self._posting.read((asked,), lambda _: "transfer")
        if request.captured_hold:
            capture = bank_pb2.CaptureHoldRequest(name=request.captured_hold, transfer=asked)
            fault = commands.capture_fault(capture, transfers, faults.get(0))
            faults = {} if fault is None else {0: fault}
        await self._posting.prepare(caller, transfers, faults, deadline)
        parts, unroutable = routing.split(transfers, self._directory.current, faults)
        faults |= unroutable
        if faults:
            raise faults[0]
        (part,) = parts
        reason = await self._rehearse(part, deadline)
        shown = wire.posted_transfer(asked, part.transfers, 0, 0)
        shown.ClearField("booking_time")
        if not request.transfer.transfer_id:
            shown.ClearField("transfer_id")
            shown.ClearField("name")
        payer = shown.legs[0].debit_account
        total = sum(leg.amount_minor for leg in shown.legs if leg.debit_account == payer)
        return bank_pb2.Quote(transfer=shown, total_minor=total, reason=reason)

    async def _rehearse(self, part: Part, deadline: float) -> str:
        """Ask the books; return why they would refuse, or an empty text."""
        request = wire.post_request(part.shard_id, part.transfers, self._directory.current.version)
        answer: ledger_pb2.PostTransfersResponse = await self._directory.ledger(part.shard_id).call(
            "RehearseTransfers", request, deadline_seconds=peers.seconds_until(deadline)
        )
        for error in answer.errors:
            if error == ledger_pb2.PLACE_ERROR_WRONG_SHARD:
                raise peers.directory_changing()
            if error:
                raise wire.place_error(error, columns.transfer_id(part.transfers, 0))
        return wire.refusal_name(answer.refusals[0])
