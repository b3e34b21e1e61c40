"""Catalogues of products as files: from YAML to products, with everything that is wrong said by line and column.

Values are read as they are written, so no amount ever becomes a float. Aliases are refused: a file says
what it means where it means it. Pure. Never here: publishing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import yaml

from services.cli.amounts import AmountInvalid, parse_limit
from services.domain import currencies, fees, products
from services.domain.fees import Fee, Method, PaymentKind, Tier
from services.domain.products import Kind, Product, Standard

FILE_BYTES_MAX: Final = 1_000_000
FAULTS_MAX: Final = 50
PERCENT_DECIMALS: Final = 4

T = TypeVar("T")

_KINDS: Final = {kind.name.lower(): kind for kind in Kind}
_PAYMENTS: Final = {kind.name.lower(): kind for kind in PaymentKind}
_PRODUCT_KEYS: Final = ("code", "version", "name", "currency", "kind", "overdraft", "limits", "fees")
_LIMIT_KEYS: Final = ("balance_max", "transfer_max", "day_max", "day_count")
_FEE_KEYS: Final = ("for", "fixed", "percent", "slab", "graduated", "min", "max")
_TIER_KEYS: Final = ("from", "fixed", "percent")


@dataclass(frozen=True, slots=True)
class FileFault:
    """Something that is wrong, where it stands; lines and columns begin at 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


class CatalogueInvalid(Exception):
    """The file is no catalogue; `faults` say why, in the order of the file."""

    def __init__(self, faults: list[FileFault]) -> None:
        super().__init__(str(faults[0]))
        self.faults = faults


@dataclass(slots=True)
class CatalogueFile:
    """What a file says."""

    products: list[Product] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    """Product code by ISO 4217 alphabetic code."""


def read(raw: bytes) -> CatalogueFile:
    """Read a catalogue. Raises `CatalogueInvalid` with everything that is wrong, up to a page of it."""
    if len(raw) > FILE_BYTES_MAX:
        raise CatalogueInvalid([FileFault(1, 1, f"more than {FILE_BYTES_MAX} bytes")])
    try:
        text = raw.decode()
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise CatalogueInvalid([_fault(event, "aliases are not used here: write it out")])
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise CatalogueInvalid([FileFault(raw.count(b"\n", 0, error.start) + 1, 1, "not UTF-8")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise CatalogueInvalid([FileFault(*where, f"not YAML: {error.problem or error.context}")]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise CatalogueInvalid([FileFault(1, 1, f"not YAML: {' '.join(str(error).split())}")]) from None
    return _Reader().read(node)


def _fault(node: Any, message: str) -> FileFault:
    return FileFault(node.start_mark.line + 1, node.start_mark.column + 1, message)


class _Reader:
    """Reads one file, gathering what is wrong."""

    def __init__(self) -> None:
        self._faults: list[FileFault] = []

    def read(self, node: Any) -> CatalogueFile:
        found = CatalogueFile()
        if node is None:
            raise CatalogueInvalid([FileFault(1, 1, "empty: needs `products`")])
        top = self._mapping(node, ("products", "defaults"), ("products",))
        seen: dict[products.Reference, int] = {}
        for each in self._list(top.get("products")):
            product = self._product(each)
            if product is None:
                continue
            found.products.append(product)
            line = each.start_mark.line + 1
            first = seen.setdefault(product.reference, line)
            if first != line:
                self._note(each, f"{product.code} version {product.version} stands in line {first} already")
        if "defaults" in top:
            for key, value in self._pairs(top["defaults"]):
                if key.value not in currencies.NUMBER_BY_CODE:
                    self._note(key, "not an ISO 4217 currency code")
                found.defaults[key.value] = self._scalar(value)
        if not self._faults and len(found.products) > products.PRODUCT_VERSIONS_MAX:
            self._note(node, f"at most {products.PRODUCT_VERSIONS_MAX} versions")
        if self._faults:
            self._faults.sort(key=lambda fault: (fault.line, fault.column))
            raise CatalogueInvalid(self._faults[:FAULTS_MAX])
        return found

    def _product(self, node: Any) -> Product | None:
        before = len(self._faults)
        keys = self._mapping(node, _PRODUCT_KEYS, ("code", "version", "name", "currency", "kind"))
        code = self._scalar(keys.get("currency"))
        if "currency" in keys and code not in currencies.NUMBER_BY_CODE:
            self._note(keys["currency"], "not an ISO 4217 currency code")
        if len(self._faults) > before:
            return None  # Without its currency no amount can be read.
        limits = self._mapping(keys["limits"], _LIMIT_KEYS) if "limits" in keys else {}
        standard = Standard(
            -self._amount(keys.get("overdraft"), code, 0),
            self._amount(limits.get("balance_max"), code, None),
            self._amount(limits.get("transfer_max"), code, None),
            self._amount(limits.get("day_max"), code, None),
            self._number(limits["day_count"]) if "day_count" in limits else None,
        )
        product = Product(
            self._scalar(keys["code"]),
            self._number(keys["version"]),
            self._scalar(keys["name"]),
            currencies.NUMBER_BY_CODE[code],
            self._one_of(keys["kind"], _KINDS, Kind.CURRENT),
            standard,
            tuple(self._fee(fee, code) for fee in self._list(keys.get("fees"))),
        )
        if len(self._faults) == before:
            for fault in products.faults(product):
                self._note(_part(keys, fault.path) or node, f"{fault.path}: {fault.message}")
        return product

    def _fee(self, node: Any, code: str) -> Fee:
        keys = self._mapping(node, _FEE_KEYS, ("for",))
        method, tiers = Method.SLAB, [self._tier(keys, code)]
        tiered = [name for name in ("slab", "graduated") if name in keys]
        if len(tiered) > 1 or (tiered and ("fixed" in keys or "percent" in keys)):
            self._note(node, "either fixed and percent, or slab, or graduated")
        elif tiered:
            method = Method[tiered[0].upper()]
            parts = [self._mapping(part, _TIER_KEYS, ("from",)) for part in self._list(keys[tiered[0]])]
            tiers = [self._tier(part, code) for part in parts]
        elif "fixed" not in keys and "percent" not in keys:
            self._note(node, "needs a price: fixed, percent, slab or graduated")
        return Fee(
            self._one_of(keys["for"], _PAYMENTS, PaymentKind.TRANSFER) if "for" in keys else PaymentKind.TRANSFER,
            method,
            tuple(tiers),
            self._amount(keys.get("min"), code, 0),
            self._amount(keys.get("max"), code, None),
        )

    def _tier(self, keys: dict[str, Any], code: str) -> Tier:
        rate = self._percent(keys["percent"]) if "percent" in keys else 0
        return Tier(self._amount(keys.get("from"), code, 0), self._amount(keys.get("fixed"), code, 0), rate)

    def _note(self, node: Any, message: str) -> None:
        self._faults.append(_fault(node, message))

    def _mapping(self, node: Any, known: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in self._pairs(node):
            name = key.value
            if name not in known:
                self._note(key, f"unknown key {name!r}: one of {', '.join(known)}")
            elif name in found:
                self._note(key, f"{name} is given twice")
            else:
                found[name] = value
        if isinstance(node, yaml.MappingNode):
            for name in required:
                if name not in found:
                    self._note(node, f"{name} is missing")
        return found

    def _pairs(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if not isinstance(node, yaml.MappingNode):
            self._note(node, "needs keys with values")
            return
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key, value
            else:
                self._note(key, "a key is one word")

    def _list(self, node: Any) -> list[Any]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, "needs a list")
            return []
        return list(node.value)

    def _scalar(self, node: Any) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._note(node, "needs one value")
            return ""
        return str(node.value)

    def _amount(self, node: Any, code: str, otherwise: T) -> int | T:
        if node is None:
            return otherwise
        try:
            return parse_limit(self._scalar(node), code)
        except AmountInvalid as error:
            self._note(node, str(error))
            return otherwise

    def _number(self, node: Any) -> int:
        text = self._scalar(node)
        if text.isascii() and text.isdigit() and len(text) < 19:
            return int(text)
        self._note(node, f"{text!r} is not a whole number")
        return 1

    def _percent(self, node: Any) -> int:
        text = self._scalar(node)
        whole, _, decimals = text.partition(".")
        if not (whole + decimals).isdigit() or not text.isascii() or len(decimals) > PERCENT_DECIMALS or len(whole) > 3:
            self._note(node, f"{text!r} is not a percentage with at most {PERCENT_DECIMALS} decimals, like 0.25")
            return 0
        return int((whole or "0") + decimals.ljust(PERCENT_DECIMALS, "0")) * fees.RATE_WHOLE_PPM // 10**6

    def _one_of(self, node: Any, values: dict[str, T], otherwise: T) -> T:
        text = self._scalar(node)
        if text not in values:
            self._note(node, f"{text!r} is none of {', '.join(values)}")
        return values.get(text, otherwise)


_KEY_BY_FIELD: Final = {"display_name": "name", "currency_code": "currency", "floor_minor": "overdraft"}


def _part(keys: dict[str, Any], path: str) -> Any:
    """Find what a fault is about, as near as it goes: the fee, the limits, the key itself."""
    name = path.partition(".")[0]
    if name.startswith("fees["):
        return keys["fees"].value[int(name[5:-1])]
    return keys.get(_KEY_BY_FIELD.get(name, name), keys.get("limits"))
