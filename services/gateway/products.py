"""Products as this gateway knows them: the catalogue whole, and which product the accounts used lately have.

A published version never changes, so a price can only be old because an account was moved. Moves are
asked for every few seconds, and forgotten accounts are looked up again; what moved while a look-up was
under way is used once and not remembered. An account whose shard's moves are not followed yet is not
remembered at all. Money goes on moving while the account service is away, with the products at hand;
only a payer that nobody remembers has to wait for it, and only in a bank that charges fees.

Never here: what a price is, or fee legs (`pricing.py`).
"""

import asyncio
from collections.abc import Collection
from typing import Final

from hivecore.account.v1 import account_pb2

from services.chassis import catalogue_wire, logs
from services.chassis.bounded import Bounded
from services.chassis.directory_cache import DirectoryCache
from services.domain import chart, errors, limits
from services.domain.products import NONE, Catalogue, Reference
from services.gateway.columns import Transfers
from services.gateway.peers import AccountService
from services.gateway.pricing import Tariff, charge

REFRESH_SECONDS: Final = 2.0
"""How old a product may be at other gateways than the one that moved the account, besides the question's own time."""

FETCH_SECONDS_MAX: Final = 3.0
FIRST_COPY_RETRY_SECONDS: Final = 0.2
MOVES_LISTED_MAX: Final = 1_000

_FREE: Final = 0
"""Place in the tariffs of all products without prices."""

_log = logs.get(__name__)


class Products:
    """Knows products and prices transfers. Made inside the running event loop."""

    def __init__(self, directory: DirectoryCache, account_service: AccountService, accounts_max: int) -> None:
        self.catalogue = Catalogue()
        self._is_loaded = False
        self._directory = directory
        self._account_service = account_service
        self._known: Bounded[int, int] = Bounded(accounts_max)
        """Account -> place in the tariffs."""
        self._tariffs: list[Tariff] = [{}]
        self._place_by_product: dict[Reference, int] = {NONE: _FREE}
        self._moves_through: dict[int, int] = {}
        """Shard -> the last move that was heard of."""
        self._looking_up = 0
        self._moved_meanwhile: set[int] = set()
        """Accounts moved since the oldest look-up under way began."""
        self._refreshing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the directory and the first copy, then keep it fresh in the background."""
        await self._directory.start()
        while True:
            try:
                await self.refresh()
                break
            except errors.BankError as error:
                _log.info("catalogue_not_there_yet", reason=error.reason)
                await asyncio.sleep(FIRST_COPY_RETRY_SECONDS)
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="products refresh")

    async def close(self) -> None:
        """Stop refreshing."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    async def refresh(self) -> None:
        """Learn of new products, then of moved accounts. Raises `BankError` when nobody answers."""
        await self.refresh_catalogue()
        await self._follow_moves()

    async def refresh_catalogue(self) -> None:
        """Learn of new products. Raises `BankError` when the account service does not answer."""
        asked = account_pb2.GetCatalogueRequest(known_version=self.catalogue.version)
        answer = await self._account_service.call("GetCatalogue", asked, _soon())
        self._is_loaded = True
        if answer.unchanged or answer.version < self.catalogue.version:
            return
        self.catalogue = catalogue_wire.read_catalogue(answer)
        for reference, product in self.catalogue.products.items():
            if reference not in self._place_by_product:
                self._place_by_product[reference] = len(self._tariffs) if product.fees else _FREE
                if product.fees:
                    self._tariffs.append({fee.kind: fee for fee in product.fees})
        _log.info("catalogue", version=self.catalogue.version, product_count=len(self.catalogue.products))

    def forget(self, numbers: Collection[int]) -> None:
        """Look accounts up again when they pay next: they were moved."""
        self._known.forget(numbers)
        if self._looking_up:
            self._moved_meanwhile.update(numbers)

    async def charge(
        self, transfers: Transfers, refused: Collection[int], deadline: float
    ) -> dict[int, errors.BankError]:
        """Add the fee legs of transfers that are not refused; tell, by place, which cannot be priced now.

        Raises `Unavailable` (CATALOGUE_NOT_LOADED) before the first copy: nobody knows then that there are no fees.
        """
        if not self._is_loaded:
            raise errors.Unavailable("CATALOGUE_NOT_LOADED", "this service is still starting")
        if len(self._tariffs) == 1:
            return {}
        payers = transfers.debit_accounts
        if transfers.further_legs:
            payers = payers + [leg.debit_account for leg in transfers.further_legs]
        places = self._known.pick(payers)
        faults: dict[int, errors.BankError] = {}
        if None in places:
            strangers = self._strangers(transfers, refused)
            if strangers:
                try:
                    learned = await self._look_up(strangers, deadline)
                except errors.BankError as error:
                    faults = _unpriced(transfers, strangers, refused, error)
                    learned = {}
                places = [
                    learned.get(payer, _FREE) if place is None else place
                    for payer, place in zip(payers, places, strict=True)
                ]
        if not any(places):
            return faults
        tariffs = {payer: self._tariffs[place] for payer, place in zip(payers, places, strict=True) if place}
        return faults | charge(transfers, tariffs, {*refused, *faults})

    def _strangers(self, transfers: Transfers, refused: Collection[int]) -> set[int]:
        """Return customers' accounts that pay and are not remembered."""
        payers = {payer for place, payer in enumerate(transfers.debit_accounts) if place not in refused}
        payers.update(leg.debit_account for leg in transfers.further_legs if leg.place not in refused)
        return {
            payer for payer in payers if payer > 0 and not chart.is_internal(payer) and self._known.get(payer) is None
        }

    async def _look_up(self, numbers: Collection[int], deadline: float) -> dict[int, int]:
        """Ask which products accounts have; those that there are not are absent."""
        wanted = sorted(numbers)
        learned: dict[int, int] = {}
        self._looking_up += 1
        try:
            for first in range(0, len(wanted), limits.OPENINGS_PER_CALL_MAX):
                part = wanted[first : first + limits.OPENINGS_PER_CALL_MAX]
                asked = account_pb2.GetAccountsRequest(account_numbers=part)
                answer = await self._account_service.call("GetAccounts", asked, deadline)
                for account in answer.accounts:
                    if account.account_number:
                        learned[account.account_number] = await self._place_of(account)
            followed = self._moves_through.keys()
            shard_of = self._directory.current.shard_of_account
            self._known.update(
                {
                    number: place
                    for number, place in learned.items()
                    if number not in self._moved_meanwhile and shard_of(number) in followed
                }
            )
        finally:
            self._looking_up -= 1
            if not self._looking_up:
                self._moved_meanwhile.clear()
        return learned

    async def _place_of(self, account: account_pb2.Account) -> int:
        reference = Reference(account.product_code, account.product_version)
        if reference not in self._place_by_product:
            await self.refresh_catalogue()
        return self._place_by_product[reference]

    async def _follow_moves(self) -> None:
        """Forget the accounts that were moved since this was asked last."""
        mark = account_pb2.ListMovedAccountsRequest.Mark
        shards = list(self._directory.current.shard_ids)
        while shards:
            marks = [mark(shard_id=shard_id, after=self._moves_through.get(shard_id, -1)) for shard_id in shards]
            asked = account_pb2.ListMovedAccountsRequest(marks=marks)
            answer = await self._account_service.call("ListMovedAccounts", asked, _soon())
            shards = []
            for moves in answer.moves:
                self.forget(moves.account_numbers)
                self._moves_through[moves.shard_id] = moves.through
                if len(moves.account_numbers) >= MOVES_LISTED_MAX:
                    shards.append(moves.shard_id)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except errors.BankError as error:
                _log.warning("products_not_refreshed", reason=error.reason, version=self.catalogue.version)


def _unpriced(
    transfers: Transfers, strangers: Collection[int], refused: Collection[int], error: errors.BankError
) -> dict[int, errors.BankError]:
    """Tell, by place, what nobody can price now."""
    places = {place for place, payer in enumerate(transfers.debit_accounts) if payer in strangers}
    places.update(leg.place for leg in transfers.further_legs if leg.debit_account in strangers)
    return dict.fromkeys(sorted(places.difference(refused)), error)


def _soon() -> float:
    return asyncio.get_running_loop().time() + FETCH_SECONDS_MAX
