"""Changes of an account's slow facts: its state of life, floor, allowance; and of customers' caps.

One table says which state may follow which. Closing needs an empty account: no balance, no holds,
nothing on its way to another shard that might come back. Never here: I/O.
"""

from typing import Final

from services.domain.outcomes import Refusal
from services.ledger.books import (
    AccountState,
    Cap,
    CapKey,
    Change,
    ChangeDecision,
    ChangeRow,
    Restriction,
    Spent,
)
from services.ledger.draft import Draft

ACTIVE: Final = 0
PENDING: Final = int(Restriction.PENDING)
DEBITS_FROZEN: Final = int(Restriction.DEBITS_FROZEN)
CREDITS_FROZEN: Final = int(Restriction.CREDITS_FROZEN)
FROZEN: Final = DEBITS_FROZEN | CREDITS_FROZEN
DORMANT: Final = int(Restriction.DORMANT)
CLOSED: Final = int(Restriction.CLOSED)

_LIVELY: Final = frozenset({ACTIVE, DEBITS_FROZEN, CREDITS_FROZEN, FROZEN, DORMANT})

FOLLOWERS: Final[dict[int, frozenset[int]]] = {
    PENDING: frozenset({ACTIVE, CLOSED}),
    ACTIVE: _LIVELY | {CLOSED},
    DEBITS_FROZEN: _LIVELY,
    CREDITS_FROZEN: _LIVELY,
    FROZEN: _LIVELY,
    DORMANT: _LIVELY | {CLOSED},
    CLOSED: frozenset(),
}
"""State of life (as restriction bits) -> states that may follow. A frozen account is thawed first."""


def change_refusal(account: AccountState | None, asked: Change, is_in_flight: bool) -> int:
    """Tell why an account may not be changed like this; 0 when it may."""
    if account is None or account.restrictions & Restriction.RESERVED:
        return Refusal.DEBIT_ACCOUNT_NOT_FOUND
    if account.restrictions == CLOSED:
        return Refusal.DEBIT_ACCOUNT_CLOSED
    after = asked.restrictions
    if after is not None and after not in FOLLOWERS[account.restrictions]:
        return Refusal.STATE_MAY_NOT_FOLLOW
    if after == CLOSED and (account.balance_minor or account.held_minor or is_in_flight):
        return Refusal.ACCOUNT_NOT_EMPTY
    return 0


def change(draft: Draft, asked: Change, actor_id: int) -> ChangeDecision | None:
    """Decide a change; None when its id names another one."""
    before = draft.change_meaning(asked.change_id)
    if before is not None:
        return before if before.fingerprint == asked.fingerprint else None
    account = draft.state(asked.account_number)
    refusal = change_refusal(account, asked, draft.is_in_flight(asked.account_number))
    draft.sequence += 1
    restrictions, floor = (account.restrictions, account.floor_minor) if account is not None else (0, 0)
    draft.changes.append(ChangeRow(draft.sequence, asked, actor_id, refusal, restrictions, floor))
    if not refusal:
        assert account is not None
        _apply(draft, account, asked)
    decision = draft.changed[asked.change_id] = ChangeDecision(asked.fingerprint, refusal)
    return decision


def _apply(draft: Draft, account: AccountState, asked: Change) -> None:
    if asked.restrictions is not None:
        account.restrictions = asked.restrictions
    if asked.floor_minor is not None:
        account.floor_minor = asked.floor_minor
    if asked.allowance is not None:
        account.allowance = asked.allowance if any(limit is not None for limit in asked.allowance) else None
    draft.altered.add(account.number)
    if asked.customer_day_minor_max is not None:
        key = CapKey(account.customer_number, account.currency)
        before = draft.cap(key)
        draft.caps[key] = Cap(asked.customer_day_minor_max, before.spent if before is not None else Spent())
        draft.cap_changes[key] = asked.customer_day_minor_max
        for sibling in (account, *draft.siblings(account.number)):
            sibling.is_capped = asked.customer_day_minor_max >= 0
