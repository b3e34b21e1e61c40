"""Which processes make up a bank on one machine, and what each is told: a description, computed from values.

Nothing is started, opened or looked at here. `bank.py` performs it, `supervisor.py` keeps it running.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from services.chassis import roles
from services.chassis.ports import HOST
from services.cli.certificates import Certificates

PREFIX: Final = "HIVECORE_"

SHARDS_DEFAULT: Final = 4
SHARDS_MAX: Final = 64
"""Of one machine: each shard is a database and a process."""
STANDBYS_MAX: Final = 4
GATEWAYS_MAX: Final = 16
PUBLIC_NAME: Final = "public"
"""Whose certificate callers of a gateway see."""

CERTIFIED: Final = ("account", "ledger", "gateway", PUBLIC_NAME)
"""Rooms that show a certificate, and the public door."""

DRAIN_SECONDS: Final = "1"
"""A gateway with others beside it gives callers this long to look there."""
CUSTOMER_QUOTA_DEFAULT: Final = 5_000_000
CURRENCIES_DEFAULT: Final = ("CZK", "EUR", "USD")
GATEWAY_PORT_DEFAULT: Final = 50_051

CONTROL_DATABASE: Final = "hivecore_control"

MINIMAL_ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class BankOptions:
    """What whoever opens a bank may choose."""

    data: Path
    """Its directory: created, kept between runs, owned by one running bank at a time."""
    shards: int | None = None
    """How many; None: as many as the bank has, 4 when it is new."""
    standbys: int = 0
    """Further ledger processes per shard, which take over when its writer dies."""
    gateways: int = 1
    """How many public doors; callers may use any of them."""
    tls: bool = False
    """Whether the gateway speaks TLS, and the services mutual TLS, with certificates of the bank's own authority."""
    port: int = GATEWAY_PORT_DEFAULT
    """The first gateway's; 0 takes the one of last time or any free one. Further ones take any."""
    customer_quota: int | None = None
    """Customers that one shard takes before the next is filled; None: as the bank has, 5,000,000 when new."""
    currencies: tuple[str, ...] | None = None
    """ISO 4217 codes; None: as the bank has, CZK, EUR and USD when new."""
    log_level: str = "INFO"
    postgres_programs: Path | None = None
    """Directory of other PostgreSQL programs than the wheel's."""
    allowances: Path | None = None
    """A file of rates and quotas per channel; None: channels may ask for anything."""
    revocations: Path | None = None
    """A file of revoked tokens; None: the bank's own."""
    environment: Mapping[str, str] = field(default_factory=lambda: MINIMAL_ENVIRONMENT)
    """What every service inherits; HIVECORE_ names in it are left out."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further variables per room, as in {"ledger": {"HIVECORE_LEASE_SECONDS": "1"}}, or per process ("ledger-1"),
    whose own come last."""
    instead: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What Python runs for a room in place of its service (`-m services.gateway`); for benchmarks."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What stays the same from one run of a bank to the next, unless it is changed on purpose."""

    shards: int
    customer_quota: int
    currencies: tuple[str, ...]

    @property
    def shard_ids(self) -> range:
        """The numbers of the shards, from 1."""
        return range(1, self.shards + 1)


class ShapeRefused(ValueError):
    """The options do not fit the bank; the message is one sentence."""


def shape_of(options: BankOptions, before: Shape | None) -> Shape:
    """Decide a bank's shape from the options and what it was before. Raises ShapeRefused."""
    kept = before or Shape(SHARDS_DEFAULT, CUSTOMER_QUOTA_DEFAULT, CURRENCIES_DEFAULT)
    shards = kept.shards if options.shards is None else options.shards
    quota = kept.customer_quota if options.customer_quota is None else options.customer_quota
    currencies = options.currencies or kept.currencies
    if not 1 <= shards <= SHARDS_MAX:
        raise ShapeRefused(f"a bank on one machine has 1 to {SHARDS_MAX} shards, not {shards}")
    if not 0 <= options.standbys <= STANDBYS_MAX:
        raise ShapeRefused(f"a shard has 0 to {STANDBYS_MAX} standbys, not {options.standbys}")
    if not 1 <= options.gateways <= GATEWAYS_MAX:
        raise ShapeRefused(f"a bank on one machine has 1 to {GATEWAYS_MAX} gateways, not {options.gateways}")
    if quota < 1:
        raise ShapeRefused(f"a shard's quota is at least 1 customer, not {quota}")
    if before and shards < before.shards:
        raise ShapeRefused(f"this bank has {before.shards} shards: their books cannot be left out")
    if before and (gone := [code for code in before.currencies if code not in currencies]):
        raise ShapeRefused(f"this bank keeps books in {', '.join(gone)}: they cannot be left out")
    return Shape(shards, quota, currencies)


@dataclass(frozen=True, slots=True)
class Program:
    """One process, described."""

    name: str
    arguments: tuple[str, ...]
    """After the Python interpreter."""
    environment: Mapping[str, str]
    endpoint_file: Path
    """Written by the process when it listens."""
    log: Path
    grpc: str = ""
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """All processes of a bank but PostgreSQL's, in the order in which they start; they stop in reverse."""

    stages: tuple[tuple[Program, ...], ...]
    gateways: tuple[str, ...]
    account: str
    ledgers: Mapping[int, tuple[str, ...]]
    metrics: Mapping[str, str]

    @property
    def gateway(self) -> str:
        """The first public door."""
        return self.gateways[0]

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them."""
        return tuple(program for stage in self.stages for program in stage)


def ledger_names(shard_id: int, standbys: int) -> tuple[str, ...]:
    """Name a shard's ledger processes."""
    first = f"ledger-{shard_id}"
    return (first, *(f"{first}-standby-{number}" for number in range(1, standbys + 1)))


def gateway_names(gateways: int) -> tuple[str, ...]:
    """Name the gateway processes."""
    return ("gateway", *(f"gateway-{number}" for number in range(2, gateways + 1)))


def port_names(shape: Shape, standbys: int, gateways: int = 1) -> tuple[str, ...]:
    """Name every port that a bank needs."""
    ledgers = (name for shard in shape.shard_ids for name in ledger_names(shard, standbys))
    services = ["account", *ledgers, *gateway_names(gateways)]
    return ("postgres", *(name for service in services for name in (service, f"{service}.metrics")))


def shard_database(shard_id: int) -> str:
    """Name a shard's database."""
    return f"hivecore_shard_{shard_id}"


def databases(shape: Shape) -> tuple[str, ...]:
    """Name every database of a bank."""
    return (CONTROL_DATABASE, *(shard_database(shard_id) for shard_id in shape.shard_ids))


@dataclass(frozen=True, slots=True)
class Places:
    """Where a bank keeps what, below its data directory."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by the process that runs the bank."""
        return self.data / "lock"

    @property
    def bank_file(self) -> Path:
        """How to reach the bank; there while it is open."""
        return self.data / "bank.json"

    @property
    def shape_file(self) -> Path:
        """The bank's shape."""
        return self.data / "shape.json"

    @property
    def ports_file(self) -> Path:
        """The ports of last time."""
        return self.data / "ports.json"

    @property
    def prometheus_targets_file(self) -> Path:
        """Where Prometheus finds the processes (`file_sd_configs`); there while the bank is open."""
        return self.data / "prometheus-targets.json"

    @property
    def jwt_secret_file(self) -> Path:
        """What tokens are signed with."""
        return self.data / "jwt.secret"

    @property
    def revocations_file(self) -> Path:
        """Which tokens are revoked, unless another file is given."""
        return self.data / "revocations.toml"

    @property
    def certificates(self) -> Certificates:
        """Its own authority's, where it speaks TLS."""
        return Certificates(self.data / "tls")

    @property
    def postgres(self) -> Path:
        """PostgreSQL's."""
        return self.data / "postgres"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.data / "logs"

    @property
    def run(self) -> Path:
        """Working directory of the services, and their endpoint files."""
        return self.data / "run"


class NameDatabase(Protocol):
    """Gives the DSN of a database; as its owner unless a role is given."""

    def __call__(self, database: str, *, user: str = ...) -> str:
        """Name it."""


def plan(options: BankOptions, shape: Shape, places: Places, ports: Mapping[str, int], dsn: NameDatabase) -> Topology:
    """Describe the services of a bank, each with the databases' role that is its own."""
    draft = _Draft(options, places, ports)
    addresses = {
        shard_id: tuple(draft.address(name) for name in ledger_names(shard_id, options.standbys))
        for shard_id in shape.shard_ids
    }
    shards = {
        str(shard_id): {
            "dsn": dsn(shard_database(shard_id), user=roles.ACCOUNT),
            "ledgers": addresses[shard_id],
            "customer_quota": shape.customer_quota,
        }
        for shard_id in shape.shard_ids
    }
    account = draft.program(
        "account",
        "account",
        CONTROL_DSN=dsn(CONTROL_DATABASE, user=roles.ACCOUNT),
        MIGRATE="0",
        SHARDS=json.dumps(shards),
        CURRENCIES=",".join(shape.currencies),
    )
    ledgers = tuple(
        draft.program(
            "ledger",
            name,
            SHARDS=json.dumps({str(shard_id): dsn(shard_database(shard_id), user=roles.LEDGER)}),
            MIGRATE="0",
            ACCOUNT_ADDRESS=account.grpc,
        )
        for shard_id in shape.shard_ids
        for name in ledger_names(shard_id, options.standbys)
    )
    door = {
        "ACCOUNT_ADDRESS": account.grpc,
        "JWT_SECRET_FILE": str(places.jwt_secret_file),
        "REVOCATIONS_FILE": str(revocations_file(options, places)),
    }
    if options.allowances is not None:
        door["ALLOWANCES_FILE"] = str(options.allowances.resolve())
    if options.tls:
        shown = places.certificates
        door["PUBLIC_CERTIFICATE_FILE"] = str(shown.certificate_file(PUBLIC_NAME))
        door["PUBLIC_KEY_FILE"] = str(shown.key_file(PUBLIC_NAME))
    if options.gateways > 1:
        door["DRAIN_SECONDS"] = DRAIN_SECONDS
    gateways = tuple(draft.program("gateway", name, **door) for name in gateway_names(options.gateways))
    stages = ((account,), ledgers, gateways)
    metrics = {program.name: program.metrics for stage in stages for program in stage}
    return Topology(stages, tuple(gateway.grpc for gateway in gateways), account.grpc, addresses, metrics)


def revocations_file(options: BankOptions, places: Places) -> Path:
    """Name the file that says which tokens are revoked."""
    return options.revocations.resolve() if options.revocations is not None else places.revocations_file


@dataclass(frozen=True, slots=True)
class _Draft:
    """What all programs of one bank have in common."""

    options: BankOptions
    places: Places
    ports: Mapping[str, int]

    def address(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    def program(self, room: str, name: str, **settings: str) -> Program:
        endpoint_file = self.places.run / f"{name}.json"
        common = {
            "LISTEN": self.address(name),
            "METRICS_LISTEN": self.address(f"{name}.metrics"),
            "INSTANCE": name,
            "LOG_LEVEL": self.options.log_level,
            "ENDPOINT_FILE": str(endpoint_file),
            "STOP_WITH_PARENT": "1",
        }
        if self.options.tls:
            shown = self.places.certificates
            common["CERTIFICATE_FILE"] = str(shown.certificate_file(room))
            common["KEY_FILE"] = str(shown.key_file(room))
            common["AUTHORITY_FILE"] = str(shown.authority_file)
        inherited = {key: value for key, value in self.options.environment.items() if not key.startswith(PREFIX)}
        told = {PREFIX + key: value for key, value in (common | settings).items()}
        given = self.options.settings
        return Program(
            name=name,
            # -P keeps the working directory, which is the bank's, out of Python's search path.
            arguments=("-P", *self.options.instead.get(room, ("-m", f"services.{room}"))),
            environment=inherited | told | dict(given.get(room, {})) | dict(given.get(name, {})),
            endpoint_file=endpoint_file,
            log=self.places.logs / f"{name}.log",
            grpc=self.address(name),
            metrics=self.address(f"{name}.metrics"),
        )


def describe(
    options: BankOptions,
    topology: Topology,
    shape: Shape,
    places: Places,
    dsn: NameDatabase,
    pids: Mapping[str, int | None],
) -> dict[str, object]:
    """Give the content of `bank.json`: all that a command needs to reach the bank."""
    return {
        "gateway": topology.gateway,
        "gateways": list(topology.gateways),
        "account": topology.account,
        "ledgers": {str(shard_id): list(addresses) for shard_id, addresses in topology.ledgers.items()},
        "metrics": dict(topology.metrics),
        "control_dsn": dsn(CONTROL_DATABASE),
        "shard_dsns": {str(shard_id): dsn(shard_database(shard_id)) for shard_id in shape.shard_ids},
        "jwt_secret_file": str(places.jwt_secret_file),
        "revocations_file": str(revocations_file(options, places)),
        "authority_file": str(places.certificates.authority_file) if options.tls else None,
        "processes": dict(pids),
    }


def prometheus_targets(topology: Topology) -> list[dict[str, object]]:
    """Give the content of `prometheus-targets.json`."""
    return [
        {"targets": [address], "labels": {"job": "hivecore", "process": name}}
        for name, address in topology.metrics.items()
    ]


def ports_to_use(
    names: Sequence[str],
    fixed: Mapping[str, int],
    before: Mapping[str, int],
    is_free: Callable[[int], bool],
    choose: Callable[[frozenset[int]], int],
) -> dict[str, int]:
    """Give every name a port of its own: the fixed one, that of last time if it is free, or a new one."""
    ports = dict(fixed)
    for name in names:
        if name in ports:
            continue
        wish = before.get(name)
        taken = frozenset(ports.values())
        ports[name] = wish if wish is not None and wish not in taken and is_free(wish) else choose(taken)
    return {name: ports[name] for name in names}
