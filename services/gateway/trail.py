"""The audit trail of the bank: shard by shard, each in the order of its journal.

Never here: what the trail is kept for, changing anything.
"""

from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import currencies, errors, identifiers, limits
from services.domain.identifiers import account_text, uuid_text
from services.gateway import fields, peers, routing, wire
from services.gateway.authentication import Caller
from services.gateway.pages import PageTokens

_SHARD: int = 2**52
"""A page's position is shard * this + sequence there; 2,047 shards and 4.5 * 10^15 sequences fit."""

_LIMITS_OVERRIDDEN = 1
_OVERDRAW = 2


class AuditTrail:
    """Reads the trail of all shards. Deadlines are loop times; raises `BankError`."""

    def __init__(self, directory: DirectoryCache, page_tokens: PageTokens) -> None:
        self._directory = directory
        self._page_tokens = page_tokens

    async def list_records(
        self, caller: Caller, request: bank_pb2.ListAuditTrailRequest, deadline: float
    ) -> bank_pb2.ListAuditTrailResponse:
        """Return a page of the trail."""
        asked = _read(request)
        directory = self._directory.current
        page_size = fields.read_page_size(request.page_size)
        query = ("ListAuditTrail", str(asked), caller.subject)
        shard_ids = sorted(shard.shard_id for shard in directory.shards)
        if asked.account_number:
            shard_ids = [routing.shard_of_account(directory, asked.account_number)]
        position = self._page_tokens.open(request.page_token, *query)
        shard_id, asked.after_sequence = divmod(position, _SHARD) if position else (shard_ids[0], 0)
        later = [each for each in shard_ids if each > shard_id]
        asked.shard_id, asked.limit = shard_id, page_size
        answer: ledger_pb2.ListTrailResponse = await directory_call(self._directory, shard_id, asked, deadline)
        response = bank_pb2.ListAuditTrailResponse(records=[_record(shard_id, row) for row in answer.rows])
        if answer.next_after_sequence:
            response.next_page_token = self._page_tokens.seal(shard_id * _SHARD + answer.next_after_sequence, *query)
        elif later:
            response.next_page_token = self._page_tokens.seal(later[0] * _SHARD, *query)
        return response


async def directory_call(
    directory: DirectoryCache, shard_id: int, request: ledger_pb2.ListTrailRequest, deadline: float
) -> ledger_pb2.ListTrailResponse:
    """Ask one shard."""
    ledger = directory.ledger(shard_id)
    response: ledger_pb2.ListTrailResponse = await ledger.call(
        "ListTrail", request, deadline_seconds=peers.seconds_until(deadline)
    )
    return response


def _read(request: bank_pb2.ListAuditTrailRequest) -> ledger_pb2.ListTrailRequest:
    """Read what is asked for. Raises `Malformed`."""
    asked = ledger_pb2.ListTrailRequest(
        subject=fields.parse_text(request.subject, "subject", limits.DISPLAY_NAME_CHARACTERS_MAX),
        channel=fields.parse_text(request.channel, "channel", limits.DISPLAY_NAME_CHARACTERS_MAX),
    )
    if request.account_number:
        asked.account_number = identifiers.parse_account_number(request.account_number, "account_number")
    if request.HasField("start_time"):
        asked.start_time_us = max(1, fields.parse_time(request.start_time, "start_time"))
    if request.HasField("end_time"):
        asked.end_time_us = max(1, fields.parse_time(request.end_time, "end_time"))
    if asked.end_time_us and asked.end_time_us <= asked.start_time_us:
        raise errors.Malformed("PERIOD_INVALID", "end_time", "after start_time")
    return asked


def _record(shard_id: int, row: ledger_pb2.ListTrailResponse.Row) -> bank_pb2.AuditRecord:
    kinds = bank_pb2.AuditRecord.Kind.values()
    record = bank_pb2.AuditRecord(
        shard_id=shard_id,
        sequence=row.sequence,
        kind=bank_pb2.AuditRecord.ACCOUNT_CHANGED
        if not row.kind
        else (row.kind if row.kind in kinds else bank_pb2.AuditRecord.OTHER),  # type: ignore[arg-type]
        id=uuid_text(row.id),
        debit_account=account_text(row.debit_account),
        credit_account=account_text(row.credit_account) if row.credit_account else "",
        amount_minor=row.amount_minor,
        currency_code=currencies.CODE_BY_NUMBER.get(row.currency, ""),
        leg_count=row.leg_count,
        state=int(row.outcome),  # type: ignore[arg-type]
        reason=wire.refusal_name(row.refusal),
        limits_overridden=bool(row.flags & _LIMITS_OVERRIDDEN),
        overdraw_allowed=bool(row.flags & _OVERDRAW),
        words=row.words,
        subject=row.actor.subject,
        channel=row.actor.channel,
    )
    record.decide_time.FromMicroseconds(row.time_us)
    return record
