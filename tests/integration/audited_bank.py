"""Sound books of three shards with everything in them that books can have, for the audit to look at."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from random import Random
from uuid import UUID

import asyncpg
from sound_books import CZK, EUR, Books, customer_account

from services.domain import chart
from services.domain.outcomes import Outcome, Refusal
from services.ledger.audit_report import Acknowledged, Report

SHARDS = (1, 2, 3)
SLOT = {1: 100, 2: 4000, 3: 8999}

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
        EXECUTE format('INSERT INTO ledger.%1$I TABLE kept.%1$I', name);
    END LOOP;
END
$$;
"""


class Bank:
    """Sound books of three shards with everything in them that books can have."""

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
        one, two, three = self.books.values()
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

    def transit(self, shard_id: int, peer_id: int, currency: int = CZK) -> int:
        return chart.transit_account(shard_id, peer_id, currency)


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def broken_checks(report: Report) -> set[str]:
    return {finding.check for result in report.results for finding in result.findings}


def all_evidence(report: Report) -> str:
    return "\n".join(row for result in report.results for row in result.evidence)
