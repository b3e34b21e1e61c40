"""What the books say now: balances, transfers, and how the shards are.

Never here: changing anything, the past (`history.py`).
"""

import asyncio
from collections.abc import Collection
from typing import Final

from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis import directory_cache
from services.chassis.directory_cache import DirectoryCache
from services.domain import errors, identifiers
from services.domain.directory import Directory, ShardFacts
from services.gateway import fields, peers, routing, wire, wire_records
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds, Coalescer
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership, account_of_another_customer
from services.gateway.peers import AccountService, LookedUpShards, Shards

SHARD_STATUS_SECONDS_MAX: Final = 2.0
"""A shard that does not answer this fast is shown without a writer."""

OTHER_SHARD_SECONDS_MAX: Final = 1.0
"""A transfer of two shards is shown as the account's own has it when the other does not answer this fast."""

BALANCES_LANE: Final = 0

_State = tuple[int, int, int, int, int, int]
"""Currency, balance, held, floor (minor units), version, restrictions."""


class Books:
    """Reads the ledgers. Deadlines are loop times; all methods raise `BankError`. Made inside the running loop."""

    def __init__(
        self,
        directory: DirectoryCache,
        look_ups: LookUps,
        account_service: AccountService,
        ownership: Ownership,
        bounds: Bounds,
    ) -> None:
        self._directory = directory
        self._account_service = account_service
        self._shards = Shards(directory)
        self._looked_up = LookedUpShards(directory, look_ups)
        self._ownership = ownership
        self._balances: Coalescer[int, _State | None] = Coalescer(
            "GetBalances", self._send_balances, bounds, peers.deadline_passed
        )

    async def close(self) -> None:
        """Give up what is under way."""
        await self._balances.close()

    async def get_balance(self, caller: Caller, name: str, deadline: float) -> bank_pb2.Balance:
        """Return what an account holds now."""
        number = fields.parse_balance_name(name)
        if caller.customer_number is not None:
            await self._ownership.check_account(caller, number, deadline)

        *held, _ = await self._state(self._looked_up, number, deadline)
        return wire.balance(number, *held)

    async def check_account(self, number: int, deadline: float) -> None:
        """Raise `NotFound` (ACCOUNT_NOT_FOUND) unless the account is in the books."""
        await self._state(self._shards, number, deadline)

    async def restrictions(self, numbers: Collection[int], deadline: float) -> dict[int, int]:
        """Tell what the books forbid accounts; those that are not in the books are left out."""
        shard_of = self._directory.current.shard_of_account
        by_shard: dict[int, list[int]] = {}
        for number in numbers:
            by_shard.setdefault(shard_of(number), []).append(number)
        by_shard.pop(0, None)

        async def of_shard(theirs: list[int]) -> dict[int, int]:
            rows = await self._shards.ask(theirs[0], lambda shard_id: self._send_balances(shard_id, theirs, deadline))
            return {number: row[-1] for number, row in zip(theirs, rows, strict=True) if row is not None}

        found: dict[int, int] = {}
        for part in await asyncio.gather(*map(of_shard, by_shard.values())):
            found |= part
        return found

    async def _state(self, shards: Shards, number: int, deadline: float) -> _State:
        found = await shards.ask(
            number, lambda shard_id: self._balances.submit(shard_id, BALANCES_LANE, number, 1, deadline)
        )
        if found is None:
            raise routing.unknown_account(number)
        return found

    async def get_transfer(self, caller: Caller, name: str, deadline: float) -> bank_pb2.Transfer:
        """Return a transfer that touches the account in its name; limited callers must own one side.

        It is shown as the shard that decided it has it, whichever shard of its accounts is asked. Where that one
        does not answer, or has not decided yet, what the account's shard has is shown as a part.
        """
        number, transfer_id = fields.parse_transfer_name(name)
        asked = ledger_pb2.GetTransferRequest(transfer_id=transfer_id)
        try:
            record: ledger_pb2.TransferRecord = await self._looked_up.call(number, "GetTransfer", asked, deadline)
            if number not in wire_records.sides(record) or not wire_records.is_transfer(record):
                raise _transfer_not_found(transfer_id)
        except errors.NotFound:
            # Whoever may not see the account does not learn what is missing either.
            await self._ownership.check_account(caller, number, deadline)
            raise _transfer_not_found(transfer_id) from None
        missing: errors.BankError | None = None
        try:
            soon = min(deadline, asyncio.get_running_loop().time() + OTHER_SHARD_SECONDS_MAX)
            record = await self._as_decided(record, soon)
        except errors.BankError as error:
            missing = error
        if caller.customer_number is None:
            return wire_records.transfer(record)
        owned = await self._ownership.owned(caller, wire_records.sides(record), deadline)
        if not owned:
            # The caller's legs may be among those that could not be had.
            raise account_of_another_customer() if missing is None else missing
        return wire_records.transfer(record, owned)

    async def _as_decided(self, record: ledger_pb2.TransferRecord, deadline: float) -> ledger_pb2.TransferRecord:
        """Return a transfer as the shard that decided it has it, with how it ended.

        Raises `BankError` when that shard does not answer, and `NotFound` when it has not decided.
        """
        if not wire_records.is_part(record):
            await self.settle(record, deadline)
            return record
        asked = ledger_pb2.GetTransferRequest(transfer_id=record.transfer_id)
        whole: ledger_pb2.TransferRecord
        if record.home_shard_id:
            asked.shard_id = record.home_shard_id
            whole = await self._directory.ledger(asked.shard_id).call(
                "GetTransfer", asked, deadline_seconds=peers.seconds_until(deadline)
            )
        else:
            whole = await self._shards.call(record.legs[0].debit_account, "GetTransfer", asked, deadline)
        if not wire_records.is_part_of(record, whole):
            raise _transfer_not_found(record.transfer_id)
        if wire_records.is_landing(record):  # Which the payer's shard may not have noted yet.
            whole.outcome = ledger_pb2.OUTCOME_POSTED
        return whole

    async def settle(self, record: ledger_pb2.TransferRecord, deadline: float) -> None:
        """Let a crossing be posted when the payee's shard has it, though the payer's has not noted so yet.

        Whoever was answered POSTED must not be told otherwise a moment later.
        """
        if record.outcome != ledger_pb2.OUTCOME_IN_TRANSIT:
            return
        asked = ledger_pb2.GetTransferRequest(transfer_id=record.transfer_id)
        try:
            landed = await self._shards.call(record.legs[0].credit_account, "GetTransfer", asked, deadline)
        except errors.NotFound:
            return
        if wire_records.is_landing(landed) and wire_records.is_part_of(landed, record):
            record.outcome = ledger_pb2.OUTCOME_POSTED

    async def list_shards(self, deadline: float) -> bank_pb2.ListShardsResponse:
        """Return all shards; one whose ledgers do not answer has no writer."""
        answer = await self._account_service.call("GetDirectory", account_pb2.GetDirectoryRequest(), deadline)
        directory = directory_cache.from_wire(answer)
        deadline = min(deadline, asyncio.get_running_loop().time() + SHARD_STATUS_SECONDS_MAX)
        statuses = await asyncio.gather(*(self._writer_status(shard, deadline) for shard in directory.shards))
        return bank_pb2.ListShardsResponse(
            shards=[_shard(shard, directory, status) for shard, status in zip(directory.shards, statuses, strict=True)]
        )

    async def _send_balances(self, shard_id: int, numbers: list[int], deadline: float) -> list[_State | None]:
        request = ledger_pb2.GetBalancesRequest(shard_id=shard_id, account_numbers=numbers)
        answer: ledger_pb2.GetBalancesResponse = await self._directory.ledger(shard_id).call(
            "GetBalances", request, deadline_seconds=peers.seconds_until(deadline)
        )
        rows = zip(
            answer.currencies,
            answer.balances_minor,
            answer.helds_minor,
            answer.floors_minor,
            answer.versions,
            answer.restrictions,
            strict=True,
        )
        return [row if found else None for found, row in zip(answer.found, rows, strict=True)]

    async def _writer_status(self, shard: ShardFacts, deadline: float) -> ledger_pb2.ShardStatus | None:
        """Ask a shard's ledgers one after the other until one says that it writes."""
        for address in shard.ledger_addresses:
            client = self._directory.ledger_at(shard.shard_id, address)
            try:
                status: ledger_pb2.ShardStatus = await client.call(
                    "GetShardStatus",
                    ledger_pb2.GetShardStatusRequest(shard_id=shard.shard_id),
                    deadline_seconds=peers.seconds_until(deadline) / len(shard.ledger_addresses),
                )
            except errors.BankError:
                continue
            finally:
                await client.close()
            if status.is_writer:
                return status
        return None


def _shard(facts: ShardFacts, directory: Directory, status: ledger_pb2.ShardStatus | None) -> bank_pb2.Shard:
    shard = bank_pb2.Shard(
        name=f"shards/{facts.shard_id}",
        shard_id=facts.shard_id,
        customer_quota=facts.customer_quota,
        customer_count=facts.customer_count,
        slot_count=directory.shard_by_slot.count(facts.shard_id),
        ledger_addresses=facts.ledger_addresses,
    )
    if status is not None:
        shard.writer = status.instance
        shard.writer_epoch = status.writer_epoch
        shard.last_sequence = status.last_sequence
        shard.crossings_in_flight_count = status.crossings_in_flight_count
        shard.promises_open_count = status.promises_open_count
    return shard


def _transfer_not_found(transfer_id: bytes) -> errors.NotFound:
    text = identifiers.uuid_text(transfer_id)
    return errors.NotFound("TRANSFER_NOT_FOUND", f"no transfer {text} of this account", {"transfer_id": text})
