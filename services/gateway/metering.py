"""Refuses calls beyond what their channel may ask for, by the allowances of a file that may change.

Each gateway process counts for itself, from when it started: with n gateways a channel gets up to n times
its allowance. Never here: how much is left (`allowances.py`).
"""

from collections.abc import Callable

from services.chassis.watched import Watched
from services.domain import errors
from services.gateway import metrics, scopes
from services.gateway.allowances import Allowances, Purses

_OTHERS = "other"
"""The label of all channels that the file does not name: tokens may name any number of them."""


class Metering:
    """Counts what channels ask for."""

    def __init__(self, allowances: Watched[Allowances], now: Callable[[], float]) -> None:
        """`now` gives seconds since 1970-01-01 UTC."""
        self._allowances = allowances
        self._version = allowances.version
        self._purses = Purses(allowances.value)
        self._now = now

    def spend(self, channel: str, call: str, items: int) -> None:
        """Count a call with so many items. Raises `Overloaded` with RATE_LIMITED or QUOTA_SPENT."""
        now = self._now()
        if self._allowances.look() != self._version:
            self._version = self._allowances.version
            self._purses.change(self._allowances.value, now)
        spent = self._purses.take(channel, is_look_up=call in scopes.LOOK_UP_CALLS, items=items, now=now)
        if spent is None:
            return
        label = channel if channel in self._allowances.value.by_channel else _OTHERS
        metrics.RATE_LIMITED_CALLS.labels(label, spent.allowance).inc()
        if spent.allowance == "items_per_day":
            raise errors.Overloaded("QUOTA_SPENT", "the channel has no items left for today (UTC)", spent.seconds)
        raise errors.Overloaded("RATE_LIMITED", f"the channel's {spent.allowance} come too fast", spent.seconds)
