"""The command line refuses wrong usage before it does anything, and says why in one sentence."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.cli.ids import new_id, request_id

COMMANDS = [
    ["up"],
    ["demo"],
    ["token"],
    ["token", "revoke"],
    ["customer", "open"],
    ["customer", "show"],
    ["account", "open"],
    ["account", "show"],
    ["account", "list"],
    ["account", "state"],
    ["account", "limits"],
    ["hold", "place"],
    ["hold", "increase"],
    ["hold", "capture"],
    ["hold", "release"],
    ["hold", "show"],
    ["hold", "list"],
    ["transfer"],
    ["reverse"],
    ["balance"],
    ["statement"],
    ["import"],
    ["pay"],
    ["payroll"],
    ["shards"],
    ["audit"],
]
ACCOUNT = "0000000000000195"
MISTYPED = "0000000000000196"
TRANSFER_ID = "01234567-89ab-cdef-0123-456789abcdef"
HOLD = ["hold"]
TRANSFER = ["transfer", "--from", ACCOUNT, "--to", "CASH", "--currency", "CZK"]
CUSTOMERS_HEADER = "customer_ref,birth_date,gender,district\n"
ACCOUNTS_HEADER = "account_ref,customer_ref,currency,opened_on,branch_district\n"

runner = CliRunner()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_has_json(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*TRANSFER], "--amount"),
        ([*TRANSFER, "--amount", "12.505"], "2 decimal places"),
        ([*TRANSFER, "--amount", "12,50"], "is not an amount"),
        ([*TRANSFER, "--amount", "0"], "outside of what one transfer may move"),
        ([*TRANSFER, "--amount", "1", "--remittance", "x"], "go with --to NOSTRO.<bank>"),
        (["transfer", "--from", ACCOUNT, "--to", "CASH", "--currency", "KCS", "--amount", "1"], "'KCS'"),
        (["customer", "show"], "either the number or --reference"),
        (["customer", "show", "1", "--reference", "2"], "either the number or --reference"),
        (["account", "show"], "either the number or --reference"),
        (["statement", ACCOUNT, "--page-size", "0"], "--page-size"),
        (["statement", MISTYPED], f"'{MISTYPED}' is not an account number"),
        (["balance", "CASH"], "'CASH' is not an account number"),
        (["account", "show", MISTYPED], f"'{MISTYPED}' is not an account number"),
        (["reverse", MISTYPED, TRANSFER_ID], f"'{MISTYPED}' is not an account number"),
        (["transfers", "search", MISTYPED], f"'{MISTYPED}' is not an account number"),
        (["transfers", "search", "--counterparty", MISTYPED], f"'{MISTYPED}' is not an account number"),
        ([*HOLD, "list", MISTYPED], f"'{MISTYPED}' is not an account number"),
        ([*HOLD, "place", ACCOUNT, "--currency", "CZK", "--amount", "1.001"], "2 decimal places"),
        ([*HOLD, "place", ACCOUNT, "--currency", "CZK", "--amount", "1", "--seconds", "-1"], "--seconds"),
        (["reverse", ACCOUNT, TRANSFER_ID, "--amount", "1"], "--amount and --currency go together"),
        (["account", "state", ACCOUNT, "sleeping", "--reason", "x"], "'sleeping' is not one of"),
        (["account", "state", ACCOUNT, "frozen"], "--reason"),
        (["account", "limits", ACCOUNT, "--reason", "x"], "nothing to change"),
        (["account", "limits", ACCOUNT, "--reason", "x", "--day-count", "5", "--no-limits"], "none of the four"),
        (["token", "--scope", "everything"], "everything: not one of accounts.read"),
        (["token", "--customer", "12345678901234"], "not a customer number"),
        (["token", "--lifetime", "0"], "--lifetime"),
        (["token", "revoke"], "nothing to revoke"),
        (["token", "revoke", "x", "--before", "2026-03-01T00:00:00Z"], "goes with --subject"),
        (["token", "revoke", "--everybody", "--before", "2026-03-01"], "--before"),
        (["import"], "nothing to import"),
        (["audit", "--shard-dsn", "postgresql://somewhere"], "needs the form 1=postgresql://"),
        (["audit", "--control-dsn", "postgresql://somewhere"], "needs --shard-dsn"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_the_reason(arguments: list[str], said: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        ["customer", "open"],
        ["balance", ACCOUNT],
        ["statement", ACCOUNT],
        [*TRANSFER, "--amount", "1"],
        ["reverse", ACCOUNT, TRANSFER_ID],
        ["hold", "release", ACCOUNT, TRANSFER_ID],
        ["account", "state", ACCOUNT, "frozen", "--reason", "x"],
        ["account", "limits", ACCOUNT, "--reason", "x", "--overdraft", "0"],
        ["shards"],
        ["audit"],
        ["token"],
        ["token", "revoke", "x"],
    ],
    ids=" ".join,
)
def test_without_a_bank_a_command_says_where_it_looked(command: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*command, "--data", str(tmp_path), "--json"])
    assert result.exit_code == 1
    assert result.stderr.startswith("hivecore: ")
    assert str(tmp_path) in result.stderr
    assert result.stdout == ""


def test_a_bank_file_that_is_not_readable_is_said(tmp_path: Path) -> None:
    (tmp_path / "bank.json").write_text('{"gateway": 1}')
    result = runner.invoke(app, ["shards", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "bank.json is not readable" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gateway", "127.0.0.1:1"], "--gateway needs a token"),
        (["--gateway", "nowhere", "--token", "x"], "--gateway: 'nowhere' is not host:port"),
        (["--gateway", "127.0.0.1:1", "--token", "x"], "no gateway answers at 127.0.0.1:1"),
    ],
)
def test_a_gateway_that_cannot_be_used_is_said(arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["shards", *arguments])
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("customers.csv", "customer,birth\n", "missing 'customer_ref'"),
        ("accounts.csv", CUSTOMERS_HEADER, "missing 'account_ref'"),
        ("accounts.csv", "", "has no header"),
    ],
)
def test_a_wrong_header_is_told_before_a_bank_is_looked_for(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    result = runner.invoke(app, ["import", str(tmp_path), "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert said in result.stderr
    assert str(tmp_path / name) in result.stderr


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = runner.invoke(app, ["pay", str(tmp_path / "payments.csv")])
    assert result.exit_code == 1
    assert "payments.csv: No such file" in result.stderr


def test_a_funding_that_no_account_could_take_is_refused_before_a_bank_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text(ACCOUNTS_HEADER + "A1,C1,JPY,2015-03-24,18\n")
    result = runner.invoke(app, ["import", str(tmp_path), "--fund", "10.50", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "JPY, which has no decimal places" in " ".join(result.stderr.split())


def test_a_token_says_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "jwt.secret").write_text("0123456789abcdef" * 4)
    arguments = ["token", "--data", str(tmp_path), "--scope", "accounts.read", "--channel", "app", "--lifetime", "60"]
    result = runner.invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0
    token = json.loads(result.stdout)["token"]
    claims = jwt.decode(token, "0123456789abcdef" * 4, algorithms=["HS256"], audience="hivecore", issuer="hivecore")
    assert (claims["scope"], claims["channel"]) == ("accounts.read", "app")
    assert claims["exp"] - claims["iat"] == 60


def test_a_token_of_a_customer_may_not_operate_the_bank(tmp_path: Path) -> None:
    (tmp_path / "jwt.secret").write_text("0123456789abcdef" * 4)
    customer = "00000000000195"
    result = runner.invoke(app, ["token", "--data", str(tmp_path), "--customer", customer])
    claims = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
    assert claims["customer"] == customer
    assert claims["scope"] == "accounts.read transfers.write"


def test_new_ids_are_of_version_7_and_never_the_same() -> None:
    ids = [new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {(UUID(each).version, UUID(each).variant) for each in ids} == {(7, UUID(ids[0]).variant)}


def test_the_ids_that_files_give_never_change() -> None:
    assert request_id("payment", "CZ-O29401") == request_id("payment", "CZ-O29401")
    assert request_id("payment", "CZ-O29401") == "26d81acc-06e2-5dad-8ba7-752334a24310"
    assert request_id("payment", "X") != request_id("funding", "X")


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    heavy = ("asyncpg", "cryptography", "grpc", "pydantic", "uvloop")
    script = f"import sys, services.cli.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
