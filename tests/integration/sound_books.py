"""Keeps the books of a few shards by hand: slow, obvious, and sharing no code with the ledger.

So what the audit is tested on does not come from what the audit is to watch. Rows gather in memory
and `write` appends them, as the ledger does, in one database transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from sound_rows import (
    COLUMNS,
    PLAIN,
    UNLIMITED,
    WRITE_ACCOUNT,
    WRITE_CAP,
    WRITE_HEAD,
    WRITE_HOLD,
    WRITE_PEER,
    WRITE_VALUE_SUM,
    Account,
    Crossing,
    Hold,
    Peer,
    Purse,
    Special,
)

from services.domain import chart
from services.domain.identifiers import account_number

CZK, EUR = 203, 978
FLOOR_OF_THE_BANK = -9 * 10**18


@dataclass
class Books:
    """One shard's books."""

    shard_id: int
    chance: Random
    sequence: int = 0
    booking_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    days: set[date] = field(default_factory=set)
    accounts: dict[int, Account] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    caps: dict[tuple[int, int], int] = field(default_factory=dict)
    cap_purses: dict[tuple[int, int], Purse] = field(default_factory=dict)
    peers: dict[int, Peer] = field(default_factory=dict)
    sent: dict[tuple[int, int], Crossing] = field(default_factory=dict)
    refused: dict[tuple[int, int], int] = field(default_factory=dict)
    value_sums: dict[tuple[int, int, int], int] = field(default_factory=dict)
    rows: dict[str, list[tuple]] = field(default_factory=lambda: {table: [] for table in COLUMNS})

    @property
    def day(self) -> date:
        return self.booking_time.date()

    def pass_time(self, **duration: int) -> None:
        self.booking_time += timedelta(**duration)

    def open(self, number: int, currency: int = CZK, floor: int = 0, customer: int = 0) -> int:
        self.accounts[number] = Account(currency, floor, customer)
        self.rows["account"].append((number, floor, self.booking_time, currency, 0, customer))
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

    def next_sequence(self) -> int:
        """Use a sequence up; the first of a day begins it."""
        self.sequence += 1
        if self.day not in self.days:
            self.days.add(self.day)
            self.rows["day"].append((self.day, self.sequence))
        return self.sequence

    def enter(self, number: int, signed: int, held: int = 0, value_date: date | None = None) -> None:
        """Write an account's next entry; `held` is what it sets aside, or frees when negative."""
        account = self.accounts[number]
        account.version += 1
        account.balance += signed
        account.held += held
        # Where nothing is held, older releases wrote 0 and newer ones write NULL: here are both.
        says_held = account.held or (None if self.sequence % 2 else 0)
        self.rows["entry"].append((number, account.version, self.sequence, signed, account.balance, says_held))
        if value_date not in (None, self.day):
            self.rows["value_dated"].append((number, self.sequence, signed, self.day, value_date))
            for day, minor in ((value_date, signed), (self.day, -signed)):
                for width in (1, 64, 4_096):
                    key = number, width, (day - date(1970, 1, 1)).days // width * width
                    self.value_sums[key] = self.value_sums.get(key, 0) + minor

    def move(self, debit: int, credit: int, amount: int, value_date: date, freed: int = 0) -> None:
        self.enter(debit, -amount, -freed, value_date)
        self.enter(credit, amount, 0, value_date)

    def record(
        self, crossing: Crossing, kind: int, outcome: int = 1, refusal: int = 0, leg_count: int = 1, flags: int = 0
    ) -> None:
        self.rows["transfer"].append(
            (
                self.sequence, crossing.transfer_id, crossing.debit, crossing.credit, crossing.amount, 0, self.booking_time,
                self.day, crossing.value_date, crossing.currency, kind, outcome, refusal, leg_count, crossing.reference,
                flags,
            )
        )  # fmt: skip
        if kind in (1, 2):
            self.rows["metadata"].extend((self.sequence, key, value) for key, value in crossing.metadata.items())

    def asked(self, debit: int, credit: int, amount: int, currency: int = CZK) -> Crossing:
        self.next_sequence()
        asked = Crossing(self.mint(), debit, credit, amount, currency, self.day, f"invoice {self.sequence}")
        if self.sequence % 3 == 0:
            asked.metadata = {"order": f"{self.sequence}/24", "shop": "U Zlaté hrušky"}
        return asked

    def relate(self, relation: int, target: UUID, amount: int) -> None:
        self.rows["relation"].append((self.sequence, target, amount, relation))

    def purses(self, number: int) -> list[tuple[Purse, str, tuple[Any, ...]]]:
        """Return what an account spends from, each with the table and the key that says so."""
        account = self.accounts[number]
        owner = account.customer, account.currency
        found: list[tuple[Purse, str, tuple[Any, ...]]] = []
        if account.purse is not None:
            found.append((account.purse, "spending", (number,)))
        if owner in self.caps:
            found.append((self.cap_purses[owner], "customer_spending", owner))
        return found

    def spend(self, number: int, minor: int, count: int) -> None:
        for purse, table, key in self.purses(number):
            purse.spend(self.day, minor, count)
            self.rows[table].append((*key, self.sequence, purse.minor, purse.count, purse.day))

    def pay(self, debit: int, credit: int, transfer: Crossing, special: Special, whole: int) -> None:
        """Move a first leg: out of a hold, back, or out of what is free. `whole` is the amount of all legs."""
        freed = 0
        if special.hold is not None:
            hold = self.holds[special.hold]
            hold.state, hold.captured, freed = 2, transfer.amount, hold.amount
            self.relate(1, special.hold, whole)
            if hold.place_date == self.day:
                self.spend(debit, transfer.amount - hold.amount, 0)
        elif special.original is not None:
            self.relate(2, special.original, whole)
        else:
            self.spend(debit, transfer.amount, 1)
        self.move(debit, credit, transfer.amount, transfer.value_date, freed)

    def pay_further(self, transfer: Crossing, special: Special, first: int) -> None:
        for debit, credit, amount, *is_fee in transfer.further:
            self.next_sequence()
            row = (self.sequence, first, debit, credit, amount, transfer.currency, bool(is_fee))
            self.rows["further_leg"].append(row)
            if special.original is None and not is_fee:
                self.spend(debit, amount, 1)
            self.move(debit, credit, amount, transfer.value_date)

    def post(
        self,
        debit: int,
        credit: int,
        amount: int,
        currency: int = CZK,
        further: Sequence[tuple[int, ...]] = (),
        special: Special = PLAIN,
    ) -> UUID:
        """Post a transfer; `further` legs are (debit, credit, amount), fees (debit, credit, amount, True)."""
        transfer = replace(self.asked(debit, credit, amount, currency), further=further)
        self.record(transfer, kind=1, leg_count=1 + len(further), flags=special.flags)
        first = self.sequence
        self.pay(debit, credit, transfer, special, amount + sum(leg[2] for leg in further if not leg[3:]))
        self.pay_further(transfer, special, first)
        return transfer.transfer_id

    def refuse(self, debit: int, credit: int, amount: int, refusal: int = 90, further: Sequence[tuple] = ()) -> UUID:
        transfer = self.asked(debit, credit, amount)
        self.record(transfer, kind=1, outcome=2, refusal=refusal, leg_count=1 + len(further))
        first = self.sequence
        for leg in further:
            self.next_sequence()
            self.rows["further_leg"].append((self.sequence, first, *leg[:3], CZK, bool(leg[3:])))
        return transfer.transfer_id

    def bury(self, account: int, transfer_id: UUID | None = None) -> UUID:
        """Refuse an id beforehand."""
        transfer = self.asked(account, 0, 0)
        if transfer_id is not None:
            transfer = replace(transfer, transfer_id=transfer_id)
        self.record(transfer, kind=8, outcome=2, refusal=5)
        return transfer.transfer_id

    def place(self, account: int, amount: int, payee: int = 0, seconds: int = 3_600) -> UUID:
        """Set money aside."""
        command = self.asked(account, payee, amount)
        self.record(command, kind=4)
        expire_time = self.booking_time + timedelta(seconds=seconds)
        self.holds[command.transfer_id] = Hold(account, amount, payee, expire_time, self.day, CZK)
        self.enter(account, 0, amount)
        self.spend(account, amount, 1)
        return command.transfer_id

    def increase(self, hold_id: UUID, amount: int) -> UUID:
        """Set more money aside."""
        hold = self.holds[hold_id]
        command = self.asked(hold.account, 0, amount)
        self.record(command, kind=5)
        self.relate(3, hold_id, amount)
        hold.amount += amount
        self.enter(hold.account, 0, amount)
        self.spend(hold.account, amount, 0)
        return command.transfer_id

    def free(self, hold_id: UUID, state: int) -> UUID:
        """Release a hold (state 3) or let it expire (4)."""
        hold = self.holds[hold_id]
        command = self.asked(hold.account, hold.payee, 0)
        if state == 3:
            self.record(command, kind=6)
            self.relate(3, hold_id, 0)
        else:
            self.record(replace(command, transfer_id=hold_id, amount=hold.amount), kind=7)
        hold.state = state
        self.enter(hold.account, 0, -hold.amount)
        if hold.place_date == self.day:
            self.spend(hold.account, -hold.amount, -1)
        return command.transfer_id

    def refuse_release(self, hold_id: UUID, refusal: int) -> UUID:
        command = self.asked(self.holds[hold_id].account, 0, 0)
        self.record(command, kind=6, outcome=2, refusal=refusal)
        self.relate(3, hold_id, 0)
        return command.transfer_id

    def change(
        self,
        number: int,
        restrictions: int | None = None,
        floor: int | None = None,
        limits: tuple[int | None, ...] | None = None,
        cap: int | None = None,
        refusal: int = 0,
    ) -> None:
        """Change an account's slow facts, or refuse to."""
        account = self.accounts.get(number, Account(CZK))
        self.rows["account_change"].append(
            (
                self.next_sequence(), self.mint(), number, self.booking_time, 0, account.restrictions, restrictions,
                account.floor, floor, limits is not None, *(limits or UNLIMITED), cap, *account.limits, 0, refusal, "why not",
            )
        )  # fmt: skip
        if refusal:
            return
        account.restrictions = account.restrictions if restrictions is None else restrictions
        account.floor = account.floor if floor is None else floor
        if limits is not None:
            self.limit(number, limits)
        if cap is not None:
            self.cap(account.customer, account.currency, cap)

    def limit(self, number: int, limits: tuple[int | None, ...]) -> None:
        account = self.accounts[number]
        account.limits = limits
        if limits[2:] == (None, None):
            account.purse = None
        elif account.purse is None:
            account.purse = Purse(self.day)
            self.begin("spending", (number,), account.purse, [number])

    def cap(self, customer: int, currency: int, minor: int) -> None:
        owner = customer, currency
        if owner not in self.caps:
            owned = [n for n, account in self.accounts.items() if (account.customer, account.currency) == owner]
            self.cap_purses[owner] = Purse(self.day)
            self.begin("customer_spending", owner, self.cap_purses[owner], owned)
        self.caps[owner] = minor

    def begin(self, table: str, key: tuple[int, ...], purse: Purse, accounts: Sequence[int]) -> None:
        """Begin counting what is spent: with the open holds of the day."""
        for hold in self.holds.values():
            if hold.account in accounts and hold.state == 1 and hold.place_date == self.day:
                purse.spend(self.day, hold.amount, 1)
        self.rows[table].append((*key, self.sequence, purse.minor, purse.count, purse.day))

    def cross(
        self,
        peer_id: int,
        debit: int,
        credit: int,
        amount: int,
        currency: int = CZK,
        further: Sequence[tuple[int, ...]] = (),
        special: Special = PLAIN,
    ) -> UUID:
        """Send money to an account on another shard; `further` legs stay here."""
        crossing = replace(self.asked(debit, credit, amount, currency), further=further)
        crossing.value_date += timedelta(days=self.chance.randrange(3))
        self.record(crossing, kind=1, outcome=3, leg_count=1 + len(further), flags=special.flags)
        peer = self.peer(peer_id)
        peer.sent += 1
        self.sent[peer_id, peer.sent] = crossing
        self.rows["crossing_out"].append((peer.sent, self.sequence, peer_id))
        first = self.sequence
        whole = amount + sum(leg[2] for leg in further if not leg[3:])
        self.pay(debit, self.transit(peer_id, currency), crossing, special, whole)
        self.pay_further(crossing, special, first)
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
            self.next_sequence()
            if refusals and number in refusals:
                self.refused[payer.shard_id, number] = refusals[number]
                self.rows["crossing_refused"].append((number, payer.shard_id, refusals[number]))
                continue
            crossing = payer.sent[self.shard_id, number]
            self.record(crossing, kind=2)
            transit = self.transit(payer.shard_id, crossing.currency)
            self.move(transit, crossing.credit, crossing.amount, crossing.value_date)
        peer.landed = last

    def acknowledge(self, payee: "Books") -> None:
        """Learn how far `payee` has landed, and give back what it refused."""
        peer = self.peer(payee.shard_id)
        for number in range(peer.acknowledged + 1, payee.peer(self.shard_id).landed + 1):
            if refusal := payee.refused.get((self.shard_id, number)):
                self.give_back(payee.shard_id, number, refusal)
            peer.acknowledged = number

    def give_back(self, peer_id: int, number: int, refusal: int) -> None:
        sent = self.sent[peer_id, number]
        first = self.next_sequence()
        back = replace(sent, debit=sent.credit, credit=sent.debit, value_date=self.day)
        self.record(back, kind=3, leg_count=1 + len(sent.further))
        self.move(self.transit(peer_id, sent.currency), sent.debit, sent.amount, self.day)
        self.rows["crossing_returned"].append((number, first, peer_id, refusal))
        for debit, credit, amount, *is_fee in sent.further:
            self.next_sequence()
            row = (self.sequence, first, credit, debit, amount, sent.currency, bool(is_fee))
            self.rows["further_leg"].append(row)
            self.move(credit, debit, amount, self.day)

    async def write(self, connection: asyncpg.Connection) -> None:
        """Append what has gathered, in one database transaction."""
        async with connection.transaction():
            for table, rows in self.rows.items():
                if rows:
                    columns = COLUMNS[table].split()
                    await connection.copy_records_to_table(table, schema_name="ledger", columns=columns, records=rows)
                    rows.clear()
            sums = [(*key, minor) for key, minor in self.value_sums.items()]
            await connection.executemany(WRITE_VALUE_SUM, sums)
            await connection.execute(WRITE_HEAD, self.sequence, self.booking_time)
            await connection.executemany(
                WRITE_PEER, [(peer_id, p.sent, p.acknowledged, p.landed) for peer_id, p in self.peers.items()]
            )
            await connection.executemany(
                WRITE_ACCOUNT, [(n, a.floor, a.restrictions, *a.limits) for n, a in self.accounts.items()]
            )
            await connection.executemany(WRITE_CAP, [(*owner, minor) for owner, minor in self.caps.items()])
            await connection.executemany(
                WRITE_HOLD,
                [
                    (i, h.account, h.amount, h.captured, h.payee, h.expire_time, h.place_date, h.currency, h.state)
                    for i, h in self.holds.items()
                ],
            )


def customer_account(slot: int, serial: int) -> int:
    """Name a customer's account."""
    return account_number(slot, serial)
