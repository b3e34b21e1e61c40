"""Customers and accounts of one shard, and the names that this shard keeps for the bank.

One statement per step and call, whatever the number of items: everything travels as arrays, and
every statement may be repeated. Never here: the books (`books.py`), the order of the steps
(`lifecycle.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.account.database import Database
from services.account.opening import NOBODY, Account, AccountWanted, Claim, Customer, CustomerWanted, Opener
from services.account.placing import Kind
from services.domain import identifiers
from services.domain.products import NONE, Reference

MIGRATIONS: Final = "migrations/shard"


class PaymentFile(NamedTuple):
    """A payment file to be registered: whose, what it calls itself, what is in it, who brings it."""

    customer_number: int
    """0 where the message ids are the whole bank's."""
    initiating_party: str
    message_id: str
    digest: bytes
    transfer_count: int
    channel: str
    subject: str


Name = tuple[Kind, bytes]
"""A name as it is claimed: 16 bytes of a request id, or an external reference in UTF-8."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Records:
    """Reads and writes the schema `account` of one shard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_claims(self, names: Sequence[Name]) -> dict[Name, Claim]:
        """Return what names stand for, leaving out those that stand for nothing."""
        rows = await self._database.fetch("find_claims", *_columns(names, 2))
        return {(kind, key): Claim(number, fingerprint) for kind, key, number, fingerprint in rows}

    async def claim(self, claims: Mapping[Name, Claim], slots: Mapping[Name, int]) -> dict[Name, Claim]:
        """Claim names, those that are free, and return what each stands for now."""
        rows = [(*name, *claim, slots[name]) for name, claim in claims.items()]
        free_count = await self._database.fetch_value("put_claims", *_columns(rows, 5))
        return dict(claims) if free_count == len(claims) else await self.find_claims(list(claims))

    async def register_file(self, file: PaymentFile, slot: int) -> tuple[bytes, int]:
        """Claim a file's message id unless it is claimed; return its digest and when it was, in microseconds."""
        await self._database.execute("put_payment_file", *file, slot)
        ((digest, time),) = await self._database.fetch("get_payment_file", *file[:3])
        return digest, _microseconds(time)

    async def reserve_accounts(self, slots: Sequence[int]) -> list[int]:
        """Give out one account number, never twice, for each of `slots`, which may repeat."""
        counts: dict[int, int] = {}
        for slot in slots:
            counts[slot] = counts.get(slot, 0) + 1
        rows = await self._database.fetch("take_account_serials", list(counts), list(counts.values()))
        serials = {slot: last_serial - counts[slot] for slot, last_serial in rows}
        numbers: list[int] = []
        for slot in slots:
            serials[slot] += 1
            numbers.append(identifiers.account_number(slot, serials[slot]))
        return numbers

    async def put_customers(self, wants: Mapping[int, CustomerWanted]) -> dict[int, Customer]:
        """Write customers by number, unless they are there, and return them as they are there."""
        rows = [
            (number, want.external_reference, want.display_name, UUID(bytes=want.request_id), *want.opener)
            for number, want in wants.items()
        ]
        put = _customers(await self._database.fetch("put_customers", *_columns(rows, 6)))
        there = wants.keys() - put.keys()
        return put | await self.customers(list(there)) if there else put

    async def put_accounts(self, wants: Mapping[int, AccountWanted]) -> dict[int, Account]:
        """Write accounts by number, unless they are there, and return them as they are there."""
        rows = [
            (
                *(number, want.customer_number, want.currency, want.external_reference, *(want.product or NONE)),
                *(UUID(bytes=want.request_id), *want.opener),
            )
            for number, want in wants.items()
        ]
        put = _accounts(await self._database.fetch("put_accounts", *_columns(rows, 9)))
        there = wants.keys() - put.keys()
        return put | await self.accounts(list(there)) if there else put

    async def customers(self, numbers: Sequence[int]) -> dict[int, Customer]:
        """Return customers, half-opened ones included."""
        return _customers(await self._database.fetch("get_customers", numbers))

    async def accounts(self, numbers: Sequence[int]) -> dict[int, Account]:
        """Return accounts, half-opened ones included."""
        return _accounts(await self._database.fetch("get_accounts", numbers))

    async def active_customers(self, numbers: Sequence[int]) -> set[int]:
        """Tell which of these customers there are."""
        return {number for (number,) in await self._database.fetch("active_customers", numbers)}

    async def list_accounts(self, customer_number: int, after_account_number: int, limit: int) -> list[Account]:
        """Return a customer's accounts by serial."""
        rows = await self._database.fetch("list_accounts", customer_number, after_account_number, limit)
        return list(_accounts(rows).values())

    async def activate_customers(self, numbers: Sequence[int]) -> None:
        """Make half-opened customers active."""
        await self._database.execute("activate_customers", numbers)

    async def activate_accounts(self, numbers: Sequence[int]) -> None:
        """Make half-opened accounts active."""
        await self._database.execute("activate_accounts", numbers)

    async def discard_customers(self, numbers: Sequence[int]) -> None:
        """Remove half-opened customers."""
        await self._database.execute("discard_customers", numbers)

    async def discard_accounts(self, numbers: Sequence[int]) -> None:
        """Remove half-opened accounts."""
        await self._database.execute("discard_accounts", numbers)

    async def stale_customers(self, older_than_seconds: float, limit: int) -> dict[int, Customer]:
        """Return the customers that have been half-opened for long, oldest first."""
        return _customers(await self._database.fetch("stale_customers", older_than_seconds, limit))

    async def stale_accounts(self, older_than_seconds: float, limit: int) -> dict[int, Account]:
        """Return the accounts that have been half-opened for long, oldest first."""
        return _accounts(await self._database.fetch("stale_accounts", older_than_seconds, limit))


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into columns."""
    return [[row[place] for row in rows] for place in range(width)]


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _customers(rows: Iterable[Any]) -> dict[int, Customer]:
    return {
        number: Customer(number, reference, name, state, _microseconds(time), *_asked(*asked))
        for number, reference, name, state, time, *asked in rows
    }


def _accounts(rows: Iterable[Any]) -> dict[int, Account]:
    return {
        number: Account(
            *(number, owner, currency, reference, state, _microseconds(time), Reference(code, version)),
            *_asked(*asked),
        )
        for number, owner, currency, reference, state, time, code, version, *asked in rows
    }


def _asked(request_id: UUID | None, channel: str, subject: str) -> tuple[bytes, Opener]:
    return (b"", NOBODY) if request_id is None else (request_id.bytes, Opener(channel, subject))
