"""Keeps the books of a few shards by hand: slow, obvious, and sharing no code with the ledger.

So what the audit is tested on does not come from what the audit is to watch. Rows gather in memory
and `write` appends them, as the ledger does, in one database transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

import asyncpg

from services.domain import chart
from services.domain.identifiers import account_number

CZK, EUR = 203, 978
FLOOR_OF_THE_BANK = -9 * 10**18

COLUMNS = {
    "account": "account_number floor_minor open_time currency restrictions",
    "transfer": "sequence transfer_id debit_account credit_account amount_minor fingerprint booking_time "
    "business_date value_date currency kind outcome refusal leg_count reference",
    "further_leg": "sequence transfer_sequence debit_account credit_account amount_minor currency",
    "entry": "account_number version sequence amount_minor balance_after_minor held_after_minor",
    "crossing_out": "number sequence peer_id",
    "crossing_returned": "number return_sequence peer_id refusal",
    "crossing_landed": "first_number last_number first_sequence peer_id",
    "crossing_refused": "number peer_id refusal",
}


@dataclass
class Account:
    """An account's state."""

    currency: int
    version: int = 0
    balance: int = 0


@dataclass
class Peer:
    """How far crossings have come."""

    sent: int = 0
    acknowledged: int = 0
    landed: int = 0


@dataclass
class Crossing:
    """What travels to the payee's shard."""

    transfer_id: UUID
    debit: int
    credit: int
    amount: int
    currency: int
    value_date: date
    reference: str


@dataclass
class Books:
    """One shard's books."""

    shard_id: int
    chance: Random
    sequence: int = 0
    booking_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    accounts: dict[int, Account] = field(default_factory=dict)
    peers: dict[int, Peer] = field(default_factory=dict)
    sent: dict[tuple[int, int], Crossing] = field(default_factory=dict)
    refused: dict[tuple[int, int], int] = field(default_factory=dict)
    rows: dict[str, list[tuple]] = field(default_factory=lambda: {table: [] for table in COLUMNS})

    def open(self, number: int, currency: int = CZK, floor: int = 0) -> int:
        self.accounts[number] = Account(currency)
        self.rows["account"].append((number, floor, self.booking_time, currency, 0))
        return number

    def open_bank(self, code: chart.Code = chart.Code.CASH, currency: int = CZK) -> int:
        return self.open(chart.internal_account(self.shard_id, code, currency), currency, FLOOR_OF_THE_BANK)

    def peer(self, peer_id: int) -> Peer:
        return self.peers.setdefault(peer_id, Peer())

    def transit(self, peer_id: int, currency: int) -> int:
        number = chart.transit_account(self.shard_id, peer_id, currency)
        if number not in self.accounts:
            self.open(number, currency, FLOOR_OF_THE_BANK)
        return number

    def mint(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128))

    def move(self, debit: int, credit: int, amount: int) -> None:
        for number, signed in ((debit, -amount), (credit, amount)):
            account = self.accounts[number]
            account.version += 1
            account.balance += signed
            self.rows["entry"].append((number, account.version, self.sequence, signed, account.balance, 0))

    def record(self, crossing: Crossing, kind: int, outcome: int, refusal: int = 0, leg_count: int = 1) -> None:
        day = self.booking_time.date()
        self.rows["transfer"].append(
            (
                self.sequence, crossing.transfer_id, crossing.debit, crossing.credit, crossing.amount, 0, self.booking_time,
                day, crossing.value_date, crossing.currency, kind, outcome, refusal, leg_count, crossing.reference,
            )
        )  # fmt: skip

    def asked(self, debit: int, credit: int, amount: int, currency: int) -> Crossing:
        self.sequence += 1
        value_date = self.booking_time.date() + timedelta(days=self.chance.randrange(3))
        return Crossing(self.mint(), debit, credit, amount, currency, value_date, f"invoice {self.sequence}")

    def post(
        self, debit: int, credit: int, amount: int, currency: int = CZK, further: Sequence[tuple[int, int, int]] = ()
    ) -> UUID:
        """Post a transfer; `further` legs are (debit, credit, amount)."""
        transfer = self.asked(debit, credit, amount, currency)
        self.record(transfer, kind=1, outcome=1, leg_count=1 + len(further))
        self.move(debit, credit, amount)
        first = self.sequence
        for leg in further:
            self.sequence += 1
            self.rows["further_leg"].append((self.sequence, first, *leg, currency))
            self.move(*leg)
        return transfer.transfer_id

    def refuse(self, debit: int, credit: int, amount: int, refusal: int = 90, further: Sequence[tuple] = ()) -> UUID:
        transfer = self.asked(debit, credit, amount, CZK)
        self.record(transfer, kind=1, outcome=2, refusal=refusal, leg_count=1 + len(further))
        first = self.sequence
        for leg in further:
            self.sequence += 1
            self.rows["further_leg"].append((self.sequence, first, *leg, CZK))
        return transfer.transfer_id

    def cross(self, peer_id: int, debit: int, credit: int, amount: int, currency: int = CZK) -> UUID:
        """Send money to an account on another shard."""
        crossing = self.asked(debit, credit, amount, currency)
        self.record(crossing, kind=1, outcome=3)
        self.move(debit, self.transit(peer_id, currency), amount)
        peer = self.peer(peer_id)
        peer.sent += 1
        self.sent[peer_id, peer.sent] = crossing
        self.rows["crossing_out"].append((peer.sent, self.sequence, peer_id))
        return crossing.transfer_id

    def land(self, payer: "Books", count: int, refusals: Mapping[int, int] | None = None) -> None:
        """Land the next `count` crossings from `payer`, but refuse those whose numbers are in `refusals`."""
        peer = self.peer(payer.shard_id)
        first = peer.landed + 1
        last = min(peer.landed + count, payer.peer(self.shard_id).sent)
        if last < first:
            return
        self.rows["crossing_landed"].append((first, last, self.sequence + 1, payer.shard_id))
        for number in range(first, last + 1):
            self.sequence += 1
            if refusals and number in refusals:
                self.refused[payer.shard_id, number] = refusals[number]
                self.rows["crossing_refused"].append((number, payer.shard_id, refusals[number]))
                continue
            crossing = payer.sent[self.shard_id, number]
            self.record(crossing, kind=2, outcome=1)
            self.move(self.transit(payer.shard_id, crossing.currency), crossing.credit, crossing.amount)
        peer.landed = last

    def acknowledge(self, payee: "Books") -> None:
        """Learn how far `payee` has landed, and give back what it refused."""
        peer = self.peer(payee.shard_id)
        for number in range(peer.acknowledged + 1, payee.peer(self.shard_id).landed + 1):
            if refusal := payee.refused.get((self.shard_id, number)):
                sent = self.sent[payee.shard_id, number]
                self.sequence += 1
                back = replace(sent, debit=sent.credit, credit=sent.debit, value_date=self.booking_time.date())
                self.record(back, kind=3, outcome=1)
                self.move(self.transit(payee.shard_id, sent.currency), sent.debit, sent.amount)
                self.rows["crossing_returned"].append((number, self.sequence, payee.shard_id, refusal))
            peer.acknowledged = number

    async def write(self, connection: asyncpg.Connection) -> None:
        """Append what has gathered, in one database transaction."""
        async with connection.transaction():
            for table, rows in self.rows.items():
                if rows:
                    columns = COLUMNS[table].split()
                    await connection.copy_records_to_table(table, schema_name="ledger", columns=columns, records=rows)
                    rows.clear()
            await connection.execute(WRITE_HEAD, self.sequence, self.booking_time)
            await connection.executemany(
                WRITE_PEER, [(peer_id, p.sent, p.acknowledged, p.landed) for peer_id, p in self.peers.items()]
            )


WRITE_HEAD = "UPDATE ledger.journal_head SET last_sequence = $1, booking_time = $2"
WRITE_PEER = """
INSERT INTO ledger.peer (peer_id, sent_through, acknowledged_through, landed_through) VALUES ($1, $2, $3, $4)
ON CONFLICT (peer_id) DO UPDATE SET sent_through = excluded.sent_through,
       acknowledged_through = excluded.acknowledged_through, landed_through = excluded.landed_through
"""


def customer_account(slot: int, serial: int) -> int:
    """Name a customer's account."""
    return account_number(slot, serial)
