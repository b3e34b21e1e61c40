"""The kinds of users, as locust knows them: each a mix of `mix.py`, and a tag.

Never here: what an operation is (`operations.py`).
"""

from collections.abc import Callable
from random import uniform
from typing import Any, ClassVar

from locust import User, tag
from locust.env import Environment

from loadtest.mix import MIXES
from loadtest.users import run


def _tasks_of(mix: str) -> list[Any]:
    """Give each operation as often as its weight says; locust draws from the list."""
    tasks = {tag(mix, operation)(_doing(operation)): weight for operation, weight in MIXES[mix].weights.items()}
    return [each for each, weight in tasks.items() for _ in range(weight)]


def _doing(operation: str) -> Callable[[Any], None]:
    def do(user: "BankUser") -> None:
        user.shared.do(operation)

    do.__name__ = operation
    return do


class BankUser(User):
    """Does what its mix says, with time to think between."""

    abstract = True
    mix: ClassVar[str]

    def __init__(self, environment: Environment) -> None:
        """Join the group."""
        super().__init__(environment)
        self.shared = run.group_of(self.mix, environment)

    def wait_time(self) -> float:
        """Think."""
        options: Any = self.environment.parsed_options
        return uniform(options.think_seconds_min, options.think_seconds_max)  # noqa: S311


class ChannelApp(BankUser):
    """A customer with a phone."""

    mix = "channel_app"
    weight = 100
    tasks = _tasks_of("channel_app")


class BatchChannel(BankUser):
    """A channel that sends many transfers per call."""

    mix = "batch"
    tasks = _tasks_of("batch")


class HotMerchant(BankUser):
    """One of the many who pay the same merchant."""

    mix = "hot_merchant"
    weight = 10
    tasks = _tasks_of("hot_merchant")


class Payroll(BankUser):
    """An employer who pays everybody."""

    mix = "payroll"
    tasks = _tasks_of("payroll")


KINDS: tuple[type[BankUser], ...] = (ChannelApp, BatchChannel, HotMerchant, Payroll)
