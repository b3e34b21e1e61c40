"""The groups of payers that are compared: what is special about their accounts and their transfers.

Never here: measuring.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from google.type import date_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.product.v1 import product_pb2

PLENTY: Final = 10**12
"""A limit that is looked at and never met: minor units, or times."""

FEE_MINOR: Final = 7

LIMITS: Final = ("balance_minor_max", "transfer_minor_max", "day_minor_max", "day_count_max")

Dress = Callable[[bank_pb2.Transfer, int], None]
"""Adds something to a transfer; the number differs from transfer to transfer."""


@dataclass(frozen=True, slots=True)
class Group:
    """Payers that have something in common which the others have not."""

    name: str
    is_limited: bool = False
    """Whether each payer has all limits that an account can have."""
    fee_minor: int = 0
    """Of a transfer."""
    is_capped: bool = False
    """Whether each payer's customer has a cap per day over all accounts."""
    dress: tuple[Dress, ...] = ()


def _with_metadata(transfer: bank_pb2.Transfer, number: int) -> None:
    transfer.metadata["order"] = str(number)
    transfer.metadata["till"] = str(number % 100)


def _with_value_date(transfer: bank_pb2.Transfer, _number: int) -> None:
    day = datetime.now(UTC) + timedelta(days=2)  # Another day than the transfer's own, also around midnight.
    transfer.value_date.CopyFrom(date_pb2.Date(year=day.year, month=day.month, day=day.day))


def product(group: Group, code: str, currency_code: str) -> product_pb2.Product:
    """Make the product that a group's payers have."""
    made = product_pb2.Product(
        code=code,
        version=1,
        display_name=group.name,
        currency_code=currency_code,
        kind=product_pb2.Product.CURRENT,
    )
    for limit in LIMITS if group.is_limited else ():
        setattr(made, limit, PLENTY)
    if group.fee_minor:
        tier = product_pb2.Fee.Tier(fixed_minor=group.fee_minor)
        made.fees.add(kind=product_pb2.PAYMENT_KIND_TRANSFER, method=product_pb2.Fee.SLAB, tiers=[tier])
    return made


PLAIN: Final = Group("none of it")
GROUPS: Final = (
    PLAIN,
    Group("four limits of the account", is_limited=True),
    Group("a cap over the customer's accounts", is_capped=True),
    Group("a fee", fee_minor=FEE_MINOR),
    Group("two keys of metadata", dress=(_with_metadata,)),
    Group("a value date that is another day", dress=(_with_value_date,)),
    Group("all of it", is_limited=True, fee_minor=FEE_MINOR, is_capped=True, dress=(_with_metadata, _with_value_date)),
)
