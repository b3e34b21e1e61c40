"""The bank's public door as its callers see it: posting, asking, and what each answer means to them.

Never here: deciding what to ask (`crowd.py`), and anything that does not travel through the gateway.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import grpc
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.chassis import status
from services.cli import channels
from services.domain import errors
from services.domain.outcomes import Outcome, Refusal

DEADLINE_SECONDS = 2.0
"""What a caller waits for one answer, before it sends the same again."""

SETTING_UP_SECONDS = 30.0

RETRIED = (errors.Unavailable, errors.OutcomeUnknown, errors.DeadlinePassed, errors.Overloaded)
"""What the API tells a caller to answer by sending the same ids again."""


class Answer(NamedTuple):
    """What one attempt at a transfer told its caller."""

    outcome: int = 0
    """0: none; the same id is to be sent again."""
    refusal: int = 0
    """Why it was refused or returned."""
    problem: str = ""
    """Why there is no outcome."""

    @property
    def is_definite(self) -> bool:
        return self.outcome not in {0, Outcome.IN_TRANSIT}


class Door:
    """One connection to the gateway. Made inside the running event loop."""

    def __init__(self, gateway: str, token: str) -> None:
        self._channel = channels.channel(gateway)
        self.stub = bank_pb2_grpc.BankStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: str, request: Any, seconds: float = SETTING_UP_SECONDS) -> Any:
        """Call a method of the Bank service. Raises `BankError`."""
        try:
            return await getattr(self.stub, method)(request, metadata=self._metadata, timeout=seconds)
        except grpc.aio.AioRpcError as failure:
            raise status.from_rpc_error(failure) from None

    async def post(self, transfers: Sequence[bank_pb2.Transfer], seconds: float = DEADLINE_SECONDS) -> list[Answer]:
        """Post one transfer by the call for one, several by the call for many."""
        try:
            if len(transfers) == 1:
                request = bank_pb2.PostTransferRequest(transfer=transfers[0])
                posted = await self.call("PostTransfer", request, seconds)
                return [Answer(posted.state)]
            many = bank_pb2.PostTransfersRequest(transfers=transfers)
            response = await self.call("PostTransfers", many, seconds)
        except errors.BankError as error:
            return [_answer_of(error)] * len(transfers)
        return [_answer(result) for result in response.results]

    async def shards(self) -> list[bank_pb2.Shard]:
        """Ask how the shards are."""
        return list((await self.call("ListShards", bank_pb2.ListShardsRequest())).shards)

    async def balance(self, account: str) -> int:
        """Ask what an account holds, in minor units."""
        answer = await self.call("GetBalance", bank_pb2.GetBalanceRequest(name=f"accounts/{account}/balance"))
        return int(answer.balance_minor)


def transfer(transfer_id: str, legs: Iterable[tuple[str, str, int]], currency_code: str) -> bank_pb2.Transfer:
    """Write a transfer of (debit account, credit account, amount in minor units)."""
    return bank_pb2.Transfer(
        transfer_id=transfer_id,
        legs=[
            bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=amount, currency_code=currency_code)
            for debit, credit, amount in legs
        ],
    )


def _answer(result: bank_pb2.TransferResult) -> Answer:
    if not result.HasField("error"):
        return Answer(result.state, Refusal[result.reason] if result.reason else 0)
    error = status.from_status(result.error)
    assert error is not None, f"an error without its details: {result.error}"
    return _answer_of(error)


def _answer_of(error: errors.BankError) -> Answer:
    """Read an error as a caller must. Raises one that no caller of this folder may get."""
    state = error.metadata.get("state")
    if state is not None:
        return Answer(Outcome[state], Refusal[error.reason])
    if isinstance(error, RETRIED):
        return Answer(problem=error.reason)
    raise error
