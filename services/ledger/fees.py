"""Fee legs: the bank's own income, posted with the transfer that it is for, or not at all. Pure rules.

A fee is taken from free funds, never out of a hold, and counts towards no limit: limits bound what the
customer chooses to pay. The floor holds for amount and fee together. Never here: how much a fee is, or
whose product says so.
"""

from services.domain.outcomes import Refusal
from services.ledger.books import AccountState, Leg, Special
from services.ledger.draft import Draft
from services.ledger.rules import credit_refusal, first_refusal
from services.ledger.specials import post_special
from services.ledger.spending import spend


def post_with_fee(
    draft: Draft,
    debit: AccountState,
    credit: AccountState,
    amount: int,
    sequence: int,
    fee: Leg,
    special: Special | None,
) -> int:
    """Post a first leg that nothing speaks against and the fee of its payer; nothing when that is refused."""
    assert fee.debit_account == debit.number
    income = draft.state(fee.credit_account)
    freed = 0
    if special is not None and special.hold_id is not None:
        hold = draft.hold(special.hold_id)
        assert hold is not None
        freed = hold.amount_minor
    free_after = debit.balance_minor - amount - (debit.held_minor - freed) - fee.amount_minor
    refusal = first_refusal(
        Refusal.INSUFFICIENT_FUNDS if free_after < debit.floor_minor else 0,
        credit_refusal(income, fee.amount_minor, fee.currency),
    )
    if refusal:
        return refusal
    assert income is not None
    if special is not None:
        post_special(draft, special, debit, credit, amount, sequence)
    else:
        draft.move(debit, credit, amount, sequence)
        spend(draft, debit, amount, 1)
    draft.move(debit, income, fee.amount_minor, sequence + 1)
    return 0
