"""Options that many commands share, and how a command is carried out.

Never here: one command's own options.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer

from services.cli.amounts import AmountInvalid, parse_amount, parse_limit
from services.cli.finding import Where, read_bank_file
from services.cli.output import Failure, fail
from services.domain.errors import BankError, DeadlinePassed, Malformed, OutcomeUnknown, Unavailable
from services.domain.identifiers import parse_account_number

if TYPE_CHECKING:
    from services.cli.session import Method, Session

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIRECTORY",
        envvar="HIVECORE_DATA",
        help="Data directory of a bank on this machine; this user's own bank when not given.",
        file_okay=False,
    ),
]
Gateway: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="HOST:PORT",
        envvar="HIVECORE_GATEWAY",
        help="A gateway, or tls://HOST:PORT, instead of --data.",
    ),
]
Token: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="HIVECORE_TOKEN",
        help="Bearer token; minted from the bank's own secret when not given, except with --gateway.",
    ),
]

ControlDsn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--control-dsn", metavar="DSN", envvar="HIVECORE_CONTROL_DSN", help="The control database of a bank elsewhere."
    ),
]
ShardDsns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--shard-dsn",
        envvar="HIVECORE_SHARD_DSNS",
        metavar="SHARD=DSN",
        help="A shard of a bank elsewhere; repeat for every shard (in the variable: white space between them).",
    ),
]


def account_number(text: str) -> str:
    """Let an account number through, and none at all; wrong usage when it is mistyped."""
    try:
        if text:
            parse_account_number(text)
    except Malformed as error:
        raise typer.BadParameter(f"{text!r} is {error.description}") from error
    return text


AccountNumber: TypeAlias = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="Account number, 16 digits.", callback=account_number)
]
Currency: TypeAlias = Annotated[
    str, typer.Option("--currency", metavar="CODE", help="ISO 4217 code, the currency of all accounts concerned.")
]
Reference: TypeAlias = Annotated[str, typer.Option("--reference", metavar="TEXT", help="Words for the statement.")]
OverrideLimits: TypeAlias = Annotated[
    bool, typer.Option("--override-limits", help="Set the payer's limits aside; needs scope limits.override.")
]

MetadataPairs: TypeAlias = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="What is kept with it; repeatable.")
]

Request = TypeVar("Request")
Result = TypeVar("Result")


def amount_of(text: str, currency_code: str, option: str = "--amount") -> int:
    """Read an amount into minor units; wrong usage when it is none."""
    try:
        return parse_amount(text, currency_code)
    except AmountInvalid as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def limit_of(text: str, currency_code: str, option: str) -> int:
    """Read an amount that may be zero into minor units; wrong usage when it is none."""
    try:
        return parse_limit(text, currency_code)
    except AmountInvalid as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def databases_of(where: Where, control_dsn: str | None, shard_dsns: list[str]) -> tuple[str | None, dict[int, str]]:
    """Tell which databases are meant: those given, or those of the bank on this machine."""
    given: dict[int, str] = {}
    for text in shard_dsns:
        shard_id, equals, dsn = text.partition("=")
        if not (equals and dsn and shard_id.isascii() and shard_id.isdigit()):
            raise typer.BadParameter("needs the form 1=postgresql://...", param_hint="--shard-dsn")
        given[int(shard_id)] = dsn
    if given:
        return control_dsn, given
    if control_dsn:
        raise typer.BadParameter("--control-dsn needs --shard-dsn for every shard")
    try:
        bank = read_bank_file(where)
    except Failure as error:
        fail(str(error))
    return bank.control_dsn, bank.shard_dsns


def metadata_of(pairs: list[str] | None) -> dict[str, str]:
    """Read KEY=VALUE, each key once; wrong usage when it is none."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not sign or key in found:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE with a key of its own", param_hint="--metadata")
        found[key] = value
    return found


async def ask_once(bank: "Session", method: "Method[Request, Result]", request: Request, chosen_id: str) -> Result:
    """Send what is done once per id; when no answer comes, say under which id to repeat it."""
    try:
        return await bank.call(method, request)
    except (OutcomeUnknown, DeadlinePassed, Unavailable) as error:
        again = f"repeat it safely with --id {chosen_id}"
        raise Failure(f"{error.message} ({error.reason}); {again}") from error


def with_bank(where: Where, work: Callable[["Session"], Awaitable[Result]]) -> Result:
    """Carry out `work` over a session with the bank; ends the command with a sentence when it cannot be."""
    from services.cli.session import Session, find

    async def main() -> Result:
        async with Session(find(where)) as bank:
            return await work(bank)

    return carry_out(main())


def carry_out(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work`; a circumstance ends the command with status 1 and one sentence."""
    try:
        return asyncio.run(work)
    except Failure as error:
        fail(str(error))
    except BankError as error:
        from services.cli.session import sentence_of

        fail(sentence_of(error))
    except KeyboardInterrupt:
        fail("interrupted: what was sent may have been done; the same command again does it once", 130)
