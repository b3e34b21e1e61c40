"""Dictionaries of bounded size, for memories that may forget: caches, not authorities.

Never here: what is kept in it.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


FORGOTTEN_AT_ONCE: Final = 64
"""The part of a full memory that is forgotten in one go: finding the oldest takes time for each that went before."""


class Bounded(Generic[K, V]):
    """A dictionary that forgets what was not used lately, by halves: no bookkeeping per look-up."""

    def __init__(self, size_max: int) -> None:
        self._half = max(1, size_max // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return a value, keeping it for longer."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self._young[key] = value
        return value

    def pick(self, keys: Sequence[K]) -> list[V | None]:
        """Return the values of many keys, as `get` does."""
        values = list(map(self._young.get, keys))
        if None in values:
            return [self.get(key) if value is None else value for key, value in zip(keys, values, strict=True)]
        return values

    def forget(self, keys: Iterable[K]) -> None:
        """Drop values that are true no longer."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def update(self, fresh: dict[K, V]) -> None:
        """Take values in; when half of the room is full of them, forget the other half."""
        self._young.update(fresh)
        if len(self._young) > self._half:
            self._old, self._young = self._young, {}


class Recent(Generic[K, V]):
    """A dictionary that forgets what was put in, or put in anew, the longest ago: holds all that it may, orders little.

    Looking up keeps nothing. As long as all fits, no order is kept.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: dict[K, V] = {}
        self.get = self._values.get

    def __len__(self) -> int:
        return len(self._values)

    def pick(self, keys: Sequence[K]) -> list[V | None]:
        """Return the values of many keys, None for those that are not there."""
        return list(map(self._values.get, keys))

    def update(self, fresh: dict[K, V]) -> list[V]:
        """Take values in; when there are too many, forget the oldest, but none of these, and return them."""
        values = self._values
        if len(values) + len(fresh) > self._size_max:
            for key in fresh:
                values.pop(key, None)
        older = len(values)
        values.update(fresh)
        excess = len(values) - self._size_max
        if excess <= 0:
            return []
        count = min(excess + self._size_max // FORGOTTEN_AT_ONCE, older)
        return [values.pop(key) for key in list(islice(values, count))]
