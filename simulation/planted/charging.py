"""Bugs in fees and products: what is charged, and by which product.

Each docstring says what is wrong.
"""

from typing import Any
from unittest.mock import patch

from services.gateway import products
from services.gateway.products import Products
from services.ledger import posting
from services.ledger.draft import Draft
from simulation.planted.bug import Patches, bug


@bug("resets", shards=1, weights={"transfer": 1.0}, faults=("resets",), fault_seconds=0.1, has_products=True)
def charge_repeats() -> Patches:
    """A repeat is charged the fee again."""
    post = posting.post

    def greedy(draft: Draft, transfers: Any) -> Any:
        answers = post(draft, transfers)
        for place in answers.repeats:
            for leg in transfers.further_legs.get(place, ()):
                payer, income = draft.state(leg.debit_account), draft.state(leg.credit_account)
                if leg.is_fee and payer is not None and income is not None:
                    draft.sequence += 1
                    draft.move(payer, income, leg.amount_minor, draft.sequence)
        return answers

    yield patch.object(posting, "post", greedy)


@bug("account service away", weights={"transfer": 1.0}, faults=("account service away",), has_products=True)
def free_for_strangers() -> Patches:
    """A payer whose product cannot be asked for pays no fee."""
    yield patch.object(products, "_unpriced", lambda *_: {})


@bug("kill gateway", weights={"transfer": 1.0}, faults=("kill gateway",), fault_seconds=0.1, has_products=True)
def free_while_starting() -> Patches:
    """A gateway that has no catalogue yet charges nothing."""
    charge = Products.charge

    async def generous(self: Products, *asked: Any) -> Any:
        return await charge(self, *asked) if self._is_loaded else {}

    yield patch.object(Products, "charge", generous)


@bug("span", shards=2, weights={"span": 1.0}, faults=(), has_products=True)
def charge_the_first_payer_only() -> Patches:
    """Of many payers only the first is charged."""
    charge = products.charge

    def forgetful(transfers: Any, tariffs: Any, refused: Any) -> Any:
        firsts = {payer: tariff for payer, tariff in tariffs.items() if payer in transfers.debit_accounts}
        return charge(transfers, firsts, refused)

    yield patch.object(products, "charge", forgetful)
