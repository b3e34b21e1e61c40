"""What the public door answers when all is well: pages, repeats, many at once, and a customer's own token."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from hivecore.gateway.v1 import bank_pb2 as bank
from hivecore.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from small_bank import FUNDS_MINOR, World, leg, post, read_status

from services.cli import channels


async def _all_pages(world: World, method: str, rows: str, **asked: Any) -> list[list[Any]]:
    kind = {"ListEntries": bank.ListEntriesRequest, "ListAccounts": bank.ListAccountsRequest}[method]
    pages: list[list[Any]] = []
    token = ""
    while True:
        answer = await world.ask(method, kind(**asked, page_token=token))
        pages.append(list(getattr(answer, rows)))
        token = answer.next_page_token
        if not token:
            return pages


@pytest.mark.parametrize(("order_by", "versions"), [("", [7, 6, 5, 4, 3, 2, 1]), ("version", [1, 2, 3, 4, 5, 6, 7])])
@pytest.mark.parametrize("page_size", [1, 3, 6, 7, 8])
async def test_a_statement_comes_in_pages_each_entry_once(
    world: World, order_by: str, versions: list[int], page_size: int
) -> None:
    account = await world.open_account(world.customers[0], "CZK")
    for number in range(7):
        await world.ask("PostTransfer", post(leg("CASH", account, number + 1), reference=f"n{number}"))
    parent = f"accounts/{account}"
    pages = await _all_pages(world, "ListEntries", "entries", parent=parent, order_by=order_by, page_size=page_size)
    entries = [entry for page in pages for entry in page]
    assert [entry.version for entry in entries] == versions
    assert [len(page) for page in pages[:-1]] == [page_size] * (len(pages) - 1)
    assert len(pages) == -(-7 // page_size)
    assert {entry.version: entry.balance_after_minor for entry in entries} == {
        version: version * (version + 1) // 2 for version in range(1, 8)
    }
    assert all(entry.reference == f"n{entry.version - 1}" for entry in entries)


async def test_new_entries_do_not_disturb_the_pages_of_a_statement(world: World) -> None:
    account = await world.open_account(world.customers[0], "CZK")
    for _ in range(3):
        await world.ask("PostTransfer", post(leg("CASH", account)))
    asked: dict[str, Any] = {"parent": f"accounts/{account}", "page_size": 2}
    first = await world.ask("ListEntries", bank.ListEntriesRequest(**asked))
    await world.ask("PostTransfer", post(leg("CASH", account)))
    second = await world.ask("ListEntries", bank.ListEntriesRequest(**asked, page_token=first.next_page_token))
    assert [entry.version for entry in (*first.entries, *second.entries)] == [3, 2, 1]
    assert not second.next_page_token


async def test_a_customers_accounts_come_in_pages_in_the_order_they_were_opened(world: World) -> None:
    customer = await world.ask("OpenCustomer", bank.OpenCustomerRequest(request_id=str(uuid4())))
    opened = [await world.open_account(customer, "CZK") for _ in range(5)]
    pages = await _all_pages(world, "ListAccounts", "accounts", parent=customer.name, page_size=2)
    assert [[account.account_number for account in page] for page in pages] == [opened[:2], opened[2:4], opened[4:]]


async def test_a_transfer_is_answered_the_same_however_often_it_is_sent(world: World) -> None:
    for request in (post(leg(world.mine, world.neighbour)), post(leg(world.mine, world.far), reference="rent")):
        before = await world.books()
        answers = [await world.ask("PostTransfer", request) for _ in range(3)]
        assert answers[1:] == answers[:1] * 2
        assert answers[0].state == bank.Transfer.POSTED
        after = await world.books()
        assert sum(new.version - old.version for old, new in zip(before, after, strict=True)) == 2
        found = await world.ask("GetTransfer", bank.GetTransferRequest(name=answers[0].name))
        assert (found.legs, found.reference, found.state) == (answers[0].legs, answers[0].reference, answers[0].state)
        assert found.booking_time == answers[0].booking_time


async def test_a_transfer_means_the_same_alone_and_as_the_only_one_of_a_call(world: World) -> None:
    for request in (post(leg(world.mine, world.neighbour)), post(leg(world.mine, world.far), reference="rent")):
        many = bank.PostTransfersRequest(transfers=[request.transfer])
        answers = [await world.ask("PostTransfers", many) for _ in range(2)]
        assert answers == [bank.PostTransfersResponse(results=[bank.TransferResult(state=bank.Transfer.POSTED)])] * 2
        posted = await world.ask("PostTransfer", request)
        assert (posted.state, posted.reference) == (bank.Transfer.POSTED, request.transfer.reference)
        many.transfers[0].legs[0].amount_minor += 1
        (result,) = (await world.ask("PostTransfers", many)).results
        assert read_status(result.error).reason == "TRANSFER_ID_REUSED"
    refused = post(leg(world.mine, world.neighbour, FUNDS_MINOR + 1))
    (result,) = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=[refused.transfer]))).results
    assert result == bank.TransferResult(state=bank.Transfer.REFUSED, reason="INSUFFICIENT_FUNDS")
    assert (await world.told("PostTransfer", refused)).reason == "INSUFFICIENT_FUNDS"


async def test_a_crossing_is_found_from_both_of_its_sides(world: World) -> None:
    legs = leg(world.mine, world.far, 7), leg(world.mine, world.neighbour, 2), leg(world.mine, "FEES", 1)
    posted = await world.ask("PostTransfer", post(*legs))
    shown = []
    for account in (world.mine, world.neighbour, world.far):
        name = f"accounts/{account}/transfers/{posted.transfer_id}"
        shown.append(await world.ask("GetTransfer", bank.GetTransferRequest(name=name)))
    assert shown[1:] == shown[:1] * 2
    found = shown[0]
    assert (found.name, found.legs, found.booking_time) == (posted.name, posted.legs, posted.booking_time)
    entry = (await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{world.far}"))).entries[0]
    assert (entry.transfer, entry.amount_minor) == (posted.name, 7)


async def test_what_was_answered_as_posted_is_never_shown_as_in_transit(world: World) -> None:
    async def post_and_look() -> tuple[int, int]:
        posted = await world.ask("PostTransfer", post(leg(world.mine, world.far)))
        return posted.state, (await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))).state

    for _ in range(10):
        assert await asyncio.gather(*(post_and_look() for _ in range(5))) == [(1, 1)] * 5


async def test_a_payment_to_another_bank_carries_its_creditor(world: World) -> None:
    await world.ask("RegisterPartnerBanks", bank.RegisterPartnerBanksRequest(bank_codes=["AB"]))
    creditor = bank.ExternalCreditor(bank_code="AB", account="42", creditor_name="Jan", remittance_text="thanks")
    request = post(leg(world.mine, "NOSTRO.AB", 5), creditor=creditor, value_date={"year": 2030, "month": 1, "day": 2})
    posted = await world.ask("PostTransfer", request, world.limited())
    found = await world.ask("GetTransfer", bank.GetTransferRequest(name=posted.name))
    assert found.creditor == posted.creditor == creditor
    assert found.value_date == request.transfer.value_date
    assert found.legs[0].credit_account.startswith("9999")


async def test_legs_of_one_transfer_are_posted_together(world: World) -> None:
    before = await world.books()
    legs = leg(world.mine, world.neighbour, 10), leg(world.mine, "FEES", 1), leg(world.neighbour, world.mine, 4)
    posted = await world.ask("PostTransfer", post(*legs))
    after = await world.books()
    assert len(posted.legs) == 3
    assert [new.balance_minor - old.balance_minor for old, new in zip(before, after, strict=True)][:3] == [-7, 6, 0]


def as_released_before(asked: bank.ReverseTransferRequest, shard_id: int, *legs: bank.Leg) -> Any:
    """Write a reversal as the gateway of an earlier release sent it, with the legs in an order of its own."""
    original_id = UUID(asked.name.rpartition("/")[2]).bytes
    first, *further = [(int(each.credit_account), int(each.debit_account), each.amount_minor, 203) for each in legs]
    names = ("debit_account", "credit_account", "amount_minor", "currency")
    return ledger_pb2.PostTransfersRequest(
        shard_id=shard_id,
        transfer_ids=UUID(asked.transfer_id).bytes,
        debit_accounts=first[:1],
        credit_accounts=first[1:2],
        amounts_minor=first[2:3],
        currencies=first[3:],
        references=[asked.reference],
        further_legs=[ledger_pb2.FurtherLeg(**dict(zip(names, each, strict=True))) for each in further],
        specials=[ledger_pb2.Special(original_id=original_id)],
    )


@pytest.mark.parametrize("far", [False, True], ids=["the first leg first", "of a crossing only the first leg"])
async def test_a_reversal_that_an_earlier_release_decided_is_answered_as_it_was(world: World, far: bool) -> None:
    payer, payee = world.mine, world.far if far else world.neighbour
    legs = leg(payer, payee, 300), leg(payer, world.neighbour, 100)
    original = await world.ask("PostTransfer", post(*legs))
    asked = bank.ReverseTransferRequest(name=original.name, transfer_id=str(uuid4()), reference="sorry")
    shard = next(
        each for each in (await world.ask("ListShards", bank.ListShardsRequest())).shards if each.shard_id == 1 + far
    )
    async with channels.channel(shard.ledger_addresses[0]) as channel:
        ledger = ledger_pb2_grpc.LedgerStub(channel)
        before = as_released_before(asked, shard.shard_id, *legs[: 1 if far else 2])
        answered = await ledger.PostTransfers(before, timeout=10)
    if far:
        assert answered.outcomes == [ledger_pb2.OUTCOME_POSTED]
        for _ in range(2):
            again = await world.ask("ReverseTransfer", asked)
            assert (again.state, again.reversed_transfer) == (bank.Transfer.POSTED, original.name)
            assert list(again.legs) == [leg(payee, payer, 300)]
    else:  # What was posted then is refused now, and would be posted in the form of this release.
        assert answered.outcomes == [ledger_pb2.OUTCOME_REFUSED]
        for _ in range(2):
            assert (await world.told("ReverseTransfer", asked)).reason == "REVERSAL_MISMATCH"
    stand = await world.books()
    for change, reason in (
        ({"reference": "other words"}, "TRANSFER_ID_REUSED"),
        ({"amount_minor": 7}, "REVERSAL_MISMATCH"),
    ):
        request = bank.ReverseTransferRequest.FromString(asked.SerializeToString())
        request.MergeFrom(bank.ReverseTransferRequest(**change))
        assert (await world.told("ReverseTransfer", request)).reason == reason
    assert await world.books() == stand


async def test_a_customers_token_does_what_is_that_customers(world: World) -> None:
    token = world.limited()
    customer, account = world.customers[0], world.mine
    assert (await world.ask("GetCustomer", bank.GetCustomerRequest(name=customer.name), token)) == customer
    found = await world.ask("GetAccount", bank.GetAccountRequest(name=f"accounts/{account}"), token)
    assert found.customer == customer.name
    listed = await world.ask("ListAccounts", bank.ListAccountsRequest(parent=customer.name), token)
    assert account in [each.account_number for each in listed.accounts]
    paid = await world.ask("PostTransfer", post(leg(account, world.far, 3)), token)
    balance = await world.ask("GetBalance", bank.GetBalanceRequest(name=f"accounts/{account}/balance"), token)
    statement = await world.ask("ListEntries", bank.ListEntriesRequest(parent=f"accounts/{account}"), token)
    assert statement.entries[0].balance_after_minor == balance.balance_minor
    received = await world.ask("PostTransfer", post(leg(world.far, account, 3)))
    for transfer in (paid, received):
        assert (
            await world.ask("GetTransfer", bank.GetTransferRequest(name=transfer.name), token)
        ).name == transfer.name
    request = bank.OpenAccountRequest(
        request_id=str(uuid4()), account=bank.Account(customer=customer.name, currency_code="USD")
    )
    assert (await world.ask("OpenAccount", request, token)).customer == customer.name


async def test_a_customers_token_gets_one_answer_for_each_transfer_of_a_call(world: World) -> None:
    transfers = [
        post(leg(world.mine, world.far)).transfer,
        post(leg(world.far, world.mine)).transfer,
        post(leg("CASH", world.mine)).transfer,
        post(leg(world.mine, world.mine)).transfer,
        post(leg(world.mine, world.neighbour)).transfer,
    ]
    request = bank.PostTransfersRequest(transfers=transfers)
    results = (await world.ask("PostTransfers", request, world.limited())).results
    assert [result.state for result in results] == [1, 0, 0, 0, 1]
    assert [read_status(result.error).reason for result in results if result.HasField("error")] == [
        "ACCOUNT_OF_ANOTHER_CUSTOMER",
        "INTERNAL_ACCOUNT",
        "SAME_ACCOUNT",
    ]


async def test_many_customers_and_accounts_are_opened_each_on_its_own(world: World) -> None:
    requests = [
        bank.OpenCustomerRequest(request_id=str(uuid4()), customer=bank.Customer(external_reference=reference))
        for reference in ("c-1", "c-2", "c-1")
    ]
    requests.insert(1, bank.OpenCustomerRequest(request_id="?"))
    opened = (await world.ask("OpenCustomers", bank.OpenCustomersRequest(requests=requests))).results
    assert [result.WhichOneof("result") for result in opened] == ["customer", "error", "customer", "error"]
    assert [read_status(opened[place].error).reason for place in (1, 3)] == ["UUID_INVALID", "EXTERNAL_REFERENCE_TAKEN"]
    accounts = [
        bank.OpenAccountRequest(
            request_id=str(uuid4()),
            account=bank.Account(customer=opened[0].customer.name, currency_code=code, external_reference=f"a-{code}"),
        )
        for code in ("CZK", "?", "EUR")
    ]
    results = (await world.ask("OpenAccounts", bank.OpenAccountsRequest(requests=accounts))).results
    assert [result.WhichOneof("result") for result in results] == ["account", "error", "account"]
    wanted = bank.FindAccountsRequest(external_references=["a-EUR", "nobody", "a-CZK"])
    found = (await world.ask("FindAccounts", wanted)).accounts
    assert [account.name for account in found] == [results[2].account.name, "", results[0].account.name]
    by_reference = bank.GetCustomerRequest(name="customers/-", external_reference="c-2")
    assert await world.ask("GetCustomer", by_reference) == opened[2].customer


async def test_transfers_of_one_call_are_decided_in_their_order(world: World) -> None:
    account = await world.open_account(world.customers[0], "CZK")
    transfers = [
        post(leg(account, world.neighbour)).transfer,
        post(leg("CASH", account, 10)).transfer,
        post(leg(account, world.far, 6)).transfer,
        post(leg(account, world.neighbour, 6)).transfer,
        post(leg(account, world.neighbour, 4)).transfer,
    ]
    results = (await world.ask("PostTransfers", bank.PostTransfersRequest(transfers=transfers))).results
    assert [bank.Transfer.State.Name(result.state) for result in results] == [
        "REFUSED",
        "POSTED",
        "POSTED",
        "REFUSED",
        "POSTED",
    ]


async def test_the_shards_are_listed_with_their_writers(world: World) -> None:
    shards = (await world.ask("ListShards", bank.ListShardsRequest())).shards
    assert [(shard.shard_id, shard.writer) for shard in shards] == [(1, "ledger-1"), (2, "ledger-2")]
    assert all(shard.last_sequence > 0 and shard.ledger_addresses for shard in shards)
    assert sum(shard.customer_count for shard in shards) >= len(world.customers)


async def test_a_call_whose_deadline_is_too_short_for_anything_writes_nothing_or_says_that_it_may_have(
    world: World,
) -> None:
    request = post(leg(world.mine, world.far, FUNDS_MINOR * 9))
    metadata = (("authorization", f"Bearer {world.token}"),)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.stub.PostTransfer(request, metadata=metadata, timeout=0.0005)
    assert failed.value.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    assert (await world.told("PostTransfer", request)).reason == "INSUFFICIENT_FUNDS"
