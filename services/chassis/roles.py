"""Who may do what in the databases: one PostgreSQL role per kind of process, each with no more than it needs.

The owner of the schemas migrates and grants and serves nobody. What a role may do stands in the
`grants*.sql` of the room that has the tables. Never here: passwords; who connects as whom.
"""

from importlib import resources
from typing import TYPE_CHECKING, Final

from services.chassis import queries

if TYPE_CHECKING:  # Who only names a role needs no driver.
    import asyncpg

LEDGER: Final = "hivecore_ledger"
"""Appends to the books; changes neither an entry nor anything of the account service."""

ACCOUNT: Final = "hivecore_account"
"""Keeps customers, accounts and the directory; does not even read the books."""

AUDIT: Final = "hivecore_audit"
"""Reads everything, writes nothing."""

ALL: Final = (LEDGER, ACCOUNT, AUDIT)

_SQL: Final = queries.load(__package__)


async def ensure(connection: "asyncpg.Connection") -> None:
    """Make the roles that are missing, able to log in and without a password."""
    for role in ALL:
        statement = await connection.fetchval(_SQL["create_role_statement"], role)
        if statement is not None:
            await connection.execute(statement)


async def grant(connection: "asyncpg.Connection", package: str, file_name: str) -> None:
    """Let the roles do what a package's file says and nothing else in its schema; safe to repeat and under traffic."""
    script = resources.files(package).joinpath(file_name).read_text(encoding="utf-8")
    async with connection.transaction():
        await connection.execute(_SQL["lock_migrations"])
        await connection.execute(script)
