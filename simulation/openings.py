"""Openings of customers and accounts, held against what was asked, the names, the records and the books.

An id stands for one number and a number for one id; a record has the number that its id stands for, lies where its
slot does and has the body that was asked for; what is active has its name and is in the books with its product's
limits; whoever is told of an opening is told what is so, and the same again. At the end nothing is half open. Never
here: how openings are asked for (`applicants.py`), what callers are told of anything else (`oracle.py`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from services.account.opening import Refusal, State
from services.account.placing import Kind, home_slot
from services.domain.identifiers import account_text, customer_text, slot_of_account, slot_of_customer
from services.domain.outcomes import Outcome
from services.domain.products import NONE, Reference
from simulation.charges import Charges
from simulation.database import Change, Database
from simulation.journal import Violation, claim
from simulation.tables import Row

if TYPE_CHECKING:
    from simulation.oracle import Answer, Intention

KINDS = {
    "customer": (Kind.CUSTOMER_REQUEST, Kind.CUSTOMER_REFERENCE),
    "account": (Kind.ACCOUNT_REQUEST, Kind.ACCOUNT_REFERENCE),
}
"""What callers open, and as what its names are claimed: the id and the external reference."""

_NUMBER = {"customer": "customer_number", "account": "account_number"}
_CODES = {"CZK": 203, "EUR": 978}


def wanted(intention: "Intention") -> Any:
    """Return the customer or account as it was asked for."""
    return getattr(intention.request, intention.kind)


def is_beaten(intention: "Intention", before: Sequence["Intention"]) -> bool:
    """Tell whether one that comes before in the same call has its id for another body, or its name: then it has to yield.

    That is so even if the one before is refused itself, so it is not for ever.
    """
    name = wanted(intention).external_reference
    rivals = [one for one in before if not one.is_wrong and one.request != intention.request]
    return any(one.id == intention.id or (name and wanted(one).external_reference == name) for one in rivals)


class Openings:
    """Watches all databases, and judges what callers are told."""

    def __init__(
        self,
        databases: dict[int, Database],
        control: Database,
        charges: Charges,
        by_id: dict[bytes, list["Intention"]],
        opened: Callable[[int, int, int], None],
    ) -> None:
        """Tell `opened` of accounts whose callers know them: number, shard, currency."""
        self.customers: list[int] = []
        """Those whose callers know them."""
        self._databases = databases
        self._control = control
        self._charges = charges
        self._by_id = by_id
        self._opened = opened
        self._ids: dict[tuple[str, int], bytes] = {}
        """By what is opened and its number: the id that it was claimed for."""
        self._codes: dict[int, str] = {}
        """By account: the code of the product with which it was opened."""
        self._half_open: dict[tuple[str, int], tuple[Database, Row]] = {}

    # What is written.

    def watch(self, database: Database, changes: Sequence[Change]) -> None:
        """Check a commit; stop the simulation when it is wrong."""
        try:
            for name, row in changes:
                if name == "account.claim":
                    self._claimed(row)
                elif name in {"account.customer", "account.account"}:
                    self._recorded(database, name.removeprefix("account."), row)
                elif name == "account" and row["customer_number"]:
                    is_changed = any(each == "account_change" for each, _ in changes)
                    self._entered(database, row, is_changed=is_changed)
            self._ended()
        except Violation as error:
            database.network.loop.fail(error)

    def _claimed(self, row: Row) -> None:
        for what, (request, reference) in KINDS.items():
            number = row["number"]
            if row["kind"] == request:
                claim(self._asked(what, row["key"]), "an id is claimed under which nobody opens anything", row)
                claim(self._ids.setdefault((what, number), row["key"]) == row["key"], "a number is given twice", row)
            elif row["kind"] == reference:
                ones = self._asked(what, self._ids.get((what, number), b""))
                is_wanted = any(wanted(one).external_reference.encode() == row["key"] for one in ones)
                claim(is_wanted and self._record(what, number), "a name is claimed for nothing", row)

    def _asked(self, what: str, request_id: bytes) -> list["Intention"]:
        ones = self._by_id.get(request_id, ())
        return [one for one in ones if one.kind == what and one.first_sent is not None and not one.is_wrong]

    def _recorded(self, database: Database, what: str, row: Row) -> None:
        number, request_id = row[_NUMBER[what]], row["request_id"].bytes
        ones = self._asked(what, request_id)
        claim(self._ids.get((what, number)) == request_id, "a record has a number that its id does not stand for", row)
        claim(any(one.denied < one.attempts for one in ones), "opened after a caller was told that nothing was", row)
        if what == "account":
            self._codes[number] = row["product_code"]
        claim(any(self._is_body(one, row) for one in ones), "a record has another body than was asked for", row)
        claim(self._shard_of(what, number) == database.shard_id, "a record lies on another shard than its slot", row)
        if what == "account":
            product = Reference(row["product_code"], row["product_version"])
            claim(any(self._product(one) == product for one in ones), "a record has another product", row)
            self._charges.opened(number, database.shard_id, row["currency"], product)
        self._half_open[what, number] = database, row

    def _entered(self, database: Database, row: Row, *, is_changed: bool) -> None:
        record = self._record("account", row["account_number"])
        claim(record is not None, "an account is in the books that nobody has recorded", row)
        assert record is not None
        facts = ("customer_number", "currency")
        claim(all(row[name] == record[name] for name in facts), "an account has other facts in the books", row, record)
        if is_changed or record["request_id"] is None:
            return
        self._has_its_name("account", record)
        standard = self._charges.standard(Reference(record["product_code"], record["product_version"]))
        found = tuple(row[name] for name in standard._fields)
        claim(found == tuple(standard), "an account is opened with other limits than its product's", row, standard)

    def _ended(self) -> None:
        """Look at what was half open: whether it is open now, or was taken back."""
        for (what, number), (database, row) in list(self._half_open.items()):
            there = database.tables[f"account.{what}"].get(number)
            if there is not None and there["state"] == State.OPENING:
                continue
            del self._half_open[what, number]
            if there is not None:
                self._has_its_name(what, there)
            if what == "account":
                is_there = database.tables["account"].get(number) is not None
                claim(is_there or there is None, "an account is active and not in the books", row)
                claim(there or not is_there, "an account that was taken back is in the books", row)

    def _has_its_name(self, what: str, record: Row) -> None:
        name = record["external_reference"].encode()
        owner = self._owner(KINDS[what][1], name) if name else None
        number = record[_NUMBER[what]]
        claim(not name or owner == number, "one is open without its name", record, owner)

    # What is known.

    def _owner(self, kind: Kind, key: bytes) -> int | None:
        slot = self._control.tables["control.slot"].get(home_slot(kind, key))
        assert slot is not None
        row = self._databases[slot["shard_id"]].tables["account.claim"].get(int(kind), key)
        return None if row is None else row["number"]

    def _shard_of(self, what: str, number: int) -> int:
        slot = slot_of_customer(number) if what == "customer" else slot_of_account(number)
        row = self._control.tables["control.slot"].get(slot)
        return 0 if row is None else int(row["shard_id"])

    def _record(self, what: str, number: int) -> Row | None:
        database = self._databases.get(self._shard_of(what, number))
        return None if database is None else database.tables[f"account.{what}"].get(number)

    def records(self, intention: "Intention") -> list[Row]:
        """List what an id has opened or half opened."""
        return [
            row
            for database in self._databases.values()
            for row in database.tables[f"account.{intention.kind}"].rows
            if row["request_id"] is not None and row["request_id"].bytes == intention.id
        ]

    def _is_body(self, intention: "Intention", row: Row) -> bool:
        """Tell whether a record says what somebody wanted; an account may have been moved to another product since."""
        body = wanted(intention)
        if row["external_reference"] != body.external_reference:
            return False
        if intention.kind == "customer":
            return bool(row["display_name"] == body.display_name)
        asked = (body.customer, _CODES.get(body.currency_code), body.product.removeprefix("products/"))
        owner = f"customers/{customer_text(row['customer_number'])}"
        return asked == (owner, row["currency"], self._codes[row["account_number"]])

    def _product(self, intention: "Intention") -> Reference | Refusal:
        """Tell which product an account gets that is opened now, or why none."""
        name = wanted(intention).product.removeprefix("products/")
        if not name:
            return NONE
        versions = [one for one in self._charges.products.values() if one.code == name]
        if not versions:
            return Refusal.PRODUCT_NOT_FOUND
        newest = max(versions, key=lambda product: product.version)
        fits = newest.currency == _CODES.get(wanted(intention).currency_code)
        return newest.reference if fits else Refusal.PRODUCT_CURRENCY_MISMATCH

    # What callers are told.

    def told(self, intention: "Intention", answer: "Answer") -> None:
        """Judge an answer, by what is so and by what others were told who asked for the same."""
        ones = self._asked(intention.kind, intention.id)
        for one in ones:
            if one.request == intention.request and one.final not in {None, answer}:
                # What was refused without a number leaves its id to another body.
                is_taken = one.final.outcome == answer.outcome and Refusal.REQUEST_ID_REUSED in {
                    answer.reason,
                    one.final.reason,
                }
                claim(is_taken, "two answers to one id", intention.short, one.final, answer)
        if answer.outcome != Outcome.POSTED:
            claim(
                self._may_be_refused(intention, answer.reason),
                "an opening is refused for nothing",
                intention.short,
                answer,
            )
            return
        number, what = int(answer.reason), intention.kind
        claim(self._owner(KINDS[what][0], intention.id) == number, "told of another number", intention.short, answer)
        row = self._record(what, number)
        claim(row is not None and row["state"] == State.ACTIVE, "told of what is not open", intention.short, row)
        assert row is not None
        claim(self._is_body(intention, row), "told of what somebody else opened", intention.short, row)
        if what == "customer":
            if number not in self.customers:
                self.customers.append(number)
            return
        shard_id = self._shard_of(what, number)
        claim(self._databases[shard_id].tables["account"].get(number), "told of what the books lack", intention.short)
        self._opened(number, shard_id, row["currency"])

    def _may_be_refused(self, intention: "Intention", reason: str) -> bool:
        what, body = intention.kind, wanted(intention)
        match reason:
            case Refusal.REQUEST_ID_REUSED:
                return any(one.request != intention.request for one in self._asked(what, intention.id))
            case Refusal.CUSTOMER_NOT_FOUND:
                return int(body.customer.removeprefix("customers/")) not in self.customers
            case Refusal.PRODUCT_NOT_FOUND | Refusal.PRODUCT_CURRENCY_MISMATCH:
                return self._product(intention) == reason
            case Refusal.EXTERNAL_REFERENCE_TAKEN:
                owner = self._owner(KINDS[what][1], body.external_reference.encode())
                return owner is not None and self._ids.get((what, owner)) != intention.id
        return False

    # The end.

    def under_way(self) -> list[str]:
        """Name what is half open."""
        return [f"opening {what} {number}" for what, number in self._half_open]

    def finish(self) -> None:
        """Hold everything that was asked for against everything that is there."""
        for ones in self._by_id.values():
            for one in ones:
                if one.kind in KINDS and one.final is not None:
                    self._finished(one, self.records(one))
        for shard in self._control.tables["control.shard"].rows:
            placed = [n for what, n in self._ids if what == "customer" and self._shard_of(what, n) == shard["shard_id"]]
            claim(len(placed) <= shard["customer_count"] <= shard["customer_quota"], "counted wrong", shard, placed)
        for (what, number), request_id in self._ids.items():
            claim(number // 100 % 10 ** (8 if what == "customer" else 10) <= self._last_serial(what, number),
                  "a number was never given out", what, number, request_id.hex())  # fmt: skip

    def _finished(self, intention: "Intention", rows: list[Row]) -> None:
        final, what = intention.final, intention.kind
        assert final is not None
        if final.outcome != Outcome.POSTED:
            claim(
                not any(self._is_body(intention, row) for row in rows),
                "what was refused is there",
                intention.short,
                rows,
            )
            return
        claim(len(rows) == 1, "an id has opened none, or many", intention.short, rows)
        row, number = rows[0], int(final.reason)
        is_so = row[_NUMBER[what]] == number and row["state"] == State.ACTIVE
        claim(is_so, "what was opened is not there as it was told", intention.short, row)
        shards = [shard for shard, each in self._databases.items() if each.tables["account"].get(number) is not None]
        claim(what == "customer" or shards == [self._shard_of(what, number)], "in other books", intention.short, shards)

    def _last_serial(self, what: str, number: int) -> int:
        slot = slot_of_customer(number) if what == "customer" else slot_of_account(number)
        table = self._control.tables["control.slot"]
        if what == "account":
            table = self._databases[self._shard_of(what, number)].tables["account.slot_serial"]
        row = table.get(slot)
        return 0 if row is None else int(row["last_serial"])


def number_told(answer: Any, kind: str) -> str:
    """Read the number of what was opened out of an answer."""
    if kind == "account":
        claim(answer.state == answer.ACTIVE, "told of an account that is not open yet", answer)
        claim(answer.account_number == account_text(int(answer.account_number)), "no account number", answer)
        return str(answer.account_number)
    return str(answer.customer_number)
