"""Between the ledgers' answers about the past and the public messages. Never here: asking."""

from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import currencies
from services.gateway import wire


def entry(account_number: int, currency: int, row: ledger_pb2.ListEntriesResponse.Entry) -> bank_pb2.Entry:
    """Write one line of an account's history; what a hold's command wrote has no transfer and no other side."""
    moves = row.kind <= bank_pb2.Entry.RETURN or row.kind >= bank_pb2.Entry.PROMISED
    # A hold is its payer's, and a reversal credits whoever paid the original.
    payee = row.counterparty_account if row.amount_minor < 0 else account_number
    return bank_pb2.Entry(
        name=f"accounts/{account_number:016d}/entries/{row.version}",
        version=row.version,
        amount_minor=row.amount_minor,
        balance_after_minor=row.balance_after_minor,
        held_after_minor=row.held_after_minor,
        currency_code=currencies.CODE_BY_NUMBER[currency],
        transfer=wire.transfer_name(row.payer_account, row.transfer_id) if moves else "",
        counterparty_account=f"{row.counterparty_account:016d}" if moves else "",
        reference=row.reference,
        is_return=row.is_return,
        booking_time=wire.timestamp(row.booking_time_us),
        business_date=wire.day(row.business_date),
        value_date=wire.day(row.value_date),
        kind=row.kind,  # type: ignore[arg-type]
        hold=wire.hold_name(account_number, row.hold_id) if row.hold_id and row.amount_minor <= 0 else "",
        reversed_transfer=wire.transfer_name(payee, row.original_id) if row.original_id else "",
        creditor=wire.external_creditor(row.creditor) if row.HasField("creditor") else None,
        metadata=row.metadata,
        is_fee=row.is_fee,
    )


def past_balance(account_number: int, found: ledger_pb2.PastBalance) -> bank_pb2.Balance:
    """Write what an account held at a moment of the past; what could be spent then is not told."""
    return bank_pb2.Balance(
        name=f"accounts/{account_number:016d}/balance",
        currency_code=currencies.CODE_BY_NUMBER[found.currency],
        balance_minor=found.balance_minor,
        held_minor=found.held_minor,
        version=found.version,
    )


def statement(
    account_number: int, first_date: Date, last_date: Date, found: ledger_pb2.Statement, page_token: str
) -> bank_pb2.Statement:
    """Write the frame of a statement."""
    opening, closing = found.opening, found.closing
    entry_count = closing.version - opening.version
    return bank_pb2.Statement(
        account=f"accounts/{account_number:016d}",
        currency_code=currencies.CODE_BY_NUMBER[opening.currency],
        first_date=first_date,
        last_date=last_date,
        opening_balance_minor=opening.balance_minor,
        closing_balance_minor=closing.balance_minor,
        debit_count=found.debit_count,
        debit_minor=found.debit_minor,
        credit_count=found.credit_count,
        credit_minor=found.credit_minor,
        entry_count=entry_count,
        first_version=opening.version + 1 if entry_count else 0,
        is_final=found.is_final,
        entries_page_token=page_token,
    )
