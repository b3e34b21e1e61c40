"""The bank's own accounts follow from the chart."""

import pytest

from services.account.internal import CHART, ChartAccount, internal_accounts, read_chart
from services.domain import chart

CZK, EUR = 203, 978


def test_the_chart_names_every_account_that_the_engine_names() -> None:
    assert {account.code: account.kind for account in CHART} == {
        chart.Code.CASH: "asset",
        chart.Code.NOSTRO: "asset",
        chart.Code.TRANSIT: "clearing",
        chart.Code.SUSPENSE: "liability",
        chart.Code.FEES: "income",
    }


def test_a_shard_has_each_account_in_each_currency_and_a_nostro_for_each_partner() -> None:
    assert [(account.account_number, account.currency) for account in internal_accounts(2, [CZK, EUR], [7])] == [
        (chart.internal_account(2, code, currency, sub_number), currency)
        for code, sub_number in ((1010, 0), (1020, 7), (2900, 0), (4010, 0))
        for currency in (CZK, EUR)
    ]


def test_transit_accounts_are_left_to_the_ledger() -> None:
    numbers = {account.account_number for account in internal_accounts(1, [CZK], range(1, 1000))}
    assert not numbers & {chart.transit_account(1, peer_id, CZK) for peer_id in range(1, 1000)}
    assert len(numbers) == 3 + 999


def test_a_chart_without_an_account_that_the_engine_names_is_refused() -> None:
    with pytest.raises(AssertionError):
        read_chart('[[account]]\ncode = 1010\nname = "Cash"\nkind = "asset"\nper = "shard"\n')


@pytest.mark.parametrize(
    "line",
    [
        {"code": 99, "name": "Cash", "kind": "asset", "per": "shard"},
        {"code": 1010, "name": "", "kind": "asset", "per": "shard"},
        {"code": 1010, "name": "Cash", "kind": "thing", "per": "shard"},
        {"code": 1010, "name": "Cash", "kind": "asset", "per": "bank"},
    ],
)
def test_a_line_of_the_chart_that_makes_no_sense_is_refused(line: dict) -> None:
    with pytest.raises(AssertionError):
        ChartAccount(**line)
