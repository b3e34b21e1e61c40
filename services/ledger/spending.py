"""How much an account, and a customer over all accounts, may spend: pure rules.

What was debited or set aside on a business day counts for that day; what a hold frees again on the
day it was placed stops counting. Counting begins when a limit per day is set where there was none:
with what open holds and promises of the day have set aside, so that whatever is freed later was counted.
Never here: floors and funds (`posting.py`), I/O.
"""

from collections.abc import Iterable

from services.domain.outcomes import Refusal
from services.ledger.books import AccountState, Allowance, CapKey, Spent
from services.ledger.draft import Draft


def is_counted(allowance: Allowance | None) -> bool:
    """Tell whether an account has a limit per day, so that what it spends is counted."""
    return allowance is not None and (allowance.day_minor_max is not None or allowance.day_count_max is not None)


def begin_counting(draft: Draft, accounts: Iterable[AccountState]) -> Spent:
    """Return what counts as spent today when counting begins: what today's open holds and promises have set aside."""
    amounts = []
    for account in accounts:
        holds = draft.open_holds(account.number)
        amounts += [hold.amount_minor for hold in holds if hold.place_date == draft.business_date]
        promised = draft.promised_debits(account.number)
        amounts += [minor for business_date, minor in promised if business_date == draft.business_date]
    return Spent(draft.business_date, sum(amounts), len(amounts))


def of_day(spent: Spent | None, business_date: int) -> Spent:
    """Return what was spent on a day; nothing yet when the last spending was on another."""
    if spent is None or spent.business_date != business_date:
        return Spent(business_date, 0, 0)
    return spent


def spending_refusal(draft: Draft, account: AccountState, amount_minor: int) -> int:
    """Tell which allowance or cap forbids to debit or set aside an amount; 0 when none does."""
    allowance = account.allowance
    if allowance is not None:
        if allowance.transfer_minor_max is not None and amount_minor > allowance.transfer_minor_max:
            return Refusal.TRANSFER_LIMIT
        spent = of_day(account.spent, draft.business_date)
        if allowance.day_minor_max is not None and spent.minor + amount_minor > allowance.day_minor_max:
            return Refusal.DAY_AMOUNT_LIMIT
        if allowance.day_count_max is not None and spent.times >= allowance.day_count_max:
            return Refusal.DAY_COUNT_LIMIT
    if account.is_capped:
        cap = draft.cap(CapKey(account.customer_number, account.currency))
        if cap is not None:
            spent = of_day(cap.spent, draft.business_date)
            if spent.minor + amount_minor > cap.day_minor_max:
                return Refusal.CUSTOMER_DAY_LIMIT
    return 0


def spend(draft: Draft, account: AccountState, amount_minor: int, count: int) -> None:
    """Count a debit or a placed hold; with a negative amount, what a hold of today frees again."""
    if is_counted(account.allowance):
        spent = of_day(account.spent, draft.business_date)
        account.spent = Spent(spent.business_date, spent.minor + amount_minor, spent.times + count)
        draft.spenders.add(account.number)
    if account.is_capped:
        key = CapKey(account.customer_number, account.currency)
        cap = draft.cap(key)
        if cap is not None:
            spent = of_day(cap.spent, draft.business_date)
            draft.caps[key] = cap._replace(
                spent=Spent(spent.business_date, spent.minor + amount_minor, spent.times + count)
            )
