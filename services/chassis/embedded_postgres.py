"""A PostgreSQL of the bank's own: made on first start, durable, kept between runs, stopped with its owner.

For one machine, tests and trying out; a production bank is given any other PostgreSQL by DSN. The
programs come from `postgres_binaries.py`, the account they run under from `postgres_account.py`, the
settings from `postgres_settings.py`. Never here: the bank's schemas.

Below its directory: `data` (the cluster), `password` (for TCP, readable by its owner only), `sockets`,
`lock`, `server.log`. Whoever may enter `sockets` is trusted, so only the server's account may; over
TCP everybody needs the password.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import asyncpg

from services.chassis import children, ports, postgres_account, postgres_binaries, postgres_settings, queries
from services.chassis.children import LaunchError
from services.chassis.directory_lock import DirectoryLock

SQL = queries.load("services.chassis")

binaries = postgres_binaries.binaries

SUPERUSER: Final = "postgres"
PASSWORD_BYTES: Final = 24

START_SECONDS_MAX: Final = 300.0
"""Recovery after a crash replays the log since the last checkpoint: at most a few GiB."""
STOP_SECONDS_MAX: Final = 30.0
ABORT_SECONDS_MAX: Final = 10.0
CONNECT_SECONDS_MAX: Final = 10.0
LEFTOVER_SECONDS_MAX: Final = 15.0
"""How long the processes of a killed server may take to notice and to let go of its memory."""

SOCKET_PATH_BYTES_MAX: Final = 107
"""Limit of the kernel for a socket's path."""

READY: Final = "ready"
PORT_TAKEN: Final = "Address already in use"
MEMORY_IN_USE: Final = "pre-existing shared memory block"

STOP_WITH_OWNER: Final = 'read -r _; kill -TERM "$1"; sleep 5; kill -INT "$1"'
"""A shell that reads a pipe to its end, which comes when the owner is gone. It first asks for a stop that
lets clients finish, since the owner's services stop for the same reason, then for a fast one."""


class EmbeddedPostgres:
    """One cluster in one directory. Start and stop it as often as you like; only one owner at a time may."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
        log: Path | None = None,
    ) -> None:
        """Describe it; nothing happens yet. `port` 0 chooses a free one at each start."""
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self.log = log or self.directory / "server.log"
        self.port = port
        self._port_wanted = port
        self._settings = postgres_settings.settings(postgres_settings.memory_bytes(), settings or {})
        self._programs_wanted = programs
        self._lock = DirectoryLock(self.directory / "lock", "PostgreSQL")
        self._run_as = postgres_account.RunAs.this_user()
        self._sockets = self.directory / "sockets"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Start it unless it runs, also after it died; return when it answers. Raises LaunchError with what to do.

        What a killed owner left behind is put in order first: a server that is still running is
        stopped, one that is gone is recovered by PostgreSQL itself.
        """
        if self.pid is not None:
            return
        children.make_directory(self.directory)
        self._lock.acquire()
        try:
            await self._end_process()
            programs, major = await asyncio.to_thread(self._prepare)
            if not self.data.exists():
                await asyncio.to_thread(self._create_cluster, programs, major)
            self._check_major(major)
            await self._end_orphan()
            await self._launch(programs)
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Wait until the server ends, for whatever reason, and return its exit status."""
        return await children.wait(self._process) if self._process is not None else 0

    async def stop(self) -> None:
        """Stop it cleanly (open transactions are rolled back, a checkpoint is written) and give the directory up."""
        await self._end_process()
        if self._sockets.parent != self.directory:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._lock.release()

    def dsn(self, database: str, *, user: str = SUPERUSER) -> str:
        """Name a database over the unix socket: for processes of the same account, and for root."""
        place = f"host={quote(str(self._sockets), safe='/')}&port={self.port}"
        return f"postgresql://{quote(user)}@/{quote(database, safe='')}?{place}"

    def tcp_dsn(self, database: str, *, user: str = SUPERUSER) -> str:
        """Name a database over TCP, password included: keep it out of logs."""
        address = f"{ports.HOST}:{self.port}"
        return f"postgresql://{quote(user)}:{self.password()}@{address}/{quote(database, safe='')}"

    def password(self) -> str:
        """Give the superuser's password for TCP."""
        return (self.directory / "password").read_text().strip()

    async def ensure_database(self, name: str) -> None:
        """Create a database unless it exists. Raises LaunchError."""
        async with self._connected() as connection:
            statement = await connection.fetchval(SQL["create_database_statement"], name)
            if statement is not None:
                await connection.execute(statement)

    async def drop_database(self, name: str) -> None:
        """Drop a database if it exists, whoever is connected to it. Raises LaunchError."""
        async with self._connected() as connection:
            await connection.execute(await connection.fetchval(SQL["drop_database_statement"], name))

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            connection = await asyncpg.connect(self.dsn("postgres"), timeout=CONNECT_SECONDS_MAX)
            try:
                yield connection
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LaunchError(f"PostgreSQL does not do as asked: {error}") from error

    def _prepare(self) -> tuple[Path, int]:
        """Decide who runs it and from where; make what must exist below the directory."""
        for leftover in self.directory.glob("data.unfinished-*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        programs = postgres_binaries.binaries(self._programs_wanted)
        major = postgres_binaries.major_version(programs)
        self._run_as = postgres_account.choose(self.directory, self.data)
        if not self._run_as.can(programs / "initdb", "--version"):
            programs = postgres_binaries.copied(programs, self.directory)
        password = self.directory / "password"
        if not password.exists():
            children.write_private(password, secrets.token_urlsafe(PASSWORD_BYTES))
        if len(os.fsencode(self.directory / "sockets" / ".s.PGSQL.65535.lock")) <= SOCKET_PATH_BYTES_MAX:
            self._sockets.mkdir(mode=0o700, exist_ok=True)
        elif self._sockets.parent == self.directory or not self._sockets.exists():
            self._sockets = Path(tempfile.mkdtemp(prefix="hivecore-"))
        self._run_as.give(self._sockets)
        return programs, major

    def _create_cluster(self, programs: Path, major: int) -> None:
        """Make the cluster beside its place and move it there when it is whole."""
        unfinished = Path(tempfile.mkdtemp(prefix="data.unfinished-", dir=self.directory))
        self._run_as.give(unfinished)
        password = unfinished.with_name(f"{unfinished.name}.password")
        children.write_private(password, self.password())
        self._run_as.give(password)
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if major >= 17 else ["--locale=C.UTF-8"]
        status, said = self._run_as.run(
            *(programs / "initdb", "-D", unfinished, "-U", SUPERUSER, "-E", "UTF8"),
            *("--auth-host=scram-sha-256", "--auth-local=trust", f"--pwfile={password}"),
            *("--data-checksums", "--no-instructions", *locale),
        )
        password.unlink()
        if status != 0:
            shutil.rmtree(unfinished)
            raise LaunchError(f"initdb failed:\n{said}")
        unfinished.rename(self.data)

    def _check_major(self, major: int) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(major):
            raise LaunchError(
                f"{self.data} was made by PostgreSQL {version} and the programs here are of {major}: "
                f"use those of {version}, or move the data with pg_dump or pg_upgrade"
            )

    async def _end_orphan(self) -> None:
        """Stop a server that outlived its owner; we hold the lock, so nobody else can be its owner."""
        pid = self._recorded_pid()
        if pid is None:
            return
        if not children.runs_with(pid, str(self.data)):
            self._disown(pid)
            return
        for number, seconds in (
            (signal.SIGINT, STOP_SECONDS_MAX),
            (signal.SIGQUIT, ABORT_SECONDS_MAX),
            (signal.SIGKILL, ABORT_SECONDS_MAX),
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if await children.until(lambda: not children.runs_with(pid, str(self.data)), seconds):
                return
        raise LaunchError(f"a PostgreSQL from an earlier run (process {pid}) cannot be stopped")

    def _recorded_pid(self) -> int | None:
        lines = self._pid_file_lines()
        return int(lines[0]) if lines and lines[0].strip().isdecimal() else None

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _disown(self, pid: int) -> None:
        """Keep a stranger who got the dead server's process number from looking like it to PostgreSQL.

        PostgreSQL takes a file that names its parent for stale, and then still checks by itself
        that nobody uses the shared memory named further down; so the file is not removed.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            file = self.data / "postmaster.pid"
            file.write_text("\n".join([str(os.getpid()), *self._pid_file_lines()[1:], ""]))

    async def _launch(self, programs: Path) -> None:
        """Start the server, again while the cause of its refusal passes by itself."""
        children.rotate(self.log)
        loop = asyncio.get_running_loop()
        patience_end = loop.time() + LEFTOVER_SECONDS_MAX
        while True:
            self._choose_port()
            self._spawn(programs)
            if await self._became_ready():
                break
            await self._end_process()
            said = children.last_lines(self.log)
            passes = MEMORY_IN_USE in said or (PORT_TAKEN in said and not self._port_wanted)
            if not passes or loop.time() > patience_end:
                raise LaunchError(f"PostgreSQL does not start; the end of {self.log}:\n{said}")
            await asyncio.sleep(10 * children.POLL_SECONDS)
        async with self._connected() as connection:
            await connection.execute(SQL["create_pg_stat_statements"])

    def _choose_port(self) -> None:
        """Keep the port of the last start if it is still free: clients know it."""
        if self._port_wanted == 0 and (self.port == 0 or not ports.is_free(self.port)):
            self.port = ports.choose_free()

    async def _became_ready(self) -> bool:
        """Wait for the word that `pg_ctl` waits for; False when the server ended or took too long."""
        assert self._process is not None
        process = self._process

        def ready_or_ended() -> bool:
            return process.poll() is not None or self._says_ready(process.pid)

        return await children.until(ready_or_ended, START_SECONDS_MAX) and process.poll() is None

    def _says_ready(self, pid: int) -> bool:
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == READY

    def _spawn(self, programs: Path) -> None:
        place: list[str | Path] = ["-D", self.data, "-p", str(self.port), "-h", ports.HOST, "-k", self._sockets]
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with children.open_log(self.log) as log:
            self._process = self._run_as.start(log, programs / "postgres", *place, *options)
        self._watchdog = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", STOP_WITH_OWNER, "hivecore-watchdog", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    async def _end_process(self) -> None:
        """End the server if it runs, then the shell that watches for our own end."""
        if self._process is not None:
            await children.end(self._process, (signal.SIGINT, STOP_SECONDS_MAX), (signal.SIGQUIT, ABORT_SECONDS_MAX))
        if self._watchdog is not None:
            self._watchdog.kill()
            await children.wait(self._watchdog)
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog = None
