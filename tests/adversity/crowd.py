"""Customers who move money through the public door and never give up, and what must be true afterwards.

Everything is written down before it is asked and after it is answered; the same ids are sent until
each outcome is definite. What the outcome must be is known beforehand, so are the balances that
follow. Never here: faults.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from uuid import UUID

from door import DEADLINE_SECONDS, RETRIED, SETTING_UP_SECONDS, Answer, Door, transfer
from hivecore.gateway.v1 import bank_pb2

from loadtest import accounts
from services.chassis import children
from services.domain import currencies, limits
from services.domain.outcomes import Outcome, Refusal
from services.ledger.audit import audit
from services.ledger.audit_report import Acknowledged, Report

CURRENCY = "CZK"
FUNDS_MINOR = 1_000_000
"""Of each customer: amounts are so small that nobody runs dry, or so large that nobody can pay them."""

AMOUNT_MINOR_MAX = 100
UNPAYABLE_MINOR = 10**12

CUSTOMERS_PER_SHARD = 25
CALLERS = 24
"""Half of them pay anybody in the bank, the others stay within one shard."""

TRANSFERS_PER_CALL = (1, 1, 1, 20)
"""By turns."""

PAUSE_SECONDS = (0.02, 0.1)
"""Between two attempts: drawn from here."""

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bank is: its public door, and its books for the audit."""

    gateway: str
    account: str
    token: str
    control_dsn: str
    shard_dsns: Mapping[int, str]


@dataclass(slots=True)
class Wish:
    """One transfer somebody wants, with all that is known about it."""

    transfer: bank_pb2.Transfer
    legs: tuple[tuple[str, str, int], ...]
    shard_id: int
    """The payer's."""
    expected: Answer
    attempts: int = 0
    told: Answer = field(default_factory=Answer)
    """The last answer that was an outcome."""
    problems: list[str] = field(default_factory=list)
    or_given_up: bool = False
    """Whether it may also be refused because not all shards promised their parts in time."""

    @property
    def is_given_up(self) -> bool:
        return self.or_given_up and self.told.refusal == Refusal.PROMISE_TIMED_OUT

    @property
    def transfer_id(self) -> bytes:
        return UUID(self.transfer.transfer_id).bytes


class Journal:
    """All that was ever asked of one bank, and all that it answered."""

    def __init__(self) -> None:
        self.wishes: dict[str, Wish] = {}
        self.problems: Counter[str] = Counter()

    def asking(self, wishes: Sequence[Wish]) -> None:
        """Write down, before it happens, that transfers are about to be sent."""
        for wish in wishes:
            assert self.wishes.setdefault(wish.transfer.transfer_id, wish) is wish
            wish.attempts += 1

    def answered(self, wish: Wish, answer: Answer) -> None:
        """Write down an answer; an id that means something never means something else later."""
        if not answer.outcome:
            wish.problems.append(answer.problem)
            self.problems[answer.problem] += 1
            return
        assert answer == wish.told or not wish.told.is_definite, f"{wish} is now {answer}"
        assert wish.told.outcome != Outcome.IN_TRANSIT or answer.outcome != Outcome.REFUSED, f"{wish} is now {answer}"
        wish.told = answer

    def acknowledged(self) -> Iterator[Acknowledged]:
        """Give what callers were told, for the audit."""
        for wish in self.wishes.values():
            yield Acknowledged(wish.transfer_id, wish.told.outcome, wish.told.refusal)


class Crowd:
    """The customers of one bank. Made by `opened`."""

    def __init__(self, place: Place, door: Door, journal: Journal) -> None:
        self.place = place
        self.door = door
        self.journal = journal
        self.chance = Random(7)
        self.accounts: dict[int, list[str]] = {}
        self.brimming = ""
        """An account that cannot hold another cent: what crosses to it comes back."""

    @property
    def shard_ids(self) -> list[int]:
        return list(self.accounts)

    async def settle(self, wishes: Sequence[Wish], seconds: float = DEADLINE_SECONDS) -> None:
        """Send transfers, those without a definite outcome again and again; `seconds` is each attempt's deadline."""
        pending = list(wishes)
        while pending:
            self.journal.asking(pending)
            answers = await self.door.post([wish.transfer for wish in pending], seconds)
            for wish, answer in zip(pending, answers, strict=True):
                self.journal.answered(wish, answer)
            pending = [wish for wish, answer in zip(pending, answers, strict=True) if not answer.is_definite]
            if pending:
                await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))

    def wish(
        self, shard_id: int, legs: Sequence[tuple[str, str, int]], refusal: int = 0, outcome: int = Outcome.POSTED
    ) -> Wish:
        """Want a transfer paid from a shard."""
        transfer_id = str(UUID(int=self.chance.getrandbits(128), version=4))
        return Wish(transfer(transfer_id, legs, CURRENCY), tuple(legs), shard_id, Answer(outcome, refusal))

    def draw(self, payees: Sequence[int]) -> Wish:
        """Draw a transfer from one of these shards to another of them, or within the only one."""
        chance = self.chance
        payer_shard = chance.choice(payees)
        payee_shard = chance.choice(payees)
        payer, other = chance.sample(self.accounts[payer_shard], 2)
        payee = other if payee_shard == payer_shard else chance.choice(self.accounts[payee_shard])
        amount = chance.randint(1, AMOUNT_MINOR_MAX)
        match chance.randrange(25):
            case 0:
                legs = [(payer, payee, UNPAYABLE_MINOR)]
                return self.wish(payer_shard, legs, Refusal.INSUFFICIENT_FUNDS, Outcome.REFUSED)
            case 1 if len(payees) > 1:
                outcome = Outcome.REFUSED if payer_shard == self.shard_ids[0] else Outcome.RETURNED
                return self.wish(payer_shard, [(payer, self.brimming, amount)], Refusal.CREDIT_BALANCE_LIMIT, outcome)
            case 2:
                return self.wish(payer_shard, [(payer, other, amount), (other, payer, 1), (payer, other, 2)])
            case 3 | 4 if len(payees) > 1:
                return self._draw_over_all(payer_shard, payer, amount)
            case _:
                return self.wish(payer_shard, [(payer, payee, amount)])

    def _draw_over_all(self, payer_shard: int, payer: str, amount: int) -> Wish:
        """Draw a transfer that pays and debits somebody on every shard, sometimes more than there is.

        Should a shard be away for so long that a promise is given up, the id is refused for ever instead.
        """
        others = [self.chance.choice(numbers) for shard, numbers in self.accounts.items() if shard != payer_shard]
        legs = [(payer, other, amount) for other in others] + [(other, payer, 1) for other in others]
        if self.chance.random() < 0.1:
            legs.append((others[-1], payer, UNPAYABLE_MINOR))
            wish = self.wish(payer_shard, legs, Refusal.INSUFFICIENT_FUNDS, Outcome.REFUSED)
        else:
            wish = self.wish(payer_shard, legs)
        wish.or_given_up = True
        return wish

    @asynccontextmanager
    async def storm(self, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator["Storm"]:
        """Let everybody pay for the length of the context, then wait until every outcome is definite."""
        storm = Storm(self)
        async with asyncio.timeout(patience_seconds), asyncio.TaskGroup() as callers:
            for number in range(CALLERS):
                payees = self.shard_ids if number % 2 else [self.shard_ids[number // 2 % len(self.shard_ids)]]
                callers.create_task(storm.pay(TRANSFERS_PER_CALL[number % len(TRANSFERS_PER_CALL)], payees))
            yield storm
            storm.is_over = True

    async def expect_sound_books(self) -> Report:
        """Hold the journal against the answers to the same ids now, the balances and the books."""
        for wish in self.journal.wishes.values():
            assert wish.told == wish.expected or wish.is_given_up, f"{wish}"
        await self._ask_all_again()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(
                shard.crossings_in_flight_count or shard.promises_open_count or not shard.writer
                for shard in await self.door.shards()
            ):
                await asyncio.sleep(children.POLL_SECONDS)
        expected = self.expected_balances()
        found = await asyncio.gather(*map(self.door.balance, expected))
        assert dict(zip(expected, found, strict=True)) == expected
        report = await audit(
            self.place.control_dsn,
            self.place.shard_dsns,
            acknowledged=self.journal.acknowledged(),
            in_flight_seconds_max=0,
        )
        assert report.clean, "\n".join(line for result in report.results for line in result.evidence)
        given_up = sum(wish.is_given_up for wish in self.journal.wishes.values())
        assert report.totals.transfers == len(self.journal.wishes) - given_up
        number = currencies.NUMBER_BY_CODE[CURRENCY]
        assert report.totals.customers_minor == {number: sum(expected.values())}
        return report

    def expected_balances(self) -> dict[str, int]:
        """Compute what each customer must hold after all that was posted."""
        balances = dict.fromkeys([number for numbers in self.accounts.values() for number in numbers], 0)
        balances[self.brimming] = 0
        for wish in self.journal.wishes.values():
            for debit, credit, amount in wish.legs if wish.told.outcome == Outcome.POSTED else ():
                for account, change in ((debit, -amount), (credit, amount)):
                    if account in balances:
                        balances[account] += change
        return balances

    async def _ask_all_again(self) -> None:
        """Send every id that was ever sent once more: it means what it meant."""
        await self._settle_all(list(self.journal.wishes.values()))

    async def _settle_all(self, wishes: Sequence[Wish]) -> None:
        for first in range(0, len(wishes), limits.TRANSFERS_PER_CALL_MAX):
            await self.settle(wishes[first : first + limits.TRANSFERS_PER_CALL_MAX], SETTING_UP_SECONDS)

    async def _move_in(self) -> None:
        """Open the accounts and fund them; the brimming one is on the first shard."""
        shards = len(self.place.shard_dsns)
        opened = await self.open_accounts(shards * CUSTOMERS_PER_SHARD)
        by_shard = await accounts.by_shard(self.place.account, opened)
        self.accounts = dict(zip(self.place.shard_dsns, by_shard, strict=True))
        self.brimming = self.accounts[self.shard_ids[0]].pop()
        brim = limits.BALANCE_MINOR_MAX // limits.AMOUNT_MINOR_MAX
        wishes = [
            self.wish(shard_id, [("CASH", number, FUNDS_MINOR)])
            for shard_id, numbers in self.accounts.items()
            for number in numbers
        ]
        wishes += [
            self.wish(self.shard_ids[0], [("SUSPENSE", self.brimming, limits.AMOUNT_MINOR_MAX)]) for _ in range(brim)
        ]
        await self._settle_all(wishes)

    async def open_accounts(self, count: int) -> list[str]:
        """Open customers with an account each, asking again and again under the same request ids."""
        customers = await self._open("Customer", [bank_pb2.Customer()] * count)
        wanted = [bank_pb2.Account(customer=each.name, currency_code=CURRENCY) for each in customers]
        return [account.account_number for account in await self._open("Account", wanted)]

    async def _open(self, kind: str, wanted: Sequence[bank_pb2.Customer | bank_pb2.Account]) -> list[bank_pb2.Account]:
        request_type = getattr(bank_pb2, f"Open{kind}Request")
        requests = [
            request_type(request_id=str(UUID(int=self.chance.getrandbits(128), version=4)), **{kind.lower(): each})
            for each in wanted
        ]
        request = getattr(bank_pb2, f"Open{kind}sRequest")(requests=requests)
        while True:
            try:
                response = await self.door.call(f"Open{kind}s", request)
            except RETRIED:
                await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))
                continue
            if not any(result.HasField("error") for result in response.results):
                return [getattr(result, kind.lower()) for result in response.results]
            await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))


@asynccontextmanager
async def opened(place: Place, journal: Journal | None = None) -> AsyncIterator[Crowd]:
    """Give a bank customers."""
    async with Door(place.gateway, place.token) as door:
        crowd = Crowd(place, door, journal or Journal())
        await crowd._move_in()
        yield crowd


class Storm:
    """Callers at work. Made by `Crowd.storm`."""

    def __init__(self, crowd: Crowd) -> None:
        self.is_over = False
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._settled_at: dict[int, list[float]] = {shard_id: [] for shard_id in crowd.shard_ids}
        """When transfers paid from a shard got their outcome."""
        self.under_way = 0
        """Transfers without an outcome yet."""
        self.mark()

    async def pay(self, count: int, payees: Sequence[int]) -> None:
        """Call after call of `count` transfers, until it is over."""
        while not self.is_over:
            wishes = [self._crowd.draw(payees) for _ in range(count)]
            self.under_way += count
            await self._crowd.settle(wishes)
            self.under_way -= count
            for wish in wishes:
                self._settled_at[wish.shard_id].append(self._loop.time())

    def settled(self, shard_id: int | None = None) -> int:
        """Count the transfers that got their outcome, of one shard's payers or of all."""
        if shard_id is not None:
            return len(self._settled_at[shard_id])
        return sum(map(len, self._settled_at.values()))

    async def more(self, count: int, shard_id: int | None = None) -> None:
        """Wait until so many more transfers have got their outcome."""
        enough = self.settled(shard_id) + count
        await children.until(lambda: self.settled(shard_id) >= enough)

    async def everywhere(self, count: int) -> None:
        """Wait until so many more transfers of each shard's payers have got their outcome."""
        await asyncio.gather(*(self.more(count, shard_id) for shard_id in self._crowd.shard_ids))

    def mark(self) -> None:
        """Begin to look at what callers notice."""
        self._marked_at = self._loop.time()
        self._problems_before = self._crowd.journal.problems.copy()

    def away(self, *shard_ids: int) -> dict[int, float]:
        """Give, for shards (all when none is named), the longest silence that lasted beyond the mark, in seconds."""
        return {shard_id: self._silence(shard_id) for shard_id in shard_ids or self._crowd.shard_ids}

    def _silence(self, shard_id: int) -> float:
        times = self._settled_at[shard_id]
        pairs = pairwise(times)
        return max(after - before for before, after in pairs if after > self._marked_at)

    def problems(self) -> Counter[str]:
        """Count the answers without an outcome since the mark."""
        return self._crowd.journal.problems - self._problems_before
