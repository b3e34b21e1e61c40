"""What an overload says of waits and goals: from the gateways' histograms, never better than it was."""

from typing import Any

import pytest

from loadtest.client import DONE, ERROR, Outcome
from loadtest.overload import report
from loadtest.overload.inside import Inside
from loadtest.overload.report import Answered, Phase

BANK = {"gateway": 1.0, "ledger": 1.0, "generator": 0.5}


def said(*within: tuple[float | str, int], method: str = "PostTransfers", unread: int = 0) -> str:
    """Write what a gateway says: how many calls took so long at most."""
    lines = [f'grpc_server_handling_seconds_bucket{{grpc_method="{method}",le="{le}"}} {count}' for le, count in within]
    return "\n".join(
        (
            "# TYPE grpc_server_handling_seconds histogram",
            *lines,
            "# TYPE hivecore_turned_away_calls_total counter",
            f'hivecore_turned_away_calls_total{{cause="queues"}} {unread}',
            "",
        )
    )


def test_waits_are_those_of_the_phase_over_all_gateways() -> None:
    before = Inside.read([said((0.1, 5), (1.0, 5), ("+Inf", 5)), said((0.1, 0), (1.0, 0), ("+Inf", 0), unread=3)])
    after = Inside.read(
        [said((0.1, 55), (1.0, 95), ("+Inf", 105)), said((0.1, 0), (1.0, 100), ("+Inf", 100), unread=9)]
    )
    inside = before.until(after)
    assert inside.turned_away == {"queues": 6}
    # 200 calls: 50 within 0.1 s, 140 more within 1 s, 10 slower than that.
    assert inside.ms(["PostTransfers"], 200) == 0.0
    assert inside.ms(["PostTransfers"], 150) == 100.0
    assert inside.ms(["PostTransfers"], 80) == 550.0
    assert inside.ms(["PostTransfers"], 10) == 1000.0
    assert inside.ms(["PostTransfers"], 9) is None, "slower than every bound"
    assert inside.ms(["GetBalance"], 1) is None


@pytest.mark.parametrize(
    ("refused", "slow", "reached"), [(0, 1, True), (9_900, 1, True), (0, 2, False), (9_900, 2, False)]
)
def test_quick_refusals_do_not_better_the_waits_of_what_was_carried_out(refused: int, slow: int, reached: bool) -> None:
    """Of 100 calls carried out, as many may be slower than the goal as are 1%; how many were refused does not matter."""
    quick = 100 + refused - slow
    inside = Inside.read([said((0.5, quick), (1.0, quick), (2.5, 100 + refused), ("+Inf", 100 + refused))])
    document = documented(carried_out(100), inside=inside)
    assert goal(document, "p99 within the gateway of what was carried out")["reached"] is reached


def test_goals_are_missed_by_a_generator_that_offers_too_little_and_a_bank_that_does_too_little() -> None:
    inside = Inside.read([said((0.5, 1_000), ("+Inf", 1_000))])
    good = documented(carried_out(100) + refusals(900), inside=inside)
    assert [each["reached"] for each in good["goals"]] == [True] * 3
    little = documented(carried_out(100) + refusals(700), inside=inside)
    assert not goal(little, "offered in the overload")["reached"]
    lazy = documented(carried_out(50) + refusals(950), inside=inside)
    assert not goal(lazy, "carried out in the overload")["reached"]
    unseen = documented(carried_out(100) + refusals(900), inside=None)
    assert not goal(unseen, "p99 within the gateway")["reached"], "what nobody knows has not been reached"


LOOK_UPS = {
    "balances_without_pause_per_s": 10_000,
    "without_pause_per_s": 2_000,
    "offered_per_s": 27_000,
    "answered_per_s": 200,
    "inside_p99_ms": 500.0,
}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, ""),
        ({"offered_per_s": 26_900}, "look-ups offered in the storm"),
        ({"answered_per_s": 190}, "look-ups answered in it"),
        ({"inside_p99_ms": 500.1}, "p99 within the gateway of look-ups"),
        ({"inside_p99_ms": None}, "p99 within the gateway of look-ups"),
    ],
)
def test_goals_of_a_storm_of_look_ups_are_missed_by_too_weak_a_storm_and_a_bank_that_answers_nobody(
    changed: dict[str, float], missed: str
) -> None:
    inside = Inside.read([said((0.5, 1_000), ("+Inf", 1_000))])
    document = documented(carried_out(100) + refusals(900), inside=inside, look_ups=LOOK_UPS | changed)
    assert [each["figure"] for each in document["goals"] if not each["reached"]] == [
        goal(document, missed)["figure"] for missed in [missed] * bool(missed)
    ]
    assert len(document["goals"]) == 8
    few = documented(carried_out(95), beside=carried_out(94), inside=inside, look_ups=LOOK_UPS)
    assert not goal(few, "carried out beside a storm of look-ups")["reached"]


def carried_out(calls: int) -> list[Answered]:
    return [Answered(0.0, 0.1, 0.0, 0.1, [DONE])] * calls


def refusals(calls: int) -> list[Answered]:
    return [Answered(0.0, 0.1, 0.0, 0.1, [Outcome(ERROR, "QUEUE_FULL")])] * calls


def documented(
    answered: list[Answered],
    *,
    inside: Inside | None,
    look_ups: dict[str, Any] | None = None,
    beside: list[Answered] | None = None,
) -> dict[str, Any]:
    """Give the document of a second's overload of a bank that can do a hundred transfers in one, and of a storm as long."""
    phase = Phase("overload", 1_000.0, 1.0, 1.0, answered, cores=BANK, inside=inside)
    capacities = {
        "capacity_per_s": 100,
        "capacity_beside_burden_per_s": 100,
        "cores": BANK,
        "cores_beside_burden": BANK,
    }
    if look_ups is None:
        return report.to_json(capacities, [phase], {}, {}, "proved")
    storm = Phase("look-up storm", 100.0, 1.0, 1.0, carried_out(95) if beside is None else beside, inside=inside)
    return report.to_json(capacities, [phase, storm], {"look_ups": look_ups}, {}, "proved")


def goal(document: dict[str, Any], begins: str) -> dict[str, Any]:
    (found,) = (each for each in document["goals"] if each["figure"].startswith(begins))
    return found
