"""The account service's door: `hivecore.account.v1.Accounts`.

Reads what was asked, has it done, writes the answer. Never here: rules, SQL, the order of steps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from hivecore.account.v1 import account_pb2, account_pb2_grpc

from services.account import product_wire, wire
from services.account.internal import CHART
from services.account.lifecycle import Lifecycle
from services.account.lookups import Lookups
from services.account.moving import Mover
from services.account.partners import Partners
from services.account.payment_files import PaymentFiles
from services.account.product_store import ProductStore
from services.account.store import ControlStore
from services.account.territory import Territory
from services.chassis import catalogue_wire, status
from services.domain import errors, limits

ANSWER_SECONDS: Final = 0.1
"""Left of the deadline so that the caller still gets an answer."""


@dataclass(frozen=True, slots=True)
class Office:
    """All that the door needs behind it."""

    control: ControlStore
    territory: Territory
    lookups: Lookups
    lifecycle: Lifecycle
    partners: Partners
    payment_files: PaymentFiles
    products: ProductStore
    mover: Mover


class AccountService(account_pb2_grpc.AccountsServicer):
    """Answers once it has its office; until then it says that it is starting."""

    def __init__(self) -> None:
        self._office_or_none: Office | None = None

    def begin(self, office: Office) -> None:
        """Answer from now on."""
        self._office_or_none = office

    @property
    def _office(self) -> Office:
        if self._office_or_none is None:
            raise errors.Unavailable("SERVICE_STARTING", "this service is still starting")
        return self._office_or_none

    async def GetChart(self, request: account_pb2.GetChartRequest, context: Any) -> account_pb2.Chart:
        """Return the chart of accounts."""
        return account_pb2.Chart(
            lines=[
                account_pb2.Chart.Line(code=account.code, title=account.name, kind=account.kind)
                for account in sorted(CHART, key=lambda account: account.code)
            ]
        )

    async def GetDirectory(self, request: account_pb2.GetDirectoryRequest, context: Any) -> account_pb2.Directory:
        """Return the directory, or only its version."""
        office = self._office
        if request.known_version:
            version = await office.control.directory_version()
            if version == request.known_version:
                return account_pb2.Directory(version=version, unchanged=True)
        return wire.directory(await office.territory.refresh())

    async def OpenCustomers(
        self, request: account_pb2.OpenCustomersRequest, context: Any
    ) -> account_pb2.OpenCustomersResponse:
        """Open customers."""
        wants = wire.customers_wanted(request)
        async with _in_time(context):
            return wire.customers_opened(await self._office.lifecycle.open_customers(wants))

    async def OpenAccounts(
        self, request: account_pb2.OpenAccountsRequest, context: Any
    ) -> account_pb2.OpenAccountsResponse:
        """Open accounts."""
        wants = wire.accounts_wanted(request)
        async with _in_time(context) as seconds:
            return wire.accounts_opened(
                await self._office.lifecycle.open_accounts(wants, deadline_seconds=seconds - ANSWER_SECONDS)
            )

    async def GetCustomers(
        self, request: account_pb2.GetCustomersRequest, context: Any
    ) -> account_pb2.GetCustomersResponse:
        """Return customers."""
        numbers = request.customer_numbers
        wire.check_count("customer_numbers", len(numbers))
        return wire.customers(numbers, await self._office.lookups.customers(numbers))

    async def GetAccounts(
        self, request: account_pb2.GetAccountsRequest, context: Any
    ) -> account_pb2.GetAccountsResponse:
        """Return accounts."""
        numbers = request.account_numbers
        wire.check_count("account_numbers", len(numbers))
        return wire.accounts(numbers, await self._office.lookups.accounts(numbers))

    async def ListAccounts(
        self, request: account_pb2.ListAccountsRequest, context: Any
    ) -> account_pb2.ListAccountsResponse:
        """List a customer's accounts."""
        if not 1 <= request.limit <= limits.PAGE_SIZE_MAX:
            raise errors.Malformed("PAGE_SIZE_INVALID", "limit", f"from 1 to {limits.PAGE_SIZE_MAX}")
        page = await self._office.lookups.accounts_of(
            request.customer_number, request.after_account_number, request.limit
        )
        return wire.accounts_listed(page)

    async def FindReferences(
        self, request: account_pb2.FindReferencesRequest, context: Any
    ) -> account_pb2.FindReferencesResponse:
        """Return what references stand for."""
        references = request.external_references
        wire.check_count("external_references", len(references))
        found = await self._office.lookups.numbers_of(wire.reference_kind(request), references)
        return account_pb2.FindReferencesResponse(numbers=[found.get(reference, 0) for reference in references])

    async def RegisterPartnerBanks(
        self, request: account_pb2.RegisterPartnerBanksRequest, context: Any
    ) -> account_pb2.RegisterPartnerBanksResponse:
        """Register partner banks."""
        codes = wire.bank_codes(request)
        async with _in_time(context) as seconds:
            partners = self._office.partners
            return wire.partners_registered(await partners.register(codes, deadline_seconds=seconds - ANSWER_SECONDS))

    async def RegisterPaymentFile(
        self, request: account_pb2.RegisterPaymentFileRequest, context: Any
    ) -> account_pb2.RegisterPaymentFileResponse:
        """Register a payment file."""
        file = wire.payment_file(request)
        async with _in_time(context):
            is_same, create_time_us = await self._office.payment_files.register(file)
        return account_pb2.RegisterPaymentFileResponse(is_same=is_same, create_time_us=create_time_us)

    async def GetCatalogue(self, request: account_pb2.GetCatalogueRequest, context: Any) -> account_pb2.Catalogue:
        """Return the catalogue, or only its version."""
        catalogue = await self._office.products.current()
        if request.known_version and request.known_version == catalogue.version:
            return account_pb2.Catalogue(version=catalogue.version, unchanged=True)
        return catalogue_wire.catalogue(catalogue)

    async def LoadProducts(
        self, request: account_pb2.LoadProductsRequest, context: Any
    ) -> account_pb2.LoadProductsResponse:
        """Publish products."""
        wanted, defaults = product_wire.loading(request)
        published, version = await self._office.products.load(wanted, defaults)
        names = [catalogue_wire.product_name(product.reference) for product in published]
        return account_pb2.LoadProductsResponse(published=names, version=version)

    async def MoveAccount(
        self, request: account_pb2.MoveAccountRequest, context: Any
    ) -> account_pb2.MoveAccountResponse:
        """Move an account to another product."""
        asked = product_wire.move(request)
        async with _in_time(context) as seconds:
            mover = self._office.mover
            return product_wire.moved(await mover.move(asked, deadline_seconds=seconds - ANSWER_SECONDS))

    async def ListMovedAccounts(
        self, request: account_pb2.ListMovedAccountsRequest, context: Any
    ) -> account_pb2.ListMovedAccountsResponse:
        """Tell which accounts were moved."""
        return product_wire.moves(await self._office.mover.moved(product_wire.marks(request)))


@asynccontextmanager
async def _in_time(context: Any) -> AsyncIterator[float]:
    """Give up shortly before the caller's deadline, so that it learns that there is doubt; yields the seconds."""
    seconds = max(context.time_remaining() - ANSWER_SECONDS, 0.0)
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield seconds
    except TimeoutError:
        if not timeout.expired():
            raise
        raise errors.OutcomeUnknown(
            status.DOUBT_REASON, "some of it may be done within the deadline: send the same requests again"
        ) from None
