"""What the books say of the past: balances as of a moment, statements, entries page by page.

A page token carries the cut that its first page was made at, so that all pages show one account at one
moment. Never here: what is so now (`reading.py`), transfers by what is known of them (`searching.py`).
"""

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import errors
from services.gateway import fields, routing, wire_history
from services.gateway.authentication import Caller
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership
from services.gateway.pages import PageTokens
from services.gateway.peers import LookedUpShards

_EPOCH_US_MAX = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""


class History:
    """Reads the ledgers' past. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(
        self, directory: DirectoryCache, look_ups: LookUps, ownership: Ownership, page_tokens: PageTokens
    ) -> None:
        self._shards = LookedUpShards(directory, look_ups)
        self._ownership = ownership
        self._page_tokens = page_tokens

    async def get_balance(
        self, caller: Caller, request: bank_pb2.GetBalanceRequest, deadline: float
    ) -> bank_pb2.Balance:
        """Return what an account held at the moment that the request names."""
        number = fields.parse_balance_name(request.name)
        asked = _past_balance_request(request, number)
        await self._ownership.check_account(caller, number, deadline)
        found: ledger_pb2.PastBalance = await self._shards.call(number, "GetPastBalance", asked, deadline)
        if not found.found:
            raise routing.unknown_account(number)
        return wire_history.past_balance(number, found)

    async def get_statement(
        self, caller: Caller, request: bank_pb2.GetStatementRequest, deadline: float
    ) -> bank_pb2.Statement:
        """Return the frame of a statement, with the token of its entries' first page."""
        number = fields.parse_account_name(request.name)
        first_date, last_date = fields.read_period(request.first_date, request.last_date)
        await self._ownership.check_account(caller, number, deadline)
        asked = ledger_pb2.GetStatementRequest(account_number=number, first_date=first_date, last_date=last_date)
        found: ledger_pb2.Statement = await self._shards.call(number, "GetStatement", asked, deadline)
        if not found.opening.found:
            raise routing.unknown_account(number)
        query = _entries_query(number, caller, first_date, last_date, descending=False)
        page_token = self._page_tokens.seal_at((0, found.cut_sequence, 0), *query)
        return wire_history.statement(number, request.first_date, request.last_date, found, page_token)

    async def list_entries(
        self, caller: Caller, request: bank_pb2.ListEntriesRequest, deadline: float
    ) -> bank_pb2.ListEntriesResponse:
        """Return a page of an account's history."""
        number = fields.parse_account_name(request.parent, "parent")
        page_size = fields.read_page_size(request.page_size)
        descending = fields.read_descending(request.order_by)
        first_date, last_date = fields.read_period(
            request.first_date if request.HasField("first_date") else None,
            request.last_date if request.HasField("last_date") else None,
        )
        query = _entries_query(number, caller, first_date, last_date, descending=descending)
        after, cut, _ = self._page_tokens.open_at(request.page_token, *query)
        await self._ownership.check_account(caller, number, deadline)
        asked = ledger_pb2.ListEntriesRequest(
            account_number=number,
            descending=descending,
            after_sequence=after,
            limit=page_size,
            cut_sequence=cut,
            first_date=first_date,
            last_date=last_date,
        )
        answer: ledger_pb2.ListEntriesResponse = await self._shards.call(number, "ListEntries", asked, deadline)
        if not answer.found:
            raise routing.unknown_account(number)
        next_page = (answer.entries[-1].sequence, answer.cut_sequence, 0) if answer.has_more else None
        return bank_pb2.ListEntriesResponse(
            entries=[wire_history.entry(number, answer.currency, row) for row in answer.entries],
            next_page_token=self._page_tokens.seal_at(next_page, *query) if next_page else "",
        )


def _entries_query(
    number: int, caller: Caller, first_date: int, last_date: int, *, descending: bool
) -> tuple[str, ...]:
    """Say what a page token of entries is bound to."""
    return ("ListEntries", str(number), str(descending), str(first_date), str(last_date), caller.subject)


def _past_balance_request(request: bank_pb2.GetBalanceRequest, number: int) -> ledger_pb2.GetPastBalanceRequest:
    """Read the moment. Raises `Malformed` (MOMENT_INVALID)."""
    asked = ledger_pb2.GetPastBalanceRequest(account_number=number)
    match request.WhichOneof("moment"):
        case "booking_time":
            time_us = request.booking_time.seconds * 1_000_000 + request.booking_time.nanos // 1_000
            if not 0 <= request.booking_time.nanos < 10**9 or not 0 <= time_us <= _EPOCH_US_MAX:
                raise errors.Malformed("MOMENT_INVALID", "booking_time", "from 1970-01-01 to 9999-12-31, in UTC")
            asked.booking_time_us = time_us
        case "business_date":
            asked.business_date = fields.parse_day(request.business_date, "business_date", "MOMENT_INVALID")
        case _:
            asked.value_date = fields.parse_day(request.value_date, "value_date", "MOMENT_INVALID")
    return asked
