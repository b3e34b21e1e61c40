"""The chain of seals covers every row of the journal: whatever is changed, deleted or inserted afterwards shows."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from audited_bank import KEEP_A_COPY, RESTORE, SHARDS, Bank, connected, seal

from services.chassis.embedded_postgres import EmbeddedPostgres
from services.chassis.migrations import migrate
from services.ledger.audit_chain import ChainReport, prove_chains
from services.ledger.sealing import Sealer

MORE_ROWS = """
SET session_replication_role = replica;
INSERT INTO ledger.metadata VALUES (1, 'order', '4711');
INSERT INTO ledger.external_creditor VALUES (2, 'BANK', '87144583', 'Somebody', 'invoice 7');
INSERT INTO ledger.actor (actor_id, channel, subject) VALUES (71, 'web', 'anna');
UPDATE ledger.transfer SET actor_id = 71 WHERE sequence = 3;
"""

DERIVED = {"day", "value_dated", "value_sum", "spending", "customer_spending"}
"""What the audit computes again from the rows that are sealed."""

OVER_SHARDS = {"leg_route", "decision_out", "decision_landed", "refused_leg"}
"""Changed in `test_audit_promises.py`, on books that have them."""

CHANGES = {
    "transfer": "reference = reference || '!'",
    "further_leg": "amount_minor = amount_minor + 1",
    "external_creditor": "account = account || '0'",
    "metadata": "value = value || '!'",
    "relation": "amount_minor = amount_minor + 1",
    "entry": "amount_minor = amount_minor + 1",
    "account_change": "reason = reason || '!'",
    "crossing_out": "number = number + 1000",
    "crossing_returned": "refusal = refusal + 1",
    "crossing_landed": "last_number = last_number + 1",
    "crossing_refused": "refusal = refusal + 1",
}
"""One column of each table, changed as little as can be."""

SEQUENCE = {"crossing_returned": "return_sequence", "crossing_landed": "first_sequence", "crossing_refused": "number"}
PLACE: dict[str, int] = {"crossing_returned": 1, "crossing_out": 1, "crossing_landed": 2, "crossing_refused": 2}
"""Shards that have such rows where it is not the fourth."""


@pytest.fixture(scope="module")
async def bank(postgres: EmbeddedPostgres) -> AsyncIterator[Bank]:
    names = {shard_id: f"chained_{shard_id}" for shard_id in SHARDS}
    for name in names.values():
        await postgres.ensure_database(name)
    bank = Bank({shard_id: postgres.dsn(name) for shard_id, name in names.items()})
    for shard_id, books in bank.books.items():
        async with connected(bank.dsns[shard_id]) as connection:
            await migrate(connection, "services.ledger")
            await books.write(connection)
            if shard_id == 4:
                await connection.execute(MORE_ROWS)
        await seal(shard_id, bank.dsns[shard_id])
        async with connected(bank.dsns[shard_id]) as connection:
            await connection.execute(KEEP_A_COPY)
    yield bank
    for name in names.values():
        await postgres.drop_database(name)


@pytest.fixture
async def spoil(bank: Bank):
    """Give a function that spoils one shard's rows and proves all chains; the damage is gone afterwards."""
    spoilt = set()

    async def plant(shard_id: int, script: str, *arguments: Any) -> ChainReport:
        spoilt.add(shard_id)
        async with connected(bank.dsns[shard_id]) as connection:
            await connection.execute("SET session_replication_role = replica")
            result = await connection.execute(script, *arguments)
            assert result.split()[-1] != "0", "nothing was spoilt"
        return await prove_chains(bank.dsns)

    yield plant
    for shard_id in spoilt:
        async with connected(bank.dsns[shard_id]) as connection:
            await connection.execute(RESTORE)


def violations(report: ChainReport) -> list[tuple[int, str]]:
    return [(shard.shard_id, violation) for shard in report.shards for violation in shard.proof.violations]


async def test_sound_chains_are_clean_and_cover_everything(bank: Bank) -> None:
    report = await prove_chains(bank.dsns)
    assert report.clean, violations(report)
    for shard in report.shards:
        assert shard.unsealed_count == 0
        assert shard.proof.block_count >= 2
        assert shard.proof.row_count > shard.head_sequence


async def rows_of(bank: Bank, table: str) -> tuple[int, int]:
    """Find a shard with rows of a table, and the sequence of one of them."""
    for shard_id in (PLACE.get(table, 4), *SHARDS):
        async with connected(bank.dsns[shard_id]) as connection:
            found = await connection.fetchval(f"SELECT max({SEQUENCE.get(table, 'sequence')}) FROM ledger.{table}")
            if found is not None:
                return shard_id, found
    raise AssertionError(f"the bank has no rows of {table}")


@pytest.mark.parametrize("table", CHANGES)
async def test_a_changed_row_is_found_by_its_sequence(bank: Bank, spoil, table: str) -> None:
    shard_id, sequence = await rows_of(bank, table)
    where = f"ctid = (SELECT ctid FROM ledger.{table} WHERE {SEQUENCE.get(table, 'sequence')} = {sequence} LIMIT 1)"
    report = await spoil(shard_id, f"UPDATE ledger.{table} SET {CHANGES[table]} WHERE {where}")
    found = violations(report)
    assert found and {shard for shard, _ in found} == {shard_id}
    if table != "crossing_refused":
        assert any(f"sequence {sequence} has other rows" in text for _, text in found), found


@pytest.mark.parametrize("table", CHANGES)
async def test_a_deleted_row_is_found(bank: Bank, spoil, table: str) -> None:
    shard_id, sequence = await rows_of(bank, table)
    report = await spoil(
        shard_id,
        f"DELETE FROM ledger.{table} WHERE ctid = (SELECT ctid FROM ledger.{table}"
        f" WHERE {SEQUENCE.get(table, 'sequence')} = {sequence} LIMIT 1)",
    )
    assert {shard for shard, _ in violations(report)} == {shard_id}


@pytest.mark.parametrize("table", CHANGES)
async def test_an_inserted_row_is_found(bank: Bank, spoil, table: str) -> None:
    shard_id, sequence = await rows_of(bank, table)
    report = await spoil(
        shard_id,
        f"INSERT INTO ledger.{table} SELECT * FROM ledger.{table}"
        f" WHERE {SEQUENCE.get(table, 'sequence')} = {sequence} LIMIT 1",
    )
    assert {shard for shard, _ in violations(report)} == {shard_id}


async def test_entries_slipped_into_an_account_that_the_block_does_not_name_are_found(bank: Bank, spoil) -> None:
    report = await spoil(
        4,
        "INSERT INTO ledger.entry SELECT account_number + 97, version, 3, amount_minor, balance_after_minor, held_after_minor"
        " FROM ledger.entry WHERE sequence = 1",
    )
    assert [text for _, text in violations(report)] == ["block 1 to 10: sequence 3 has other rows than were sealed"]


async def test_who_asked_cannot_be_renamed(bank: Bank, spoil) -> None:
    report = await spoil(4, "UPDATE ledger.actor SET subject = 'nobody' WHERE actor_id = 71")
    assert [text for _, text in violations(report)] == ["block 1 to 10: sequence 3 has other rows than were sealed"]


async def test_a_row_that_belongs_nowhere_is_found(bank: Bank, spoil) -> None:
    report = await spoil(2, "INSERT INTO ledger.crossing_refused (number, peer_id, refusal) VALUES (999999, 3, 20)")
    assert [text for _, text in violations(report)] == ["sequence 0: has rows and lies in no block"]


async def test_a_seal_cannot_be_changed_deleted_or_slipped_in(bank: Bank, spoil) -> None:
    changed = await spoil(1, "UPDATE ledger.seal SET hash = sha256('x') WHERE first_sequence = 1")
    assert {text.split(":")[0] for _, text in violations(changed)} == {"block 1 to 10", "block 11 to 20"}


async def test_a_deleted_seal_is_missed(bank: Bank, spoil) -> None:
    report = await spoil(1, "DELETE FROM ledger.seal WHERE first_sequence = 1")
    assert any("does not follow the one before" in text for _, text in violations(report))


async def test_a_chain_written_anew_agrees_with_itself_but_not_with_a_hash_that_was_kept(bank: Bank, spoil) -> None:
    before = await prove_chains(bank.dsns)
    kept = frozenset(shard.proof.head_hash for shard in before.shards)
    assert (await prove_chains(bank.dsns, kept)).clean
    await spoil(1, "UPDATE ledger.transfer SET amount_minor = amount_minor + 1 WHERE sequence = 1")
    await spoil(1, "DELETE FROM ledger.seal")
    await seal(1, bank.dsns[1])
    assert (await prove_chains(bank.dsns)).clean
    report = await prove_chains(bank.dsns, kept)
    assert not report.clean
    assert report.missing == {before.shards[0].proof.head_hash}


async def test_what_is_not_sealed_yet_is_counted_and_not_judged(bank: Bank, spoil) -> None:
    report = await spoil(1, "UPDATE ledger.journal_head SET last_sequence = last_sequence + 3")
    assert report.clean
    assert report.shards[0].unsealed_count == 3


async def test_two_that_seal_at_once_make_one_chain(make_database) -> None:
    dsn = await make_database()
    bank = Bank(dict.fromkeys(SHARDS, dsn))
    async with connected(dsn) as connection:
        await migrate(connection, "services.ledger")
        await bank.books[1].write(connection)
    one, other = Sealer(1, dsn), Sealer(1, dsn)
    try:
        more = [True, True]
        while any(more):
            more = [await one.seal_block(), await other.seal_block()]
    finally:
        one._drop()
        other._drop()
    assert (await prove_chains({1: dsn})).clean


async def test_every_table_of_the_journal_is_sealed_or_derived(database: str) -> None:
    async with connected(database) as connection:
        await migrate(connection, "services.ledger")
        kept = await named(
            connection,
            "SELECT DISTINCT event_object_table FROM information_schema.triggers"
            " WHERE trigger_schema = 'ledger' AND trigger_name = 'append_only'"
            " UNION SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only'",
        )
        sealed = await named(
            connection,
            "SELECT DISTINCT typname FROM pg_proc p JOIN pg_type t ON t.oid = ANY (p.proargtypes)"
            " WHERE p.proname = 'sealed_form'",
        )
    assert kept - {"seal"} - DERIVED == sealed - DERIVED
    assert set(CHANGES) == sealed - {"actor"} - OVER_SHARDS


async def named(connection: asyncpg.Connection, question: str) -> set[str]:
    return {row[0].removeprefix("ledger.") for row in await connection.fetch(question)}
