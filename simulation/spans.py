"""Transfers over several shards, read again: promises that end once, and one decision everywhere.

A home posts only what every participant has promised just so, in the commit that tells them all; a promise ends by
its home's decision and by nothing else. Never here: streams of numbers (`checker.py`).
"""

from services.domain import chart
from services.domain.outcomes import Outcome
from services.ledger.books import Kind
from services.ledger.traffic import PromiseState
from simulation.journal import Batch, Books, Promise, RoutedLeg, claim
from simulation.steps import GIVES_BACK, OVERDRAW, PASSES_ON, Steps, is_fee
from simulation.tables import Row


class Spans(Steps):
    """Reads promises, how they end, and decisions."""

    def promised(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        """Set debits aside, and keep room for credits."""
        kept = self.databases[batch.shard].tables["promise"].get(row["transfer_id"])
        claim(kept is not None and kept["sequence"] == row["sequence"], "a promise is not kept", row, kept)
        assert kept is not None
        home, legs = kept["home_id"], batch.routed(row, further)
        is_spending = not row["flags"] & GIVES_BACK
        asides = _asides(legs)
        passes_on = any(aside < each.leg["amount_minor"] for aside, each in zip(asides, legs, strict=True))
        claim(passes_on == bool(row["flags"] & PASSES_ON), "a promise does not say whether it passes money on", row)
        for sequence, ((leg, debit_peer, credit_peer), aside) in enumerate(
            zip(legs, asides, strict=True), row["sequence"]
        ):
            claim({debit_peer, credit_peer} <= {0, home}, "a promise passes a third shard", row, leg)
            claim(not (debit_peer and credit_peer), "a promise of what lies elsewhere", row, leg)
            if not debit_peer:
                payer = self.may_pay(books, leg, row)
                free = payer.balance - payer.held - aside >= payer.floor
                claim(free or row["flags"] & OVERDRAW, "a floor is broken by a promise", row, payer)
                self.entry(books, batch, sequence, payer, 0, aside)
            if not credit_peer:
                self.may_be_paid(books, leg["credit_account"], leg, row)
                books.accounts[leg["credit_account"]].promised += leg["amount_minor"]
            if not debit_peer and is_spending and not is_fee(leg):
                self.spend(books, payer, leg["amount_minor"], row)
        books.promises[row["transfer_id"]] = Promise(home, legs, asides, row["business_date"], is_spending)

    def kept(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        """Post what was promised."""
        promise = self._ended(books, batch, row, Outcome.POSTED)
        legs = batch.routed(row, further)
        claim(_bodies(legs) == _bodies(promise.legs), "other legs are kept than were promised", row, promise)
        for sequence, ((leg, debit_peer, credit_peer), aside) in enumerate(
            zip(legs, promise.asides, strict=True), row["sequence"]
        ):
            amount, currency = leg["amount_minor"], leg["currency"]
            transit = chart.transit_account(batch.shard, promise.home, currency)
            payer = books.accounts[transit if debit_peer else leg["debit_account"]]
            payee = books.accounts[transit if credit_peer else leg["credit_account"]]
            self.entry(books, batch, sequence, payer, -amount, 0 if debit_peer else -aside)
            self.entry(books, batch, sequence, payee, amount, 0)
            if not credit_peer:
                payee.promised -= amount
            if debit_peer:
                self.flies(promise.home, batch.shard, currency, -amount)
            if credit_peer:
                self.flies(promise.home, batch.shard, currency, amount)

    def dropped(self, books: Books, batch: Batch, row: Row, further: list[Row]) -> None:
        """Free what was promised."""
        promise = self._ended(books, batch, row, Outcome.REFUSED)
        passes_on = row["flags"] & PASSES_ON
        both = zip(promise.legs, promise.asides, strict=True)
        freed = [(each, aside) for each, aside in both if passes_on or not each.debit_peer]
        wanted = [each for each, _ in freed] or promise.legs[:1]
        claim(_bodies(batch.routed(row, further)) == _bodies(wanted), "other debits are freed than were promised", row)
        for sequence, ((leg, debit_peer, _), aside) in enumerate(freed, row["sequence"]):
            if debit_peer:
                continue
            payer = books.accounts[leg["debit_account"]]
            self.entry(books, batch, sequence, payer, 0, -aside)
            if promise.is_spending and not is_fee(leg) and promise.day == row["business_date"]:
                self.count(books, payer, row["business_date"], -leg["amount_minor"], -1)
        for leg, _, credit_peer in promise.legs:
            if not credit_peer:
                books.accounts[leg["credit_account"]].promised -= leg["amount_minor"]

    def _ended(self, books: Books, batch: Batch, row: Row, outcome: Outcome) -> Promise:
        """Take an open promise out, which its home must have decided so."""
        promise = books.promises.pop(row["transfer_id"], None)
        claim(promise is not None, "a promise ends that is not open", row)
        assert promise is not None
        heard = batch.heard.get(row["sequence"])
        claim(heard is not None, "a promise ends without a decision", row)
        assert heard is not None
        claim(heard["transfer_id"] == row["transfer_id"], "a promise ends by another's decision", row, heard)
        claim(heard["peer_id"] == promise.home, "a promise ends by a decision of another shard", row, heard)
        claim(heard["outcome"] == outcome, "a promise ends otherwise than decided", row, heard)
        return promise

    def decided(self, books: Books, batch: Batch, row: Row, further: list[Row], *, is_spending: bool) -> None:
        """Post the home's legs of what all others have promised."""
        legs = batch.routed(row, further)
        told = {decision["peer_id"]: decision["outcome"] for decision in batch.told[row["sequence"]]}
        peers = {peer for each in legs for peer in each[1:] if peer}
        claim(told == dict.fromkeys(peers, Outcome.POSTED), "not all are told who take part", row, told, peers)
        for peer in sorted(peers):
            promise = self.books[peer].promises.get(row["transfer_id"])
            claim(promise is not None, "posted what not all have promised", peer, row)
            assert promise is not None
            claim(
                promise.is_spending == is_spending, "promised as spending what is none, or the other way", row, promise
            )
            theirs = [each for each in legs if peer in each[1:]]
            claim(promise.home == batch.shard and _bodies(promise.legs) == _bodies(theirs),
                  "posted otherwise than promised", peer, row, promise)  # fmt: skip
        for sequence, routed in enumerate(legs, row["sequence"]):
            if not routed.passes_by:
                self._post(books, batch, sequence, routed, row, is_spending=is_spending)

    def _post(
        self, books: Books, batch: Batch, sequence: int, routed: RoutedLeg, row: Row, *, is_spending: bool
    ) -> None:
        leg, debit_peer, credit_peer = routed
        amount, currency = leg["amount_minor"], leg["currency"]
        debit, credit = leg["debit_account"], leg["credit_account"]
        if debit_peer:
            debit = chart.transit_account(batch.shard, debit_peer, currency)
            self.flies(batch.shard, debit_peer, currency, -amount)
        else:
            payer = self.may_pay(books, leg, row)
            free = payer.balance - payer.held - amount >= payer.floor
            claim(free or row["flags"] & OVERDRAW, "a floor is broken", row, payer)
            if is_spending and not is_fee(leg):
                self.spend(books, payer, amount, row)
        if credit_peer:
            credit = chart.transit_account(batch.shard, credit_peer, currency)
            self.flies(batch.shard, credit_peer, currency, amount)
        else:
            self.may_be_paid(books, credit, leg, row)
        self.move(books, batch, sequence, debit, credit, amount)

    def decisions(self, batch: Batch) -> None:
        """Compare decisions with what they are about, and those that landed with what was decided."""
        tables = self.databases[batch.shard].tables
        for row in batch.rows.get("decision_out", ()):
            if row["sequence"]:
                decided = tables["transfer"].get(row["sequence"])
                claim(decided and (decided["transfer_id"], decided["outcome"]) == (row["transfer_id"], row["outcome"]),
                      "a peer is told what is not so", row, decided)  # fmt: skip
            else:
                claim(row["outcome"] == Outcome.REFUSED, "posted to a peer alone", row)
        for row in batch.rows.get("decision_landed", ()):
            said = self.databases[row["peer_id"]].tables["decision_out"].get(batch.shard, row["number"])
            same = ("transfer_id", "outcome", "refusal")
            claim(said and all(said[name] == row[name] for name in same), "another decision landed", row, said)
            wrote = tables["transfer"].get(row["sequence"]) if row["sequence"] else None
            claim(not row["sequence"] or (wrote and wrote["transfer_id"] == row["transfer_id"]),
                  "a decision wrote something else", row, wrote)  # fmt: skip
            waits = self.books[batch.shard].promises.get(row["transfer_id"])
            claim(waits is None or waits.home != row["peer_id"], "a decision leaves its promise open", row)

    def promises_kept(self) -> None:
        """Compare the states of promises with what the journal says, and find none that waits."""
        for shard, books in self.books.items():
            claim(not books.promises, "something is promised for ever", shard, books.promises)
            for row in self.databases[shard].tables["promise"].rows:
                ended = self.databases[shard].tables["transfer"].get(row["resolve_sequence"])
                claim(ended is not None, "a promise has no end", row)
                assert ended is not None
                claim(ended["kind"] == _KIND_BY_STATE.get(row["state"]), "a promise's end is not the journal's", row)
                said = self.databases[row["home_id"]].tables["decision_out"].by("transfer_id", row["transfer_id"])
                claim([each["outcome"] for each in said if each["peer_id"] == shard] == [_ended_as(row)],
                      "a promise did not end as decided", row, said)  # fmt: skip


def _ended_as(promise: Row) -> Outcome:
    """Tell which outcome the end of a promise follows from."""
    return Outcome.POSTED if promise["state"] == PromiseState.KEPT else Outcome.REFUSED


_KIND_BY_STATE = {PromiseState.KEPT: Kind.KEPT, PromiseState.DROPPED: Kind.DROPPED}


def _asides(legs: list[RoutedLeg]) -> list[int]:
    """Tell what each leg sets aside: not what legs before it bring to its payer, as long as there is of it."""
    brought: dict[int, int] = {}
    asides = []
    for leg, debit_peer, credit_peer in legs:
        payer, payee, amount = leg["debit_account"], leg["credit_account"], leg["amount_minor"]
        passed = 0 if debit_peer else min(brought.get(payer, 0), amount)
        brought[payer] = brought.get(payer, 0) - passed
        if not credit_peer:
            brought[payee] = brought.get(payee, 0) + amount
        asides.append(amount - passed)
    return asides


def _bodies(legs: list[RoutedLeg]) -> list[tuple[int, ...]]:
    return [each.body for each in legs]
