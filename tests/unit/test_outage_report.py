"""The figures of an outage are what its callers saw, no more and no less."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadtest import outage_report
from loadtest.client import DONE, ERROR, REFUSED, UNKNOWN, Outcome
from loadtest.insistence import Attempt, Insistent
from loadtest.outage_report import HAD_BEEN_POSTED, OTHERWISE, POSTED_BY_REPEATING, Latencies, Outage

KILLED_AT = 100.0
LOST = Outcome(UNKNOWN, "OUTCOME_UNKNOWN")
AWAY = Outcome(ERROR, "SHARD_UNAVAILABLE")


def transfer(name: str, payer_shard: int, payee_shard: int, *attempts: tuple[float, float, Outcome]) -> Insistent:
    return Insistent(name, "payer", "payee", 1, payer_shard, payee_shard, [Attempt(*attempt) for attempt in attempts])


def outage(*transfers: Insistent, booked_at: dict[str, float] | None = None) -> Outage:
    audited = {"is_clean": True, "transfers": len(transfers), "crossings": 0, "returns": 0, "entries": 7}
    return Outage(0, 1, "ledger-1", "ledger-1", KILLED_AT, transfers, booked_at or {}, audited)


SOME = (
    transfer("before", 1, 1, (99.0, 99.1, DONE)),
    transfer("on its way", 1, 1, (99.9, 100.02, DONE)),
    transfer("waits", 1, 2, (100.1, 102.1, AWAY), (102.2, 103.02, DONE)),
    transfer("after", 1, 1, (104.0, 104.1, DONE)),
    transfer("others", 2, 3, (101.0, 101.25, DONE)),
)


def test_a_shard_is_away_from_its_last_answer_to_its_first_even_when_one_was_on_its_way() -> None:
    found = outage(*SOME)
    assert found.silence() == (100.02, 103.02)
    assert found.to_json()["away_seconds"] == 3.0
    assert found.to_json()["away_after_kill_seconds"] == 3.02


def test_attempts_are_counted_by_what_made_callers_repeat_them() -> None:
    found = outage(*SOME).to_json()
    assert (found["transfers"], found["crossings"], found["attempts"], found["retries"]) == (5, 2, 6, 1)
    assert found["outcomes"] == {"posted": 5}
    assert found["retried_after"] == {"error SHARD_UNAVAILABLE": 1}
    assert found["longest_until_definite_seconds"] == 2.92


def test_only_calls_between_other_shards_count_as_those_of_others() -> None:
    found = outage(*SOME, transfer("earlier", 2, 2, (50.0, 50.5, DONE)), transfer("later", 2, 2, (104.0, 109.0, DONE)))
    meanwhile = {"calls": 1, "p50_ms": 250.0, "p99_ms": 250.0, "longest_ms": 250.0}
    assert found.to_json()["other_shards_meanwhile"] == meanwhile
    assert found.to_json()["other_shards_before"]["longest_ms"] == 500.0


def test_a_doubt_is_resolved_by_when_the_transfer_was_booked() -> None:
    twice = ((100.0, 102.0, LOST), (102.1, 103.0, DONE))
    refused = ((100.0, 102.0, LOST), (102.1, 103.5, Outcome(REFUSED, "INSUFFICIENT_FUNDS")))
    found = outage(
        *SOME,
        transfer("was", 1, 1, *twice),
        transfer("was not", 1, 1, *twice),
        transfer("no", 1, 1, *refused),
        booked_at={"was": 100.1, "was not": 102.5},
    ).to_json()
    assert found["unknown"] == 3
    assert found["unknown_resolved"] == {HAD_BEEN_POSTED: 1, POSTED_BY_REPEATING: 1, OTHERWISE: 1}


@pytest.mark.parametrize(("calls", "p99_ms"), [(1, 1.0), (100, 99.0), (101, 100.0), (1000, 990.0)])
def test_of_a_hundred_calls_at_most_one_takes_longer_than_p99(calls: int, p99_ms: float) -> None:
    attempts = [Attempt(0.0, number / 1000, DONE) for number in range(1, calls + 1)]
    assert Latencies.of(attempts).p99_ms == p99_ms


def test_no_calls_have_no_latency() -> None:
    assert Latencies.of([]) == Latencies(0, None, None, None)


def test_table_and_file_say_the_same(tmp_path: Path) -> None:
    printed = StringIO()
    outages = [outage(*SOME), outage(*SOME[:4])]
    outage_report.show(outages, {"shards": 4, "load": {"per_second": 500}}, Console(file=printed, width=100))
    outage_report.write(outages, {"shards": 4}, tmp_path / "build" / "outage.json")
    for expected in ("3.00 s", "1 error SHARD_UNAVAILABLE", "p50 250.0", "no calls", "clean", "load: per_second 500"):
        assert expected in printed.getvalue()
    assert json.loads((tmp_path / "build" / "outage.json").read_text()) == {
        "conditions": {"shards": 4},
        "runs": [each.to_json() for each in outages],
    }
