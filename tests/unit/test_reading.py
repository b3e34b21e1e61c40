"""A transfer of several shards, shown though some of them do not answer."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from hivecore.account.v1 import account_pb2
from hivecore.gateway.v1 import bank_pb2
from hivecore.ledger.v1 import ledger_pb2

from services.domain import errors, identifiers
from services.domain.directory import Directory, ShardFacts, SlotRange
from services.gateway.authentication import Caller
from services.gateway.coalescing import Bounds
from services.gateway.look_ups import LookUps
from services.gateway.ownership import Ownership
from services.gateway.reading import Books

CZK = 203
PAYER, PAYEE, OTHER = (identifiers.account_number(slot, 1) for slot in range(3))
CUSTOMER = identifiers.customer_number(2, 1)
TRANSFER = UUID(int=7)
NAME = f"accounts/{PAYEE:016d}/transfers/{TRANSFER}"
POSTED, REFUSED, IN_TRANSIT = (
    ledger_pb2.OUTCOME_POSTED,
    ledger_pb2.OUTCOME_REFUSED,
    ledger_pb2.OUTCOME_IN_TRANSIT,
)
ASKED, LANDED, BURIED, PROMISED = 1, 2, 8, 9
UNREACHABLE = errors.Unavailable("SHARD_UNREACHABLE", "does not answer")
UNKNOWN = errors.NotFound("TRANSFER_NOT_FOUND", "no such transfer")


def record(
    *legs: tuple[int, int], kind: int = ASKED, outcome: Any = POSTED, home: int = 0
) -> ledger_pb2.TransferRecord:
    leg = ledger_pb2.TransferRecord.Leg
    written = [leg(debit_account=one, credit_account=two, amount_minor=1, currency=CZK) for one, two in legs]
    return ledger_pb2.TransferRecord(
        transfer_id=TRANSFER.bytes, legs=written, outcome=outcome, kind=kind, home_shard_id=home
    )


class Shards:
    """Three shards, of slots 0, 1 and 2, and what each has of the transfer; also the account service."""

    def __init__(self, *has: ledger_pb2.TransferRecord | errors.BankError) -> None:
        shards = tuple(ShardFacts(shard_id, ("127.0.0.1:1",), 10, 0) for shard_id in (1, 2, 3))
        slots = tuple(SlotRange(slot, slot, slot + 1, 1) for slot in range(3))
        self.current = Directory(1, shards, slots, {}, (CZK,))
        self._has = has

    def ledger(self, shard_id: int) -> "Shards":
        return self

    async def call(self, method: str, request: Any, deadline: float = 0.0, *, deadline_seconds: float = 0.0) -> Any:
        if method == "GetAccounts":
            return account_pb2.GetAccountsResponse(
                accounts=[
                    account_pb2.Account(account_number=number, customer_number=CUSTOMER)
                    for number in request.account_numbers
                ]
            )
        answer = self._has[request.shard_id - 1]
        if isinstance(answer, errors.BankError):
            raise answer
        return answer


async def ask(shards: Shards, customer: int | None = None) -> bank_pb2.Transfer:
    caller = Caller("app", "mobile", frozenset(), customer, 0.0)
    books = Books(shards, LookUps(99, 9.0, lambda: 0.0), shards, Ownership(shards, 9), Bounds(9, 9, 9, 1, 60.0))  # type: ignore[arg-type]
    return await books.get_transfer(caller, NAME, asyncio.get_running_loop().time() + 5)


WHOLE = record((PAYER, PAYEE), (PAYER, OTHER))
PART = record((PAYER, PAYEE), kind=PROMISED, outcome=IN_TRANSIT, home=1)
PARTS = {
    "the home does not answer": (UNREACHABLE, PART, IN_TRANSIT),
    "the home has not decided": (UNKNOWN, PART, IN_TRANSIT),
    "the home refused it for ever": (
        record((PAYER, PAYER), kind=BURIED, outcome=REFUSED),
        record((PAYER, PAYEE), kind=PROMISED, outcome=REFUSED, home=1),
        REFUSED,
    ),
    "the home has the id for another": (record((PAYER, OTHER)), PART, IN_TRANSIT),
    "the payer's shard does not answer": (UNREACHABLE, record((PAYER, PAYEE), kind=LANDED), POSTED),
}


@pytest.mark.parametrize(("home", "part", "state"), PARTS.values(), ids=PARTS)
async def test_what_the_account_s_shard_has_is_shown_as_a_part(home: Any, part: Any, state: int) -> None:
    shown = await ask(Shards(home, part, UNREACHABLE))
    assert (shown.is_part, shown.state, len(shown.legs)) == (True, state, 1)


@pytest.mark.parametrize("kind", [PROMISED, LANDED])
async def test_what_was_decided_is_shown_whole_while_the_account_s_shard_has_not_heard_of_it(kind: int) -> None:
    whole = record((PAYER, PAYEE), (PAYER, OTHER), outcome=POSTED if kind == PROMISED else IN_TRANSIT)
    part = record((PAYER, PAYEE), kind=kind, outcome=IN_TRANSIT, home=1 if kind == PROMISED else 0)
    shown = await ask(Shards(whole, part, UNREACHABLE))
    assert (shown.is_part, shown.state, len(shown.legs)) == (False, POSTED, 2)


async def test_whose_legs_could_not_be_had_is_not_told_that_they_are_another_s() -> None:
    assert [leg.credit_account for leg in (await ask(Shards(WHOLE, PART, PART), CUSTOMER)).legs] == [f"{OTHER:016d}"]
    with pytest.raises(errors.Unavailable):
        await ask(Shards(UNREACHABLE, PART, PART), CUSTOMER)
    with pytest.raises(errors.Forbidden):
        await ask(Shards(record((PAYER, PAYEE)), PART, PART), CUSTOMER)
