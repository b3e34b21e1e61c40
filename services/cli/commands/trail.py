"""`hivecore trail`: who asked for what, through which channel, when, and what came of it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.commands.options import AsJson, Data, Gateway, Token, account_number, with_bank
from services.cli.finding import Where
from services.cli.output import show_json, show_line, show_table

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session

RECORDS_DEFAULT = 100

_TITLES = {
    "decide_time": "time",
    "shard_id": "shard",
    "sequence": "sequence",
    "kind": "what",
    "subject": "subject",
    "channel": "channel",
    "debit_account": "payer or account",
    "credit_account": "payee",
    "amount": "amount",
    "currency_code": "currency",
    "state": "outcome",
    "reason": "reason",
    "words": "words",
}
"""Of the table, by what a record's view calls it."""

_Moment = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"],
        help="In UTC, like 2026-11-01 or 2026-11-01T12:00:00.",
    ),
]


def trail(
    account: Annotated[
        str,
        typer.Option("--account", metavar="ACCOUNT", help="Only what concerns this account.", callback=account_number),
    ] = "",
    subject: Annotated[
        str, typer.Option("--subject", metavar="SUBJECT", help="Only what this subject asked for.")
    ] = "",
    channel: Annotated[
        str, typer.Option("--channel", metavar="CHANNEL", help="Only what was asked through this channel.")
    ] = "",
    since: _Moment = None,
    until: _Moment = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="How many records at most.")
    ] = RECORDS_DEFAULT,
    data: Data = None,
    gateway: Gateway = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List who asked for what, and what came of it, shard by shard in the order of the journal.

    Refusals, holds, changes of accounts and what the engine did by itself are there too. Needs scope
    audit.read. --until is exclusive.
    """

    async def work(bank: "Session") -> "tuple[list[bank_pb2.AuditRecord], bool]":
        from hivecore.gateway.v1 import bank_pb2

        request = bank_pb2.ListAuditTrailRequest(account_number=account, subject=subject, channel=channel)
        if since is not None:
            request.start_time.FromDatetime(since.replace(tzinfo=UTC))
        if until is not None:
            request.end_time.FromDatetime(until.replace(tzinfo=UTC))
        records: list[bank_pb2.AuditRecord] = []
        while len(records) < limit:
            request.page_size = limit - len(records)
            page = await bank.insist(bank.stub.ListAuditTrail, request)
            records.extend(page.records)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return records, False
        return records, True

    records, more = with_bank(Where(data, gateway, token), work)
    from services.cli.views import audit_record_view

    views = [audit_record_view(record) for record in records]
    if as_json:
        show_json({"records": views, "is_more": more})
        return
    show_table("", list(_TITLES.values()), [[view[name] for name in _TITLES] for view in views])
    if more:
        show_line("there is more: raise --limit, or narrow what is asked for")
