"""Changes of an account's slow facts: its state of life, floor, allowance; and of customers' caps.

One table says which state may follow which. Closing needs an empty account: no balance, no holds,
nothing on its way to another shard that might come back. Never here: I/O.
"""

from typing import Final

from services.domain.outcomes import Refusal
from services.ledger.books import AccountState, Allowance, Cap, CapKey, Restriction
from services.ledger.change_rows import Change, ChangeDecision, ChangeRow
from services.ledger.draft import Draft
from services.ledger.spending import begin_counting, is_counted

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
    if asked.customer_day_minor_max is not None and not account.customer_number:
        return Refusal.CUSTOMER_MISSING
    after = asked.restrictions
    if after is not None and after not in FOLLOWERS[account.restrictions]:
        return Refusal.STATE_MAY_NOT_FOLLOW
    if after == CLOSED and (account.balance_minor or account.held_minor or account.promised_minor or is_in_flight):
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
    restrictions, floor, allowance = 0, 0, None
    if account is not None:
        asked = _where_standard(account, asked)
        restrictions, floor, allowance = account.restrictions, account.floor_minor, account.allowance
    draft.changes.append(ChangeRow(draft.sequence, asked, actor_id, refusal, restrictions, floor, allowance))
    if not refusal:
        assert account is not None
        _apply(draft, account, asked)
    decision = draft.changed[asked.change_id] = ChangeDecision(asked.fingerprint, refusal)
    return decision


def _where_standard(account: AccountState, asked: Change) -> Change:
    """Leave out of a change of standard limits what was set for this account alone."""
    before, wanted = asked.allowance_replaced, asked.allowance
    if before is None or wanted is None:
        return asked
    floor = asked.floor_minor if account.floor_minor == asked.floor_replaced_minor else None
    now = account.allowance or Allowance()
    merged = (new if own == old else own for own, old, new in zip(now, before, wanted, strict=True))
    return asked._replace(floor_minor=floor, allowance=Allowance(*merged))


def _apply(draft: Draft, account: AccountState, asked: Change) -> None:
    if asked.restrictions is not None:
        account.restrictions = asked.restrictions
    if asked.floor_minor is not None:
        account.floor_minor = asked.floor_minor
    if asked.allowance is not None:
        was_counted = is_counted(account.allowance)
        account.allowance = asked.allowance if any(limit is not None for limit in asked.allowance) else None
        if is_counted(account.allowance) and not was_counted:
            account.spent = begin_counting(draft, (account,))
            draft.spenders.add(account.number)
    draft.altered.add(account.number)
    if asked.customer_day_minor_max is not None:
        _cap(draft, account, asked.customer_day_minor_max)


def _cap(draft: Draft, account: AccountState, day_minor_max: int) -> None:
    key = CapKey(account.customer_number, account.currency)
    siblings = draft.siblings(account)
    before = draft.cap(key)
    if before is None or before.day_minor_max < 0:
        if day_minor_max < 0:
            return  # There is none to lift.
        before = Cap(day_minor_max, begin_counting(draft, siblings))
    draft.caps[key] = before._replace(day_minor_max=day_minor_max)
    draft.cap_changes[key] = day_minor_max
    for sibling in siblings:
        sibling.is_capped = day_minor_max >= 0
