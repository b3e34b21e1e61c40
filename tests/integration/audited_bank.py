"""Sound books of four shards with everything in them that books can have, for the audit to look at."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from random import Random
from uuid import UUID

import asyncpg
from sound_books import CZK, EUR, Books, customer_account
from sound_rows import UNLIMITED, Special

from services.domain import chart
from services.domain.identifiers import customer_number
from services.domain.outcomes import Outcome, Refusal
from services.ledger.audit_report import Acknowledged, Report
from services.ledger.sealing import Sealer

SHARDS = (1, 2, 3, 4)
SLOT = {1: 100, 2: 4000, 3: 8999, 4: 6000}
CUSTOMER = customer_number(SLOT[4], 1)

KEEP_A_COPY = """
CREATE SCHEMA kept;
DO $$
DECLARE
    name text;
    fetter record;
BEGIN
    FOR fetter IN SELECT conrelid::regclass AS place, conname FROM pg_constraint
                   WHERE connamespace = 'ledger'::regnamespace AND contype IN ('p', 'u', 'c') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', fetter.place, fetter.conname);
    END LOOP;
    DROP INDEX ledger.transfer_id_is_unique;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'ledger' LOOP
        EXECUTE format('CREATE TABLE kept.%1$I AS TABLE ledger.%1$I', name);
    END LOOP;
END
$$;
"""
"""Without constraints a damage can be planted that the schema would have refused."""

RESTORE = """
SET session_replication_role = replica;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'kept' LOOP
        EXECUTE format('DELETE FROM ledger.%I', name);
        EXECUTE format('INSERT INTO ledger.%1$I OVERRIDING SYSTEM VALUE TABLE kept.%1$I', name);
    END LOOP;
END
$$;
"""


class Bank:
    """Sound books of four shards; what is more than a plain transfer lies on the fourth."""

    def __init__(self, dsns: Mapping[int, str]) -> None:
        self.dsns = dict(dsns)
        chance = Random(2)
        self.books = {shard_id: Books(shard_id, chance) for shard_id in SHARDS}
        self.told: list[Acknowledged] = []
        self.cash, self.first, self.second, self.emptied, self.euro = {}, {}, {}, {}, {}
        for shard_id, books in self.books.items():
            self.cash[shard_id] = books.open_bank()
            fees = books.open_bank(chart.Code.FEES, EUR)
            self.first[shard_id], self.second[shard_id], self.emptied[shard_id], _ = (
                books.open(customer_account(SLOT[shard_id], serial)) for serial in range(1, 5)
            )
            self.euro[shard_id] = books.open(customer_account(SLOT[shard_id], 9), EUR)
            self._post_locally(books, fees)
        self._cross()
        self._serve(self.books[4])
        self._hold(self.books[4])
        self._limit(self.books[4])
        self._change(self.books[4])
        self._reverse(self.books[4])
        self._carry_fees(self.books[4], self.books[3])
        self._charge(self.books[4], self.books[2])

    def tell(self, transfer_id: UUID, outcome: Outcome, refusal: int = 0) -> None:
        self.told.append(Acknowledged(transfer_id.bytes, outcome, refusal))

    def _post_locally(self, books: Books, fees: int) -> None:
        """Write sequences 1 to 16, the same on each shard."""
        cash, first, second = self.cash[books.shard_id], self.first[books.shard_id], self.second[books.shard_id]
        emptied = self.emptied[books.shard_id]
        self.tell(books.post(cash, first, 100_000), Outcome.POSTED)
        books.post(cash, second, 50_000)
        books.post(first, second, 1_000)
        books.post(first, second, 1_000)
        self.tell(books.refuse(second, first, 10**9), Outcome.REFUSED, Refusal.INSUFFICIENT_FUNDS)
        books.post(first, second, 10, further=[(second, first, 20), (first, cash, 30)])
        books.refuse(first, second, 10**9, further=[(second, first, 20)])
        books.post(cash, emptied, 77)
        books.post(emptied, cash, 77)
        books.post(fees, self.euro[books.shard_id], 5_000, EUR)
        books.post(self.euro[books.shard_id], fees, 1_000, EUR)
        books.post(first, cash, 11)
        books.post(second, cash, 12)

    def _cross(self) -> None:
        """Leave crossings in every state: acknowledged, returned, landed, refused, and on their way."""
        one, two, three, _ = self.books.values()
        payer, payee = self.first, self.second
        self.tell(one.cross(2, payer[1], payee[2], 700), Outcome.POSTED)
        one.cross(2, payer[1], payee[2], 800)
        self.tell(one.cross(2, payer[1], payee[2], 900), Outcome.RETURNED, Refusal.CREDIT_ACCOUNT_CLOSED)
        self.tell(two.cross(1, payer[2], payee[1], 950), Outcome.IN_TRANSIT)
        two.land(one, 3, {3: Refusal.CREDIT_ACCOUNT_CLOSED})
        one.acknowledge(two)
        self.tell(one.cross(2, self.euro[1], self.euro[2], 1_100, EUR), Outcome.POSTED)
        one.cross(2, payer[1], payee[2], 1_200)
        one.cross(2, payer[1], payee[2], 1_300)
        two.land(one, 2, {5: Refusal.CREDITS_FROZEN})
        one.land(two, 1)
        two.acknowledge(one)
        three.cross(1, payer[3], payee[1], 1_400)
        self.tell(two.cross(3, payer[2], payee[3], 1_500), Outcome.IN_TRANSIT)

    def _serve(self, books: Books) -> None:
        """Fund five customers' accounts, two of them of one customer, at sequences 17 to 20."""
        owners = {11: 0, 12: CUSTOMER, 13: CUSTOMER, 14: 0, 15: 0}
        self.holder, self.limited, self.sibling, self.changing, self.poor = (
            books.open(customer_account(SLOT[4], serial), customer=owner) for serial, owner in owners.items()
        )
        for account in (self.holder, self.limited, self.sibling, self.changing):
            books.post(self.cash[4], account, 10_000)

    def _hold(self, books: Books) -> None:
        """End holds in every way, at sequences 21 to 32, and leave one open."""
        payee = self.second[4]
        captured = books.place(self.holder, 3_000, payee)
        self.tell(books.increase(captured, 500), Outcome.POSTED)
        books.post(self.holder, payee, 2_000, special=Special(hold=captured))
        released = books.place(self.holder, 1_000)
        books.free(released, 3)
        self.tell(books.refuse_release(released, Refusal.HOLD_ALREADY_RELEASED), Outcome.REFUSED)
        expired = books.place(self.holder, 700, seconds=60)
        books.pass_time(minutes=2)
        books.free(expired, 4)
        books.place(self.holder, 400)
        crossed = books.place(self.holder, 600)
        books.cross(3, self.holder, self.first[3], 600, special=Special(hold=crossed))
        books.refuse(self.holder, payee, 10**9)

    def _limit(self, books: Books) -> None:
        """Spend within limits, over them where that was allowed, and from the next day on within a cap: 33 to 47."""
        payee = self.second[4]
        books.change(self.limited, limits=(20_000, 5_000, 8_000, 5))
        books.post(self.limited, payee, 3_000)
        books.post(self.cash[4], self.limited, 9_000)
        books.free(books.place(self.limited, 1_000), 3)
        books.post(self.limited, payee, 6_000, special=Special(flags=1))
        books.refuse(self.limited, payee, 1, Refusal.DAY_AMOUNT_LIMIT)
        books.pass_time(days=1)
        books.post(self.limited, payee, 2_000, further=[(self.limited, self.cash[4], 20)])
        books.place(self.limited, 1_000)
        books.change(self.limited, cap=6_000)
        books.post(self.sibling, payee, 5_000)
        books.refuse(self.sibling, payee, 1, Refusal.CUSTOMER_DAY_LIMIT)
        books.change(self.limited, limits=UNLIMITED)
        books.post(self.limited, payee, 100, special=Special(flags=1))
        books.pass_time(days=1)

    def _change(self, books: Books) -> None:
        """Freeze, thaw, lower and raise a floor, close: sequences 48 to 57."""
        cash = self.cash[4]
        books.change(self.changing, restrictions=1)
        books.post(cash, self.changing, 50)
        books.refuse(self.changing, cash, 1, Refusal.DEBITS_FROZEN)
        books.change(self.changing, restrictions=0, floor=-500)
        books.post(self.changing, cash, 10_300)
        books.change(self.changing, floor=0)
        books.post(cash, self.changing, 100)
        books.change(self.changing, restrictions=4, refusal=Refusal.ACCOUNT_NOT_EMPTY)
        books.change(self.emptied[4], restrictions=4)
        books.change(customer_account(SLOT[4], 99), restrictions=4, refusal=Refusal.DEBIT_ACCOUNT_NOT_FOUND)

    def _reverse(self, books: Books) -> None:
        """Give back in parts, out of nothing, leg by leg, and before there was anything: sequences 58 to 72."""
        cash, first, second = self.cash[4], self.first[4], self.second[4]
        whole = books.post(cash, self.poor, 1_000)
        books.post(self.poor, cash, 400, special=Special(original=whole))
        books.post(self.poor, cash, 600, special=Special(original=whole))
        books.refuse(self.poor, cash, 1, Refusal.REVERSAL_EXCEEDS_ORIGINAL)
        spent = books.post(cash, self.poor, 500)
        books.post(self.poor, second, 500)
        books.post(self.poor, cash, 500, special=Special(original=spent, flags=2))
        books.post(cash, self.poor, 100)
        legs = books.post(first, second, 10, further=[(second, first, 20), (first, cash, 30)])
        given = [(first, second, 20), (cash, first, 30)]
        books.post(second, first, 10, further=given, special=Special(original=legs))
        self.tell(books.bury(self.poor), Outcome.REFUSED, Refusal.REVERSED_BEFORE_ARRIVAL)

    def _carry_fees(self, payer: Books, payee: Books) -> None:
        """Cross with a fee that stays, or comes back as well; give back what crossed, once in vain: 73 to 85."""
        paid, credited = self.first[4], self.second[3]
        fee = (paid, self.cash[4], 16)
        landed = payer.cross(3, paid, credited, 1_600, further=[fee])
        returned = payer.cross(3, paid, credited, 1_700, further=[fee, (self.second[4], self.cash[4], 17)])
        payee.bury(credited, returned)
        payee.land(payer, 3, {3: Refusal.REVERSED_BEFORE_ARRIVAL})
        payer.acknowledge(payee)
        self.tell(returned, Outcome.RETURNED, Refusal.REVERSED_BEFORE_ARRIVAL)
        payer.cross(3, paid, credited, 1_800, further=[fee])
        for part in (600, 1_000, 1_000):
            payee.cross(4, credited, paid, part, special=Special(original=landed))
            payer.land(payee, 1, {2: Refusal.CREDITS_FROZEN})
            payee.acknowledge(payer)

    def _charge(self, books: Books, payee: Books) -> None:
        """Take fees: of a transfer, of a capture, of two payers, of crossings, one of which comes back: 86 to 104."""
        first, second, cash = self.first[4], self.second[4], self.cash[4]
        income = books.open_bank(chart.Code.FEES)
        paid = books.post(first, second, 100, further=[(first, income, 3, True)])
        books.post(second, first, 100, special=Special(original=paid))
        held = books.place(self.holder, 60)
        books.post(self.holder, second, 50, special=Special(hold=held), further=[(self.holder, income, 4, True)])
        books.post(first, cash, 7, further=[(second, cash, 8), (first, income, 5, True), (second, income, 6, True)])
        books.post(first, second, 9, special=Special(flags=4))
        books.refuse(first, second, 10**9, further=[(first, income, 2, True)])
        books.cross(2, first, self.second[2], 1_900, further=[(first, income, 7, True)])
        books.cross(2, first, self.second[2], 1_950, further=[(first, income, 8, True)])
        payee.land(books, 2, {2: Refusal.CREDITS_FROZEN})
        books.acknowledge(payee)

    def customers_money(self, currency: int) -> int:
        return sum(
            account.balance
            for books in self.books.values()
            for number, account in books.accounts.items()
            if account.currency == currency and not chart.is_internal(number)
        )

    def transit(self, shard_id: int, peer_id: int, currency: int = CZK) -> int:
        return chart.transit_account(shard_id, peer_id, currency)


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def seal(shard_id: int, dsn: str) -> None:
    """Seal all there is, in blocks so small that there are several."""
    sealer = Sealer(shard_id, dsn, block_sequences_max=10)
    try:
        while await sealer.seal_block():
            pass
    finally:
        sealer._drop()


def broken_checks(report: Report) -> set[str]:
    return {finding.check for result in report.results for finding in result.findings}


def all_evidence(report: Report) -> str:
    return "\n".join(row for result in report.results for row in result.evidence)
