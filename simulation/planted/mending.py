"""Bugs in mending: how the sweeper goes on with a move between products that was left half done.

Each docstring says what is wrong. Never here: bugs in moves that nobody has to mend (`charging.py`).
"""

from typing import Any
from unittest.mock import patch

from services.account.books import Books
from services.account.moves import Moves
from services.account.moving import Mover
from services.domain import errors
from simulation.planted.bug import Patches, bug

_CUT_SHORT: dict[str, Any] = {
    "shards": 1,
    "standbys": 0,
    "weights": {"move": 1.0},
    "faults": ("account service away", "kill ledger"),
    "fault_seconds": 0.1,
    "call_seconds": (0.05, 0.5),
    "has_products": True,
}
"""A bank whose moves are often left half done: the service dies, the ledger is away, callers give up."""


def _mending_with(moves: type[Moves] = Moves, books: type[Books] = Books) -> Any:
    """Let the sweeper, and nobody else, finish moves with other records or other books."""
    mend = Mover.finish_stale

    async def finish_stale(self: Mover, *which: Any, **more: Any) -> int:
        records = {shard_id: moves(each._database) for shard_id, each in self._moves.items()}
        return await mend(Mover(self._products, self._territory, records, books(self._books._ledgers)), *which, **more)

    return patch.object(Mover, "finish_stale", finish_stale)


@bug("move", **_CUT_SHORT)
def mend_the_books_only() -> Patches:
    """The sweeper has a move carried out by the books and forgets the record."""

    class Forgetful(Moves):
        async def finish(self, request_id: bytes) -> None:
            """Write nothing."""

    yield _mending_with(moves=Forgetful)


@bug("move", **_CUT_SHORT | {"faults": ("pause ledger", "partition"), "fault_seconds": 0.5})
def silence_is_consent() -> Patches:
    """The sweeper takes a move as done when the ledger does not answer."""

    class Trusting(Books):
        async def replace_standard(self, *asked: Any, **more: Any) -> int:
            try:
                return await super().replace_standard(*asked, **more)
            except errors.BankError:
                return 0

    yield _mending_with(books=Trusting)


@bug("move", **_CUT_SHORT)
def mend_under_a_new_id() -> Patches:
    """The sweeper asks the books under an id of its own, so that they carry a move out a second time."""

    class Renaming(Books):
        async def replace_standard(
            self, shard_id: int, account_number: int, change_id: bytes, *more: Any, **named: Any
        ) -> int:
            renamed = bytes(byte ^ 0x55 for byte in change_id)
            return await super().replace_standard(shard_id, account_number, renamed, *more, **named)

    yield _mending_with(books=Renaming)


@bug("move", "state", **_CUT_SHORT | {"weights": {"move": 1.0, "state": 3.0}})
def mend_what_was_refused() -> Patches:
    """The sweeper gives an account its new product although the books refused it."""

    class Overruling(Moves):
        async def refuse(self, request_id: bytes, _refusal: int) -> None:
            await self.finish(request_id)

    yield _mending_with(moves=Overruling)


@bug("move", **_CUT_SHORT | {"faults": ("crash control", "cut control"), "call_seconds": (0.5, 5.0)})
def begun_or_nothing() -> Patches:
    """Who cannot be told how a move goes on, because the catalogue is away, is told that nothing was done."""

    async def finish(self: Mover, move: Any, deadline_seconds: float) -> int:
        return await self.finish(move, deadline_seconds=deadline_seconds)

    yield patch.object(Mover, "_finish_or_doubt", finish)
