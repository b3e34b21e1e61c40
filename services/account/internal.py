"""The bank's own accounts: what `chart.toml` says, and which accounts of a shard follow from it.

Pure but for reading the file that comes with the package. Never here: opening them (`books.py`).
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal, get_args

from services.domain import chart
from services.domain.identifiers import AccountNumber

AccountKind = Literal["asset", "liability", "income", "expense", "equity", "clearing"]
Per = Literal["shard", "partner", "peer"]


@dataclass(frozen=True, slots=True)
class ChartAccount:
    """One line of the chart."""

    code: int
    name: str
    kind: AccountKind
    per: Per

    def __post_init__(self) -> None:
        assert 1000 <= self.code <= 9999 and self.name
        assert self.kind in get_args(AccountKind) and self.per in get_args(Per)


@dataclass(frozen=True, slots=True)
class InternalAccount:
    """An internal account to open; `currency` is ISO 4217 numeric."""

    account_number: AccountNumber
    currency: int


def read_chart(text: str) -> tuple[ChartAccount, ...]:
    """Read a chart of accounts."""
    lines: list[dict[str, Any]] = tomllib.loads(text)["account"]
    accounts = tuple(ChartAccount(**line) for line in lines)
    codes = [account.code for account in accounts]
    assert len(codes) == len(set(codes)), "a code stands in the chart once"
    assert set(codes) >= set(chart.Code), "whatever the engine names itself is in the chart"
    return accounts


CHART: Final = read_chart(resources.files(__package__).joinpath("chart.toml").read_text(encoding="utf-8"))


def internal_accounts(
    shard_id: int, currencies: Sequence[int], partner_numbers: Iterable[int], accounts: Iterable[ChartAccount] = CHART
) -> list[InternalAccount]:
    """List the internal accounts that a shard needs, but for those its ledger opens itself."""
    sub_numbers: dict[str, Sequence[int]] = {"shard": (0,), "partner": tuple(partner_numbers), "peer": ()}
    return [
        InternalAccount(chart.internal_account(shard_id, account.code, currency, sub_number), currency)
        for account in accounts
        for sub_number in sub_numbers[account.per]
        for currency in currencies
    ]
