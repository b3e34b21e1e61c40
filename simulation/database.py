"""A simulated PostgreSQL, as far as the ledger's store speaks to it: sessions, transactions, row locks, doubt.

Messages travel to a server that goes on by itself when a connection breaks (`connections.py`). What a transaction wrote is seen by others once its COMMIT was flushed, all of it or
nothing. Between any two messages, and inside a commit, connections break and servers die. That it behaves as
the real one does is proven by tests that run on both. Never here: what a query answers (`statements.py`).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import asyncpg

from simulation import statements
from simulation.network import Network
from simulation.tables import Definition, Row, Table, decode, definitions

Change = tuple[str, Row]
"""A table's name and a row that it got."""


class Client(Protocol):
    """The other end of a session."""

    def server_ended(self) -> None:
        """Learn that the session is gone."""


@dataclass
class Troubles:
    """How bad a database is: probabilities per statement, seconds for delays."""

    flush_seconds: float = 0.001
    slow_flush: float = 0.0
    cut: float = 0.0
    """How often a connection breaks, before or after the statement reached the server."""
    is_disk_full: bool = False


class Locks:
    """Row locks: one holder each, the others wait in order."""

    def __init__(self) -> None:
        self._holders: dict[str, Session] = {}
        self._queues: dict[str, deque[tuple[Session, Callable[[], None]]]] = {}

    def take(self, name: str, session: "Session", then: Callable[[], None]) -> None:
        """Go on with `then` once `session` has the lock."""
        holder = self._holders.setdefault(name, session)
        if holder is session:
            then()
        else:
            self._queues.setdefault(name, deque()).append((session, then))

    def stop_waiting(self, session: "Session") -> None:
        """Give up what a session waits for."""
        for queue in self._queues.values():
            for waiting in [each for each in queue if each[0] is session]:
                queue.remove(waiting)

    def release_all(self, session: "Session") -> None:
        """Give up what a session has and waits for."""
        self.stop_waiting(session)
        for name in [name for name, holder in self._holders.items() if holder is session]:
            del self._holders[name]
            queue = self._queues.get(name)
            if queue:
                heir, then = queue.popleft()
                self._holders[name] = heir
                then()


CONTROL = 0
"""In the place of a shard's number: the control database."""

_Schemas = tuple[tuple[str, Callable[[], dict[str, Definition]]], ...]

_SCHEMAS_OF_A_SHARD: _Schemas = (
    ("", definitions),
    ("account.", partial(definitions, "account", "services.account", "migrations/shard")),
)
_SCHEMAS_OF_CONTROL: _Schemas = (
    ("control.", partial(definitions, "control", "services.account", "migrations/control")),
)
"""How their tables are called here, and where their migrations are."""


class Database:
    """One shard's server, or that of the control database."""

    def __init__(self, network: Network, shard_id: int) -> None:
        self.network = network
        self.shard_id = shard_id
        self.process = network.loop.process(f"postgres-{shard_id or 'control'}")
        self.tables = {
            schema + name: Table(definition)
            for schema, read in (_SCHEMAS_OF_CONTROL if shard_id == CONTROL else _SCHEMAS_OF_A_SHARD)
            for name, definition in read().items()
        }
        self.troubles = Troubles()
        self.sessions: dict[int, Session] = {}
        self.locks = Locks()
        self.is_up = True
        self.on_commit: list[Callable[[Database, list[Change]], None]] = []
        self._pids = 100
        if shard_id == CONTROL:
            self._seed("control.catalogue", version=0)
            self._seed("control.bank", only_row=True, directory_version=1, currencies=[])
            return
        self._seed("journal_head", last_sequence=0, writer_epoch=0, booking_time=0)
        self._seed("writer_lease", instance="", expire_time=0)

    def _seed(self, name: str, **row: Any) -> None:
        self.tables[name].insert(self.tables[name].complete(row))

    @property
    def head(self) -> Row:
        return self.tables["journal_head"].rows[0]

    @property
    def lease(self) -> Row:
        return self.tables["writer_lease"].rows[0]

    def admit(self, connection: Client) -> "Session":
        """Give a connection a session of its own."""
        self._pids += 1
        session = self.sessions[self._pids] = Session(self, self._pids, connection)
        return session

    def committed(self, changes: list[Change]) -> None:
        """Tell those who watch."""
        for watcher in self.on_commit:
            watcher(self, changes)

    def crash(self) -> None:
        """Stop at once: what was flushed is there, everything else never was."""
        self.is_up = False
        for session in list(self.sessions.values()):
            session.end(is_crash=True)

    def restart(self) -> None:
        """Be there again."""
        self.is_up = True


@dataclass
class Transaction:
    """What a transaction would write."""

    changes: list[Change] = field(default_factory=list)
    updates: list[Callable[[], None]] = field(default_factory=list)
    has_failed: bool = False
    wrote_head: bool = False
    keys: set[tuple[str, str, tuple[Any, ...]]] = field(default_factory=set)
    """What its own rows take: table, key, values."""


class Session:
    """A server's side of a connection."""

    def __init__(self, database: Database, pid: int, connection: Client) -> None:
        self.database = database
        self.pid = pid
        self.start = database.process.now_us()
        self.is_open = True
        self.transaction: Transaction | None = None
        self._connection = connection
        self._is_committing = False
        self._is_ending = False
        self._is_waiting: Callable[[Any], None] | None = None
        """Whom to answer, while a statement waits for a lock."""
        self._is_alone = False
        """Whether that statement is a transaction of its own."""

    # What statements may do.

    def now_us(self) -> int:
        return self.database.process.now_us()

    def table(self, name: str) -> Table:
        return self.database.tables[name]

    def insert(self, name: str, given: Row) -> Row:
        """Add a row within the transaction."""
        transaction = self.transaction
        assert transaction is not None
        row = self.table(name).complete(given)
        for unique, key, is_taken in self.table(name).claims(row):
            if is_taken or (name, unique, key) in transaction.keys:
                raise _violation(unique, row)
            transaction.keys.add((name, unique, key))
        transaction.changes.append((name, row))
        return row

    def update(self, change: Callable[[], None]) -> None:
        """Change a row when the transaction commits."""
        assert self.transaction is not None
        self.transaction.updates.append(change)

    # What arrives.

    def receive(self, name: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        """Carry a statement out and reply with its answer, or with the error."""
        if not self.is_open:
            return
        if name == "BEGIN":
            self.transaction = Transaction()
            reply([])
        elif name == "COMMIT":
            self._commit(reply)
        elif name == "ROLLBACK":
            self._forget()
            reply([])
        elif self.transaction is not None and self.transaction.has_failed:
            reply(asyncpg.InFailedSQLTransactionError("current transaction is aborted"))
        else:
            self._execute(name, arguments, reply)

    def _execute(self, name: str, arguments: tuple[Any, ...], reply: Callable[[Any], None]) -> None:
        is_alone = self.transaction is None
        if is_alone:
            self.transaction = Transaction()
        transaction = self.transaction
        assert transaction is not None

        def finish() -> None:
            self._is_waiting = None
            if not self.is_open:
                return
            try:
                answer = self._run(name, arguments)
            except asyncpg.PostgresError as error:
                answer = error
                transaction.has_failed = True
            if not is_alone:
                reply(answer)
            elif transaction.has_failed or not (transaction.changes or transaction.updates):
                self._forget()
                reply(answer)
            else:  # It is a transaction of its own, with the same doubt about its end.
                self._commit(lambda failed: reply(failed or answer))

        lock = statements.LOCKS.get(name)
        if lock is None:
            finish()
            return
        if lock == "head":
            transaction.wrote_head = True
        if name in statements.CONDITIONS and not statements.CONDITIONS[name](self, *arguments):
            # Nothing to change, so nothing to wait for.
            if is_alone:
                self._forget()
            reply([])
            return
        self._is_waiting, self._is_alone = reply, is_alone
        self.database.locks.take(lock, self, finish)

    def _run(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if self.database.troubles.is_disk_full and name == "COPY":
            raise asyncpg.DiskFullError("could not extend file: No space left on device")
        if name == "COPY":
            table, columns, stream = arguments
            for row in decode(self.table(table).definition, columns, stream):
                self.insert(table, row)
            return []
        return statements.run(self, name, arguments)

    def _commit(self, reply: Callable[[Any], None]) -> None:
        """Flush, then apply: a crash in the first half loses it, in the second only the answer."""
        transaction = self.transaction
        assert transaction is not None
        if transaction.has_failed:
            self._forget()
            reply([])
            return
        database = self.database
        chance = database.network.chance
        seconds = database.troubles.flush_seconds * chance.uniform(0.2, 2.0)
        if database.network.happens(database.troubles.slow_flush):
            seconds = chance.uniform(0, 2.0)
        self._is_committing = True

        def flushed() -> None:
            if not self.is_open:
                return  # The server crashed first.
            self._is_committing = False
            try:
                self._apply()
            except asyncpg.PostgresError as error:
                reply(error)
                return
            if self._is_ending:
                self.end()
                return
            database.process.call(seconds / 4, reply, [])

        database.process.call(seconds, flushed)

    def _apply(self) -> None:
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        for name, row in transaction.changes:
            for unique, _, is_taken in self.table(name).claims(row):
                if is_taken:  # By somebody who committed since.
                    self.database.locks.release_all(self)
                    raise _violation(unique, row)
        for name, row in transaction.changes:
            self.table(name).insert(row)
        for change in transaction.updates:
            change()
        if transaction.changes or transaction.updates:
            self.database.committed(transaction.changes)
        self.database.locks.release_all(self)

    def cancel(self, reply: Callable[[Any], None]) -> None:
        """Give up the statement whose answer goes there, if it waits for a lock; one that runs is as good as done."""
        if self.is_open and self._is_waiting is reply:
            self._is_waiting = None
            self.database.locks.stop_waiting(self)
            if self._is_alone:
                self._forget()
            elif self.transaction is not None:
                self.transaction.has_failed = True
            reply(asyncpg.QueryCanceledError("canceling statement due to user request"))

    def _forget(self) -> None:
        self.transaction = None
        self.database.locks.release_all(self)

    def end(self, *, is_crash: bool = False) -> None:
        """End: what is not committed is taken back. A commit under way is seen through first."""
        if not self.is_open:
            return
        if self._is_committing and not is_crash:
            self._is_ending = True
            return
        self.is_open = False
        self.database.sessions.pop(self.pid, None)
        self._forget()
        self._connection.server_ended()


def _violation(name: str, row: Row) -> asyncpg.UniqueViolationError:
    error = asyncpg.UniqueViolationError(f"duplicate key value violates unique constraint {name}: {row}")
    error.constraint_name = name
    return error
