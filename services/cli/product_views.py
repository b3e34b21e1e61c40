"""Products and quotes as plain values, for `--json` and for tables.

Never here: printing (`output.py`), asking (`session.py`).
"""

from collections.abc import Mapping

from hivecore.gateway.v1 import bank_pb2
from hivecore.product.v1 import product_pb2

from services.cli.amounts import format_amount
from services.cli.views import View, transfer_view

_LIMITS = ("balance_minor_max", "transfer_minor_max", "day_minor_max")


def product_view(product: product_pb2.Product, defaults: Mapping[str, str]) -> View:
    """Show a version of a product."""
    code = product.currency_code
    limits: View = {name: getattr(product, name) for name in (*_LIMITS, "day_count_max") if product.HasField(name)}  # type: ignore[arg-type]
    texts = [
        f"{name.replace('_minor', '')} {format_amount(getattr(product, name), code)}"
        for name in _LIMITS
        if name in limits
    ]
    if product.HasField("day_count_max"):
        texts.append(f"day_count_max {product.day_count_max}")
    return {
        "code": product.code,
        "version": product.version,
        "display_name": product.display_name,
        "currency_code": code,
        "kind": product_pb2.Product.Kind.Name(product.kind),
        "is_default": defaults.get(code) == product.code,
        "overdraft": format_amount(-product.floor_minor, code),
        "floor_minor": product.floor_minor,
        "limits": [limits],
        "limits_text": ", ".join(texts),
        "fees": [fee_view(fee) for fee in product.fees],
        "fees_text": "; ".join(fee_text(fee, code) for fee in product.fees),
    }


def fee_view(fee: product_pb2.Fee) -> View:
    """Show a price."""
    return {
        "kind": product_pb2.PaymentKind.Name(fee.kind).removeprefix("PAYMENT_KIND_"),
        "method": product_pb2.Fee.Method.Name(fee.method),
        "tiers": [
            {"from_minor": tier.from_minor, "fixed_minor": tier.fixed_minor, "rate_ppm": tier.rate_ppm}
            for tier in fee.tiers
        ],
        "minor_min": fee.minor_min,
        "minor_max": fee.minor_max if fee.HasField("minor_max") else None,
    }


def fee_text(fee: product_pb2.Fee, code: str) -> str:
    """Say a price in a line."""
    kind = product_pb2.PaymentKind.Name(fee.kind).removeprefix("PAYMENT_KIND_").lower()
    method = f" {product_pb2.Fee.Method.Name(fee.method).lower()}" if len(fee.tiers) > 1 else ""
    tiers = ", ".join(_tier_text(tier, code) for tier in fee.tiers)
    least = f", at least {format_amount(fee.minor_min, code)}" if fee.minor_min else ""
    most = f", at most {format_amount(fee.minor_max, code)}" if fee.HasField("minor_max") else ""
    return f"{kind}{method} {tiers}{least}{most}"


def _tier_text(tier: product_pb2.Fee.Tier, code: str) -> str:
    whole, rest = divmod(tier.rate_ppm, 10_000)
    percent = f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"
    prices = [format_amount(tier.fixed_minor, code)] if tier.fixed_minor or not tier.rate_ppm else []
    prices += [percent] if tier.rate_ppm else []
    begin = f"from {format_amount(tier.from_minor, code)}: " if tier.from_minor else ""
    return begin + " + ".join(prices)


def quote_view(quote: bank_pb2.Quote) -> View:
    """Show what a transfer would cost."""
    code = quote.transfer.legs[0].currency_code
    return {
        "legs": transfer_view(quote.transfer)["legs"],
        "fee": format_amount(quote.transfer.fee_minor, code),
        "fee_minor": quote.transfer.fee_minor,
        "total": format_amount(quote.total_minor, code),
        "total_minor": quote.total_minor,
        "reason": quote.reason,
    }
