"""The audit finds promises that real ledgers made sound, and each planted damage to them."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import asyncpg
import pytest
from audit_damages_promises import OPEN, POSTED, PROMISE_DAMAGES, PROMISER, REFUSED, UNKNOWN
from audited_bank import KEEP_A_COPY, RESTORE, all_evidence, broken_checks
from damage import Damage
from hivecore.ledger.v1 import ledger_pb2
from ledger_databases import migrate
from ledger_room import DEADLINE_SECONDS, Call, connected, open_bank
from memory_books import CZK, an_id, customer_account
from test_several_shards import leg, post

from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain.outcomes import Outcome
from services.ledger.audit import audit
from services.ledger.audit_chain import prove_chains
from services.ledger.sealing import Sealer

A, B, C = (customer_account(shard, 1) for shard in (1, 2, 3))
C2, NOBODY = customer_account(3, 2), customer_account(3, 9)

Plant = Callable[[int, str], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
async def dsns(postgres: EmbeddedPostgres) -> AsyncIterator[Mapping[int, str]]:
    """Have three ledgers write a posted, a refused, an open and an unknown transfer over several shards."""
    names = {shard_id: f"promised_{shard_id}" for shard_id in (1, 2, 3)}
    for name in names.values():
        await postgres.ensure_database(name)
    made = {shard_id: postgres.dsn(name) for shard_id, name in names.items()}
    for dsn in made.values():
        await migrate(dsn)
    async with open_bank(made, customers=2) as bank:
        assert (await post(bank, POSTED, leg(A, B), leg(C, A, 50), leg(B, C2, 30))).outcomes == [Outcome.POSTED]
        refused = await post(bank, REFUSED, leg(A, B), leg(B, A, 10), leg(A, NOBODY))
        assert refused.outcomes == [Outcome.REFUSED]
        await bank.service.AskDecisions(
            ledger_pb2.AskDecisionsRequest(shard_id=1, from_shard_id=2, transfer_ids=an_id(UNKNOWN), accounts=[B]),
            Call(DEADLINE_SECONDS),
        )
        await bank.until_settled()
        await bank.prove()
        asked = ledger_pb2.PromiseTransferRequest(shard_id=2, home_shard_id=1, transfer_id=an_id(OPEN))
        asked.legs.add(debit_account=B, credit_account=A, amount_minor=20, currency=CZK, pays_here=True)
        assert not (await bank.service.PromiseTransfer(asked, Call(DEADLINE_SECONDS))).refusal
        for shard_id in list(bank.shards):
            await bank.stop(shard_id)
    for dsn in made.values():
        async with connected(dsn) as connection:
            await connection.execute(KEEP_A_COPY)
    yield made
    for name in names.values():
        await postgres.drop_database(name)


@pytest.fixture
async def plant(dsns: Mapping[int, str]) -> AsyncIterator[Plant]:
    """Give a function that damages one shard; the damage is gone when the test ends."""
    damaged = set()

    async def run(dsn: str, script: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(script)
        finally:
            await connection.close()

    async def damage(shard_id: int, script: str) -> None:
        damaged.add(shard_id)
        await run(dsns[shard_id], script)

    yield damage
    for shard_id in damaged:
        await run(dsns[shard_id], RESTORE)


async def test_an_open_promise_is_sound_until_it_waits_too_long(dsns: Mapping[int, str]) -> None:
    assert PROMISER == B
    sound = await audit(None, dsns)
    assert sound.clean, all_evidence(sound)
    impatient = await audit(None, dsns, in_flight_seconds_max=0)
    assert broken_checks(impatient) == {"promised_too_long"}
    assert "1 promises wait for shard 1" in all_evidence(impatient)


@pytest.mark.parametrize(
    ("shard_id", "change"),
    [
        (1, "UPDATE ledger.leg_route SET debit_peer = 2 WHERE debit_peer = 3"),
        (1, "UPDATE ledger.decision_out SET account_number = account_number + 1 WHERE sequence <> 0"),
        (2, "UPDATE ledger.decision_landed SET refusal = refusal + 1 WHERE refusal <> 0"),
        (1, "UPDATE ledger.refused_leg SET leg = 0"),
        (2, "UPDATE ledger.entry SET amount_minor = amount_minor + 1"),
    ],
)
async def test_what_is_kept_of_transfers_over_several_shards_is_sealed(
    dsns: Mapping[int, str], plant: Plant, shard_id: int, change: str
) -> None:
    sealer = Sealer(shard_id, dsns[shard_id])
    try:
        while await sealer.seal_block():
            pass
    finally:
        sealer._drop()
    assert (await prove_chains({shard_id: dsns[shard_id]})).clean
    await plant(shard_id, change)
    assert not (await prove_chains({shard_id: dsns[shard_id]})).clean


@pytest.mark.parametrize("case", PROMISE_DAMAGES, ids=lambda case: case.what)
async def test_damage_to_promises_is_found_and_named(dsns: Mapping[int, str], plant: Plant, case: Damage) -> None:
    await plant(case.shard_id, case.script)
    report = await audit(None, dsns)
    assert broken_checks(report) == case.checks, all_evidence(report)
    assert case.names in all_evidence(report)
