"""The audit under way: many crossings, and traffic that does not stop for it."""

import asyncio
from random import Random

from audited_bank import all_evidence, broken_checks, connected
from sound_books import Books, customer_account

from services.chassis.migrations import migrate
from services.ledger import audit_shard
from services.ledger.audit import audit


async def open_shards(make_database, count: int, chance: Random) -> tuple[dict[int, str], dict[int, Books]]:
    """Make empty books with a cash account and ten customers' accounts of 1,000.00 each."""
    dsns = {shard_id: await make_database() for shard_id in range(1, count + 1)}
    books = {shard_id: Books(shard_id, chance) for shard_id in dsns}
    for shard_id, dsn in dsns.items():
        cash = books[shard_id].open_bank()
        for serial in range(1, 11):
            books[shard_id].post(cash, books[shard_id].open(customer_account(shard_id, serial)), 100_000)
        async with connected(dsn) as connection:
            await migrate(connection, "services.ledger")
            await books[shard_id].write(connection)
    return dsns, books


def a_customer(shard_id: int, chance: Random) -> int:
    return customer_account(shard_id, chance.randrange(1, 11))


async def test_of_many_crossings_only_those_that_differ_are_named(make_database) -> None:
    chance = Random(3)
    dsns, books = await open_shards(make_database, 2, chance)
    last = 2 * audit_shard.BLOCK_NUMBERS + 100
    for _ in range(last):
        books[1].cross(2, a_customer(1, chance), a_customer(2, chance), 1)
    for _ in range(last // 1_000 + 1):
        books[2].land(books[1], 1_000, dict.fromkeys(range(500, last, 700), 60))
    books[1].acknowledge(books[2])
    for shard_id, dsn in dsns.items():
        async with connected(dsn) as connection:
            await books[shard_id].write(connection)
    report = await audit(None, dsns, in_flight_seconds_max=0)
    assert report.clean, all_evidence(report)
    wrong = {1, audit_shard.BLOCK_NUMBERS, audit_shard.BLOCK_NUMBERS + 1, last}
    async with connected(dsns[2]) as connection:
        await connection.execute("SET session_replication_role = replica")
        for number in wrong:
            transfer_id = books[1].sent[2, number].transfer_id
            await connection.execute(
                "UPDATE ledger.transfer SET value_date = value_date - 1 WHERE transfer_id = $1", transfer_id
            )
    report = await audit(None, dsns)
    assert broken_checks(report) == {"pair_differs", "value_dated_differs"}
    (finding,) = report.results[5].findings
    assert finding.found == len(wrong)
    assert {int(row.split()[1]) for row in finding.evidence} == wrong


async def test_the_audit_is_clean_at_every_moment_of_sound_traffic(make_database) -> None:
    chance = Random(4)
    dsns, books = await open_shards(make_database, 3, chance)
    stop = asyncio.Event()
    written = 0

    async def write(shard_id: int) -> None:
        async with connected(dsns[shard_id]) as connection:
            await books[shard_id].write(connection)

    async def trade() -> None:
        nonlocal written
        while not stop.is_set():
            payer_id, payee_id = chance.sample(sorted(dsns), 2)
            payer, payee = books[payer_id], books[payee_id]
            for _ in range(chance.randrange(1, 40)):
                payer.cross(payee_id, a_customer(payer_id, chance), a_customer(payee_id, chance), 3)
                payer.post(customer_account(payer_id, 1), customer_account(payer_id, 2), 1)
            await write(payer_id)
            count = chance.randrange(60)
            first = payee.peer(payer_id).landed + 1
            payee.land(payer, count, {number: 60 for number in range(first, first + count) if not chance.randrange(5)})
            await write(payee_id)
            if chance.randrange(2):
                payer.acknowledge(payee)
                await write(payer_id)
            written += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(trade())
        moments = []
        try:
            while len(moments) < 8:
                before = written
                report = await audit(None, dsns)
                assert report.clean, all_evidence(report)
                moments.append(written - before)
        finally:
            stop.set()
    assert sum(moments) > 8, "there was no traffic during the audits"
    assert any(report.totals.in_flight)
    for payer in books.values():
        for payee in books.values():
            if payer is not payee:
                payee.land(payer, 10**6)
                await write(payee.shard_id)
                payer.acknowledge(payee)
                await write(payer.shard_id)
    report = await audit(None, dsns, in_flight_seconds_max=0)
    assert report.clean, all_evidence(report)
    assert report.totals.returns > 0
