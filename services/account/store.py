"""The control database: the directory, how full it is, the partner banks.

Every change of what the directory shows is one transaction that makes a new version. Never here:
where a customer goes (`placing.py`), customers and accounts (`records.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import asyncpg

from services.account import placing
from services.account.database import SQL, Database
from services.account.placing import ShardFill, SlotFill
from services.domain import errors, limits
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.domain.identifiers import customer_number

MIGRATIONS: Final = "migrations/control"


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What the operator says of a shard."""

    ledger_addresses: tuple[str, ...]
    customer_quota: int


class Partner(NamedTuple):
    """A partner bank; it is shown in the directory once its nostro accounts are in all books."""

    partner_number: int
    bank_code: str
    is_ready: bool


class ControlStore:
    """Reads and changes the control database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, plans: Mapping[int, ShardPlan], currencies: Sequence[int]) -> list[int]:
        """Make the directory say what the operator says; return the shards that have no slots.

        The first time, the slots are shared out. Raises `Refused` (SHARD_MISSING) when a shard that
        has slots is not in `plans`.
        """
        async with self._database.connection() as connection, connection.transaction():
            (bank,) = await connection.fetch(SQL["lock_bank"])
            rows = await connection.fetch(SQL["read_shards"])
            known = {row["shard_id"]: (tuple(row["ledger_addresses"]), row["customer_quota"]) for row in rows}
            _refuse_missing({row["shard_id"] for row in rows if row["slot_count"]} - plans.keys())
            changed = {
                shard_id: plan
                for shard_id, plan in plans.items()
                if known.get(shard_id) != (plan.ledger_addresses, plan.customer_quota)
            }
            for shard_id, plan in changed.items():
                await connection.execute(SQL["put_shard"], shard_id, plan.ledger_addresses, plan.customer_quota)
            if not any(row["slot_count"] for row in rows):
                quotas = {shard_id: plan.customer_quota for shard_id, plan in plans.items()}
                for shard_id, slots in placing.split_slots(quotas).items():
                    await connection.execute(SQL["put_slots"], shard_id, slots.start, slots.stop - 1)
            if changed or bank["currencies"] != sorted(currencies):
                await connection.execute(SQL["set_bank"], sorted(currencies))
            return [row["shard_id"] for row in await connection.fetch(SQL["read_shards"]) if not row["slot_count"]]

    async def shards(self) -> list[ShardFacts]:
        """Read how full the shards are."""
        return [_shard_facts(row) for row in await self._database.fetch("read_shards")]

    async def directory_version(self) -> int:
        """Tell the directory's version."""
        version: int = await self._database.fetch_value("read_bank")
        return version

    async def directory(self) -> Directory:
        """Read the directory as it is at one moment."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            (bank,) = await connection.fetch(SQL["read_bank"])
            shards = await connection.fetch(SQL["read_shards"])
            slots = await connection.fetch(SQL["read_slot_ranges"])
            partners = await connection.fetch(SQL["read_partners"])
        return Directory(
            version=bank["directory_version"],
            shards=tuple(_shard_facts(row) for row in shards),
            slots=tuple(SlotRange(row["first_slot"], row["last_slot"], row["shard_id"], row["epoch"]) for row in slots),
            partner_numbers={row["bank_code"]: row["partner_number"] for row in partners if row["is_ready"]},
            currencies=tuple(bank["currencies"]),
        )

    async def reserve_customers(self, customer_count: int) -> list[int]:
        """Give out customer numbers, never twice; fewer than asked, or none, when the bank is full."""
        async with self._database.connection() as connection, connection.transaction():
            fills = {row["shard_id"]: ShardFill(**row) for row in await connection.fetch(SQL["lock_fills"])}
            shares = placing.split_call(customer_count, list(fills.values()))
            if not shares:
                return []
            capacities = [fills[shard_id].slot_capacity for shard_id in shares]
            slots: dict[int, list[SlotFill]] = {shard_id: [] for shard_id in shares}
            for row in await connection.fetch(SQL["slots_with_room"], list(shares), capacities, list(shares.values())):
                slots[row["shard_id"]].append(SlotFill(row["slot"], row["last_serial"]))
            taken = [
                serials
                for shard_id, count in shares.items()
                for serials in placing.fill_slots(count, slots[shard_id], fills[shard_id].slot_capacity)
            ]
            await connection.execute(
                SQL["take_serials"], [serials.slot for serials in taken], [serials.count for serials in taken]
            )
        return [
            customer_number(serials.slot, serials.first_serial + place)
            for serials in taken
            for place in range(serials.count)
        ]

    async def partners(self) -> list[Partner]:
        """List all partner banks by number, those not shown yet included."""
        return [Partner(**row) for row in await self._database.fetch("read_partners")]

    async def add_partners(self, bank_codes: Sequence[str]) -> list[Partner]:
        """Give numbers to the partner banks that have none, and return those asked for, in order.

        Raises `Refused` (TOO_MANY_PARTNER_BANKS), having added none.
        """
        async with self._database.connection() as connection, connection.transaction():
            await connection.fetchrow(SQL["lock_bank"])
            known = {row["bank_code"]: Partner(**row) for row in await connection.fetch(SQL["read_partners"])}
            new_codes = [code for code in dict.fromkeys(bank_codes) if code not in known]
            first_number = max((partner.partner_number for partner in known.values()), default=0) + 1
            if first_number + len(new_codes) - 1 > limits.PARTNER_BANKS_MAX:
                raise errors.Refused(
                    "TOO_MANY_PARTNER_BANKS",
                    f"a bank has at most {limits.PARTNER_BANKS_MAX} partner banks",
                    {"partner_banks_max": str(limits.PARTNER_BANKS_MAX)},
                )
            numbers = range(first_number, first_number + len(new_codes))
            if new_codes:
                await connection.execute(SQL["put_partners"], numbers, new_codes)
        known |= {code: Partner(number, code, False) for number, code in zip(numbers, new_codes, strict=True)}
        return [known[code] for code in dict.fromkeys(bank_codes)]

    async def show_partners(self, partner_numbers: Sequence[int]) -> None:
        """Show partner banks in the directory; a new version if any was not shown yet."""
        await self._database.execute("show_partners", partner_numbers)


def _shard_facts(row: asyncpg.Record) -> ShardFacts:
    return ShardFacts(row["shard_id"], tuple(row["ledger_addresses"]), row["customer_quota"], row["customer_count"])


def _refuse_missing(shard_ids: set[int]) -> None:
    if shard_ids:
        names = ", ".join(map(str, sorted(shard_ids)))
        raise errors.Refused(
            "SHARD_MISSING", f"the directory has shard {names}, HIVECORE_SHARDS has not", {"shards": names}
        )
