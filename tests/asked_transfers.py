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


def _twin(right: int, wrong: int) -> str:
    """Write an account's number with other check digits, which leave the same remainder."""
    numbers = (identifiers.account_number(1, serial) for serial in count(1))
    return identifiers.account_text(next(number for number in numbers if number % 100 == right) + wrong - right)


TWINS = (_twin(2, 99), _twin(97, 0), _twin(98, 1))
"""Mistyped numbers that only the range of their check digits gives away."""


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
