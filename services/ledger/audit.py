"""The audit: proves the invariants over the books of all shards while traffic flows.

Every shard is asked in one REPEATABLE READ READ ONLY snapshot (`audit_shard.py`, `audit.sql` and its
neighbours), all of them opened at about the same time; what the snapshots must say about each other is `audit_rules.py`,
what comes out is `audit_report.py`. The shards count, compare and digest their rows themselves; rows
travel only where something differs, so the memory needed here does not grow with the books.

Never here: writing, repairing, the rules by which the books are kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Final, TypeVar

from services.chassis import postgres
from services.domain.identifiers import account_text, uuid_text
from services.domain.outcomes import Outcome
from services.ledger import audit_products, audit_promises, audit_rules, audit_shard
from services.ledger.audit_report import Acknowledged, Evidence, Report, results
from services.ledger.audit_rules import Snapshot
from services.ledger.audit_shard import AuditedShard

APPLICATION: Final = "hivecore-audit"
ANSWERS_PER_QUERY: Final = 8_000
ACCOUNTS_PER_QUERY: Final = 8_000
SHARDS_AT_ONCE: Final = 8
"""Shards that search their books at the same time; on one machine they share its cores and memory."""

Answer = TypeVar("Answer")


async def audit(
    control_dsn: str | None,
    shard_dsns: Mapping[int, str],
    *,
    acknowledged: Iterable[Acknowledged] = (),
    in_flight_seconds_max: float | None = None,
) -> Report:
    """Check every invariant over the books of all shards.

    With `control_dsn`, accounts are also held against the directory, and their products against the catalogue. `acknowledged` is what callers
    were told before the audit began. `in_flight_seconds_max` says how long a crossing may be under
    way: None does not judge that, 0 means that nothing may be under way, as after a storm has settled.
    Raises what the driver raises when a database cannot be asked.
    """
    started = perf_counter()
    evidence = Evidence()
    async with _connected(shard_dsns) as shards:
        # What a shard said before any snapshot was opened must be covered by every snapshot.
        marks = await _each(shards, AuditedShard.read_watermarks)
        before = {shard.shard_id: streams for shard, streams in zip(shards, marks, strict=True)}
        await _each(shards, AuditedShard.open_snapshot)
        snapshots = {shard.shard_id: shard.snapshot for shard in shards}
        await _each(shards, AuditedShard.check)
        await _each(shards, lambda shard: shard.read_streams(snapshots))
        await _each(shards, lambda shard: shard.read_moving(snapshots))
        await _compare_crossings(shards, snapshots, evidence)
        await _compare_decisions(shards, snapshots, evidence)
        await _compare_accounts(shards, snapshots, evidence)
        if control_dsn:
            await _each(shards, AuditedShard.read_products)
        answer_count = await _compare_answers(shards, snapshots, acknowledged, evidence)
    shard_by_slot = await _read_control(control_dsn, snapshots, evidence) if control_dsn else None
    in_flight = audit_rules.money_in_flight(snapshots)
    audit_rules.check_watermarks(before, snapshots, evidence)
    audit_rules.check_peers(snapshots, evidence)
    audit_rules.check_transit(snapshots, in_flight, evidence)
    audit_rules.check_conservation(snapshots, in_flight, evidence)
    if in_flight_seconds_max is not None:
        audit_rules.check_rest(snapshots, in_flight, in_flight_seconds_max, evidence)
        audit_promises.check_promises(snapshots, in_flight_seconds_max, evidence)
    for snapshot in snapshots.values():
        audit_rules.check_balances(snapshot, evidence)
        audit_rules.check_places(snapshot, shard_by_slot, evidence)
    findings = [finding for shard in shards for finding in shard.findings] + evidence.findings()
    return Report(
        results(findings, audit_rules.rows_checked(snapshots, answer_count)),
        audit_rules.totals(snapshots, in_flight),
        perf_counter() - started,
    )


@asynccontextmanager
async def _connected(shard_dsns: Mapping[int, str]) -> AsyncIterator[list[AuditedShard]]:
    """Open one connection per shard."""
    async with AsyncExitStack() as stack:
        shards = []
        for shard_id, dsn in sorted(shard_dsns.items()):
            connection = await postgres.connect(dsn, application=APPLICATION, statement_seconds=0, only_reads=True)
            stack.push_async_callback(connection.close)
            shards.append(AuditedShard(shard_id, connection))
        yield shards


async def _each(shards: Sequence[AuditedShard], ask: Callable[[AuditedShard], Awaitable[Answer]]) -> list[Answer]:
    """Ask all shards at the same time; an error ends the others."""
    limit = asyncio.Semaphore(SHARDS_AT_ONCE)

    async def bounded(shard: AuditedShard) -> Answer:
        async with limit:
            return await ask(shard)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bounded(shard)) for shard in shards]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _compare_crossings(
    shards: Sequence[AuditedShard], snapshots: Mapping[int, Snapshot], evidence: Evidence
) -> None:
    """Draw the blocks whose digests differ and compare them row by row, one block at a time."""
    by_id = {shard.shard_id: shard for shard in shards}
    for block in audit_rules.differing_blocks(snapshots):
        payer, payee = by_id[block[0]], by_id[block[1]]
        through = audit_rules.through(payer.snapshot, payee.snapshot)
        audit_rules.compare_block(
            payer.snapshot,
            payee.snapshot,
            await payer.left(block),
            await payee.arrived(block),
            audit_shard.numbers_of(block, through),
            evidence,
        )


async def _compare_decisions(
    shards: Sequence[AuditedShard], snapshots: Mapping[int, Snapshot], evidence: Evidence
) -> None:
    """Draw the blocks of decisions whose digests differ and compare them row by row."""
    by_id = {shard.shard_id: shard for shard in shards}
    for block in audit_promises.differing_decisions(snapshots):
        home, peer = by_id[block[0]], by_id[block[1]]
        through = audit_rules.through(home.snapshot, peer.snapshot)
        told, heard = await home.told(block), await peer.heard(block)
        audit_promises.compare_decisions(block, audit_shard.numbers_of(block, through), told, heard, evidence)


async def _compare_accounts(
    shards: Sequence[AuditedShard], snapshots: Mapping[int, Snapshot], evidence: Evidence
) -> None:
    """Find accounts with entries on two shards, among the slots that have entries on two shards."""
    by_id = {shard.shard_id: shard for shard in shards}
    for slot, fewer, other in audit_rules.shared_slots(snapshots):
        last, end = slot * 10**12 - 1, (slot + 1) * 10**12 - 1
        while last < end:
            rows = await by_id[fewer].fetch("accounts_of_slot", last, end, ACCOUNTS_PER_QUERY)
            numbers = [row["account_number"] for row in rows]
            for row in await by_id[other].fetch("accounts_with_entries", numbers):
                text = f"account {account_text(row['account_number'])} has entries on shards {fewer} and {other}"
                evidence.add("account_on_two_shards", None, text)
            last = numbers[-1] if len(numbers) == ACCOUNTS_PER_QUERY else end


async def _compare_answers(
    shards: Sequence[AuditedShard],
    snapshots: Mapping[int, Snapshot],
    acknowledged: Iterable[Acknowledged],
    evidence: Evidence,
) -> int:
    """Hold what callers were told against the books; returns how many answers there were."""
    answers, count = iter(acknowledged), 0
    while part := list(islice(answers, ANSWERS_PER_QUERY)):
        count += len(part)
        meanings = await _each(shards, partial(AuditedShard.compare_answers, snapshots=snapshots, answers=part))
        said = {place: text for meaning in meanings for place, text in meaning.contradicted.items()}
        buried = set[int]().union(*(meaning.buried for meaning in meanings)) - said.keys()
        missing = set(range(len(part))).difference(buried, *(meaning.agreed for meaning in meanings))
        for place in sorted(missing):
            answer = part[place]
            told = f"transfer {uuid_text(answer.transfer_id)} was answered {Outcome(answer.outcome).name}"
            if place in said:
                evidence.add("answer_contradicted", None, f"{told}, {said[place]}")
            else:
                evidence.add("answer_forgotten", None, f"{told}, no shard knows it")
    return count


async def _read_control(control_dsn: str, snapshots: Mapping[int, Snapshot], evidence: Evidence) -> dict[int, int]:
    """Read which shard each slot is on, and hold products in use against those that are published.

    Every shard of the bank must have been audited. What a snapshot of a shard shows was published before.
    """
    connection = await postgres.connect(control_dsn, application=APPLICATION, statement_seconds=0, only_reads=True)
    try:
        rows = await connection.fetch(audit_shard.SQL["directory"])
        catalogue = await connection.fetch(audit_shard.SQL["catalogue"])
    finally:
        await connection.close()
    published = {(row["code"], row["version"]): row["currency"] for row in catalogue}
    for snapshot in snapshots.values():
        audit_products.check_products(snapshot, published, evidence)
    for row in rows:
        if row["shard_id"] not in snapshots:
            evidence.add("shard_not_audited", row["shard_id"], f"has {len(row['slots'])} slots")
    return {slot: row["shard_id"] for row in rows for slot in row["slots"]}
