"""Catalogue files: what they say, and every fault by its line and column."""

from importlib import resources

import pytest

from services.cli.catalogue_files import CatalogueInvalid, read
from services.domain import products
from services.domain.fees import Fee, Method, PaymentKind, Tier
from services.domain.products import Catalogue, Kind, Product, Standard

WHOLE = """\
defaults:
  CZK: A-1
products:
  - code: A-1
    version: 2
    name: First
    currency: CZK
    kind: savings
    overdraft: 10.50
    limits: {balance_max: 100.00, day_count: 3}
    fees:
      - for: cash
        percent: 0.25
        min: 1.00
      - for: external
        graduated:
          - {from: 0.00, fixed: 2.00}
          - {from: 10.00, percent: 1.5}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(CatalogueInvalid) as caught:
        read(text.encode())
    return [str(fault) for fault in caught.value.faults]


def test_a_file_is_read_exactly() -> None:
    found = read(WHOLE.encode())
    assert found.defaults == {"CZK": "A-1"}
    assert found.products == [
        Product(
            "A-1",
            2,
            "First",
            203,
            Kind.SAVINGS,
            Standard(-1_050, 10_000, None, None, 3),
            (
                Fee(PaymentKind.CASH, Method.SLAB, (Tier(0, 0, 2_500),), 100),
                Fee(PaymentKind.EXTERNAL, Method.GRADUATED, (Tier(0, 200, 0), Tier(1_000, 0, 15_000))),
            ),
        )
    ]


def test_the_catalogue_that_comes_along_is_sound() -> None:
    found = read(resources.files("services.account").joinpath("catalogue.yaml").read_bytes())
    assert products.clashes(Catalogue(), found.products) == {}
    assert set(found.defaults.values()) <= {product.code for product in found.products}
    assert {fee.kind for product in found.products for fee in product.fees} == set(PaymentKind)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("version: 2", "version: two", "line 5, column 14: 'two' is not a whole number"),
        ("version: 2", "version: 0", "line 5, column 14: version: from 1 to 1000000"),
        ("currency: CZK", "currency: CZX", "line 7, column 15: not an ISO 4217 currency code"),
        ("kind: savings", "kind: saving", "line 8, column 11: 'saving' is none of current, savings, loan, internal"),
        ("overdraft: 10.50", "overdraft: 10.505", "line 9, column 16: '10.505' is not an amount of CZK"),
        ("overdraft: 10.50", "overdraft: -1", "line 9, column 16: '-1' is not an amount"),
        ("kind: savings", "knd: savings", "line 4, column 5: kind is missing"),
        ("percent: 0.25", "percent: 0.00001", "line 13, column 18: '0.00001' is not a percentage"),
        ("percent: 0.25", "percent: 51", "line 12, column 9: fees[0].tiers[0].rate_ppm: from 0 to 500000"),
        ("percent: 0.25", "percent: 1e-3", "line 13, column 18: '1e-3' is not a percentage"),
        ("from: 10.00", "from: 0.00", "line 15, column 9: fees[1].tiers[1].from_minor: tiers ascend"),
        ("for: cash", "for: external", "line 15, column 9: fees[1].kind: payments of this kind have a fee already"),
        ("code: A-1\n", "code: a-1\n", "line 4, column 11: code: 1 to 32 characters"),
        ("  CZK: A-1", "  XXY: A-1", "line 2, column 3: not an ISO 4217 currency code"),
        ("    name: First\n", "    name: First\n    name: Again\n", "line 7, column 5: name is given twice"),
        ("name: First", "name: [First]", "line 6, column 11: needs one value"),
        ("name: First", "name: &a First", None),
        ("for: cash", "for: *a", "line 12, column 14: aliases are not used here"),
        ("defaults:", "defaults: {", "line 3, column 9: not YAML"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(before: str, after: str, told: str | None) -> None:
    text = WHOLE.replace(before, after, 1)
    assert text != WHOLE
    if told is None:
        read(text.encode())
        return
    assert any(fault.startswith(told) for fault in faults(text)), faults(text)


def test_everything_wrong_is_told_at_once_in_order() -> None:
    text = WHOLE.replace("version: 2", "version: x").replace("0.25", "y").replace("kind: savings", "kind: z")
    assert [fault.partition(":")[0] for fault in faults(text)] == [
        "line 5, column 14",
        "line 8, column 11",
        "line 13, column 18",
    ]


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[" * 5_000, b"a: " + b"x" * 1_000_001, b"- 1", b"products: 7"])
def test_what_is_no_catalogue_is_refused(raw: bytes) -> None:
    with pytest.raises(CatalogueInvalid):
        read(raw)


def test_a_published_version_stays_and_a_code_keeps_its_currency() -> None:
    (product,) = read(WHOLE.encode()).products
    known = Catalogue(1, {product.reference: product})
    changed = Product("A-1", 2, "Other", 203, Kind.SAVINGS)
    foreign = Product("A-1", 3, "Other", 978, Kind.SAVINGS)
    found = products.clashes(known, [product, changed, foreign])
    assert {place: reason for place, (reason, _) in found.items()} == {
        1: "PRODUCT_VERSION_PUBLISHED",
        2: "PRODUCT_CURRENCY_CHANGED",
    }
