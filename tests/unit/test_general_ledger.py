"""The general ledger put together from shards' trial balances: it adds up, or nothing is told."""

import pytest
from google.type.date_pb2 import Date
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.gateway.general_ledger import CUSTOMERS, put_together

CZK, EUR = 203, 978
LINES = {
    line.code: line
    for line in (
        CUSTOMERS,
        account_pb2.Chart.Line(code=1010, title="Cash", kind="asset"),
        account_pb2.Chart.Line(code=1090, title="Transit", kind="clearing"),
        account_pb2.Chart.Line(code=4010, title="Fees", kind="income"),
        account_pb2.Chart.Line(code=5010, title="Interest paid", kind="expense"),
    )
}


def shard(*rows: tuple[int, int, int, int], transits: tuple[tuple[int, int, int], ...] = ()) -> ledger_pb2.TrialBalance:
    """Write a trial balance: (code, currency, balance, moved), and (peer, currency, balance) of transit accounts."""
    row = ledger_pb2.TrialBalance.Row
    return ledger_pb2.TrialBalance(
        cut_sequence=9,
        is_final=True,
        rows=[
            row(
                code=code,
                currency=currency,
                account_count=2,
                debit_minor=max(-balance, 0),
                credit_minor=max(balance, 0),
                moved_minor=moved,
            )
            for code, currency, balance, moved in rows
        ],
        transits=[
            ledger_pb2.TrialBalance.Transit(peer_id=peer, currency=currency, balance_minor=balance)
            for peer, currency, balance in transits
        ],
    )


def test_shards_are_added_up_and_what_is_between_them_is_in_flight() -> None:
    books = {
        1: shard(
            (0, CZK, 900, 0), (1010, CZK, -1_000, 0), (1090, CZK, 70, 0), (4010, CZK, 30, 20), transits=((2, CZK, 70),)
        ),
        2: shard((0, CZK, 155, 0), (1010, CZK, -100, 0), (1090, CZK, -55, 0), transits=((1, CZK, -55),)),
    }
    found = put_together(LINES, books, None, Date(year=2026, month=1, day=31))
    assert [
        (line.code, line.title, line.account_count, line.debit_minor, line.credit_minor) for line in found.lines
    ] == [
        (0, "Customers' accounts", 4, 0, 1_055),
        (1010, "Cash", 4, 1_100, 0),
        (4010, "Fees", 2, 0, 30),
    ]
    (flight,) = found.in_flight
    assert (flight.shard_id, flight.peer_shard_id, flight.amount_minor) == (1, 2, 15)
    assert [(each.shard_id, len(each.lines)) for each in found.shards] == [(1, 4), (2, 3)]
    assert (found.is_final, found.last_date.day, found.HasField("first_date")) == (True, 31, False)


def test_income_and_expense_make_the_profit_of_each_currency() -> None:
    books = {
        1: shard((0, CZK, 500, 0), (1010, CZK, -560, -60), (4010, CZK, 90, 70), (5010, CZK, -30, -10)),
        2: shard((0, EUR, 8, 0), (4010, EUR, -8, -8), (4010, CZK, 0, 5), (1010, CZK, 0, 0)),
    }
    found = put_together(LINES, books, None, None)
    kinds = bank_pb2.GeneralLedger
    assert [(each.code, each.kind, each.currency_code, each.amount_minor) for each in found.results] == [
        (4010, kinds.INCOME, "CZK", 75),
        (4010, kinds.INCOME, "EUR", -8),
        (5010, kinds.EXPENSE, "CZK", -10),
    ]
    assert [(each.currency_code, each.amount_minor) for each in found.profits] == [("CZK", 65), ("EUR", -8)]


def test_a_code_that_the_chart_lacks_is_shown_as_that() -> None:
    found = put_together(LINES, {1: shard((0, CZK, 5, 0), (7777, CZK, -5, 0))}, None, None)
    assert [(line.code, line.title, line.kind) for line in found.lines][1] == (7777, "Not in the chart", 0)


def test_what_does_not_add_up_is_never_told() -> None:
    with pytest.raises(AssertionError, match="does not add up"):
        put_together(LINES, {1: shard((0, CZK, 5, 0), (1010, CZK, -4, 0))}, None, None)
