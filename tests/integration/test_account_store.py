"""The control database and the records of the shards, on real PostgreSQL."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from account_bank import CZK, EUR, Stores, customers, made_databases, opened_stores, plans

from services.account.books import Books
from services.account.database import Database
from services.account.lifecycle import Lifecycle
from services.account.opening import NOBODY, AccountWanted, Claim, Customer, CustomerWanted, Opener, Refusal, State
from services.account.placing import Kind
from services.account.records import Records
from services.account.store import ShardPlan
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.domain import errors, identifiers
from services.domain.directory import SlotRange


@pytest.fixture(scope="module")
async def opened(postgres: EmbeddedPostgres) -> AsyncIterator[Stores]:
    async with made_databases(postgres, "account_store") as dsns, opened_stores(*dsns) as stores:
        yield stores


@pytest.fixture
async def stores(opened: Stores) -> Stores:
    await opened.empty()
    return opened


async def test_the_first_start_shares_the_slots_out(stores: Stores) -> None:
    assert await stores.control.register(plans(), [CZK]) == []
    directory = await stores.control.directory()
    assert directory.version == 1
    assert directory.slots == (SlotRange(0, 2999, 1, 1), SlotRange(3000, 5999, 2, 1), SlotRange(6000, 8999, 3, 1))
    assert [shard.ledger_addresses for shard in directory.shards] == [
        plan.ledger_addresses for plan in plans().values()
    ]
    assert directory.currencies == (CZK,)


async def test_starting_again_changes_nothing(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK, EUR])
    before = await stores.control.directory()
    await stores.control.register(plans(), [EUR, CZK])
    assert await stores.control.directory() == before


async def test_two_processes_that_start_at_once_make_one_directory(stores: Stores) -> None:
    await asyncio.gather(*(stores.control.register(plans(), [CZK]) for _ in range(4)))
    assert (await stores.control.directory()).version == 1


async def test_whatever_the_operator_changes_makes_a_new_version(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    moved = plans() | {2: ShardPlan(("10.0.0.2:7102", "10.0.0.3:7102"), 5_000_000)}
    larger = moved | {3: replace(moved[3], customer_quota=6_000_000)}
    for version, (changed, currencies) in enumerate([(moved, [CZK]), (larger, [CZK]), (larger, [CZK, EUR])], start=2):
        await stores.control.register(changed, currencies)
        assert await stores.control.directory_version() == version
    directory = await stores.control.directory()
    assert directory.shards[1].ledger_addresses == ("10.0.0.2:7102", "10.0.0.3:7102")
    assert directory.shards[2].customer_quota == 6_000_000
    assert directory.currencies == (CZK, EUR)


async def test_a_shard_that_comes_later_has_no_slots_and_takes_nobody(stores: Stores) -> None:
    await stores.control.register(plans(shard_ids=[1, 2]), [CZK])
    assert await stores.control.register(plans(), [CZK]) == [3]
    numbers = await stores.control.reserve_customers(100)
    directory = await stores.control.directory()
    assert {directory.shard_of_customer(number) for number in numbers} == {1, 2}


async def test_a_shard_with_slots_cannot_be_left_out(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    with pytest.raises(errors.Refused, match="shard 3") as refused:
        await stores.control.register(plans(shard_ids=[1, 2]), [CZK])
    assert refused.value.reason == "SHARD_MISSING"


async def test_slots_that_moved_show_as_ranges_of_their_own(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    await stores.ask(0, "UPDATE control.slot SET shard_id = 3, epoch = 2 WHERE slot BETWEEN 10 AND 11")
    assert (await stores.control.directory()).slots[:4] == (
        SlotRange(0, 9, 1, 1),
        SlotRange(10, 11, 3, 2),
        SlotRange(12, 2999, 1, 1),
        SlotRange(3000, 5999, 2, 1),
    )


async def test_customers_fill_the_slots_of_each_shard_in_order(stores: Stores) -> None:
    await stores.control.register(plans(quota=6_000), [CZK])  # two customers for each slot
    numbers = await stores.control.reserve_customers(15)
    slots = Counter(map(identifiers.slot_of_customer, numbers))
    assert slots == {slot: 1 if slot % 10 == 2 else 2 for first in (0, 3000, 6000) for slot in range(first, first + 3)}
    assert all(identifiers.parse_customer_number(identifiers.customer_text(number)) for number in numbers)


async def test_no_number_is_given_out_twice_however_many_ask_at_once(stores: Stores) -> None:
    await stores.control.register(plans(quota=6_000), [CZK])
    calls = await asyncio.gather(*(stores.control.reserve_customers(count) for count in range(1, 60)))
    numbers = [number for call in calls for number in call]
    assert len(set(numbers)) == len(numbers) == sum(range(1, 60))
    await _counts_agree(stores, len(numbers))


async def test_a_full_bank_gives_out_what_is_left_and_then_nothing(stores: Stores) -> None:
    await stores.control.register(plans(quota=10), [CZK])
    calls = [await stores.control.reserve_customers(count) for count in (4, 20, 9, 1)]
    assert [len(call) for call in calls] == [4, 20, 6, 0]
    await _counts_agree(stores, 30)


async def test_a_larger_quota_opens_the_first_slots_again(stores: Stores) -> None:
    await stores.control.register(plans(quota=3_000), [CZK])
    first = await stores.control.reserve_customers(9_000)
    assert await stores.control.reserve_customers(1) == []
    await stores.control.register(plans(quota=6_000), [CZK])
    second = await stores.control.reserve_customers(9_001)
    assert len({*first, *second}) == 18_000
    await _counts_agree(stores, 18_000)


async def _counts_agree(stores: Stores, customer_count: int) -> None:
    rows = await stores.ask(
        0,
        "SELECT customer_count, slot_count, sum(last_serial)::bigint, count(*) "
        "FROM control.shard JOIN control.slot USING (shard_id) GROUP BY shard_id",
    )
    assert all(row[0] == row[2] and row[1] == row[3] for row in rows)
    assert sum(row[0] for row in rows) == customer_count


async def test_a_partner_bank_is_shown_only_when_it_is_ready(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    partners = await stores.control.add_partners(["YZ", "AB", "YZ"])
    assert [(partner.partner_number, partner.bank_code) for partner in partners] == [(1, "YZ"), (2, "AB")]
    hidden = await stores.control.directory()
    assert (hidden.version, hidden.partner_numbers) == (1, {})
    for _ in range(2):
        await stores.control.show_partners([1, 2])
        shown = await stores.control.directory()
        assert (shown.version, shown.partner_numbers) == (2, {"YZ": 1, "AB": 2})


async def test_partner_banks_keep_their_numbers(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    calls = await asyncio.gather(*(stores.control.add_partners(["AB", code]) for code in ("CD", "EF", "GH")))
    assert len({partner.partner_number for call in calls for partner in call}) == 4
    assert len({partner for call in calls for partner in call if partner.bank_code == "AB"}) == 1


async def test_the_thousandth_partner_bank_is_refused(stores: Stores) -> None:
    await stores.control.register(plans(), [CZK])
    await stores.control.add_partners([f"B{n}" for n in range(998)])
    with pytest.raises(errors.Refused) as refused:
        await stores.control.add_partners(["X", "Y"])
    assert refused.value.reason == "TOO_MANY_PARTNER_BANKS"
    assert (await stores.control.add_partners(["X"]))[0].partner_number == 999


async def test_a_name_stands_for_what_it_was_claimed_for_first(stores: Stores) -> None:
    shard = stores.shards[1]
    names = [(Kind.CUSTOMER_REQUEST, b"a" * 16), (Kind.ACCOUNT_REQUEST, b"a" * 16), (Kind.CUSTOMER_REFERENCE, b"r")]
    claims = {name: Claim(place, -place) for place, name in enumerate(names, start=1)}
    slots = dict.fromkeys(names, 5)
    assert await shard.claim({names[0]: claims[names[0]]}, slots) == {names[0]: Claim(1, -1)}
    other = {name: Claim(9, 9) for name in names}
    assert await shard.claim(other, slots) == other | {names[0]: Claim(1, -1)}
    assert await shard.find_claims([*names, (Kind.ACCOUNT_REFERENCE, b"r")]) == other | {names[0]: Claim(1, -1)}


async def test_calls_that_claim_the_same_names_in_any_order_never_deadlock(stores: Stores) -> None:
    shard = stores.shards[1]
    names = [(Kind.CUSTOMER_REQUEST, os.urandom(16)) for _ in range(500)]
    slots = dict.fromkeys(names, 0)

    async def claim(number: int) -> dict[tuple[Kind, bytes], Claim]:
        order = names if number % 2 else names[::-1]
        return await shard.claim({name: Claim(number, 0) for name in order}, slots)

    answers = await asyncio.gather(*map(claim, range(8)))
    assert all(answer == answers[0] for answer in answers)


async def test_account_serials_are_given_out_once_for_each_slot(stores: Stores) -> None:
    shard = stores.shards[1]
    assert await shard.reserve_accounts([7, 5, 7]) == [
        identifiers.account_number(7, 1),
        identifiers.account_number(5, 1),
        identifiers.account_number(7, 2),
    ]
    calls = await asyncio.gather(*(shard.reserve_accounts([7, 5] if n % 2 else [5, 7]) for n in range(50)))
    assert len({number for call in calls for number in call}) == 100


async def test_a_record_that_is_there_stays_as_it_is(stores: Stores) -> None:
    shard, number = stores.shards[1], identifiers.customer_number(3, 1)
    first = await shard.put_customers({number: CustomerWanted(bytes(16), "R", "Ada", Opener("web", "anna"))})
    assert first[number][:4] == (number, "R", "Ada", State.OPENING)
    assert (first[number].request_id, first[number].opener) == (bytes(16), ("web", "anna"))
    await shard.activate_customers([number])
    again = await shard.put_customers({number: CustomerWanted(bytes(range(16)), "S", "Bob", Opener("cli", "eve"))})
    assert again == {number: first[number]._replace(state=State.ACTIVE)}
    await shard.discard_customers([number])
    assert await shard.customers([number]) == again


async def test_who_opened_a_record_is_not_changed_and_may_be_unknown(stores: Stores) -> None:
    shard, number = stores.shards[1], identifiers.customer_number(3, 1)
    await shard.put_customers({number: CustomerWanted(bytes(16), "", "")})
    with pytest.raises(asyncpg.RestrictViolationError, match=r"who opened .* stays"):
        await stores.ask(1, "UPDATE account.customer SET subject = 'eve'")
    earlier = "INSERT INTO account.customer (customer_number, external_reference, display_name) VALUES ($1, '', '')"
    other = identifiers.customer_number(3, 2)
    await stores.ask(1, earlier, other)
    assert (await shard.customers([other]))[other][-2:] == (b"", NOBODY)


async def test_an_account_needs_its_customer_and_lies_in_its_slot(stores: Stores) -> None:
    shard, customer = stores.shards[1], identifiers.customer_number(3, 1)
    for number, error in (
        (identifiers.account_number(3, 1), asyncpg.ForeignKeyViolationError),
        (identifiers.account_number(4, 1), asyncpg.CheckViolationError),
    ):
        with pytest.raises(error):
            await shard.put_accounts({number: AccountWanted(bytes(16), customer, CZK, "")})


async def test_the_oldest_half_opened_records_come_first(stores: Stores) -> None:
    shard = stores.shards[1]
    numbers = [identifiers.customer_number(3, serial) for serial in (1, 2, 3)]
    for number in reversed(numbers):
        await shard.put_customers({number: CustomerWanted(bytes(16), "", "")})
    await shard.activate_customers([numbers[1]])
    assert list(await shard.stale_customers(-1.0, 10)) == [numbers[2], numbers[0]]
    assert await shard.stale_customers(-1.0, 1) == await shard.customers([numbers[2]])
    assert await shard.stale_customers(3600.0, 10) == {}


async def test_a_database_that_does_not_answer_is_unavailable(stores: Stores) -> None:
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with pytest.raises(errors.Unavailable, match="shard 1 does not answer"):
        await stores.ask(1, terminate)
    assert await stores.shards[1].customers([1]) == {}


async def test_a_database_that_has_not_answered_yet_is_unavailable() -> None:
    database = Database("postgresql://127.0.0.1:1/nothing", "shard 9", "migrations/shard")
    with pytest.raises(errors.Unavailable, match="shard 9 does not answer"):
        await Records(database).customers([1])
    await database.close()


async def test_in_a_full_bank_the_first_places_of_a_call_are_opened_and_the_same_call_finishes_later(
    stores: Stores,
) -> None:
    await stores.control.register(plans(quota=2), [CZK])
    lifecycle = Lifecycle(stores.control, await stores.territory(), Books({}), stores.products)
    wants = customers(8)
    results = await lifecycle.open_customers(wants)
    assert [isinstance(result, Customer) for result in results] == [True] * 6 + [False] * 2
    assert results[6:] == [Refusal.BANK_FULL] * 2
    await stores.control.register(plans(quota=3), [CZK])
    again = await lifecycle.open_customers(wants)
    assert again[:6] == results[:6]
    assert [want.external_reference for want in wants] == [customer.external_reference for customer in again]
    assert len(set(again)) == 8
