"""Damages to transfers over several shards, on the books that `test_audit_promises.py` has real ledgers write.

What they are and how they are read is `damage.py`.
"""

from dataclasses import dataclass
from uuid import UUID

from damage import Damage
from memory_books import an_id, customer_account

POSTED, REFUSED, OPEN, UNKNOWN = 1, 2, 3, 4
"""Numbers of the transfers."""

PROMISER = customer_account(2, 1)


@dataclass(frozen=True)
class PromiseDamage(Damage):
    """A damage on a shard that promised."""

    shard_id: int = 2


def of(number: int) -> str:
    return f"transfer_id = '{UUID(bytes=an_id(number))}'"


PROMISE_DAMAGES = [
    PromiseDamage(
        "a promise is not in the journal",
        {"promise_unmade", "promise_unrecorded"},
        f"UPDATE ledger.promise SET sequence = sequence + 1000 WHERE {of(OPEN)}",
        "it is not in the journal",
    ),
    PromiseDamage(
        "a promise in the journal is forgotten",
        {"promise_unrecorded"},
        f"DELETE FROM ledger.promise WHERE {of(OPEN)}",
        "kind 9 of no promise",
    ),
    PromiseDamage(
        "a promise that was kept is said to be dropped",
        {"promise_end_differs", "promise_decided_otherwise"},
        f"UPDATE ledger.promise SET state = 3, refusal = 90 WHERE {of(POSTED)}",
        "state 3, at sequence",
    ),
    PromiseDamage(
        "what was kept is not what was promised",
        {"promise_kept_otherwise"},
        f"UPDATE ledger.transfer SET flags = flags | 2 WHERE {of(POSTED)} AND kind = 10",
        "promised (",
    ),
    PromiseDamage(
        "a promise ended before it was decided",
        {"promise_decided_otherwise", "decision_misapplied", "decisions_differ", "landed_gap", "watermark_wrong"},
        f"UPDATE ledger.decision_landed SET {of(9)}, number = 77 WHERE {of(REFUSED)}",
        "the decision that landed is none",
    ),
    PromiseDamage(
        "a promise was dropped for another reason than was decided",
        {"promise_decided_otherwise", "decisions_differ"},
        f"UPDATE ledger.decision_landed SET refusal = 90 WHERE {of(REFUSED)}",
        "landed as (",
    ),
    PromiseDamage(
        "a decision wrote nothing",
        {"decision_misapplied", "decisions_differ"},
        f"UPDATE ledger.decision_landed SET sequence = 0 WHERE {of(POSTED)}",
        "wrote sequence 0, which is of kind none",
    ),
    PromiseDamage(
        "a shard that takes part was told otherwise",
        {"decision_missing", "decisions_differ"},
        f"UPDATE ledger.decision_out SET outcome = 2, refusal = 90 WHERE {of(POSTED)} AND peer_id = 2",
        "shard 2 was told outcome 2",
        shard_id=1,
    ),
    PromiseDamage(
        "a decision is of another transfer",
        {"decision_unfounded", "decisions_differ"},
        f"UPDATE ledger.decision_out SET sequence = sequence + 1000 WHERE {of(POSTED)} AND peer_id = 3",
        "it does not take part",
        shard_id=1,
    ),
    PromiseDamage(
        "a decision refuses what was never asked",
        {"decision_unfounded", "decisions_differ"},
        f"UPDATE ledger.decision_out SET {of(9)} WHERE {of(REFUSED)}",
        "no such id was refused or taken here",
        shard_id=1,
    ),
    PromiseDamage(
        "a route leads nowhere",
        {"route_misplaced"},
        "INSERT INTO ledger.leg_route VALUES (999999, 2, 0)",
        "sequence 999999 is routed",
    ),
    PromiseDamage(
        "a leg is to blame for nothing",
        {"refused_leg_wrong"},
        f"INSERT INTO ledger.refused_leg SELECT sequence, 0 FROM ledger.transfer WHERE {of(POSTED)} AND kind = 1",
        "is to blame for nothing",
        shard_id=1,
    ),
    PromiseDamage(
        "more is held than was promised",
        {"held_broken"},
        "UPDATE ledger.entry SET held_after_minor = held_after_minor + 5 "
        f"WHERE sequence = (SELECT sequence FROM ledger.promise WHERE {of(OPEN)})",
        "open holds and promises 20",
    ),
    PromiseDamage(
        "a leg passed through another peer's transit account",
        {"entries_differ", "decisions_differ"},
        "UPDATE ledger.leg_route SET debit_peer = 2 WHERE debit_peer = 3",
        "the leg says",
        shard_id=1,
    ),
    PromiseDamage(
        "a promised leg was kept with another amount",
        {"promise_kept_otherwise", "entries_differ", "decisions_differ"},
        f"UPDATE ledger.transfer SET amount_minor = 99 WHERE {of(POSTED)} AND kind = 10",
        "kept (",
    ),
]
