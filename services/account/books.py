"""The ledger's side of an account: putting it into its shard's books.

No customer account gets into the books of a shard before the bank's own accounts are there, so
nobody's first deposit is refused, for ever, because cash was not open yet. Never here: balances.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hivecore.ledger.v1 import ledger_pb2

from services.account.internal import internal_accounts
from services.account.opening import Account
from services.chassis import logs
from services.chassis.clients import LedgerClient
from services.domain import limits
from services.domain.directory import Directory
from services.domain.products import Standard

_OWN: Final = Standard(floor_minor=-limits.BALANCE_MINOR_MAX)
"""What the bank's own accounts may do."""

_log = logs.get(__name__)


class Books:
    """Opens accounts in the books of all shards. Repeating anything here is safe."""

    def __init__(self, ledgers: Mapping[int, LedgerClient]) -> None:
        self._ledgers = ledgers
        self._opened: dict[int, frozenset[int]] = {shard_id: frozenset() for shard_id in ledgers}
        self._furnished: dict[int, int] = {}
        """Shard -> version of the directory whose internal accounts it has."""

    async def open_customer_accounts(
        self,
        shard_id: int,
        accounts: Collection[Account],
        standards: Mapping[int, Standard],
        directory: Directory,
        *,
        deadline_seconds: float,
    ) -> set[int]:
        """Open customers' accounts on their shard with their products' limits; return the numbers that are open.

        The others are in the books with other facts. Raises `BankError` when the ledger does not answer.
        """
        if self._furnished.get(shard_id) != directory.version:
            await self.open_internal_accounts(
                shard_id, directory.currencies, directory.partner_numbers.values(), deadline_seconds=deadline_seconds
            )
            self._furnished[shard_id] = directory.version
        return await self._open(
            shard_id,
            [account.account_number for account in accounts],
            [account.currency for account in accounts],
            [account.customer_number for account in accounts],
            [standards[account.account_number] for account in accounts],
            deadline_seconds,
        )

    async def replace_standard(
        self,
        shard_id: int,
        account_number: int,
        change_id: bytes,
        before: Standard,
        after: Standard,
        *,
        reason: str,
        actor: tuple[str, str],
        deadline_seconds: float,
    ) -> int:
        """Replace an account's limits where they are still as `before` says; return the books' refusal, or 0.

        `actor` is channel and subject. Idempotent by `change_id`, 16 bytes. Raises `BankError` when the
        ledger does not answer.
        """
        request = ledger_pb2.ChangeAccountRequest(
            shard_id=shard_id,
            account_number=account_number,
            change_id=change_id,
            floor_minor=after.floor_minor,
            allowance=_allowance(after),
            replaced=ledger_pb2.StandardLimits(floor_minor=before.floor_minor, allowance=_allowance(before)),
            reason=reason,
            actor=ledger_pb2.Actor(channel=actor[0], subject=actor[1]),
        )
        ledger = self._ledgers[shard_id]
        answer: ledger_pb2.ChangeAccountResponse = await ledger.call(
            "ChangeAccount", request, deadline_seconds=deadline_seconds
        )
        assert not answer.is_reused, "nobody else makes change ids of this form"
        return answer.refusal

    async def open_internal_accounts(
        self, shard_id: int, currencies: Sequence[int], partner_numbers: Collection[int], *, deadline_seconds: float
    ) -> None:
        """Open the bank's own accounts on a shard, those that this process has not opened yet.

        Raises `BankError` when the ledger does not answer.
        """
        needed = internal_accounts(shard_id, currencies, partner_numbers)
        missing = [account for account in needed if account.account_number not in self._opened[shard_id]]
        for start in range(0, len(missing), limits.OPENINGS_PER_CALL_MAX):
            part = missing[start : start + limits.OPENINGS_PER_CALL_MAX]
            numbers = [account.account_number for account in part]
            opened = await self._open(
                shard_id,
                numbers,
                [account.currency for account in part],
                [0] * len(part),
                [_OWN] * len(part),
                deadline_seconds,
            )
            self._opened[shard_id] |= opened
            if len(opened) < len(numbers):  # In the books with other facts: a bug or a damage.
                conflicts = sorted(set(numbers) - opened)
                _log.error("books_conflict", shard=shard_id, accounts=conflicts[:10], account_count=len(conflicts))

    async def close(self) -> None:
        """Close all channels."""
        for ledger in self._ledgers.values():
            await ledger.close()

    async def _open(
        self,
        shard_id: int,
        numbers: Sequence[int],
        currencies: Sequence[int],
        customer_numbers: Sequence[int],
        standards: Sequence[Standard],
        deadline_seconds: float,
    ) -> set[int]:
        request = ledger_pb2.OpenAccountsRequest(
            shard_id=shard_id,
            account_numbers=numbers,
            currencies=currencies,
            floors_minor=[standard.floor_minor for standard in standards],
            customer_numbers=customer_numbers,
            allowances=[
                _allowance(standard, place) for place, standard in enumerate(standards) if any(_ceilings(standard))
            ],
        )
        answer = await self._ledgers[shard_id].call("OpenAccounts", request, deadline_seconds=deadline_seconds)
        is_open = ledger_pb2.OpenAccountsResponse.RESULT_OPEN
        return {number for number, result in zip(numbers, answer.results, strict=True) if result == is_open}


def _ceilings(standard: Standard) -> list[bool]:
    return [limit is not None for limit in standard[1:]]


def _allowance(standard: Standard, place: int = 0) -> ledger_pb2.Allowance:
    message = ledger_pb2.Allowance(place=place)
    for name, limit in standard._asdict().items():
        if name != "floor_minor" and limit is not None:
            setattr(message, name, limit)
    return message
