"""What operators change about accounts: their state of life, floors, limits and customers' caps.

Never here: which state may follow which, or what a limit forbids.
"""

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import errors, identifiers
from services.domain.outcomes import NOT_THERE
from services.gateway import commands, peers, routing, wire
from services.gateway.authentication import Caller
from services.gateway.customers import Customers
from services.gateway.peers import Shards


class Management:
    """Changes accounts. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(self, directory: DirectoryCache, customers: Customers) -> None:
        self._shards = Shards(directory)
        self._customers = customers

    async def change_state(
        self, caller: Caller, request: bank_pb2.ChangeAccountStateRequest, deadline: float
    ) -> bank_pb2.Account:
        """Change an account's state of life and return the account as it is then."""
        change = commands.read_state_change(request)
        # The bank's own accounts have no record, and no life that somebody outside may end.
        await self._customers.get_account(change.account_number, deadline)
        await self._change(caller, change, deadline)
        try:
            return await self._customers.get_account(change.account_number, deadline)
        except errors.BankError as error:
            # It is changed: whoever took this for "nothing was written" would be wrong.
            raise peers.outcome_unknown() from error

    async def change_limits(
        self, caller: Caller, request: bank_pb2.ChangeAccountLimitsRequest, deadline: float
    ) -> bank_pb2.ChangeAccountLimitsResponse:
        """Change what an account may do."""
        await self._change(caller, commands.read_limits_change(request), deadline)
        return bank_pb2.ChangeAccountLimitsResponse()

    async def _change(self, caller: Caller, change: ledger_pb2.ChangeAccountRequest, deadline: float) -> None:
        change.actor.CopyFrom(wire.actor(caller))
        answer: ledger_pb2.ChangeAccountResponse = await self._shards.call(
            change.account_number, "ChangeAccount", change, deadline
        )
        text = identifiers.uuid_text(change.change_id)
        if answer.is_reused:
            raise errors.Conflict("REQUEST_ID_REUSED", f"{text} came with another request before", {"request_id": text})
        if answer.refusal in NOT_THERE:
            raise routing.unknown_account(change.account_number)
        if answer.refusal:
            raise wire.refused(answer.refusal, {"request_id": text})
