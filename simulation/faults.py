"""What happens to a bank: processes die and freeze, networks part, disks fill, clocks jump; and it all ends.

Never here: how often and to whom is the plan's and the seed's; how the bank bears it is what is tested.
"""

import asyncio
from collections.abc import Callable
from random import Random

from simulation.bank import Bank, LedgerHost
from simulation.callers import CallerHost
from simulation.database import Database
from simulation.hosts import Host
from simulation.loop import Process

CUTS = (0.01, 0.05, 0.2)
"""How often a connection may break at a statement, while it does at all."""


class Faults:
    """Makes things go wrong, one after the other, until told to stop."""

    def __init__(self, bank: Bank, callers: list[CallerHost]) -> None:
        self._bank = bank
        self._callers = callers
        self._chance = Random(f"faults {bank.plan.seed}")
        self._stopping: list[asyncio.Task[None]] = []
        self._silent: set[Process] = set()
        """Those that stand still for good."""
        self._acts: dict[str, Callable[[], None]] = {
            "kill ledger": lambda: self._kill(self._chance.choice(bank.ledgers)),
            "pause ledger": lambda: self._pause(self._chance.choice(bank.ledgers)),
            "stop ledger": self._stop,
            "kill gateway": lambda: self._kill(self._chance.choice(bank.gateways)),
            "kill caller": lambda: self._kill(self._chance.choice(callers)),
            "crash postgres": lambda: self._crash(self._database()),
            "pause postgres": lambda: self._pause_database(self._database()),
            "partition": lambda: self._part(both=True),
            "half partition": lambda: self._part(both=False),
            "clock jump": self._jump,
            "disk full": lambda: self._trouble(self._database(), "is_disk_full", value=True),
            "lossy": lambda: self._weather("lost", 0.05),
            "resets": lambda: self._weather("reset", 0.05),
            "doubles": lambda: self._weather("doubled", 0.2),
            "slow network": self._slow,
            "cuts": lambda: self._trouble(self._database(), "cut", value=self._chance.choice(CUTS)),
            "slow disk": lambda: self._trouble(self._database(), "slow_flush", value=0.3),
            "account service away": lambda: self._kill(bank.account_services[0]),
            "second account service away": lambda: self._kill(bank.account_services[1]),
            "pause account service": lambda: self._pause(self._chance.choice(bank.account_services)),
            "crash midway": self._crash_midway,
            "move slots": lambda: None,
            "crash control": lambda: self._crash(bank.control),
            "pause control": lambda: self._pause_database(bank.control),
            "cut control": lambda: self._trouble(bank.control, "cut", value=self._chance.choice(CUTS)),
            "slow control disk": lambda: self._trouble(bank.control, "slow_flush", value=0.3),
        }

    async def run(self) -> None:
        """Go on for ever."""
        if not self._bank.plan.faults:
            return
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self._bank.plan.fault_seconds))
            self._acts[self._chance.choice(self._bank.plan.faults)]()

    def _tell(self, kind: str, *who: str) -> None:
        self._bank.story.fault(kind, *who)

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._bank.loop.root.call(seconds, undo)

    def _kill(self, host: Host) -> None:
        if not host.is_up:
            return
        self._tell("SIGKILL", host.name)
        host.kill()
        self._later(self._chance.uniform(0.01, 2.0), lambda: self._start(host))

    def _start(self, host: Host) -> None:
        if not host.is_up:
            self._bank.story.tell("starts", who=host.name)
            host.start()

    def _pause(self, host: Host) -> None:
        process = host.process
        if process is None or not process.is_alive or process.is_paused:
            return
        self._tell("SIGSTOP", host.name)
        process.is_paused = True

        def resume() -> None:
            if process not in self._silent:
                self._bank.story.tell("SIGCONT", who=host.name)
                process.is_paused = False

        self._later(self._chance.choice((0.1, 1.0, 4.0)) * self._chance.uniform(0.5, 2.0), resume)

    def _stop(self) -> None:
        ledger: LedgerHost = self._chance.choice(self._bank.ledgers)
        process = ledger.process
        if process is None or not process.is_alive or process.is_paused:
            return
        self._tell("SIGTERM", ledger.name)
        self._stopping.append(process.start(ledger.stop()))

        def start() -> None:
            if ledger.process is process and process.is_alive:
                process.kill()
            self._start(ledger)

        self._later(self._chance.uniform(0.1, 7.0), start)

    def _database(self) -> Database:
        return self._bank.databases[self._chance.choice(self._bank.shard_ids)]

    def _crash(self, database: Database) -> None:
        if not database.is_up:
            return
        self._tell("PostgreSQL crashes", database.process.name)
        database.crash()
        self._later(self._chance.uniform(0.05, 2.0), database.restart)

    def _pause_database(self, database: Database) -> None:
        process = database.process
        if process.is_paused:
            return
        self._tell("PostgreSQL stands still", process.name)
        process.is_paused = True
        self._later(self._chance.uniform(0.1, 3.0), lambda: setattr(process, "is_paused", False))

    def _part(self, *, both: bool) -> None:
        names = [host.name for host in (*self._bank.hosts, *self._callers)]
        names += [database.process.host for database in (*self._bank.databases.values(), self._bank.control)]
        first, second = self._chance.sample(names, 2)
        links = {(first, second), (second, first)} if both else {(first, second)}
        self._tell("a partition" if both else "half a partition", first, second)
        self._bank.network.blocked |= links
        self._later(self._chance.uniform(0.2, 6.0), lambda: self._bank.network.blocked.difference_update(links))

    def _jump(self) -> None:
        seconds = self._chance.choice((-1, 1)) * self._chance.choice((0.01, 1.0, 30.0, 7_200.0)) * self._chance.random()
        if self._chance.random() < 0.7:
            host = self._chance.choice(self._bank.ledgers)
            self._tell(f"the clock jumps by {seconds:.3f} s", host.name)
            host.jump(seconds)
        else:
            database = self._database()
            self._tell(f"the clock jumps by {seconds:.3f} s", database.process.name)
            database.process.skew_us += round(seconds * 1_000_000)

    def _weather(self, what: str, worst: float) -> None:
        value = worst * self._chance.random()
        self._tell(f"the network gets worse: {what} {value:.3f}")
        setattr(self._bank.network.weather, what, value)
        self._later(self._chance.uniform(0.2, 4.0), lambda: setattr(self._bank.network.weather, what, 0.0))

    def _crash_midway(self) -> None:
        self._bank.crash_midway = self._chance.choice((0.05, 0.3))
        self._tell(f"openings are cut short: {self._bank.crash_midway}")
        self._later(self._chance.uniform(0.2, 3.0), lambda: setattr(self._bank, "crash_midway", 0.0))

    def _slow(self) -> None:
        self._bank.network.weather.slow_seconds = self._chance.choice((0.2, 0.2, 2.0))
        self._weather("slow", 0.3)

    def _trouble(self, database: Database, what: str, *, value: float) -> None:
        troubles = database.troubles
        self._tell(f"a database gets worse: {what} {value}", database.process.name)
        setattr(troubles, what, value)
        self._later(self._chance.uniform(0.1, 3.0), lambda: setattr(troubles, what, type(value)()))

    def heal(self) -> None:
        """End everything at once, for good. Clocks stay as they were set: nobody promised that they are right."""
        bank = self._bank
        bank.story.tell("everything heals")
        bank.network.blocked.clear()
        bank.crash_midway = 0.0
        weather = bank.network.weather
        weather.lost = weather.reset = weather.doubled = weather.slow = 0.0
        for database in (*bank.databases.values(), bank.control):
            database.troubles.cut = database.troubles.slow_flush = 0.0
            database.troubles.is_disk_full = False
            database.process.is_paused = False
            database.restart()
        for host in (*bank.hosts, *self._callers):
            if host.process is not None:
                host.process.is_paused = False
            self._start(host)
        if bank.plan.writers_stay_silent and bank.plan.standbys:
            self._silence()

    def _silence(self) -> None:
        """Stop writers for good, their sessions open, and set the clocks of their databases: standbys are to take over.

        One of each shard: another that has not noticed yet that it lost the books is the standby that is left.
        """
        chance = Random(f"silence {self._bank.plan.seed}")
        writers: dict[int, tuple[int, LedgerHost, Process]] = {}
        for ledger in self._bank.ledgers:
            if ledger.process is not None and ledger.shard is not None and ledger.shard.is_writer:
                epoch = ledger.shard.writer.head.epoch
                if epoch > writers.get(ledger.shard_id, (-1,))[0]:
                    writers[ledger.shard_id] = epoch, ledger, ledger.process
        for shard_id, (_, ledger, process) in writers.items():
            self._tell("SIGSTOP for good", ledger.name)
            self._silent.add(process)
            process.is_paused = True
            database = self._bank.databases[shard_id]
            seconds = chance.choice((-1, 1)) * 7_200.0 * chance.random()
            self._tell(f"the clock jumps by {seconds:.3f} s", database.process.name)
            database.process.skew_us += round(seconds * 1_000_000)
