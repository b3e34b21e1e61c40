"""Opens a bank on this machine and keeps it open: PostgreSQL, account, ledgers and gateway.

    async with Bank.open(BankOptions(data=directory)) as bank:
        ...  # bank.gateway answers

For `hivecore up`, `hivecore demo` and every test that needs a whole bank. Which processes there are
says `topology.py`; starting them again is `supervisor.py`'s. Never here: what the services do.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import grpc

from services.chassis import children, ports
from services.chassis.children import LaunchError
from services.chassis.directory_lock import DirectoryLock
from services.chassis.embedded_postgres import SUPERUSER, EmbeddedPostgres
from services.cli import authority, channels, health, revoking, tokens, topology
from services.cli.migrating import migrate_bank
from services.cli.supervisor import ProgramPart, Supervisor
from services.cli.topology import BankOptions, NameDatabase, Places, Shape, Topology
from services.gateway.allowances import Allowances
from services.gateway.revocations import Revocations

OPEN_SECONDS_MAX: Final = 120.0
"""From the first process to the gateway's first answer; recovery of a big log comes before that."""

DEATHS_MAX: Final = 4
"""A part that dies this often before the bank is open will not stay up."""

LEFTOVER_SECONDS_MAX: Final = 10.0
"""How long the services of a killed bank may take to stop; longer than their grace."""


class BankDatabase:
    """PostgreSQL as a part of the bank: with the bank's databases in it."""

    def __init__(self, postgres: EmbeddedPostgres, databases: Sequence[str]) -> None:
        self._postgres = postgres
        self._databases = databases

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._postgres.pid

    async def start(self) -> None:
        """Start the server unless it runs, and make the databases that are missing."""
        await self._postgres.start()
        for name in self._databases:
            await self._postgres.ensure_database(name)

    async def wait(self) -> int:
        """Wait until the server ends."""
        return await self._postgres.wait()

    async def stop(self) -> None:
        """Stop the server."""
        await self._postgres.stop()


class Bank:
    """An open bank. Made by `Bank.open` only."""

    def __init__(
        self,
        options: BankOptions,
        shape: Shape,
        numbers: Mapping[str, int],
        say: Callable[[str], None],
        elsewhere: Mapping[str, NameDatabase],
    ) -> None:
        self.places = Places(options.data.resolve())
        self.shape = shape
        self.postgres = EmbeddedPostgres(
            self.places.postgres,
            port=numbers["postgres"],
            programs=options.postgres_programs,
            log=self.places.logs / "postgres.log",
        )
        self._options = options
        self._numbers = numbers
        self._say = say
        self._elsewhere = elsewhere
        self._is_open = False
        self._topology: Topology | None = None
        self._supervisor: Supervisor | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        options: BankOptions,
        *,
        say: Callable[[str], None] = lambda _: None,
        elsewhere: Mapping[str, NameDatabase] = MappingProxyType({}),
    ) -> AsyncIterator[Self]:
        """Open a bank for the length of the context. Raises LaunchError with a sentence for the operator.

        `say` gets a sentence whenever a process ends unexpectedly and when it runs again. `elsewhere`
        names the databases that somebody else's PostgreSQL has, which must have the roles.
        """
        places = Places(options.data.resolve())
        children.make_directory(places.data)
        lock = DirectoryLock(places.lock, "a bank")
        lock.acquire()
        try:
            shape, numbers = await _prepare(options, places)
            bank = cls(options, shape, numbers, say, elsewhere)
            with ports.held(numbers.values()):
                await bank._start()
                try:
                    yield bank
                finally:
                    await bank._stop()
        finally:
            lock.release()

    @property
    def topology(self) -> Topology:
        """All processes and addresses."""
        assert self._topology is not None
        return self._topology

    @property
    def gateway(self) -> str:
        """The public door, host:port; the first if there are several."""
        return self.topology.gateway

    @property
    def processes(self) -> dict[str, int | None]:
        """The process of every part; None while it is down."""
        return self._running.pids

    @property
    def deaths(self) -> Mapping[str, int]:
        """How often each part has died by itself."""
        return self._running.deaths

    @property
    def _running(self) -> Supervisor:
        assert self._supervisor is not None
        return self._supervisor

    def dsn(self, database: str, *, user: str = SUPERUSER) -> str:
        """Name a database, wherever it is; as its owner unless a role is given."""
        return self._elsewhere.get(database, self.postgres.dsn)(database, user=user)

    @property
    def control_dsn(self) -> str:
        """The control database, as its owner."""
        return self.dsn(topology.CONTROL_DATABASE)

    @property
    def shard_dsns(self) -> dict[int, str]:
        """Every shard's database, as its owner."""
        return {shard: self.dsn(topology.shard_database(shard)) for shard in self.shape.shard_ids}

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Make what a caller needs to trust the gateway; None where it speaks plain text."""
        if not self._options.tls:
            return None
        return grpc.ssl_channel_credentials(self.places.certificates.authority_file.read_bytes())

    def token(self) -> str:
        """Mint a token that may do everything."""
        return tokens.development_token(self.places.jwt_secret_file)

    def secret(self) -> str:
        """Give what tokens are signed with, for tokens that may do less."""
        return tokens.read_secret(self.places.jwt_secret_file)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Kill one part, by its name in `processes`, and return the process it had; it is started again."""
        return self._running.kill(name, number)

    async def wait_replaced(self, name: str, pid: int) -> int:
        """Wait until a killed part has a new process that listens, and return that."""
        fresh = await self._running.wait_replaced(name, pid)
        listening = [program.endpoint_file for program in self.topology.programs if program.name == name]
        await children.until(lambda: all(_listens(file, self.processes[name]) for file in listening))
        return fresh

    async def _start(self) -> None:
        self.places.logs.mkdir(exist_ok=True)
        self.places.run.mkdir(exist_ok=True)
        tokens.ensure_secret(self.places.jwt_secret_file)
        _ensure_rules(self._options, self.places)
        if self._options.tls:
            authority.ensure(self.places.certificates, topology.CERTIFIED)
        here = [name for name in topology.databases(self.shape) if name not in self._elsewhere]
        database = BankDatabase(self.postgres, here)
        try:
            await database.start()
            await migrate_bank(self.control_dsn, self.shard_dsns, makes_roles=True)
            # Only a started PostgreSQL knows where its sockets are.
            self._topology = topology.plan(self._options, self.shape, self.places, self._numbers, self.dsn)
            for program in self._topology.programs:
                children.rotate(program.log)
            stages = [{program.name: ProgramPart(program) for program in stage} for stage in self._topology.stages]
            _keep_shape(self.places.shape_file, self.shape)
            self._supervisor = Supervisor([{"postgres": database}, *stages], say=self._say, changed=self._write_file)
            await self._supervisor.start()
            await self.wait_serving()
        except BaseException:
            await self._stop()
            raise
        self._is_open = True
        self._name_targets()
        self._write_file()

    async def _stop(self) -> None:
        self._is_open = False
        self.places.bank_file.unlink(missing_ok=True)
        self.places.prometheus_targets_file.unlink(missing_ok=True)
        if self._supervisor is not None:
            await self._supervisor.stop()
        await self.postgres.stop()

    def _write_file(self) -> None:
        if self._is_open:
            content = topology.describe(self._options, self.topology, self.shape, self.places, self.dsn, self.processes)
            children.write_private(self.places.bank_file, json.dumps(content, indent=2) + "\n")

    def _name_targets(self) -> None:
        """Tell Prometheus, which may run as somebody else, where the metrics are: no secret."""
        file = self.places.prometheus_targets_file
        file.write_text(json.dumps(topology.prometheus_targets(self.topology), indent=2) + "\n", encoding="utf-8")

    async def wait_serving(self) -> None:
        """Wait until every service listens and the gateway says that it serves. Raises LaunchError."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + OPEN_SECONDS_MAX
        channel = channels.channel(self.gateway, self.credentials())
        try:
            while not (self._all_listen() and await health.serves(channel)):
                if loop.time() > give_up:
                    raise LaunchError(
                        f"the gateway does not say within {OPEN_SECONDS_MAX:.0f} seconds that it serves; "
                        f"the end of its log:\n{self._log_end('gateway')}"
                    )
                self._expect_no_repeated_deaths()
                await asyncio.sleep(children.POLL_SECONDS)
        finally:
            await channel.close()

    def _expect_no_repeated_deaths(self) -> None:
        """While the bank opens, whoever dies again and again will not stay up later either."""
        for name, deaths in self.deaths.items():
            if deaths >= DEATHS_MAX and not self._is_open:
                raise LaunchError(f"{name} does not stay up; the end of its log:\n{self._log_end(name)}")

    def _all_listen(self) -> bool:
        pids = self.processes
        return all(_listens(program.endpoint_file, pids[program.name]) for program in self.topology.programs)

    def _log_end(self, name: str) -> str:
        return children.last_lines(self.places.logs / f"{name}.log")


async def _prepare(options: BankOptions, places: Places) -> tuple[Shape, dict[str, int]]:
    """Decide the shape and the ports, once nothing of an earlier run is in the way."""
    try:
        shape = topology.shape_of(options, _read_shape(places.shape_file))
    except topology.ShapeRefused as error:
        raise LaunchError(str(error)) from error
    await _end_leftovers(places.run)
    fixed = {"gateway": options.port} if options.port else {}
    if options.port and not ports.is_free(options.port):
        raise LaunchError(f"port {options.port} is taken: choose another with --port, or 0 for any free one")
    numbers = topology.ports_to_use(
        topology.port_names(shape, options.standbys, options.gateways),
        fixed,
        _read(places.ports_file),
        ports.is_free,
        ports.choose_free,
    )
    children.write_private(places.ports_file, json.dumps(numbers, indent=2) + "\n")
    return shape, numbers


def _ensure_rules(options: BankOptions, places: Places) -> None:
    """See that gateways can read what they are told of tokens and channels. Raises LaunchError."""
    file = topology.revocations_file(options, places)
    try:
        revoking.ensure(file)
        Revocations.of_toml(file.read_bytes())
        if options.allowances is not None:
            file = options.allowances
            Allowances.of_toml(file.read_bytes())
    except OSError as error:
        raise LaunchError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise LaunchError(f"{file}: {error}") from error


async def _end_leftovers(run: Path) -> None:
    """Wait for services of a killed bank, which stop by themselves, and kill those that do not.

    We hold the bank's lock, so whoever works in its directory has lost its supervisor.
    """
    if await children.until(lambda: not children.working_in(run), LEFTOVER_SECONDS_MAX):
        return
    for pid in children.working_in(run):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await children.until(lambda: not children.working_in(run), LEFTOVER_SECONDS_MAX)


def _read(file: Path) -> dict[str, int]:
    """Read the ports of last time; none when they are not readable, since they are only a wish."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {name: port for name, port in content.items() if isinstance(port, int)} if isinstance(content, dict) else {}


def _read_shape(file: Path) -> Shape | None:
    """Read the shape of last time. Raises LaunchError when it is there and not readable."""
    try:
        content = json.loads(file.read_text())
        return Shape(int(content["shards"]), int(content["customer_quota"]), tuple(content["currencies"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"{file} is not readable: {error!r}") from error


def _keep_shape(file: Path, shape: Shape) -> None:
    kept = {"shards": shape.shards, "customer_quota": shape.customer_quota, "currencies": shape.currencies}
    children.write_private(file, json.dumps(kept, indent=2) + "\n")


def _listens(endpoint_file: Path, pid: int | None) -> bool:
    try:
        return pid is not None and bool(json.loads(endpoint_file.read_text())["pid"] == pid)
    except (OSError, ValueError, KeyError):
        return False
