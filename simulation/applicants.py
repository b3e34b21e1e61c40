"""What callers want opened: customers and accounts, some by two callers at once, some under ids or names of others.

Several may be wanted by one call, some of them twice, under each other's ids or names, or not as the door takes them.

Never here: sending anything, judging what comes of it (`openings.py`).
"""

from collections.abc import Callable
from random import Random
from typing import Any

from hivecore.gateway.v1 import bank_pb2

from services.domain import limits
from services.domain.identifiers import customer_number, customer_text, uuid_text
from simulation.oracle import Intention, Oracle
from simulation.prices import CODES

UNKNOWN_CUSTOMER = customer_number(0, 77_777_777)
"""A number that is never given out."""

ITEMS_MAX = 8
"""Of one call."""


class Applicants:
    """Draws openings. `soon` takes what another caller is to want at the same time."""

    def __init__(self, seed: int, oracle: Oracle, new_id: Callable[[], bytes], soon: list[Intention]) -> None:
        self._chance = Random(f"applicants {seed}")
        self._oracle = oracle
        self._new_id = new_id
        self._soon = soon
        self._made: dict[str, list[Intention]] = {"customer": [], "account": []}
        self.draws = {
            "customer": lambda: self._ask("customer"),
            "account": lambda: self._ask(self._account_if_any()),
            "customers": lambda: self._ask_together("customer"),
            "accounts": lambda: self._ask_together(self._account_if_any()),
        }

    def _account_if_any(self) -> str:
        """Want accounts if there is a customer to have them, else customers."""
        return "account" if self._oracle.openings.customers else "customer"

    def _request(self, kind: str) -> Any:
        """Describe a customer, or an account of one."""
        if kind == "customer":
            body = bank_pb2.Customer(external_reference=self._reference(), display_name="Somebody")
            return bank_pb2.OpenCustomerRequest(customer=body)
        known = self._oracle.openings.customers
        owner = self._chance.choice(known) if self._chance.random() < 0.95 else UNKNOWN_CUSTOMER
        code, number = self._chance.choice((("CZK", 203), ("EUR", 978)))
        account = bank_pb2.Account(
            customer=f"customers/{customer_text(owner)}",
            currency_code=code,
            external_reference=self._reference(),
            product=self._product(number),
        )
        return bank_pb2.OpenAccountRequest(account=account)

    def _reference(self) -> str:
        kind = self._chance.random()
        if kind < 0.5:
            return ""
        return f"name {self._chance.randint(1, 4)}" if kind < 0.7 else f"own name {self._chance.randrange(10**9)}"

    def _product(self, currency: int) -> str:
        if not self._oracle.charges.products or self._chance.random() < 0.3:
            return ""
        if self._chance.random() < 0.1:
            return f"products/{self._chance.choice(('NONE', *(f'{code}-{each}' for code in CODES for each in (203, 978))))}"
        return f"products/{self._chance.choice(CODES)}-{currency}"

    def _ask(self, kind: str) -> list[Intention]:
        """Want something once, twice at the same time, or under an id that stands for something else."""
        request, made, drawn = self._request(kind), self._made[kind], self._chance.random()
        request_id = self._chance.choice(made).id if made and drawn < 0.08 else self._new_id()
        for _ in range(2 if drawn > 0.7 else 1):
            self._want(kind, request_id, request)
        if drawn > 0.7:
            self._soon.append(made[-1])
            return [made[-2]]
        return [made[-1]]

    def _ask_together(self, kind: str) -> list[Intention]:
        """Want several by one call, each new, or as one before it in some way, or wrong."""
        together: list[Intention] = []
        for _ in range(self._chance.randint(2, ITEMS_MAX)):
            before, drawn = self._chance.choice(together) if together else None, self._chance.random()
            if before is not None and drawn < 0.15:
                together.append(self._want(kind, before.id, before.request, is_wrong=before.is_wrong))
                continue
            request, request_id = self._request(kind), self._new_id()
            if before is not None and drawn < 0.25:
                request_id = before.id
            elif before is not None and drawn < 0.35:
                name = getattr(before.request, kind).external_reference
                getattr(request, kind).external_reference = name
            elif self._made[kind] and drawn < 0.4:
                request_id = self._chance.choice(self._made[kind]).id
            is_wrong = drawn > 0.9
            if is_wrong and kind == "customer":
                request.customer.display_name = "x" * (limits.DISPLAY_NAME_CHARACTERS_MAX + 1)
            elif is_wrong:
                request.account.currency_code = self._chance.choice(("USD", "money"))
            together.append(self._want(kind, request_id, request, is_wrong=is_wrong))
        return together

    def _want(self, kind: str, request_id: bytes, request: Any, *, is_wrong: bool = False) -> Intention:
        request.request_id = uuid_text(request_id)
        method = "OpenCustomer" if kind == "customer" else "OpenAccount"
        intention = self._oracle.add(Intention(kind, request_id, request, method, is_wrong=is_wrong))
        self._made[kind].append(intention)
        return intention
