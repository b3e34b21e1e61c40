"""Books that an older release wrote are upgraded where they lie: no row is written anew, and all that they say still holds.

The rows of before come from `sound_books.py` in the form that the older release gave them, on a schema that
stops at its last migration. Never here: how migrations are applied (`test_migrations.py`).
"""

from dataclasses import replace

import asyncpg
import pytest
from audited_bank import Bank, all_evidence, connected, seal
from ledger_databases import MakeDatabase
from ledger_room import post, writing
from memory_books import an_id, ask

from services.chassis import migrations
from services.domain.outcomes import Outcome
from services.ledger.audit import audit
from services.ledger.audit_chain import prove_chains
from services.ledger.history import History, Search
from services.ledger.reader import Reader

LAST_OF_THE_RELEASE_BEFORE = 22
SHARD = 1
"""Where the upgraded books are gone on with."""

FILES = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'"
BY_REFERENCE = Search(0, "", 0, 0, 0, 0, 0, (), 0, 0)


@pytest.fixture
async def old_bank(make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Write and seal a bank with the schema of the release before."""
    bank = Bank({shard_id: await make_database() for shard_id in (1, 2, 3, 4)})
    newest = migrations.find("services.ledger")
    old = [migration for migration in newest if migration.number <= LAST_OF_THE_RELEASE_BEFORE]
    assert len(old) < len(newest)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "find", lambda *_: old)
        for shard_id, books in bank.books.items():
            books.rows["entry"] = [(*row[:-1], row[-1] or 0) for row in books.rows["entry"]]
            async with connected(bank.dsns[shard_id]) as connection:
                assert await migrations.migrate(connection, "services.ledger") == len(old)
                await books.write(connection)
            await seal(shard_id, bank.dsns[shard_id])
    return bank


async def upgrade(bank: Bank) -> None:
    """Bring all shards to the newest form, which must leave every table's file as it is."""
    for dsn in bank.dsns.values():
        async with connected(dsn) as connection:
            before = dict(await connection.fetch(FILES))
            assert await migrations.migrate(connection, "services.ledger") >= 1
            after = dict(await connection.fetch(FILES))
            assert {table: after[table] for table in before} == before


async def found(dsn: str, reference: str) -> list[bytes]:
    reader = await Reader.open(dsn)
    try:
        page = await History(reader).search(replace(BY_REFERENCE, reference=reference), 500)
        return [each.transfer_id for each in page.transfers]
    finally:
        await reader.close()


async def test_what_an_older_release_wrote_is_as_true_and_as_sealed_as_before(old_bank: Bank) -> None:
    sealed = await prove_chains(old_bank.dsns)
    assert sealed.clean
    heads = frozenset(shard.proof.head_hash for shard in sealed.shards)
    await upgrade(old_bank)
    assert (await prove_chains(old_bank.dsns, heads)).clean
    report = await audit(None, old_bank.dsns, acknowledged=old_bank.told)
    assert report.clean, all_evidence(report)


async def test_upgraded_books_are_gone_on_with_by_both_ways_of_writing(old_bank: Bank) -> None:
    dsn = old_bank.dsns[SHARD]
    cash, payee = old_bank.cash[SHARD], old_bank.first[SHARD]
    heads = frozenset(shard.proof.head_hash for shard in (await prove_chains(old_bank.dsns)).shards)
    async with connected(dsn) as connection:
        old_id, reference = await connection.fetchrow(
            "SELECT transfer_id, reference FROM ledger.transfer WHERE reference <> '' AND kind = 1 ORDER BY sequence LIMIT 1"
        )
        old_head = await connection.fetchval("SELECT last_sequence FROM ledger.journal_head")
    await upgrade(old_bank)

    async with writing(dsn, shard_id=SHARD) as books:
        small = await post(books, ask(1, cash, payee, 5, reference=reference))
        large = await post(books, *(ask(number, cash, payee, 5, reference=reference) for number in range(2, 202)))
        assert len(books.drafts) == 2
    assert {*small.outcomes, *large.outcomes} == {Outcome.POSTED}

    assert await found(dsn, reference) == [an_id(number) for number in range(201, 0, -1)] + [old_id.bytes]
    async with connected(dsn) as connection:
        assert await _held(connection, f"sequence > {old_head}") == {None}
        assert None not in await _held(connection, f"sequence <= {old_head}")
    await seal(SHARD, dsn)
    report = await prove_chains(old_bank.dsns, heads)
    assert report.clean
    assert report.shards[0].proof.sealed_through == old_head + 201
    assert (await audit(None, old_bank.dsns)).clean


async def test_the_release_before_goes_on_meanwhile(old_bank: Bank) -> None:
    """Its pods write the upgraded schema until they are replaced: 0 where nothing is held."""
    dsn = old_bank.dsns[SHARD]
    await upgrade(old_bank)
    async with connected(dsn) as connection:
        books = old_bank.books[SHARD]
        books.post(old_bank.cash[SHARD], old_bank.first[SHARD], 70)
        books.rows["entry"] = [(*row[:-1], row[-1] or 0) for row in books.rows["entry"]]
        await books.write(connection)
    assert (await audit(None, old_bank.dsns)).clean


async def _held(connection: asyncpg.Connection, condition: str) -> set[int | None]:
    rows = await connection.fetch(f"SELECT DISTINCT held_after_minor FROM ledger.entry WHERE {condition}")
    return {row[0] for row in rows}
