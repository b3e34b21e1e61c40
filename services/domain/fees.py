"""What a payment costs: integers only, exact, rounded once. Pure.

Rates are parts per million of minor units. The sum of all rated parts is rounded half up to the minor
unit, fixed parts are added, then the least and the most apply. Never here: who pays, or where it goes.
"""

from enum import IntEnum
from typing import Final, NamedTuple

RATE_WHOLE_PPM: Final = 1_000_000
RATE_PPM_MAX: Final = 500_000
"""Half of the amount; a higher rate is a mistake."""
FIXED_MINOR_MAX: Final = 10**12
TIERS_MAX: Final = 10


class PaymentKind(IntEnum):
    """What a payment is, as far as its price goes. The numbers travel and are stored."""

    TRANSFER = 1
    EXTERNAL = 2
    CASH = 3
    CAPTURE = 4


class Method(IntEnum):
    """How tiers apply. The numbers travel and are stored."""

    SLAB = 1
    """The tier that the amount lies in prices the whole amount."""
    GRADUATED = 2
    """Each tier prices the part of the amount that lies in it."""


class Tier(NamedTuple):
    """Part of a price, from an amount on."""

    from_minor: int
    fixed_minor: int
    rate_ppm: int


class Fee(NamedTuple):
    """What payments of one kind cost."""

    kind: PaymentKind
    method: Method
    tiers: tuple[Tier, ...]
    """The first from 0, ascending."""
    minor_min: int = 0
    minor_max: int | None = None


def fee_minor(fee: Fee, amount_minor: int) -> int:
    """Tell what a payment of an amount, at least 1, costs in minor units; 0 when nothing."""
    fixed, rated = (_slab if fee.method == Method.SLAB else _graduated)(fee.tiers, amount_minor)
    price = max(fixed + (rated + RATE_WHOLE_PPM // 2) // RATE_WHOLE_PPM, fee.minor_min)
    return price if fee.minor_max is None else min(price, fee.minor_max)


def _slab(tiers: tuple[Tier, ...], amount_minor: int) -> tuple[int, int]:
    """Return fixed minor units, and millionths of minor units."""
    tier = tiers[0]
    for higher in tiers[1:]:
        if amount_minor < higher.from_minor:
            break
        tier = higher
    return tier.fixed_minor, amount_minor * tier.rate_ppm


def _graduated(tiers: tuple[Tier, ...], amount_minor: int) -> tuple[int, int]:
    """Return fixed minor units, and millionths of minor units."""
    fixed = rated = 0
    end_minor = amount_minor
    for tier in reversed(tiers):
        if tier.from_minor < amount_minor:
            fixed += tier.fixed_minor
            rated += (end_minor - tier.from_minor) * tier.rate_ppm
            end_minor = tier.from_minor
    return fixed, rated
