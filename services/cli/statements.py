"""An account's statement as a stream: its frame, then its entries page by page, held against each other.

Never here: the forms it is written in (`commands/statements.py`, `iso20022/statement.py`).
"""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from google.type.date_pb2 import Date
from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount
from services.cli.output import Failure
from services.cli.session import Session
from services.cli.views import View, day_text, entry_view
from services.domain.metadata import END_TO_END_ID

PAGE_SIZE: Final = 1_000

CSV_COLUMNS: Final = (
    "version", "booking_time", "business_date", "value_date", "kind", "amount", "currency", "balance_after", "held_after",
    "counterparty_account", "counterparty_name", "reference", "end_to_end_id", "transfer_id", "hold_id",
    "reversed_transfer_id", "metadata",
)  # fmt: skip


def day_of(text: str) -> Date:
    """Read an ISO 8601 day. Raises `ValueError`."""
    day = date.fromisoformat(text)
    return Date(year=day.year, month=day.month, day=day.day)


async def frame_of(bank: Session, number: str, first_date: Date, last_date: Date) -> bank_pb2.Statement:
    """Ask for the frame of a statement."""
    request = bank_pb2.GetStatementRequest(name=f"accounts/{number}", first_date=first_date, last_date=last_date)
    return await bank.insist(bank.stub.GetStatement, request)


async def entries_of(bank: Session, number: str, frame: bank_pb2.Statement) -> AsyncIterator[bank_pb2.Entry]:
    """Yield the entries of a statement, oldest first, a page in memory at a time.

    Raises `Failure` when they are not what its frame says; then nothing that was yielded is a statement.
    """
    request = bank_pb2.ListEntriesRequest(
        parent=f"accounts/{number}",
        page_size=PAGE_SIZE,
        page_token=frame.entries_page_token,
        order_by="version",
        first_date=frame.first_date,
        last_date=frame.last_date,
    )
    balance, version, count = frame.opening_balance_minor, frame.first_version, 0
    while True:
        page = await bank.insist(bank.stub.ListEntries, request)
        for entry in page.entries:
            balance += entry.amount_minor
            if (entry.version, entry.balance_after_minor) != (version + count, balance):
                raise Failure(f"entry {entry.version} does not follow from the one before: the statement is unsound")
            count += 1
            yield entry
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    if (count, balance) != (frame.entry_count, frame.closing_balance_minor):
        raise Failure("opening balance and entries do not add up to the closing balance: the statement is unsound")


def frame_view(frame: bank_pb2.Statement) -> View:
    """Show the frame of a statement."""
    code = frame.currency_code
    minors = {
        "opening_balance": frame.opening_balance_minor,
        "credit": frame.credit_minor,
        "debit": frame.debit_minor,
        "closing_balance": frame.closing_balance_minor,
    }
    return {
        "account_number": frame.account.removeprefix("accounts/"),
        "first_date": day_text(frame.first_date),
        "last_date": day_text(frame.last_date),
        "is_final": frame.is_final,
        "currency_code": code,
        **{name: format_amount(minor, code) for name, minor in minors.items()},
        **{f"{name}_minor": minor for name, minor in minors.items()},
        "credit_count": frame.credit_count,
        "debit_count": frame.debit_count,
        "entry_count": frame.entry_count,
    }


def csv_row(values: tuple[object, ...]) -> bytes:
    """Write one row as RFC 4180 has it, in UTF-8."""
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def csv_values(entry: bank_pb2.Entry) -> tuple[object, ...]:
    """Tell the cells of one entry; what people may have typed is never a spreadsheet's formula."""
    view = entry_view(entry)
    return (
        view["version"],
        view["booking_time"],
        view["business_date"],
        view["value_date"],
        view["kind"],
        view["amount"],
        view["currency_code"],
        view["balance_after"],
        view["held_after"],
        view["counterparty_account"],
        _harmless(entry.creditor.creditor_name),
        _harmless(entry.reference),
        _harmless(entry.metadata.get(END_TO_END_ID, "")),
        view["transfer_id"],
        view["hold_id"],
        view["reversed_transfer_id"],
        json.dumps(dict(sorted(entry.metadata.items())), ensure_ascii=False) if entry.metadata else "",
    )


def _harmless(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would carry out."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text
