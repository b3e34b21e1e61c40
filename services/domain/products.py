"""Products and the catalogue of them: values, and what is wrong with them. Pure.

A version of a product never changes. Never here: files (`services/cli/catalogue_files.py`), the wire, tables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from services.domain import currencies, fees, limits
from services.domain.fees import Fee

CODE: Final = re.compile(r"[A-Z0-9-]{1,32}")
VERSION_MAX: Final = 1_000_000
PRODUCT_VERSIONS_MAX: Final = 1_000
"""Versions of all products together: everybody keeps the catalogue whole."""

PRODUCT_BYTES_MAX: Final = 4_000
"""A product with every text and number at its longest, on the wire."""

# The catalogue travels in one message.
assert PRODUCT_VERSIONS_MAX * PRODUCT_BYTES_MAX <= limits.MESSAGE_BYTES_MAX


class Kind(IntEnum):
    """What kind of account it is. The numbers travel and are stored."""

    CURRENT = 1
    SAVINGS = 2
    LOAN = 3
    INTERNAL = 4


class Reference(NamedTuple):
    """One version of one product; code empty and version 0 for none."""

    code: str = ""
    version: int = 0


NONE: Final = Reference()


class Standard(NamedTuple):
    """What an account of a product may do unless somebody says otherwise; amounts in minor units."""

    floor_minor: int = 0
    balance_minor_max: int | None = None
    transfer_minor_max: int | None = None
    day_minor_max: int | None = None
    day_count_max: int | None = None


NO_LIMITS: Final = Standard()


@dataclass(frozen=True, slots=True)
class Product:
    """One version; `currency` is ISO 4217 numeric."""

    code: str
    version: int
    display_name: str
    currency: int
    kind: Kind
    standard: Standard = NO_LIMITS
    fees: tuple[Fee, ...] = ()

    @property
    def reference(self) -> Reference:
        """Its code and version."""
        return Reference(self.code, self.version)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All published versions; the version of the catalogue grows with every change."""

    version: int = 0
    products: Mapping[Reference, Product] = field(default_factory=dict)
    defaults: Mapping[int, str] = field(default_factory=dict)
    """Code of the product that an account gets when none is asked for, by currency."""

    def standard(self, reference: Reference) -> Standard:
        """Return the limits that a published version sets; none for no product."""
        return NO_LIMITS if reference == NONE else self.products[reference].standard

    def newest(self, code: str) -> Product | None:
        """Return the highest version of a product; None when there is none."""
        versions = [product for product in self.products.values() if product.code == code]
        return max(versions, key=lambda product: product.version, default=None)

    def find(self, code: str, version: int) -> Product | None:
        """Return a version of a product, with 0 the highest; None when there is none."""
        return self.products.get(Reference(code, version)) if version else self.newest(code)


class Fault(NamedTuple):
    """Something that is wrong with a product."""

    path: str
    """Of the field, like `fees[0].tiers[1].rate_ppm`."""
    reason: str
    message: str


def faults(product: Product) -> Iterator[Fault]:
    """Tell everything that is wrong with one version by itself."""
    if CODE.fullmatch(product.code) is None:
        yield Fault("code", "PRODUCT_CODE_INVALID", "1 to 32 characters of A to Z, 0 to 9 and -")
    if not 1 <= product.version <= VERSION_MAX:
        yield Fault("version", "PRODUCT_VERSION_INVALID", f"from 1 to {VERSION_MAX}")
    if (
        not 1 <= len(product.display_name) <= limits.DISPLAY_NAME_CHARACTERS_MAX
        or not product.display_name.isprintable()
    ):
        yield Fault(
            "display_name",
            "PRODUCT_NAME_INVALID",
            f"1 to {limits.DISPLAY_NAME_CHARACTERS_MAX} characters without line breaks",
        )
    if product.currency not in currencies.CODE_BY_NUMBER:
        yield Fault("currency_code", "CURRENCY_UNKNOWN", "not an ISO 4217 currency code")
    if not -limits.BALANCE_MINOR_MAX <= product.standard.floor_minor <= 0:
        yield Fault("floor_minor", "FLOOR_INVALID", f"from {-limits.BALANCE_MINOR_MAX} to 0")
    for name, value in product.standard._asdict().items():
        if name != "floor_minor" and value is not None and not 0 <= value <= limits.BALANCE_MINOR_MAX:
            yield Fault(name, "LIMIT_INVALID", f"from 0 to {limits.BALANCE_MINOR_MAX}")
    kinds = [fee.kind for fee in product.fees]
    for place, fee in enumerate(product.fees):
        if fee.kind in kinds[:place]:
            yield Fault(f"fees[{place}].kind", "FEE_REPEATED", "payments of this kind have a fee already")
        yield from _fee_faults(fee, f"fees[{place}]")


def _fee_faults(fee: Fee, path: str) -> Iterator[Fault]:
    reason = "FEE_INVALID"
    if not 1 <= len(fee.tiers) <= fees.TIERS_MAX:
        yield Fault(f"{path}.tiers", reason, f"from 1 to {fees.TIERS_MAX} tiers")
    before = -1
    for place, tier in enumerate(fee.tiers):
        where = f"{path}.tiers[{place}]"
        if place == 0 and tier.from_minor != 0:
            yield Fault(f"{where}.from_minor", reason, "the first tier begins at 0")
        elif not before < tier.from_minor <= limits.AMOUNT_MINOR_MAX:
            yield Fault(f"{where}.from_minor", reason, f"tiers ascend, at most to {limits.AMOUNT_MINOR_MAX}")
        before = tier.from_minor
        if not 0 <= tier.fixed_minor <= fees.FIXED_MINOR_MAX:
            yield Fault(f"{where}.fixed_minor", reason, f"from 0 to {fees.FIXED_MINOR_MAX}")
        if not 0 <= tier.rate_ppm <= fees.RATE_PPM_MAX:
            yield Fault(f"{where}.rate_ppm", reason, f"from 0 to {fees.RATE_PPM_MAX} parts per million")
    if not 0 <= fee.minor_min <= fees.FIXED_MINOR_MAX:
        yield Fault(f"{path}.minor_min", reason, f"from 0 to {fees.FIXED_MINOR_MAX}")
    if fee.minor_max is not None and not fee.minor_min <= fee.minor_max <= limits.AMOUNT_MINOR_MAX:
        yield Fault(f"{path}.minor_max", reason, f"from the least to {limits.AMOUNT_MINOR_MAX}")


def clashes(known: Catalogue, products: Iterable[Product]) -> dict[int, tuple[str, str]]:
    """Tell, by place, which products may not join a catalogue: reason and message.

    A published version may come again only as it is; a code keeps its currency for ever.
    """
    found: dict[int, tuple[str, str]] = {}
    currency_by_code = {product.code: product.currency for product in known.products.values()}
    seen = dict(known.products)
    for place, product in enumerate(products):
        published = seen.setdefault(product.reference, product)
        if published != product:
            found[place] = (
                "PRODUCT_VERSION_PUBLISHED",
                f"{product.code} version {product.version} is published and stays as it is: give the next version",
            )
        elif currency_by_code.setdefault(product.code, product.currency) != product.currency:
            found[place] = ("PRODUCT_CURRENCY_CHANGED", f"{product.code} has another currency in an earlier version")
    return found


# The worst price of the largest amount is still an amount.
assert fees.TIERS_MAX * fees.FIXED_MINOR_MAX + limits.AMOUNT_MINOR_MAX * fees.RATE_PPM_MAX // fees.RATE_WHOLE_PPM < (
    limits.AMOUNT_MINOR_MAX
)
