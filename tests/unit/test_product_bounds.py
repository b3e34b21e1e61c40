"""Products by themselves: every bound of every field, and which version the catalogue gives."""

from dataclasses import replace
from typing import Any

import pytest

from services.domain import fees, limits, products
from services.domain.fees import Fee, Method, PaymentKind, Tier
from services.domain.products import NO_LIMITS, NONE, VERSION_MAX, Catalogue, Kind, Product, Reference, Standard

CZK = 203
GOOD = Product("CURRENT", 1, "Current account", CZK, Kind.CURRENT)
MOST = limits.BALANCE_MINOR_MAX


def faults(product: Product) -> list[tuple[str, str]]:
    return [(fault.path, fault.reason) for fault in products.faults(product)]


def bounds(least: int, most: int) -> list[tuple[int, bool]]:
    """Give numbers at both bounds and beyond them, and whether they are taken."""
    return [(least - 1, False), (least, True), (most, True), (most + 1, False)]


@pytest.mark.parametrize(("version", "is_good"), bounds(1, VERSION_MAX))
def test_versions_have_bounds(version: int, is_good: bool) -> None:
    assert faults(replace(GOOD, version=version)) == ([] if is_good else [("version", "PRODUCT_VERSION_INVALID")])


@pytest.mark.parametrize(("length", "is_good"), bounds(1, 32))
def test_codes_have_bounds(length: int, is_good: bool) -> None:
    assert faults(replace(GOOD, code="X" * length)) == ([] if is_good else [("code", "PRODUCT_CODE_INVALID")])


@pytest.mark.parametrize("code", ["current", "A B", "A_B", "Á", "A\n"])
def test_codes_are_of_few_characters(code: str) -> None:
    assert faults(replace(GOOD, code=code)) == [("code", "PRODUCT_CODE_INVALID")]


@pytest.mark.parametrize(
    ("name", "is_good"),
    [*(("x" * length, is_good) for length, is_good in bounds(1, limits.DISPLAY_NAME_CHARACTERS_MAX)), ("a\nb", False)],
)
def test_names_have_bounds_and_no_line_breaks(name: str, is_good: bool) -> None:
    assert faults(replace(GOOD, display_name=name)) == ([] if is_good else [("display_name", "PRODUCT_NAME_INVALID")])


def test_currencies_are_known() -> None:
    assert faults(replace(GOOD, currency=1)) == [("currency_code", "CURRENCY_UNKNOWN")]


@pytest.mark.parametrize(("floor_minor", "is_good"), bounds(-MOST, 0))
def test_a_floor_is_no_more_than_0(floor_minor: int, is_good: bool) -> None:
    found = list(products.faults(replace(GOOD, standard=Standard(floor_minor))))
    assert found == ([] if is_good else [("floor_minor", "FLOOR_INVALID", f"from -{MOST} to 0")])


@pytest.mark.parametrize("name", [name for name in Standard._fields if name != "floor_minor"])
@pytest.mark.parametrize(("value", "is_good"), bounds(0, MOST))
def test_a_limit_is_no_less_than_0(name: str, value: int, is_good: bool) -> None:
    standard = NO_LIMITS._replace(**{name: value})
    assert faults(replace(GOOD, standard=standard)) == ([] if is_good else [(name, "LIMIT_INVALID")])


FREE = Tier(0, 0, 0)


def fee(
    *tiers: Tier, minor_min: int = 0, minor_max: int | None = None, kind: PaymentKind = PaymentKind.TRANSFER
) -> Fee:
    return Fee(kind, Method.GRADUATED, tiers, minor_min=minor_min, minor_max=minor_max)


def fee_faults(*asked: Fee) -> list[str]:
    found = faults(replace(GOOD, fees=asked))
    assert {reason for _, reason in found} <= {"FEE_INVALID", "FEE_REPEATED"}
    return [path for path, _ in found]


@pytest.mark.parametrize(("count", "is_good"), bounds(1, fees.TIERS_MAX))
def test_a_fee_has_so_many_tiers(count: int, is_good: bool) -> None:
    assert fee_faults(fee(*(FREE._replace(from_minor=begin) for begin in range(count)))) == (
        [] if is_good else ["fees[0].tiers"]
    )


@pytest.mark.parametrize(
    ("begins", "wrong"),
    [
        ((0, 1, limits.AMOUNT_MINOR_MAX), []),
        ((1,), [0]),
        ((-1,), [0]),
        ((0, 0), [1]),
        ((0, 5, 5, 4), [2, 3]),
        ((0, limits.AMOUNT_MINOR_MAX + 1), [1]),
        ((0, -1, 3), [1]),
    ],
)
def test_tiers_begin_at_0_and_ascend(begins: tuple[int, ...], wrong: list[int]) -> None:
    assert fee_faults(fee(*(FREE._replace(from_minor=begin) for begin in begins))) == [
        f"fees[0].tiers[{place}].from_minor" for place in wrong
    ]


@pytest.mark.parametrize(("name", "most"), [("fixed_minor", fees.FIXED_MINOR_MAX), ("rate_ppm", fees.RATE_PPM_MAX)])
def test_what_a_tier_costs_has_bounds(name: str, most: int) -> None:
    for value, is_good in bounds(0, most):
        asked: dict[str, Any] = {name: value}
        assert fee_faults(fee(FREE._replace(**asked))) == ([] if is_good else [f"fees[0].tiers[0].{name}"])


def test_the_least_and_the_most_of_a_fee_have_bounds() -> None:
    for least, is_good in bounds(0, fees.FIXED_MINOR_MAX):
        assert fee_faults(fee(FREE, minor_min=least)) == ([] if is_good else ["fees[0].minor_min"])
    for most, is_good in bounds(7, limits.AMOUNT_MINOR_MAX):
        assert fee_faults(fee(FREE, minor_min=7, minor_max=most)) == ([] if is_good else ["fees[0].minor_max"])


def test_a_kind_of_payment_has_one_fee() -> None:
    one, other = (fee(FREE, kind=kind) for kind in (PaymentKind.TRANSFER, PaymentKind.CASH))
    assert fee_faults(one, other) == []
    assert fee_faults(one, other, one, other) == ["fees[2].kind", "fees[3].kind"]


def test_a_catalogue_gives_the_version_that_is_asked_for_or_the_newest() -> None:
    second = replace(GOOD, version=2, standard=Standard(-100))
    other = replace(GOOD, code="OTHER", version=3)
    known = Catalogue(products={product.reference: product for product in (second, GOOD, other)})
    assert known.newest("CURRENT") == known.find("CURRENT", 0) == known.find("CURRENT", 2) == second
    assert known.find("CURRENT", 1) == GOOD
    assert known.find("OTHER", 0) == other
    assert known.newest("NONE") is known.find("NONE", 0) is known.find("CURRENT", 3) is None
    assert known.standard(Reference("CURRENT", 2)) == Standard(-100)
    assert known.standard(NONE) == NO_LIMITS
    with pytest.raises(KeyError):
        known.standard(Reference("CURRENT", 3))
