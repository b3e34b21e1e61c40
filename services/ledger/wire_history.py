"""Between the ledger's messages and its values, for what is asked of the past. Never here: asking."""

from typing import Any, Final

from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors, limits, metadata
from services.ledger import raw
from services.ledger.books import Kind, Relation
from services.ledger.history import Page, Search
from services.ledger.statements import PastState, Statement, TrialBalance

_HOLDS_OWN: Final = {Kind.HOLD_PLACED, Kind.HOLD_EXPIRED}
"""Kinds whose id is the hold's."""
_OF_HOLDS: Final = {Relation.CAPTURES, Relation.HOLD}


def past_balance(state: PastState | None) -> ledger_pb2.PastBalance:
    """Write what an account held at a moment of the past."""
    return ledger_pb2.PastBalance() if state is None else ledger_pb2.PastBalance(found=True, **state._asdict())


def statement(frame: Statement | None) -> ledger_pb2.Statement:
    """Write the frame of a statement; neither balance is found for an account that is not in the books."""
    if frame is None:
        return ledger_pb2.Statement()
    totals = frame.totals
    return ledger_pb2.Statement(
        opening=past_balance(frame.opening),
        closing=past_balance(frame.closing),
        cut_sequence=frame.cut_sequence,
        debit_count=totals.debit_count,
        debit_minor=totals.debit_minor,
        credit_count=totals.credit_count,
        credit_minor=totals.credit_minor,
        is_final=frame.is_final,
    )


def search(request: ledger_pb2.SearchTransfersRequest) -> tuple[Search, int]:
    """Read what to look for, and how many are wanted. Raises `Malformed`."""
    if not 1 <= request.limit <= limits.SEARCH_PAGE_SIZE_MAX:
        raise errors.Malformed("PAGE_INVALID", "limit", f"from 1 to {limits.SEARCH_PAGE_SIZE_MAX}")
    wanted = Search(
        request.account_number,
        request.reference,
        request.counterparty_account,
        request.amount_minor_min,
        request.amount_minor_max,
        request.first_date,
        request.last_date,
        metadata.read(request.metadata),
        request.before_sequence,
        request.cut_time_us,
    )
    return wanted, request.limit


def trial_balance(found: TrialBalance) -> ledger_pb2.TrialBalance:
    """Write all balances of a shard."""
    return ledger_pb2.TrialBalance(
        cut_sequence=found.cut_sequence,
        is_final=found.is_final,
        rows=[
            ledger_pb2.TrialBalance.Row(
                code=row.code,
                currency=row.currency,
                account_count=row.account_count,
                debit_minor=row.debit_minor,
                credit_minor=row.credit_minor,
                moved_minor=row.moved_minor,
            )
            for row in found.rows
        ],
        transits=[
            ledger_pb2.TrialBalance.Transit(peer_id=peer_id, currency=currency, balance_minor=balance_minor)
            for peer_id, currency, balance_minor in found.transits
        ],
    )


def entries(page: Page) -> ledger_pb2.ListEntriesResponse:
    """Write a page of entries."""
    return ledger_pb2.ListEntriesResponse(
        found=page.period.currency is not None,
        currency=page.period.currency or 0,
        entries=[_entry(row) for row in page.rows],
        cut_sequence=page.period.cut_sequence,
        has_more=page.has_more,
    )


def _entry(row: Any) -> ledger_pb2.ListEntriesResponse.Entry:
    relation = row["relation"]
    hold_id = row["target_id"] if relation in _OF_HOLDS else b""
    creditor = None
    if row["bank_code"] is not None:
        creditor = ledger_pb2.ExternalCreditor(
            bank_code=row["bank_code"],
            account=row["account"],
            creditor_name=row["creditor_name"],
            remittance_text=row["remittance_text"],
        )
    return ledger_pb2.ListEntriesResponse.Entry(
        version=row["version"],
        amount_minor=row["amount_minor"],
        balance_after_minor=row["balance_after_minor"],
        held_after_minor=row["held_after_minor"],
        transfer_id=row["transfer_id"],
        payer_account=row["payer_account"],
        counterparty_account=row["credit_account"] if row["amount_minor"] < 0 else row["debit_account"],
        reference=row["reference"],
        is_return=row["kind"] == Kind.RETURN,
        sequence=row["sequence"],
        kind=row["kind"],
        booking_time_us=row["booking_time"],
        business_date=row["business_date"],
        value_date=row["value_date"],
        hold_id=row["transfer_id"] if row["kind"] in _HOLDS_OWN else hold_id,
        original_id=row["target_id"] if relation == Relation.REVERSES else b"",
        creditor=creditor,
        is_fee=row["is_fee"],
        metadata=dict(raw.metadata(row["metadata"])),
    )
