"""What counts as spent: from when on, on which day, and over which accounts; and what is still in flight."""

from services.domain.outcomes import Refusal
from services.ledger import changes, holds, posting
from services.ledger.books import (
    AccountState,
    Actor,
    Allowance,
    Cap,
    CapKey,
    Hold,
    HoldCommand,
    HoldState,
    Kind,
    Leg,
    Spent,
    Transfers,
)
from services.ledger.change_rows import Change
from services.ledger.draft import Draft

CZK, CUSTOMER, PAYER, SIBLING, PAYEE, FAR = 203, 7, 101, 102, 103, 999
TODAY, DAY_US = 20_000, 86_400_000_000
DAILY = Allowance(day_minor_max=500, day_count_max=5)


def account(number: int, allowance: Allowance | None = None, *, is_capped: bool = False) -> AccountState:
    customer = CUSTOMER if number in {PAYER, SIBLING} else 0
    return AccountState(
        number, CZK, 0, balance_minor=10_000, customer_number=customer, allowance=allowance, is_capped=is_capped
    )


def a_hold(account_number: int, amount: int, place_date: int = TODAY) -> Hold:
    hold_id = account_number.to_bytes(8, "big") + amount.to_bytes(8, "big")
    return Hold(hold_id, account_number, CZK, amount, (TODAY + 9) * DAY_US, 0, place_date, HoldState.OPEN, 0)


def draft_of(*accounts: AccountState, held: tuple[Hold, ...] = (), cap: Cap | None = None) -> Draft:
    by_number = {one.number: one for one in accounts}
    for hold in held:
        by_number[hold.account_number].held_minor += hold.amount_minor
    open_holds = {number: [hold for hold in held if hold.account_number == number] for number in by_number}
    return Draft(
        1,
        0,
        TODAY * DAY_US,
        TODAY,
        by_number.get,
        lambda _id: None,
        {},
        hold={hold.hold_id: hold for hold in held}.get,
        cap=lambda key: cap if key == CapKey(CUSTOMER, CZK) else None,
        siblings={PAYER: [PAYER, SIBLING]},
        open_holds=open_holds,
    )


def change(
    draft: Draft, allowance: Allowance | None = None, cap: int | None = None, restrictions: int | None = None
) -> int:
    change_id = len(draft.changes).to_bytes(16, "big")
    decision = changes.change(draft, Change(change_id, PAYER, restrictions, None, allowance, cap, "", 0), 0)
    assert decision is not None
    return decision.refusal


def command(draft: Draft, kind: Kind, hold: Hold, amount: int) -> int:
    asked = HoldCommand(
        kind,
        draft.sequence.to_bytes(16, "big"),
        hold.hold_id,
        hold.account_number,
        amount,
        CZK,
        0,
        0,
        "",
        0,
        0,
        Actor("", ""),
    )
    return holds.command(draft, [asked], [0]).refusals[0]


def pay(draft: Draft, debit: int, credit: int, amount: int, further: tuple[Leg, ...] = (), peer: int = 0) -> int:
    transfer_id = (1 << 64 | draft.sequence).to_bytes(16, "big")
    transfers = Transfers([transfer_id], [debit], [credit], [amount], [CZK], [0], peers=[peer])
    transfers.further_legs = {0: list(further)} if further else {}
    return posting.post(draft, transfers).refusals[0]


def test_counting_begins_with_the_open_holds_of_the_day() -> None:
    held = (a_hold(PAYER, 100), a_hold(PAYER, 70, TODAY - 1))
    draft = draft_of(account(PAYER), account(PAYEE), held=held)
    assert pay(draft, PAYER, PAYEE, 300) == 0
    assert change(draft, DAILY) == 0
    assert draft.touched[PAYER].spent == Spent(TODAY, 100, 1)
    assert draft.spenders == {PAYER}
    assert draft.changes[0].allowance_before is None


def test_a_hold_that_is_freed_after_counting_began_leaves_nothing_spent() -> None:
    held = (a_hold(PAYER, 100), a_hold(PAYER, 70, TODAY - 1))
    draft = draft_of(account(PAYER), account(PAYEE), held=held)
    change(draft, DAILY)
    assert [command(draft, Kind.HOLD_RELEASED, hold, 0) for hold in held] == [0, 0]
    assert draft.touched[PAYER].spent == Spent(TODAY, 0, 0)
    assert pay(draft, PAYER, PAYEE, 501) == Refusal.DAY_AMOUNT_LIMIT


def test_other_limits_per_day_go_on_counting() -> None:
    draft = draft_of(account(PAYER, DAILY), account(PAYEE))
    pay(draft, PAYER, PAYEE, 300)
    change(draft, DAILY._replace(day_minor_max=400))
    assert draft.touched[PAYER].spent == Spent(TODAY, 300, 1)
    assert pay(draft, PAYER, PAYEE, 101) == Refusal.DAY_AMOUNT_LIMIT


def test_limits_that_were_lifted_begin_anew() -> None:
    draft = draft_of(account(PAYER, DAILY), account(PAYEE))
    pay(draft, PAYER, PAYEE, 300)
    change(draft, Allowance())
    change(draft, DAILY)
    assert draft.touched[PAYER].spent == Spent(TODAY, 0, 0)
    assert [row.allowance_before for row in draft.changes] == [DAILY, None]


def test_a_cap_begins_with_the_open_holds_of_all_accounts() -> None:
    draft = draft_of(account(PAYER), account(SIBLING), account(PAYEE), held=(a_hold(PAYER, 100), a_hold(SIBLING, 200)))
    assert change(draft, cap=1_000) == 0
    assert draft.caps[CapKey(CUSTOMER, CZK)] == Cap(1_000, Spent(TODAY, 300, 2))
    assert pay(draft, SIBLING, PAYEE, 701) == Refusal.CUSTOMER_DAY_LIMIT


def test_a_cap_that_was_lifted_begins_anew() -> None:
    draft = draft_of(account(PAYER, is_capped=True), account(SIBLING), cap=Cap(1_000, Spent(TODAY, 900, 9)))
    change(draft, cap=-1)
    change(draft, cap=2_000)
    assert draft.caps[CapKey(CUSTOMER, CZK)] == Cap(2_000, Spent(TODAY, 0, 0))


def test_a_cap_of_nothing_is_a_cap_that_counts() -> None:
    draft = draft_of(account(PAYER, is_capped=True), account(PAYEE), cap=Cap(0, Spent(TODAY, 0, 3)))
    assert pay(draft, PAYER, PAYEE, 1) == Refusal.CUSTOMER_DAY_LIMIT
    change(draft, cap=10)
    assert draft.caps[CapKey(CUSTOMER, CZK)] == Cap(10, Spent(TODAY, 0, 3))


def test_a_lifted_cap_neither_forbids_nor_counts_though_the_account_has_limits_of_its_own() -> None:
    spent = Spent(TODAY, 9, 1)
    draft = draft_of(account(PAYER, DAILY, is_capped=True), account(PAYEE), cap=Cap(10, spent))
    assert pay(draft, PAYER, PAYEE, 2) == Refusal.CUSTOMER_DAY_LIMIT
    change(draft, cap=-1)
    assert draft.cap_changes == {CapKey(CUSTOMER, CZK): -1}
    assert pay(draft, PAYER, PAYEE, 2) == 0
    assert draft.caps[CapKey(CUSTOMER, CZK)] == Cap(-1, spent)
    assert draft.touched[PAYER].spent == Spent(TODAY, 2, 1)


def test_lifting_a_cap_that_is_not_there_says_nothing() -> None:
    draft = draft_of(account(PAYER), account(SIBLING))
    assert change(draft, cap=-1) == 0
    assert not draft.caps
    assert not draft.cap_changes


def test_a_cap_holds_for_an_account_that_was_opened_just_before() -> None:
    draft = draft_of(account(PAYER), account(SIBLING), account(PAYEE))
    posting.open_accounts(draft, [AccountState(104, CZK, 0, customer_number=CUSTOMER, balance_minor=500)])
    change(draft, cap=10)
    assert pay(draft, 104, PAYEE, 11) == Refusal.CUSTOMER_DAY_LIMIT


def test_an_increase_counts_on_the_day_it_is_made() -> None:
    hold = a_hold(PAYER, 100, TODAY - 1)
    draft = draft_of(account(PAYER, DAILY), held=(hold,))
    assert command(draft, Kind.HOLD_INCREASED, hold, 300) == 0
    assert command(draft, Kind.HOLD_INCREASED, hold, 300) == Refusal.DAY_AMOUNT_LIMIT


def test_nobody_is_closed_whom_a_crossing_may_still_concern() -> None:
    for further in (Leg(SIBLING, PAYER, 5, CZK), Leg(PAYER, SIBLING, 5, CZK)):
        draft = draft_of(account(PAYER), account(SIBLING), account(PAYEE))
        assert pay(draft, PAYEE, FAR, 10, (further,), peer=2) == 0
        draft.touched[PAYER].balance_minor = 0
        assert change(draft, restrictions=changes.CLOSED) == Refusal.ACCOUNT_NOT_EMPTY
