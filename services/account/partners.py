"""Partner banks and the bank's own accounts: nothing is shown in the directory before it is in all books.

A transfer to an account that is not in the books is refused for ever, so a partner bank gets its
number first, then its nostro accounts on every shard, and only then does the directory name it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from services.account import metrics
from services.account.books import Books
from services.account.store import ControlStore, Partner
from services.account.territory import Territory, each_shard
from services.chassis import logs
from services.domain import chart
from services.domain.errors import BankError

_log = logs.get(__name__)


class NostroAccount(NamedTuple):
    """Our account at a partner bank, as one shard keeps it; `currency` is ISO 4217 numeric."""

    bank_code: str
    shard_id: int
    currency: int
    account_number: int


class Partners:
    """Registers partner banks; opens the bank's own accounts."""

    def __init__(self, control: ControlStore, territory: Territory, books: Books) -> None:
        self._control = control
        self._territory = territory
        self._books = books

    async def register(self, bank_codes: Sequence[str], *, deadline_seconds: float) -> list[NostroAccount]:
        """Register partner banks, those that are new, and return their nostro accounts on all shards.

        Raises `Refused` (TOO_MANY_PARTNER_BANKS), having registered none; `BankError` when a ledger
        does not answer: the same again, or the sweeper, finishes it.
        """
        partners = await self._control.add_partners(bank_codes)
        failures = await self._furnish(partners, deadline_seconds)
        if failures:
            raise failures[0]
        return [
            NostroAccount(
                partner.bank_code,
                shard_id,
                currency,
                chart.internal_account(shard_id, chart.Code.NOSTRO, currency, partner.partner_number),
            )
            for partner in partners
            for shard_id in self._territory.shard_ids
            for currency in self._territory.directory.currencies
        ]

    async def furnish(self, *, deadline_seconds: float) -> bool:
        """Open whatever own accounts this process has not seen open yet; tell whether all are."""
        return not await self._furnish(await self._control.partners(), deadline_seconds)

    async def _furnish(self, partners: Sequence[Partner], deadline_seconds: float) -> list[BankError]:
        numbers = [partner.partner_number for partner in partners]
        currencies = self._territory.directory.currencies

        async def open_on(shard_id: int, _nothing: None) -> BankError | None:
            try:
                await self._books.open_internal_accounts(
                    shard_id, currencies, numbers, deadline_seconds=deadline_seconds
                )
            except BankError as error:
                _log.warning("internal_accounts_not_open", shard=shard_id, reason=error.reason)
                metrics.INTERNAL_ACCOUNTS_OPEN.labels(shard_id).set(0)
                return error
            metrics.INTERNAL_ACCOUNTS_OPEN.labels(shard_id).set(1)
            return None

        failures = await each_shard(dict.fromkeys(self._territory.shard_ids), open_on)
        if not any(failures) and not all(partner.is_ready for partner in partners):
            await self._control.show_partners(numbers)
            await self._territory.refresh()
        return [failure for failure in failures if failure is not None]
