"""Finds customers and accounts, wherever in the bank they are.

Never here: changing anything.
"""

from collections.abc import Sequence

from services.account.opening import Account, Claim, Customer, State
from services.account.placing import Kind
from services.account.records import Name
from services.account.territory import Territory, each_shard
from services.domain.identifiers import slot_of_account, slot_of_customer


class Lookups:
    """Reads the records of all shards; one statement per shard that is asked."""

    def __init__(self, territory: Territory) -> None:
        self._territory = territory

    async def customers(self, numbers: Sequence[int]) -> dict[int, Customer]:
        """Return customers by number; those that there are not, or not yet, are absent."""

        async def get(shard_id: int, numbers: list[int]) -> dict[int, Customer]:
            return await self._territory.records(shard_id).customers(numbers)

        found: dict[int, Customer] = {}
        for part in await each_shard(self._territory.by_shard(numbers, slot_of_customer), get):
            found |= {number: customer for number, customer in part.items() if customer.state != State.OPENING}
        return found

    async def accounts(self, numbers: Sequence[int]) -> dict[int, Account]:
        """Return accounts by number; those that there are not are absent."""

        async def get(shard_id: int, numbers: list[int]) -> dict[int, Account]:
            return await self._territory.records(shard_id).accounts(numbers)

        found: dict[int, Account] = {}
        for part in await each_shard(self._territory.by_shard(numbers, slot_of_account), get):
            found |= part
        return found

    async def accounts_of(self, customer_number: int, after_account_number: int, limit: int) -> list[Account] | None:
        """Return a page of a customer's accounts by serial; None when there is no such customer."""
        for shard_id in self._territory.by_shard([customer_number], slot_of_customer):
            records = self._territory.records(shard_id)
            accounts = await records.list_accounts(customer_number, after_account_number, limit)
            if accounts or await records.active_customers([customer_number]):
                return accounts
        return None

    async def numbers_of(self, kind: Kind, references: Sequence[str]) -> dict[str, int]:
        """Return what external references stand for; those that stand for nothing, or not yet, are absent."""
        names: list[Name] = [(kind, reference.encode()) for reference in references]

        async def find(shard_id: int, homes: dict[Name, int]) -> dict[Name, Claim]:
            return await self._territory.records(shard_id).find_claims(list(homes))

        claimed: dict[str, int] = {}
        for claims in await each_shard(self._territory.by_home(names), find):
            claimed |= {key.decode(): claim.number for (_, key), claim in claims.items()}
        numbers = list(claimed.values())
        there = await (self.customers(numbers) if kind == Kind.CUSTOMER_REFERENCE else self.accounts(numbers))
        return {reference: number for reference, number in claimed.items() if number in there}
