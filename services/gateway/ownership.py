"""Whose account it is, for tokens that are limited to one customer.

An account's owner never changes, so a known one is remembered. Another's account and no account
are answered alike: nobody learns what exists by asking. Never here: scopes, or what the owner may do.
"""

from collections.abc import Collection, Iterable

from hivecore.account.v1 import account_pb2

from services.chassis.bounded import Bounded
from services.domain import chart, errors, identifiers
from services.gateway.authentication import Caller
from services.gateway.columns import Transfers, code_of_chart_side
from services.gateway.peers import AccountService


class Ownership:
    """Looks owners up and remembers those used lately."""

    def __init__(self, account_service: AccountService, accounts_max: int) -> None:
        self._account_service = account_service
        self._owners: Bounded[int, int] = Bounded(accounts_max)

    async def check_account(self, caller: Caller, number: int, deadline: float) -> None:
        """Raise `Forbidden` (ACCOUNT_OF_ANOTHER_CUSTOMER) unless the caller may use the account."""
        if caller.customer_number is not None and not await self.owns_one(caller, (number,), deadline):
            raise account_of_another_customer()

    async def owns_one(self, caller: Caller, numbers: Collection[int], deadline: float) -> bool:
        """Tell whether at least one of the accounts is the customer's that the caller is limited to."""
        return bool(await self.owned(caller, numbers, deadline))

    async def transfer_faults(
        self, caller: Caller, transfers: Transfers, refused: Collection[int], deadline: float
    ) -> dict[int, errors.BankError]:
        """Tell, by place, which transfers the caller may not ask for.

        Only the customer's accounts may be debited, and of the bank's own accounts only the nostro ones may be
        credited, by name.
        """
        if caller.customer_number is None:
            return {}
        faults: dict[int, errors.BankError] = {}
        legs = _legs(transfers, refused)
        owned = await self.owned(caller, {debit for _, debit, _ in legs}, deadline)
        for place, debit, credit in legs:
            if _is_internal(debit) or (_is_internal(credit) and not _is_nostro_name(credit)):
                faults.setdefault(
                    place, errors.Forbidden("INTERNAL_ACCOUNT", "the bank's own accounts are not for this token")
                )
            elif debit not in owned:
                faults.setdefault(place, account_of_another_customer())
        return faults

    async def owned(self, caller: Caller, numbers: Collection[int], deadline: float) -> set[int]:
        """Return those of the accounts that belong to the caller's customer."""
        customer = caller.customer_number
        assert customer is not None
        slot = identifiers.slot_of_customer(customer)
        # A customer's accounts all lie in the customer's slot, so most others need no look-up.
        candidates = {number for number in numbers if number > 0 and identifiers.slot_of_account(number) == slot}
        owners = {number: self._owners.get(number) for number in candidates}
        strangers = [number for number, owner in owners.items() if owner is None]
        if strangers:
            owners |= await self._learned(strangers, deadline)
        return {number for number, owner in owners.items() if owner == customer}

    async def _learned(self, numbers: list[int], deadline: float) -> dict[int, int]:
        request = account_pb2.GetAccountsRequest(account_numbers=numbers)
        answer = await self._account_service.call("GetAccounts", request, deadline)
        # Accounts that there are not come back as number 0 and are not remembered: they may be opened later.
        learned = {account.account_number: account.customer_number for account in answer.accounts}
        self._owners.update(learned)
        return learned


def account_of_another_customer() -> errors.Forbidden:
    """Refuse an account without telling whether it exists."""
    return errors.Forbidden("ACCOUNT_OF_ANOTHER_CUSTOMER", "not an account of the customer this token is limited to")


def another_customer() -> errors.Forbidden:
    """Refuse a customer without telling whether it exists."""
    return errors.Forbidden("ANOTHER_CUSTOMER", "not the customer this token is limited to")


def check_customer(caller: Caller, number: int) -> None:
    """Raise `Forbidden` (ANOTHER_CUSTOMER) unless the caller may see the customer."""
    if caller.customer_number is not None and caller.customer_number != number:
        raise another_customer()


def _legs(transfers: Transfers, refused: Collection[int]) -> list[tuple[int, int, int]]:
    firsts: Iterable[tuple[int, int, int]] = zip(
        range(len(transfers)), transfers.debit_accounts, transfers.credit_accounts, strict=True
    )
    further = ((leg.place, leg.debit_account, leg.credit_account) for leg in transfers.further_legs)
    return [leg for leg in (*firsts, *further) if leg[0] not in refused]


def _is_internal(side: int) -> bool:
    return side < 0 or chart.is_internal(side)


def _is_nostro_name(side: int) -> bool:
    return side < 0 and code_of_chart_side(side)[0] == chart.Code.NOSTRO
