"""The bank's answers as plain values, for `--json` and for tables.

Money appears twice: as `..._minor`, an integer for programs, and as a decimal text for people.
Never here: printing (`output.py`), asking (`session.py`).
"""

from datetime import UTC
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount

View: TypeAlias = dict[str, object]


def time_text(time: Timestamp) -> str:
    """Write a time as RFC 3339 in UTC, to the millisecond."""
    return time.ToDatetime(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day_text(day: Date) -> str:
    """Write a day as ISO 8601; empty when it is not set."""
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}" if day.year else ""


def customer_view(customer: bank_pb2.Customer) -> View:
    """Show a customer."""
    return {
        "customer_number": customer.customer_number,
        "external_reference": customer.external_reference,
        "display_name": customer.display_name,
        "create_time": time_text(customer.create_time),
        **_opened_by(customer),
    }


def account_view(account: bank_pb2.Account) -> View:
    """Show an account."""
    return {
        "account_number": account.account_number,
        "customer_number": account.customer.removeprefix("customers/"),
        "currency_code": account.currency_code,
        "external_reference": account.external_reference,
        "state": bank_pb2.Account.State.Name(account.state),
        "product": account.product.removeprefix("products/").replace("/versions/", " version "),
        "create_time": time_text(account.create_time),
        **_opened_by(account),
    }


def _opened_by(opened: bank_pb2.Customer | bank_pb2.Account) -> View:
    return {"opened_by": opened.actor, "channel": opened.channel, "request_id": opened.request_id}


def balance_view(account_number: str, balance: bank_pb2.Balance, *, is_past: bool = False) -> View:
    """Show a balance; of the past, what could be spent then is not known."""
    code = balance.currency_code
    view: View = {
        "account_number": account_number,
        "currency_code": code,
        "balance": format_amount(balance.balance_minor, code),
        "held": format_amount(balance.held_minor, code),
        "available": format_amount(balance.available_minor, code),
        "balance_minor": balance.balance_minor,
        "held_minor": balance.held_minor,
        "available_minor": balance.available_minor,
        "version": balance.version,
    }
    return {name: value for name, value in view.items() if not (is_past and name.startswith("available"))}


def transfer_view(transfer: bank_pb2.Transfer) -> View:
    """Show a transfer with its outcome."""
    legs: list[View] = [
        {
            "debit_account": leg.debit_account,
            "credit_account": leg.credit_account,
            "amount": format_amount(leg.amount_minor, leg.currency_code),
            "amount_minor": leg.amount_minor,
            "currency_code": leg.currency_code,
            "is_fee": leg.is_fee,
        }
        for leg in transfer.legs
    ]
    creditor = transfer.creditor
    external: View = {
        "bank_code": creditor.bank_code,
        "account": creditor.account,
        "creditor_name": creditor.creditor_name,
        "remittance_text": creditor.remittance_text,
    }
    return {
        "transfer_id": transfer.transfer_id,
        "state": bank_pb2.Transfer.State.Name(transfer.state),
        "reason": transfer.reason,
        "refused_leg": transfer.refused_leg if transfer.HasField("refused_leg") else None,
        "is_part": transfer.is_part,
        "legs": legs,
        "reference": transfer.reference,
        "creditor": external if transfer.HasField("creditor") else None,
        "booking_time": time_text(transfer.booking_time),
        "business_date": day_text(transfer.business_date),
        "captured_hold_id": transfer.captured_hold.rpartition("/")[2],
        "reversed_transfer_id": transfer.reversed_transfer.rpartition("/")[2],
        "override_limits": transfer.override_limits,
        "fee_minor": transfer.fee_minor,
        "waive_fees": transfer.waive_fees,
        "actor": transfer.actor,
        "channel": transfer.channel,
        "metadata": dict(sorted(transfer.metadata.items())),
    }


def transfer_row(transfer: bank_pb2.Transfer) -> tuple[object, ...]:
    """Show a transfer as a row: its first leg, and how many more there are."""
    first = transfer.legs[0] if transfer.legs else bank_pb2.Leg()
    more = f" (+{len(transfer.legs) - 1} legs)" if len(transfer.legs) > 1 else ""
    return (
        transfer.transfer_id,
        time_text(transfer.booking_time),
        bank_pb2.Transfer.State.Name(transfer.state),
        first.debit_account,
        first.credit_account,
        format_amount(first.amount_minor, first.currency_code) + more if transfer.legs else "",
        first.currency_code,
        transfer.reference,
        [f"{key}={value}" for key, value in sorted(transfer.metadata.items())],
    )


def hold_view(hold: bank_pb2.Hold) -> View:
    """Show a hold."""
    code = hold.currency_code
    return {
        "hold_id": hold.hold_id,
        "account_number": hold.account,
        "state": bank_pb2.Hold.State.Name(hold.state),
        "amount": format_amount(hold.amount_minor, code),
        "captured": format_amount(hold.captured_minor, code),
        "currency_code": code,
        "amount_minor": hold.amount_minor,
        "captured_minor": hold.captured_minor,
        "payee_account": hold.payee_account,
        "reference": hold.reference,
        "expire_time": time_text(hold.expire_time),
    }


def limits_view(account_number: str, code: str, changed: bank_pb2.ChangeAccountLimitsRequest) -> View:
    """Show what was changed about an account; what stayed is left out, and None is no limit."""
    amounts: dict[str, int | None] = {}
    view: View = {"account_number": account_number, "currency_code": code}
    if changed.HasField("floor_minor"):
        amounts["floor_minor"] = changed.floor_minor
    if changed.HasField("limits"):
        given = {field.name: value for field, value in changed.limits.ListFields()}
        view["day_count_max"] = given.get("day_count_max")
        amounts |= {name: given.get(name) for name in ("balance_minor_max", "transfer_minor_max", "day_minor_max")}
    if changed.HasField("customer_day_minor_max"):
        cap = changed.customer_day_minor_max
        amounts["customer_day_minor_max"] = None if cap < 0 else cap
    texts = {
        name.replace("_minor", ""): None if minor is None else format_amount(minor, code)
        for name, minor in amounts.items()
    }
    return view | texts | amounts


def entry_view(entry: bank_pb2.Entry) -> View:
    """Show one line of a statement."""
    code = entry.currency_code
    return {
        "version": entry.version,
        "kind": bank_pb2.Entry.Kind.Name(entry.kind),
        "booking_time": time_text(entry.booking_time),
        "business_date": day_text(entry.business_date),
        "value_date": day_text(entry.value_date),
        "amount": format_amount(entry.amount_minor, code),
        "balance_after": format_amount(entry.balance_after_minor, code),
        "held_after": format_amount(entry.held_after_minor, code),
        "currency_code": code,
        "amount_minor": entry.amount_minor,
        "balance_after_minor": entry.balance_after_minor,
        "held_after_minor": entry.held_after_minor,
        "counterparty_account": entry.counterparty_account,
        "transfer_id": entry.transfer.rpartition("/")[2],
        "reference": entry.reference,
        "is_return": entry.is_return,
        "hold_id": entry.hold.rpartition("/")[2],
        "reversed_transfer_id": entry.reversed_transfer.rpartition("/")[2],
        "metadata": dict(sorted(entry.metadata.items())),
        "is_fee": entry.is_fee,
    }


def shard_view(shard: bank_pb2.Shard) -> View:
    """Show a shard."""
    return {
        "shard_id": shard.shard_id,
        "customer_count": shard.customer_count,
        "customer_quota": shard.customer_quota,
        "slot_count": shard.slot_count,
        "writer": shard.writer,
        "writer_epoch": shard.writer_epoch,
        "last_sequence": shard.last_sequence,
        "crossings_in_flight_count": shard.crossings_in_flight_count,
        "promises_open_count": shard.promises_open_count,
        "ledger_addresses": list(shard.ledger_addresses),
    }


def audit_record_view(record: bank_pb2.AuditRecord) -> View:
    """Show one record of the audit trail."""
    code = record.currency_code
    return {
        "decide_time": time_text(record.decide_time),
        "shard_id": record.shard_id,
        "sequence": record.sequence,
        "kind": bank_pb2.AuditRecord.Kind.Name(record.kind),
        "id": record.id,
        "subject": record.subject,
        "channel": record.channel,
        "debit_account": record.debit_account,
        "credit_account": record.credit_account,
        "amount_minor": record.amount_minor,
        "amount": format_amount(record.amount_minor, code) if code else "",
        "currency_code": code,
        "leg_count": record.leg_count,
        "state": bank_pb2.Transfer.State.Name(record.state),
        "reason": record.reason,
        "limits_overridden": record.limits_overridden,
        "overdraw_allowed": record.overdraw_allowed,
        "words": record.words,
    }
