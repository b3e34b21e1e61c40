"""In the background: finishes half-opened customers and accounts and moves, opens the bank's own accounts.

Any number of processes may sweep at once, also what a caller is just opening: every step may be
repeated.
"""

import asyncio
from typing import Final

from services.account import metrics
from services.account.lifecycle import Lifecycle
from services.account.moving import Mover
from services.account.partners import Partners
from services.account.store import ControlStore
from services.account.territory import Territory, each_shard
from services.chassis import logs
from services.chassis import metrics as process_metrics
from services.domain import limits
from services.domain.errors import BankError

LEDGER_SECONDS_MAX: Final = 5.0
"""A ledger that does not answer is left until the next sweep after this."""

MOVES_PER_SWEEP_MAX: Final = 1_000

_log = logs.get(__name__)


class Sweeper:
    """Looks after what nobody waits for."""

    def __init__(
        self,
        control: ControlStore,
        territory: Territory,
        lifecycle: Lifecycle,
        partners: Partners,
        mover: Mover,
        *,
        interval_seconds: float,
        age_seconds: float,
    ) -> None:
        self._control = control
        self._territory = territory
        self._lifecycle = lifecycle
        self._partners = partners
        self._mover = mover
        self._interval_seconds = interval_seconds
        self._age_seconds = age_seconds

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self.sweep()
            except BankError as error:
                _log.warning("sweep_failed", reason=error.reason)
            except Exception:  # noqa: BLE001 - whatever it is, the next sweep is due all the same
                _log.exception("sweep_failed")
            await asyncio.sleep(self._interval_seconds)

    async def sweep(self) -> None:
        """Do once whatever there is to do."""
        directory = await self._territory.refresh_if_changed()
        process_metrics.DIRECTORY_VERSION.set(directory.version)
        for shard in await self._control.shards():
            metrics.CUSTOMERS.labels(shard.shard_id).set(shard.customer_count)
            metrics.CUSTOMER_QUOTA.labels(shard.shard_id).set(shard.customer_quota)
        await self._partners.furnish(deadline_seconds=LEDGER_SECONDS_MAX)
        await each_shard(dict.fromkeys(self._territory.shard_ids), self._sweep_shard)

    async def _sweep_shard(self, shard_id: int, _nothing: None) -> None:
        try:
            await self._finish(shard_id)
        except BankError as error:
            metrics.SWEEP_FAILURES.labels(shard_id).inc()
            _log.warning("shard_not_swept", shard=shard_id, reason=error.reason)

    async def _finish(self, shard_id: int) -> None:
        records = self._territory.records(shard_id)
        customers = await records.stale_customers(self._age_seconds, limits.OPENINGS_PER_CALL_MAX)
        if customers:
            await self._lifecycle.finish_customers(list(customers.values()))
            metrics.SWEPT.labels("customer", shard_id).inc(len(customers))
            _log.info("customers_swept", shard=shard_id, customer_count=len(customers))
        accounts = await records.stale_accounts(self._age_seconds, limits.OPENINGS_PER_CALL_MAX)
        if accounts:
            await self._lifecycle.finish_accounts(list(accounts.values()), deadline_seconds=LEDGER_SECONDS_MAX)
            metrics.SWEPT.labels("account", shard_id).inc(len(accounts))
            _log.info("accounts_swept", shard=shard_id, account_count=len(accounts))
        finished = await self._mover.finish_stale(
            shard_id, self._age_seconds, MOVES_PER_SWEEP_MAX, deadline_seconds=LEDGER_SECONDS_MAX
        )
        if finished:
            metrics.SWEPT.labels("move", shard_id).inc(finished)
            _log.info("moves_swept", shard=shard_id, move_count=finished)
