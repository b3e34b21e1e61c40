"""PostgreSQL's binary COPY stream, built from packed rows.

A row of fixed-width columns is one `struct` call, several times cheaper than encoding each value
through a driver. The format: PostgreSQL's documentation of COPY, "Binary Format". Never here:
which tables there are.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags (none) and header extension (none)."""

TRAILER: Final = b"\xff\xff"

CHUNK_BYTES: Final = 256 * 1024
"""Handed to the driver at a time, so that its buffer stays small and sending starts early."""

MICROSECONDS_TO_2000: Final = 946_684_800_000_000
"""From 1970-01-01 to PostgreSQL's own epoch, 2000-01-01 UTC."""

DAYS_TO_2000: Final = 10_957


async def stream(rows: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield a whole COPY stream from packed rows."""
    body = b"".join((HEADER, *rows, TRAILER))
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
