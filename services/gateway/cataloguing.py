"""Products at the public door: published, listed, and accounts moved between them.

Never here: prices (`pricing.py`), what a move does to an account.
"""

from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2

from services.chassis import catalogue_wire
from services.domain import currencies, errors, identifiers, limits, products
from services.gateway import fields, peers, validation
from services.gateway.authentication import Caller
from services.gateway.customers import Customers
from services.gateway.fields import Findings
from services.gateway.peers import AccountService
from services.gateway.products import Products

_NO_ID = bytes(16)


class Cataloguing:
    """Publishes and lists products, moves accounts. Deadlines are loop times; all methods raise `BankError`."""

    def __init__(self, account_service: AccountService, products_: Products, customers: Customers) -> None:
        self._account_service = account_service
        self._products = products_
        self._customers = customers

    async def load(self, request: bank_pb2.LoadProductsRequest, deadline: float) -> bank_pb2.LoadProductsResponse:
        """Publish products."""
        validation.check_count(
            len(request.products), products.PRODUCT_VERSIONS_MAX, "PRODUCTS_COUNT_INVALID", "products"
        )
        catalogue_wire.read_products(request.products)
        findings = Findings()
        defaults = [
            account_pb2.Catalogue.Default(
                currency=findings.take(fields.parse_currency, code, "default_products", 0), code=product
            )
            for code, product in sorted(request.default_products.items())
        ]
        findings.raise_if_any()
        asked = account_pb2.LoadProductsRequest(products=request.products, defaults=defaults)
        answer = await self._account_service.call("LoadProducts", asked, deadline)
        await self._products.refresh_catalogue()
        return bank_pb2.LoadProductsResponse(published=answer.published)

    async def list(self, deadline: float) -> bank_pb2.ListProductsResponse:
        """Return all published products."""
        answer = await self._account_service.call("GetCatalogue", account_pb2.GetCatalogueRequest(), deadline)
        return bank_pb2.ListProductsResponse(
            products=answer.products,
            default_products={currencies.CODE_BY_NUMBER[default.currency]: default.code for default in answer.defaults},
        )

    async def move(
        self, caller: Caller, request: bank_pb2.MoveAccountProductRequest, deadline: float
    ) -> bank_pb2.Account:
        """Move an account and return it as it is then."""
        findings = Findings()
        number = findings.take(fields.parse_account_name, request.name, "name", 0)
        request_id = findings.take(identifiers.parse_uuid, request.request_id, "request_id", _NO_ID)
        code, version = findings.take(fields.parse_product_name, request.product, "product", ("", 0))
        if not request.product:
            findings.add("PRODUCT_MISSING", "product", "products/{code}")
        if not request.reason:
            findings.add("REASON_MISSING", "reason", "at least 1 character")
        reason = findings.text(request.reason, "reason", limits.REFERENCE_CHARACTERS_MAX)
        findings.raise_if_any()
        asked = account_pb2.MoveAccountRequest(
            request_id=request_id,
            account_number=number,
            product_code=code,
            product_version=version,
            reason=reason,
            channel=caller.channel,
            subject=caller.subject,
        )
        try:
            answer = await self._account_service.call("MoveAccount", asked, deadline)
        finally:
            self._products.forget([number])
        if answer.HasField("error"):
            raise errors.Refused(answer.error.reason, answer.error.message, {"request_id": request.request_id})
        try:
            return await self._customers.get_account(number, deadline)
        except errors.BankError as error:
            # It is moved: whoever took this for "nothing was written" would be wrong.
            raise peers.outcome_unknown() from error
