"""`hivecore up`, `demo`, `shards`, `audit` and `migrate`: the bank itself, its state and its soundness."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from services.cli import topology
from services.cli.commands.options import (
    AsJson,
    ControlDsn,
    Data,
    Gateway,
    ShardDsns,
    Token,
    carry_out,
    databases_of,
    with_bank,
)
from services.cli.data_directory import default_data_directory
from services.cli.finding import Where
from services.cli.output import Failure, fail, show_json, show_table

if TYPE_CHECKING:
    from hivecore.gateway.v1 import bank_pb2

    from services.cli.session import Session


AllowancesFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--allowances", dir_okay=False, help="TOML file of rates and quotas per channel; none when not given."
    ),
]
RevocationsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--revocations",
        dir_okay=False,
        help="TOML file of revoked tokens; revocations.toml in the data directory when not given.",
    ),
]


def up(
    data: Data = None,
    shards: Annotated[
        int | None, typer.Option("--shards", help="Shards; as many as the bank has, 4 when it is new.")
    ] = None,
    standbys: Annotated[int, typer.Option("--standbys", help="Further ledgers per shard that stand by.")] = 0,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=topology.GATEWAYS_MAX, help="Gateway processes.")
    ] = 1,
    tls: Annotated[
        bool, typer.Option("--tls", help="TLS at the gateway, mutual TLS between services, from an own authority.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The first gateway's port; 0: any free one.")
    ] = topology.GATEWAY_PORT_DEFAULT,
    customer_quota: Annotated[
        int | None, typer.Option("--customer-quota", help="Customers that one shard takes; 5,000,000 when new.")
    ] = None,
    currencies: Annotated[
        str | None,
        typer.Option("--currencies", metavar="CODES", help="Comma separated ISO 4217 codes; CZK,EUR,USD when new."),
    ] = None,
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO",
    postgres_programs: Annotated[
        Path | None, typer.Option("--postgres-programs", help="Directory of other PostgreSQL programs.")
    ] = None,
    allowances: AllowancesFile = None,
    revocations: RevocationsFile = None,
    as_json: AsJson = False,
) -> None:
    """Open a bank on this machine, until Ctrl-C; its data stays."""
    from services.cli.up import up as open_bank

    options = topology.BankOptions(
        data=data or default_data_directory(),
        shards=shards,
        standbys=standbys,
        gateways=gateways,
        tls=tls,
        port=port,
        customer_quota=customer_quota,
        currencies=tuple(code.strip() for code in currencies.split(",")) if currencies else None,
        log_level=log_level,
        postgres_programs=postgres_programs,
        allowances=allowances,
        revocations=revocations,
    )
    try:
        open_bank(options, as_json=as_json)
    except Failure as error:
        fail(str(error))


def shards(data: Data = None, gateway: Gateway = None, token: Token = None, as_json: AsJson = False) -> None:
    """Show how full the shards are and who writes them."""

    async def work(bank: "Session") -> "list[bank_pb2.Shard]":
        from hivecore.gateway.v1 import bank_pb2

        return list((await bank.call(bank.stub.ListShards, bank_pb2.ListShardsRequest())).shards)

    found = with_bank(Where(data, gateway, token), work)
    from services.cli.views import shard_view

    views = [shard_view(shard) for shard in found]
    if as_json:
        show_json({"shards": views})
        return
    columns = (
        "shard_id",
        "customer_count",
        "customer_quota",
        "slot_count",
        "writer",
        "writer_epoch",
        "last_sequence",
        "crossings_in_flight_count",
        "promises_open_count",
        "ledger_addresses",
    )
    titles = (
        "shard",
        "customers",
        "quota",
        "slots",
        "writer",
        "epoch",
        "last sequence",
        "in flight",
        "promised",
        "ledgers",
    )
    show_table("", titles, [[view[column] for column in columns] for view in views])


def audit(
    data: Data = None,
    control_dsn: ControlDsn = None,
    shard_dsns: ShardDsns = None,
    in_flight_seconds_max: Annotated[
        float | None,
        typer.Option("--in-flight-seconds-max", min=0, help="How long money may be on its way between shards."),
    ] = None,
    chain: Annotated[
        bool,
        typer.Option("--chain", help="Prove instead that no row was changed, deleted or inserted since it was sealed."),
    ] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="HASH", help="A hash kept from before that a chain must have; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the invariants over the books of all shards, or with --chain that the journal is as it was sealed.

    Works while traffic flows. Exit status 1 when something does not hold, after showing the evidence.
    """
    if chain or expect:
        _audit_chain(databases_of(Where(data), control_dsn, shard_dsns or [])[1], expect or [], as_json=as_json)
        return
    from services.cli.auditing import audit_bank, report_view, show_report

    control_dsn, given = databases_of(Where(data), control_dsn, shard_dsns or [])
    report = carry_out(audit_bank(control_dsn, given, in_flight_seconds_max))
    if as_json:
        show_json(report_view(report))
    else:
        show_report(report)
    if not report.clean:
        raise typer.Exit(1)


def _audit_chain(shard_dsns: Mapping[int, str], expect: Sequence[str], *, as_json: bool) -> None:
    from services.cli.auditing import audit_chains, chain_view, show_chains

    try:
        expected = frozenset(map(bytes.fromhex, expect))
    except ValueError as error:
        raise typer.BadParameter("64 hexadecimal digits", param_hint="--expect") from error
    report = carry_out(audit_chains(shard_dsns, expected))
    if as_json:
        show_json(chain_view(report))
    else:
        show_chains(report)
    if not report.clean:
        raise typer.Exit(1)


def migrate(
    data: Data = None,
    control_dsn: ControlDsn = None,
    shard_dsns: ShardDsns = None,
    makes_roles: Annotated[
        bool, typer.Option("--make-roles", help="Make the roles of the services too, where they are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring all databases of a bank to this release, as the owner of their schemas.

    `hivecore up` does this by itself. Services that run with HIVECORE_MIGRATE=0 wait for it.
    """
    from services.cli.migrating import migrate_bank

    control_dsn, given = databases_of(Where(data), control_dsn, shard_dsns or [])
    done = carry_out(migrate_bank(control_dsn, given, makes_roles=makes_roles))
    if as_json:
        show_json([each._asdict() for each in done])
    else:
        show_table("", ("database", "migrations applied"), done)


def demo(data: Data = None, as_json: AsJson = False) -> None:
    """Open a bank, move money in it, audit it, and end.

    Four shards; money moves in every way there is. Without --data the bank is temporary. Exit status 1 when anything is not as expected.
    """
    from services.cli.demo import run_demo
    from services.cli.up import inherited_environment

    if not carry_out(run_demo(data, inherited_environment(), as_json=as_json)):
        raise typer.Exit(1)
