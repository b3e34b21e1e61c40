"""What a gateway remembers of products: looked up once, forgotten when moved, never remembered wrongly."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hivecore.account.v1 import account_pb2
from hivecore.product.v1 import product_pb2

from services.domain import errors
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.identifiers import account_number
from services.gateway.columns import Transfers
from services.gateway.products import Products

PAYER, FREE, PAYEE = (account_number(0, serial) for serial in (1, 2, 3))
DIRECTORY = Directory(1, (ShardFacts(1, (), 1, 0),), (SlotRange(0, 0, 1, 1),), {}, (203,))


class Accounts:
    """An account service whose accounts are moved by tests; `asked` are the accounts looked up."""

    def __init__(self) -> None:
        self.version = {PAYER: 1, FREE: 0}
        self.moved: list[int] = []
        self.asked: list[list[int]] = []
        self.prices = {1: 7, 2: 9}
        self.is_away = False
        self.before_answer: asyncio.Event | None = None

    async def call(self, method: str, request: Any, _deadline: float) -> Any:
        if self.is_away:
            raise errors.Unavailable("PEER_UNREACHABLE", "away")
        return await getattr(self, f"_{method}")(request)

    async def _GetCatalogue(self, request: Any) -> Any:
        tier = product_pb2.Fee.Tier
        return account_pb2.Catalogue(
            version=len(self.prices),
            products=[
                product_pb2.Product(
                    code="P",
                    version=version,
                    currency_code="CZK",
                    kind=product_pb2.Product.CURRENT,
                    fees=[product_pb2.Fee(kind=1, method=1, tiers=[tier(fixed_minor=price)])],  # type: ignore[arg-type]
                )
                for version, price in self.prices.items()
            ],
        )

    async def _ListMovedAccounts(self, request: Any) -> Any:
        after = request.marks[0].after
        numbers = [] if after < 0 else self.moved[after:]
        moves = account_pb2.ListMovedAccountsResponse.Moves(
            shard_id=1, through=len(self.moved), account_numbers=numbers
        )
        return account_pb2.ListMovedAccountsResponse(moves=[moves])

    async def _GetAccounts(self, request: Any) -> Any:
        numbers = list(request.account_numbers)
        self.asked.append(numbers)
        found = [
            account_pb2.Account(
                account_number=number,
                product_code="P" if self.version[number] else "",
                product_version=self.version[number],
            )
            for number in numbers
        ]
        if self.before_answer is not None:
            await self.before_answer.wait()
        return account_pb2.GetAccountsResponse(accounts=found)

    def move(self, number: int, version: int) -> None:
        self.version[number] = version
        self.moved.append(number)


async def fees(products: Products, *payers: int) -> list[int]:
    count = len(payers)
    asked = Transfers(bytes(16 * count), list(payers), [PAYEE] * count, [5] * count, [203] * count)
    faults = await products.charge(asked, (), 0.0)
    if faults:
        raise faults[0]
    by_place = {leg.place: leg.amount_minor for leg in asked.further_legs}
    return [by_place.get(place, 0) for place in range(count)]


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


def products_of(accounts: Accounts, size: int = 100) -> Products:
    return Products(SimpleNamespace(current=DIRECTORY), accounts, size)  # type: ignore[arg-type]


async def test_an_account_is_looked_up_once_and_again_when_it_was_moved(accounts: Accounts) -> None:
    products = products_of(accounts)
    await products.refresh()
    for _ in range(2):
        assert await fees(products, PAYER, FREE, PAYER) == [7, 0, 7]
    assert accounts.asked == [[PAYER, FREE]]
    accounts.move(PAYER, 2)
    assert await fees(products, PAYER) == [7]
    await products.refresh()
    assert await fees(products, PAYER, FREE) == [9, 0]
    assert accounts.asked == [[PAYER, FREE], [PAYER]]


async def test_without_fees_nothing_is_looked_up(accounts: Accounts) -> None:
    accounts.prices = {}
    products = products_of(accounts)
    await products.refresh()
    assert await fees(products, PAYER) == [0]
    assert accounts.asked == []


async def test_nobody_pays_for_free_at_a_gateway_that_has_no_catalogue_yet(accounts: Accounts) -> None:
    products = products_of(accounts)
    accounts.is_away = True
    with pytest.raises(errors.Unavailable) as refused:
        await fees(products, PAYER)
    assert refused.value.reason == "CATALOGUE_NOT_LOADED"
    accounts.is_away = False
    await products.refresh()
    assert await fees(products, PAYER) == [7]


async def test_what_moves_while_it_is_looked_up_is_not_remembered(accounts: Accounts) -> None:
    products = products_of(accounts)
    await products.refresh()
    accounts.before_answer = asyncio.Event()
    paying = asyncio.create_task(fees(products, PAYER))
    while not accounts.asked:
        await asyncio.sleep(0)
    accounts.move(PAYER, 2)
    await products.refresh()
    accounts.before_answer.set()
    assert await paying == [7]
    assert await fees(products, PAYER) == [9]
    assert len(accounts.asked) == 2


async def test_nothing_is_remembered_of_a_shard_whose_moves_are_not_followed(accounts: Accounts) -> None:
    products = products_of(accounts)
    await products.refresh_catalogue()
    assert [await fees(products, PAYER) for _ in range(2)] == [[7], [7]]
    assert len(accounts.asked) == 2


async def test_a_version_that_is_new_here_is_asked_for(accounts: Accounts) -> None:
    products = products_of(accounts)
    await products.refresh()
    accounts.prices[3] = 11
    accounts.version[PAYER] = 3
    assert await fees(products, PAYER) == [11]


async def test_while_the_account_service_is_away_only_strangers_wait(accounts: Accounts) -> None:
    products = products_of(accounts)
    await products.refresh()
    await fees(products, PAYER)
    accounts.is_away = True
    assert await fees(products, PAYER) == [7]
    with pytest.raises(errors.Unavailable):
        await fees(products, FREE)
