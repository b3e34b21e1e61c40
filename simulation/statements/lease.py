"""Who may write: the lease and the head.

Never here: what is written.
"""

from typing import TYPE_CHECKING, Any

from simulation.statements.registry import CONDITIONS, one, records, statement
from simulation.tables import Record

if TYPE_CHECKING:
    from simulation.database import Session


def _may_take(session: "Session", instance: str, _seconds: float, waited_for: int | None) -> bool:
    lease = session.database.lease
    holder = session.database.sessions.get(lease["session_pid"])
    is_gone = holder is None or holder.start != lease["session_start"]
    return bool(lease["instance"] == instance or lease["expire_time"] in {0, waited_for} or is_gone)


def _is_own(session: "Session", instance: str, *_: Any) -> bool:
    return bool(session.database.lease["instance"] == instance)


def _has_not_moved(session: "Session", sequence: int, epoch: int, *_: Any) -> bool:
    head = session.database.head
    return (head["last_sequence"], head["writer_epoch"]) == (sequence, epoch)


def _has_epoch(session: "Session", epoch: int) -> bool:
    return bool(session.database.head["writer_epoch"] == epoch)


CONDITIONS |= {
    "take_lease": _may_take,
    "renew_lease": _is_own,
    "release_lease": _is_own,
    "advance_head": _has_not_moved,
    "write_one_transfer": _has_not_moved,
    "write_small_batch": _has_not_moved,
    "write_small_mixed_batch": _has_not_moved,
    "raise_own_epoch": _has_epoch,
}


@statement
def take_lease(session: "Session", instance: str, seconds: float, waited_for: int | None) -> list[Record]:
    if not _may_take(session, instance, seconds, waited_for):
        return []
    return _extend(session, instance, seconds)


@statement
def see_lease(session: "Session") -> list[Record]:
    return records(("expire_time", "seconds"), [session.database.lease])


@statement
def renew_lease(session: "Session", instance: str, seconds: float) -> list[Record]:
    return _extend(session, instance, seconds) if _is_own(session, instance) else []


def _extend(session: "Session", instance: str, seconds: float) -> list[Record]:
    fresh = {
        "instance": instance,
        "expire_time": session.now_us() + round(seconds * 1_000_000),
        "seconds": seconds,
        "session_pid": session.pid,
        "session_start": session.start,
    }
    session.update(lambda: session.database.lease.update(fresh))
    return one(bool=True)


@statement
def release_lease(session: "Session", instance: str) -> None:
    if _is_own(session, instance):
        session.update(lambda: session.database.lease.update(expire_time=0))


@statement
def end_earlier_writers(session: "Session") -> None:
    for other in list(session.database.sessions.values()):
        if other is not session and other.transaction is not None and other.transaction.wrote_head:
            other.end()


@statement
def next_epoch(session: "Session") -> list[Record]:
    head = session.database.head
    epoch = head["writer_epoch"] + 1
    session.update(lambda: head.update(writer_epoch=epoch))
    return one(last_sequence=head["last_sequence"], writer_epoch=epoch, booking_time=head["booking_time"])


@statement
def advance_head(session: "Session", sequence: int, epoch: int, last_sequence: int, time_us: int) -> list[Record]:
    if not _has_not_moved(session, sequence, epoch):
        return []
    head = session.database.head
    session.update(lambda: head.update(last_sequence=last_sequence, booking_time=time_us))
    return one(bool=True)


@statement
def raise_own_epoch(session: "Session", epoch: int) -> list[Record]:
    return next_epoch(session) if _has_epoch(session, epoch) else []
