"""The public door: `hivecore.gateway.v1.Bank`, one method per call.

Each method admits its caller, then hands on. The order of checks is the same everywhere: token, scope,
the channel's allowance, the request's shape, ownership, routing, the books. Before all of them, and before the
request is read, a transfer is turned away while every shard's queue is full. What they raise becomes a status in the chassis.
Never here: any of that itself.
"""

import asyncio
from typing import Any

from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.domain import errors, limits
from services.gateway import authentication, customers, fields, metrics, peers, validation
from services.gateway.authentication import Authenticator, Caller
from services.gateway.cataloguing import Cataloguing
from services.gateway.customers import Customers
from services.gateway.general_ledger import GeneralLedger
from services.gateway.history import History
from services.gateway.holding import Holds
from services.gateway.managing import Management
from services.gateway.metering import Metering
from services.gateway.ownership import Ownership
from services.gateway.quoting import Quotes
from services.gateway.reading import Books
from services.gateway.reversing import Reversals
from services.gateway.searching import Searches
from services.gateway.trail import AuditTrail
from services.gateway.transfers import Posting


class BankService(bank_pb2_grpc.BankServicer):
    """Admits callers and hands their calls on."""

    def __init__(
        self,
        authenticator: Authenticator,
        metering: Metering,
        ownership: Ownership,
        customers_: Customers,
        posting: Posting,
        books: Books,
        history: History,
        searches: Searches,
        general_ledger: GeneralLedger,
        holds: Holds,
        reversals: Reversals,
        management: Management,
        quotes: Quotes,
        cataloguing: Cataloguing,
        trail: AuditTrail,
    ) -> None:
        self._authenticator = authenticator
        self._metering = metering
        self._ownership = ownership
        self._customers = customers_
        self._posting = posting
        self._books = books
        self._history = history
        self._searches = searches
        self._general_ledger = general_ledger
        self._holds = holds
        self._reversals = reversals
        self._management = management
        self._quotes = quotes
        self._cataloguing = cataloguing
        self._trail = trail

    def _admit(self, call: str, context: Any, items: int = 1) -> Caller:
        """Tell who calls. Raises `Unauthenticated` or `Forbidden` when they may not, `Overloaded` when not so fast."""
        try:
            caller = self._authenticator.caller_of(context.invocation_metadata() or ())
        except errors.Unauthenticated as error:
            metrics.TOKENS_REFUSED.labels(error.reason).inc()
            raise
        authentication.check_allowed(caller, call)
        self._metering.spend(caller.channel, call, items)
        return caller

    async def OpenCustomer(self, request: bank_pb2.OpenCustomerRequest, context: Any) -> bank_pb2.Customer:
        """Open a customer."""
        caller = self._admit("OpenCustomer", context)
        return customers.only(await self._customers.open_customers(caller, [request], lambda _: "", _deadline(context)))

    async def OpenCustomers(
        self, request: bank_pb2.OpenCustomersRequest, context: Any
    ) -> bank_pb2.OpenCustomersResponse:
        """Open customers, each on its own."""
        caller = self._admit("OpenCustomers", context, len(request.requests))
        _check_requests_count(len(request.requests))
        return customers.customers_opened(
            await self._customers.open_customers(caller, request.requests, _request_path, _deadline(context))
        )

    async def GetCustomer(self, request: bank_pb2.GetCustomerRequest, context: Any) -> bank_pb2.Customer:
        """Return a customer."""
        caller = self._admit("GetCustomer", context)
        return await self._customers.get_customer(caller, request, _deadline(context))

    async def OpenAccount(self, request: bank_pb2.OpenAccountRequest, context: Any) -> bank_pb2.Account:
        """Open an account."""
        caller = self._admit("OpenAccount", context)
        return customers.only(await self._customers.open_accounts(caller, [request], lambda _: "", _deadline(context)))

    async def OpenAccounts(self, request: bank_pb2.OpenAccountsRequest, context: Any) -> bank_pb2.OpenAccountsResponse:
        """Open accounts, each on its own."""
        caller = self._admit("OpenAccounts", context, len(request.requests))
        _check_requests_count(len(request.requests))
        return customers.accounts_opened(
            await self._customers.open_accounts(caller, request.requests, _request_path, _deadline(context))
        )

    async def GetAccount(self, request: bank_pb2.GetAccountRequest, context: Any) -> bank_pb2.Account:
        """Return an account."""
        caller = self._admit("GetAccount", context)
        number = fields.parse_account_name(request.name)
        deadline = _deadline(context)
        await self._ownership.check_account(caller, number, deadline)
        return await self._customers.get_account(number, deadline)

    async def FindAccounts(self, request: bank_pb2.FindAccountsRequest, context: Any) -> bank_pb2.FindAccountsResponse:
        """Find accounts by external reference."""
        self._admit("FindAccounts", context)
        found = await self._customers.find_accounts(request.external_references, _deadline(context))
        return bank_pb2.FindAccountsResponse(accounts=found)

    async def ListAccounts(self, request: bank_pb2.ListAccountsRequest, context: Any) -> bank_pb2.ListAccountsResponse:
        """List a customer's accounts."""
        caller = self._admit("ListAccounts", context)
        return await self._customers.list_accounts(caller, request, _deadline(context))

    async def GetBalance(self, request: bank_pb2.GetBalanceRequest, context: Any) -> bank_pb2.Balance:
        """Return a balance."""
        caller = self._admit("GetBalance", context)
        if request.WhichOneof("moment"):
            return await self._history.get_balance(caller, request, _deadline(context))
        return await self._books.get_balance(caller, request.name, _deadline(context))

    async def GetStatement(self, request: bank_pb2.GetStatementRequest, context: Any) -> bank_pb2.Statement:
        """Return the frame of a statement."""
        caller = self._admit("GetStatement", context)
        return await self._history.get_statement(caller, request, _deadline(context))

    async def SearchTransfers(
        self, request: bank_pb2.SearchTransfersRequest, context: Any
    ) -> bank_pb2.SearchTransfersResponse:
        """Find transfers."""
        caller = self._admit("SearchTransfers", context)
        return await self._searches.search(caller, request, _deadline(context))

    async def GetGeneralLedger(self, request: bank_pb2.GetGeneralLedgerRequest, context: Any) -> bank_pb2.GeneralLedger:
        """Return the general ledger."""
        self._admit("GetGeneralLedger", context)
        return await self._general_ledger.get(request, _deadline(context))

    async def PostTransfer(self, request: bank_pb2.PostTransferRequest, context: Any) -> bank_pb2.Transfer:
        """Post a transfer."""
        caller = self._admit("PostTransfer", context)
        return await self._posting.post_one(caller, request.transfer, _deadline(context))

    async def PostTransfers(
        self, request: bank_pb2.PostTransfersRequest, context: Any
    ) -> bank_pb2.PostTransfersResponse:
        """Post transfers, each on its own."""
        caller = self._admit("PostTransfers", context, len(request.transfers))
        return await self._posting.post_many(caller, request.transfers, _deadline(context))

    async def QuoteTransfer(self, request: bank_pb2.QuoteTransferRequest, context: Any) -> bank_pb2.Quote:
        """Quote a transfer."""
        caller = self._admit("QuoteTransfer", context)
        return await self._quotes.quote(caller, request, _deadline(context))

    async def GetTransfer(self, request: bank_pb2.GetTransferRequest, context: Any) -> bank_pb2.Transfer:
        """Return a transfer."""
        caller = self._admit("GetTransfer", context)
        return await self._books.get_transfer(caller, request.name, _deadline(context))

    async def ListEntries(self, request: bank_pb2.ListEntriesRequest, context: Any) -> bank_pb2.ListEntriesResponse:
        """List an account's entries."""
        caller = self._admit("ListEntries", context)
        return await self._history.list_entries(caller, request, _deadline(context))

    async def PlaceHold(self, request: bank_pb2.PlaceHoldRequest, context: Any) -> bank_pb2.Hold:
        """Set money aside."""
        caller = self._admit("PlaceHold", context)
        return await self._holds.place(caller, request, _deadline(context))

    async def IncreaseHold(self, request: bank_pb2.IncreaseHoldRequest, context: Any) -> bank_pb2.Hold:
        """Set more aside."""
        caller = self._admit("IncreaseHold", context)
        return await self._holds.increase(caller, request, _deadline(context))

    async def CaptureHold(self, request: bank_pb2.CaptureHoldRequest, context: Any) -> bank_pb2.Transfer:
        """Post a transfer out of a hold."""
        caller = self._admit("CaptureHold", context)
        return await self._posting.capture(caller, request, _deadline(context))

    async def ReleaseHold(self, request: bank_pb2.ReleaseHoldRequest, context: Any) -> bank_pb2.Hold:
        """Free a hold's money."""
        caller = self._admit("ReleaseHold", context)
        return await self._holds.release(caller, request, _deadline(context))

    async def GetHold(self, request: bank_pb2.GetHoldRequest, context: Any) -> bank_pb2.Hold:
        """Return a hold."""
        caller = self._admit("GetHold", context)
        return await self._holds.get(caller, request.name, _deadline(context))

    async def ListHolds(self, request: bank_pb2.ListHoldsRequest, context: Any) -> bank_pb2.ListHoldsResponse:
        """List an account's open holds."""
        caller = self._admit("ListHolds", context)
        return await self._holds.list_open(caller, request.parent, _deadline(context))

    async def ReverseTransfer(self, request: bank_pb2.ReverseTransferRequest, context: Any) -> bank_pb2.Transfer:
        """Give a transfer back."""
        caller = self._admit("ReverseTransfer", context)
        return await self._reversals.reverse(caller, request, _deadline(context))

    async def ChangeAccountState(self, request: bank_pb2.ChangeAccountStateRequest, context: Any) -> bank_pb2.Account:
        """Change an account's state of life."""
        caller = self._admit("ChangeAccountState", context)
        return await self._management.change_state(caller, request, _deadline(context))

    async def ChangeAccountLimits(
        self, request: bank_pb2.ChangeAccountLimitsRequest, context: Any
    ) -> bank_pb2.ChangeAccountLimitsResponse:
        """Change what an account may do."""
        caller = self._admit("ChangeAccountLimits", context)
        return await self._management.change_limits(caller, request, _deadline(context))

    async def LoadProducts(self, request: bank_pb2.LoadProductsRequest, context: Any) -> bank_pb2.LoadProductsResponse:
        """Publish products."""
        self._admit("LoadProducts", context)
        return await self._cataloguing.load(request, _deadline(context))

    async def ListProducts(self, request: bank_pb2.ListProductsRequest, context: Any) -> bank_pb2.ListProductsResponse:
        """List products."""
        self._admit("ListProducts", context)
        return await self._cataloguing.list(_deadline(context))

    async def MoveAccountProduct(self, request: bank_pb2.MoveAccountProductRequest, context: Any) -> bank_pb2.Account:
        """Move an account to another product."""
        caller = self._admit("MoveAccountProduct", context)
        return await self._cataloguing.move(caller, request, _deadline(context))

    async def RegisterPartnerBanks(
        self, request: bank_pb2.RegisterPartnerBanksRequest, context: Any
    ) -> bank_pb2.RegisterPartnerBanksResponse:
        """Open partner banks' nostro accounts."""
        self._admit("RegisterPartnerBanks", context, len(request.bank_codes))
        return await self._customers.register_partner_banks(request.bank_codes, _deadline(context))

    async def RegisterPaymentFile(
        self, request: bank_pb2.RegisterPaymentFileRequest, context: Any
    ) -> bank_pb2.PaymentFile:
        """Claim a payment file's message id."""
        caller = self._admit("RegisterPaymentFile", context)
        return await self._customers.register_payment_file(caller, request.payment_file, _deadline(context))

    async def ListAuditTrail(
        self, request: bank_pb2.ListAuditTrailRequest, context: Any
    ) -> bank_pb2.ListAuditTrailResponse:
        """List who asked for what."""
        caller = self._admit("ListAuditTrail", context)
        return await self._trail.list_records(caller, request, _deadline(context))

    async def ListShards(self, request: bank_pb2.ListShardsRequest, context: Any) -> bank_pb2.ListShardsResponse:
        """List the shards."""
        self._admit("ListShards", context)
        return await self._books.list_shards(_deadline(context))


def _deadline(context: Any) -> float:
    """Tell the loop time until which an answer is of use; the server gives every call one."""
    deadline: float = asyncio.get_running_loop().time() + peers.less_margin(context.time_remaining())
    return deadline


def _request_path(place: int) -> str:
    return f"requests[{place}]"


def _check_requests_count(count: int) -> None:
    validation.check_count(count, limits.OPENINGS_PER_CALL_MAX, "REQUESTS_COUNT_INVALID", "requests")
