"""One transfer over several shards through the public door: a payroll, a pile of bills, and their ends."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.gateway.v1 import bank_pb2_grpc
from small_bank import World, absent, leg, post

from services.cli import channels
from services.cli.bank import Bank
from services.cli.topology import BankOptions
from services.ledger.audit import audit

SHARDS = 4
PAYEES = 1_000
SALARY_MINOR = 25_000_00
EMPLOYERS_MINOR = PAYEES * SALARY_MINOR + 7


class Company(World):
    """A bank of four shards: an employer, its employees all over the bank, and utilities that send bills."""

    async def fill(self) -> None:
        for _ in range(2 * SHARDS):
            request = bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer())
            self.customers.append(await self.ask("OpenCustomer", request))
        self.employer = await self.open_account(self.customers[0], "CZK")
        requests = [
            bank.OpenAccountRequest(
                request_id=str(uuid4()),
                account=bank.Account(customer=self.customers[place % len(self.customers)].name, currency_code="CZK"),
            )
            for place in range(PAYEES)
        ]
        opened = await self.ask("OpenAccounts", bank.OpenAccountsRequest(requests=requests))
        self.payees = [result.account.account_number for result in opened.results]
        await self.ask("PostTransfer", post(leg("CASH", self.employer, EMPLOYERS_MINOR)))

    def payroll(self, *further: bank.Leg, reference: str = "salaries") -> bank.PostTransferRequest:
        return post(*(leg(self.employer, payee, SALARY_MINOR) for payee in self.payees), *further, reference=reference)

    async def balance(self, account: str) -> tuple[int, int]:
        found = await self.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"))
        return found.balance_minor, found.held_minor

    async def balances(self, accounts: list[str]) -> list[tuple[int, int]]:
        """Look up a hundred at a time: gateways refuse storms of look-ups."""
        found: list[tuple[int, int]] = []
        for at in range(0, len(accounts), 100):
            found += await asyncio.gather(*map(self.balance, accounts[at : at + 100]))
        return found

    async def until_settled(self) -> None:
        async with asyncio.timeout(60):
            while True:
                shards = (await self.ask("ListShards", bank.ListShardsRequest())).shards
                if not any(each.promises_open_count or each.crossings_in_flight_count for each in shards):
                    return
                await asyncio.sleep(0.05)

    async def prove(self) -> None:
        await self.until_settled()
        report = await audit(self.bank.control_dsn, self.bank.shard_dsns, in_flight_seconds_max=0)
        assert report.clean, "\n".join(line for result in report.results for line in result.evidence)


@contextmanager
def _directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="hivecore-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture(scope="module")
async def company() -> AsyncIterator[Company]:
    with _directory() as place:
        options = BankOptions(data=place / "bank", shards=SHARDS, port=0)
        async with Bank.open(options) as running, channels.channel(running.gateway) as channel:
            made = Company(running, bank_pb2_grpc.BankStub(channel))
            await made.fill()
            yield made


async def test_a_payroll_pays_everybody_on_all_shards_or_nobody(company: Company) -> None:
    stranger = absent(company.payees[0])
    told = await company.told("PostTransfer", company.payroll(leg(company.employer, stranger)))
    assert (told.reason, told.metadata["leg"]) == ("CREDIT_ACCOUNT_NOT_FOUND", str(PAYEES))
    told = await company.told("PostTransfer", company.payroll(leg(company.employer, company.payees[0], 8)))
    assert (told.reason, told.metadata["leg"]) == ("INSUFFICIENT_FUNDS", str(PAYEES))
    await company.until_settled()
    assert set(await company.balances(company.payees)) == {(0, 0)}

    asked = company.payroll()
    began = time.perf_counter()
    posted = await company.ask("PostTransfer", asked)
    seconds = time.perf_counter() - began
    sys.stdout.write(f"payroll of {PAYEES} payees over {SHARDS} shards: {seconds:.2f} s\n")
    assert (posted.state, len(posted.legs)) == (bank.Transfer.POSTED, PAYEES)
    await company.until_settled()
    assert set(await company.balances(company.payees)) == {(SALARY_MINOR, 0)}
    assert await company.balance(company.employer) == (7, 0)
    assert (await company.ask("PostTransfer", asked)).state == bank.Transfer.POSTED
    assert await company.balance(company.employer) == (7, 0)

    for payee in company.payees[:: PAYEES // 8]:
        name = f"accounts/{payee}/transfers/{posted.transfer_id}"
        assert (await company.ask("GetTransfer", bank.GetTransferRequest(name=name))).state == bank.Transfer.POSTED
        (entry,) = (await company.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{payee}"))).entries
        assert (entry.amount_minor, entry.counterparty_account) == (SALARY_MINOR, company.employer)
        assert (entry.reference, entry.transfer.rpartition("/")[2]) == ("salaries", posted.transfer_id)

    reversal = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    assert (await company.ask("ReverseTransfer", reversal)).state == bank.Transfer.POSTED
    await company.until_settled()
    assert set(await company.balances(company.payees)) == {(0, 0)}
    assert await company.balance(company.employer) == (EMPLOYERS_MINOR, 0)
    again = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    assert (await company.told("ReverseTransfer", again)).reason == "REVERSAL_EXCEEDS_ORIGINAL"
    part = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()), amount_minor=1)
    assert (await company.told("ReverseTransfer", part)).reason == "REVERSAL_MISMATCH"
    await company.prove()


async def test_an_employee_sees_no_colleagues_salary(company: Company) -> None:
    posted = await company.ask("PostTransfer", company.payroll(reference="bonus"))
    for who in (0, 1, 2):  # Of the home's shard and of two others.
        own = next(place for place in range(1, PAYEES) if place % len(company.customers) == who)
        account = company.payees[own]
        token = company.mint(customer=company.customers[who].customer_number)
        name = f"accounts/{account}/transfers/{posted.transfer_id}"
        seen = await company.ask("GetTransfer", bank.GetTransferRequest(name=name), token)
        mine = set(company.payees[who :: len(company.customers)])
        shown = {each.credit_account for each in seen.legs}
        assert shown == (mine if who else set(company.payees)), "the employer, who is customer 0, sees all"
        assert (seen.name, seen.state, seen.booking_time) == (posted.name, posted.state, posted.booking_time)
        asked = bank.SearchTransfersRequest(parent=f"accounts/{account}", reference="bonus")
        (found,) = (await company.ask("SearchTransfers", asked, token)).transfers
        assert who == 0 or [each.credit_account for each in found.legs] == [account]
    # Nor is a colleague found by asking for one.
    asked.counterparty_account = company.payees[own + len(company.customers)]
    assert not (await company.ask("SearchTransfers", asked, token)).transfers
    assert (await company.ask("SearchTransfers", asked)).transfers
    reversal = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    await company.ask("ReverseTransfer", reversal)
    await company.prove()


async def test_every_account_of_a_transfer_shows_the_same_transfer(company: Company) -> None:
    payers, payees = company.payees[1:4], company.payees[4:7]
    legs = [leg(payer, payee, 1_00) for payer, payee in zip(payers, payees, strict=True)]
    assert len({account[:4] for account in (*payers, *payees)}) == SHARDS
    fund = post(*(leg("CASH", payer, 1_00) for payer in payers))
    funded = await company.ask("PostTransfer", fund)
    posted = await company.ask("PostTransfer", post(*legs, reference="three debts", metadata={"order": "8"}))
    reversal = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    back = await company.ask("ReverseTransfer", reversal)
    refused = post(*legs, leg(payees[0], payers[0], 5_00))
    assert (await company.told("PostTransfer", refused)).metadata["leg"] == "3"
    refused_id = refused.transfer.transfer_id
    await company.until_settled()
    refuser = f"accounts/{payees[0]}/transfers/{refused_id}"
    assert (await company.told("GetTransfer", bank.GetTransferRequest(name=refuser))).reason == "TRANSFER_NOT_FOUND"
    for transfer_id, name, state, count in (
        (refused_id, f"accounts/{payers[0]}/transfers/{refused_id}", bank.Transfer.REFUSED, 4),
        (posted.transfer_id, posted.name, bank.Transfer.POSTED, 3),
        (back.transfer_id, back.name, bank.Transfer.POSTED, 3),
    ):
        knowing = (*payers, *payees[1:]) if state == bank.Transfer.REFUSED else (*payers, *payees)
        shown = [
            await company.ask(
                "GetTransfer", bank.GetTransferRequest(name=f"accounts/{account}/transfers/{transfer_id}")
            )
            for account in knowing
        ]
        assert shown[1:] == shown[:-1]
        assert (shown[0].name, shown[0].state, len(shown[0].legs), shown[0].is_part) == (name, state, count, False)
    assert shown[0].reversed_transfer == back.reversed_transfer == posted.name
    for place in range(3):  # Each of the others sees the leg that is theirs, under the same name.
        customer = company.customers[(4 + place) % len(company.customers)]
        name = f"accounts/{payees[place]}/transfers/{posted.transfer_id}"
        token = company.mint(customer=customer.customer_number)
        seen = await company.ask("GetTransfer", bank.GetTransferRequest(name=name), token)
        assert (seen.name, list(seen.legs)) == (posted.name, [posted.legs[place]])
        asked = bank.SearchTransfersRequest(parent=f"accounts/{payees[place]}", reference="three debts")
        (found,) = (await company.ask("SearchTransfers", asked)).transfers
        assert found.is_part == (payees[place][:4] != payers[0][:4])
        assert posted.legs[place] in found.legs
    await company.ask("ReverseTransfer", bank.ReverseTransferRequest(name=funded.name, transfer_id=str(uuid4())))
    await company.prove()


def bills_back(utilities: list[str], payer: str) -> list[bank.Leg]:
    """Write legs by which utilities, wherever they are, pay a customer back."""
    return [leg(utility, payer, 1_00) for utility in utilities]


async def test_ten_bills_are_paid_with_one_click(company: Company) -> None:
    payer, utilities = company.payees[0], company.payees[1:11]
    assert len({int(each[:4]) for each in utilities}) > 2
    await company.ask("PostTransfer", post(leg("CASH", payer, 10_00)))
    bills = [leg(payer, utility, 1_00) for utility in utilities]
    assert (await company.ask("PostTransfer", post(*bills))).state == bank.Transfer.POSTED
    await company.until_settled()
    assert await company.balances([payer, *utilities]) == [(0, 0)] + [(1_00, 0)] * 10
    paid = await company.ask("PostTransfer", post(*reversed(bills_back(utilities, payer))))
    assert paid.state == bank.Transfer.POSTED
    await company.until_settled()
    reversal = bank.ReverseTransferRequest(name=paid.name, transfer_id=str(uuid4()))
    assert (await company.ask("ReverseTransfer", reversal)).state == bank.Transfer.POSTED
    await company.until_settled()
    told = await company.told("PostTransfer", post(*bills[3:], leg(utilities[0], payer, 1_00)))
    assert (told.reason, told.metadata["leg"]) == ("INSUFFICIENT_FUNDS", "0")
    await company.prove()


@pytest.mark.parametrize("is_far", [True, False], ids=["over three shards", "on one shard"])
async def test_who_passed_all_money_on_gives_it_back_once_it_is_back(company: Company, is_far: bool) -> None:
    shard_of = {payee: int(payee[:4]) for payee in company.payees}
    payer = company.payees[0]
    others = [payee for payee in company.payees[1:] if (shard_of[payee] == shard_of[payer]) != is_far]
    middle = others[0]
    last = next(each for each in others[1:] if not is_far or shard_of[each] != shard_of[middle])
    await company.ask("PostTransfer", post(leg("CASH", payer, 5_00)))
    before = await company.balances([payer, middle, last])
    chain = post(leg(payer, middle, 5_00), leg(middle, last, 5_00 + before[1][0]), metadata={"order": "7"})
    posted = await company.ask("PostTransfer", chain)
    assert posted.state == bank.Transfer.POSTED
    await company.until_settled()
    assert (await company.balance(middle)) == (0, 0)
    asked = bank.ReverseTransferRequest(name=posted.name, transfer_id=str(uuid4()))
    for _ in range(2):
        back = await company.ask("ReverseTransfer", asked)
        assert (back.state, [each.debit_account for each in back.legs]) == (bank.Transfer.POSTED, [last, middle])
    await company.until_settled()
    assert await company.balances([payer, middle, last]) == before
    seen = await company.ask("GetTransfer", bank.GetTransferRequest(name=back.name))
    assert seen.state == bank.Transfer.POSTED
    await company.prove()


async def test_many_payers_pay_one(company: Company) -> None:
    shared, payers = company.employer, company.payees[1:5]
    legs = [leg(payer, shared, 50) for payer in payers]
    assert (await company.ask("PostTransfer", post(*legs))).state == bank.Transfer.POSTED
    await company.until_settled()
    assert await company.balances(payers) == [(50, 0)] * 4
    changed = bank.ChangeAccountStateRequest(
        name=f"accounts/{payers[2]}", request_id=str(uuid4()), state=bank.Account.DEBITS_FROZEN, reason="test"
    )
    await company.ask("ChangeAccountState", changed)
    told = await company.told("PostTransfer", post(*legs))
    assert (told.reason, told.metadata["leg"]) == ("DEBITS_FROZEN", "2")
    await company.until_settled()
    assert await company.balances(payers) == [(50, 0)] * 4
    await company.prove()
