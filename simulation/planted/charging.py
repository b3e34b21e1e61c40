"""Bugs in fees and products: what is charged, and by which product.

Each docstring says what is wrong.
"""

from typing import Any
from unittest.mock import patch

from services.account.moving import Mover
from services.domain import errors
from services.gateway import pricing, products
from services.gateway.cataloguing import Cataloguing
from services.gateway.products import Products
from services.ledger import changes, posting
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


@bug("move", shards=1, weights={"move": 1.0, "limits": 1.0}, faults=(), has_products=True)
def take_own_limits() -> Patches:
    """A move replaces limits that were set for the account alone, too."""
    yield patch.object(changes, "_where_standard", lambda _, asked: asked)


@bug("move", shards=1, weights={"move": 1.0, "state": 1.0}, faults=(), has_products=True)
def move_before_the_books() -> Patches:
    """An account has its new product before the books have agreed."""
    finish = Mover.finish

    async def hasty(self: Mover, move: Any, **more: Any) -> int:
        await self._moves[self._shard_of(move.account_number)].finish(move.request_id)
        return await finish(self, move, **more)

    yield patch.object(Mover, "finish", hasty)


@bug("move", shards=1, weights={"move": 1.0, "transfer": 2.0}, faults=(), think_seconds=1.0, has_products=True)
def remember_old_products() -> Patches:
    """Gateways go on with the product that an account had when it first paid."""
    yield patch.object(Products, "forget", lambda *_: None)


@bug(
    "move",
    shards=1,
    standbys=0,
    weights={"move": 1.0},
    faults=("kill ledger", "account service away"),
    fault_seconds=0.1,
    intentions=80,
    call_seconds=(0.05, 0.5),
    has_products=True,
)
def read_back_or_nothing() -> Patches:
    """Who cannot be shown a moved account is told that nothing was done."""
    move = Cataloguing.move

    async def moved(self: Cataloguing, *asked: Any) -> Any:
        get = self._customers.get_account
        failures: list[errors.BankError] = []

        async def read(*of: Any) -> Any:
            try:
                return await get(*of)
            except errors.BankError as error:
                failures.append(error)
                raise

        with patch.object(self._customers, "get_account", read):
            try:
                return await move(self, *asked)
            except errors.OutcomeUnknown as doubt:
                raise (failures or [doubt])[0] from None

    yield patch.object(Cataloguing, "move", moved)


@bug("span", shards=2, weights={"span": 1.0}, faults=(), has_products=True)
def charge_the_first_payer_only() -> Patches:
    """Of many payers only the first is charged."""
    charge = pricing.charge

    def forgetful(transfers: Any, tariffs: Any, refused: Any) -> Any:
        firsts = {payer: tariff for payer, tariff in tariffs.items() if payer in transfers.debit_accounts}
        return charge(transfers, firsts, refused)

    yield patch.object(products, "charge", forgetful)
