"""No log of any process and no metric has a token, a password, a key or a customer's name, whatever went wrong.

The bank speaks TLS and its roles have passwords; every call is logged (DEBUG). Calls of many kinds are made and
refused, tokens of every bad kind are shown, a database takes a password no more, a process dies, and
processes are started with settings that are wrong.
"""

import asyncio
import base64
import os
import re
import secrets
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import jwt
import pytest
from command_line import hivecore
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc
from small_bank import World, absent, leg, post

from services.chassis import roles
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli import channels, tokens, topology
from services.cli.bank import Bank
from services.cli.topology import BankOptions, NameDatabase

GIVEN_NAME, SURNAME = "Xaverius", "Quodlibetsky"
PATIENCE_SECONDS = 60.0
KEY_CHARACTERS = 40
"""So many of a key's base64 in a row give it away."""

ROOMS = ("account", "ledger", "gateway")


@dataclass
class Heard:
    """Everything that a bank said, by who said it, and what must not be in it, by what it is."""

    texts: dict[str, str]
    kept: dict[str, set[str]]

    def leaks(self, kind: str) -> list[str]:
        """Name who said something of a kind that must not be said."""
        return [name for name, text in self.texts.items() if any(secret in text for secret in self.kept[kind])]


@pytest.fixture(scope="module")
async def heard() -> AsyncIterator[Heard]:
    with tempfile.TemporaryDirectory(prefix="hivecore-test-") as name:
        place = Path(name)
        os.chmod(place, 0o755)  # noqa: PTH101 - nothing else waits on this loop yet
        async with EmbeddedPostgres(place / "server") as server:
            passwords = {role: secrets.token_urlsafe(24) for role in roles.ALL}
            options = BankOptions(data=place / "bank", shards=2, port=0, tls=True, log_level="DEBUG")
            databases = (topology.CONTROL_DATABASE, *map(topology.shard_database, (1, 2)))
            for database in databases:
                await server.ensure_database(database)
            for role, password in passwords.items():
                await _ask(server, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
            elsewhere = dict.fromkeys(databases, _named(server, passwords))
            async with (
                Bank.open(options, elsewhere=elsewhere) as running,
                channels.channel(running.gateway, running.credentials()) as channel,
            ):
                world = World(running, bank_pb2_grpc.BankStub(channel))
                shown = await _use(world)
                shown |= await _show_bad_tokens(world)
                said = await _start_wrongly(world, server, passwords)
                await _lose_databases(world, server, passwords)
                for number, metrics in enumerate(running.topology.metrics.values()):
                    said[f"metrics {number}"] = await asyncio.to_thread(_read, f"http://{metrics}/metrics")
                shown.add(world.token)
            logs = [*running.places.logs.glob("*.log*"), server.log]
            said |= {file.name: file.read_text(errors="replace") for file in logs}
            yield Heard(said, _kept(running, shown, {*passwords.values(), server.password()}))


def _named(server: EmbeddedPostgres, passwords: Mapping[str, str]) -> NameDatabase:
    def name(database: str, *, user: str = "postgres") -> str:
        own = server.tcp_dsn(database)
        return (
            own if user == "postgres" else own.replace(f"postgres:{server.password()}@", f"{user}:{passwords[user]}@")
        )

    return name


async def _ask(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _kept(running: Bank, shown: set[str], passwords: set[str]) -> dict[str, set[str]]:
    keys = running.places.certificates.directory.glob("*.key")
    pems = ["".join(key.read_text().splitlines()[1:-1]) for key in keys]
    secret = running.secret()
    return {
        "a token": shown,
        "a token's signature or claims": {part for token in shown for part in token.split(".")[1:] if part},
        "a password": passwords,
        "a connection string": {"postgresql://", "postgres://"},
        "the tokens' secret": {secret, base64.b64encode(secret.encode()).decode()},
        "a private key": {piece for pem in pems for piece in _pieces(pem)} | {"PRIVATE KEY"},
        "a customer's name": {GIVEN_NAME, SURNAME, GIVEN_NAME.upper(), SURNAME.upper()},
    }


def _pieces(pem: str) -> set[str]:
    """Cut a key into pieces that overlap, none short: four characters of base64 stand in a bank's words by chance."""
    last = len(pem) - KEY_CHARACTERS
    assert last > 0
    return {pem[place : place + KEY_CHARACTERS] for place in (*range(0, last, KEY_CHARACTERS // 2), last)}


async def _use(world: World) -> set[str]:
    """Let a customer with a name bank, be refused in many ways, and ask for what is not there; give other tokens used."""
    await world.fill()
    person = bank.Customer(display_name=f"{GIVEN_NAME} {SURNAME}")
    opening = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=person)
    named = await world.ask("OpenCustomer", opening)
    account = await world.open_account(named, "CZK")
    other = bank.Customer(display_name=f"{SURNAME} {GIVEN_NAME}")
    nobody = bank.GetAccountRequest(name=f"accounts/{absent(account)}")
    broken = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer(display_name=SURNAME * 200))
    transfer = post(leg("CASH", account, 500_00), reference=f"for {GIVEN_NAME}")
    hold = bank.Hold(hold_id=str(uuid4()), account=account, amount_minor=5, currency_code="CZK", hold_seconds=60)
    searched = bank.SearchTransfersRequest(parent=f"accounts/{account}", page_size=5)
    for method, request in (
        ("OpenCustomer", opening),
        ("OpenCustomer", bank.OpenCustomerRequest(request_id=opening.request_id, customer=other)),
        ("OpenCustomer", broken),
        ("GetCustomer", bank.GetCustomerRequest(name=named.name)),
        ("GetCustomer", bank.GetCustomerRequest(name=f"customers/{SURNAME}")),
        ("GetAccount", nobody),
        ("PostTransfer", transfer),
        ("PostTransfer", transfer),
        ("PostTransfer", post(leg(account, world.far, 10**9), reference=SURNAME)),
        ("PostTransfer", post(leg(account, world.far, 100), reference=SURNAME)),
        ("PostTransfer", post(leg(account, SURNAME, 1))),
        ("PostTransfer", post(leg(account, absent(world.far), 1))),
        ("PostTransfers", bank.PostTransfersRequest(transfers=[post(leg(account, world.mine)).transfer] * 2)),
        ("PlaceHold", bank.PlaceHoldRequest(hold=hold)),
        ("GetStatement", bank.GetStatementRequest(name=f"accounts/{account}")),
        ("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{account}")),
        ("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{account}", page_token=GIVEN_NAME)),
        ("SearchTransfers", searched),
        ("ListAuditTrail", bank.ListAuditTrailRequest()),
        ("GetGeneralLedger", bank.GetGeneralLedgerRequest()),
        ("ListShards", bank.ListShardsRequest()),
    ):
        await _try(world, method, request)
    limited = world.mint("accounts.read", customer=named.customer_number)
    await _try(world, "GetCustomer", bank.GetCustomerRequest(name=named.name), limited)
    await _try(world, "GetBalance", bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance"), limited)
    await _try(world, "PostTransfer", transfer, limited)
    return {limited}


async def _try(world: World, method: str, request: Any, token: str | None = None) -> None:
    try:
        await world.ask(method, request, token)
    except grpc.aio.AioRpcError as error:
        assert error.code() not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}, error  # noqa: PT017


async def _show_bad_tokens(world: World) -> set[str]:
    """Show tokens that are refused, each for another reason, and give them."""
    claims = jwt.decode(world.token, options={"verify_signature": False})
    bad = {
        world.mint(lifetime_seconds=-3600),
        tokens.mint(secrets.token_hex(32), subject=SURNAME),
        world.mint(issuer="somebody else"),
        world.mint(audience="somebody else"),
        world.token[:-6] + "AAAAAA",
        jwt.encode(claims, None, algorithm="none"),
        secrets.token_urlsafe(64),
    }
    balance = bank.GetBalanceRequest(name=f"accounts/{world.mine}/balance")
    for token in bad:
        assert (await world.told("GetBalance", balance, token)).code is grpc.StatusCode.UNAUTHENTICATED
    return bad


async def _start_wrongly(world: World, server: EmbeddedPostgres, passwords: Mapping[str, str]) -> dict[str, str]:
    """Start each process, and a command, with settings that are wrong and secret; give what they said."""
    environments = {program.name.partition("-")[0]: program.environment for program in world.bank.topology.programs}
    ledger, account = passwords[roles.LEDGER], passwords[roles.ACCOUNT]
    wrong = {
        "ledger": {"HIVECORE_SHARDS": f'{{"1": "postgresql://x:{ledger}@127.0.0.1:notaport/x"'},
        "account": {"HIVECORE_SHARDS": f'{{"1": {{"dsn": "postgresql://x:{account}@h/x", "ledgers": 5}}}}'},
        "gateway": {"HIVECORE_JWT_SECRET_FILE": str(world.bank.places.certificates.key_file("gateway"))},
    }
    wrong["gateway"]["HIVECORE_JWKS_FILE"] = wrong["gateway"]["HIVECORE_JWT_SECRET_FILE"]
    said = {}
    for room in ROOMS:
        said[f"{room}, told wrongly"] = await _fail(room, {**environments[room], **wrong[room]})
    del wrong["gateway"]["HIVECORE_JWT_SECRET_FILE"]
    environment = {**environments["gateway"], **wrong["gateway"]}
    del environment["HIVECORE_JWT_SECRET_FILE"]
    said["gateway, with a key for key set"] = await _fail("gateway", environment)
    unreachable = server.tcp_dsn("nothing")
    run = await hivecore("audit", "--shard-dsn", f"1={unreachable}")
    assert run.status == 1
    return said | {"hivecore audit": run.stdout + run.stderr}


async def _fail(room: str, environment: Mapping[str, str]) -> str:
    told = {**environment, "HIVECORE_LISTEN": "127.0.0.1:0", "HIVECORE_METRICS_LISTEN": "127.0.0.1:0"}
    told = {
        name: text for name, text in told.items() if name not in {"HIVECORE_ENDPOINT_FILE", "HIVECORE_STOP_WITH_PARENT"}
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", f"services.{room}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=told,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode != 0
    assert said
    return said.decode()


async def _lose_databases(world: World, server: EmbeddedPostgres, passwords: Mapping[str, str]) -> None:
    """Let the databases refuse the services' passwords for a while, kill a process meanwhile, and see all well again."""
    for role in (roles.LEDGER, roles.ACCOUNT):
        await _ask(server, f"ALTER ROLE {role} PASSWORD 'another'")
    await _ask(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'hivecore_%'")
    pid = world.bank.kill("ledger-2")
    for debit, credit in ((world.mine, world.neighbour), (world.far, world.mine)):
        await _try(world, "PostTransfer", post(leg(debit, credit), reference=SURNAME))
    await _try(
        world,
        "OpenCustomer",
        bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer(display_name=SURNAME)),
    )
    for role in (roles.LEDGER, roles.ACCOUNT):
        await _ask(server, f"ALTER ROLE {role} PASSWORD '{passwords[role]}'")
    await world.bank.wait_replaced("ledger-2", pid)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await world.ask("PostTransfer", post(leg(world.far, world.mine)))
            except grpc.aio.AioRpcError:
                continue
            return


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def test_everybody_was_heard_and_had_something_to_say_about_every_failure(heard: Heard) -> None:
    for name in ("gateway", "account", "ledger-1", "ledger-2"):
        assert len(heard.texts[f"{name}.log"].splitlines()) > 20, name
    assert sum(name.startswith("metrics") for name in heard.texts) == 4
    everything = "".join(heard.texts.values())
    for expected in ("TOKEN_INVALID", "INSUFFICIENT_FUNDS", "password authentication failed", "InvalidPasswordError"):
        assert expected in everything, expected
    assert re.search(r'hivecore_gateway_tokens_refused_total\{reason="TOKEN_INVALID"\} [1-9]', everything)


KINDS = (
    "a token",
    "a token's signature or claims",
    "a password",
    "a connection string",
    "the tokens' secret",
    "a private key",
    "a customer's name",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_said(kind: str, heard: Heard) -> None:
    assert len(heard.kept) == len(KINDS)
    assert heard.leaks(kind) == []
    # What is looked for would be found.
    secret = min(heard.kept[kind])
    assert Heard({"x": f"...{secret}..."}, heard.kept).leaks(kind) == ["x"]
