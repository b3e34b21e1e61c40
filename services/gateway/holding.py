"""Holds: placed, increased, released and shown. Capturing one is a transfer (`transfers.py`).

Never here: whether there is enough to set aside.
"""

from typing import Final

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import errors, identifiers
from services.domain.outcomes import Outcome
from services.gateway import authentication, commands, fields, peers, wire
from services.gateway.authentication import Caller
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership
from services.gateway.peers import LookedUpShards, Shards
from services.gateway.reading import Books

HOLDS_LISTED_MAX: Final = 1_000


class Holds:
    """Carries out holds' commands. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(self, directory: DirectoryCache, look_ups: LookUps, ownership: Ownership, books: Books) -> None:
        self._shards = Shards(directory)
        self._looked_up = LookedUpShards(directory, look_ups)
        self._ownership = ownership
        self._books = books

    async def place(self, caller: Caller, request: bank_pb2.PlaceHoldRequest, deadline: float) -> bank_pb2.Hold:
        """Set money aside."""
        if request.override_limits:
            authentication.check_dispensation(caller, "override_limits")
        return await self._carry_out(caller, commands.read_placing(request), deadline)

    async def increase(self, caller: Caller, request: bank_pb2.IncreaseHoldRequest, deadline: float) -> bank_pb2.Hold:
        """Set more aside."""
        return await self._carry_out(caller, commands.read_increase(request), deadline)

    async def release(self, caller: Caller, request: bank_pb2.ReleaseHoldRequest, deadline: float) -> bank_pb2.Hold:
        """Free a hold's money."""
        return await self._carry_out(caller, commands.read_release(request), deadline)

    async def get(self, caller: Caller, name: str, deadline: float) -> bank_pb2.Hold:
        """Return a hold."""
        number, hold_id = fields.parse_hold_name(name)
        await self._ownership.check_account(caller, number, deadline)
        return await _hold(self._looked_up, number, hold_id, deadline)

    async def list_open(self, caller: Caller, parent: str, deadline: float) -> bank_pb2.ListHoldsResponse:
        """Return an account's open holds, those that expire first first."""
        number = fields.parse_account_name(parent, "parent")
        await self._ownership.check_account(caller, number, deadline)
        asked = ledger_pb2.ListHoldsRequest(account_number=number, limit=HOLDS_LISTED_MAX)
        answer: ledger_pb2.ListHoldsResponse = await self._looked_up.call(number, "ListHolds", asked, deadline)
        if not answer.holds:
            await self._books.check_account(number, deadline)
        return bank_pb2.ListHoldsResponse(holds=map(wire.hold, answer.holds))

    async def _carry_out(self, caller: Caller, command: ledger_pb2.HoldCommand, deadline: float) -> bank_pb2.Hold:
        """Carry a command out and return the hold as it is then."""
        number = command.account_number
        await self._ownership.check_account(caller, number, deadline)
        asked = ledger_pb2.CommandHoldsRequest(commands=[command], actor=wire.actor(caller))
        answer: ledger_pb2.PostTransfersResponse = await self._shards.call(number, "CommandHolds", asked, deadline)
        if answer.errors:
            raise _reused(command)
        if answer.outcomes[0] != ledger_pb2.OUTCOME_POSTED:
            metadata = {"hold_id": identifiers.uuid_text(command.hold_id), "state": Outcome(answer.outcomes[0]).name}
            raise wire.refused(answer.refusals[0], metadata)
        try:
            return await _hold(self._shards, number, command.hold_id, deadline)
        except (errors.Unavailable, errors.DeadlinePassed):
            raise peers.outcome_unknown() from None


async def _hold(shards: Shards, number: int, hold_id: bytes, deadline: float) -> bank_pb2.Hold:
    asked = ledger_pb2.GetHoldRequest(hold_id=hold_id)
    found: ledger_pb2.Hold = await shards.call(number, "GetHold", asked, deadline)
    if found.account_number != number:
        text = identifiers.uuid_text(hold_id)
        raise errors.NotFound("HOLD_NOT_FOUND", f"no hold {text} of this account", {"hold_id": text})
    return wire.hold(found)


def _reused(command: ledger_pb2.HoldCommand) -> errors.Conflict:
    """Say that an id names something else already."""
    text = identifiers.uuid_text(command.command_id)
    if command.kind == ledger_pb2.HoldCommand.PLACE:
        return errors.Conflict("HOLD_ID_REUSED", f"{text} already names something else", {"hold_id": text})
    return errors.Conflict("REQUEST_ID_REUSED", f"{text} came with another request before", {"request_id": text})
