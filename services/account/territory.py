"""All shards of the bank: the directory as this process knows it, and each shard's records.

Never here: changing the directory (`store.py`), what is done with the records (`lifecycle.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from services.account import placing
from services.account.records import Name, Records
from services.account.store import ControlStore
from services.domain.directory import Directory
from services.domain.identifiers import SLOTS

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class Territory:
    """Tells which shard has what. The directory may be old for a while, as everybody's."""

    def __init__(self, control: ControlStore, records: Mapping[int, Records], directory: Directory) -> None:
        self._control = control
        self._records = records
        self.directory = directory
        """The newest version read so far; counts in it lag."""

    @property
    def shard_ids(self) -> list[int]:
        """All shards, ascending."""
        return sorted(self._records)

    def records(self, shard_id: int) -> Records:
        """Return the records of a shard."""
        return self._records[shard_id]

    async def refresh(self) -> Directory:
        """Read the directory."""
        directory = await self._control.directory()
        if directory.version >= self.directory.version:
            self.directory = directory
        return self.directory

    async def refresh_if_changed(self) -> Directory:
        """Read the directory if there is a newer version."""
        changed = await self._control.directory_version() != self.directory.version
        return await self.refresh() if changed else self.directory

    def by_home(self, names: Iterable[Name]) -> dict[int, dict[Name, int]]:
        """Sort names by the shard that keeps them; each with its home slot."""
        shard_by_slot = self.directory.shard_by_slot
        parts: dict[int, dict[Name, int]] = {}
        for name in names:
            slot = placing.home_slot(*name)
            parts.setdefault(shard_by_slot[slot], {})[name] = slot
        return parts

    def by_shard(self, items: Iterable[T], slot_of: Callable[[T], int]) -> dict[int, list[T]]:
        """Sort items by the shard that has their slot, leaving out those whose slot nobody has."""
        shard_by_slot = self.directory.shard_by_slot
        parts: dict[int, list[T]] = {}
        for item in items:
            slot = slot_of(item)
            shard_id = shard_by_slot[slot] if 0 <= slot < SLOTS else 0
            if shard_id:
                parts.setdefault(shard_id, []).append(item)
        return parts


async def together(*awaitables: Awaitable[R]) -> list[R]:
    """Wait for all at once. All have ended before the first error is raised."""
    answers = await asyncio.gather(*awaitables, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


async def each_shard(parts: Mapping[int, P], act: Callable[[int, P], Awaitable[R]]) -> list[R]:
    """Act on all shards at once. All have ended before the first error is raised."""
    return await together(*(act(shard_id, part) for shard_id, part in parts.items()))
