"""What the embedded PostgreSQL is told at its start: durability first, then speed that costs none of it.

Values are given on the command line, so nothing in the data directory can weaken them. Never here:
a value that lets an acknowledged commit be lost.
"""

import os
from collections.abc import Mapping
from typing import Final

MIB: Final = 1024 * 1024

DURABLE: Final[Mapping[str, str]] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
"""A commit is answered when it is on the disk, and a torn page is repaired from the log. No caller
may set these otherwise: `settings` refuses."""

SHARED_BUFFERS_MIB: Final = range(128, 1024 + 1)
"""A quarter of the machine is the usual advice for a machine that is PostgreSQL's alone; this one is
shared with the services, so it gets an eighth, within these bounds."""

FIXED: Final[Mapping[str, str]] = {
    # One shard's ledger needs few connections; the rest is for audits, tests and people.
    "max_connections": "200",
    "huge_pages": "try",
    # Checkpoints rarely, and spread: after each, the first change of a page writes the whole page to the log.
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "max_wal_size": "4GB",
    # All of the log's old files are kept for new ones, also after a quiet night: making one, 16 MB of zeros and
    # a flush, holds up every commit of the server.
    "min_wal_size": "4GB",
    # Measured on COPY into a wide index: pglz, all that the wheel has, takes a quarter more time to
    # save a fifth of the log; lz4, where there is one, is a draw.
    "wal_compression": "off",
    # Books are appended to: what there is to clean can wait, while a cleaner on a core of its own holds up callers.
    "autovacuum_vacuum_cost_delay": "10ms",
    # Statements are short and always the same: compiling them costs more than it saves.
    "jit": "off",
    # The data is in memory or on a solid-state disk.
    "random_page_cost": "1.1",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "unix_socket_permissions": "0700",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "track_io_timing": "on",
    "log_line_prefix": "%m [%p] %a %d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def settings(memory_bytes: int, given: Mapping[str, str]) -> dict[str, str]:
    """Give all settings for a machine with this much memory; `given` overrides any but the durable ones."""
    if weaker := sorted(name for name in DURABLE.keys() & given.keys() if given[name] != DURABLE[name]):
        raise ValueError(f"the bank's books need these as they are: {', '.join(weaker)}")
    eighth = memory_bytes // 8 // MIB
    buffers = min(max(eighth, SHARED_BUFFERS_MIB.start), SHARED_BUFFERS_MIB.stop - 1)
    sized = {"shared_buffers": f"{buffers}MB", "effective_cache_size": f"{4 * buffers}MB"}
    return {**sized, **FIXED, **given, **DURABLE}


def memory_bytes() -> int:
    """Give this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
