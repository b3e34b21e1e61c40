"""`hivecore token`: tokens are minted for a bank on this machine, and revoked for any."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from services.cli import topology
from services.cli.commands.options import AsJson, Data
from services.cli.data_directory import default_data_directory
from services.cli.finding import Where, read_bank_file
from services.cli.output import Failure, fail, show_json, show_line
from services.domain.errors import Malformed
from services.domain.identifiers import parse_customer_number

token = typer.Typer(invoke_without_command=True, help="Mint a token, or revoke some.")

STANDARD_INPUT = "-"


@token.callback()
def mint(
    context: typer.Context,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="What it allows; may be repeated. Everything when not given."),
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option(
            "--customer", metavar="CUSTOMER", help="Limit it to this customer (14 digits), without operator scope."
        ),
    ] = None,
    subject: Annotated[str, typer.Option("--subject", metavar="SUBJECT", help="Whose token it is.")] = "developer",
    channel: Annotated[
        str, typer.Option("--channel", metavar="CHANNEL", help="Through which channel its calls come.")
    ] = "cli",
    lifetime_seconds: Annotated[
        int, typer.Option("--lifetime", min=1, max=366 * 86_400, help="Seconds until it expires.")
    ] = 12 * 3600,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Mint a development token for a bank on this machine; or revoke some, of any bank."""
    if context.invoked_subcommand is not None:
        return
    from services.cli import tokens

    wanted = list(scopes or (tokens.SCOPES if customer is None else tokens.SCOPES_OF_CUSTOMER))
    if unknown := sorted(set(wanted) - set(tokens.SCOPES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(tokens.SCOPES)}", param_hint="--scope")
    if customer is not None:
        try:
            parse_customer_number(customer, "--customer")
        except Malformed as error:
            raise typer.BadParameter(error.description, param_hint="--customer") from error
    directory = data or default_data_directory()
    try:
        secret = tokens.read_secret(topology.Places(directory).jwt_secret_file)
    except FileNotFoundError:
        fail(f"there is no bank in {directory}: open one with `hivecore up`")
    except OSError as error:
        fail(f"{topology.Places(directory).jwt_secret_file}: {error.strerror}")
    minted = tokens.mint(
        secret, subject=subject, scopes=wanted, channel=channel, customer=customer, lifetime_seconds=lifetime_seconds
    )
    if as_json:
        expires = datetime.fromtimestamp(int(time.time()) + lifetime_seconds, UTC)
        expire_time = expires.isoformat().replace("+00:00", "Z")
        show_json({"token": minted, "scopes": wanted, "customer": customer, "expire_time": expire_time})
    else:
        show_line(minted)


TokenIds: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="TOKEN", help="A token or its id (jti); - reads them from standard input."),
]
Before: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        "--before",
        metavar="TIME",
        formats=["%Y-%m-%dT%H:%M:%S%z"],
        help="Of a subject, a channel, everybody: what was issued before (2026-03-01T00:00:00Z); now when not given.",
    ),
]
RevocationsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--file", dir_okay=False, help="The file that the gateways read; that of the bank when not given."),
]


@token.command()
def revoke(
    token_ids: TokenIds = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option("--subject", metavar="SUBJECT", help="Revoke what was issued to it; may be repeated."),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option("--channel", metavar="CHANNEL", help="Revoke what was issued for it; may be repeated."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Revoke whatever was issued.")] = False,
    before: Before = None,
    file: RevocationsFile = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Revoke tokens: gateways refuse them within two seconds. The file is written anew, sorted, with its comments.

    A token that is minted in the very second of the revocation may be revoked with those before it.
    """
    by_time = bool(subjects or channels or everybody)
    if not (token_ids or by_time):
        raise typer.BadParameter("nothing to revoke: give a token, --subject, --channel or --everybody")
    if before is not None and not by_time:
        raise typer.BadParameter("goes with --subject, --channel or --everybody", param_hint="--before")
    from services.cli import revoking

    moment = before or datetime.now(UTC)
    given = sys.stdin.read().split() if token_ids == [STANDARD_INPUT] else token_ids or []
    try:
        ids = [revoking.token_id(text) for text in given]
        place = file or read_bank_file(Where(data)).revocations_file
        revoking.revoke(
            place,
            lambda said: said.with_tokens(ids).with_issued_before(
                moment.timestamp(), subjects or (), channels or (), everybody=everybody
            ),
        )
    except Failure as error:
        fail(str(error))
    if not as_json:
        show_line(f"revoked in {place}")
        return
    issued_before = moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if by_time else None
    named = {"subjects": subjects or [], "channels": channels or [], "everybody": everybody}
    show_json({"file": str(place), "token_ids": ids, **named, "issued_before": issued_before})
