"""A shard's audit trail, page by page: who asked for what, and what came of it.

The journal has no index by who asked, so a call looks at a bounded stretch of it and says where to go on.
Never here: SQL, other shards.
"""

from typing import Final

from hivecore.ledger.v1 import ledger_pb2

from services.ledger import wire
from services.ledger.history import History
from services.ledger.reader import Reader

SEQUENCES_PER_CALL_MAX: Final = 50_000
"""Of the journal, looked at in one call; about a tenth of a second."""

TIME_US_MAX: Final = 2**53
"""Later than anything: in the year 2255."""


async def page(reader: Reader, request: ledger_pb2.ListTrailRequest) -> ledger_pb2.ListTrailResponse:
    """Return a page of the trail. Raises `Malformed`."""
    limit, history = wire.page_limit(request.limit), History(reader)
    after, end = max(0, request.after_sequence), (await reader.status()).last_sequence
    if request.start_time_us:
        after = max(after, await history.cut_of_time(request.start_time_us - 1))
    if request.end_time_us:
        # What is no transfer has no index by time: it lies between the last one before and the first one after.
        beyond = await reader.transfer_after(await history.cut_of_time(request.end_time_us - 1))
        end = end if beyond is None else min(end, beyond - 1)
    through = min(end, after + SEQUENCES_PER_CALL_MAX)
    times_us = (request.start_time_us, request.end_time_us or TIME_US_MAX)
    rows = await reader.trail(
        (after, through), request.account_number, request.subject, request.channel, times_us, limit
    )
    response = ledger_pb2.ListTrailResponse(rows=map(wire.trail_row, rows))
    if len(rows) == limit:
        response.next_after_sequence = rows[-1]["sequence"]
    elif through < end:
        response.next_after_sequence = through
    return response
