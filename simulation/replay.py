"""The rules of the books, written a second time and as plainly as possible: each row must follow from those before.

Never here: what a leg does (`steps.py`), transfers over several shards (`spans.py`), watermarks, sums (`checker.py`).
"""

from collections.abc import Callable

from services.domain import chart
from services.domain.outcomes import Outcome, Refusal
from services.ledger.books import HoldState, Kind, Relation
from simulation.database import Database
from simulation.journal import Account, Batch, Books, Counted, Hold, claim
from simulation.spans import Spans
from simulation.steps import CLOSED, OVERDRAW, OVERRIDDEN, RESERVED, is_fee
from simulation.tables import Row


class Replay(Spans):
    """Reads the rows of journals again. `asked` and `changed` are told of what a caller must have asked for."""

    def __init__(
        self,
        databases: dict[int, Database],
        books: dict[int, Books],
        asked: Callable[[int, Row, list[Row], Row | None], None],
        changed: Callable[[Row], None],
    ) -> None:
        super().__init__(databases, books)
        self._asked = asked
        self._changed = changed
        self.transfers = 0

    def transfer(self, books: Books, batch: Batch, row: Row) -> None:
        self.transfers += 1
        sequence, kind = row["sequence"], row["kind"]
        further = batch.further.get(sequence, [])
        claim(row["leg_count"] == 1 + len(further), "legs are missing", row)
        batch.used += range(sequence, sequence + row["leg_count"])
        claim(row["booking_time"] == self.databases[batch.shard].head["booking_time"], "a row has another time", row)
        claim(row["booking_time"] // 86_400_000_000 == row["business_date"], "the business date is not the day's", row)
        if row["outcome"] == Outcome.REFUSED:
            self._refused(books, batch, row, further)
        elif kind == Kind.ASKED:
            self._posted(books, batch, row, further)
        elif kind == Kind.LANDING:
            self._landed(books, batch, row)
        elif kind == Kind.RETURN:
            self._returned(books, batch, row, further)
        elif kind == Kind.PROMISED:
            self.promised(books, batch, row, further)
        elif kind == Kind.KEPT:
            self.kept(books, batch, row, further)
        elif kind == Kind.DROPPED:
            self.dropped(books, batch, row, further)
        else:
            self._hold_command(books, batch, row)
        if kind in {Kind.ASKED, Kind.HOLD_PLACED, Kind.HOLD_INCREASED, Kind.HOLD_RELEASED, Kind.BURIED}:
            self._asked(batch.shard, row, further, batch.relations.get(sequence))

    def _refused(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        for sequence in range(row["sequence"], row["sequence"] + row["leg_count"]):
            claim(sequence not in batch.entries, "a refused transfer has entries", row)
        claim(row["refusal"], "a refusal has no reason", row)
        claim(row["sequence"] not in batch.peer_of, "a refused transfer crosses", row)
        if further or batch.relations.get(row["sequence"]) or row["kind"] != Kind.ASKED:
            return
        debit = books.accounts.get(row["debit_account"])
        if row["refusal"] == Refusal.DEBIT_ACCOUNT_NOT_FOUND:
            claim(debit is None or debit.restrictions & RESERVED, "a payer that exists was not found", row)
        elif row["refusal"] == Refusal.INSUFFICIENT_FUNDS:
            assert debit is not None
            lacking = debit.balance - debit.held - row["amount_minor"] < debit.floor
            claim(lacking, "refused for want of funds that are there", row, debit)
        elif row["refusal"] == Refusal.TRANSFER_LIMIT:
            assert debit is not None
            claim(row["amount_minor"] > (debit.limits[1] or 0), "refused by a limit that is not reached", row, debit)
        elif row["refusal"] == Refusal.CUSTOMER_DAY_LIMIT:
            assert debit is not None
            cap = books.caps.get((debit.customer, debit.currency))
            claim(cap is not None, "refused by a cap that there is not", row)
            assert cap is not None
            exceeds = cap[1].on(row["business_date"])[0] + row["amount_minor"] > cap[0]
            claim(exceeds, "refused by a cap that is not reached", row, cap)

    def _posted(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        sequence, relation = row["sequence"], batch.relations.get(row["sequence"])
        peer = batch.peer_of.get(sequence)
        claim((row["outcome"] == Outcome.IN_TRANSIT) == (peer is not None), "a crossing without a number", row)
        reverses = relation is not None and relation["relation"] == Relation.REVERSES
        if batch.is_span(row):
            self.decided(books, batch, row, further, is_spending=not reverses)
        else:
            self._posted_legs(books, batch, row, further)
        if reverses:
            assert relation is not None
            self._reverse(books, batch, row, further, relation["target_id"])

    def _posted_legs(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        sequence, relation = row["sequence"], batch.relations.get(row["sequence"])
        peer = batch.peer_of.get(sequence)
        captures = relation is not None and relation["relation"] == Relation.CAPTURES
        reverses = relation is not None and relation["relation"] == Relation.REVERSES
        for place, leg in enumerate((row, *further)):
            payer = self.may_pay(books, leg, row)
            if captures and not place:
                assert relation is not None
                self._capture(books, relation, leg, row)
            else:
                free = payer.balance - payer.held - leg["amount_minor"] >= payer.floor
                claim(free or row["flags"] & OVERDRAW, "a floor is broken", row, payer)
                if not reverses and not is_fee(leg):
                    self.spend(books, payer, leg["amount_minor"], row)
            payee = leg["credit_account"]
            if place == 0 and peer is not None:
                payee = chart.transit_account(batch.shard, peer[0], leg["currency"])
                self.flies(batch.shard, peer[0], leg["currency"], leg["amount_minor"])
            else:
                self.may_be_paid(books, payee, leg, row)
            self.move(books, batch, sequence + place, leg["debit_account"], payee, leg["amount_minor"])

    def _capture(self, books: Books, relation: Row, leg: Row, row: Row) -> None:
        hold = self._open_hold(books, relation["target_id"], leg["debit_account"], row)
        claim(leg["amount_minor"] <= hold.amount, "more is captured than held", row, hold)
        claim(hold.payee in {0, leg["credit_account"]}, "a hold is captured for another payee", row, hold)
        account = books.accounts[hold.account]
        account.held -= hold.amount
        hold.state = HoldState.CAPTURED
        if hold.place_date == row["business_date"]:
            self.count(books, account, row["business_date"], leg["amount_minor"] - hold.amount, 0)

    @staticmethod
    def _open_hold(books: Books, hold_id: bytes, account: int, row: Row) -> Hold:
        hold = books.holds.get(hold_id)
        claim(hold is not None, "there is no such hold", row)
        assert hold is not None
        claim(hold.account == account, "a hold is another account's", row, hold)
        claim(hold.state == HoldState.OPEN, "a hold is resolved twice", row, hold)
        claim(row["kind"] == Kind.HOLD_EXPIRED or hold.expire_time > row["booking_time"], "a hold is over", row, hold)
        return hold

    def _hold_command(self, books: Books, batch: Batch, row: Row) -> None:
        account = books.accounts[row["debit_account"]]
        relation = batch.relations.get(row["sequence"])
        kind, day = row["kind"], row["business_date"]
        if kind == Kind.HOLD_PLACED:
            claim(row["transfer_id"] not in books.holds, "a hold is placed twice", row)
            kept = self.databases[batch.shard].tables["hold"].get(row["transfer_id"])
            claim(kept is not None, "a hold is not kept", row)
            assert kept is not None
            books.holds[row["transfer_id"]] = Hold(
                row["debit_account"], row["amount_minor"], kept["expire_time"], row["credit_account"], day
            )
            self._set_aside(books, batch, account, row["amount_minor"], row)
            self.spend(books, account, row["amount_minor"], row)
            return
        hold_id = row["transfer_id"] if kind == Kind.HOLD_EXPIRED else relation["target_id"]  # type: ignore[index]
        hold = self._open_hold(books, hold_id, account.number, row)
        if kind == Kind.HOLD_INCREASED:
            hold.amount += row["amount_minor"]
            kept = self.databases[batch.shard].tables["hold"].get(hold_id)
            assert kept is not None
            hold.expire_time = kept["expire_time"]
            self._set_aside(books, batch, account, row["amount_minor"], row)
            self.count(books, account, day, row["amount_minor"], 0, None if row["flags"] & OVERRIDDEN else row)
            return
        if kind == Kind.HOLD_EXPIRED:
            claim(hold.expire_time <= row["booking_time"], "a hold expires too early", row, hold)
        self.entry(books, batch, row["sequence"], account, 0, -hold.amount)
        hold.state = HoldState.RELEASED if kind == Kind.HOLD_RELEASED else HoldState.EXPIRED
        if hold.place_date == day:
            self.count(books, account, day, -hold.amount, -1)

    def _set_aside(self, books: Books, batch: Batch, account: Account, amount: int, row: Row) -> None:
        self.may_pay(books, row, row)
        claim(account.balance - account.held - amount >= account.floor, "a floor is broken by a hold", row, account)
        self.entry(books, batch, row["sequence"], account, 0, amount)

    def _landed(self, books: Books, batch: Batch, row: Row) -> None:
        claim(row["sequence"] in batch.number_of, "a landing has no number", row)
        peer, number = batch.number_of[row["sequence"]]
        sent = self.sent(peer, batch.shard, number, row)
        same = ("transfer_id", "debit_account", "credit_account", "amount_minor", "currency", "reference", "value_date")
        claim(all(sent[name] == row[name] for name in same), "another crossing landed than was sent", sent, row)
        self.may_be_paid(books, row["credit_account"], row, row)
        transit = chart.transit_account(batch.shard, peer, row["currency"])
        self.move(books, batch, row["sequence"], transit, row["credit_account"], row["amount_minor"])
        self.in_flight[peer, batch.shard, row["currency"]] -= row["amount_minor"]

    def sent(self, shard: int, to: int, number: int, row: Row) -> Row:
        """Return the transfer that left as crossing `number`."""
        tables = self.databases[shard].tables
        crossing = tables["crossing_out"].get(to, number)
        claim(crossing is not None, "a crossing that was never sent", shard, to, number, row)
        assert crossing is not None
        sent = tables["transfer"].get(crossing["sequence"])
        assert sent is not None
        return sent

    def _returned(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        returns = [
            each for each in batch.rows.get("crossing_returned", ()) if each["return_sequence"] == row["sequence"]
        ]
        claim(len(returns) == 1, "a return has no number", row)
        peer, number = returns[0]["peer_id"], returns[0]["number"]
        refused = self.databases[peer].tables["crossing_refused"].get(batch.shard, number)
        claim(refused is not None, "what was not refused is given back", row)
        claim(refused is not None and refused["refusal"] == returns[0]["refusal"], "another reason is given", row)
        sent = self.sent(batch.shard, peer, number, row)
        claim(sent["transfer_id"] == row["transfer_id"], "another crossing is given back", sent, row)
        claim(sent["amount_minor"] == row["amount_minor"], "another amount is given back", sent, row)
        claim(sent["leg_count"] == row["leg_count"], "not all legs are given back", sent, row)
        transit = chart.transit_account(batch.shard, peer, row["currency"])
        self.move(books, batch, row["sequence"], transit, sent["debit_account"], row["amount_minor"])
        for leg in further:
            self.move(books, batch, leg["sequence"], leg["debit_account"], leg["credit_account"], leg["amount_minor"])
        self.in_flight[batch.shard, peer, row["currency"]] -= row["amount_minor"]
        relations = self.databases[batch.shard].tables["relation"].by("sequence", sent["sequence"])
        for relation in relations:
            if relation["relation"] == Relation.REVERSES:
                books.reversed[relation["target_id"]] -= relation["amount_minor"]

    def _is_posted(self, shard: int, row: Row) -> bool:
        """Tell whether a transfer is posted, of a crossing whether it has landed."""
        if row["outcome"] != Outcome.IN_TRANSIT:
            return bool(row["outcome"] == Outcome.POSTED)
        (gone,) = self.databases[shard].tables["crossing_out"].by("sequence", row["sequence"])
        theirs = self.databases[gone["peer_id"]].tables
        marks = theirs["peer"].get(shard)
        has_landed = marks is not None and gone["number"] <= marks["landed_through"]
        return has_landed and theirs["crossing_refused"].get(shard, gone["number"]) is None

    def _reverse(self, books: Books, batch: Batch, row: Row, further: list[Row], target: bytes) -> None:
        tables = self.databases[batch.shard].tables
        originals = [each for each in tables["transfer"].by("transfer_id", target)
                     if each["kind"] in {Kind.ASKED, Kind.LANDING}]  # fmt: skip
        claim(len(originals) == 1, "a reversal without its original", row)
        original = originals[0]
        claim(self._is_posted(batch.shard, original), "what was not posted is reversed", row, original)
        legs = [original, *tables["further_leg"].by("transfer_sequence", original["sequence"])]
        legs = [leg for leg in legs if not is_fee(leg)]
        claim(not any(map(is_fee, further)), "a reversal bears a fee", row, further)
        last = legs[-1] if further else original
        sides = (last["credit_account"], last["debit_account"])
        claim((row["debit_account"], row["credit_account"]) == sides, "a reversal does not mirror", row, original)
        if further:
            names = ("debit_account", "credit_account", "amount_minor", "currency")
            given = [tuple(leg[name] for name in names) for leg in (row, *further)]
            mirrored = [
                (leg["credit_account"], leg["debit_account"], *(leg[name] for name in names[2:])) for leg in legs
            ]
            claim(given == mirrored[::-1], "a reversal does not mirror every leg", row, further, legs)
        whole = sum(leg["amount_minor"] for leg in legs)
        total = books.reversed.get(target, 0) + row["amount_minor"] + sum(leg["amount_minor"] for leg in further)
        claim(total <= whole, "more is given back than was moved", row, total, whole)
        books.reversed[target] = total

    def change(self, books: Books, batch: Batch, row: Row) -> None:
        batch.used.append(row["sequence"])
        self._changed(row)
        if row["refusal"]:
            return
        account = books.accounts[row["account_number"]]
        claim(row["restrictions_before"] == account.restrictions, "a change found another state", row, account)
        claim(row["floor_before_minor"] == account.floor, "a change found another floor", row, account)
        claim(account.restrictions != CLOSED, "a closed account is changed", row)
        day = row["change_time"] // 86_400_000_000
        if row["restrictions"] is not None:
            if row["restrictions"] == CLOSED:
                is_empty = not (account.balance or account.held or account.promised)
                claim(is_empty, "an account with money is closed", row, account)
                claim(not self._may_come_back(batch.shard, account.number), "closed with money in flight", row)
            account.restrictions = row["restrictions"]
        if row["floor_minor"] is not None:
            account.floor = row["floor_minor"]
        if row["sets_allowance"]:
            was_counted = account.is_counted
            account.limits = (
                row["balance_minor_max"], row["transfer_minor_max"], row["day_minor_max"], row["day_count_max"]
            )  # fmt: skip
            if account.is_counted and not was_counted:
                account.counted = self._open_of_today(books, {account.number}, day)
        cap = row["customer_day_minor_max"]
        key = (account.customer, account.currency)
        if cap is not None and cap < 0:
            books.caps.pop(key, None)
        elif cap is not None:
            known = books.caps.get(key)
            siblings = {each.number for each in books.accounts.values() if (each.customer, each.currency) == key}
            books.caps[key] = (cap, known[1] if known else self._open_of_today(books, siblings, day))

    def _may_come_back(self, shard: int, number: int) -> bool:
        """Tell whether a crossing that the shard has not heard of may still come back to an account."""
        tables = self.databases[shard].tables
        for peer in tables["peer"].rows:
            for crossing in range(peer["acknowledged_through"] + 1, peer["sent_through"] + 1):
                gone = tables["crossing_out"].get(peer["peer_id"], crossing)
                sent = tables["transfer"].get(gone["sequence"]) if gone is not None else None
                theirs = self.databases[peer["peer_id"]].tables["peer"].get(shard)
                has_landed = theirs is not None and crossing <= theirs["landed_through"]
                if sent is not None and sent["debit_account"] == number and not has_landed:
                    return True
        return False

    @staticmethod
    def _open_of_today(books: Books, numbers: set[int], day: int) -> Counted:
        amounts = [
            hold.amount
            for hold in books.holds.values()
            if hold.account in numbers and hold.state == HoldState.OPEN and hold.place_date == day
        ]
        amounts += [minor for number in numbers for minor in books.promised_today(number, day)]
        return Counted(day, sum(amounts), len(amounts))
