"""A transfer as the books have it, written for whoever may see it. Never here: asking the ledgers, whose accounts are whose."""

from collections.abc import Collection
from typing import Final

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import identifiers
from services.gateway import wire
from services.gateway.columns import FEES_WAIVED, LIMITS_OVERRIDDEN

_ASKED: Final = 1
_LANDING: Final = 2
_BURIED: Final = 8
_PROMISED: Final = 9
_KEPT: Final = 10
"""Kinds of the books' transfers; those between are holds' commands."""


def is_transfer(record: ledger_pb2.TransferRecord) -> bool:
    """Tell a transfer, or an id that was refused beforehand, from a hold's command."""
    return record.kind in {_ASKED, _LANDING, _BURIED, _PROMISED}


def was_asked_for(record: ledger_pb2.TransferRecord) -> bool:
    """Tell a transfer on the shard that decided it."""
    return record.kind == _ASKED


def is_landing(record: ledger_pb2.TransferRecord) -> bool:
    """Tell a crossing on its payee's shard."""
    return record.kind == _LANDING


def is_part(record: ledger_pb2.TransferRecord) -> bool:
    """Tell what a shard keeps of a transfer that another one decided."""
    return record.kind in {_LANDING, _PROMISED, _KEPT}


def is_part_of(part: ledger_pb2.TransferRecord, whole: ledger_pb2.TransferRecord) -> bool:
    """Tell a part of a transfer from that of another one which has its id on the shard that decided: by the legs."""
    legs = iter(whole.legs)
    return was_asked_for(whole) and all(leg in legs for leg in part.legs)


def sides(record: ledger_pb2.TransferRecord) -> set[int]:
    """Name the accounts of all legs."""
    return {side for leg in record.legs for side in (leg.debit_account, leg.credit_account)}


def transfer(record: ledger_pb2.TransferRecord, owned: Collection[int] | None = None) -> bank_pb2.Transfer:
    """Write a transfer; for whom only some accounts are `owned`, without the legs between others.

    The first payer asked for all of them and sees all; nobody else sees a colleague's salary.
    """
    first, last = record.legs[0], record.legs[-1]
    places = range(len(record.legs))
    if owned is not None and first.debit_account not in owned:
        places = [  # type: ignore[assignment]
            place for place, leg in enumerate(record.legs) if leg.debit_account in owned or leg.credit_account in owned
        ]
    legs = [] if record.kind == _BURIED else [record.legs[place] for place in places]
    return bank_pb2.Transfer(
        name=wire.transfer_name(first.debit_account, record.transfer_id),
        transfer_id=identifiers.uuid_text(record.transfer_id),
        legs=[wire.leg(*_plain(leg)) for leg in legs],
        reference=record.reference,
        creditor=wire.external_creditor(record.creditor) if record.HasField("creditor") else None,
        value_date=wire.day(record.value_date),
        state=record.outcome,  # type: ignore[arg-type]
        reason=wire.refusal_name(record.refusal),
        booking_time=wire.timestamp(record.booking_time_us),
        business_date=wire.day(record.business_date),
        captured_hold=wire.hold_name(first.debit_account, record.hold_id) if record.hold_id else "",
        # A reversal begins with the original's last leg.
        reversed_transfer=wire.transfer_name(last.credit_account, record.original_id) if record.original_id else "",
        override_limits=bool(record.flags & LIMITS_OVERRIDDEN),
        waive_fees=bool(record.flags & FEES_WAIVED),
        fee_minor=sum(leg.amount_minor for leg in legs if leg.is_fee),
        actor=record.actor.subject,
        channel=record.actor.channel,
        metadata=record.metadata,
        refused_leg=places.index(record.refused_leg) if record.refused_leg in places else None,
        is_part=is_part(record),
    )


def _plain(leg: ledger_pb2.TransferRecord.Leg) -> tuple[int, int, int, int, bool]:
    return leg.debit_account, leg.credit_account, leg.amount_minor, leg.currency, leg.is_fee
