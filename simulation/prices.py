"""The products of a plan, and what payments cost by them: the rules of `docs/products.md` written a second time, in fractions.

Never here: who had which product when (`charges.py`).
"""

from collections.abc import Iterable
from fractions import Fraction
from random import Random

from services.domain import chart
from services.domain.fees import Fee, Method, PaymentKind, Tier
from services.domain.products import NO_LIMITS, Kind, Product, Reference, Standard

CZK, EUR = 203, 978
CODES = ("BASIC", "PLUS")
VERSIONS = 2


def draw_products(seed: int) -> dict[Reference, Product]:
    """Draw a catalogue: for each currency two products in two versions each, with and without limits and fees."""
    chance = Random(f"products {seed}")
    found: dict[Reference, Product] = {}
    for currency in (CZK, EUR):
        for code in CODES:
            for version in range(1, VERSIONS + 1):
                product = Product(
                    f"{code}-{currency}",
                    version,
                    code.title(),
                    currency,
                    Kind.CURRENT,
                    _standard(chance),
                    _fees(chance),
                )
                found[product.reference] = product
    return found


def _standard(chance: Random) -> Standard:
    if chance.random() < 0.5:
        return NO_LIMITS
    floor = -chance.choice((0, 0, 100, 1_000))
    once, daily = (chance.choice((2_000, 100_000)) if chance.random() < 0.3 else None for _ in range(2))
    return Standard(floor, None, once, daily, chance.choice((3, 50)) if chance.random() < 0.3 else None)


def _fees(chance: Random) -> tuple[Fee, ...]:
    return tuple(_fee(chance, kind) for kind in PaymentKind if chance.random() < 0.7)


def _fee(chance: Random, kind: PaymentKind) -> Fee:
    tiers = [Tier(0, chance.choice((0, 1, 5)), chance.choice((0, 5_000, 33_333)))]
    if chance.random() < 0.5:
        tiers.append(Tier(chance.randint(1, 2_000), chance.choice((0, 3)), chance.choice((0, 1_000, 77_777))))
    least = chance.choice((0, 0, 2))
    return Fee(kind, chance.choice(tuple(Method)), tuple(tiers), least, chance.choice((None, least + 20)))


def price(product: Product | None, payments: Iterable[tuple[PaymentKind | None, int]]) -> int:
    """Tell what payments of these kinds and amounts cost somebody with a product."""
    if product is None:
        return 0
    fees = {fee.kind: fee for fee in product.fees}
    return sum(_price(fees[kind], amount) for kind, amount in payments if kind in fees)


def _price(fee: Fee, amount: int) -> int:
    reached = [tier for tier in fee.tiers if tier.from_minor < amount or tier.from_minor == 0]
    if fee.method == Method.SLAB:
        (tier,) = [tier for tier in fee.tiers if tier.from_minor <= amount][-1:]
        fixed, rated = tier.fixed_minor, Fraction(amount * tier.rate_ppm, 1_000_000)
    else:
        ends = [*(tier.from_minor for tier in reached[1:]), amount]
        fixed = sum(tier.fixed_minor for tier in reached)
        rated = sum(
            (
                Fraction((end - tier.from_minor) * tier.rate_ppm, 1_000_000)
                for tier, end in zip(reached, ends, strict=True)
            ),
            Fraction(0),
        )
    whole = max(fixed + int(rated + Fraction(1, 2)), fee.minor_min)  # Half a minor unit goes up; nothing is below 0.
    return whole if fee.minor_max is None else min(whole, fee.minor_max)


def kind_of(payee: int, *, is_capture: bool) -> PaymentKind | None:
    """Tell what kind of payment a leg to an account is; None for one that is free."""
    if is_capture:
        return PaymentKind.CAPTURE
    if not chart.is_internal(payee):
        return PaymentKind.TRANSFER
    code = payee // 10**8 % 10**4
    return {int(chart.Code.CASH): PaymentKind.CASH, int(chart.Code.NOSTRO): PaymentKind.EXTERNAL}.get(code)
