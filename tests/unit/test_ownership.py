"""A token limited to one customer reaches that customer's accounts, and learns nothing about others."""

from typing import Any

import pytest
from hivecore.account.v1 import account_pb2

from services.domain import chart, errors, identifiers
from services.gateway.authentication import Caller
from services.gateway.columns import FurtherLeg, Transfers, chart_side
from services.gateway.ownership import Ownership, check_customer

CZK = 203
ME, OTHER = (identifiers.customer_number(1, serial) for serial in (1, 2))
MINE, ALSO_MINE, OTHERS, ABSENT = (identifiers.account_number(1, serial) for serial in (1, 2, 3, 4))
FAR = identifiers.account_number(2, 1)
CASH, NOSTRO = chart_side(chart.Code.CASH), chart_side(chart.Code.NOSTRO, 7)
CASH_NUMBER = chart.internal_account(1, chart.Code.CASH, CZK)
NOSTRO_NUMBER = chart.internal_account(1, chart.Code.NOSTRO, CZK, 7)
DEADLINE = 1.0


class Records:
    """An account service that knows a few owners and remembers what it was asked."""

    def __init__(self) -> None:
        self.owners = {MINE: ME, ALSO_MINE: ME, OTHERS: OTHER}
        self.asked: list[list[int]] = []

    async def call(self, method: str, request: account_pb2.GetAccountsRequest, deadline: float) -> Any:
        assert (method, deadline) == ("GetAccounts", DEADLINE)
        numbers = list(request.account_numbers)
        self.asked.append(sorted(numbers))
        return account_pb2.GetAccountsResponse(
            accounts=[
                account_pb2.Account(account_number=number, customer_number=self.owners[number])
                if number in self.owners
                else account_pb2.Account()
                for number in numbers
            ]
        )


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def ownership(records: Records) -> Ownership:
    return Ownership(records, 100)  # type: ignore[arg-type]


def _caller(customer: int | None = ME) -> Caller:
    return Caller("somebody", "test", frozenset(), customer, 0.0)


def _transfers(*sides: tuple[int, int], further: tuple[FurtherLeg, ...] = ()) -> Transfers:
    debits, credits_ = [debit for debit, _ in sides], [credit for _, credit in sides]
    return Transfers(
        bytes(16 * len(sides)), debits, credits_, [1] * len(sides), [CZK] * len(sides), further_legs=[*further]
    )


async def test_an_owners_account_is_looked_up_once(ownership: Ownership, records: Records) -> None:
    for _ in range(3):
        await ownership.check_account(_caller(), MINE, DEADLINE)
    assert records.asked == [[MINE]]


@pytest.mark.parametrize("number", [OTHERS, ABSENT, FAR, CASH_NUMBER])
async def test_anothers_account_and_none_are_refused_alike(ownership: Ownership, number: int) -> None:
    with pytest.raises(errors.Forbidden) as refused:
        await ownership.check_account(_caller(), number, DEADLINE)
    assert refused.value.reason == "ACCOUNT_OF_ANOTHER_CUSTOMER"
    assert refused.value.metadata == {}


async def test_an_account_of_another_slot_needs_no_look_up(ownership: Ownership, records: Records) -> None:
    assert not await ownership.owns_one(_caller(), [FAR, CASH_NUMBER], DEADLINE)
    assert records.asked == []


async def test_an_account_that_is_opened_later_is_found_then(ownership: Ownership, records: Records) -> None:
    assert not await ownership.owns_one(_caller(), [ABSENT], DEADLINE)
    records.owners[ABSENT] = ME
    assert await ownership.owns_one(_caller(), [ABSENT], DEADLINE)


async def test_a_token_without_a_limit_asks_nobody(ownership: Ownership, records: Records) -> None:
    await ownership.check_account(_caller(None), OTHERS, DEADLINE)
    assert await ownership.transfer_faults(_caller(None), _transfers((OTHERS, CASH)), (), DEADLINE) == {}
    assert records.asked == []


async def test_one_look_up_serves_a_whole_call(ownership: Ownership, records: Records) -> None:
    transfers = _transfers((MINE, OTHERS), (OTHERS, MINE), (ALSO_MINE, FAR), (ABSENT, MINE), (FAR, MINE), (0, 0))
    faults = await ownership.transfer_faults(_caller(), transfers, {5}, DEADLINE)
    assert {place: fault.reason for place, fault in faults.items()} == dict.fromkeys(
        (1, 3, 4), "ACCOUNT_OF_ANOTHER_CUSTOMER"
    )
    assert records.asked == [sorted([MINE, OTHERS, ALSO_MINE, ABSENT])]


async def test_of_the_banks_own_accounts_only_a_nostro_may_be_credited_and_by_name(ownership: Ownership) -> None:
    transfers = _transfers(
        (MINE, NOSTRO), (MINE, CASH), (CASH, MINE), (NOSTRO, MINE), (MINE, NOSTRO_NUMBER), (CASH_NUMBER, MINE)
    )
    faults = await ownership.transfer_faults(_caller(), transfers, (), DEADLINE)
    assert {place: fault.reason for place, fault in faults.items()} == dict.fromkeys(range(1, 6), "INTERNAL_ACCOUNT")


async def test_every_leg_of_a_transfer_must_debit_an_own_account(ownership: Ownership) -> None:
    legs = (
        FurtherLeg(0, OTHERS, MINE, 1, CZK),
        FurtherLeg(1, ALSO_MINE, OTHERS, 1, CZK),
        FurtherLeg(2, MINE, CASH, 1, CZK),
    )
    transfers = _transfers((MINE, OTHERS), (MINE, OTHERS), (MINE, OTHERS), further=legs)
    faults = await ownership.transfer_faults(_caller(), transfers, (), DEADLINE)
    assert {place: fault.reason for place, fault in faults.items()} == {
        0: "ACCOUNT_OF_ANOTHER_CUSTOMER",
        2: "INTERNAL_ACCOUNT",
    }


def test_another_customer_is_refused_and_the_own_one_is_not() -> None:
    check_customer(_caller(), ME)
    check_customer(_caller(None), OTHER)
    with pytest.raises(errors.Forbidden) as refused:
        check_customer(_caller(), OTHER)
    assert refused.value.reason == "ANOTHER_CUSTOMER"
