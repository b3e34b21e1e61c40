"""What a planted damage is; the damages themselves are `audit_damages*.py`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """One planted damage, the checks it must be found by, and what the evidence must name."""

    what: str
    checks: set[str]
    script: str
    names: str
    shard_id: int = 1
