"""Products and the catalogue between protobuf messages and values.

Never here: what is wrong with a product (`services/domain/products.py`).
"""

from collections.abc import Iterable

from hivecore.account.v1 import account_pb2
from hivecore.product.v1 import product_pb2

from services.domain import currencies, errors, products
from services.domain.fees import Fee, Method, PaymentKind, Tier
from services.domain.products import Catalogue, Kind, Product, Reference, Standard

_LIMITS = ("balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max")


def product_name(reference: Reference) -> str:
    """Write the name of a version; empty for none."""
    return f"products/{reference.code}/versions/{reference.version}" if reference.code else ""


def product(value: Product) -> product_pb2.Product:
    """Write a product."""
    message = product_pb2.Product(
        name=product_name(value.reference),
        code=value.code,
        version=value.version,
        display_name=value.display_name,
        currency_code=currencies.CODE_BY_NUMBER[value.currency],
        kind=int(value.kind),  # type: ignore[arg-type]
        floor_minor=value.standard.floor_minor,
        fees=[_fee(fee) for fee in value.fees],
    )
    for name in _LIMITS:
        limit = getattr(value.standard, name)
        if limit is not None:
            setattr(message, name, limit)
    return message


def _fee(fee: Fee) -> product_pb2.Fee:
    message = product_pb2.Fee(
        kind=int(fee.kind),  # type: ignore[arg-type]
        method=int(fee.method),  # type: ignore[arg-type]
        tiers=[product_pb2.Fee.Tier(**tier._asdict()) for tier in fee.tiers],
        minor_min=fee.minor_min,
    )
    if fee.minor_max is not None:
        message.minor_max = fee.minor_max
    return message


def read_products(messages: Iterable[product_pb2.Product], path: str = "products") -> list[Product]:
    """Read products from outside. Raises `Malformed`, naming every field that is wrong, up to a page of them."""
    read: list[Product] = []
    found: list[errors.Malformed] = []
    for place, message in enumerate(messages):
        try:
            value = read_product(message)
        except ValueError as error:
            found.append(errors.Malformed("PRODUCT_INVALID", f"{path}[{place}]", str(error)))
            continue
        read.append(value)
        found += [
            errors.Malformed(fault.reason, f"{path}[{place}].{fault.path}", fault.message)
            for fault in products.faults(value)
        ]
    if found:
        first, *others = found[:20]
        raise errors.Malformed(first.reason, first.field, first.description, others)
    return read


def read_product(message: product_pb2.Product) -> Product:
    """Read a product as it is. Raises ValueError for a kind or a method that there is not."""
    limits = (getattr(message, name) if message.HasField(name) else None for name in _LIMITS)  # type: ignore[arg-type]
    return Product(
        message.code,
        message.version,
        message.display_name,
        currencies.NUMBER_BY_CODE.get(message.currency_code, 0),
        Kind(message.kind),
        Standard(message.floor_minor, *limits),
        tuple(
            Fee(
                PaymentKind(fee.kind),
                Method(fee.method),
                tuple(Tier(tier.from_minor, tier.fixed_minor, tier.rate_ppm) for tier in fee.tiers),
                fee.minor_min,
                fee.minor_max if fee.HasField("minor_max") else None,
            )
            for fee in message.fees
        ),
    )


def catalogue(value: Catalogue) -> account_pb2.Catalogue:
    """Write a catalogue."""
    return account_pb2.Catalogue(
        version=value.version,
        products=[product(value.products[reference]) for reference in sorted(value.products)],
        defaults=[
            account_pb2.Catalogue.Default(currency=currency, code=code)
            for currency, code in sorted(value.defaults.items())
        ],
    )


def read_catalogue(message: account_pb2.Catalogue) -> Catalogue:
    """Read a catalogue."""
    read = map(read_product, message.products)
    return Catalogue(
        message.version,
        {value.reference: value for value in read},
        {default.currency: default.code for default in message.defaults},
    )
