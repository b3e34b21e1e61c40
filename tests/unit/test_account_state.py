"""An account's state and its twin say the same, whatever there is to say, and change apart."""

from services.ledger.books import AccountState, Allowance, Spent


def said(state: AccountState) -> dict[str, object]:
    return {slot: getattr(state, slot) for slot in AccountState.__slots__ if slot != "row"}


def filled(number: int, by: int) -> AccountState:
    """Make a state of which every slot differs from another's."""
    state = AccountState(number, 200 + by, -by, by, by, 10 * by, 20 * by, 30 * by, Allowance(by), Spent(by, by, by))
    state.is_capped, state.promised_minor = bool(by % 2), 40 * by
    return state


def test_a_copy_says_the_same_and_is_changed_alone() -> None:
    state = filled(1, 3)
    twin = state.copy()
    assert said(twin) == said(state)
    twin.balance_minor += 1
    assert said(twin) != said(state)


def test_what_becomes_a_twin_says_all_that_the_twin_says() -> None:
    state, twin = filled(1, 3), filled(1, 4)
    state.row = row = bytearray(1)
    differing = {slot for slot in AccountState.__slots__ if getattr(state, slot) != getattr(twin, slot)}
    assert differing == set(AccountState.__slots__) - {"number"}
    state.become(twin)
    assert said(state) == said(twin)
    assert state.row is row
