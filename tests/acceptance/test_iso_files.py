"""ISO 20022 payment files through `hivecore payment-file`, against a whole bank."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from command_line import User
from hivecore.gateway.v1 import bank_pb2 as bank
from payment_files import by_sepaxml, check_status_report, document, information, read, transfer
from small_bank import World, leg, post

from services.cli.iso20022 import filing
from services.cli.output import open_progress
from services.cli.session import Access, Session

DEBTOR = "CZ6508000000192000145399"
PAYEE = "CZ0708000000001019382023"
PARTNER_IBAN = "DE89370400440532013000"


class Clerk(User):
    """Files payment files by the command line; opens accounts and reads balances the quick way."""

    def __init__(self, world: World) -> None:
        super().__init__(world.bank)
        self.world = world

    async def open_accounts(self, debtor: str, payee: str) -> tuple[str, str]:
        """Open two accounts on different shards, known by those references; the first has 1,000.00 CZK."""
        numbers = []
        for customer, reference in zip(self.world.customers[1:3], (debtor, payee), strict=True):
            account = bank.Account(customer=customer.name, currency_code="CZK", external_reference=reference)
            request = bank.OpenAccountRequest(request_id=str(uuid4()), account=account)
            numbers.append((await self.world.ask("OpenAccount", request)).account_number)
        assert self.world.home(numbers[0]) != self.world.home(numbers[1])
        await self.world.ask("PostTransfer", post(leg("CASH", numbers[0], 1000_00)))
        return numbers[0], numbers[1]

    async def balances_minor(self, *numbers: str) -> list[int]:
        """Read balances."""
        names = [f"accounts/{number}/balance" for number in numbers]
        return [(await self.world.ask("GetBalance", bank.GetBalanceRequest(name=name))).balance_minor for name in names]


@pytest.fixture(scope="module")
def user(world: World) -> Clerk:
    return Clerk(world)


def statuses(report: Path) -> list[str]:
    """Read every status of a report, in order: group, payment informations, payments."""
    names = {"GrpSts", "PmtInfSts", "TxSts", "Cd"}
    return [e.text or "" for e in ET.fromstring(report.read_bytes()).iter() if e.tag.rpartition("}")[2] in names]


@pytest.mark.parametrize("schema", ["pain.001.001.03", "pain.001.001.09"])
async def test_a_file_by_a_known_generator_is_paid_once(user: Clerk, tmp_path: Path, schema: str) -> None:
    ending = schema[-2:]
    debtor, payee = await user.open_accounts(DEBTOR + ending, PAYEE + ending)
    payments = [
        {"IBAN": PAYEE + ending, "BIC": "HIVECZPP", "amount": 100_00, "endtoend_id": "own"},
        {"IBAN": PARTNER_IBAN, "BIC": "COBADEFFXXX", "amount": 200_00, "endtoend_id": "abroad"},
    ]
    file, report, again = tmp_path / "in.xml", tmp_path / "out.xml", tmp_path / "again.xml"
    file.write_bytes(by_sepaxml(schema, DEBTOR + ending, payments))
    told = await user.get("payment-file", file, "--status", report, "--register-banks")
    assert (told["status"], told["counts"], told["unsettled"]) == ("ACSC", {"ACSC": 2}, [])
    assert statuses(report) == ["ACSC", "ACSC", "ACSC", "ACSC"]
    check_status_report(report.read_bytes())
    assert await user.balances_minor(debtor, payee) == [700_00, 100_00]
    await user.get("payment-file", file, "--status", again)
    assert again.read_bytes() == report.read_bytes()
    assert await user.balances_minor(debtor, payee) == [700_00, 100_00]
    (entry,) = (await user.world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{payee}"))).entries
    assert entry.reference == "invoice"


async def test_each_payment_has_its_own_fate(user: Clerk, tmp_path: Path) -> None:
    debtor, payee = await user.open_accounts("fate-debtor", "fate-payee")
    own, other = f"<Othr><Id>{payee}</Id></Othr>", "<Othr><Id>fate-payee</Id></Othr>"
    content = document(
        information(
            transfer("paid", "10.00", own),
            transfer("paid-too", "5.50", other),
            transfer("too-much", "5000.00", own),
            transfer("nobody", "1.00", "<IBAN>CZ00</IBAN>"),
            transfer("unknown-bank", "1.00", "<IBAN>CZ00</IBAN>", bank="NOBKCZPP"),
            transfer("euros", "1.00", own, currency="EUR"),
            transfer("crumbs", "0.001", own),
            debtor="<Othr><Id>fate-debtor</Id></Othr>",
        ),
        information(
            transfer("never", "1.00", own), name="P2", day="<Dt>2999-01-01</Dt>", debtor=f"<IBAN>{debtor}</IBAN>"
        ),
        information(transfer("lost", "1.00", own), name="P3", debtor="<IBAN>CZ11</IBAN>"),
        count="9",
        message_id="FATE",
    )
    file, report = tmp_path / "in.xml", tmp_path / "out.xml"
    file.write_bytes(content)
    run = await user.run("payment-file", file, "--status", report, "--json")
    assert run.status == 1, run.stderr
    reasons = {row["payment"]: (row["status"], row["code"], row["reason"]) for row in run.json["unsettled"]}
    assert reasons == {
        "too-much": ("RJCT", "AM04", "INSUFFICIENT_FUNDS"),
        "nobody": ("RJCT", "AC03", "CREDITOR_ACCOUNT_NOT_FOUND"),
        "unknown-bank": ("RJCT", "RC04", "PARTNER_BANK_NOT_FOUND"),
        "euros": ("RJCT", "AC10", "DEBIT_CURRENCY_MISMATCH"),
        "crumbs": ("RJCT", "AM12", "AMOUNT_INVALID"),
        "never": ("RJCT", "DT01", "EXECUTION_DATE_TOO_FAR"),
        "lost": ("RJCT", "AC02", "DEBTOR_ACCOUNT_NOT_FOUND"),
    }
    assert statuses(report)[:2] == ["PART", "PART"]
    check_status_report(report.read_bytes())
    assert await user.balances_minor(debtor, payee) == [984_50, 15_50]


async def test_a_payment_for_a_day_to_come_is_paid_by_the_same_file_on_that_day(user: Clerk, tmp_path: Path) -> None:
    debtor, payee = await user.open_accounts("later-debtor", "later-payee")
    # Two days, so that a midnight in between does not matter.
    today = datetime.now(UTC).date()
    later = today + timedelta(2)
    own, by = f"<Othr><Id>{payee}</Id></Othr>", f"<Othr><Id>{debtor}</Id></Othr>"

    def write(amount: str) -> Path:
        file = tmp_path / "in.xml"
        part = information(
            transfer("rent", amount, own),
            transfer("typing-error", "1.00", "<IBAN>CZ00</IBAN>"),
            name="P1",
            day=f"<Dt>{later}</Dt>",
            debtor=by,
        )
        now = information(transfer("now", "5.00", own), name="P2", day=f"<Dt>{today}</Dt>", debtor=by)
        file.write_bytes(document(part, now, count="3", message_id="LATER"))
        return file

    report, again = tmp_path / "out.xml", tmp_path / "again.xml"
    for status in (report, again):
        run = await user.run("payment-file", write("300.00"), "--status", status, "--json")
        assert (run.status, run.json["status"], run.json["counts"]) == (1, "PART", {"ACCP": 1, "ACSC": 1, "RJCT": 1})
    assert report.read_bytes() == again.read_bytes()
    check_status_report(report.read_bytes())
    assert await user.balances_minor(debtor, payee) == [995_00, 5_00]
    run = await user.run("payment-file", write("900.00"), "--json")
    assert (run.status, run.json["reason"]) == (1, "MESSAGE_ID_REUSED")
    async with Session(Access(user.bank.gateway, user.bank.token())) as session:
        for day, counts in (
            (later - timedelta(1), {"ACCP": 1, "ACSC": 1, "RJCT": 1}),
            (later, {"ACSC": 2, "RJCT": 1}),
            (later + timedelta(30), {"ACSC": 2, "RJCT": 1}),
        ):
            with open_progress(silent=True) as progress:
                filed = await filing.carry_out(session, read(write("300.00").read_bytes()), day, progress)
            assert filed.report.counts() == counts
    assert await user.balances_minor(debtor, payee) == [695_00, 305_00]


async def test_a_file_that_only_waits_for_its_day_is_told_apart_by_the_exit_status(user: Clerk, tmp_path: Path) -> None:
    debtor, payee = await user.open_accounts("waits-debtor", "waits-payee")
    later = datetime.now(UTC).date() + timedelta(2)
    part = information(
        transfer("rent", "3.00", f"<Othr><Id>{payee}</Id></Othr>"),
        day=f"<Dt>{later}</Dt>",
        debtor=f"<Othr><Id>{debtor}</Id></Othr>",
    )
    file, report = tmp_path / "in.xml", tmp_path / "out.xml"
    file.write_bytes(document(part, message_id="WAITS"))
    run = await user.run("payment-file", file, "--status", report)
    assert (run.status, str(later) in run.stdout) == (3, True)
    assert statuses(report) == ["ACCP", "ACCP", "ACCP"]
    check_status_report(report.read_bytes())


async def test_a_message_id_stands_for_one_content(user: Clerk, tmp_path: Path) -> None:
    debtor, payee = await user.open_accounts("once-debtor", "once-payee")

    def write(*transfers: str, total: str) -> Path:
        file = tmp_path / "in.xml"
        part = information(*transfers, debtor=f"<Othr><Id>{debtor}</Id></Othr>")
        file.write_bytes(document(part, count=str(len(transfers)), total=total, message_id="ONCE"))
        return file

    own = f"<Othr><Id>{payee}</Id></Othr>"
    await user.get("payment-file", write(transfer("a", "10.00", own), total="10"))
    for other in (
        write(transfer("a", "11.00", own), total="11"),
        write(transfer("a", "10.00", own), transfer("b", "1.00", own), total="11"),
    ):
        report = tmp_path / "out.xml"
        run = await user.run("payment-file", other, "--status", report, "--json")
        assert (run.status, run.json["status"], run.json["reason"]) == (1, "RJCT", "MESSAGE_ID_REUSED")
        assert statuses(report) == ["RJCT", "DU01"]
        check_status_report(report.read_bytes())
    assert await user.balances_minor(debtor, payee) == [990_00, 10_00]


async def test_a_file_that_contradicts_itself_moves_nothing(user: Clerk, tmp_path: Path) -> None:
    debtor, payee = await user.open_accounts("sums-debtor", "sums-payee")
    part = information(
        transfer("a", "10.00", f"<Othr><Id>{payee}</Id></Othr>"), debtor=f"<Othr><Id>{debtor}</Id></Othr>"
    )
    file, report = tmp_path / "in.xml", tmp_path / "out.xml"
    file.write_bytes(document(part, total="10.01", message_id="SUMS"))
    told: Any = await user.run("payment-file", file, "--status", report, "--json")
    assert (told.status, told.json["reason"]) == (1, "GROUP_SUM_MISMATCH")
    assert statuses(report) == ["RJCT", "AM16"]
    check_status_report(report.read_bytes())
    assert await user.balances_minor(debtor) == [1000_00]


async def test_what_is_no_payment_file_is_said_in_a_sentence(user: Clerk, tmp_path: Path) -> None:
    file = tmp_path / "in.xml"
    file.write_bytes(b'<!DOCTYPE d [<!ENTITY a "x">]><d>&a;</d>')
    assert "declares a document type" in await user.refused("payment-file", file)
    assert "No such file" in await user.refused("payment-file", tmp_path / "none.xml")
