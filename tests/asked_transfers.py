"""Transfers as callers ask for them, and what the gateway makes of them: what its reading is tested on."""

from itertools import count
from typing import Any

from hivecore.gateway.v1 import bank_pb2

from services.domain import chart, identifiers
from services.domain.errors import BankError
from services.gateway import validation
from services.gateway.columns import Transfers

PARTNERS = {"AB": 7, "XYZ": 8}
PAYER, PAYEE, OTHER = (identifiers.account_number(slot, serial) for slot, serial in ((1, 1), (2, 2), (1, 3)))
CZK = 203
TRANSIT = chart.transit_account(1, 2, CZK)
CASH_OF_SHARD_1 = chart.internal_account(1, chart.Code.CASH, CZK)
ID = "01234567-89ab-cdef-0123-456789ABCDEF"


def _ending_in(check_digits: int) -> int:
    numbers = (identifiers.account_number(1, serial) for serial in count(1))
    return next(number for number in numbers if number % 100 == check_digits)


LOWEST, HIGHEST = _ending_in(2), _ending_in(98)
"""Numbers with the lowest and the highest check digits that there are."""
TWINS = tuple(identifiers.account_text(each) for each in (LOWEST + 97, _ending_in(97) - 97, HIGHEST - 97))
"""Mistyped numbers that only the range of their check digits gives away: they leave the same remainder."""


def leg(**changes: Any) -> bank_pb2.Leg:
    """Make a leg in order, but for the changes."""
    return bank_pb2.Leg(
        **{
            "debit_account": identifiers.account_text(PAYER),
            "credit_account": identifiers.account_text(PAYEE),
            "amount_minor": 100,
            "currency_code": "CZK",
        }
        | changes
    )


def transfer(*legs: bank_pb2.Leg, **changes: Any) -> bank_pb2.Transfer:
    """Make a transfer in order, but for the legs and the changes."""
    return bank_pb2.Transfer(**({"transfer_id": ID, "legs": list(legs) or [leg()]} | changes))


def read(*messages: bank_pb2.Transfer) -> tuple[Transfers, dict[int, BankError]]:
    """Read a call as the gateway does."""
    return validation.read_transfers(messages, PARTNERS, lambda place: f"transfers[{place}]")
