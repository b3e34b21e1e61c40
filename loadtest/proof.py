"""Whether there may be a figure at all: only when the books prove sound after the load.

Four proofs: every undecided transfer is asked for until it is decided; the bank's own audit is clean;
every acknowledged id is in the books; every account holds to the cent what the journal says. Never
here: how the audit works (it is asked through the command line).
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from loadtest import bank
from loadtest.accounts import FUNDING_MINOR
from loadtest.bank import OpenBank
from loadtest.client import POSTED, Access, Client
from loadtest.journal import ASK_AGAIN, SLOT_DIGITS, Journal, Undecided
from loadtest.postgres import ID_BYTES, Server

PATIENCE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.2
IN_FLIGHT_MAX: Final = 64
EVIDENCE_MAX: Final = 20
"""Differences that are named."""
AT_THE_DOOR_MAX: Final = 200
"""Accounts whose balance is asked for at the gateway, too."""


class NotSound(Exception):
    """The books are not as they must be; the message is the evidence."""


@dataclass(frozen=True, slots=True)
class Proved:
    """How much was proved."""

    acknowledged: int
    """Ids told to be POSTED, all found in the books."""
    accounts: int
    """Whose balances are to the cent what the journal says."""
    asked_again: int
    """Transfers whose first answer decided nothing."""


def require_sound(
    open_bank: OpenBank,
    server: Server,
    access: Access,
    journal: Journal,
    accounts_by_shard: Sequence[Sequence[str]],
) -> Proved:
    """Prove the books against the journal of all that happened to accounts opened by `accounts.py`.

    Raises NotSound, and postgres.PostgresFailed when the books cannot be read.
    """
    asked_again = len(journal.undecided)
    asyncio.run(decide(access, journal))
    require_audited(open_bank)
    _require_ids(server, journal, accounts_by_shard)
    expected = _expected(journal, accounts_by_shard)
    _require_balances(expected, server.balances(), "in the tables")
    step = max(1, len(expected) // AT_THE_DOOR_MAX)
    asyncio.run(_require_balances_at_the_door(access, dict(islice(expected.items(), 0, None, step))))
    return Proved(journal.acknowledged_count, len(expected), asked_again)


async def require_balances(access: Access, journal: Journal, accounts_by_shard: Sequence[Sequence[str]]) -> int:
    """Prove what can be proved through the gateway alone: every balance; give their number. Raises NotSound."""
    await decide(access, journal)
    expected = _expected(journal, accounts_by_shard)
    await _require_balances_at_the_door(access, expected)
    return len(expected)


def require_audited(open_bank: OpenBank) -> None:
    """Let the bank audit itself. Raises NotSound."""
    status, said, complaint = bank.hivecore("audit", "--data", str(open_bank.data), "--json")
    if status != 0:
        raise NotSound(f"the audit is not clean:\n{said}{complaint}")


async def decide(access: Access, journal: Journal) -> None:
    """Ask for every undecided transfer until it is decided, and enter the outcome. Raises NotSound."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    waiting, journal.undecided = iter(journal.undecided), []
    async with Client(access) as client, asyncio.TaskGroup() as askers:
        for _ in range(IN_FLIGHT_MAX):
            askers.create_task(_ask(client, waiting, journal, give_up))
    if journal.undecided:
        transfer_id = journal.undecided[0].sent[0]
        raise NotSound(f"{len(journal.undecided)} transfers have no outcome, {transfer_id} is one")


async def _ask(client: Client, waiting: Iterator[Undecided], journal: Journal, give_up: float) -> None:
    for undecided in waiting:
        outcome = await client.repeat(undecided.method, undecided.request)
        while outcome.kind in ASK_AGAIN and time.monotonic() < give_up:
            await asyncio.sleep(PAUSE_SECONDS)
            outcome = await client.repeat(undecided.method, undecided.request)
        if outcome.kind in ASK_AGAIN:
            journal.undecided.append(undecided)
        elif outcome.kind == POSTED:
            journal.posted(undecided.sent)


def _expected(journal: Journal, accounts_by_shard: Sequence[Sequence[str]]) -> dict[str, int]:
    return {
        number: FUNDING_MINOR + journal.change_minor.get(number, 0) for shard in accounts_by_shard for number in shard
    }


def missing_ids(server: Server, journal: Journal, accounts_by_shard: Sequence[Sequence[str]]) -> list[str]:
    """Name the ids of a journal that are not in the books as posted."""
    place_by_slot = {number[:SLOT_DIGITS]: place for place, shard in enumerate(accounts_by_shard) for number in shard}
    ids_by_shard: dict[int, list[bytes]] = {}
    for slot, ids in journal.ids_by_slot.items():
        each = [bytes(ids[first : first + ID_BYTES]) for first in range(0, len(ids), ID_BYTES)]
        ids_by_shard.setdefault(place_by_slot[slot], []).extend(each)
    return server.not_posted(ids_by_shard)


def _require_ids(server: Server, journal: Journal, accounts_by_shard: Sequence[Sequence[str]]) -> None:
    if lost := missing_ids(server, journal, accounts_by_shard):
        raise NotSound(f"{len(lost)} acknowledged, and not in the books:\n" + "\n".join(lost[:EVIDENCE_MAX]))


def _require_balances(expected: dict[str, int], found: dict[str, int], where: str) -> None:
    wrong = [
        f"{number} holds {found.get(number)} {where}, and {minor} by the journal"
        for number, minor in expected.items()
        if found.get(number) != minor
    ]
    if wrong:
        raise NotSound(f"{len(wrong)} balances differ from the journal:\n" + "\n".join(wrong[:EVIDENCE_MAX]))


async def _require_balances_at_the_door(access: Access, expected: dict[str, int]) -> None:
    async with Client(access) as client:
        found = {number: await _balance(client, number) for number in expected}
    _require_balances(expected, found, "at the door")


async def _balance(client: Client, number: str) -> int:
    request = bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance")
    return int((await client.call(client.stub.GetBalance, request)).balance_minor)
