"""Bugs in openings of customers and accounts: numbers, names, steps that a crash leaves out, and what callers are told.

Each docstring says what is wrong. Never here: bugs in what becomes of accounts afterwards (`charging.py`, `ruling.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from services.account import lifecycle
from services.account.books import Books
from services.account.lifecycle import Lifecycle
from services.account.opening import Sheet, State
from services.account.records import Records
from services.domain import errors, identifiers
from services.gateway import customers
from simulation.database import Session
from simulation.planted.bug import Patches, bug
from simulation.statements.accounts import time_of
from simulation.statements.registry import RUN
from simulation.tables import Record

_OPENING: dict[str, Any] = {"weights": {"customer": 1.0, "account": 3.0}, "is_tight": False, "intentions": 80}
_CUT_SHORT: dict[str, Any] = _OPENING | {
    "faults": ("crash midway", "kill ledger"),
    "fault_seconds": 0.1,
    "call_seconds": (0.05, 0.5),
}
"""A bank whose openings are often left half done."""
_TOGETHER: dict[str, Any] = _OPENING | {"weights": {"customer": 1.0, "customers": 1.0, "accounts": 2.0}, "faults": ()}
"""A bank whose openings come several by one call."""


@bug("account", **_OPENING | {"faults": ("slow network",), "fault_seconds": 0.1})
def repeat_draws_a_new_number() -> Patches:
    """Who asks again while the first attempt is under way gets a number of its own."""
    claim = Lifecycle._claim

    async def _claim(self: Lifecycle, what: str, step: str, claims: Mapping[Any, Any]) -> Any:
        owners = await claim(self, what, step, claims)
        return dict(claims) if step == "claim_requests" else owners

    yield patch.object(Lifecycle, "_claim", _claim)


@bug("account", shards=1, gateways=2, **_OPENING | {"faults": ()})
def serials_from_memory() -> Patches:
    """A process counts a slot's serials itself once it has read where they stand."""
    reserve = Records.reserve_accounts

    async def reserve_accounts(self: Records, slots: Sequence[int]) -> list[int]:
        known = self.__dict__.setdefault("_serials", {})
        for slot in set(slots) - known.keys():
            (number,) = await reserve(self, [slot])
            known[slot] = number // 100 % 10**10 - 1
        numbers: list[int] = []
        for slot in slots:
            known[slot] += 1
            numbers.append(identifiers.account_number(slot, known[slot]))
        return numbers

    yield patch.object(Records, "reserve_accounts", reserve_accounts)


@bug("account", "crash midway", **_CUT_SHORT)
def a_record_is_an_account() -> Patches:
    """Who asks again after a crash is shown the record, and the ledger is not asked."""

    async def put(records: Records, wants: Mapping[int, Any]) -> dict[int, Any]:
        there = await records.accounts(list(wants))
        new = {number: want for number, want in wants.items() if number not in there}
        return await records.put_accounts(new) | {
            number: one._replace(state=State.ACTIVE) for number, one in there.items()
        }

    yield patch.object(lifecycle, "_ACCOUNTS", replace(lifecycle._ACCOUNTS, put=put))


@bug("account", "kill ledger", **_CUT_SHORT)
def open_without_the_books() -> Patches:
    """An account is active, and its caller told so, although its ledger did not answer."""
    enter = Books.open_customer_accounts

    async def open_customer_accounts(
        self: Books, shard_id: int, accounts: Collection[Any], *more: Any, **named: Any
    ) -> Any:
        try:
            return await enter(self, shard_id, accounts, *more, **named)
        except errors.BankError:
            return {account.account_number for account in accounts}

    yield patch.object(Books, "open_customer_accounts", open_customer_accounts)


@bug("account", "crash midway", **_CUT_SHORT)
def sweep_customers_only() -> Patches:
    """The sweeper passes over accounts that were left half open."""

    async def stale_accounts(self: Records, *_: Any) -> dict[int, Any]:
        return {}

    yield patch.object(Records, "stale_accounts", stale_accounts)


@bug("account", "customer", **_OPENING | {"faults": ("slow network",), "fault_seconds": 0.1})
def open_without_a_name() -> Patches:
    """What loses its external reference to another is opened all the same."""
    claim = Lifecycle._claim

    async def _claim(self: Lifecycle, what: str, step: str, claims: Mapping[Any, Any]) -> Any:
        owners = await claim(self, what, step, claims)
        return dict(claims) if step == "claim_references" else owners

    yield patch.object(Lifecycle, "_claim", _claim)


@bug("customer", **_OPENING | {"weights": {"customer": 1.0}, "faults": ()})
def ignore_what_an_id_opened() -> Patches:
    """An id may be used for another body: whoever comes second is told of what the first has opened."""
    read = Sheet.read_requests

    def read_requests(self: Sheet[Any], claims: Mapping[bytes, Any]) -> None:
        alike = {}
        for want, fingerprint in zip(self.wants, self.fingerprints, strict=True):
            if want.request_id in claims:
                alike[want.request_id] = claims[want.request_id]._replace(fingerprint=fingerprint)
        read(self, dict(claims) | alike)

    yield patch.object(Sheet, "read_requests", read_requests)


@bug(
    "account",
    "crash postgres",
    shards=1,
    standbys=0,
    **_OPENING | {"faults": ("crash postgres", "cuts"), "fault_seconds": 0.1},
)
def half_open_or_nothing() -> Patches:
    """Who cannot be told how an opening ends is told that nothing was opened."""
    yield patch.object(lifecycle, "_doubtful", nullcontext)


@bug("account", "clock jump", shards=1, standbys=0, **_CUT_SHORT | {"faults": ("crash midway", "clock jump")})
def sweep_by_the_clock_alone() -> Patches:
    """What was left half open waits until PostgreSQL's clock, set back meanwhile, comes past it again."""
    stale = RUN["stale_accounts"]

    def stale_accounts(session: Session, *asked: Any) -> list[Record]:
        now = time_of(session.now_us())
        return [record for record in stale(session, *asked) if record["create_time"] <= now]

    yield patch.dict(RUN, stale_accounts=stale_accounts)


@bug("customers", **_TOGETHER)
def wrong_ones_last() -> Patches:
    """A call's results come without regard to the places of those that the door turned away."""
    each = customers._each

    async def _each(items: Sequence[Any], send: Any, read: Any) -> list[Any]:
        results = await each(items, send, read)
        return sorted(results, key=lambda result: isinstance(result, errors.Malformed))

    yield patch.object(customers, "_each", _each)


@bug("customers", **_TOGETHER)
def forget_what_a_call_repeats() -> Patches:
    """What a call asks for twice is asked for by two."""
    begin = Sheet.__post_init__

    def forget(self: Sheet[Any]) -> None:
        begin(self)
        self.repeats.clear()

    yield patch.object(Sheet, "__post_init__", forget)


@bug("accounts", **_TOGETHER)
def one_serial_for_a_call() -> Patches:
    """All accounts of a slot that a call opens get the same number."""
    reserve = Records.reserve_accounts

    async def reserve_accounts(self: Records, slots: Sequence[int]) -> list[int]:
        given = dict(zip(slots, await reserve(self, slots), strict=True))
        return [given[slot] for slot in slots]

    yield patch.object(Records, "reserve_accounts", reserve_accounts)
