"""Who had which product when, and whether the fees in the books are what products say.

A gateway may price by a product that an account had until a moment ago; while faults keep news from it, by any that the
account ever had. Never here: what a payment costs (`prices.py`), how a fee moves (`replay.py`).
"""

from collections.abc import Sequence
from typing import Any

from services.account.moves import MoveState
from services.domain import chart
from services.domain.outcomes import Refusal
from services.domain.products import NO_LIMITS, NONE, Product, Reference, Standard
from simulation.database import Change, Database
from simulation.journal import claim
from simulation.plan import Plan
from simulation.prices import kind_of, price
from simulation.tables import Row

NEWS_SECONDS_MAX = 6.0
"""How long an old price may be used where nothing goes wrong: the gateway's refreshing, and its question's own time."""


class Charges:
    """Knows the products of all accounts, and judges fees by them."""

    def __init__(self, plan: Plan, products: dict[Reference, Product]) -> None:
        self.products = products
        self._has_faults = bool(plan.faults)
        self._had: dict[int, list[tuple[float, Reference]]] = {}
        """By account: since when it has had which."""
        self._income: dict[int, int] = {}
        """The account that takes a payer's fees."""
        self._done: set[Any] = set()

    def opened(self, number: int, shard_id: int, currency: int, reference: Reference) -> None:
        """Learn of an account and its first product."""
        self._had[number] = [(0.0, reference)]
        self._income[number] = chart.internal_account(shard_id, chart.Code.FEES, currency)

    def standard(self, reference: Reference) -> Standard:
        """Tell the limits that a product sets."""
        return NO_LIMITS if reference == NONE else self.products[reference].standard

    def newest(self, number: int) -> Reference:
        """Tell which product an account has."""
        return self._had[number][-1][1]

    def watch(self, database: Database, _changes: Sequence[Change]) -> None:
        """Notice moves that were done."""
        for row in database.tables["account.product_move"].rows:
            if row["state"] == MoveState.DONE and row["request_id"] not in self._done:
                self._done.add(row["request_id"])
                product = Reference(row["to_code"], row["to_version"])
                self._had[row["account_number"]].append((database.network.loop.time(), product))

    def check(self, first_sent: float, asked: Any, row: Row, further: list[Row], *, is_capture: bool) -> None:
        """Judge the fees of a transfer that was asked for with a message, None for one that is always free."""
        legs = [row, *(leg for leg in further if not leg["is_fee"])]
        fees = [leg for leg in further if leg["is_fee"]]
        claim(further[len(legs) - 1 :] == fees, "fees do not come last", row, further)
        payers = dict.fromkeys(leg["debit_account"] for leg in legs)
        charged = {fee["debit_account"]: fee["amount_minor"] for fee in fees}
        claim(
            len(charged) == len(fees) and charged.keys() <= payers.keys(), "a fee is another's, or a second", row, fees
        )
        for fee in fees:
            income = self._income.get(fee["debit_account"])
            claim(fee["credit_account"] == income, "a fee goes elsewhere than to the income", row, fee)
        if asked is None or asked.waive_fees:
            claim(not fees, "a fee where none may be", row, fees)
            return
        for payer in payers:
            payments = [
                (kind_of(leg["credit_account"], is_capture=is_capture), leg["amount_minor"])
                for leg in legs
                if leg["debit_account"] == payer
            ]
            prices = {price(self.products.get(each), payments) for each in self._may_have(payer, first_sent)}
            claim(charged.get(payer, 0) in prices, "a fee is not what a product says", row, charged, prices)
        if asked.HasField("fee_minor_max"):
            exceeds = sum(charged.values()) > asked.fee_minor_max
            claim(not exceeds or row["refusal"], "more is charged than was agreed to", row, charged)
            claim(exceeds or row["refusal"] != Refusal.FEE_EXCEEDS_MAXIMUM, "refused for a fee that was agreed to", row)

    def _may_have(self, payer: int, first_sent: float) -> list[Reference]:
        """List the products by which a payer may have been charged for what was first sent then."""
        had = self._had.get(payer, [(0.0, NONE)])
        since = float("-inf") if self._has_faults else first_sent - NEWS_SECONDS_MAX
        until = [began for began, _ in had[1:]] + [float("inf")]
        return [reference for (_, reference), ended in zip(had, until, strict=True) if ended >= since]
