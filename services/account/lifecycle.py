"""Opens customers and accounts: performs, shard by shard, the steps that `opening.py` explains.

Every part of every step is one statement that may be repeated, on one shard, for all items of the
call at once. So a crash between any two parts costs nothing but a number: the same request continues
with the number that it has claimed, and what nobody asks for again the sweeper finishes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.account import metrics
from services.account.books import Books
from services.account.opening import (
    Account,
    AccountWanted,
    Claim,
    Customer,
    CustomerWanted,
    Refusal,
    Sheet,
    State,
    Wanted,
)
from services.account.placing import Kind
from services.account.product_store import ProductStore
from services.account.records import Name, Records
from services.account.store import ControlStore
from services.account.territory import Territory, each_shard
from services.chassis import logs, status
from services.domain import errors
from services.domain.identifiers import slot_of_account, slot_of_customer
from services.domain.products import NONE, Catalogue

W = TypeVar("W", CustomerWanted, AccountWanted)
R = TypeVar("R", Customer, Account)
P = TypeVar("P")
A = TypeVar("A")
K = TypeVar("K")
V = TypeVar("V")

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Trade(Generic[W, R]):
    """What opening customers and opening accounts do each in their own way."""

    what: str
    request_kind: Kind
    reference_kind: Kind
    slot_of: Callable[[int], int]
    put: Callable[[Records, Mapping[int, W]], Awaitable[dict[int, R]]]
    activate: Callable[[Records, Sequence[int]], Awaitable[None]]
    discard: Callable[[Records, Sequence[int]], Awaitable[None]]


_CUSTOMERS: Final[_Trade[CustomerWanted, Customer]] = _Trade(
    "customer",
    Kind.CUSTOMER_REQUEST,
    Kind.CUSTOMER_REFERENCE,
    slot_of_customer,
    Records.put_customers,
    Records.activate_customers,
    Records.discard_customers,
)
_ACCOUNTS: Final[_Trade[AccountWanted, Account]] = _Trade(
    "account",
    Kind.ACCOUNT_REQUEST,
    Kind.ACCOUNT_REFERENCE,
    slot_of_account,
    Records.put_accounts,
    Records.activate_accounts,
    Records.discard_accounts,
)


class Lifecycle:
    """Opens, and finishes what was left half-opened.

    `before_part` is told the step before each of its parts begins; tests crash there.
    """

    def __init__(
        self,
        control: ControlStore,
        territory: Territory,
        books: Books,
        products: ProductStore,
        *,
        before_part: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._control = control
        self._territory = territory
        self._books = books
        self._products = products
        self._before_part = before_part

    async def open_customers(self, wants: Sequence[CustomerWanted]) -> list[Customer | Refusal]:
        """Open customers, each on its own; one result per place.

        Raises `Unavailable` when none is opened, `OutcomeUnknown` when some may be: the same
        requests again finish it.
        """
        sheet = Sheet(wants)
        sheet.read_references(await self._look_up(_CUSTOMERS, sheet))
        places = sheet.places_without_number()
        if places:
            self._before_part("reserve_numbers")
            sheet.give(places, await self._control.reserve_customers(len(places)))
            await self._claim_requests(_CUSTOMERS, sheet, places)
        return await self._complete(_CUSTOMERS, sheet, self.finish_customers)

    async def open_accounts(
        self, wants: Sequence[AccountWanted], *, deadline_seconds: float
    ) -> list[Account | Refusal]:
        """Open accounts down to the books, each on its own; one result per place. Raises as above."""
        until = _now() + deadline_seconds
        catalogue = await self._products.current()
        wants = [want.with_product(catalogue) for want in wants]
        sheet = Sheet(wants)
        owners = await self._look_up(_ACCOUNTS, sheet)
        known = await self._find_customers({wants[place].customer_number for place in sheet.places_without_number()})
        sheet.refuse_unless(lambda want: want.customer_number in known, Refusal.CUSTOMER_NOT_FOUND)
        sheet.refuse_unless(lambda want: want.product is not None, Refusal.PRODUCT_NOT_FOUND)
        sheet.refuse_unless(lambda want: _fits(want, catalogue), Refusal.PRODUCT_CURRENCY_MISMATCH)
        sheet.read_references(owners)
        places = sheet.places_without_number()
        if places:
            sheet.give(places, await self._reserve_accounts([wants[place].customer_number for place in places]))
            await self._claim_requests(_ACCOUNTS, sheet, places)
        return await self._complete(
            _ACCOUNTS, sheet, lambda half_open: self.finish_accounts(half_open, deadline_seconds=until - _now())
        )

    async def finish_customers(self, half_open: Sequence[Customer]) -> dict[int, Customer]:
        """Make half-opened customers active, and return them but for those whose reference is another's."""
        winners = await self._claim_references(_CUSTOMERS, half_open)
        await self._each_record(_CUSTOMERS, "activate", winners, _CUSTOMERS.activate)
        return {number: customer._replace(state=State.ACTIVE) for number, customer in winners.items()}

    async def finish_accounts(self, half_open: Sequence[Account], *, deadline_seconds: float) -> dict[int, Account]:
        """Put half-opened accounts into the books, make them active, and return them as above.

        An account that is in the books with other facts stays half-opened, a bug or a damage, unless somebody else
        has opened it meanwhile: then it is as it was changed since.
        """
        until = _now() + deadline_seconds
        winners = await self._claim_references(_ACCOUNTS, half_open)
        catalogue = await self._products.current()
        standards = {number: catalogue.standard(account.product) for number, account in winners.items()}

        async def enter(shard_id: int, numbers: list[int]) -> set[int]:
            accounts = [winners[number] for number in numbers]
            return await self._books.open_customer_accounts(
                shard_id, accounts, standards, self._territory.directory, deadline_seconds=until - _now()
            )

        entered = set[int]().union(
            *await self._each_shard("account", "enter_books", self._by_shard(_ACCOUNTS, winners), enter)
        )
        await self._each_record(_ACCOUNTS, "activate", entered, _ACCOUNTS.activate)
        if len(entered) < len(winners):
            entered |= await self._opened_meanwhile(winners.keys() - entered)
        return {
            number: account._replace(state=State.ACTIVE) if number in entered else account
            for number, account in winners.items()
        }

    async def _opened_meanwhile(self, numbers: Iterable[int]) -> set[int]:
        """Tell which of the accounts are active that the books have with other facts; log the rest."""

        async def read(shard_id: int, numbers: list[int]) -> set[int]:
            records = await self._territory.records(shard_id).accounts(numbers)
            active = {number for number, account in records.items() if account.state == State.ACTIVE}
            if len(active) < len(numbers):
                conflicts = sorted(set(numbers) - active)
                _log.error("books_conflict", shard=shard_id, accounts=conflicts[:10], account_count=len(conflicts))
            return active

        parts = self._by_shard(_ACCOUNTS, numbers)
        return set[int]().union(*await self._each_shard("account", "read_conflicts", parts, read))

    async def _look_up(self, trade: _Trade[W, R], sheet: Sheet[W]) -> dict[str, int]:
        """Read what the request ids stand for; return the owners of the external references."""
        requests: list[Name] = [(trade.request_kind, want.request_id) for want in sheet.wants]
        references = [(trade.reference_kind, _key(want)) for want in sheet.wants if want.external_reference]
        claims = await self._find_claims(trade, requests + references)
        sheet.read_requests({key: claim for (kind, key), claim in claims.items() if kind == trade.request_kind})
        owners = {key.decode(): claim.number for (kind, key), claim in claims.items() if kind == trade.reference_kind}
        # The shards were not read at one moment: a reference may be owned by the very request that had
        # claimed no number yet when its own shard was read. It has by now.
        late = [p for p in sheet.places_without_number() if sheet.wants[p].external_reference in owners]
        if late:
            claims = await self._find_claims(trade, [requests[place] for place in late])
            sheet.read_requests({key: claim for (_, key), claim in claims.items()})
        return owners

    async def _find_claims(self, trade: _Trade[W, R], names: Iterable[Name]) -> dict[Name, Claim]:
        async def find(shard_id: int, homes: dict[Name, int]) -> dict[Name, Claim]:
            return await self._territory.records(shard_id).find_claims(list(homes))

        return _merged(await self._each_shard(trade.what, "look_up", self._territory.by_home(names), find))

    async def _find_customers(self, numbers: set[int]) -> set[int]:
        async def find(shard_id: int, numbers: list[int]) -> set[int]:
            return await self._territory.records(shard_id).active_customers(numbers)

        parts = self._territory.by_shard(numbers, slot_of_customer)
        return set[int]().union(*await self._each_shard("account", "find_customers", parts, find))

    async def _reserve_accounts(self, customer_numbers: Sequence[int]) -> list[int]:
        """Give out an account number beside each of these customers."""
        parts = self._territory.by_shard(
            range(len(customer_numbers)), lambda place: slot_of_customer(customer_numbers[place])
        )

        async def reserve(shard_id: int, places: list[int]) -> dict[int, int]:
            slots = [slot_of_customer(customer_numbers[place]) for place in places]
            numbers = await self._territory.records(shard_id).reserve_accounts(slots)
            return dict(zip(places, numbers, strict=True))

        numbers = _merged(await self._each_shard("account", "reserve_numbers", parts, reserve))
        return [numbers[place] for place in range(len(customer_numbers))]

    async def _claim_requests(self, trade: _Trade[W, R], sheet: Sheet[W], places: Sequence[int]) -> None:
        """Bind request ids to the numbers just given; a number that somebody else bound meanwhile wins."""
        claims: dict[Name, Claim] = {
            (trade.request_kind, sheet.wants[place].request_id): Claim(sheet.numbers[place], sheet.fingerprints[place])
            for place in places
            if place in sheet.numbers
        }
        owners = await self._claim(trade.what, "claim_requests", claims)
        sheet.read_requests({key: claim for (_, key), claim in owners.items()})

    async def _complete(
        self,
        trade: _Trade[W, R],
        sheet: Sheet[W],
        finish: Callable[[Sequence[R]], Awaitable[dict[int, R]]],
    ) -> list[R | Refusal]:
        """Write the records and make them active: from here on the sweeper would do it, too."""
        wants = {sheet.numbers[place]: sheet.wants[place] for place in sheet.open_places()}

        async def put(shard_id: int, numbers: list[int]) -> dict[int, R]:
            return await trade.put(self._territory.records(shard_id), {number: wants[number] for number in numbers})

        with _doubtful():
            parts = self._by_shard(trade, wants)
            records = _merged(await self._each_shard(trade.what, "write_records", parts, put))
            half_open = [record for record in records.values() if record.state == State.OPENING]
            finished = await finish(half_open)
        lost = {record.number for record in half_open} - finished.keys()
        sheet.refuse_numbers(lost | (wants.keys() - records.keys()))
        results = sheet.results(records | finished)
        for result, count in Counter(r if isinstance(r, Refusal) else "OPEN" for r in results).items():
            metrics.OPENINGS.labels(trade.what, result).inc(count)
        for (reason, channel), count in _refused(results, sheet.wants).items():
            _log.info("openings_refused", what=trade.what, reason=reason, channel=channel, count=count)
        return results

    async def _claim_references(self, trade: _Trade[W, R], half_open: Sequence[R]) -> dict[int, R]:
        """Claim the records' external references; return by number those that have theirs, discard the others."""
        claims: dict[Name, Claim] = {}
        for record in half_open:
            if record.external_reference:
                claims.setdefault((trade.reference_kind, _key(record)), Claim(record.number, 0))
        owners = await self._claim(trade.what, "claim_references", claims)
        winners = {
            record.number: record
            for record in half_open
            if not record.external_reference or owners[trade.reference_kind, _key(record)].number == record.number
        }
        losers = [record.number for record in half_open if record.number not in winners]
        await self._each_record(trade, "discard", losers, trade.discard)
        return winners

    async def _claim(self, what: str, step: str, claims: Mapping[Name, Claim]) -> dict[Name, Claim]:
        async def claim(shard_id: int, homes: dict[Name, int]) -> dict[Name, Claim]:
            return await self._territory.records(shard_id).claim({name: claims[name] for name in homes}, homes)

        return _merged(await self._each_shard(what, step, self._territory.by_home(claims), claim))

    async def _each_record(
        self,
        trade: _Trade[W, R],
        step: str,
        numbers: Iterable[int],
        act: Callable[[Records, Sequence[int]], Awaitable[None]],
    ) -> None:
        async def part(shard_id: int, numbers: list[int]) -> None:
            await act(self._territory.records(shard_id), numbers)

        await self._each_shard(trade.what, step, self._by_shard(trade, numbers), part)

    def _by_shard(self, trade: _Trade[W, R], numbers: Iterable[int]) -> dict[int, list[int]]:
        return self._territory.by_shard(numbers, trade.slot_of)

    async def _each_shard(
        self, what: str, step: str, parts: Mapping[int, P], act: Callable[[int, P], Awaitable[A]]
    ) -> list[A]:
        async def part(shard_id: int, items: P) -> A:
            self._before_part(step)
            return await act(shard_id, items)

        with metrics.STEP_SECONDS.labels(what, step).time():
            return await each_shard(parts, part)


def _refused(results: Iterable[object], wants: Iterable[Wanted]) -> Counter[tuple[str, str]]:
    """Count refusals by reason and channel: no record of them is left, so the log says that they were asked for."""
    pairs = zip(results, wants, strict=True)
    return Counter((str(result), want.opener.channel) for result, want in pairs if isinstance(result, Refusal))


def _fits(want: AccountWanted, catalogue: Catalogue) -> bool:
    return want.product is None or want.product == NONE or catalogue.products[want.product].currency == want.currency


def _key(named: Wanted | Customer | Account) -> bytes:
    return named.external_reference.encode()


def _merged(parts: Iterable[Mapping[K, V]]) -> dict[K, V]:
    return {key: value for part in parts for key, value in part.items()}


def _now() -> float:
    return asyncio.get_running_loop().time()


@contextmanager
def _doubtful() -> Iterator[None]:
    """Say honestly that what failed here may be done all the same."""
    try:
        yield
    except (errors.Unavailable, errors.WrongShard, errors.DeadlinePassed) as error:
        raise errors.OutcomeUnknown(
            status.DOUBT_REASON, "some of these may be open: send the same requests again"
        ) from error
