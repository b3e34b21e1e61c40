"""One simulation from its first second to its last proof.

Open a bank, want things of it while it suffers, heal it, ask about everything again, check everything. Never here:
how many of them (`__main__.py`).
"""

import asyncio
import gc
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hivecore.ledger.v1 import ledger_pb2

from services.chassis.directory_cache import DirectoryCache
from services.domain import chart, errors, limits
from services.domain.identifiers import account_number, customer_number
from services.domain.products import NONE, Reference, Standard
from simulation import records
from simulation.account_service import ACCOUNT_SERVICE
from simulation.bank import SLOTS_PER_SHARD, Bank
from simulation.callers import CallerHost, Desk
from simulation.charges import Charges
from simulation.checker import Checker
from simulation.faults import Faults
from simulation.journal import claim
from simulation.loop import Process
from simulation.openings import Openings
from simulation.oracle import Oracle
from simulation.plan import Plan, draw
from simulation.prices import draw_products
from simulation.seals import Seals
from simulation.wishes import CZK, EUR, Account, Wishes

SUFFERING_SECONDS_MAX = 120.0
"""Faults end at the latest then, whether or not callers are done."""

OPENING_SECONDS_MAX = 60.0
RECOVERY_SECONDS_MAX = 60.0
"""After everything healed, every outcome has to be there within this time."""

SEEDS_PER_COLLECTION = 8

UNFUNDED = 0.15
"""How many accounts have nothing when they are opened, and may be closed at once."""

FLOOR_OF_CASH = -limits.BALANCE_MINOR_MAX

CLERK_SERIALS = 50_000_000
"""Where callers open accounts, the numbers of those that the clerk opens lie beyond those that the service gives."""


@dataclass
class Result:
    """What became of a simulation."""

    plan: Plan
    digest: str = ""
    """The same for every run of a seed."""
    error: BaseException | None = None
    transfers: int = 0
    commits: int = 0
    intentions: int = 0
    told: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    virtual_seconds: float = 0.0
    recovery_seconds: float = 0.0
    lines: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        """Count faults by kind, without their figures."""
        found: dict[str, int] = {}
        for fault, count in self.faults.items():
            kind = fault.split(" by ")[0].split(": ")[-1].rstrip("0123456789. ").removesuffix(" True")
            found[kind] = found.get(kind, 0) + count
        return found

    def check(self) -> str:
        """Name what noticed the error, without its particulars."""
        error = self.error
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        return f"{type(error).__name__}: {str(error).split(':')[0][:90]}"

    def story(self, last: int = 200) -> str:
        """Tell it: the plan, the last events, what is wrong."""
        return "\n".join([str(self.plan), *self.lines[-last:], f"=> {self.error!r}" if self.error else "=> sound"])


def simulate(seed: int, plan: Plan | None = None) -> Result:
    """Simulate one seed. What is wrong stands in the result's `error`."""
    plan = plan or draw(seed)
    gc.disable()  # Nothing may be finalised at a moment that the seed does not choose.
    try:
        return Simulation(plan).run()
    finally:
        gc.enable()
        if seed % SEEDS_PER_COLLECTION == 0:
            gc.collect()


class Simulation:
    """Everything that one seed needs."""

    def __init__(self, plan: Plan) -> None:
        self.bank = Bank(plan)
        self.charges = Charges(plan, draw_products(plan.seed) if plan.has_products else {})
        self.oracle = Oracle(self.bank.databases, self.bank.story, self.charges)
        self.openings = self.oracle.openings = Openings(
            self.bank.databases, self.bank.control, self.charges, self.oracle.by_id, self._welcome
        )
        self.checker = Checker(self.bank.databases, self.oracle.asked, self.oracle.changed)
        self.seals = Seals(self.bank.databases)
        self.wishes = Wishes(plan, self.oracle)
        self.callers = [CallerHost(self.bank, self.oracle, self.wishes, n) for n in range(1, plan.callers + 1)]
        self.faults = Faults(self.bank, self.callers)
        self.chance = Random(f"run {plan.seed}")
        self.tastes = Random(f"tastes {plan.seed}")
        """Which products accounts are opened with."""
        if plan.has_products:
            records.publish(self.bank.control, self.charges.products.values())
            for database in self.bank.databases.values():
                database.on_commit.append(self.charges.watch)
        if plan.has_openings:
            for database in self.bank.databases.values():
                database.on_commit.append(self.openings.watch)
        self.serial = CLERK_SERIALS if plan.has_openings else 0
        self.is_healed = False

    def run(self) -> Result:
        bank = self.bank
        result = Result(bank.plan)
        with bank.installed():
            try:
                bank.loop.run(self._run(result), until=100_000)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this seed's result
                result.error = error
            bank.network.is_over = True
            result.digest = bank.story.digest
            failure, bank.loop.failure = bank.loop.failure, None
            result.error = result.error or failure
            bank.loop.bury()
        result.transfers, result.commits = self.checker.replay.transfers, self.checker.commits
        result.intentions = sum(map(len, self.oracle.by_id.values()))
        result.told, result.faults = self.oracle.told, bank.story.faults
        result.virtual_seconds, result.lines = bank.loop.time(), bank.story.lines
        return result

    async def _run(self, result: Result) -> None:
        bank = self.bank
        for host in bank.hosts:
            host.start()
        clerk = bank.loop.process("clerk")
        try:
            async with asyncio.timeout(OPENING_SECONDS_MAX):
                await clerk.start(self._open_bank(clerk))
        except TimeoutError:
            claim(False, "the bank does not open")
        for caller in self.callers:
            caller.start()
        suffering = asyncio.create_task(self.faults.run())
        opening = clerk.start(self._open_more(clerk))
        until = bank.loop.time() + SUFFERING_SECONDS_MAX
        while bank.loop.time() < until and not all(caller.is_done for caller in self.callers):
            await asyncio.sleep(0.1)
        suffering.cancel()
        self.wishes.end()
        self.faults.heal()
        self.is_healed = True
        healed = bank.loop.time()
        desk = bank.loop.process("final desk")
        try:
            async with asyncio.timeout(RECOVERY_SECONDS_MAX):
                await desk.start(self._settle(desk))
        except TimeoutError:
            claim(False, "not everything is resolved in time", [one.short for one in self.oracle.unresolved()])
        opening.cancel()
        result.recovery_seconds = bank.loop.time() - healed
        await desk.start(self._ask_again(desk))
        for caller in self.callers:
            caller.kill()
        try:
            async with asyncio.timeout(RECOVERY_SECONDS_MAX):
                await self._rest()
        except TimeoutError:
            left = [*self.checker.unsettled(), *self._half_done(), *self.seals.unsealed()]
            claim(False, "not everything comes to rest in time", left)
        self.checker.finish()
        self.charges.finish(self.bank.databases)
        self.openings.finish()
        self.seals.finish()

    async def _settle(self, process: Process) -> None:
        """Ask about everything that has no outcome yet, then wait until nothing is on its way.

        Half of the time nobody asks before every promise, move and opening has ended: no caller is needed for that.
        """
        desk = Desk(self.bank, self.oracle, self.chance)
        is_patient = self.chance.random() < 0.5
        while is_patient and (any(books.promises for books in self.checker.books.values()) or self._half_done()):
            await asyncio.sleep(0.1)
        await asyncio.gather(*(desk.settle_all([one]) for one in self.oracle.unresolved()))
        await self._rest()

    async def _rest(self) -> None:
        """Wait until nothing is on its way, and nothing waits."""
        while (
            self.checker.unsettled()
            or self._holds_are_due()
            or self._half_done()
            or (self.bank.plan.seal_seconds and self.seals.unsealed())
        ):
            await asyncio.sleep(0.1)

    def _half_done(self) -> list[str]:
        """Name moves and openings that somebody has to finish."""
        return [*Charges.under_way(self.bank.databases), *self.openings.under_way()]

    def _holds_are_due(self) -> bool:
        """Tell whether holds wait to be freed that are over by every clock of their shard."""
        for shard_id, database in self.bank.databases.items():
            ledgers = [ledger.process for ledger in self.bank.ledgers if ledger.shard_id == shard_id]
            now_us = min(each.now_us() for each in (database.process, *ledgers) if each is not None)
            holds = database.tables["hold"].rows
            if any(hold["state"] == 1 and hold["expire_time"] + 5_000_000 < now_us for hold in holds):
                return True
        return False

    async def _ask_again(self, process: Process) -> None:
        """Ask about everything once more: the same answers, for ever."""
        desk = Desk(self.bank, self.oracle, self.chance)
        settled = [one for ones in self.oracle.by_id.values() for one in ones if one.final is not None]
        for start in range(0, len(settled), 16):
            await asyncio.gather(*(desk.settle_all([one], attempts_max=3) for one in settled[start : start + 16]))

    # Opening.

    async def _open_bank(self, process: Process) -> None:
        directory = DirectoryCache(ACCOUNT_SERVICE)
        await directory.start()
        for shard_id in self.bank.shard_ids:
            own = [(code, currency) for code in (chart.Code.CASH, chart.Code.FEES) for currency in (CZK, EUR)]
            own = own if self.bank.plan.has_products else own[:2]
            numbers = [chart.internal_account(shard_id, *each) for each in own]
            standards = [Standard(FLOOR_OF_CASH)] * len(own)
            await self._open(directory, shard_id, numbers, [each[1] for each in own], [0] * len(own), standards)
            for _ in range(self.chance.randint(1, 4)):
                await self._open_customer(directory, shard_id, shard_id * 100 + self.chance.randrange(SLOTS_PER_SHARD))
        desk = Desk(self.bank, self.oracle, self.chance)
        funded = [account for account in self.wishes.accounts if self.chance.random() > UNFUNDED]
        await asyncio.gather(*(desk.settle_all([self.wishes.fund(account)]) for account in funded))

    async def _open_customer(self, directory: DirectoryCache, shard_id: int, slot: int) -> list[Account]:
        self.serial += 1
        customer = customer_number(slot, self.serial)
        currencies = [CZK, CZK, EUR][: self.chance.randint(1, 3)]
        numbers = [account_number(slot, self.serial * 10 + place) for place in range(len(currencies))]
        references = [self._product(currency) for currency in currencies]
        customers = [customer] * len(numbers)
        for number, currency, reference in zip(numbers, currencies, references, strict=True):
            records.put(self.bank.databases[shard_id], customer, number, currency, reference)
            self.charges.opened(number, shard_id, currency, reference)
        standards = [self.charges.standard(reference) for reference in references]
        await self._open(directory, shard_id, numbers, currencies, customers, standards)
        opened = [Account(number, shard_id, currency) for number, currency in zip(numbers, currencies, strict=True)]
        for account in opened:
            self.oracle.opened[account.number] = self.bank.loop.time()
        self.wishes.accounts += opened
        return opened

    def _welcome(self, number: int, shard_id: int, currency: int) -> None:
        """Let everybody use an account whose opening a caller was told of."""
        if number in self.oracle.opened:
            return
        account = Account(number, shard_id, currency)
        self.oracle.opened[number] = self.bank.loop.time()
        self.wishes.accounts.append(account)
        if not self.is_healed:
            uses = (self.wishes.fund(account), self.wishes.use(account))
            self.wishes.soon += [one for one in uses if one is not None]

    def _product(self, currency: int) -> Reference:
        """Draw the product of an account to be opened."""
        fitting = [one.reference for one in self.charges.products.values() if one.currency == currency]
        return self.tastes.choice(fitting) if fitting and self.tastes.random() < 0.7 else NONE

    async def _open(
        self, directory: DirectoryCache, shard_id: int, numbers: list[Any], currencies: list[int],
        customers: list[Any], standards: list[Standard],
    ) -> None:  # fmt: skip
        request = ledger_pb2.OpenAccountsRequest(
            shard_id=shard_id,
            account_numbers=numbers,
            currencies=currencies,
            floors_minor=[standard.floor_minor for standard in standards],
            customer_numbers=customers,
            allowances=[records.allowance(*each) for each in enumerate(standards) if any(each[1][1:])],
        )
        while True:
            try:
                answer = await directory.ledger(shard_id).call("OpenAccounts", request, deadline_seconds=2.0)
            except errors.BankError:
                await asyncio.sleep(0.1)
                continue
            claim(all(each == ledger_pb2.OpenAccountsResponse.RESULT_OPEN for each in answer.results), "not opened")
            return

    async def _open_more(self, process: Process) -> None:
        """Open accounts while the bank suffers, some of them in slots that are new or have just been moved."""
        directory = DirectoryCache(ACCOUNT_SERVICE)
        await directory.start()
        desk = Desk(self.bank, self.oracle, self.chance)
        spare = SLOTS_PER_SHARD
        while True:
            await asyncio.sleep(0.2)
            if not self.wishes.openings_wanted:
                continue
            self.wishes.openings_wanted -= 1
            shard_id = self.chance.choice(self.bank.shard_ids)
            slot = shard_id * 100 + self.chance.randrange(SLOTS_PER_SHARD)
            if spare < 99 and self.chance.random() < 0.5:
                slot, spare = 100 + spare, spare + 1
                moves = "move slots" in self.bank.plan.faults
                if moves:
                    self.bank.assign(slot, self.chance.choice(self.bank.shard_ids))
                    await asyncio.sleep(self.chance.uniform(0, 6))
                self.bank.assign(slot, shard_id)
                if moves:
                    await self._wait_until_ledgers_know()
            for account in await self._open_customer(directory, shard_id, slot):
                uses = (self.wishes.fund(account), self.wishes.use(account))
                await asyncio.gather(*(desk.settle_all([one], attempts_max=20) for one in uses if one is not None))

    async def _wait_until_ledgers_know(self) -> None:
        """A slot is given over only when every ledger knows; one that nobody had is given at once."""
        version = self.bank.directory_version
        while True:
            caches = [ledger.directory for ledger in self.bank.ledgers if ledger.directory is not None]
            if all(cache._version() >= version for cache in caches):
                return
            await asyncio.sleep(0.2)
