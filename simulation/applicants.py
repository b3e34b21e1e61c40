"""What callers want opened: customers and accounts, some by two callers at once, some under ids or names of others.

Never here: sending anything, judging what comes of it (`openings.py`).
"""

from collections.abc import Callable
from random import Random
from typing import Any

from hivecore.gateway.v1 import bank_pb2

from services.domain.identifiers import customer_number, customer_text, uuid_text
from simulation.oracle import Intention, Oracle
from simulation.prices import CODES

UNKNOWN_CUSTOMER = customer_number(0, 77_777_777)
"""A number that is never given out."""


class Applicants:
    """Draws openings. `soon` takes what another caller is to want at the same time."""

    def __init__(self, seed: int, oracle: Oracle, new_id: Callable[[], bytes], soon: list[Intention]) -> None:
        self._chance = Random(f"applicants {seed}")
        self._oracle = oracle
        self._new_id = new_id
        self._soon = soon
        self._made: dict[str, list[Intention]] = {"customer": [], "account": []}
        self.draws = {"customer": self._customer, "account": self._account}

    def _customer(self) -> list[Intention]:
        """Want a customer opened."""
        body = bank_pb2.Customer(external_reference=self._reference(), display_name="Somebody")
        return self._ask("customer", bank_pb2.OpenCustomerRequest(customer=body))

    def _account(self) -> list[Intention]:
        """Want an account opened for a customer who is there, if anybody is."""
        known = self._oracle.openings.customers
        if not known:
            return self._customer()
        owner = self._chance.choice(known) if self._chance.random() < 0.95 else UNKNOWN_CUSTOMER
        code, number = self._chance.choice((("CZK", 203), ("EUR", 978)))
        body = bank_pb2.Account(
            customer=f"customers/{customer_text(owner)}",
            currency_code=code,
            external_reference=self._reference(),
            product=self._product(number),
        )
        return self._ask("account", bank_pb2.OpenAccountRequest(account=body))

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

    def _ask(self, kind: str, request: Any) -> list[Intention]:
        """Want it once, twice at the same time, or under an id that stands for something else."""
        made, drawn = self._made[kind], self._chance.random()
        request_id = self._chance.choice(made).id if made and drawn < 0.08 else self._new_id()
        request.request_id = uuid_text(request_id)
        for _ in range(2 if drawn > 0.7 else 1):
            method = "OpenCustomer" if kind == "customer" else "OpenAccount"
            made.append(self._oracle.add(Intention(kind, request_id, request, method)))
        if drawn > 0.7:
            self._soon.append(made[-1])
            return [made[-2]]
        return [made[-1]]
