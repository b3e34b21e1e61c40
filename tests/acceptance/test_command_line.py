"""The `hivecore` command against a whole bank: every process over its sockets, the command as its own process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from command_line import User, hivecore, open_bank

from services.cli import tokens
from services.cli.ids import new_id

CUSTOMERS = "customer_ref,birth_date,gender,district\n"
ACCOUNTS = "account_ref,customer_ref,currency,opened_on,branch_district\n"
PAYMENTS = "payment_ref,debit_account_ref,creditor_bank,creditor_account,amount,currency,category\n"


@pytest.fixture(scope="module")
async def user(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[User]:
    async with open_bank(tmp_path_factory.mktemp("bank")) as opened:
        yield opened


async def test_customers_and_accounts_are_opened_shown_and_listed(user: User) -> None:
    customer = await user.get("customer", "open", "--reference", "L-1", "--name", "Jana Nováková")
    number = customer["customer_number"]
    assert (customer["external_reference"], customer["display_name"]) == ("L-1", "Jana Nováková")
    assert await user.get("customer", "show", number) == customer
    assert await user.get("customer", "show", "--reference", "L-1") == customer
    first = await user.get("account", "open", number, "--currency", "CZK", "--reference", "L-1-A")
    second = await user.get("account", "open", number, "--currency", "EUR")
    assert (first["state"], first["customer_number"], first["currency_code"]) == ("ACTIVE", number, "CZK")
    assert await user.get("account", "show", first["account_number"]) == first
    assert await user.get("account", "show", "--reference", "L-1-A") == first
    assert await user.get("account", "list", number) == {"accounts": [first, second]}
    shown = await user.run("account", "list", number)
    assert first["account_number"] in shown.stdout
    assert "L-1-A" in shown.stdout


async def test_opening_again_under_the_same_id_opens_nothing_new(user: User) -> None:
    request = new_id()
    first = await user.get("customer", "open", "--id", request)
    assert await user.get("customer", "open", "--id", request) == first
    assert "REQUEST_ID_REUSED" in await user.refused("customer", "open", "--id", request, "--name", "Somebody else")


async def test_money_moves_once_per_id_and_the_statement_says_so(user: User) -> None:
    payer, payee = await user.open_account(), await user.open_account()
    await user.transfer("CASH", payer, "100.00", "--reference", "opening")
    transfer_id = new_id()
    moved = await user.transfer(payer, payee, "12.5", "--id", transfer_id, "--reference", "rent")
    assert (moved["state"], moved["transfer_id"], moved["legs"][0]["amount_minor"]) == ("POSTED", transfer_id, 1_250)
    assert (await user.transfer(payer, payee, "12.5", "--id", transfer_id, "--reference", "rent"))["state"] == "POSTED"
    assert (await user.balance_minor(payer), await user.balance_minor(payee)) == (8_750, 1_250)

    newest = await user.get("statement", payer, "--page-size", "1")
    assert [entry["amount"] for entry in newest["entries"]] == ["-12.50"]
    assert newest["entries"][0]["transfer_id"] == transfer_id
    rest = await user.get("statement", payer, "--page-size", "1", "--page-token", newest["next_page_token"])
    assert [(entry["amount"], entry["reference"]) for entry in rest["entries"]] == [("100.00", "opening")]
    assert rest["next_page_token"] == ""
    whole = await user.get("statement", payer, "--oldest-first", "--all", "--page-size", "1")
    assert [entry["version"] for entry in whole["entries"]] == [1, 2]
    shown = await user.run("transfer", "--from", payer, "--to", payee, "--amount", ".50", "--currency", "CZK")
    assert "POSTED" in shown.stdout
    assert "0.50 CZK" in shown.stdout
    assert "87.00" in (await user.run("balance", payer)).stdout
    assert "rent" in (await user.run("statement", payee)).stdout


async def test_money_is_set_aside_used_and_freed(user: User) -> None:
    payer, payee = await user.open_account(), await user.open_account()
    await user.transfer("CASH", payer, "100.00")
    crowns = ("--currency", "CZK")
    hold_id = new_id()
    placing = ("hold", "place", payer, "--amount", "30", *crowns, "--id", hold_id, "--reference", "hotel")
    placed = await user.get(*placing)
    assert (placed["hold_id"], placed["state"], placed["amount_minor"]) == (hold_id, "OPEN", 3_000)
    assert await user.get(*placing) == placed
    assert await user.get("hold", "show", payer, hold_id) == placed
    increased = await user.get("hold", "increase", payer, hold_id, "--amount", "20", *crowns, "--seconds", "60")
    assert (increased["amount"], increased["reference"]) == ("50.00", "hotel")
    assert (await user.get("hold", "list", payer))["holds"] == [increased]
    assert (await user.get("balance", payer))["held_minor"] == 5_000
    captured = await user.get("hold", "capture", payer, hold_id, "--to", payee, "--amount", "45", *crowns)
    assert (captured["state"], captured["captured_hold_id"]) == ("POSTED", hold_id)
    assert "HOLD_ALREADY_CAPTURED" in await user.refused("hold", "release", payer, hold_id)
    other = await user.get("hold", "place", payer, "--amount", "1", *crowns, "--payee", payee)
    assert other["hold_id"] in (await user.run("hold", "list", payer)).stdout
    assert (await user.get("hold", "release", payer, other["hold_id"]))["state"] == "RELEASED"
    kinds = [entry["kind"] for entry in (await user.get("statement", payer))["entries"]]
    assert kinds == ["HOLD_RELEASED", "HOLD_PLACED", "TRANSFER", "HOLD_INCREASED", "HOLD_PLACED", "TRANSFER"]


async def test_a_transfer_is_given_back(user: User) -> None:
    payer, payee = await user.open_account(), await user.open_account()
    await user.transfer("CASH", payer, "100.00")
    moved = await user.transfer(payer, payee, "40.00")
    original = (payer, moved["transfer_id"])
    part = await user.get("reverse", *original, "--amount", "15", "--currency", "CZK", "--reference", "sorry")
    assert (part["reversed_transfer_id"], part["reference"], part["actor"]) == (original[1], "sorry", "developer")
    assert part["legs"][0]["amount"] == "15.00"
    assert "REVERSAL_EXCEEDS_ORIGINAL" in await user.refused("reverse", *original)
    await user.transfer(payee, "CASH", "20.00")
    rest = ("reverse", *original, "--amount", "25", "--currency", "CZK")
    assert "INSUFFICIENT_FUNDS" in await user.refused(*rest)
    assert "POSTED" in (await user.run(*rest, "--overdraw")).stdout
    assert (await user.balance_minor(payer), await user.balance_minor(payee)) == (10_000, -2_000)


async def test_what_an_account_may_do_is_changed(user: User) -> None:
    account, other = await user.open_account(), await user.open_account()
    change = ("account", "limits", account, "--reason", "agreed")
    changed = await user.get(*change, "--overdraft", "50", "--transfer-max", "20.00", "--day-count", "2")
    assert changed == {
        "account_number": account,
        "currency_code": "CZK",
        "floor": "-50.00",
        "floor_minor": -5_000,
        "balance_max": None,
        "balance_minor_max": None,
        "transfer_max": "20.00",
        "transfer_minor_max": 2_000,
        "day_max": None,
        "day_minor_max": None,
        "day_count_max": 2,
    }
    pay = ("transfer", "--from", account, "--to", other, "--currency", "CZK", "--amount")
    assert "TRANSFER_LIMIT" in await user.refused(*pay, "20.01")
    assert (await user.get(*pay, "20.01", "--override-limits"))["override_limits"]
    assert (await user.get(*pay, "1"))["state"] == "POSTED"
    assert "DAY_COUNT_LIMIT" in await user.refused(*pay, "1")
    await user.get(*change, "--no-limits", "--customer-day-max", "25")
    assert "CUSTOMER_DAY_LIMIT" in await user.refused(*pay, "25.01")
    assert (await user.get(*change, "--customer-day-max", "none"))["customer_day_minor_max"] is None
    assert (await user.get(*pay, "25.01"))["state"] == "POSTED"
    assert "is not an amount" in await user.refused(*change, "--overdraft", "much")
    frozen = await user.get("account", "state", account, "debits-frozen", "--reason", "court order")
    assert frozen["state"] == "DEBITS_FROZEN"
    assert (await user.get("account", "show", account))["state"] == "DEBITS_FROZEN"
    assert "DEBITS_FROZEN" in await user.refused(*pay, "1")
    assert "STATE_MAY_NOT_FOLLOW" in await user.refused("account", "state", account, "closed", "--reason", "x")


async def test_every_no_is_one_sentence_with_its_reason(user: User) -> None:
    payer, payee, euros = await user.open_account(), await user.open_account(), await user.open_account("EUR")

    async def no(debit: str, credit: str, amount: str = "1.00", *more: str) -> str:
        leg = ("--from", debit, "--to", credit, "--amount", amount, "--currency", "CZK")
        return await user.refused("transfer", *leg, *more)

    assert "INSUFFICIENT_FUNDS" in await no(payer, payee)
    assert "CREDIT_CURRENCY_MISMATCH" in await no("CASH", euros)
    assert "ACCOUNT_NUMBER_INVALID" in await no("CASH", payee[:-1] + str((int(payee[-1]) + 1) % 10))
    assert "SAME_ACCOUNT" in await no(payer, payer)
    assert "UUID_INVALID" in await no("CASH", payee, "1.00", "--id", "not-a-uuid")
    several = await no("x", "y")
    assert "debit_account" in several
    assert "credit_account" in several
    transfer_id = new_id()
    await user.transfer("CASH", payee, "5.00", "--id", transfer_id)
    assert "TRANSFER_ID_REUSED" in await no("CASH", payee, "6.00", "--id", transfer_id)
    assert "NOT_FOUND" in await user.refused("customer", "show", "--reference", "nobody")
    assert "ACCOUNT_REFERENCE_NOT_FOUND" in await user.refused("account", "show", "--reference", "nothing")
    assert await user.balance_minor(payee) == 500


async def test_a_token_that_is_old_or_too_narrow_is_refused_with_its_reason(user: User) -> None:
    async def refused(token: str) -> str:
        run = await hivecore("shards", "--gateway", user.bank.gateway, environment={"HIVECORE_TOKEN": token})
        assert run.status == 1
        return run.stderr

    expired = tokens.mint(user.bank.secret(), subject="test", lifetime_seconds=-3_600)
    narrow = (await user.get("token", "--scope", "accounts.read"))["token"]
    assert "TOKEN_EXPIRED" in await refused(expired)
    assert "SCOPE_MISSING" in await refused(narrow)
    assert "TOKEN_INVALID" in await refused("nonsense")


async def test_files_are_imported_and_paid_once_and_bad_rows_are_told_by_line(user: User, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text(
        CUSTOMERS + "T-C1,1990-12-13,F,18\nT-C2,1965-02-30,M,1\nT-C3,,,\nT-C1,1990-12-13,F,18\n"
    )
    (tmp_path / "accounts.csv").write_text(
        ACCOUNTS
        + "T-A1,T-C1,CZK,2015-03-24,18\nT-A2,T-C2,CZK,2013-02-26,1\nT-A3,T-C3,KCS,2013-02-26,1\n"
        + "T-A4,T-C3,EUR,,\nT-A5,T-C3\nT-A6,,EUR,,\n"
    )
    (tmp_path / "payments.csv").write_text(
        PAYMENTS
        + "T-P1,T-A1,TA,111,60.00,CZK,household\nT-P2,T-A1,TB,222,60.00,CZK,\nT-P3,T-A4,TA,333,10.25,EUR,loan\n"
        + "T-P4,T-A9,TA,444,1.00,CZK,\nT-P5,T-A1,TA,555,1.005,CZK,\nT-P6,T-A1,TB,666,39.99,CZK,loan\n"
    )
    reports = []
    for _ in range(2):
        imported = await user.run("import", tmp_path, "--fund", "100.00", "--json")
        paid = await user.run("pay", tmp_path, "--json")
        assert (imported.status, paid.status) == (1, 1)
        check_import(imported.json)
        check_payments(paid.json)
        reports.append((paid.json["totals"], await balances_of(user, "T-A1", "T-A4")))
    assert reports[0] == reports[1]
    assert reports[1][1] == {"T-A1": 1, "T-A4": 8_975}
    shown = await user.run("pay", tmp_path / "payments.csv")
    assert "INSUFFICIENT_FUNDS" in shown.stdout
    assert "T-P4" in shown.stdout


def check_import(report: Any) -> None:
    def lines(what: str) -> list[tuple[int, str]]:
        assert report[what]["undecided"] == 0
        return [(row["line"], row["reason"]) for row in report[what]["refused_rows"]]

    assert (report["customers"]["rows"], report["customers"]["done"]) == (4, 2)
    assert lines("customers") == [(3, "FIELD_INVALID"), (5, "REFERENCE_REPEATED")]
    assert (report["accounts"]["rows"], report["accounts"]["done"]) == (6, 2)
    assert lines("accounts") == [
        (3, "CUSTOMER_REFERENCE_NOT_FOUND"),
        (4, "FIELD_INVALID"),
        (6, "ROW_MALFORMED"),
        (7, "FIELD_INVALID"),
    ]
    assert (report["funding"]["rows"], report["funding"]["done"]) == (2, 2)


def check_payments(report: Any) -> None:
    payments = report["payments"]
    assert (payments["rows"], payments["done"], payments["undecided"]) == (6, 3, 0)
    assert [(row["line"], row["reason"]) for row in payments["refused_rows"]] == [
        (3, "INSUFFICIENT_FUNDS"),
        (5, "ACCOUNT_REFERENCE_NOT_FOUND"),
        (6, "FIELD_INVALID"),
    ]
    totals = {(total["bank_code"], total["currency_code"]): total for total in report["totals"]}
    assert {key: (total["file"], total["posted"], total["nostro"]) for key, total in totals.items()} == {
        ("TA", "CZK"): ("61.00", "60.00", "60.00"),
        ("TA", "EUR"): ("10.25", "10.25", "10.25"),
        ("TB", "CZK"): ("99.99", "39.99", "39.99"),
    }


async def balances_of(user: User, *references: str) -> dict[str, int]:
    found = {}
    for reference in references:
        account = await user.get("account", "show", "--reference", reference)
        found[reference] = await user.balance_minor(account["account_number"])
    return found


async def test_a_payment_run_waits_for_a_ledger_that_was_killed(user: User, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text(CUSTOMERS + "".join(f"K-C{number},,,\n" for number in range(8)))
    (tmp_path / "accounts.csv").write_text(ACCOUNTS + "".join(f"K-A{n},K-C{n},CZK,,\n" for n in range(8)))
    (tmp_path / "payments.csv").write_text(PAYMENTS + "".join(f"K-P{n},K-A{n % 8},KA,1,1.00,CZK,\n" for n in range(80)))
    await user.get("import", tmp_path, "--fund", "10.00")
    user.bank.kill("ledger-2")
    paid = await user.get("pay", tmp_path)
    assert (paid["payments"]["done"], paid["totals"][0]["nostro"]) == (80, "80.00")


async def test_accounts_are_imported_for_customers_that_are_in_no_file(user: User, tmp_path: Path) -> None:
    await user.get("customer", "open", "--reference", "U-C1")
    (tmp_path / "more.csv").write_text(ACCOUNTS + "U-A1,U-C1,CZK,,\nU-A2,U-C9,CZK,,\n")
    run = await user.run("import", "--accounts", tmp_path / "more.csv", "--json")
    assert run.status == 1
    assert (run.json["accounts"]["done"], list(run.json)) == (1, ["accounts"])
    assert [row["line"] for row in run.json["accounts"]["refused_rows"]] == [3]


async def test_an_account_that_was_funded_is_not_funded_with_another_amount(user: User, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text(CUSTOMERS + "V-C1,,,\n")
    (tmp_path / "accounts.csv").write_text(ACCOUNTS + "V-A1,V-C1,CZK,,\n")
    assert (await user.run("import", tmp_path, "--fund", "5.00")).status == 0
    again = await user.run("import", tmp_path, "--fund", "6.00", "--json")
    assert again.status == 1
    assert again.json["funding"]["count_by_reason"] == {"TRANSFER_ID_REUSED": 1}
    assert await balances_of(user, "V-A1") == {"V-A1": 500}


async def test_a_token_without_the_scope_ends_an_import_with_one_sentence(user: User, tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text(CUSTOMERS + "W-C1,,,\n")
    token = (await user.get("token", "--scope", "accounts.read"))["token"]
    run = await user.run("import", tmp_path, "--token", token)
    assert (run.status, run.stdout) == (1, "")
    assert "SCOPE_MISSING" in run.stderr


async def test_shards_and_audit_show_the_whole_bank(user: User) -> None:
    shards = (await user.get("shards"))["shards"]
    assert [shard["shard_id"] for shard in shards] == [1, 2, 3, 4]
    assert all(shard["writer"] for shard in shards)
    report = await user.get("audit", "--in-flight-seconds-max", "5")
    assert report["is_clean"]
    assert {each["verdict"] for each in report["invariants"]} == {"holds"}
    shown = await user.run("audit")
    assert shown.status == 0
    assert "the books are sound" in shown.stdout


async def test_the_demonstration_ends_by_itself_as_expected(tmp_path: Path) -> None:
    run = await hivecore("demo", "--data", tmp_path / "demo", "--json")
    assert run.status == 0, run.stdout + run.stderr
    assert run.json["is_as_expected"]
    assert {step["found"] for step in run.json["steps"]} >= {
        "POSTED",
        "INSUFFICIENT_FUNDS",
        "TRANSFER_ID_REUSED",
        "EXPIRED, 0.00 held",
        "HOLD_ALREADY_CAPTURED",
        "TRANSFER_LIMIT",
        "DEBITS_FROZEN",
        "REVERSAL_EXCEEDS_ORIGINAL",
        "clean",
    }


async def test_a_transfer_of_several_legs_moves_all_or_nothing(user: User) -> None:
    first, second, third = [await user.open_account() for _ in range(3)]
    await user.transfer("CASH", first, "100.00")
    moved = await user.transfer(
        first, second, "10.00", "--and", f"{first}:{third}:20.00", "--and", f"CASH:{third}:1.00"
    )
    assert (moved["state"], len(moved["legs"])) == ("POSTED", 3)
    assert [await user.balance_minor(each) for each in (first, second, third)] == [70_00, 10_00, 21_00]
    spell = ["--from", first, "--to", second, "--amount", "1.00", "--currency", "CZK", "--and"]
    assert "INSUFFICIENT_FUNDS" in await user.refused("transfer", *spell, f"{third}:{first}:21.01")
    assert [await user.balance_minor(each) for each in (first, second, third)] == [70_00, 10_00, 21_00]
    assert (await user.run("transfer", *spell, "nonsense")).status == 2


async def test_a_payroll_is_paid_once_and_to_everybody(user: User, tmp_path: Path) -> None:
    employer, *employees = [await user.open_account() for _ in range(6)]
    await user.transfer("CASH", employer, "1000.00")
    file = tmp_path / "salaries.csv"
    file.write_text("account,amount\n" + "".join(f"{each},{place}00.00\n" for place, each in enumerate(employees, 1)))
    refused = await user.refused("payroll", file, "--from", employer, "--currency", "CZK")
    assert refused.startswith(f"hivecore: nobody is paid: line 6, {employees[4]}:")
    assert "INSUFFICIENT_FUNDS" in refused
    await user.transfer("CASH", employer, "500.00")
    for _ in range(2):
        paid = await user.get("payroll", file, "--from", employer, "--currency", "CZK", "--reference", "May")
        assert (paid["state"], paid["payees"], paid["total"]) == ("POSTED", 5, "1500.00")
        assert await user.balance_minor(employer) == 0
    assert [await user.balance_minor(each) for each in employees] == [100_00, 200_00, 300_00, 400_00, 500_00]
    file.write_text(f"account,amount\n{employees[0]},1.00\n{employees[0]},2.00\n{employees[1]},x\n")
    wrong = await user.run("payroll", file, "--from", employer, "--currency", "CZK")
    assert wrong.status == 1
    assert "REFERENCE_REPEATED" in wrong.stdout and "FIELD_INVALID" in wrong.stdout
    assert "2 lines are wrong; nothing was sent" in wrong.stderr
