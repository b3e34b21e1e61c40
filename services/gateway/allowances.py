"""How much each channel may ask of a gateway process, and what it has left: a pure room, time comes in.

Look-ups have an allowance of their own, so that a flood of them leaves payments alone and the other way
round. Calls that write are counted twice: as calls, and by the items in them, so that one call of 8,000
transfers is not one of a single transfer. Never here: reading the file, errors, metrics (`metering.py`).

    [default]
    look_ups_per_second = 500
    [channels.mobile]
    writes_per_second = 200
    writes_burst = 400
    items_per_second = 2_000
    items_per_day = 5_000_000
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

CHANNELS_MAX: Final = 10_000
"""Channels that are remembered; a forgotten one begins anew with full buckets."""

DAY_SECONDS: Final = 86_400.0
"""Days are UTC's."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one channel may ask for; infinity is no bound. A burst of None is what one second brings."""

    look_ups_per_second: float = math.inf
    look_ups_burst: float | None = None
    writes_per_second: float = math.inf
    writes_burst: float | None = None
    items_per_second: float = math.inf
    items_burst: float | None = None
    items_per_day: float = math.inf
    """Items of calls that write."""


@dataclass(frozen=True, slots=True)
class Allowances:
    """What every channel may ask for."""

    default: Allowance = Allowance()
    by_channel: Mapping[str, Allowance] = field(default_factory=dict)

    @classmethod
    def of_toml(cls, text: bytes) -> "Allowances":
        """Read a file; what a channel leaves out is as in `default`. Raises `ValueError` with what is wrong."""
        document = tomllib.loads(text.decode())
        if unknown := sorted(document.keys() - {"default", "channels"}):
            raise ValueError(f"{unknown[0]} is neither default nor channels")
        default = _changed(Allowance(), "default", document.get("default", {}))
        channels = document.get("channels", {})
        if not isinstance(channels, dict) or len(channels) > CHANNELS_MAX:
            raise ValueError(f"channels is a table of at most {CHANNELS_MAX} channels")
        return cls(default, {name: _changed(default, f"channels.{name}", given) for name, given in channels.items()})

    def of(self, channel: str) -> Allowance:
        """Return a channel's allowance."""
        return self.by_channel.get(channel, self.default)


def _changed(allowance: Allowance, place: str, given: Any) -> Allowance:
    if not isinstance(given, dict):
        raise ValueError(f"{place} is a table")  # noqa: TRY004
    for name, value in given.items():
        if name not in Allowance.__slots__:
            raise ValueError(f"{place}.{name} is none of {', '.join(Allowance.__slots__)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{place}.{name} is a number above 0")
        if name.endswith("_burst") and not 1 <= value < math.inf:
            raise ValueError(f"{place}.{name} is at least 1, and finite")
    return replace(allowance, **given)


class Spent(NamedTuple):
    """Why a call may not be made, and when it may."""

    allowance: str
    seconds: float
    """Until there is enough again, if nobody else takes it."""


class _Bucket:
    """Holds at most `burst` tokens and gets `per_second` of them."""

    __slots__ = ("_at", "_burst", "_level", "_per_second")

    def __init__(self, per_second: float, burst: float | None, now: float) -> None:
        self._per_second = per_second
        self._burst = burst if burst is not None else max(per_second, 1.0)
        self._level = self._burst
        self._at = now

    def missing_seconds(self, tokens: float, now: float) -> float:
        """Tell how long until so many are there; more than it can hold are there when it is full."""
        if now > self._at:  # A clock that was put back brings nothing, until it has caught up.
            self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
            self._at = now
        wanted = min(self._burst, tokens)
        return 0.0 if self._level >= wanted else (wanted - self._level) / self._per_second

    def take(self, tokens: float) -> None:
        """Take tokens; what it could not hold is owed."""
        self._level -= tokens


def _bucket(per_second: float, burst: float | None, now: float) -> _Bucket | None:
    return None if per_second == math.inf else _Bucket(per_second, burst, now)


class _Purse:
    """What one channel has left."""

    __slots__ = ("day", "items", "items_per_day", "items_today", "look_ups", "writes")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.look_ups = _bucket(allowance.look_ups_per_second, allowance.look_ups_burst, now)
        self.writes = _bucket(allowance.writes_per_second, allowance.writes_burst, now)
        self.items = _bucket(allowance.items_per_second, allowance.items_burst, now)
        self.items_per_day = allowance.items_per_day
        self.items_today = 0
        self.day = now // DAY_SECONDS

    def look_up(self, now: float) -> Spent | None:
        if self.look_ups is not None:
            if seconds := self.look_ups.missing_seconds(1, now):
                return Spent("look_ups", seconds)
            self.look_ups.take(1)
        return None

    def write(self, items: int, now: float) -> Spent | None:
        """Take a call and its items from all allowances or from none."""
        if now // DAY_SECONDS > self.day:
            self.day, self.items_today = now // DAY_SECONDS, 0
        if self.items_today + items > self.items_per_day:
            return Spent("items_per_day", (self.day + 1) * DAY_SECONDS - now)
        if self.writes is not None and (seconds := self.writes.missing_seconds(1, now)):
            return Spent("writes", seconds)
        if self.items is not None:
            if seconds := self.items.missing_seconds(items, now):
                return Spent("items", seconds)
            self.items.take(items)
        if self.writes is not None:
            self.writes.take(1)
        self.items_today += items
        return None


class Purses:
    """What all channels have left. Times are seconds since 1970-01-01 UTC."""

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances
        self._purses: dict[str, _Purse] = {}

    def change(self, allowances: Allowances, now: float) -> None:
        """Go by other allowances: buckets are full again, the day's use stays."""
        self._allowances = allowances
        for channel, old in self._purses.items():
            fresh = self._purses[channel] = _Purse(allowances.of(channel), now)
            fresh.day, fresh.items_today = old.day, old.items_today

    def take(self, channel: str, *, is_look_up: bool, items: int, now: float) -> Spent | None:
        """Take a call out of its channel's purse; None when it may be made."""
        purse = self._purses.get(channel)
        if purse is None:
            if len(self._purses) >= CHANNELS_MAX:
                del self._purses[next(iter(self._purses))]
            purse = self._purses[channel] = _Purse(self._allowances.of(channel), now)
        return purse.look_up(now) if is_look_up else purse.write(items, now)
