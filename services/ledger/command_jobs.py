"""Jobs that move no money between accounts: holds, burials, changes of accounts.

What a job is stands in `jobs.py`. Never here: when it is decided (`batching.py`).
"""

from collections.abc import Callable, Iterable, Sequence

from services.ledger import changes, holds, posting
from services.ledger.books import Actor, Answers, HoldCommand
from services.ledger.change_rows import Change, ChangeDecision
from services.ledger.draft import Draft
from services.ledger.jobs import Job


class HoldJob(Job[Answers]):
    """Holds to place, increase and release."""

    __slots__ = ("_actor_ids", "commands")

    def __init__(self, commands: Sequence[HoldCommand], deadline: float) -> None:
        super().__init__(len(commands), deadline)
        self.commands = commands
        self._actor_ids: list[int] = []

    @property
    def is_special(self) -> bool:
        """Whether deciding needs holds."""
        return True

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return whose money is set aside."""
        return ([command.account_number for command in self.commands],)

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the commands' ids."""
        return [command.command_id for command in self.commands]

    def hold_ids(self) -> Iterable[bytes]:
        """Return the holds."""
        return [command.hold_id for command in self.commands]

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return {command.actor for command in self.commands}

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the numbers of those who ask."""
        self._actor_ids = [actor_id(command.actor) for command in self.commands]

    def decide(self, draft: Draft) -> Answers:
        """Carry the commands out."""
        return holds.command(draft, self.commands, self._actor_ids)


class ExpireJob(Job[int]):
    """Holds whose time has come; the answer is how many were still open."""

    __slots__ = ("_hold_ids",)

    def __init__(self, hold_ids: Sequence[bytes]) -> None:
        super().__init__(len(hold_ids), float("inf"))
        self._hold_ids = hold_ids

    @property
    def is_special(self) -> bool:
        """Whether deciding needs holds."""
        return True

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return nothing: the accounts come with the holds."""
        return ()

    def hold_ids(self) -> Iterable[bytes]:
        """Return the holds."""
        return self._hold_ids

    def decide(self, draft: Draft) -> int:
        """Expire."""
        return holds.expire(draft, self._hold_ids)


class BuryJob(Job[list[bool]]):
    """Ids to refuse beforehand; True where one meant nothing yet."""

    __slots__ = ("_accounts", "_actor", "_actor_id", "_ids")

    def __init__(self, transfer_ids: Sequence[bytes], accounts: Sequence[int], actor: Actor, deadline: float) -> None:
        super().__init__(len(transfer_ids), deadline)
        self._ids = transfer_ids
        self._accounts = accounts
        self._actor = actor
        self._actor_id = 0

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return nothing: no account is concerned."""
        return ()

    def transfer_ids(self) -> Sequence[bytes]:
        """Return the ids."""
        return self._ids

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return (self._actor,)

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the number of who asks."""
        self._actor_id = actor_id(self._actor)

    def decide(self, draft: Draft) -> list[bool]:
        """Bury."""
        return posting.bury(draft, self._ids, self._accounts, self._actor_id)


class ChangeJob(Job[ChangeDecision | None]):
    """A change of an account's slow facts; the answer is None when its id names another one."""

    __slots__ = ("_actor_id", "actor", "change")

    def __init__(self, change: Change, actor: Actor, deadline: float) -> None:
        super().__init__(1, deadline)
        self.change = change
        self.actor = actor
        self._actor_id = 0

    @property
    def is_special(self) -> bool:
        """Whether deciding needs changes and siblings."""
        return True

    def accounts(self) -> Sequence[Sequence[int]]:
        """Return the account."""
        return ((self.change.account_number,),)

    def change_ids(self) -> Iterable[bytes]:
        """Return the change's id."""
        return (self.change.change_id,)

    @property
    def needs_all_siblings(self) -> bool:
        """Whether its customer's cap changes."""
        return self.change.customer_day_minor_max is not None

    def siblings_of(self) -> Iterable[int]:
        """Return the account when its customer's cap changes."""
        return () if self.change.customer_day_minor_max is None else (self.change.account_number,)

    def open_holds_of(self) -> Iterable[int]:
        """Return the account when counting what it spends may begin."""
        return () if self.change.allowance is None else (self.change.account_number,)

    def actors(self) -> Iterable[Actor]:
        """Return who asks."""
        return (self.actor,)

    def name_actors(self, actor_id: Callable[[Actor], int]) -> None:
        """Learn the number of who asks."""
        self._actor_id = actor_id(self.actor)

    def decide(self, draft: Draft) -> ChangeDecision | None:
        """Change."""
        return changes.change(draft, self.change, self._actor_id)
