"""What a leg does to the books of a shard, and what its sides must allow: the steps of which rows consist.

Never here: what kinds of rows there are (`replay.py`, `spans.py`).
"""

from simulation.database import Database
from simulation.journal import Account, Batch, Books, Violation, claim
from simulation.tables import Row

FROZEN_DEBIT, FROZEN_CREDIT, CLOSED, RESERVED, PENDING, DORMANT = 1, 2, 4, 8, 16, 32
OVERRIDDEN, OVERDRAW, GIVES_BACK, PASSES_ON = 1, 2, 8, 16


def is_fee(leg: Row) -> bool:
    """Tell whether the bank added a leg, which counts for no limit; a first leg never is."""
    return bool(leg.get("is_fee"))


class Steps:
    """Reads the rows of journals again, one shard's `books` each."""

    def __init__(self, databases: dict[int, Database], books: dict[int, Books]) -> None:
        self.databases = databases
        self.books = books
        self.in_flight: dict[tuple[int, int, int], int] = {}
        """From shard, to shard, currency: what is on its way; what is awaited from the other side, less than 0."""
        self.home: dict[int, int] = {}
        """On which shard an account has entries."""

    def flies(self, sender: int, receiver: int, currency: int, change: int) -> None:
        """Count what is on its way between two shards."""
        key = (sender, receiver, currency)
        self.in_flight[key] = self.in_flight.get(key, 0) + change

    def may_pay(self, books: Books, leg: Row, row: Row) -> Account:
        payer = books.accounts.get(leg["debit_account"])
        claim(payer is not None, "a payer is not in the books", row)
        assert payer is not None
        claim(payer.currency == leg["currency"], "a payer's currency differs", row)
        barred = FROZEN_DEBIT | CLOSED | RESERVED | PENDING | DORMANT
        claim(not payer.restrictions & barred, "a payer may not pay", row, payer)
        return payer

    @staticmethod
    def may_be_paid(books: Books, number: int, leg: Row, row: Row) -> None:
        payee = books.accounts.get(number)
        claim(payee is not None, "a payee is not in the books", row)
        assert payee is not None
        claim(payee.currency == leg["currency"], "a payee's currency differs", row)
        claim(not payee.restrictions & (FROZEN_CREDIT | CLOSED | RESERVED | PENDING), "a payee may not be paid", row)
        most = payee.limits[0]
        after = payee.balance + payee.promised + leg["amount_minor"]
        claim(most is None or after <= most, "a payee has too much", row, payee)

    def spend(self, books: Books, payer: Account, amount: int, row: Row) -> None:
        """Count a debit or a placed hold and check it against what is allowed."""
        day, free = row["business_date"], bool(row["flags"] & OVERRIDDEN)
        minor, times = payer.counted.on(day)
        _, once, daily, often = payer.limits
        claim(free or once is None or amount <= once, "a limit per transfer is broken", row, payer)
        claim(free or daily is None or minor + amount <= daily, "a limit per day is broken", row, payer)
        claim(free or often is None or times < often, "a count per day is broken", row, payer)
        self.count(books, payer, day, amount, 1, None if free else row)

    @staticmethod
    def count(books: Books, payer: Account, day: int, minor: int, times: int, row: Row | None = None) -> None:
        if payer.is_counted:
            payer.counted.add(day, minor, times)
        cap = books.caps.get((payer.customer, payer.currency)) if payer.customer else None
        if cap is not None:
            within = cap[1].on(day)[0] + minor <= cap[0]
            claim(row is None or minor < 0 or within, "a customer's cap is broken", row, cap)
            cap[1].add(day, minor, times)

    def move(self, books: Books, batch: Batch, sequence: int, debit: int, credit: int, amount: int) -> None:
        """Find both entries of a leg."""
        self.entry(books, batch, sequence, books.accounts[debit], -amount, 0)
        self.entry(books, batch, sequence, books.accounts[credit], amount, 0)

    def entry(self, books: Books, batch: Batch, sequence: int, account: Account, amount: int, held: int) -> None:
        """Find one entry, exactly as it must be."""
        account.version += 1
        account.balance += amount
        account.held += held
        want = (account.number, account.version, amount, account.balance, account.held)
        entries = batch.entries.get(sequence, [])
        names = ("account_number", "version", "amount_minor", "balance_after_minor", "held_after_minor")
        for entry in entries:
            if tuple(entry[name] or 0 for name in names) == want:
                entries.remove(entry)
                break
        else:
            raise Violation(f"an entry is missing or wrong: want {want} at {sequence}, have {entries}")
        if not entries:
            del batch.entries[sequence]
        claim(self.home.setdefault(account.number, batch.shard) == batch.shard, "an account on two shards", account)
