"""Finding transfers by what is known of them: of one account, or shard by shard of the whole bank.

One call looks at a bounded part of the books, so a page may be short or empty and still have a next one. All
pages stop at the time at which the first was asked for. Never here: how a ledger looks.
"""

from collections.abc import Callable
from typing import Final

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import identifiers, limits, metadata
from services.gateway import authentication, fields, peers, scopes, wire_records
from services.gateway.authentication import Caller
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership
from services.gateway.pages import START, PageTokens, Position
from services.gateway.peers import LookedUpShards
from services.gateway.reading import Books

WHOLE_BANK: Final = "accounts/-"

SHARDS_PER_CALL_MAX: Final = 32
"""Shards that one call asks, one after the other."""


class Searches:
    """Searches the ledgers; `now_us` gives the time in microseconds since 1970-01-01 UTC.

    Deadlines are loop times; all methods raise `BankError`.
    """

    def __init__(
        self,
        directory: DirectoryCache,
        look_ups: LookUps,
        ownership: Ownership,
        books: Books,
        page_tokens: PageTokens,
        now_us: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._shards = LookedUpShards(directory, look_ups)
        self._ownership = ownership
        self._books = books
        self._page_tokens = page_tokens
        self._now_us = now_us

    async def search(
        self, caller: Caller, request: bank_pb2.SearchTransfersRequest, deadline: float
    ) -> bank_pb2.SearchTransfersResponse:
        """Return a page of transfers that have all that is asked for."""
        whole_bank = request.parent == WHOLE_BANK
        if whole_bank:
            authentication.check_bank_wide(caller, scopes.OPERATOR)
        asked = _read(request)
        query = _query(request, caller)
        position = self._page_tokens.open_at(request.page_token, *query)
        asked.cut_time_us = position[1] or self._now_us()
        if whole_bank:
            found, next_page = await self._search_bank(asked, position, deadline)
        else:
            await self._ownership.check_account(caller, asked.account_number, deadline)
            found, next_page = await self._search_account(asked, position, deadline)
        if caller.customer_number is None:
            transfers = list(map(wire_records.transfer, found))
        else:
            # Of others' transfers, only what moved money of the account that is searched: by what is asked for, too.
            first_payers = {record.legs[0].debit_account for record in found}
            owned = {asked.account_number} | await self._ownership.owned(caller, first_payers, deadline)
            transfers = [each for record in found if _has(each := wire_records.transfer(record, owned), request)]
        return bank_pb2.SearchTransfersResponse(
            transfers=transfers,
            next_page_token="" if next_page == START else self._page_tokens.seal_at(next_page, *query),
        )

    async def _search_account(
        self, asked: ledger_pb2.SearchTransfersRequest, position: Position, deadline: float
    ) -> tuple[list[ledger_pb2.TransferRecord], Position]:
        asked.before_sequence = position[0]
        answer: ledger_pb2.SearchTransfersResponse = await self._shards.call(
            asked.account_number, "SearchTransfers", asked, deadline
        )
        if not answer.transfers and position == START:
            await self._books.check_account(asked.account_number, deadline)
        before = answer.next_before_sequence
        return list(answer.transfers), (before, asked.cut_time_us, 0) if before else START

    async def _search_bank(
        self, asked: ledger_pb2.SearchTransfersRequest, position: Position, deadline: float
    ) -> tuple[list[ledger_pb2.TransferRecord], Position]:
        """Ask shard after shard until the page is full or enough was looked at."""
        limit, cut = asked.limit, asked.cut_time_us
        before, _, first_shard = position
        found: list[ledger_pb2.TransferRecord] = []
        waiting = sorted(s.shard_id for s in self._directory.current.shards if s.shard_id >= first_shard)
        for place, shard_id in enumerate(waiting):
            if len(found) == limit or place == SHARDS_PER_CALL_MAX:
                return found, (0, cut, shard_id)
            asked.shard_id, asked.limit = shard_id, limit - len(found)
            asked.before_sequence = before if shard_id == first_shard else 0
            answer: ledger_pb2.SearchTransfersResponse = await self._directory.ledger(shard_id).call(
                "SearchTransfers", asked, deadline_seconds=peers.seconds_until(deadline)
            )
            found += answer.transfers
            if answer.next_before_sequence:
                return found, (answer.next_before_sequence, cut, shard_id)
        return found, START


def _read(request: bank_pb2.SearchTransfersRequest) -> ledger_pb2.SearchTransfersRequest:
    """Read what to look for, or tell everything that is wrong with it. Raises `Malformed`."""
    findings = fields.Findings()
    asked = ledger_pb2.SearchTransfersRequest(
        reference=findings.text(request.reference, "reference", limits.REFERENCE_CHARACTERS_MAX),
        amount_minor_min=request.amount_minor_min,
        amount_minor_max=request.amount_minor_max,
    )
    if request.parent != WHOLE_BANK:
        asked.account_number = findings.take(fields.parse_account_name, request.parent, "parent", 0)
    if request.counterparty_account:
        asked.counterparty_account = findings.take(
            identifiers.parse_account_number, request.counterparty_account, "counterparty_account", 0
        )
    if request.metadata:
        findings.take(lambda _, name: bool(metadata.read(request.metadata, name)), "", "metadata", False)
        asked.metadata.update(request.metadata)
    least, most = request.amount_minor_min, request.amount_minor_max
    if not 0 <= least <= limits.AMOUNT_MINOR_MAX or most < 0 or (most and most < least):
        findings.add("AMOUNT_RANGE_INVALID", "amount_minor_max", "two amounts, the first not larger than the second")
    findings.raise_if_any()
    asked.first_date, asked.last_date = fields.read_period(
        request.first_date if request.HasField("first_date") else None,
        request.last_date if request.HasField("last_date") else None,
    )
    asked.limit = fields.read_page_size(
        request.page_size, default=limits.SEARCH_PAGE_SIZE_DEFAULT, page_size_max=limits.SEARCH_PAGE_SIZE_MAX
    )
    return asked


def _has(transfer: bank_pb2.Transfer, request: bank_pb2.SearchTransfersRequest) -> bool:
    """Tell whether the legs that are shown have what is asked for of legs."""
    other, least, most = request.counterparty_account, request.amount_minor_min, request.amount_minor_max
    return any(least <= leg.amount_minor and (not most or leg.amount_minor <= most) for leg in transfer.legs) and any(
        not other or other in {leg.debit_account, leg.credit_account} for leg in transfer.legs
    )


def _query(request: bank_pb2.SearchTransfersRequest, caller: Caller) -> tuple[str, ...]:
    """Say what a page token of a search is bound to: all but the size of its pages."""
    bound = bank_pb2.SearchTransfersRequest()
    bound.CopyFrom(request)
    bound.ClearField("page_token")
    bound.ClearField("page_size")
    return ("SearchTransfers", bound.SerializeToString(deterministic=True).hex(), caller.subject)
