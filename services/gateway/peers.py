"""The account service, and the ledgers by account: who is asked, and what a failed call means.

Never here: what is asked, or what the answer means to the caller.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from hivecore.account.v1 import account_pb2_grpc

from services.chassis import clients, status
from services.chassis.directory_cache import DirectoryCache
from services.chassis.identity import Identity
from services.domain import errors
from services.gateway import routing
from services.gateway.look_ups import LookUps

T = TypeVar("T")

ANSWER_SECONDS: Final = 0.010
"""Left of a deadline at each step down, so that a peer's answer still gets back in time."""

ANSWER_SHARE_MAX: Final = 0.1
"""Of a very short deadline, at most this share is left."""

_WRITING_METHODS: Final = frozenset(
    {"OpenCustomers", "OpenAccounts", "RegisterPartnerBanks", "RegisterPaymentFile", "LoadProducts", "MoveAccount"}
)


def less_margin(seconds: float) -> float:
    """Tell how much of the time left to pass on."""
    return seconds - min(ANSWER_SECONDS, seconds * ANSWER_SHARE_MAX)


def seconds_until(deadline: float) -> float:
    """Tell the seconds to pass on to a peer, given a deadline (loop time)."""
    return less_margin(max(deadline - asyncio.get_running_loop().time(), 0.0))


def outcome_unknown() -> errors.OutcomeUnknown:
    """Say that something was sent and no answer came."""
    return errors.OutcomeUnknown(
        status.DOUBT_REASON, "no answer came: it may have been carried out; send the same ids again"
    )


def deadline_passed() -> errors.DeadlinePassed:
    """Say that a question was not answered in time."""
    return errors.DeadlinePassed("DEADLINE_EXCEEDED", "the deadline came before the answer")


def account_service_unavailable() -> errors.Unavailable:
    """Say that customers, accounts and the directory cannot be asked."""
    return errors.Unavailable("ACCOUNT_SERVICE_UNAVAILABLE", "the account service does not answer")


class AccountService:
    """Calls the account service. Made inside the running event loop."""

    def __init__(self, address: str, identity: Identity | None = None) -> None:
        self._client = clients.InsistentClient(
            [address], account_pb2_grpc.AccountsStub, _WRITING_METHODS, account_service_unavailable, identity
        )

    async def call(self, method: str, request: Any, deadline: float) -> Any:
        """Call a method by name until `deadline` (loop time), again while the service restarts. Raises `BankError`.

        When the answer to a writing call is lost, that is `OutcomeUnknown`.
        """
        return await self._client.call(method, request, deadline_seconds=seconds_until(deadline))

    async def close(self) -> None:
        """Close the channel; calls under way fail."""
        await self._client.close()


class Shards:
    """Finds the shard of an account, also when the copy of the directory is old."""

    def __init__(self, directory: DirectoryCache) -> None:
        self._directory = directory

    async def ask(self, account_number: int, question: Callable[[int], Awaitable[T]]) -> T:
        """Put a question to the shard of an account; once more, with a fresh directory, on WRONG_SHARD.

        Raises `NotFound` (ACCOUNT_NOT_FOUND) when no shard has the account's slot.
        """
        shard_id = routing.shard_of_account(self._directory.current, account_number)
        try:
            return await question(shard_id)
        except errors.WrongShard:
            directory = await self._directory.refresh(self._directory.current.version + 1)
        try:
            return await question(routing.shard_of_account(directory, account_number))
        except errors.WrongShard:
            raise directory_changing() from None

    async def call(self, account_number: int, method: str, request: Any, deadline: float) -> Any:
        """Call a method of the ledger of an account's shard, filling in the request's `shard_id`."""

        async def question(shard_id: int) -> Any:
            request.shard_id = shard_id
            return await self._directory.ledger(shard_id).call(
                method, request, deadline_seconds=seconds_until(deadline)
            )

        return await self.ask(account_number, question)


class LookedUpShards(Shards):
    """The same for callers who only want to know: as many at a time, and as slow, as look-ups may be."""

    def __init__(self, directory: DirectoryCache, look_ups: LookUps) -> None:
        super().__init__(directory)
        self._look_ups = look_ups

    async def ask(self, account_number: int, question: Callable[[int], Awaitable[T]]) -> T:
        """Put a question to the shard of an account. Raises also `Overloaded` (QUEUE_FULL)."""
        return await super().ask(account_number, lambda shard_id: self._look_ups.ask(shard_id, question))


def directory_changing() -> errors.Unavailable:
    """Say that accounts are just being moved."""
    return errors.Unavailable(
        "DIRECTORY_CHANGING", "the accounts are being moved to another shard; nothing was written"
    )
