"""Moves accounts between products: begun in the records, carried out in the books, done in the records.

The books' writer decides, in one step, which of the five standard limits the account still has from the
version before: each of those that is as that version says takes the new value; any other was set for
this account alone and stays. Between the steps the old prices hold. A crash between two steps costs
nothing: the same request, or the sweeper, goes on where it stopped.

Never here: prices, limits of an account that is not moved.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from services.account.books import Books
from services.account.moves import Move, Moves, MoveState
from services.account.opening import Account, State
from services.account.product_store import ProductStore
from services.account.territory import Territory
from services.chassis import status
from services.domain import errors
from services.domain.identifiers import slot_of_account
from services.domain.products import Reference

MOVES_LISTED_MAX: Final = 1_000


class Mover:
    """Moves accounts; tells which were moved."""

    def __init__(self, products: ProductStore, territory: Territory, moves: Mapping[int, Moves], books: Books) -> None:
        self._products = products
        self._territory = territory
        self._moves = moves
        self._books = books

    async def move(self, asked: Move, *, deadline_seconds: float) -> Account | int:
        """Move an account, with version 0 to the highest there is; return it, or the books' refusal.

        Raises `NotFound`, `Refused`, `Conflict` (REQUEST_ID_REUSED), `Unavailable` (MOVE_UNDER_WAY) when
        nothing is begun; `OutcomeUnknown` when it is, or may be, and the same request again will finish it.
        """
        shard_id = self._shard_of(asked.account_number)
        moves = self._moves[shard_id]
        begun = await moves.find(asked.request_id)
        if begun is None:
            begun = await self._begin_or_doubt(moves, await self._checked(shard_id, asked))
        if begun is None:
            raise errors.Unavailable("MOVE_UNDER_WAY", "another move of the account is being finished")
        if begun.fingerprint != asked.fingerprint:
            raise errors.Conflict("REQUEST_ID_REUSED", "this request id came with another request before")
        if begun.state == MoveState.BEGUN:
            begun = begun._replace(refusal=await self._finish_or_doubt(begun, deadline_seconds))
        if begun.refusal:
            return begun.refusal
        try:
            return await self._account(shard_id, asked.account_number)
        except errors.BankError as error:
            raise errors.OutcomeUnknown(
                status.DOUBT_REASON, "the account is moved: send the same request again"
            ) from error

    async def finish(self, move: Move, *, deadline_seconds: float) -> int:
        """Carry out a move that was begun; return the books' refusal, 0 for none."""
        shard_id = self._shard_of(move.account_number)
        catalogue = await self._products.current()
        refusal = await self._books.replace_standard(
            shard_id,
            move.account_number,
            _digest(b"product move", move.request_id),
            catalogue.standard(move.before),
            catalogue.standard(move.after),
            reason=move.reason,
            actor=(move.channel, move.subject),
            deadline_seconds=deadline_seconds,
        )
        if refusal:
            await self._moves[shard_id].refuse(move.request_id, refusal)
        else:
            await self._moves[shard_id].finish(move.request_id)
        return refusal

    async def finish_stale(
        self, shard_id: int, older_than_seconds: float, limit: int, *, deadline_seconds: float
    ) -> int:
        """Carry out moves that nobody went on with; return how many."""
        stale = await self._moves[shard_id].stale(older_than_seconds, limit)
        for move in stale:
            await self.finish(move, deadline_seconds=deadline_seconds)
        return len(stale)

    async def moved(self, marks: Mapping[int, int]) -> dict[int, tuple[int, Sequence[int]]]:
        """Return, by shard, how far moves are listed and whose they are; shards that do not answer are left out.

        A mark of -1 lists none and only says which move is the last.
        """
        answers = await asyncio.gather(*(self._moved(*mark) for mark in marks.items()), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, errors.BankError):
                raise answer
        known = [shard_id in self._moves for shard_id in marks]
        return {
            shard_id: answer
            for shard_id, answer, is_known in zip(marks, answers, known, strict=True)
            if is_known and not isinstance(answer, BaseException)
        }

    async def _moved(self, shard_id: int, after: int) -> tuple[int, Sequence[int]]:
        moves = self._moves.get(shard_id)
        if moves is None:
            return 0, ()
        if after < 0:
            return await moves.through(), ()
        listed = await moves.after(after, MOVES_LISTED_MAX)
        return (listed[-1][0] if listed else after), [number for _, number in listed]

    async def _checked(self, shard_id: int, asked: Move) -> Move:
        account = await self._account(shard_id, asked.account_number)
        if account.state != State.ACTIVE:
            raise errors.Refused("ACCOUNT_NOT_OPEN", "the account is still being opened")
        product = (await self._products.current()).find(*asked.after)
        if product is None:
            raise product_not_found(asked.after)
        if product.currency != account.currency:
            raise errors.Refused("PRODUCT_CURRENCY_MISMATCH", f"{product.code} is for accounts in another currency")
        return asked._replace(after=product.reference)

    @staticmethod
    async def _begin_or_doubt(moves: Moves, move: Move) -> Move | None:
        """Begin a move; return it, None when another one is under way."""
        try:
            await moves.begin(move)
            return await moves.find(move.request_id)
        except errors.BankError as error:  # A database that went away may have begun it first.
            raise errors.OutcomeUnknown(
                status.DOUBT_REASON, "the move may be begun: send the same request again"
            ) from error

    async def _finish_or_doubt(self, move: Move, deadline_seconds: float) -> int:
        try:
            return await self.finish(move, deadline_seconds=deadline_seconds)
        except errors.BankError as error:
            raise errors.OutcomeUnknown(
                status.DOUBT_REASON, "the move is begun: send the same request again"
            ) from error

    async def _account(self, shard_id: int, number: int) -> Account:
        found = await self._territory.records(shard_id).accounts([number])
        if number not in found:
            raise _account_not_found()
        return found[number]

    def _shard_of(self, account_number: int) -> int:
        parts = self._territory.by_shard([account_number], slot_of_account)
        if not parts:
            raise _account_not_found()
        (shard_id,) = parts
        return shard_id


def _account_not_found() -> errors.NotFound:
    return errors.NotFound("ACCOUNT_NOT_FOUND", "there is no such account")


def product_not_found(reference: Reference) -> errors.NotFound:
    """Say that there is no such product, or no such version of it."""
    version = f" version {reference.version}" if reference.version else ""
    return errors.NotFound("PRODUCT_NOT_FOUND", f"no product {reference.code}{version} is published")


def move_fingerprint(account_number: int, product: Reference, reason: str) -> int:
    """Digest what a move asks for: tells a repeat from another request under the same id."""
    body = f"{account_number:016d} {product.code} {product.version} {reason}".encode()
    return int.from_bytes(_digest(b"product move body", body)[:8], signed=True)


def _digest(salt: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=16, person=salt[:16]).digest()
