"""What the snapshots of several shards must say about each other's promises and decisions, as pure rules.

Never here: checks within one shard (`audit_promises.sql`), money (`audit_rules.py`).
"""

from collections.abc import Mapping

from services.ledger.audit_report import Evidence
from services.ledger.audit_rules import Block, Digest, Snapshot


def differing_decisions(snapshots: Mapping[int, Snapshot]) -> list[Block]:
    """Find the blocks of decisions that are not what the other shard has."""
    told: dict[Block, Digest] = {}
    heard: dict[Block, Digest] = {}
    for snapshot in snapshots.values():
        told |= snapshot.told
        heard |= snapshot.heard
    return sorted({block for block in told.keys() | heard.keys() if told.get(block) != heard.get(block)})


def compare_decisions(
    block: Block, numbers: range, told: Mapping[int, str], heard: Mapping[int, str], evidence: Evidence
) -> None:
    """Compare decisions row by row; all of `numbers` are below what both snapshots have."""
    for number in numbers:
        said, landed = told.get(number), heard.get(number)
        if said != landed:
            text = f"decision {number} from shard {block[0]} is ({said}), landed as ({landed})"
            evidence.add("decisions_differ", block[1], text)


def check_promises(snapshots: Mapping[int, Snapshot], seconds_max: float, evidence: Evidence) -> None:
    """No promise waits for longer than `seconds_max`; with 0, none at all."""
    for snapshot in snapshots.values():
        for home_id, (count, age_seconds) in sorted(snapshot.promises_open.items()):
            if not seconds_max or age_seconds > seconds_max:
                text = f"{count} promises wait for shard {home_id}, the oldest for {age_seconds:.1f} s"
                evidence.add("promised_too_long", snapshot.shard_id, text)
