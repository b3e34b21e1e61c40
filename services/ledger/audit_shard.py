"""One shard's books as one snapshot shows them: asks `audit.sql` and its neighbours, keeps the answers.

Never here: what the answers must be (the questions say so themselves for one shard, `audit_rules.py`
for several), the order of the audit (`audit.py`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from services.chassis import queries
from services.domain import chart, limits, metadata
from services.domain.outcomes import Outcome
from services.ledger import audit_rules
from services.ledger.audit_report import EVIDENCE_ROWS_MAX, Acknowledged, Finding
from services.ledger.audit_rules import Block, Content, Digest, Group, ProductUse, Side, Snapshot, Stream

QUESTIONS: Final = (
    "audit.sql",
    "audit_journal.sql",
    "audit_crossings.sql",
    "audit_holds.sql",
    "audit_limits.sql",
    "audit_statements.sql",
    "audit_fees.sql",
    "audit_promises.sql",
    "audit_products.sql",
)

SQL: Final = queries.load("services.ledger", *QUESTIONS)

BLOCK_NUMBERS: Final = 4_096
"""Crossings under one digest: what is drawn row by row when a single one differs."""


class Meaning(NamedTuple):
    """What a shard's books say of answers, by their places."""

    agreed: set[int]
    buried: set[int]
    """Agreed as well, but the id was only buried here: its transfer may stand on another shard."""
    contradicted: dict[int, str]


QUESTIONS_ABOUT: Final[dict[str, tuple[str, ...]]] = {
    "check_transfers": (),
    "check_sequences": (),
    "check_days": (),
    "check_value_dates": ("value_dated", "value_dated_transfers"),
    "check_value_sums": ("value_dated", "value_sums"),
    "check_sent": (),
    "check_returned": (),
    "check_holds": ("hold_commands", "holds", "promises"),
    "check_promises": ("promises", "decisions_landed"),
    "check_decisions": ("decisions_out", "routed_legs", "refused_legs"),
    "check_relations": ("relations",),
    "check_changes": ("changes", "caps"),
    "check_standing": ("changes", "limited_accounts"),
    "check_spending": ("changes", "limited_accounts", "spendings", "customer_spendings"),
}
"""Questions that need nothing but the books, and which counts they are about: asked only when one is not 0."""


class AuditedShard:
    """A connection to one shard and what its snapshot has said so far."""

    def __init__(self, shard_id: int, connection: asyncpg.Connection) -> None:
        self.shard_id = shard_id
        self.snapshot = Snapshot(shard_id)
        self.findings: list[Finding] = []
        self._connection = connection

    @property
    def _range_max(self) -> int:
        """More numbers than any sound range of landed crossings can have: every one takes a sequence."""
        return self.snapshot.counts["transfers"] + self.snapshot.counts["crossings_refused"]

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask one question."""
        return await self._connection.fetch(SQL[query], *arguments)

    async def read_watermarks(self) -> dict[int, Stream]:
        """Read the watermarks as they are now, before the snapshot."""
        return {row["peer_id"]: Stream(*row[1:]) for row in await self.fetch("watermarks")}

    async def open_snapshot(self) -> None:
        """Begin the transaction whose snapshot every later question sees; closing the connection ends it."""
        await self._connection.transaction(isolation="repeatable_read", readonly=True).start()
        await self._connection.execute(SQL["settle"])
        self.snapshot.streams = {row["peer_id"]: Stream(*row[1:]) for row in await self.fetch("streams")}

    async def check(self) -> None:
        """Make all checks within the shard."""
        own = [row["currency"] for row in await self.fetch("currencies")]
        transit = {
            chart.transit_account(self.shard_id, peer_id, currency): (peer_id, currency)
            for peer_id in self.snapshot.streams
            for currency in own
        }
        peers, currencies = [peer for peer, _ in transit.values()], [currency for _, currency in transit.values()]
        counts = self.snapshot.counts = dict((await self.fetch("counts"))[0])
        had_holds = counts["hold_commands"] > 0 or counts["promises"] > 0
        await self._find("check_histories", limits.BALANCE_MINOR_MAX, limits.AMOUNT_MINOR_MAX, had_holds)
        await self._find("check_legs", peers, currencies, list(transit), self._range_max)
        await self._find("check_landed", self._range_max)
        if counts["fee_legs"]:
            income = [chart.internal_account(self.shard_id, chart.Code.FEES, currency) for currency in own]
            await self._find("check_fees", own, income)
        if counts["metadata"]:
            await self._find("check_metadata", metadata.KEYS_MAX, metadata.BYTES_MAX)
        for name, rows in QUESTIONS_ABOUT.items():
            if not rows or any(counts[row] for row in rows):
                await self._find(name)
        self.snapshot.groups = [
            Group(row["slot"], row["currency"], row["account_count"], row["account_number"], int(row["balance_minor"]))
            for row in await self.fetch("balances")
        ]
        for row in await self.fetch("transit_balances", list(transit)):
            self.snapshot.transit_minor[transit[row["account_number"]]] = row["balance_minor"]

    async def read_products(self) -> None:
        """Read which products accounts have by the records beside the books, if there are any, and who paid fees."""
        (row,) = await self.fetch("has_records")
        if not row["found"]:
            return
        self.snapshot.products = [ProductUse(*row) for row in await self.fetch("products_in_use")]
        if self.snapshot.counts["fee_legs"]:
            await self._find("check_fee_payers")

    async def _find(self, query: str, *arguments: Any) -> None:
        """Make one group of checks and keep what it finds."""
        evidence: dict[tuple[str, int], list[str]] = defaultdict(list)
        for row in await self.fetch(query, EVIDENCE_ROWS_MAX, *arguments):
            evidence[row["broken"], row["found"]].append(row["evidence"])
        self.findings += [
            Finding(check, self.shard_id, tuple(rows), found) for (check, found), rows in evidence.items()
        ]

    async def read_streams(self, snapshots: Mapping[int, Snapshot]) -> None:
        """Read what left for each peer and what arrived from it, in digests, and what either side alone knows."""
        here, own = self.shard_id, self.snapshot
        peers = self._peers(snapshots)
        numbers = [peer.shard_id for peer in peers]
        common = [audit_rules.through(own, peer) for peer in peers]
        for row in await self.fetch("sent_digests", numbers, common, BLOCK_NUMBERS):
            block = here, row["peer_id"], row["block"]
            _keep(own.sent, block, row["landed_count"], row["landed_digest"])
            _keep(own.returned, block, row["refused_count"], row["refused_digest"])
        common = [audit_rules.through(peer, own) for peer in peers]
        for row in await self.fetch("landed_digests", numbers, common, BLOCK_NUMBERS):
            _keep(own.landed, (row["peer_id"], here, row["block"]), row["landed_count"], row["landed_digest"])
        for row in await self.fetch("refused_digests", numbers, common, BLOCK_NUMBERS):
            _keep(own.refused, (row["peer_id"], here, row["block"]), row["refused_count"], row["refused_digest"])
        sent = [audit_rules.sent_through(peer, here) for peer in peers]
        for row in await self.fetch("landed_ahead", numbers, sent, self._range_max):
            own.landed_ahead[row["peer_id"], here, row["currency"]] = int(row["amount_minor"])
        await self._read_decisions(own, peers)
        acknowledged = [audit_rules.acknowledged_through(peer, here) for peer in peers]
        for row in await self.fetch("refused_numbers", numbers, acknowledged):
            own.refused_numbers.setdefault(row["peer_id"], []).append(row["number"])

    async def _read_decisions(self, own: Snapshot, peers: Sequence[Snapshot]) -> None:
        """Read what was decided for each peer and what it decided, in digests, and which promises wait for it."""
        here, numbers = self.shard_id, [peer.shard_id for peer in peers]
        common = [audit_rules.through(own, peer) for peer in peers]
        for row in await self.fetch("told_digests", numbers, common, BLOCK_NUMBERS):
            _keep(own.told, (here, row["peer_id"], row["block"]), row["row_count"], row["digest"])
        common = [audit_rules.through(peer, own) for peer in peers]
        for row in await self.fetch("heard_digests", numbers, common, BLOCK_NUMBERS):
            _keep(own.heard, (row["peer_id"], here, row["block"]), row["row_count"], row["digest"])
        for row in await self.fetch("promises_open"):
            own.promises_open[row["home_id"]] = row["promise_count"], row["age_seconds"]

    async def told(self, block: Block) -> dict[int, str]:
        """Draw a block of decisions for a peer, row by row, as text."""
        return {row["number"]: row["content"] for row in await self.fetch("told_rows", block[1], *_bounds(block))}

    async def heard(self, block: Block) -> dict[int, str]:
        """Draw a block of a peer's decisions that landed, row by row, as text."""
        return {row["number"]: row["content"] for row in await self.fetch("heard_rows", block[0], *_bounds(block))}

    async def read_moving(self, snapshots: Mapping[int, Snapshot]) -> None:
        """Read what left and has not arrived, by what the payees' snapshots say."""
        here, peers = self.shard_id, self._peers(snapshots)
        numbers = [peer.shard_id for peer in peers]
        landed = [audit_rules.landed_through(peer, here) for peer in peers]
        refused = [(peer.shard_id, number) for peer in peers for number in peer.refused_numbers.get(here, ())]
        refusers, refused_numbers = [peer for peer, _ in refused], [number for _, number in refused]
        for row in await self.fetch("in_flight", numbers, landed, refusers, refused_numbers):
            money = here, row["peer_id"], row["currency"]
            self.snapshot.moving[money] = row["crossing_count"], int(row["amount_minor"]), row["age_seconds"]

    async def compare_answers(self, snapshots: Mapping[int, Snapshot], answers: Sequence[Acknowledged]) -> Meaning:
        """Hold what callers were told against this shard's books; ids that are not in them are left out."""
        ids = [UUID(bytes=answer.transfer_id) for answer in answers]
        outcomes, refusals = [answer.outcome for answer in answers], [answer.refusal for answer in answers]
        peers = self._peers(snapshots)
        landed = [audit_rules.landed_through(peer, self.shard_id) for peer in peers]
        meaning = Meaning(set(), set(), {})
        numbers = [peer.shard_id for peer in peers]
        for row in await self.fetch("compare_answers", ids, outcomes, refusals, numbers, landed):
            if row["agrees"]:
                (meaning.buried if row["buried"] else meaning.agreed).update(row["places"])
                continue
            for place, outcome, refusal in zip(row["places"], row["outcomes"], row["refusals"], strict=True):
                reason = f" ({audit_rules.refusal_text(refusal)})" if refusal else ""
                meaning.contradicted[place] = f"shard {self.shard_id} has {Outcome(outcome).name}{reason}"
        return meaning

    def _peers(self, snapshots: Mapping[int, Snapshot]) -> list[Snapshot]:
        return [snapshot for shard_id, snapshot in snapshots.items() if shard_id != self.shard_id]

    async def left(self, block: Block) -> Side:
        """Draw a block of crossings that left here, row by row."""
        rows = await self.fetch("sent_rows", block[1], *_bounds(block))
        return Side(
            {row["number"]: Content(*row[1:9]) for row in rows},
            {row["number"]: row["refusal"] for row in rows if row["refusal"]},
        )

    async def arrived(self, block: Block) -> Side:
        """Draw a block of crossings that arrived here, row by row."""
        landed = await self.fetch("landed_rows", block[0], *_bounds(block))
        refused = await self.fetch("refused_rows", block[0], *_bounds(block))
        return Side(
            {row["number"]: Content(*row[1:9]) for row in landed}, {row["number"]: row["refusal"] for row in refused}
        )


def numbers_of(block: Block, through: int) -> range:
    """Tell the crossings of a block, up to the last one that both snapshots have."""
    first, last = _bounds(block)
    return range(first, min(last, through) + 1)


def _bounds(block: Block) -> tuple[int, int]:
    return block[2] * BLOCK_NUMBERS + 1, (block[2] + 1) * BLOCK_NUMBERS


def _keep(digests: dict[Block, Digest], block: Block, count: int, digest: int) -> None:
    if count:
        digests[block] = Digest(count, digest)
