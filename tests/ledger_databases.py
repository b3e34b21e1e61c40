"""Empty books for tests: migrated once, emptied for each test, which is far cheaper than a new database.

To a session that plays the replica, triggers do not apply: so the test's means can do what no ledger can.
"""

from collections.abc import Awaitable, Callable

import asyncpg

from services.chassis import migrations

MakeDatabase = Callable[[], Awaitable[str]]
"""Makes an empty database and gives its DSN."""

TABLES = (
    "account",
    "transfer",
    "further_leg",
    "external_creditor",
    "entry",
    "peer",
    "crossing_out",
    "crossing_returned",
    "crossing_landed",
    "crossing_refused",
    "leg_route",
    "promise",
    "decision_out",
    "decision_landed",
    "refused_leg",
    "customer_cap",
    "actor",
    "relation",
    "day",
    "value_dated",
    "value_sum",
    "metadata",
    "hold",
    "spending",
    "customer_spending",
    "account_change",
    "seal",
)


async def migrate(dsn: str) -> None:
    """Bring a database's books to their newest form."""
    connection = await asyncpg.connect(dsn)
    try:
        await migrations.migrate(connection, "services.ledger")
    finally:
        await connection.close()


async def empty(dsn: str) -> None:
    """Make the books of a database as new."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            # Whoever a failed test left behind, in the middle of a transaction, fails the next one and does not hang it.
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            for table in TABLES:
                await connection.execute(f"DELETE FROM ledger.{table}")
            await connection.execute("ALTER TABLE ledger.actor ALTER COLUMN actor_id RESTART")
            await connection.execute(
                "UPDATE ledger.journal_head SET last_sequence = 0, writer_epoch = 0, booking_time = 'epoch'"
            )
            await connection.execute(
                "UPDATE ledger.writer_lease SET instance = '', expire_time = 'epoch', session_pid = NULL"
            )
    finally:
        await connection.close()
