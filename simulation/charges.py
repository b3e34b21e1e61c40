"""Who had which product when: whether the fees in the books are what products say, and moves between products sound.

A gateway may price by a product that an account had until a moment ago; while faults keep news from it, by any that the
account ever had. Never here: what a payment costs (`prices.py`), how a fee moves (`replay.py`).
"""

from collections.abc import Sequence
from hashlib import blake2b
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


def change_id_of(request_id: bytes) -> bytes:
    """Tell under which id the books know a move."""
    return blake2b(request_id, digest_size=16, person=b"product move").digest()


class Charges:
    """Knows the products of all accounts, and judges fees by them."""

    def __init__(self, plan: Plan, products: dict[Reference, Product]) -> None:
        self.products = products
        self._has_faults = bool(plan.faults)
        self._had: dict[int, list[tuple[float, Reference]]] = {}
        """By account: since when it has had which."""
        self._income: dict[int, int] = {}
        """The account that takes a payer's fees."""
        self._ended: set[Any] = set()

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
        """Notice moves that have ended."""
        for row in database.tables["account.product_move"].rows:
            if row["state"] == MoveState.BEGUN or row["request_id"] in self._ended:
                continue
            self._ended.add(row["request_id"])
            if row["state"] == MoveState.DONE:
                product = Reference(row["to_code"], row["to_version"])
                self._had[row["account_number"]].append((database.network.loop.time(), product))
            self._check_move(database, row)

    def _check_move(self, database: Database, move: Row) -> None:
        """Hold a move that has ended against what it did in the books: only what was as the old version says is replaced."""
        found = database.tables["account_change"].by("change_id", change_id_of(move["request_id"].bytes))
        claim(len(found) == 1, "a move ended that the books do not know", move)
        change = found[0]
        claim(move["refusal"] == change["refusal"], "a move ended otherwise than in the books", move, change)
        if change["refusal"]:
            return
        before, after = (
            self.standard(Reference(move[f"{side}_code"], move[f"{side}_version"])) for side in ("from", "to")
        )
        floor = after.floor_minor if change["floor_before_minor"] == before.floor_minor else None
        claim(change["floor_minor"] == floor, "a move left another floor", move, change, before, after)
        claim(change["sets_allowance"], "a move left the limits", move, change)
        for name, old, new in zip(Standard._fields[1:], before[1:], after[1:], strict=True):
            own = change[name.replace("_", "_before_", 1)]
            claim(change[name] == (new if own == old else own), "a move left another limit", name, move, change)

    @staticmethod
    def under_way(databases: dict[int, Database]) -> list[str]:
        """Name the moves that have not ended."""
        return [
            f"moving {row['account_number']}"
            for database in databases.values()
            for row in database.tables["account.product_move"].rows
            if row["state"] == MoveState.BEGUN
        ]

    def finish(self, databases: dict[int, Database]) -> None:
        """Hold the records against the moves, in their order."""
        for database in databases.values():
            tables = database.tables
            done = [row for row in tables["account.product_move"].rows if row["state"] == MoveState.DONE]
            done.sort(key=lambda row: row["done_sequence"])
            places = [row["done_sequence"] for row in done]
            claim(places == list(range(1, len(done) + 1)), "the order of moves has gaps or doubles", places)
            has = {number: had[0][1] for number, had in self._had.items()}
            for row in done:
                came_from = Reference(row["from_code"], row["from_version"])
                claim(has[row["account_number"]] == came_from, "a move began elsewhere than the last one ended", row)
                has[row["account_number"]] = Reference(row["to_code"], row["to_version"])
            for row in tables["account.account"].rows:
                now = Reference(row["product_code"], row["product_version"])
                claim(now == has[row["account_number"]], "an account has another product than it was moved to", row)

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
