"""When a standby calls a lease over: by its own clock, and only when it has seen the same one for long enough."""

from services.ledger.leases import Patience, Seen

MINE = 60.0
"""Seconds that the standby's own lease would be worth."""


class Clock:
    """A clock that goes when it is told to."""

    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_lease_that_was_never_seen_is_not_over() -> None:
    assert Patience(Clock(), MINE).over is None


def test_a_lease_is_over_when_it_was_seen_unchanged_for_as_long_as_it_is_worth_and_no_earlier() -> None:
    clock = Clock()
    patience = Patience(clock, MINE)
    for second in (0, 1, 2.75):
        clock.seconds = 1_000.0 + second
        patience.see(Seen(7, 3.0))
        assert patience.over is None
    clock.seconds = 1_003.0
    assert patience.over == 7


def test_a_renewed_lease_is_counted_anew() -> None:
    clock = Clock()
    patience = Patience(clock, MINE)
    patience.see(Seen(7, 3.0))
    clock.seconds += 2.9
    patience.see(Seen(8, 3.0))
    clock.seconds += 2.9
    assert patience.over is None
    clock.seconds += 0.1
    assert patience.over == 8


def test_a_renewed_lease_that_says_the_same_time_and_another_length_is_another() -> None:
    clock = Clock()
    patience = Patience(clock, MINE)
    patience.see(Seen(7, 3.0))
    clock.seconds += 3.0
    patience.see(Seen(7, 30.0))
    assert patience.over is None


def test_how_far_away_its_end_is_by_the_databases_clock_says_nothing() -> None:
    clock = Clock()
    for expire_time_us in (-(10**15), 10**15):
        patience = Patience(clock, MINE)
        patience.see(Seen(expire_time_us, 3.0))
        assert patience.over is None
        clock.seconds += 3.0
        assert patience.over == expire_time_us


def test_a_lease_that_says_no_length_is_worth_what_ones_own_is() -> None:
    clock = Clock()
    patience = Patience(clock, MINE)
    patience.see(Seen(7, None))
    clock.seconds += MINE - 0.1
    assert patience.over is None
    clock.seconds += 0.1
    assert patience.over == 7
