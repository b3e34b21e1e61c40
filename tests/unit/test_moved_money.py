"""What a batch moved, by currency: what the counter of money shows."""

from services.domain.outcomes import Outcome
from services.ledger.books import Kind, Leg, TransferRow
from services.ledger.draft import Draft

CZK, EUR, HUF = 203, 978, 348


def row(sequence: int, amount: int, currency: int = CZK, kind: Kind = Kind.ASKED, outcome: Outcome = Outcome.POSTED):
    return TransferRow(sequence, bytes(16), 1, 2, amount, 0, 0, currency, kind, outcome, 0, 1, "")


def test_posted_and_crossing_legs_count_where_they_start_and_nothing_else() -> None:
    draft = Draft(1, 0, 0, 0, lambda _: None, lambda _: None, {})
    draft.transfers += [
        row(1, 5),
        row(2, 7, outcome=Outcome.IN_TRANSIT),
        row(3, 11, EUR),
        row(4, 100, outcome=Outcome.REFUSED),
        row(6, 200, kind=Kind.LANDING),
        row(7, 300, kind=Kind.RETURN),
        row(8, 400, kind=Kind.HOLD_PLACED),
    ]
    draft.further_legs += [(2, 1, Leg(1, 3, 2, EUR)), (5, 4, Leg(1, 3, 50, CZK)), (9, 1, Leg(1, 3, 17, HUF))]
    assert draft.moved_minor() == {CZK: 12, EUR: 13, HUF: 17}


def test_a_batch_that_moves_nothing_counts_nothing() -> None:
    assert Draft(1, 0, 0, 0, lambda _: None, lambda _: None, {}).moved_minor() == {}
