"""Customers and accounts opened over gRPC by a real account process and a real ledger on real PostgreSQL."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest
from account_bank import (
    CZK,
    EUR,
    SECONDS,
    SHARDS,
    Bank,
    Stores,
    accounts,
    books_of,
    customers,
    new_customers,
    open_accounts,
    open_customers,
    reason_of,
    running_bank,
)
from hivecore.account.v1 import account_pb2 as pb

from services.account.books import Books
from services.account.lifecycle import Lifecycle
from services.account.opening import CustomerWanted, Refusal, State
from services.account.placing import Kind
from services.account.records import Records
from services.account.territory import Territory
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import chart, identifiers, limits


@pytest.fixture(scope="module")
async def bank(postgres: EmbeddedPostgres, tmp_path_factory) -> AsyncIterator[Bank]:
    async with running_bank(postgres, tmp_path_factory.mktemp("bank"), "account_service") as bank:
        yield bank


@pytest.fixture(scope="module")
async def stores(bank: Bank) -> AsyncIterator[Stores]:
    async with bank.stores() as stores:
        yield stores


async def test_the_directory_is_sent_whole_or_not_at_all(bank: Bank, stores: Stores) -> None:
    directory = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(), timeout=SECONDS)
    assert [span.last_slot for span in directory.slots] == [2999, 5999, 8999]
    assert list(directory.currencies) == [203, 840, 978]
    assert directory.shards[0].ledger_addresses == [bank.ledger_address]
    request = pb.GetDirectoryRequest(known_version=directory.version)
    unchanged = await bank.accounts.GetDirectory(request, timeout=SECONDS)
    assert unchanged == pb.Directory(version=directory.version, unchanged=True)


async def test_customers_and_accounts_are_opened_down_to_the_books(bank: Bank, stores: Stores) -> None:
    wants = customers(7)
    opened = await open_customers(bank, wants)
    numbers = [customer.customer_number for customer in opened]
    assert all(identifiers.parse_customer_number(identifiers.customer_text(number)) for number in numbers)
    assert [(c.external_reference, c.display_name) for c in opened] == [tuple(want[1:3]) for want in wants]
    assert all(customer.create_time_us > 1_700_000_000_000_000 for customer in opened)
    wanted = accounts(numbers * 2)
    made = await open_accounts(bank, wanted)
    assert len({account.account_number for account in made}) == 14
    assert [(a.customer_number, a.currency, a.external_reference) for a in made] == [tuple(w[1:4]) for w in wanted]
    assert {account.state for account in made} == {State.ACTIVE}
    assert all(a.account_number // 10**12 == a.customer_number // 10**10 for a in made)
    assert await books_of(bank, [account.account_number for account in made]) == [(True, CZK, 0)] * 14
    got = await bank.accounts.GetCustomers(pb.GetCustomersRequest(customer_numbers=[*numbers, 7]), timeout=SECONDS)
    assert list(got.customers) == [*opened, pb.Customer()]
    asked = pb.GetAccountsRequest(account_numbers=[195, *(account.account_number for account in made), 10**16])
    assert list((await bank.accounts.GetAccounts(asked, timeout=SECONDS)).accounts)[1:] == [*made, pb.Account()]


async def test_the_same_requests_again_open_nothing_more(bank: Bank, stores: Stores) -> None:
    wants = customers(20)
    first = await open_customers(bank, wants)
    assert await open_customers(bank, wants[::-1]) == first[::-1]
    wanted = accounts([customer.customer_number for customer in first])
    made = await open_accounts(bank, wanted)
    assert await open_accounts(bank, wanted[::-1]) == made[::-1]
    assert await open_accounts(bank, [wanted[3], wanted[3]]) == [made[3], made[3]]


async def test_each_item_of_a_call_is_refused_on_its_own(bank: Bank, stores: Stores) -> None:
    one, two, three = customers(3)
    first = (await open_customers(bank, [one]))[0]
    calls = [
        one,
        one._replace(display_name="Somebody else"),
        two._replace(external_reference=one.external_reference),
        three,
        two._replace(request_id=os.urandom(16), external_reference=three.external_reference),
        three,
    ]
    results = await open_customers(bank, calls)
    assert results[:3] == [first, Refusal.REQUEST_ID_REUSED, Refusal.EXTERNAL_REFERENCE_TAKEN]
    assert results[4:] == [Refusal.EXTERNAL_REFERENCE_TAKEN, results[3]]
    number, nobody = first.customer_number, identifiers.customer_number(17, 99_999_999)
    a, b, c = accounts([number] * 3)
    opened = (await open_accounts(bank, [a]))[0]
    tries = [
        a,
        a._replace(currency=EUR),
        b._replace(external_reference=a.external_reference),
        c._replace(customer_number=nobody),
        b._replace(request_id=os.urandom(16), customer_number=identifiers.customer_number(9999, 1)),
        c,
    ]
    results = await open_accounts(bank, tries)
    assert results[:3] == [opened, Refusal.REQUEST_ID_REUSED, Refusal.EXTERNAL_REFERENCE_TAKEN]
    assert results[3:] == [Refusal.CUSTOMER_NOT_FOUND, Refusal.CUSTOMER_NOT_FOUND, Refusal.REQUEST_ID_REUSED]
    # Nothing was opened under the id of c, so it can still be used.
    assert (await open_accounts(bank, [c]))[0].external_reference == c.external_reference


async def test_a_request_id_is_unique_over_all_shards(bank: Bank, stores: Stores) -> None:
    here, *_, there = sorted(await new_customers(bank, 9))
    wanted = accounts([here])[0]
    await open_accounts(bank, [wanted])
    assert await open_accounts(bank, [wanted._replace(customer_number=there)]) == [Refusal.REQUEST_ID_REUSED]


async def test_customers_and_accounts_have_references_of_their_own(bank: Bank, stores: Stores) -> None:
    wants = customers(3)
    numbers = [customer.customer_number for customer in await open_customers(bank, wants)]
    wanted = [
        w._replace(external_reference=c.external_reference) for w, c in zip(accounts(numbers), wants, strict=True)
    ]
    made = await open_accounts(bank, wanted)
    references = [want.external_reference for want in wants]
    for kind, found in (("CUSTOMER", numbers), ("ACCOUNT", [account.account_number for account in made])):
        request = pb.FindReferencesRequest(kind=kind, external_references=["nobody's", *references, references[0]])
        answer = await bank.accounts.FindReferences(request, timeout=SECONDS)
        assert list(answer.numbers) == [0, *found, found[0]]


async def test_accounts_of_a_customer_are_listed_page_by_page(bank: Bank, stores: Stores) -> None:
    one, other = await new_customers(bank, 2)
    made = await open_accounts(bank, accounts([one, other, one, one, other]))
    mine = sorted((a for a in made if a.customer_number == one), key=lambda account: account.account_number)
    pages, after = [], 0
    while True:
        request = pb.ListAccountsRequest(customer_number=one, after_account_number=after, limit=2)
        page = await bank.accounts.ListAccounts(request, timeout=SECONDS)
        assert page.found
        if not page.accounts:
            break
        pages += page.accounts
        after = pages[-1].account_number
    assert pages == mine
    nobody = pb.ListAccountsRequest(customer_number=identifiers.customer_number(1, 99_999_999), limit=1)
    assert await bank.accounts.ListAccounts(nobody, timeout=SECONDS) == pb.ListAccountsResponse()


async def test_the_banks_own_accounts_are_in_the_books_of_every_shard(bank: Bank, stores: Stores) -> None:
    await open_accounts(bank, accounts(await new_customers(bank, 3)))
    numbers = [
        chart.internal_account(shard_id, code, currency)
        for shard_id in SHARDS
        for code in (chart.Code.CASH, chart.Code.SUSPENSE, chart.Code.FEES)
        for currency in (CZK, EUR)
    ]
    floor = -limits.BALANCE_MINOR_MAX
    assert await books_of(bank, numbers) == [(True, number // 100 % 1000, floor) for number in numbers]


async def test_partner_banks_get_a_nostro_account_for_each_shard_and_currency(bank: Bank, stores: Stores) -> None:
    before = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(), timeout=SECONDS)
    request = pb.RegisterPartnerBanksRequest(bank_codes=["QR", "ST", "QR"])
    answer = await bank.accounts.RegisterPartnerBanks(request, timeout=SECONDS)
    named = [(nostro.bank_code, nostro.shard_id, nostro.currency) for nostro in answer.nostro_accounts]
    assert named == [(code, shard_id, n) for code in ("QR", "ST") for shard_id in SHARDS for n in (203, 840, 978)]
    numbers = [nostro.account_number for nostro in answer.nostro_accounts]
    floor = -limits.BALANCE_MINOR_MAX
    assert await books_of(bank, numbers) == [(True, nostro.currency, floor) for nostro in answer.nostro_accounts]
    assert await bank.accounts.RegisterPartnerBanks(request, timeout=SECONDS) == answer
    after = await bank.accounts.GetDirectory(pb.GetDirectoryRequest(known_version=before.version), timeout=SECONDS)
    assert after.version == before.version + 1
    assert {"QR", "ST"} <= {partner.bank_code for partner in after.partner_banks}


async def test_what_would_do_harm_is_refused_with_a_reason(bank: Bank, stores: Stores) -> None:
    item, code = pb.OpenCustomersRequest.Item, grpc.StatusCode.INVALID_ARGUMENT
    good = item(request_id=bytes(16))
    for items, reason in (
        ([good, item(request_id=b"short")], "UUID_INVALID"),
        ([item(request_id=bytes(16), display_name="a\0b")], "TEXT_INVALID"),
        ([good] * 8_001, "TOO_MANY_ITEMS"),
    ):
        call = bank.accounts.OpenCustomers(pb.OpenCustomersRequest(items=items), timeout=SECONDS)
        assert await reason_of(call) == (code, reason)
    account = pb.OpenAccountsRequest.Item(request_id=bytes(16), customer_number=195, currency=1)
    for call, reason in (
        (bank.accounts.OpenAccounts(pb.OpenAccountsRequest(items=[account]), timeout=SECONDS), "CURRENCY_UNKNOWN"),
        (bank.accounts.ListAccounts(pb.ListAccountsRequest(limit=0), timeout=SECONDS), "PAGE_SIZE_INVALID"),
        (bank.accounts.FindReferences(pb.FindReferencesRequest(), timeout=SECONDS), "KIND_INVALID"),
        (
            bank.accounts.RegisterPartnerBanks(pb.RegisterPartnerBanksRequest(bank_codes=[""]), timeout=SECONDS),
            "BANK_CODE_INVALID",
        ),
    ):
        assert await reason_of(call) == (code, reason)


async def test_eight_thousand_in_one_call(bank: Bank, stores: Stores) -> None:
    numbers = await new_customers(bank, 8_000)
    made = await open_accounts(bank, accounts(numbers))
    assert len({account.account_number for account in made}) == 8_000
    assert {account.state for account in made} == {State.ACTIVE}
    shares = Counter(number // (3000 * 10**10) for number in numbers)
    assert max(shares.values()) - min(shares.values()) <= 1


async def test_the_same_requests_at_once_open_each_once(bank: Bank, stores: Stores) -> None:
    wants = customers(300)
    calls = await asyncio.gather(*(open_customers(bank, wants[::step]) for step in (1, -1, 1, -1)))
    assert calls[0] == calls[1][::-1] == calls[2] == calls[3][::-1]
    wanted = accounts([customer.customer_number for customer in calls[0]])
    made = await asyncio.gather(*(open_accounts(bank, wanted[::step]) for step in (1, -1, 1, -1)))
    assert made[0] == made[1][::-1] == made[2] == made[3][::-1]


async def test_of_many_who_want_one_reference_at_once_one_gets_it(bank: Bank, stores: Stores) -> None:
    tag = os.urandom(4).hex()
    calls = await asyncio.gather(*(open_customers(bank, customers(40, tag)) for _ in range(12)))
    for results in zip(*calls, strict=True):
        assert Counter(result for result in results if isinstance(result, str)) == {"EXTERNAL_REFERENCE_TAKEN": 11}
    assert await stores.half_open() == []


async def test_a_request_that_is_being_opened_elsewhere_keeps_its_reference(bank: Bank, stores: Stores) -> None:
    """The request's shard is read before its number is claimed there, the reference's shard after."""
    read, opened = asyncio.Event(), asyncio.Event()

    class Before(Records):
        async def find_claims(self, names):
            claims = await super().find_claims(names)
            read.set()
            return claims

    class After(Records):
        async def find_claims(self, names):
            await opened.wait()
            return await super().find_claims(names)

    territory = await stores.territory()

    def homes(want: CustomerWanted) -> list[int]:
        names = [(Kind.CUSTOMER_REQUEST, want.request_id), (Kind.CUSTOMER_REFERENCE, want.external_reference.encode())]
        return [next(iter(territory.by_home([name]))) for name in names]

    want = next(want for want in customers(1_000) if homes(want) == [1, 2])
    shards = {1: stores.records(1, Before), 2: stores.records(2, After), 3: stores.shards[3]}
    slow = Lifecycle(stores.control, Territory(stores.control, shards, territory.directory), Books({}), stores.products)
    opening = asyncio.ensure_future(slow.open_customers([want]))
    await read.wait()
    (quick,) = await (await bank.lifecycle(stores)).open_customers([want])
    opened.set()
    assert await opening == [quick]
