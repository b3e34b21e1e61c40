"""Proves every commit of every shard, and the shards together, by the invariants of the design.

The books are read again from their rows alone, in the order of the journal (`replay.py`). What is between two
shards must be the money that is on its way, watermarks only grow, and nothing sums up to anything but 0. Never
here: what callers were told (`oracle.py`).
"""

from collections.abc import Callable, Sequence

from services.domain import chart
from services.ledger.books import HoldState
from simulation.database import Change, Database
from simulation.journal import Account, Batch, Books, Violation, batch_of, claim
from simulation.replay import Replay
from simulation.tables import Row


class Checker:
    """Watches all databases. `asked` and `changed` are told of what a caller must have asked for."""

    def __init__(
        self,
        databases: dict[int, Database],
        asked: Callable[[int, Row, list[Row], Row | None], None],
        changed: Callable[[Row], None],
    ) -> None:
        self._databases = databases
        self.books = {shard: Books() for shard in databases}
        self.replay = Replay(databases, self.books, asked, changed)
        self.commits = 0
        for database in databases.values():
            database.on_commit.append(self.check)

    def check(self, database: Database, changes: Sequence[Change]) -> None:
        """Check a commit; stop the simulation when it is wrong."""
        try:
            self._check(database, changes)
        except (Violation, KeyError, AttributeError) as error:
            violation = error if isinstance(error, Violation) else Violation(f"the books make no sense: {error!r}")
            violation.__cause__ = error.__cause__
            database.network.loop.fail(violation)

    def _check(self, database: Database, changes: Sequence[Change]) -> None:
        self.commits += 1
        books = self.books[database.shard_id]
        head = database.head
        batch = batch_of(database.shard_id, changes)
        claim(head["last_sequence"] >= books.sequence, "the head went back", books.sequence, head["last_sequence"])
        for row in batch.rows.get("account", ()):
            claim(row["account_number"] not in books.accounts, "an account is opened twice", row)
            books.accounts[row["account_number"]] = _opened(batch, row)
        steps = [(row["sequence"], self.replay.transfer, row) for row in batch.rows.get("transfer", ())]
        steps += [(row["sequence"], self.replay.change, row) for row in batch.rows.get("account_change", ())]
        for _, step, row in sorted(steps, key=lambda each: each[0]):
            step(books, batch, row)
        claim(not batch.entries, "entries that nothing explains", batch.entries)
        self.replay.decisions(batch)
        self._sequences(books, batch, head)
        self._streams(database, books, batch)
        self._held(database, books, batch)
        self._between_shards(batch.shard, books)

    # The whole.

    def _sequences(self, books: Books, batch: Batch, head: Row) -> None:
        for row in batch.rows.get("crossing_landed", ()):
            for number in range(row["first_number"], row["last_number"] + 1):
                sequence = row["first_sequence"] + number - row["first_number"]
                if self._databases[batch.shard].tables["crossing_refused"].get(row["peer_id"], number) is not None:
                    batch.used.append(sequence)
                    self.replay.sent(row["peer_id"], batch.shard, number, row)
        want = list(range(books.sequence + 1, head["last_sequence"] + 1))
        claim(sorted(batch.used) == want, "the journal has gaps or doubles", sorted(batch.used), want)
        claim(not want or head["booking_time"] > books.time_us, "booking times go back", head, books.time_us)
        books.sequence, books.time_us = head["last_sequence"], head["booking_time"]

    def _streams(self, database: Database, books: Books, batch: Batch) -> None:
        shard = database.shard_id
        came = _landed(batch)
        for row in database.tables["peer"].rows:
            peer = row["peer_id"]
            sent, landed = row["sent_through"], row["landed_through"]
            acknowledged = row["acknowledged_through"]
            tables = database.tables
            for number in range(books.sent.get(peer, 0) + 1, sent + 1):
                gone = [name for name in ("crossing_out", "decision_out") if tables[name].get(peer, number)]
                claim(len(gone) == 1, "a number is not one crossing's or decision's", row, number, gone)
            more = tables["crossing_out"].get(peer, sent + 1) or tables["decision_out"].get(peer, sent + 1)
            claim(more is None, "more was sent than the watermark says", row)
            claim(landed >= books.landed.get(peer, 0), "a watermark went back", row)
            want = list(range(books.landed.get(peer, 0) + 1, landed + 1))
            claim(came.pop(peer, []) == want, "the watermark is not what has landed", row, want)
            claim(acknowledged >= books.acknowledged.get(peer, 0), "an acknowledgement went back", row)
            theirs = self._databases[peer].tables["peer"].get(shard)
            claim(acknowledged == 0 or (theirs and theirs["landed_through"] >= acknowledged),
                  "acknowledged what has not landed", row, theirs)  # fmt: skip
            for number in range(books.acknowledged.get(peer, 0) + 1, acknowledged + 1):
                refused = self._databases[peer].tables["crossing_refused"].get(shard, number)
                given_back = tables["crossing_returned"].get(peer, number)
                claim((refused is None) == (given_back is None), "refused and not given back", row, number)
            books.sent[peer], books.landed[peer], books.acknowledged[peer] = sent, landed, acknowledged
        claim(not came, "landed from whom there is no watermark", came)

    def _held(self, database: Database, books: Books, batch: Batch) -> None:
        """Compare what is held with the holds and promises that are open, for accounts of this batch."""
        numbers = {row["account_number"] for row in batch.rows.get("entry", ())}
        for number in numbers:
            holds = database.tables["hold"].by("account_number", number)
            if not holds and not books.accounts[number].held:
                continue
            held = sum(hold["amount_minor"] for hold in holds if hold["state"] == HoldState.OPEN)
            held += books.set_aside(number)
            claim(books.accounts[number].held == held, "what is held is not what open holds say", number, held)
            for hold in holds:
                known = books.holds[hold["hold_id"]]
                claim(known.state == hold["state"], "a hold's state is not what the journal says", hold, known)

    def _between_shards(self, shard: int, books: Books) -> None:
        """Compare both transit accounts of each pair with what is on its way."""
        for sender, receiver, currency in self.replay.in_flight:
            if shard not in {sender, receiver}:
                continue
            here = self.books[sender].accounts.get(chart.transit_account(sender, receiver, currency))
            there = self.books[receiver].accounts.get(chart.transit_account(receiver, sender, currency))
            total = (here.balance if here else 0) + (there.balance if there else 0)
            flying = self.replay.in_flight.get((sender, receiver, currency), 0) + self.replay.in_flight.get(
                (receiver, sender, currency), 0
            )
            claim(total == flying, "transit accounts differ from what is in flight", sender, receiver, total, flying)

    def unsettled(self) -> list[str]:
        """Name what is on its way between shards, and promises that wait for decisions."""
        found = [f"in flight {key}" for key, amount in self.replay.in_flight.items() if amount]
        for shard, database in self._databases.items():
            found += [f"promised by {shard}: {each.hex()}" for each in self.books[shard].promises]
            for row in database.tables["peer"].rows:
                if row["sent_through"] != self.books[row["peer_id"]].landed.get(shard, 0):
                    found.append(f"from {shard}: {row}")
        return found

    def finish(self) -> None:
        """Check everything at the end: sums, tables against the journal, nothing left on its way."""
        totals: dict[int, int] = {}
        for shard, books in self.books.items():
            own: dict[int, int] = {}
            for account in books.accounts.values():
                own[account.currency] = own.get(account.currency, 0) + account.balance
                kept = self._databases[shard].tables["account"].get(account.number)
                assert kept is not None
                claim(kept["restrictions"] == account.restrictions, "a state is not what changes say", kept, account)
                claim(kept["floor_minor"] == account.floor, "a floor is not what changes say", kept, account)
            claim(not any(own.values()), "a shard's balances do not add up to 0", shard, own)
            for currency, total in own.items():
                totals[currency] = totals.get(currency, 0) + total
        claim(not any(totals.values()), "the bank's balances do not add up to 0", totals)
        self.replay.promises_kept()
        claim(not any(self.replay.in_flight.values()), "something is still in flight", self.replay.in_flight)


def _landed(batch: Batch) -> dict[int, list[int]]:
    """List the numbers under which crossings and decisions landed, by peer."""
    came: dict[int, list[int]] = {}
    for row in batch.rows.get("crossing_landed", ()):
        came.setdefault(row["peer_id"], []).extend(range(row["first_number"], row["last_number"] + 1))
    for row in batch.rows.get("decision_landed", ()):
        came.setdefault(row["peer_id"], []).append(row["number"])
    return {peer: sorted(numbers) for peer, numbers in came.items()}


def _opened(batch: Batch, row: Row) -> Account:
    """Return an account as it was opened, although the same batch may have changed it since."""
    number = row["account_number"]
    later = [each for each in batch.rows.get("account_change", ()) if each["account_number"] == number]
    if later:
        first = min(later, key=lambda each: each["sequence"])
        before = {"restrictions": first["restrictions_before"], "floor_minor": first["floor_before_minor"]}
        before |= {name: first[f"{what}_before_{unit}_max"] for name, what, unit in _LIMITS}
        row = row | before
    limits = (row["balance_minor_max"], row["transfer_minor_max"], row["day_minor_max"], row["day_count_max"])
    return Account(number, row["currency"], row["floor_minor"], row["restrictions"], row["customer_number"], limits)


_LIMITS = (
    ("balance_minor_max", "balance", "minor"),
    ("transfer_minor_max", "transfer", "minor"),
    ("day_minor_max", "day", "minor"),
    ("day_count_max", "day", "count"),
)
"""An account's limits, and how a change names what was before."""
