"""Reversals: the original looked up on its payer's shard, given back from its payee's.

An original that is not known is buried, so that it cannot follow its own reversal. Whether there is
anything left to give back is decided by the payee's shard, which has the original too: posted there,
or landed. Never here: sums.
"""

from typing import Final

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import errors, identifiers
from services.domain.outcomes import Refusal
from services.gateway import authentication, commands, peers, wire, wire_records
from services.gateway.authentication import Caller
from services.gateway.commands import Reversal
from services.gateway.peers import Shards
from services.gateway.reading import Books
from services.gateway.transfers import Posting

LOOK_UPS_MAX: Final = 2
"""An id that could not be buried means something, for ever; so the second look finds it."""

_SAID_OF_EARLIER_FORMS: Final = {"TRANSFER_ID_REUSED", Refusal.REVERSAL_MISMATCH.name}
"""Why an id that an earlier release decided is refused in the form of this one."""


class Reversals:
    """Reverses transfers. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(self, directory: DirectoryCache, books: Books, posting: Posting) -> None:
        self._directory = directory
        self._books = books
        self._shards = Shards(directory)
        self._posting = posting

    async def reverse(
        self, caller: Caller, request: bank_pb2.ReverseTransferRequest, deadline: float
    ) -> bank_pb2.Transfer:
        """Give back what a transfer moved, whole or in part."""
        if request.policy == bank_pb2.ReverseTransferRequest.OVERDRAW:
            authentication.check_dispensation(caller, "OVERDRAW")
        asked = commands.read_reversal(request)
        original, home_id = await self._original(caller, asked, deadline)
        await self._books.settle(original, deadline)
        try:
            transfers = commands.reversing(asked, original, home_id)
            posted = await self._posting.post_read(caller, _shown(asked), transfers, None, deadline)
        except (errors.Conflict, errors.Refused) as error:
            earlier = None
            if error.reason in _SAID_OF_EARLIER_FORMS:
                earlier = await self._decided_before(caller, asked, original, home_id, deadline)
            if earlier is None:
                raise
            posted = earlier
        posted.reversed_transfer = wire.transfer_name(asked.payer_account, asked.original_id)
        return posted

    async def _decided_before(
        self,
        caller: Caller,
        asked: Reversal,
        original: ledger_pb2.TransferRecord,
        home_id: int,
        deadline: float,
    ) -> bank_pb2.Transfer | None:
        """Return what an earlier release made of the same request; None when its id stands for something else.

        An id that a shard knows cannot be posted there any more, so asking again in other forms moves nothing.
        """
        home_id = home_id or self._directory.current.shard_of_account(asked.payer_account)
        for account, transfers in commands.reversed_before(asked, original, home_id):
            request = ledger_pb2.GetTransferRequest(transfer_id=asked.transfer_id)
            try:
                known = await self._shards.call(account, "GetTransfer", request, deadline)
                if wire_records.was_asked_for(known):
                    return await self._posting.post_read(caller, _shown(asked), transfers, None, deadline)
            except errors.NotFound as error:
                if error.reason != "TRANSFER_NOT_FOUND":
                    raise
            except errors.Conflict:
                continue
        return None

    async def _original(
        self, caller: Caller, asked: Reversal, deadline: float
    ) -> tuple[ledger_pb2.TransferRecord, int]:
        """Return the original, and the shard that decided it, 0 for its payer's.

        Raises `NotFound` (ORIGINAL_NOT_FOUND), having buried an id that nobody knew.
        """
        for _ in range(LOOK_UPS_MAX):
            request = ledger_pb2.GetTransferRequest(transfer_id=asked.original_id)
            try:
                found: ledger_pb2.TransferRecord = await self._shards.call(
                    asked.payer_account, "GetTransfer", request, deadline
                )
            except errors.NotFound as error:
                if error.reason != "TRANSFER_NOT_FOUND":
                    raise
            else:
                home_id = found.home_shard_id
                if home_id:  # A reversal over several shards, of which the payer's promised only its part.
                    request.shard_id = home_id
                    found = await self._directory.ledger(home_id).call(
                        "GetTransfer", request, deadline_seconds=peers.seconds_until(deadline)
                    )
                if not wire_records.was_asked_for(found) or found.legs[0].debit_account != asked.payer_account:
                    raise _original_not_found(asked)
                return found, home_id
            burial = ledger_pb2.BuryTransferRequest(
                transfer_id=asked.original_id,
                account_number=asked.payer_account,
                actor=ledger_pb2.Actor(channel=caller.channel, subject=caller.subject),
            )
            answer: ledger_pb2.BuryTransferResponse = await self._shards.call(
                asked.payer_account, "BuryTransfer", burial, deadline
            )
            if answer.buried:
                raise _original_not_found(asked)
        raise AssertionError("a ledger neither knows an id nor buries it")


def _shown(asked: Reversal) -> bank_pb2.Transfer:
    return bank_pb2.Transfer(reference=asked.reference)


def _original_not_found(asked: Reversal) -> errors.BankError:
    metadata = {
        "transfer_id": identifiers.uuid_text(asked.transfer_id),
        "original": wire.transfer_name(asked.payer_account, asked.original_id),
    }
    return wire.refused(Refusal.ORIGINAL_NOT_FOUND, metadata)
