"""The general ledger: the trial balances of all shards put together, and what they must say of each other.

Each shard's books are read at one cut, and below a cut nothing changes; what one shard has sent and another
has not credited by their cuts is what their transit accounts for each other hold together. Never here:
adding up accounts (the ledgers do), the chart (the account service has it).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from google.type.date_pb2 import Date
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import chart
from services.domain.currencies import CODE_BY_NUMBER
from services.gateway import fields, peers
from services.gateway.peers import AccountService

CUSTOMERS: Final = account_pb2.Chart.Line(code=0, title="Customers' accounts", kind="liability")
"""The control account: no line of the chart, but the sum of all accounts that are not the bank's own."""

Chart = Mapping[int, account_pb2.Chart.Line]
Books = Mapping[int, ledger_pb2.TrialBalance]


class GeneralLedger:
    """Reads the general ledger. Deadlines are loop times; raises `BankError`."""

    def __init__(self, directory: DirectoryCache, account_service: AccountService) -> None:
        self._directory = directory
        self._account_service = account_service

    async def get(self, request: bank_pb2.GetGeneralLedgerRequest, deadline: float) -> bank_pb2.GeneralLedger:
        """Return the general ledger of the whole bank."""
        first_date = request.first_date if request.HasField("first_date") else None
        last_date = request.last_date if request.HasField("last_date") else None
        period = fields.read_period(first_date, last_date)
        shard_ids = sorted(shard.shard_id for shard in self._directory.current.shards)
        answer, *balances = await asyncio.gather(
            self._account_service.call("GetChart", account_pb2.GetChartRequest(), deadline),
            *(self._ask(shard_id, period, deadline) for shard_id in shard_ids),
        )
        lines = {line.code: line for line in answer.lines} | {CUSTOMERS.code: CUSTOMERS}
        return put_together(lines, dict(zip(shard_ids, balances, strict=True)), first_date, last_date)

    async def _ask(self, shard_id: int, period: tuple[int, int], deadline: float) -> ledger_pb2.TrialBalance:
        asked = ledger_pb2.GetTrialBalanceRequest(shard_id=shard_id, first_date=period[0], last_date=period[1])
        answer: ledger_pb2.TrialBalance = await self._directory.ledger(shard_id).call(
            "GetTrialBalance", asked, deadline_seconds=peers.seconds_until(deadline)
        )
        return answer


def put_together(lines: Chart, books: Books, first_date: Date | None, last_date: Date | None) -> bank_pb2.GeneralLedger:
    """Write the general ledger, having held debits against credits. Pure."""
    whole: dict[tuple[int, int], ledger_pb2.TrialBalance.Row] = {}
    for balance in books.values():
        for row in balance.rows:
            total = whole.setdefault((row.code, row.currency), ledger_pb2.TrialBalance.Row())
            total.code, total.currency = row.code, row.currency
            total.account_count += row.account_count
            total.debit_minor += row.debit_minor
            total.credit_minor += row.credit_minor
            total.moved_minor += row.moved_minor
    rows = [row for (code, _), row in sorted(whole.items()) if code != chart.Code.TRANSIT]
    in_flight = _in_flight(books)
    _check(rows, in_flight)
    results = [
        bank_pb2.GeneralLedger.Result(
            code=row.code,
            title=_title(lines, row.code),
            kind=_kind(lines, row.code),
            currency_code=CODE_BY_NUMBER[row.currency],
            amount_minor=row.moved_minor,
        )
        for row in rows
        if _kind(lines, row.code) in {bank_pb2.GeneralLedger.INCOME, bank_pb2.GeneralLedger.EXPENSE}
    ]
    profits: dict[str, int] = defaultdict(int)
    for result in results:
        profits[result.currency_code] += result.amount_minor
    return bank_pb2.GeneralLedger(
        first_date=first_date,
        last_date=last_date,
        is_final=all(balance.is_final for balance in books.values()),
        lines=[_line(lines, row) for row in rows],
        in_flight=[
            bank_pb2.GeneralLedger.InFlight(
                shard_id=low, peer_shard_id=high, currency_code=CODE_BY_NUMBER[currency], amount_minor=amount_minor
            )
            for (low, high, currency), amount_minor in sorted(in_flight.items())
            if amount_minor
        ],
        shards=[
            bank_pb2.GeneralLedger.ShardBooks(
                shard_id=shard_id,
                cut_sequence=balance.cut_sequence,
                lines=[_line(lines, row) for row in balance.rows],
            )
            for shard_id, balance in sorted(books.items())
        ],
        results=results,
        profits=[
            bank_pb2.GeneralLedger.Profit(currency_code=code, amount_minor=amount_minor)
            for code, amount_minor in sorted(profits.items())
        ],
    )


def _in_flight(books: Books) -> dict[tuple[int, int, int], int]:
    """Add up, for each two shards and currency, what their transit accounts for each other hold."""
    held: dict[tuple[int, int, int], int] = defaultdict(int)
    for shard_id, balance in books.items():
        for transit in balance.transits:
            low, high = sorted((shard_id, transit.peer_id))
            held[low, high, transit.currency] += transit.balance_minor
    return held


def _check(rows: list[ledger_pb2.TrialBalance.Row], in_flight: Mapping[tuple[int, int, int], int]) -> None:
    """Hold all shards' accounts and what is in flight against each other: in each currency they add up to 0."""
    sums: dict[int, int] = defaultdict(int)
    for row in rows:
        sums[row.currency] += row.credit_minor - row.debit_minor
    for (_, _, currency), amount_minor in in_flight.items():
        sums[currency] += amount_minor
    assert not any(sums.values()), f"the general ledger does not add up: {dict(sums)}"


def _line(lines: Chart, row: ledger_pb2.TrialBalance.Row) -> bank_pb2.GeneralLedger.Line:
    return bank_pb2.GeneralLedger.Line(
        code=row.code,
        title=_title(lines, row.code),
        kind=_kind(lines, row.code),
        currency_code=CODE_BY_NUMBER[row.currency],
        account_count=row.account_count,
        debit_minor=row.debit_minor,
        credit_minor=row.credit_minor,
    )


def _title(lines: Chart, code: int) -> str:
    return lines[code].title if code in lines else "Not in the chart"


def _kind(lines: Chart, code: int) -> bank_pb2.GeneralLedger.Kind.ValueType:
    kinds = bank_pb2.GeneralLedger.Kind
    return kinds.Value(lines[code].kind.upper()) if code in lines else kinds.KIND_UNSPECIFIED
