"""The catalogue in the control database, and a copy of it that is as new as each question.

Never here: what is wrong with a product (`services/domain/products.py`), which account has which.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from hivecore.product.v1 import product_pb2

from services.account.database import SQL, Database
from services.chassis import catalogue_wire
from services.domain import errors, products
from services.domain.products import Catalogue, Product, Reference


class ProductStore:
    """Reads and extends the catalogue. Raises `Unavailable` when the control database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copy = Catalogue()

    async def version(self) -> int:
        """Tell the catalogue's version."""
        version: int = await self._database.fetch_value("catalogue_version")
        return version

    async def current(self) -> Catalogue:
        """Return the catalogue as it is now."""
        if await self.version() != self._copy.version:
            async with (
                self._database.connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                self._copy = await _read(connection)
        return self._copy

    async def load(self, wanted: Sequence[Product], defaults: Mapping[int, str]) -> tuple[list[Product], int]:
        """Publish those that are new, all or none; return them and the catalogue's version.

        Raises `Refused`: PRODUCT_VERSION_PUBLISHED, PRODUCT_CURRENCY_CHANGED, TOO_MANY_PRODUCTS,
        DEFAULT_PRODUCT_UNKNOWN.
        """
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SQL["lock_catalogue"])
            before = await _read(connection)
            new = _new(before, wanted)
            after = dict(before.products) | {product.reference: product for product in new}
            _check_defaults(Catalogue(0, after), defaults)
            changed = {
                currency: code for currency, code in defaults.items() if before.defaults.get(currency, "") != code
            }
            if not new and not changed:
                return [], before.version
            await connection.execute(
                SQL["put_products"],
                [product.code for product in new],
                [product.version for product in new],
                [product.currency for product in new],
                [product.kind for product in new],
                [json.dumps(json_format.MessageToDict(catalogue_wire.product(product))) for product in new],
            )
            await connection.execute(SQL["put_default_products"], list(changed), list(changed.values()))
            version: int = await connection.fetchval(SQL["raise_catalogue"])
        return new, version


async def _read(connection: Any) -> Catalogue:
    version = await connection.fetchval(SQL["catalogue_version"])
    bodies = [row["body"] for row in await connection.fetch(SQL["read_products"])]
    read = [catalogue_wire.read_product(json_format.Parse(body, product_pb2.Product())) for body in bodies]
    defaults = {row["currency"]: row["code"] for row in await connection.fetch(SQL["read_default_products"])}
    return Catalogue(version, {product.reference: product for product in read}, defaults)


def _new(before: Catalogue, wanted: Sequence[Product]) -> list[Product]:
    for place, (reason, message) in products.clashes(before, wanted).items():
        raise errors.Refused(reason, message, {"field": f"products[{place}]"})
    new: dict[Reference, Product] = {
        product.reference: product for product in wanted if product.reference not in before.products
    }
    if len(before.products) + len(new) > products.PRODUCT_VERSIONS_MAX:
        raise errors.Refused(
            "TOO_MANY_PRODUCTS", f"a bank publishes at most {products.PRODUCT_VERSIONS_MAX} versions of products"
        )
    return list(new.values())


def _check_defaults(after: Catalogue, defaults: Mapping[int, str]) -> None:
    for currency, code in defaults.items():
        newest = after.newest(code) if code else None
        if code and (newest is None or newest.currency != currency):
            raise errors.Refused(
                "DEFAULT_PRODUCT_UNKNOWN", f"there is no product {code} in that currency", {"code": code}
            )
